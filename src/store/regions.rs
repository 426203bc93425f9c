//! The engine's memory, registered with every lane's queue.

use std::sync::mpsc;

use crate::backend::{REGION_BYTES_MAX, REGIONS_MAX};
use crate::error::{Error, Result, Status};
use crate::lane::shared::{Command, Shared};
use crate::memory::{HostSlice, Stretch};
use crate::sync::{AtomicBool, Mutex, Ordering, lock};

/// How often a wait for the lanes' answers looks whether they are still there.
const ANSWER_POLL: std::time::Duration = std::time::Duration::from_millis(50);

/// Which memory is registered under which numbers.
#[derive(Debug)]
pub(super) struct Regions {
    table: Mutex<Table>,
    warned: AtomicBool,
}

#[derive(Debug)]
struct Table {
    /// First address, bytes, and the numbers under which lanes know its parts; a device's memory has none.
    regions: Vec<(usize, usize, Vec<u16>)>,
    free: Vec<u16>,
}

impl Regions {
    /// A table whose first `taken` numbers belong to the staging buffer.
    pub(super) fn new(taken: u16) -> Regions {
        let last = u16::try_from(REGIONS_MAX).unwrap_or(u16::MAX);
        let table = Table { regions: Vec::new(), free: (taken..last).rev().collect() };
        Regions { table: Mutex::new(table), warned: AtomicBool::new(false) }
    }

    pub(super) fn register(&self, shared: &Shared, memory: Stretch) -> Result<()> {
        let mut table = lock(&self.table);
        let (start, length) = (memory.addr(), memory.length());
        let end = start.saturating_add(length);
        if table.regions.iter().any(|&(from, bytes, _)| start < from + bytes && from < end) {
            return Err(Error::new(
                Status::InvalidArgument,
                format!("{length} bytes at {start:#x} overlap memory that is registered already"),
            ));
        }
        let Some(HostSlice { pointer: address, .. }) = memory.host() else {
            table.regions.push((start, length, Vec::new()));
            return Ok(());
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
                if error.raw_os_error() == Some(libc::EFAULT) {
                    forget(shared, &indices);
                    table.free.extend(indices);
                    return Err(Error::os(format_args!("registering {length} bytes at {start:#x}"), &error)
                        .with_status(Status::InvalidArgument));
                }
                self.warn_once(shared, length, &error);
                break;
            }
        }
        table.regions.push((start, length, indices));
        Ok(())
    }

    /// Bytes of the region that begins at `address`; 0 if none does.
    pub(super) fn length(&self, address: usize) -> usize {
        let table = lock(&self.table);
        let found = table.regions.iter().find(|(start, _, _)| *start == address);
        found.map_or(0, |(_, length, _)| *length)
    }

    pub(super) fn unregister(&self, shared: &Shared, address: usize) -> Result<()> {
        let mut table = lock(&self.table);
        let position = table.regions.iter().position(|(start, _, _)| *start == address);
        let Some(position) = position else {
            return Err(Error::new(
                Status::InvalidArgument,
                format!("no registered memory begins at {address:#x}"),
            ));
        };
        let (_, _, indices) = table.regions.swap_remove(position);
        forget(shared, &indices);
        table.free.extend(indices);
        Ok(())
    }

    /// Transfers from and to memory that the kernel will not register still go direct, only slower.
    fn warn_once(&self, shared: &Shared, length: usize, error: &std::io::Error) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            shared.logger.warn(format_args!(
                "registering {length} bytes of the engine's memory with the kernel failed ({error}); its transfers go \
                 on without. A locked-memory limit (ulimit -l) is the usual cause"
            ));
        }
    }
}

fn forget(shared: &Shared, indices: &[u16]) {
    for &index in indices {
        // Unregistering answers nothing but that it is done.
        drop(ask_all(shared, |reply| Command::Unregister { index, reply }));
    }
}

/// Puts a command to every lane and waits for all answers; the first error wins.
fn ask_all(
    shared: &Shared,
    command: impl Fn(mpsc::Sender<std::io::Result<bool>>) -> Command,
) -> std::io::Result<()> {
    let (reply, answers) = mpsc::channel();
    for lane in &shared.lanes {
        lane.commands.push(command(reply.clone()));
        lane.waker.signal();
    }
    drop(reply);
    let mut outcome = Ok(());
    loop {
        match answers.recv_timeout(ANSWER_POLL) {
            Ok(answer) => outcome = outcome.and(answer.map(drop)),
            // A lane that ended, in a panic or because the store closes, answers nothing any more.
            Err(mpsc::RecvTimeoutError::Timeout) if !shared.is_poisoned() && !shared.is_stopping() => {}
            Err(_) => return outcome,
        }
    }
}
