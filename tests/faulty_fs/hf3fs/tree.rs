//! Names, directories, links and files, as all hosts have them in common.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::image::Answer;
use super::super::wire::ROOT;
use super::chunks::Chunks;
use super::locks::Client;

#[derive(Default)]
pub struct Directory {
    pub names: BTreeMap<String, u64>,
    /// Who alone may change its names.
    pub lock: Option<Client>,
}

pub enum Body {
    File(Chunks),
    Directory(Directory),
    /// A symbolic link and its target.
    Link(String),
}

pub struct Node {
    pub body: Body,
    pub mode: u32,
    /// A file's length, as far as it is known: the end of its last chunk when it was last looked for.
    pub length: u64,
    /// Since the epoch.
    pub changed: Duration,
    /// Names of it.
    pub links: u32,
    parent: u64,
    name: String,
    /// What the kernels know of it.
    lookups: u64,
    opens: u64,
}

pub struct Tree {
    nodes: HashMap<u64, Node>,
    next: u64,
    capacity_bytes: u64,
    /// Bytes of files that are gone, which come back minutes later.
    garbage_bytes: u64,
}

impl Tree {
    pub fn new(capacity_bytes: u64) -> Tree {
        let mut tree = Tree { nodes: HashMap::new(), next: ROOT, capacity_bytes, garbage_bytes: 0 };
        tree.add(ROOT, "", libc::S_IFDIR | 0o755, Body::Directory(Directory::default()));
        tree
    }

    fn add(&mut self, parent: u64, name: &str, mode: u32, body: Body) -> u64 {
        let id = self.next;
        self.next += 1;
        let (changed, name) = (now(), name.to_owned());
        let node = Node { body, mode, length: 0, changed, links: 1, parent, name, lookups: 0, opens: 0 };
        self.nodes.insert(id, node);
        id
    }

    pub fn node(&self, id: u64) -> Answer<&Node> {
        self.nodes.get(&id).ok_or(libc::ENOENT)
    }

    pub fn node_mut(&mut self, id: u64) -> Answer<&mut Node> {
        self.nodes.get_mut(&id).ok_or(libc::ENOENT)
    }

    pub fn file(&mut self, id: u64) -> Answer<&mut Chunks> {
        match &mut self.node_mut(id)?.body {
            Body::File(chunks) => Ok(chunks),
            _ => Err(libc::EBADF),
        }
    }

    pub fn directory(&mut self, id: u64) -> Answer<&mut Directory> {
        match &mut self.node_mut(id)?.body {
            Body::Directory(directory) => Ok(directory),
            _ => Err(libc::ENOTDIR),
        }
    }

    pub fn files(&self) -> Vec<u64> {
        let files = self.nodes.iter().filter(|(_, node)| matches!(node.body, Body::File(_)));
        files.map(|(id, _)| *id).collect()
    }

    /// The path that a node has, or had; of several, the one that it was given last.
    pub fn path(&self, id: u64) -> String {
        let mut parts = Vec::new();
        let mut at = id;
        while let Some(node) = self.nodes.get(&at).filter(|_| at != ROOT) {
            parts.push(node.name.as_str());
            at = node.parent;
        }
        parts.iter().rev().map(|part| format!("/{part}")).collect()
    }

    pub fn find(&mut self, parent: u64, name: &str) -> Answer<u64> {
        self.directory(parent)?.names.get(name).copied().ok_or(libc::ENOENT)
    }

    /// Makes something new; who asks has seen that the name is free, and may change the directory.
    pub fn make(&mut self, parent: u64, name: &str, mode: u32, body: Body) -> Answer<u64> {
        self.directory(parent)?;
        let id = self.add(parent, name, mode, body);
        self.directory(parent)?.names.insert(name.to_owned(), id);
        Ok(id)
    }

    pub fn link(&mut self, id: u64, parent: u64, name: &str) -> Answer<()> {
        self.directory(parent)?.names.insert(name.to_owned(), id);
        let node = self.node_mut(id)?;
        node.links += 1;
        (node.parent, node.name) = (parent, name.to_owned());
        Ok(())
    }

    pub fn remove(&mut self, parent: u64, name: &str, is_directory: bool) -> Answer<()> {
        let id = self.find(parent, name)?;
        match &self.node(id)?.body {
            Body::Directory(_) if !is_directory => return Err(libc::EISDIR),
            Body::Directory(directory) if !directory.names.is_empty() => return Err(libc::ENOTEMPTY),
            Body::File(_) | Body::Link(_) if is_directory => return Err(libc::ENOTDIR),
            _ => {}
        }
        self.directory(parent)?.names.remove(name);
        self.node_mut(id)?.links -= 1;
        self.collect(id);
        Ok(())
    }

    pub fn rename(&mut self, from: (u64, &str), to: (u64, &str)) -> Answer<()> {
        let id = self.find(from.0, from.1)?;
        let replaced = self.find(to.0, to.1).ok();
        if replaced == Some(id) {
            return Ok(());
        }
        if replaced.is_some() {
            let is_directory = matches!(self.node(id)?.body, Body::Directory(_));
            self.remove(to.0, to.1, is_directory)?;
        }
        self.directory(from.0)?.names.remove(from.1);
        self.directory(to.0)?.names.insert(to.1.to_owned(), id);
        let node = self.node_mut(id)?;
        (node.parent, node.name) = (to.0, to.1.to_owned());
        Ok(())
    }

    /// A kernel was told of a node.
    pub fn remember(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.lookups += 1;
        }
    }

    pub fn forget(&mut self, id: u64, lookups: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.lookups = node.lookups.saturating_sub(lookups);
            self.collect(id);
        }
    }

    pub fn open(&mut self, id: u64) -> Answer<()> {
        self.node_mut(id)?.opens += 1;
        Ok(())
    }

    pub fn release(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.opens = node.opens.saturating_sub(1);
            self.collect(id);
        }
    }

    pub fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// Bytes that files take, and those that were removed lately.
    pub fn used_bytes(&self) -> u64 {
        let bytes = self.nodes.values().map(|node| match &node.body {
            Body::File(chunks) => chunks.bytes(),
            _ => 0,
        });
        bytes.sum::<u64>() + self.garbage_bytes
    }

    /// The space of what was removed is free again.
    pub fn collect_garbage(&mut self) {
        self.garbage_bytes = 0;
    }

    /// Frees a node that nobody can reach any more.
    fn collect(&mut self, id: u64) {
        let is_gone = |node: &Node| node.links == 0 && node.lookups == 0 && node.opens == 0;
        if self.nodes.get(&id).is_some_and(is_gone)
            && let Some(Node { body: Body::File(chunks), .. }) = self.nodes.remove(&id)
        {
            self.garbage_bytes += chunks.bytes();
        }
    }
}

pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
