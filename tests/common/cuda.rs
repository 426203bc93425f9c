//! The stand-in for CUDA's driver (`tests/standin_cuda/`): built, loaded into this process, and asked for memory of each kind.
//!
//! Its soname is the driver's, so from here on the library under test finds it where it looks for a driver. The processor
//! cannot touch its device memory; tests read and write that through the stand-in.
//!
//! With `NIXL_STORE_TEST_LIBCUDA` in the environment, the path or soname of a real driver, that is loaded instead. A test
//! that asks the stand-in to fail, to hold or to count ends with `LEFT OUT` then (`scripts/test-gpu.sh`).

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulong, c_void};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use nixl_store::capi::nixl_store_segment_t;

/// Where an item's bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ordinary memory, without a driver in the process.
    Host,
    /// `cuMemAlloc`.
    Device,
    /// `cuMemAllocAsync`, from the device's pool.
    Pool,
    /// Reserved, made and mapped: what growing allocations are made of.
    Vmm,
    /// `cuMemAllocManaged`.
    Managed,
    /// `cuMemHostAlloc`.
    Pinned,
}

/// Names a real driver to load in the place of the stand-in.
const REAL: &str = "NIXL_STORE_TEST_LIBCUDA";

/// Functions of the driver and of the stand-in.
pub struct Driver {
    handle: *mut c_void,
    is_real: bool,
    /// Primary contexts, each retained once for as long as the process lives.
    contexts: Vec<AtomicPtr<c_void>>,
}

// SAFETY: the driver may be called from any thread.
unsafe impl Send for Driver {}
// SAFETY: as above.
unsafe impl Sync for Driver {}

pub(super) const SUCCESS: c_uint = 0;
pub const DELAY_US_MAX: libc::c_long = 2;
const VMM_GRANULE: usize = 2 << 20;

/// As in cuda.h: `CUmemAllocationProp`.
#[repr(C)]
struct AllocationProperties {
    kind: c_int,
    handle_types: c_int,
    location_kind: c_int,
    location_id: c_int,
    security: *mut c_void,
    flags: [u8; 8],
}

/// As in cuda.h: `CUmemAccessDesc`.
#[repr(C)]
struct AccessDescription {
    location_kind: c_int,
    location_id: c_int,
    flags: c_int,
}

/// `CUDA_ERROR_LAUNCH_FAILED`, which no argument brings about.
pub const FAILED: c_int = 719;
/// What the stand-in counts (`enum standin_kind`).
pub const ALLOCATIONS: c_int = 0;
pub const REGISTRATIONS: c_int = 1;
pub const STREAMS: c_int = 2;
pub const EVENTS: c_int = 3;
pub const MODULES: c_int = 5;

const PINNED_ALLOCATION: c_int = 1;
const ON_DEVICE: c_int = 1;
const READ_WRITE: c_int = 3;

/// The stand-in, in this process.
pub fn driver() -> &'static Driver {
    static DRIVER: OnceLock<Driver> = OnceLock::new();
    DRIVER.get_or_init(Driver::load)
}

/// The stand-in with the library's kernels in it. It is built anew where what it is made of has changed.
pub fn built() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("standin_cuda");
    let (library, stamp) = (out.join("libcuda.so.1"), out.join("made-of"));
    let made_of = ["tests/standin_cuda", "tests/cuda_kernels", "src/cuda/kernels"]
        .map(|folder| format!("{:016x}", hash_of(&root.join(folder))))
        .join(" ");
    if library.exists() && fs::read_to_string(&stamp).is_ok_and(|stamp| stamp == made_of) {
        return library;
    }
    let script = root.join("tests/standin_cuda/build.sh");
    let output = Command::new("bash").arg(script).arg(&out).output().expect("bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Another process may do the same: each file is there as a whole or not at all.
    let new = out.join(format!("made-of.{}", std::process::id()));
    fs::write(&new, made_of).unwrap();
    fs::rename(&new, &stamp).unwrap();
    library
}

/// A hash of the names and contents of the files in a folder.
fn hash_of(folder: &Path) -> u64 {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        (file.file_name(), fs::read(&file).unwrap()).hash(&mut hasher);
    }
    hasher.finish()
}

/// Calls a function of the driver and asserts that it succeeds.
macro_rules! call {
    ($driver:expr, $name:literal: fn($($type:ty),*), $($value:expr),*) => {{
        let function = $driver.symbol($name);
        // SAFETY: the function has this signature; pointers among the arguments are to live places.
        let code = unsafe {
            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($type),*) -> c_uint>(function)($($value),*)
        };
        assert_eq!(code, SUCCESS, $name);
    }};
}
pub(super) use call;

