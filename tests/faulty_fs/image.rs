//! What the file system holds: names and bytes as they are now, and as they would be after a loss of power.
//!
//! It is strict where real ones are lenient. Bytes are durable by an fsync of their file alone, names by an fsync of their
//! directory alone, and what was never synced is gone: a file whose name was synced and whose bytes were not is empty.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::wire::ROOT;

pub use super::file::{File, PAGE};

/// An errno in place of an answer.
pub type Answer<T> = Result<T, i32>;

type Names = BTreeMap<String, u64>;

#[derive(Clone, Default)]
pub struct Directory {
    pub now: Names,
    synced: Names,
}

#[derive(Clone)]
pub enum Body {
    File(File),
    Directory(Directory),
}

#[derive(Clone)]
pub struct Node {
    pub body: Body,
    pub mode: u32,
    /// Since the epoch.
    pub changed: Duration,
    parent: u64,
    name: String,
    is_linked: bool,
    /// Names of it that are synced.
    synced_links: u32,
    /// What the kernel knows of it.
    lookups: u64,
    opens: u64,
}

/// What became of a sync.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    Done,
    /// The pages count as clean and never reach the device; with `drop`, the cache loses them too.
    Failed {
        drop: bool,
    },
}

pub struct Image {
    nodes: HashMap<u64, Node>,
    next: u64,
    capacity_pages: u64,
}

impl Image {
    pub fn new(capacity_bytes: u64) -> Image {
        let root = Node {
            body: Body::Directory(Directory::default()),
            mode: libc::S_IFDIR | 0o755,
            changed: now(),
            parent: ROOT,
            name: String::new(),
            is_linked: true,
            synced_links: 1,
            lookups: 1,
            opens: 0,
        };
        Image { nodes: HashMap::from([(ROOT, root)]), next: ROOT + 1, capacity_pages: capacity_bytes / PAGE }
    }

    pub fn node(&self, id: u64) -> Answer<&Node> {
        // A number of before a loss of power.
        self.nodes.get(&id).ok_or(libc::ESTALE)
    }

    fn node_mut(&mut self, id: u64) -> Answer<&mut Node> {
        self.nodes.get_mut(&id).ok_or(libc::ESTALE)
    }

    pub fn file(&mut self, id: u64) -> Answer<&mut File> {
        match &mut self.node_mut(id)?.body {
            Body::File(file) => Ok(file),
            Body::Directory(_) => Err(libc::EISDIR),
        }
    }

    /// A file that is about to be changed.
    pub fn change(&mut self, id: u64) -> Answer<&mut File> {
        self.node_mut(id)?.changed = now();
        self.file(id)
    }

    fn directory(&mut self, id: u64) -> Answer<&mut Directory> {
        match &mut self.node_mut(id)?.body {
            Body::Directory(directory) => Ok(directory),
            Body::File(_) => Err(libc::ENOTDIR),
        }
    }

    /// The path below the mount that a node has, or had.
    pub fn path(&self, id: u64) -> String {
        let mut parts = Vec::new();
        let mut at = id;
        while let Some(node) = self.nodes.get(&at).filter(|_| at != ROOT) {
            parts.push(node.name.as_str());
            at = node.parent;
        }
        parts.iter().rev().map(|part| format!("/{part}")).collect()
    }

    pub fn capacity_pages(&self) -> u64 {
        self.capacity_pages
    }

    pub fn used_pages(&self) -> u64 {
        let pages = self.nodes.values().map(|node| match &node.body {
            Body::File(file) => file.charged_pages(),
            Body::Directory(_) => 0,
        });
        pages.sum()
    }

    /// Whether so much more fits; an upper bound of what it takes will do.
    pub fn check_room(&self, bytes: u64) -> Answer<()> {
        if self.used_pages() + bytes.div_ceil(PAGE) > self.capacity_pages {
            return Err(libc::ENOSPC);
        }
        Ok(())
    }

    pub fn find(&mut self, parent: u64, name: &str) -> Answer<u64> {
        self.directory(parent)?.now.get(name).copied().ok_or(libc::ENOENT)
    }

    pub fn make(&mut self, parent: u64, name: &str, mode: u32, body: Body) -> Answer<u64> {
        if self.directory(parent)?.now.contains_key(name) {
            return Err(libc::EEXIST);
        }
        let id = self.next;
        self.next += 1;
        let name = name.to_owned();
        self.directory(parent)?.now.insert(name.clone(), id);
        let node = Node {
            body,
            mode,
            changed: now(),
            parent,
            name,
            is_linked: true,
            synced_links: 0,
            lookups: 0,
            opens: 0,
        };
        self.nodes.insert(id, node);
        Ok(id)
    }

