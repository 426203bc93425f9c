//! The engine's memory, registered with every lane's queue.

use super::commands::ask_all;
use crate::backend::{Backend, Known, REGION_BYTES_MAX, REGIONS_MAX};
use crate::error::{Error, Result, Status};
use crate::lane::shared::{Command, Shared};
use crate::memory::{HostSlice, Stretch};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, lock};

/// Which memory is registered under which numbers.
pub(super) struct Regions {
    table: Mutex<Table>,
    backend: Arc<dyn Backend>,
    warned: AtomicBool,
}

struct Table {
    regions: Vec<Registered>,
    free: Vec<u16>,
}

struct Registered {
    /// First address, and bytes.
    start: usize,
    length: usize,
    /// The numbers under which lanes know its parts; a device's memory has none.
    indices: Vec<u16>,
    /// A device's memory that the backend knows.
    _known: Option<Known>,
}

impl Regions {
    /// A table whose first `taken` numbers belong to the staging buffer.
    pub(super) fn new(taken: u16, backend: Arc<dyn Backend>) -> Regions {
        let last = u16::try_from(REGIONS_MAX).unwrap_or(u16::MAX);
        let table = Table { regions: Vec::new(), free: (taken..last).rev().collect() };
        Regions { table: Mutex::new(table), backend, warned: AtomicBool::new(false) }
    }

    pub(super) fn register(&self, shared: &Shared, memory: Stretch) -> Result<()> {
        let mut table = lock(&self.table);
        let (start, length) = (memory.addr(), memory.length());
        let end = start.saturating_add(length);
        if table.regions.iter().any(|other| start < other.start + other.length && other.start < end) {
            return Err(Error::new(
                Status::InvalidArgument,
                format!("{length} bytes at {start:#x} overlap memory that is registered already"),
            ));
        }
        let address = match memory {
            Stretch::Host(slice) => slice.pointer,
            Stretch::Device(slice) => {
                let known = self.backend.know(slice).unwrap_or_else(|why| {
                    self.warn_once(
                        shared,
                        format_args!("registering device memory failed ({why}); its transfers go on without"),
                    );
                    None
                });
                table.regions.push(Registered { start, length, indices: Vec::new(), _known: known });
                return Ok(());
            }
        };
        let parts = length.div_ceil(REGION_BYTES_MAX);
        if parts > table.free.len() {
            return Err(Error::new(
                Status::Busy,
                format!(
                    "no room for {parts} more regions of up to {REGION_BYTES_MAX} bytes; unregister some"
                ),
            ));
        }
        let at = table.free.len() - parts;
        let indices = table.free.split_off(at);
        for (part, &index) in indices.iter().enumerate() {
            let from = part * REGION_BYTES_MAX;
            let region =
                HostSlice { pointer: address.offset(from), length: (length - from).min(REGION_BYTES_MAX) };
            let command = |reply| Command::Register { index, region, reply };
            if let Err(error) = ask_all(shared, command) {
                let refused = match Error::told(&error) {
                    Some(told) => Some(told.clone()),
                    None if error.raw_os_error() == Some(libc::EFAULT) => Some(
                        Error::os(format_args!("registering {length} bytes at {start:#x}"), &error)
                            .with_status(Status::InvalidArgument),
                    ),
                    None => None,
                };
                if let Some(refused) = refused {
                    forget(shared, &indices);
                    table.free.extend(indices);
                    return Err(refused);
                }
                self.warn_once(
                    shared,
                    format_args!(
                        "registering {length} bytes of the engine's memory with the kernel failed ({error}); its transfers go \
                         on without. A locked-memory limit (ulimit -l) is the usual cause"
                    ),
                );
                break;
            }
        }
        table.regions.push(Registered { start, length, indices, _known: None });
        Ok(())
    }

    /// Bytes of the region that begins at `address`; 0 if none does.
    pub(super) fn length(&self, address: usize) -> usize {
        let table = lock(&self.table);
        let found = table.regions.iter().find(|region| region.start == address);
        found.map_or(0, |region| region.length)
    }

    pub(super) fn unregister(&self, shared: &Shared, address: usize) -> Result<()> {
        let mut table = lock(&self.table);
        let position = table.regions.iter().position(|region| region.start == address);
        let Some(position) = position else {
            return Err(Error::new(
                Status::InvalidArgument,
                format!("no registered memory begins at {address:#x}"),
            ));
        };
        let Registered { indices, .. } = table.regions.swap_remove(position);
        forget(shared, &indices);
        table.free.extend(indices);
        Ok(())
    }

    /// Transfers from and to memory that the kernel will not register still go direct, only slower.
    fn warn_once(&self, shared: &Shared, what: std::fmt::Arguments<'_>) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            shared.logger.warn(what);
        }
    }
}

fn forget(shared: &Shared, indices: &[u16]) {
    for &index in indices {
        // Unregistering answers nothing but that it is done.
        drop(ask_all(shared, |reply| Command::Unregister { index, reply }));
    }
}