impl Driver {
    fn load() -> Driver {
        let real = std::env::var_os(REAL);
        let is_real = real.is_some();
        let path = real.unwrap_or_else(|| built().into_os_string());
        let path = CString::new(path.as_bytes()).unwrap();
        // SAFETY: loads the library that was just built, or the machine's driver.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        // SAFETY: dlerror's string lasts until the next call.
        assert!(!handle.is_null(), "{:?}", unsafe { CStr::from_ptr(libc::dlerror()) });
        let mut driver = Driver { handle, is_real, contexts: Vec::new() };
        call!(driver, "cuInit": fn(c_uint), 0);
        let mut count = 0;
        call!(driver, "cuDeviceGetCount": fn(*mut c_int), &raw mut count);
        for device in 0..count {
            let context = driver.retain(device);
            driver.contexts.push(AtomicPtr::new(context));
        }
        // Thousands of pieces follow each other in some tests; a pause before each is not what those are about.
        driver.set_delay_us(DELAY_US_MAX);
        driver
    }

    fn retain(&self, device: c_int) -> *mut c_void {
        let mut context = std::ptr::null_mut();
        call!(self, "cuDevicePrimaryCtxRetain": fn(*mut *mut c_void, c_int), &raw mut context, device);
        context
    }

    /// Ends a device's context, which an error made useless and nobody else retains, with all that is in it, and makes another.
    pub fn revive(&self, device: usize) {
        let number = device as c_int;
        assert_eq!(self.references(device), 1, "nobody else retains the context");
        call!(self, "cuDevicePrimaryCtxRelease_v2": fn(c_int), number);
        self.contexts[device].store(self.retain(number), Ordering::Relaxed);
    }

    /// How often a device's primary context is retained.
    pub fn references(&self, device: usize) -> u32 {
        if self.is_real {
            return 0; // a real driver does not tell
        }
        let function = self.symbol("standin_primary_references");
        // SAFETY: the signature of standin.h.
        let function: unsafe extern "C" fn(c_int) -> c_uint = unsafe { std::mem::transmute(function) };
        // SAFETY: takes a number.
        unsafe { function(device as c_int) }
    }

    pub fn devices(&self) -> usize {
        self.contexts.len()
    }

    pub(super) fn symbol(&self, name: &str) -> *mut c_void {
        self.left_out(self.is_real && name.starts_with("standin_"), name);
        let text = CString::new(name).unwrap();
        // SAFETY: a live handle and a string.
        let address = unsafe { libc::dlsym(self.handle, text.as_ptr()) };
        assert!(!address.is_null(), "the stand-in has no {name}");
        address
    }

    /// Whether it is the machine's own, and not the stand-in.
    pub fn is_real(&self) -> bool {
        self.is_real
    }

    /// What is alive of some kinds, to be compared with later; zeros where a real driver does not tell.
    pub fn alive<const N: usize>(&self, kinds: [c_int; N]) -> [u64; N] {
        if self.is_real { [0; N] } else { kinds.map(|kind| self.live(kind)) }
    }

    /// Ends the test if it needs what a real machine lacks.
    ///
    /// # Panics
    /// With the words that `scripts/test-gpu.sh` looks for.
    pub(super) fn left_out(&self, is_lacking: bool, what: &str) {
        assert!(!is_lacking, "LEFT OUT: a real driver has no {what}");
    }

    /// Does something with a device's context current on this thread, as an engine's thread would.
    pub fn on<T>(&self, device: usize, work: impl FnOnce() -> T) -> T {
        self.within(self.primary(device), work)
    }

    /// A device's primary context.
    pub fn primary(&self, device: usize) -> *mut c_void {
        self.left_out(self.is_real && device >= self.contexts.len(), "second device here");
        self.contexts[device].load(Ordering::Relaxed)
    }

    /// Does something with a context current on this thread.
    pub fn within<T>(&self, context: *mut c_void, work: impl FnOnce() -> T) -> T {
        call!(self, "cuCtxPushCurrent_v2": fn(*mut c_void), context);
        let outcome = work();
        let mut popped = std::ptr::null_mut();
        call!(self, "cuCtxPopCurrent_v2": fn(*mut *mut c_void), &raw mut popped);
        outcome
    }

