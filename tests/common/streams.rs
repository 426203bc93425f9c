//! Streams of an engine's, on the stand-in: what is put on them, and how far they are.

use std::ffi::{c_int, c_uint, c_ulong, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::cuda::{Driver, SUCCESS, call};

/// How long something that is to happen may take, on a machine that may be busy.
const TIME_MAX: Duration = Duration::from_secs(60);
const NON_BLOCKING: c_uint = 1;
/// The legacy default stream, by its other name, and the calling thread's own.
pub const LEGACY: usize = 1;
pub const PER_THREAD: usize = 2;
/// `CU_STREAM_CAPTURE_MODE_*`.
pub const GLOBAL: c_int = 0;
pub const RELAXED: c_int = 2;

/// Waits until something is so.
#[track_caller]
pub fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < TIME_MAX, "{what}: not within {TIME_MAX:?}");
        std::thread::yield_now();
    }
}

/// A context, made by the test and destroyed with this.
pub struct Context {
    driver: &'static Driver,
    pub handle: *mut c_void,
}

impl Context {
    pub fn new(driver: &'static Driver, device: c_int) -> Context {
        let mut handle = ptr::null_mut();
        call!(driver, "cuCtxCreate_v2": fn(*mut *mut c_void, c_uint, c_int), &raw mut handle, 0, device);
        let mut popped = ptr::null_mut();
        call!(driver, "cuCtxPopCurrent_v2": fn(*mut *mut c_void), &raw mut popped);
        Context { driver, handle }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        call!(self.driver, "cuCtxDestroy_v2": fn(*mut c_void), self.handle);
    }
}

/// With a real driver a stream is held by a word that it waits for.
const WORDS: usize = 512;
static GATES: OnceLock<&'static [AtomicU64; WORDS]> = OnceLock::new();

/// A word that nobody else has, in memory that all devices see. Had before any stream waits, which allocating might wait for.
fn gate(driver: &Driver) -> &'static AtomicU64 {
    /// `CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP`.
    const FOR_ALL: c_uint = 3;
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    let words = GATES.get_or_init(|| {
        let mut words: *mut c_void = ptr::null_mut();
        let bytes = WORDS * size_of::<u64>();
        driver.on(0, || {
            call!(driver, "cuMemHostAlloc": fn(*mut *mut c_void, usize, c_uint), &raw mut words, bytes, FOR_ALL);
        });
        // SAFETY: memory of the driver's, as long and aligned to a page, never freed.
        unsafe {
            ptr::write_bytes(words.cast::<u8>(), 0, bytes);
            &*words.cast()
        }
    });
    &words[TAKEN.fetch_add(1, Ordering::Relaxed) % WORDS]
}

/// Lets all go that are held with a real driver, for good.
pub fn open_gates() {
    if let Some(words) = GATES.get() {
        words.iter().for_each(|word| word.store(u64::MAX >> 1, Ordering::Release));
    }
}

/// A stream of a context's, or one of its default streams.
pub struct Stream {
    driver: &'static Driver,
    context: *mut c_void,
    pub handle: usize,
    /// What it is held by, with a real driver.
    gate: Option<&'static AtomicU64>,
    is_held: AtomicBool,
}

