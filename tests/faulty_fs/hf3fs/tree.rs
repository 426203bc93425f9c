//! Names, directories, links and files, as all hosts have them in common.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::nodes::{Answer, Names, Nodes, Place};
use super::super::wire::ROOT;
use super::chunks::Chunks;
use super::locks::Client;

#[derive(Default)]
pub struct Directory {
    pub names: Names,
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
    place: Place,
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
        let (changed, place) = (now(), Place::new(parent, name));
        let node = Node { body, mode, length: 0, changed, links: 1, place };
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
        (node.place.parent, node.place.name) = (parent, name.to_owned());
        Ok(())
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
}

impl Nodes for Tree {
    fn place(&self, id: u64) -> Answer<&Place> {
        self.node(id).map(|node| &node.place)
    }

    fn place_mut(&mut self, id: u64) -> Answer<&mut Place> {
        self.node_mut(id).map(|node| &mut node.place)
    }

    fn names(&mut self, id: u64) -> Answer<&mut Names> {
        self.directory(id).map(|directory| &mut directory.names)
    }

    fn lose_name(&mut self, id: u64) {
        if let Ok(node) = self.node_mut(id) {
            node.links -= 1;
        }
    }

    fn collect(&mut self, id: u64) {
        let is_gone = |node: &Node| node.links == 0 && !node.place.is_in_hand();
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