    /// Memory of a kind on a device.
    pub fn allocate(&'static self, kind: Kind, device: usize, bytes: usize) -> Block {
        let mut address = 0u64;
        let mut handle = 0u64;
        let mut mapped = bytes;
        self.on(device, || match kind {
            Kind::Host => unreachable!("no device is needed for it"),
            Kind::Device => call!(self, "cuMemAlloc_v2": fn(*mut u64, usize), &raw mut address, bytes),
            Kind::Pool => {
                let stream = std::ptr::null_mut();
                call!(self, "cuMemAllocAsync": fn(*mut u64, usize, *mut c_void), &raw mut address, bytes, stream);
                call!(self, "cuStreamSynchronize": fn(*mut c_void), stream);
            }
            Kind::Vmm => {
                mapped = bytes.next_multiple_of(VMM_GRANULE);
                let id = device as c_int;
                let properties = AllocationProperties {
                    kind: PINNED_ALLOCATION,
                    handle_types: 0,
                    location_kind: ON_DEVICE,
                    location_id: id,
                    security: std::ptr::null_mut(),
                    flags: [0; 8],
                };
                let access =
                    AccessDescription { location_kind: ON_DEVICE, location_id: id, flags: READ_WRITE };
                call!(self, "cuMemAddressReserve": fn(*mut u64, usize, usize, u64, u64),
                    &raw mut address, mapped, 0, 0, 0);
                call!(self, "cuMemCreate": fn(*mut u64, usize, *const AllocationProperties, u64),
                    &raw mut handle, mapped, &raw const properties, 0);
                call!(self, "cuMemMap": fn(u64, usize, usize, u64, u64), address, mapped, 0, handle, 0);
                call!(self, "cuMemSetAccess": fn(u64, usize, *const AccessDescription, usize),
                    address, mapped, &raw const access, 1);
            }
            Kind::Managed => {
                const ATTACH_GLOBAL: c_uint = 1;
                call!(self, "cuMemAllocManaged": fn(*mut u64, usize, c_uint), &raw mut address, bytes, ATTACH_GLOBAL);
            }
            Kind::Pinned => {
                call!(self, "cuMemHostAlloc": fn(*mut u64, usize, c_uint), &raw mut address, bytes, 0);
            }
        });
        Block { driver: self, kind, device, address, handle, mapped }
    }

    /// Reads device memory behind everybody's back.
    pub fn read(&self, address: u64, into: &mut [u8]) {
        if self.is_real {
            return self.copy(address, into.as_mut_ptr() as u64, address, into.len());
        }
        call!(self, "standin_read": fn(u64, *mut c_void, usize), address, into.as_mut_ptr().cast(), into.len());
    }