// SAFETY: the driver may be called from any thread.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Stream {
    /// A stream of a device's primary context.
    pub fn new(driver: &'static Driver, device: usize) -> Stream {
        Stream::within(driver, driver.primary(device))
    }

    /// A stream of a context.
    pub fn within(driver: &'static Driver, context: *mut c_void) -> Stream {
        Stream::with_flags(driver, context, NON_BLOCKING)
    }

    /// A stream that waits for the legacy default stream and the other way round.
    pub fn blocking(driver: &'static Driver, device: usize) -> Stream {
        Stream::with_flags(driver, driver.primary(device), 0)
    }

    fn with_flags(driver: &'static Driver, context: *mut c_void, flags: c_uint) -> Stream {
        let mut handle: *mut c_void = ptr::null_mut();
        driver.within(context, || {
            call!(driver, "cuStreamCreate": fn(*mut *mut c_void, c_uint), &raw mut handle, flags);
        });
        let gate = driver.is_real().then(|| gate(driver));
        Stream { driver, context, handle: handle.addr(), gate, is_held: AtomicBool::new(false) }
    }

    /// A default stream of a device's primary context; not to be destroyed.
    pub fn default(driver: &'static Driver, device: usize, handle: usize) -> Stream {
        let gate = driver.is_real().then(|| gate(driver));
        Stream { driver, context: driver.primary(device), handle, gate, is_held: AtomicBool::new(false) }
    }

    fn raw(&self) -> *mut c_void {
        ptr::without_provenance_mut(self.handle)
    }

    fn on<T>(&self, work: impl FnOnce() -> T) -> T {
        self.driver.within(self.context, work)
    }

    /// Puts a copy on it, between memory of any kind.
    pub fn copy(&self, to: u64, from: u64, bytes: usize) {
        self.on(|| {
            call!(self.driver, "cuMemcpyAsync": fn(u64, u64, usize, *mut c_void), to, from, bytes, self.raw());
        });
    }

    /// Puts the filling of memory on it.
    pub fn fill(&self, address: u64, value: u8, bytes: usize) {
        self.on(|| {
            call!(self.driver, "cuMemsetD8Async": fn(u64, u8, usize, *mut c_void), address, value, bytes, self.raw());
        });
    }

    /// Lets it begin nothing more, until it is released.
    pub fn hold(&self) {
        if let Some(gate) = self.gate {
            self.is_held.store(true, Ordering::Relaxed);
            let (address, next) = (gate.as_ptr() as u64, gate.load(Ordering::Relaxed) + 1);
            return self.on(|| {
                call!(self.driver, "cuStreamWaitValue64_v2": fn(*mut c_void, u64, u64, c_uint),
                    self.raw(), address, next, 0);
            });
        }
        self.on(|| call!(self.driver, "standin_hold_stream": fn(*mut c_void), self.raw()));
    }

    pub fn release(&self) {
        if let Some(gate) = self.gate {
            self.is_held.store(false, Ordering::Relaxed);
            gate.fetch_add(1, Ordering::Release);
            return;
        }
        self.on(|| call!(self.driver, "standin_release_stream": fn(*mut c_void), self.raw()));
    }

    /// Operations on it that are not done.
    pub fn pending(&self) -> u64 {
        if self.gate.is_some() {
            self.driver.left_out(self.is_held.load(Ordering::Relaxed), "count of what a held stream has");
            return u64::from(!self.is_done());
        }
        let function = self.driver.symbol("standin_pending");
        // SAFETY: the signature of standin.h.
        let function: unsafe extern "C" fn(*mut c_void) -> c_ulong = unsafe { std::mem::transmute(function) };
        // SAFETY: a stream's handle.
        self.on(|| unsafe { function(self.raw()) })
    }

    /// Whether the driver says that all on it is done.
    fn is_done(&self) -> bool {
        let function = self.driver.symbol("cuStreamQuery");
        // SAFETY: the function has this signature.
        let function: unsafe extern "C" fn(*mut c_void) -> c_uint = unsafe { std::mem::transmute(function) };
        // SAFETY: a stream's handle.
        self.on(|| unsafe { function(self.raw()) }) == SUCCESS
    }

    /// Whether it has come to a word whose value is not there yet; with a real driver, or to anything else that is not done.
    pub fn waits_for_value(&self) -> bool {
        if self.gate.is_some() {
            return !self.is_done();
        }
        let function = self.driver.symbol("standin_waits_for_value");
        // SAFETY: the signature of standin.h.
        let function: unsafe extern "C" fn(*mut c_void) -> c_int = unsafe { std::mem::transmute(function) };
        // SAFETY: a stream's handle.
        self.on(|| unsafe { function(self.raw()) != 0 })
    }

    /// Waits until all that is on it is done.
    #[track_caller]
    pub fn finish(&self) {
        until("the stream is done", || self.pending() == 0);
    }

    /// Begins a capture.
    pub fn capture(&self, mode: c_int) {
        self.on(|| call!(self.driver, "cuStreamBeginCapture_v2": fn(*mut c_void, c_int), self.raw(), mode));
    }

    /// Ends the capture, which must have gone well, and tells what is in its graph.
    pub fn end_capture(&self) -> usize {
        let (mut graph, mut nodes) = (ptr::null_mut(), 0usize);
        self.on(|| {
            call!(self.driver, "cuStreamEndCapture": fn(*mut c_void, *mut *mut c_void), self.raw(), &raw mut graph);
            call!(self.driver, "cuGraphGetNodes": fn(*mut c_void, *mut c_void, *mut usize),
                graph, ptr::null_mut(), &raw mut nodes);
            call!(self.driver, "cuGraphDestroy": fn(*mut c_void), graph);
        });
        nodes
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.release();
        if self.handle > PER_THREAD {
            self.on(|| call!(self.driver, "cuStreamDestroy_v2": fn(*mut c_void), self.raw()));
        }
    }
}

impl Driver {
    /// Calls that allocate or register memory, or free some, while a stream of the same device waited for a value.
    pub fn allocations_while_waiting(&self) -> u64 {
        if self.is_real() {
            return 0; // a real driver does not count them
        }
        let function = self.symbol("standin_allocations_while_waiting");
        // SAFETY: the signature of standin.h.
        let function: unsafe extern "C" fn() -> c_ulong = unsafe { std::mem::transmute(function) };
        // SAFETY: takes nothing.
        unsafe { function() }
    }
}
