//! `3fs-virt`: directories that are in no chunk, and the links in `iovs` by which clients tell the daemon of their memory.

use std::path::{Component, Path};

use super::super::nodes::Answer;
use super::super::rule::Op;
use super::super::wire::Request;
use super::Standin;
use super::names::Shown;
use super::semaphores;

pub const VIRTUAL_NAME: &str = "3fs-virt";

/// Numbers of nodes that no file has: all of them begin with 0xf.
pub const VIRTUAL: u64 = -2_i64 as u64;
pub const IOVS: u64 = -(1_i64 << 31) as u64;
const DIRECTORIES: [(&str, u64, u32); 4] = [
    ("rm-rf", -3_i64 as u64, 0o777),
    ("iovs", IOVS, 0o777),
    ("get-conf", -4_i64 as u64, 0o555),
    ("set-conf", -5_i64 as u64, 0o777),
];
/// The first link has the number of the directory less this.
const FIRST_LINK: u64 = 65535;
/// Links to the semaphores, by priority: high, normal, low.
const SUBMIT_NAMES: [&str; 3] = ["submit-ios.ph", "submit-ios", "submit-ios.pl"];

/// What a ring's memory has besides its entries, and what an entry takes.
const RING_BYTES: u64 = 4096 + 4 * 4 + 32;
const ENTRY_BYTES: u64 = 56 + 24 + 16;

/// A link that a client made: memory of its own, or a ring.
pub struct Iov {
    name: String,
    target: String,
    /// The thread that made it.
    thread: u32,
}

/// Those of a host, and the ends of the names of its semaphores. A place is a link's number.
pub struct Iovs {
    places: Vec<Option<Iov>>,
    semaphores: [String; 3],
}

impl Iovs {
    pub fn new(semaphores: &[String; 3]) -> Iovs {
        Iovs { places: Vec::new(), semaphores: semaphores.clone() }
    }

    /// The numbers of all links and their names.
    fn list(&self) -> Vec<(String, u64)> {
        let submits = SUBMIT_NAMES.iter().zip(1..).map(|(name, number)| ((*name).to_owned(), IOVS - number));
        let iovs = self.places.iter().zip(0..);
        let iovs =
            iovs.filter_map(|(iov, place)| Some((iov.as_ref()?.name.clone(), IOVS - FIRST_LINK - place)));
        submits.chain(iovs).collect()
    }

    fn target(&self, node: u64) -> Answer<String> {
        match IOVS - node {
            number @ 1..=3 => Ok(semaphores::path(&self.semaphores[number as usize - 1])),
            number => {
                let place = number.checked_sub(FIRST_LINK).ok_or(libc::ENOENT)?;
                let iov = self.places.get(place as usize).and_then(Option::as_ref);
                iov.map(|iov| iov.target.clone()).ok_or(libc::ENOENT)
            }
        }
    }

    fn add(&mut self, name: String, target: String, thread: u32) -> Answer<u64> {
        check_iov(&name, &target)?;
        // One of the same name is forgotten.
        let _ = self.remove(&name);
        let free = self.places.iter().position(Option::is_none);
        let place = free.unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.places[place] = Some(Iov { name, target, thread });
        Ok(IOVS - FIRST_LINK - place as u64)
    }

    fn remove(&mut self, name: &str) -> Answer<()> {
        if SUBMIT_NAMES.contains(&name) {
            return Err(libc::EPERM);
        }
        let is_it = |iov: &&mut Option<Iov>| iov.as_ref().is_some_and(|iov| iov.name == name);
        *self.places.iter_mut().find(is_it).ok_or(libc::ENOENT)? = None;
        Ok(())
    }

    /// The directory was closed by the last who had this open of it: nothing of that thread stays.
    pub fn remove_of(&mut self, thread: u32) {
        for place in &mut self.places {
            if place.as_ref().is_some_and(|iov| iov.thread == thread) {
                *place = None;
            }
        }
    }
}

/// Whether a node is none of the tree's.
pub fn is_virtual(node: u64) -> bool {
    node >> 60 == 0xf
}

