//! A staging buffer, the devices of a store, and one copier with its waker.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nixl_store::cuda::Devices;
use nixl_store::log::{Level, Logger, Record};
use nixl_store::memory::{
    Copier, Copiers, CopyDirection, CopyDone, CopyPart, DevicePtr, DeviceSlice, HostPtr, HostSlice, Stretch,
};
use nixl_store::sys::event::Event;

use crate::common::Memory;
pub use crate::common::cuda::FAILED;
use crate::common::cuda::{Block, Driver, Kind, driver};

pub const KIB: usize = 1 << 10;
pub const MIB: usize = 1 << 20;
pub const STAGING_BYTES: usize = 4 * MIB;
/// `enum standin_kind`, all of it that the library may leave.
pub const KINDS: [i32; 6] = [0, 1, 2, 3, 5, 7];
/// How long a wait for the waker may be: a device that broke may not signal it.
const LOOK_MS: i32 = 100;

/// Counts what a thread asks of the allocator.
struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is the system allocator's own, with its arguments as they came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        CALLS.set(CALLS.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What this thread asked of the allocator so far.
pub fn allocator_calls() -> u64 {
    CALLS.get()
}

/// Where the staging buffer of a rig lies.
pub enum StagingMemory {
    Host(Memory),
    Device(Block, usize),
}

pub struct Rig {
    copier: Option<Box<dyn Copier>>,
    devices: Option<Devices>,
    pub staging: StagingMemory,
    waker: Arc<Event>,
    /// What has ended and was not looked at.
    done: Vec<CopyDone>,
    log: Arc<Mutex<Vec<String>>>,
    pub driver: &'static Driver,
    before: [u64; KINDS.len()],
    references: Vec<u32>,
    _turn: MutexGuard<'static, ()>,
}

/// Takes the stand-in for one test.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rig {
    /// With its staging buffer in ordinary memory.
    pub fn new() -> Rig {
        let turn = turn();
        let driver = driver();
        Rig::with(turn, driver, StagingMemory::Host(Memory::new(STAGING_BYTES)))
    }

    /// With its staging buffer in a device's memory.
    pub fn on_device(device: usize) -> Rig {
        let turn = turn();
        let driver = driver();
        let block = driver.allocate(Kind::Device, device, STAGING_BYTES);
        Rig::with(turn, driver, StagingMemory::Device(block, device))
    }

    fn with(turn: MutexGuard<'static, ()>, driver: &'static Driver, staging: StagingMemory) -> Rig {
        let mut rig = Rig {
            copier: None,
            devices: None,
            staging,
            waker: Arc::new(Event::new().unwrap()),
            done: Vec::new(),
            log: Arc::default(),
            driver,
            before: driver.alive(KINDS),
            references: (0..driver.devices()).map(|device| driver.references(device)).collect(),
            _turn: turn,
        };
        let log = Arc::clone(&rig.log);
        let sink = move |record: &Record<'_>| log.lock().unwrap().push(record.message.to_owned());
        let staging = rig.staging(0, STAGING_BYTES);
        rig.devices = Some(Devices::new(staging, &Logger::new(Arc::new(sink), Some(Level::Info))));
        rig
    }

    pub fn devices(&self) -> &Devices {
        self.devices.as_ref().unwrap()
    }

    /// Messages with this text in them.
    pub fn logged(&self, text: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    /// The copier, made when it is first asked for.
    pub fn copier(&mut self) -> &mut dyn Copier {
        if self.copier.is_none() {
            self.copier = Some(self.devices().copier(Arc::clone(&self.waker)).unwrap());
        }
        self.copier.as_mut().unwrap().as_mut()
    }

    /// A part of the staging buffer.
    pub fn staging(&self, from: usize, length: usize) -> Stretch {
        match &self.staging {
            StagingMemory::Host(memory) => {
                // SAFETY: the rig keeps it until the copier is gone, and looks at it between copies alone.
                let pointer = unsafe { HostPtr::new(memory.address().wrapping_add(from)) };
                Stretch::Host(HostSlice { pointer, length })
            }
            StagingMemory::Device(block, device) => Stretch::Device(slice(block, *device, from, length)),
        }
    }

    pub fn write_staging(&mut self, from: usize, bytes: &[u8]) {
        match &mut self.staging {
            StagingMemory::Host(memory) => {
                memory.bytes_mut()[from..from + bytes.len()].copy_from_slice(bytes)
            }
            StagingMemory::Device(block, _) => block.write(from, bytes),
        }
    }

    pub fn read_staging(&self, from: usize, length: usize) -> Vec<u8> {
        match &self.staging {
            StagingMemory::Host(memory) => memory.bytes()[from..from + length].to_vec(),
            StagingMemory::Device(block, _) => read(block, from, length),
        }
    }

    /// Waits for the next work to end.
    pub fn next(&mut self) -> CopyDone {
        let mut done = std::mem::take(&mut self.done);
        while done.is_empty() {
            self.waker.clear();
            self.copier().reap(&mut done);
            if done.is_empty() {
                self.waker.wait(LOOK_MS).unwrap();
            }
        }
        let first = done.remove(0);
        self.done = done;
        first
    }

    /// Does work and waits for it; the sums of its blocks, or why it failed.
    pub fn run(
        &mut self,
        direction: CopyDirection,
        parts: &[CopyPart],
        blocks: &[DeviceSlice],
    ) -> Result<Vec<u64>, String> {
        self.copier().push(7, direction, parts, blocks).map_err(|error| error.to_string())?;
        let done = self.next();
        assert_eq!(done.token, 7);
        done.result.map(|()| done.sums).map_err(|error| error.to_string())
    }

    /// Lets the copier go.
    pub fn let_go(&mut self) {
        self.copier = None;
    }

    /// Lets copier and devices go. Nothing of theirs is left with the driver, and no rule was broken.
    pub fn end(mut self) {
        self.copier = None;
        self.devices = None;
        assert_eq!(self.driver.alive(KINDS), self.before, "of kinds {KINDS:?}");
        self.assert_contexts_are_released();
        assert_eq!(self.driver.broken_rule(), None);
    }

    /// The same after an error that made the context of a device useless: all there is goes with that.
    pub fn end_without(mut self, device: usize) {
        self.copier = None;
        self.devices = None;
        self.assert_contexts_are_released();
        self.driver.revive(device);
        assert_eq!(self.driver.alive(KINDS), self.before, "of kinds {KINDS:?}");
        assert_eq!(self.driver.broken_rule(), None);
    }

    fn assert_contexts_are_released(&self) {
        for (device, &references) in self.references.iter().enumerate() {
            assert_eq!(self.driver.references(device), references, "of device {device}");
        }
    }
}

/// Memory of a device that holds these bytes, `offset` behind where it begins.
pub fn device_bytes(device: usize, offset: usize, bytes: &[u8]) -> Block {
    let block = driver().allocate(Kind::Device, device, (offset + bytes.len()).max(1));
    block.write(offset, bytes);
    block
}

pub fn slice(block: &Block, device: usize, from: usize, length: usize) -> DeviceSlice {
    DeviceSlice { pointer: DevicePtr::new(block.address() + from as u64), length, device: device as u16 }
}

pub fn read(block: &Block, from: usize, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    block.read(from, &mut bytes);
    bytes
}
