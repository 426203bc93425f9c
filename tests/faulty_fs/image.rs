//! What the file system holds: names and bytes as they are now, and as they would be after a loss of power.
//!
//! It is strict where real ones are lenient. Bytes are durable by an fsync of their file alone, names by an fsync of their
//! directory alone, and what was never synced is gone: a file whose name was synced and whose bytes were not is empty.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::nodes::{Answer, Names, Nodes, Place};
use super::wire::ROOT;

pub use super::file::{File, PAGE};

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
    place: Place,
    is_linked: bool,
    /// Names of it that are synced.
    synced_links: u32,
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
            place: Place { lookups: 1, ..Place::new(ROOT, "") },
            is_linked: true,
            synced_links: 1,
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

    pub fn make(&mut self, parent: u64, name: &str, mode: u32, body: Body) -> Answer<u64> {
        if self.directory(parent)?.now.contains_key(name) {
            return Err(libc::EEXIST);
        }
        let id = self.next;
        self.next += 1;
        self.directory(parent)?.now.insert(name.to_owned(), id);
        let place = Place::new(parent, name);
        let node = Node { body, mode, changed: now(), place, is_linked: true, synced_links: 0 };
        self.nodes.insert(id, node);
        Ok(id)
    }

    pub fn rename(&mut self, from: (u64, &str), to: (u64, &str), flags: u32) -> Answer<()> {
        self.find(from.0, from.1)?;
        match flags {
            0 => {}
            libc::RENAME_NOREPLACE if self.find(to.0, to.1).is_ok() => return Err(libc::EEXIST),
            libc::RENAME_NOREPLACE => {}
            _ => return Err(libc::EINVAL),
        }
        self.replace(from, to)
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
            let place = Place { lookups: u64::from(id == ROOT), ..Place::new(parent, &name) };
            let node = Node { place, is_linked: true, synced_links: 1, ..node };
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
}

impl Nodes for Image {
    fn place(&self, id: u64) -> Answer<&Place> {
        self.node(id).map(|node| &node.place)
    }

    fn place_mut(&mut self, id: u64) -> Answer<&mut Place> {
        self.node_mut(id).map(|node| &mut node.place)
    }

    fn names(&mut self, id: u64) -> Answer<&mut Names> {
        self.directory(id).map(|directory| &mut directory.now)
    }

    fn lose_name(&mut self, id: u64) {
        if let Ok(node) = self.node_mut(id) {
            node.is_linked = false;
        }
    }

    fn collect(&mut self, id: u64) {
        let is_gone = |node: &Node| !node.is_linked && node.synced_links == 0 && !node.place.is_in_hand();
        if id != ROOT && self.nodes.get(&id).is_some_and(is_gone) {
            self.nodes.remove(&id);
        }
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
