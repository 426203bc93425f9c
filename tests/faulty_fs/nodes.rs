//! What the images of both personalities are made of: numbered nodes with names, which stay while somebody has them in hand.

use std::collections::BTreeMap;

use super::wire::ROOT;

/// An errno in place of an answer.
pub type Answer<T> = Result<T, i32>;

/// What is in a directory.
pub type Names = BTreeMap<String, u64>;

/// Where a node is, or was, and who has it in hand without a name.
#[derive(Clone, Default)]
pub struct Place {
    pub parent: u64,
    pub name: String,
    /// What kernels know of it.
    pub lookups: u64,
    pub opens: u64,
}

impl Place {
    pub fn new(parent: u64, name: &str) -> Place {
        Place { parent, name: name.to_owned(), lookups: 0, opens: 0 }
    }

    /// Whether somebody can reach it by its number.
    pub fn is_in_hand(&self) -> bool {
        self.lookups > 0 || self.opens > 0
    }
}

/// The nodes of an image.
pub trait Nodes {
    fn place(&self, id: u64) -> Answer<&Place>;

    fn place_mut(&mut self, id: u64) -> Answer<&mut Place>;

    /// What is in a directory now; `ENOTDIR` for everything else.
    fn names(&mut self, id: u64) -> Answer<&mut Names>;

    /// One of its names is gone.
    fn lose_name(&mut self, id: u64);

    /// Frees a node that nobody can reach any more.
    fn collect(&mut self, id: u64);

    /// The path below the mount that a node has, or had; of several, the one that it was given last.
    fn path(&self, id: u64) -> String {
        let mut parts = Vec::new();
        let mut at = id;
        while at != ROOT
            && let Ok(place) = self.place(at)
        {
            parts.push(place.name.as_str());
            at = place.parent;
        }
        parts.iter().rev().map(|part| format!("/{part}")).collect()
    }

    fn find(&mut self, parent: u64, name: &str) -> Answer<u64> {
        self.names(parent)?.get(name).copied().ok_or(libc::ENOENT)
    }

    fn remove(&mut self, parent: u64, name: &str, is_directory: bool) -> Answer<()> {
        let id = self.find(parent, name)?;
        match self.names(id) {
            Ok(_) if !is_directory => return Err(libc::EISDIR),
            Ok(names) if !names.is_empty() => return Err(libc::ENOTEMPTY),
            Err(errno) if is_directory => return Err(errno),
            _ => {}
        }
        self.names(parent)?.remove(name);
        self.lose_name(id);
        self.collect(id);
        Ok(())
    }

    /// Gives a node another name, in place of what has that.
    fn replace(&mut self, from: (u64, &str), to: (u64, &str)) -> Answer<()> {
        let id = self.find(from.0, from.1)?;
        let replaced = self.find(to.0, to.1).ok();
        if replaced == Some(id) {
            return Ok(());
        }
        if replaced.is_some() {
            let is_directory = self.names(id).is_ok();
            self.remove(to.0, to.1, is_directory)?;
        }
        self.names(from.0)?.remove(from.1);
        self.names(to.0)?.insert(to.1.to_owned(), id);
        let place = self.place_mut(id)?;
        (place.parent, place.name) = (to.0, to.1.to_owned());
        Ok(())
    }

    /// A kernel was told of a node.
    fn remember(&mut self, id: u64) {
        if let Ok(place) = self.place_mut(id) {
            place.lookups += 1;
        }
    }

    fn forget(&mut self, id: u64, lookups: u64) {
        if let Ok(place) = self.place_mut(id) {
            place.lookups = place.lookups.saturating_sub(lookups);
            self.collect(id);
        }
    }

    fn open(&mut self, id: u64) -> Answer<()> {
        self.place_mut(id)?.opens += 1;
        Ok(())
    }

    fn release(&mut self, id: u64) {
        if let Ok(place) = self.place_mut(id) {
            place.opens = place.opens.saturating_sub(1);
            self.collect(id);
        }
    }
}