    /// Writes device memory behind everybody's back.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        if self.is_real {
            return self.copy(address, address, bytes.as_ptr() as u64, bytes.len());
        }
        call!(self, "standin_write": fn(u64, *const c_void, usize), address, bytes.as_ptr().cast(), bytes.len());
    }

    /// A copy by the driver, from or to memory of the device that `of` is on, which is over when this returns.
    fn copy(&self, of: u64, to: u64, from: u64, bytes: usize) {
        let device = self.on(0, || self.device_of(of));
        self.on(device as usize, || {
            call!(self, "cuMemcpy": fn(u64, u64, usize), to, from, bytes);
            // From pageable memory it may return before the bytes are on the device.
            call!(self, "cuStreamSynchronize": fn(*mut c_void), std::ptr::null_mut());
        });
    }

    /// The device that memory lies on.
    pub fn device_of(&self, address: u64) -> c_int {
        const DEVICE_ORDINAL: c_int = 9;
        let mut device = -1;
        call!(self, "cuPointerGetAttribute": fn(*mut c_void, c_int, u64),
            (&raw mut device).cast(), DEVICE_ORDINAL, address);
        device
    }

    /// What is alive of a kind (`enum standin_kind`).
    pub fn live(&self, kind: c_int) -> u64 {
        let function = self.symbol("standin_live");
        // SAFETY: the signature of standin.h.
        let function: unsafe extern "C" fn(c_int) -> c_ulong = unsafe { std::mem::transmute(function) };
        // SAFETY: takes a number.
        unsafe { function(kind) }
    }

    /// The first rule that somebody broke.
    pub fn broken_rule(&self) -> Option<String> {
        if self.is_real {
            return None; // a real driver says nothing of the kind
        }
        let function = self.symbol("standin_broken_rule");
        // SAFETY: the signature of standin.h.
        let function: unsafe extern "C" fn(c_uint, *mut c_char, usize) -> c_int =
            unsafe { std::mem::transmute(function) };
        let mut text = [0 as c_char; 512];
        // SAFETY: a buffer as long as stated.
        let there = unsafe { function(0, text.as_mut_ptr(), text.len()) } != 0;
        // SAFETY: the stand-in ends the text with a NUL.
        there.then(|| unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned())
    }

    /// Forgets broken rules, counts, failures to come and what is held.
    pub fn reset(&self) {
        if self.is_real {
            return;
        }
        let function = self.symbol("standin_reset");
        // SAFETY: the signature of standin.h.
        let function: unsafe extern "C" fn() = unsafe { std::mem::transmute(function) };
        // SAFETY: takes nothing.
        unsafe { function() };
        self.set_delay_us(DELAY_US_MAX);
    }

    /// Lets the nth call of a function fail once.
    pub fn fail(&self, name: &str, nth: c_uint, code: c_int) {
        let text = CString::new(name).unwrap();
        call!(self, "standin_fail": fn(*const c_char, c_uint, c_int), text.as_ptr(), nth, code);
    }

    /// How long a stream may pause before an operation.
    pub fn set_delay_us(&self, delay_us: libc::c_long) {
        if self.is_real {
            return; // its streams take the time that they take
        }
        let function = self.symbol("standin_set_delay_us");
        // SAFETY: the signature of standin.h.
        let function: unsafe extern "C" fn(libc::c_long) = unsafe { std::mem::transmute(function) };
        // SAFETY: takes a number.
        unsafe { function(delay_us) };
    }

    /// Holds all streams, or lets them go on.
    pub fn hold_all(&self, held: bool) {
        if self.is_real && !held {
            return super::streams::open_gates();
        }
        let function = self.symbol(if held { "standin_hold_all" } else { "standin_release_all" });
        // SAFETY: the signature of standin.h.
        let function: unsafe extern "C" fn() = unsafe { std::mem::transmute(function) };
        // SAFETY: takes nothing.
        unsafe { function() };
    }

    /// Copies of a kind that streams carried out (`enum standin_copy`), and their bytes.
    pub fn copies(&self, kind: c_int) -> (u64, u64) {
        let function = self.symbol("standin_copies");
        // SAFETY: the signature of standin.h.
        let function: unsafe extern "C" fn(c_int, *mut u64) -> c_ulong =
            unsafe { std::mem::transmute(function) };
        let mut bytes = 0;
        // SAFETY: a place for the bytes.
        (unsafe { function(kind, &raw mut bytes) }, bytes)
    }

    /// Calls of a function, by its name in the manual.
    pub fn calls(&self, name: &str) -> u64 {
        let function = self.symbol("standin_calls");
        // SAFETY: the signature of standin.h.
        let function: unsafe extern "C" fn(*const c_char) -> c_ulong =
            unsafe { std::mem::transmute(function) };
        let text = CString::new(name).unwrap();
        // SAFETY: a string that lives during the call.
        unsafe { function(text.as_ptr()) }
    }

    /// Calls that made this thread wait for a device.
    pub fn sync_calls_here(&self) -> u64 {
        let function = self.symbol("standin_sync_calls");
        // SAFETY: the signature of standin.h.
        let function: unsafe extern "C" fn(libc::c_long) -> c_ulong =
            unsafe { std::mem::transmute(function) };
        // SAFETY: 0 is the calling thread.
        unsafe { function(0) }
    }

    /// Contexts on this thread's stack.
    pub fn context_depth(&self) -> u32 {
        let function = self.symbol("standin_context_depth");
        // SAFETY: the signature of standin.h.
        let function: unsafe extern "C" fn() -> c_uint = unsafe { std::mem::transmute(function) };
        // SAFETY: takes nothing.
        unsafe { function() }
    }
}

/// Memory that was allocated; freed with this.
pub struct Block {
    driver: &'static Driver,
    kind: Kind,
    device: usize,
    address: u64,
    handle: u64,
    mapped: usize,
}

impl Block {
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Leaves it to go with its context.
    pub fn forget(self) {
        std::mem::forget(self);
    }

    /// A part of it, as an item names it.
    pub fn segment(&self, from: usize, bytes: usize) -> nixl_store_segment_t {
        super::memory::segment(std::ptr::without_provenance_mut(self.address as usize + from), bytes)
    }

    pub fn read(&self, from: usize, into: &mut [u8]) {
        self.driver.read(self.address + from as u64, into);
    }

    pub fn write(&self, from: usize, bytes: &[u8]) {
        self.driver.write(self.address + from as u64, bytes);
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let (driver, address) = (self.driver, self.address);
        driver.on(self.device, || match self.kind {
            Kind::Host => {}
            Kind::Device | Kind::Managed => call!(driver, "cuMemFree_v2": fn(u64), address),
            Kind::Pool => {
                let stream = std::ptr::null_mut();
                call!(driver, "cuMemFreeAsync": fn(u64, *mut c_void), address, stream);
                call!(driver, "cuStreamSynchronize": fn(*mut c_void), stream);
            }
            Kind::Vmm => {
                call!(driver, "cuMemUnmap": fn(u64, usize), address, self.mapped);
                call!(driver, "cuMemRelease": fn(u64), self.handle);
                call!(driver, "cuMemAddressFree": fn(u64, usize), address, self.mapped);
            }
            Kind::Pinned => call!(driver, "cuMemFreeHost": fn(u64), address),
        });
    }
}
