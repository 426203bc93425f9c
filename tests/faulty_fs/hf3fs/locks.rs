//! The lock of a directory, which holds for all hosts, and the one extended attribute that it is.
//!
//! It belongs to a client, which is the daemon of a host since its start, and not to a process; it goes when it is told to.

use super::super::nodes::Answer;
use super::super::wire::{Fields, Out};
use super::Standin;
use super::tree::Body;

/// The attribute of a directory that is its lock.
const LOCK: &str = "hf3fs.lock";

/// The daemon of a host, from its start to its end.
#[derive(Clone)]
pub struct Client {
    pub uuid: String,
    pub host: String,
}

impl Client {
    pub fn new(host: &str) -> Client {
        Client { uuid: random_uuid(), host: host.to_owned() }
    }

    fn to_json(&self) -> String {
        format!(r#"{{"client":{{"uuid":"{}","hostname":"{}"}}}}"#, self.uuid, self.host)
    }
}

/// 8-4-4-4-12 digits.
pub fn random_uuid() -> String {
    let mut bytes = [0_u8; 16];
    // SAFETY: room for so many bytes; so few come at once or not at all.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    assert_eq!(got, 16, "{}", std::io::Error::last_os_error());
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [0..4, 4..6, 6..8, 8..10, 10..16].map(|range| digits[range].concat()).join("-")
}

impl Standin {
    /// Whether a host may change the names in a directory.
    pub fn check_lock(&mut self, mount: usize, directory: u64) -> Answer<()> {
        let client = &self.clients[mount];
        match &self.tree.directory(directory)?.lock {
            Some(holder) if holder.uuid != client.uuid => Err(libc::ENOLCK),
            _ => Ok(()),
        }
    }

    pub fn set_attribute(&mut self, mount: usize, node: u64, fields: &mut Fields) -> Answer<Vec<u8>> {
        let size = fields.u64() as u32;
        let name = fields.name();
        let value = String::from_utf8_lossy(fields.take(size as usize)).into_owned();
        if !matches!(self.tree.node(node)?.body, Body::Directory(_)) || name != LOCK {
            return Err(libc::EOPNOTSUPP);
        }
        let client = self.clients[mount].clone();
        let lock = &mut self.tree.directory(node)?.lock;
        let is_others = lock.as_ref().is_some_and(|holder| holder.uuid != client.uuid);
        match value.as_str() {
            "try_lock" if is_others => return Err(libc::ENOLCK),
            "try_lock" | "preempt_lock" => *lock = Some(client),
            "unlock" if is_others || lock.is_none() => return Err(libc::ENOLCK),
            "unlock" | "clear" => *lock = None,
            _ => return Err(libc::EINVAL),
        }
        Ok(Vec::new())
    }

    pub fn get_attribute(&self, node: u64, fields: &mut Fields) -> Answer<Vec<u8>> {
        let size = fields.u64() as u32;
        let name = fields.name();
        let value = match &self.tree.node(node)?.body {
            Body::Link(_) => return Err(libc::EOPNOTSUPP),
            Body::Directory(directory) if name == LOCK => directory.lock.as_ref().map(Client::to_json),
            _ => None,
        };
        sized(value.ok_or(libc::ENODATA)?.as_bytes(), size)
    }

    pub fn list_attributes(&self, node: u64, fields: &mut Fields) -> Answer<Vec<u8>> {
        let size = fields.u64() as u32;
        let names = match &self.tree.node(node)?.body {
            Body::Link(_) => return Err(libc::EOPNOTSUPP),
            Body::Directory(directory) if directory.lock.is_some() => format!("{LOCK}\0"),
            _ => String::new(),
        };
        sized(names.as_bytes(), size)
    }

    pub fn remove_attribute(&mut self, node: u64, fields: &mut Fields) -> Answer<Vec<u8>> {
        if fields.name() != LOCK || matches!(self.tree.node(node)?.body, Body::Link(_)) {
            return Err(libc::EPERM);
        }
        self.tree.directory(node)?.lock = None;
        Ok(Vec::new())
    }
}

/// An attribute, or its size for who has no room yet.
fn sized(value: &[u8], size: u32) -> Answer<Vec<u8>> {
    match size as usize {
        0 => Ok(Out::default().u32(value.len() as u32).u32(0).0),
        room if room < value.len() => Err(libc::ERANGE),
        _ => Ok(value.to_vec()),
    }
}