impl Standin {
    /// Answers what is asked of a virtual directory or a link in one. Not of their handles, which are as any.
    pub fn perform_virtual(&mut self, op: Op, request: &Request) -> Answer<Vec<u8>> {
        let (mount, node) = (request.mount, request.node);
        let mut fields = request.fields();
        match op {
            Op::Lookup => {
                let name = fields.name();
                let mut found = self.list_virtual(mount, node).into_iter().filter(|(of, _)| *of == name);
                let (_, id) = found.next().ok_or(libc::ENOENT)?;
                let shown = self.show_virtual(mount, id)?;
                Ok(self.entry_of(id, &shown, self.cache_ms))
            }
            Op::GetAttr => {
                let shown = self.show_virtual(mount, node)?;
                Ok(self.attributes_of(node, &shown))
            }
            Op::ReadLink => Ok(self.iovs[mount].target(node)?.into_bytes()),
            Op::SymLink if node == IOVS => {
                let (name, target) = (fields.name(), fields.name());
                let id = self.iovs[mount].add(name, target, request.thread)?;
                let shown = self.show_virtual(mount, id)?;
                Ok(self.entry_of(id, &shown, self.kind.absent_ms))
            }
            Op::Unlink if node == IOVS => self.iovs[mount].remove(&fields.name()).map(|()| Vec::new()),
            Op::SetXAttr | Op::GetXAttr | Op::ListXAttr => Err(libc::EOPNOTSUPP),
            _ => Err(libc::EPERM),
        }
    }

    pub fn list_virtual(&self, mount: usize, directory: u64) -> Vec<(String, u64)> {
        match directory {
            VIRTUAL => DIRECTORIES.iter().map(|(name, id, _)| ((*name).to_owned(), *id)).collect(),
            IOVS => self.iovs[mount].list(),
            _ => Vec::new(),
        }
    }

    pub fn show_virtual(&self, mount: usize, node: u64) -> Answer<Shown> {
        let known = DIRECTORIES.iter().find(|(_, id, _)| *id == node).map(|(_, _, mode)| *mode);
        let directory = if node == VIRTUAL { Some(0o555) } else { known };
        let (mode, size) = match directory {
            Some(mode) => (libc::S_IFDIR | mode, 0),
            None => (libc::S_IFLNK | 0o777, self.iovs[mount].target(node)?.len() as u64),
        };
        Ok(Shown { mode, size, links: 1, changed: Default::default() })
    }
}

/// What the name of a link says must fit the memory that it leads to.
fn check_iov(name: &str, target: &str) -> Answer<()> {
    let mut parts = name.split('.');
    if !parts.next().is_some_and(is_uuid) {
        // Taken for damaged data, which is EIO.
        return Err(libc::EIO);
    }
    let (mut block, mut depth, mut has_ring_parts) = (0, None, false);
    for part in parts {
        let (kind, rest) = part.split_at_checked(1).unwrap_or(("", ""));
        let number = || rest.parse::<i64>().map_err(|_| libc::EINVAL);
        match kind {
            "b" => block = u64::try_from(number()?).ok().filter(|block| *block > 0).ok_or(libc::EINVAL)?,
            "r" | "w" => depth = Some(number()?),
            "t" if number()? >= 0 => has_ring_parts = true,
            "f" if rest.bytes().all(|digit| matches!(digit, b'0' | b'1')) => has_ring_parts = true,
            "p" if matches!(rest, "h" | "l" | "n" | "") => has_ring_parts = true,
            "t" | "f" | "p" => return Err(libc::EINVAL),
            // Not looked at.
            _ => {}
        }
    }
    let mut below = Path::new(target).strip_prefix("/dev/shm").map_err(|_| libc::EINVAL)?.components();
    // Nowhere else is looked: it might be in a mount of this server, which cannot wait for itself.
    if below.clone().next().is_none() || !below.all(|part| matches!(part, Component::Normal(_))) {
        return Err(libc::EINVAL);
    }
    let memory = std::fs::metadata(target).ok().filter(std::fs::Metadata::is_file);
    let size = memory.ok_or(libc::EINVAL)?.len();
    let entries = size.saturating_sub(RING_BYTES) / ENTRY_BYTES;
    let is_too_deep = depth.is_some_and(|depth| depth > entries as i64 - 1);
    if block > size || is_too_deep || has_ring_parts && depth.is_none() {
        return Err(libc::EINVAL);
    }
    Ok(())
}

/// 8-4-4-4-12 hexadecimal digits.
fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}