    pub fn remove(&mut self, parent: u64, name: &str, is_directory: bool) -> Answer<()> {
        let id = self.find(parent, name)?;
        match &self.node(id)?.body {
            Body::Directory(_) if !is_directory => return Err(libc::EISDIR),
            Body::File(_) if is_directory => return Err(libc::ENOTDIR),
            Body::Directory(directory) if !directory.now.is_empty() => return Err(libc::ENOTEMPTY),
            _ => {}
        }
        self.directory(parent)?.now.remove(name);
        self.node_mut(id)?.is_linked = false;
        self.collect(id);
        Ok(())
    }

    pub fn rename(&mut self, from: (u64, &str), to: (u64, &str), flags: u32) -> Answer<()> {
        let id = self.find(from.0, from.1)?;
        let replaced = self.find(to.0, to.1).ok();
        match flags {
            0 => {}
            libc::RENAME_NOREPLACE if replaced.is_some() => return Err(libc::EEXIST),
            libc::RENAME_NOREPLACE => {}
            _ => return Err(libc::EINVAL),
        }
        if replaced == Some(id) {
            return Ok(());
        }
        if replaced.is_some() {
            let is_directory = matches!(self.node(id)?.body, Body::Directory(_));
            self.remove(to.0, to.1, is_directory)?;
        }
        self.directory(from.0)?.now.remove(from.1);
        self.directory(to.0)?.now.insert(to.1.to_owned(), id);
        let node = self.node_mut(id)?;
        (node.parent, node.name) = (to.0, to.1.to_owned());
        Ok(())
    }

    /// The kernel was told of a node.
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

    pub fn set_mode(&mut self, id: u64, mode: u32) -> Answer<()> {
        let node = self.node_mut(id)?;
        node.mode = node.mode & libc::S_IFMT | mode & !libc::S_IFMT;
        Ok(())
    }

    pub fn sync_file(&mut self, id: u64, what: Sync) -> Answer<()> {
        let file = self.file(id)?;
        match what {
            Sync::Done => file.sync(),
            Sync::Failed { drop } => file.fail_to_sync(drop),
        }
        Ok(())
    }

    pub fn sync_directory(&mut self, id: u64) -> Answer<()> {
        let directory = self.directory(id)?;
        let before = std::mem::replace(&mut directory.synced, directory.now.clone());
        let now: Vec<u64> = directory.now.values().copied().collect();
        for id in now {
            self.node_mut(id)?.synced_links += 1;
        }
        for id in before.into_values() {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.synced_links -= 1;
                self.collect(id);
            }
        }
        Ok(())
    }

    /// Everything that was not synced is gone, or, with a seed, each page and each name of it by chance. No node but the
    /// root keeps its number.
    pub fn lose_power(&mut self, seed: Option<u64>) {
        if let Some(seed) = seed {
            self.sync_some(seed);
        }
        let mut old = std::mem::take(&mut self.nodes);
        let mut left = vec![(ROOT, ROOT, ROOT, String::new())];
        while let Some((was, id, parent, name)) = left.pop() {
            let Some(mut node) = old.get(&was).cloned() else { continue };
            match &mut node.body {
                Body::File(file) => file.lose_power(),
                Body::Directory(directory) => {
                    let mut names = Names::new();
                    for (name, was) in std::mem::take(&mut directory.synced) {
                        names.insert(name.clone(), self.next);
                        left.push((was, self.next, id, name));
                        self.next += 1;
                    }
                    directory.now = names.clone();
                    directory.synced = names;
                }
            }
            let lookups = u64::from(id == ROOT);
            let node = Node { parent, name, is_linked: true, synced_links: 1, lookups, opens: 0, ..node };
            self.nodes.insert(id, node);
        }
        old.clear();
    }

    fn sync_some(&mut self, seed: u64) {
        let mut random = super::rule::Chance::new(seed);
        for node in self.nodes.values_mut() {
            match &mut node.body {
                Body::File(file) => file.sync_some(|| random.permille() < 500),
                Body::Directory(directory) => {
                    for (name, id) in &directory.now {
                        if directory.synced.get(name) != Some(id) && random.permille() < 500 {
                            directory.synced.insert(name.clone(), *id);
                        }
                    }
                    let now = &directory.now;
                    directory.synced.retain(|name, _| now.contains_key(name) || random.permille() < 500);
                }
            }
        }
    }

    /// Every node that is open or known to the kernel and is a file, to drop what is cached of it.
    pub fn files(&self) -> Vec<u64> {
        let files = self.nodes.iter().filter(|(_, node)| matches!(node.body, Body::File(_)));
        files.map(|(id, _)| *id).collect()
    }

    /// Frees a node that nobody can reach any more.
    fn collect(&mut self, id: u64) {
        let is_gone =
            |node: &Node| !node.is_linked && node.synced_links == 0 && node.lookups == 0 && node.opens == 0;
        if id != ROOT && self.nodes.get(&id).is_some_and(is_gone) {
            self.nodes.remove(&id);
        }
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
