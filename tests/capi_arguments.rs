//! Wrong arguments through the C API, as far as they can be wrong without an open store.
//!
//! An engine hands over raw pointers. Whatever it gets wrong has to come back as a status, in every
//! thread, with a message that names the function.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, in which a panic is a failure")]

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use nixl_store::capi::*;

/// A path that names no file: an open that accepts its arguments fails on it with something else.
const NO_SUCH_FILE: &CStr = c"/nonexistent/nixl_store/lmcache.yaml";

fn message() -> String {
    // SAFETY: never NULL, NUL-terminated, valid until this thread's next call.
    unsafe { CStr::from_ptr(nixl_store_error_message()) }.to_str().unwrap().to_owned()
}

fn options() -> nixl_store_open_options_t {
    nixl_store_open_options_t {
        struct_size: size_of::<nixl_store_open_options_t>(),
        chunk_bytes: 0,
        worker_id: 0,
        world_size: 0,
        has_cuda_device: 0,
        cuda_device: 0,
        cache_namespace: ptr::null(),
        log_function: None,
        log_context: ptr::null_mut(),
        config_text: ptr::null(),
        log_record_function: None,
    }
}

/// Opens what cannot be opened; a handle that came out of it would be a bug in itself.
fn open(path: *const c_char, options: *const nixl_store_open_options_t) -> nixl_store_status_t {
    let untouched: *mut nixl_store_t = ptr::without_provenance_mut(0x5555);
    let mut store = untouched;
    // SAFETY: the pointers are valid, or wrong in a way that the call has to notice.
    let status = unsafe { nixl_store_open(path, options, &raw mut store) };
    assert!(status < 0, "status {status}");
    assert_eq!(store, untouched, "an output is written on success only");
    assert!(message().starts_with("nixl_store_open: "), "{}", message());
    status
}

fn refuses(options: &nixl_store_open_options_t) -> bool {
    open(NO_SUCH_FILE.as_ptr(), options) == NIXL_STORE_ERROR_INVALID_ARGUMENT
}

type Call = (&'static str, fn(*mut nixl_store_t) -> nixl_store_status_t);

/// Every function that takes a store, with arguments that are right apart from it.
fn calls() -> Vec<Call> {
    macro_rules! call {
        ($name:ident $(, $argument:expr)* ; $($local:ident: $type:ty = $value:expr),*) => {
            (stringify!($name), |store: *mut nixl_store_t| {
                $(#[allow(unused_mut)] let mut $local: $type = $value;)*
                // SAFETY: only the handle is wrong, and it is never dereferenced.
                unsafe { $name(store $(, $argument)*) }
            })
        };
    }
    vec![
        call!(nixl_store_put, b"k".as_ptr().cast(), 1, b"v".as_ptr().cast(), 1;),
        call!(nixl_store_get, b"k".as_ptr().cast(), 1, (&raw mut buffer).cast(), 8, &raw mut length;
            buffer: [u8; 8] = [0; 8], length: usize = 0),
        call!(nixl_store_close;),
        call!(nixl_store_batch_put, &raw const item, 1, ptr::null(), &raw mut ticket;
            item: nixl_store_item_t = ITEM, ticket: u64 = 0),
        call!(nixl_store_batch_get, &raw const item, 1, ptr::null(), &raw mut ticket;
            item: nixl_store_item_t = ITEM, ticket: u64 = 0),
        call!(nixl_store_batch_lookup, &raw const key, 1, ptr::null(), &raw mut ticket;
            key: nixl_store_key_t = KEY, ticket: u64 = 0),
        call!(nixl_store_batch_remove, &raw const key, 1, ptr::null(), &raw mut ticket;
            key: nixl_store_key_t = KEY, ticket: u64 = 0),
        call!(nixl_store_batch_pin, &raw const key, 1, ptr::null(), &raw mut ticket;
            key: nixl_store_key_t = KEY, ticket: u64 = 0),
        call!(nixl_store_batch_unpin, &raw const key, 1, ptr::null(), &raw mut ticket;
            key: nixl_store_key_t = KEY, ticket: u64 = 0),
        call!(nixl_store_ticket_wait, 1, 0, ptr::null_mut(), 0, ptr::null_mut();),
        call!(nixl_store_ticket_poll, 1;),
        call!(nixl_store_ticket_cancel, 1;),
        call!(nixl_store_queue_create, &raw mut queue; queue: *mut nixl_store_queue_t = ptr::null_mut()),
        call!(nixl_store_queue_fd, QUEUE, &raw mut fd; fd: i32 = 0),
        call!(nixl_store_queue_drain, QUEUE, &raw mut completion, 1, &raw mut count;
            completion: nixl_store_completion_t = COMPLETION, count: usize = 0),
        call!(nixl_store_queue_destroy, QUEUE;),
        call!(nixl_store_memory_register, (&raw mut buffer).cast(), 8; buffer: [u8; 8] = [0; 8]),
        call!(nixl_store_memory_unregister, (&raw mut buffer).cast(); buffer: [u8; 8] = [0; 8]),
        call!(nixl_store_memory_allocate, 8, &raw mut address; address: *mut c_void = ptr::null_mut()),
        call!(nixl_store_memory_free, (&raw mut buffer).cast(); buffer: [u8; 8] = [0; 8]),
        call!(nixl_store_key_contains, b"k".as_ptr().cast(), 1;),
        call!(nixl_store_key_length, b"k".as_ptr().cast(), 1, &raw mut length; length: u64 = 0),
        call!(nixl_store_prefix_match, &raw const chain, 1, &raw mut matched;
            chain: nixl_store_key_t = KEY,
            matched: usize = 0),
        call!(nixl_store_key_remove, b"k".as_ptr().cast(), 1;),
        call!(nixl_store_key_pin, b"k".as_ptr().cast(), 1;),
        call!(nixl_store_key_unpin, b"k".as_ptr().cast(), 1;),
        call!(nixl_store_clear, ptr::null_mut();),
        call!(nixl_store_flush;),
        call!(nixl_store_stats_read, stats.as_mut_ptr().cast(); stats: [usize; 25] = [200; 25]),
        call!(nixl_store_capabilities_read, capabilities.as_mut_ptr().cast();
            capabilities: [usize; 117] = [936; 117]),
    ]
}

const QUEUE: *mut nixl_store_queue_t = ptr::without_provenance_mut(0x4e51_0000_0000_0001);
const ITEM: nixl_store_item_t = nixl_store_item_t {
    key: ptr::without_provenance(1),
    key_length: 1,
    segments: ptr::without_provenance(8),
    segment_count: 1,
    object_offset: 0,
    flags: 0,
    reserved: [0; 5],
};
const KEY: nixl_store_key_t =
    nixl_store_key_t { key: ptr::without_provenance(1), key_length: 1, reserved: [0; 4] };
const COMPLETION: nixl_store_completion_t =
    nixl_store_completion_t { ticket: 0, user_data: 0, status: 0, reserved: [0; 3] };

/// Numbers that a confused engine may take for a store: NULL, small ones, real addresses, numbers of
/// the very form that handles have.
fn garbage(seed: u64) -> Vec<*mut nixl_store_t> {
    let local = 0u64;
    let mut random = seed;
    let mut numbers = vec![
        0,
        1,
        u64::MAX,
        0xdead_beef,
        (&raw const local).addr() as u64,
        open as fn(_, _) -> _ as usize as u64,
        0x4e58_0000_0000_0000,
        0x4e58_0000_0000_0400,
        0x4e58_ffff_ffff_ffff,
        QUEUE.addr() as u64,
    ];
    for _ in 0..8 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        numbers.push(random);
        numbers.push(0x4e58 << 48 | random >> 16);
    }
    numbers.into_iter().map(|number| ptr::without_provenance_mut(number as usize)).collect()
}

/// A handle that is NULL or made up is told, by every function there is, before anything behind any
/// other argument is touched.
#[test]
fn no_function_takes_garbage_for_a_store() {
    for (name, call) in calls() {
        for store in garbage(7) {
            assert_eq!(call(store), NIXL_STORE_ERROR_INVALID_HANDLE, "{name} with {store:p}");
            assert!(message().starts_with(&format!("{name}: ")), "{}", message());
        }
    }
}

/// A thousand threads misuse every function at once: each gets its answers and its own messages, and
/// the process lives.
#[test]
fn a_thousand_confused_threads_get_statuses() {
    let threads: Vec<_> = (0..1000u64)
        .map(|seed| {
            let misuse = move || {
                for (name, call) in calls() {
                    for store in garbage(seed) {
                        assert_eq!(call(store), NIXL_STORE_ERROR_INVALID_HANDLE);
                    }
                    assert!(message().starts_with(&format!("{name}: ")));
                }
            };
            #[allow(clippy::disallowed_methods, reason = "a thread of the engine's, not of the library's")]
            let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(misuse).unwrap();
            thread
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Where the handle is to go decides whether there is any point in opening.
#[test]
fn open_wants_a_place_for_the_handle() {
    // SAFETY: NULL is what the call has to notice.
    let status = unsafe { nixl_store_open(NO_SUCH_FILE.as_ptr(), ptr::null(), ptr::null_mut()) };
    assert_eq!(status, NIXL_STORE_ERROR_INVALID_ARGUMENT);
    let mut place = [0usize; 2];
    let misaligned = (&raw mut place).cast::<u8>().wrapping_add(1).cast();
    // SAFETY: the misalignment is what the call has to notice.
    let status = unsafe { nixl_store_open(NO_SUCH_FILE.as_ptr(), ptr::null(), misaligned) };
    assert_eq!(status, NIXL_STORE_ERROR_INVALID_ARGUMENT);
    assert_eq!(place, [0, 0]);
}

/// A path is read up to its bound and no further, also where no NUL comes and memory ends.
#[test]
fn a_path_without_end_is_refused() {
    assert_eq!(open(c"".as_ptr(), ptr::null()), NIXL_STORE_ERROR_INVALID_ARGUMENT);
    let page = GuardedPages::new(NIXL_STORE_PATH_BYTES_MAX);
    page.fill(b'x');
    assert_eq!(open(page.start(), ptr::null()), NIXL_STORE_ERROR_INVALID_ARGUMENT);
    page.set_last(0);
    assert_ne!(open(page.start(), ptr::null()), NIXL_STORE_ERROR_INVALID_ARGUMENT, "{}", message());
}

/// The size that the caller states is the size that is read: sizes that no struct has are refused,
/// those of older callers are accepted.
#[test]
fn struct_size_says_how_much_is_read() {
    for size in [0, 1, 4, 7, 9, 12, 55, NIXL_STORE_STRUCT_BYTES_MAX + 8, 1 << 63, usize::MAX] {
        assert!(refuses(&nixl_store_open_options_t { struct_size: size, ..options() }), "{size}");
        assert!(message().contains("struct_size"), "{}", message());
    }
    for size in (8..=size_of::<nixl_store_open_options_t>()).step_by(8) {
        assert!(!refuses(&nixl_store_open_options_t { struct_size: size, ..options() }), "{size}");
    }
    // An old caller's struct ends in front of memory that is not there at all.
    let page = GuardedPages::new(4096);
    page.fill(0);
    let old = page.end_minus(16).cast::<nixl_store_open_options_t>().cast_mut();
    // SAFETY: the first member lies within the page.
    unsafe { (&raw mut (*old).struct_size).write(16) };
    assert_ne!(open(NO_SUCH_FILE.as_ptr(), old), NIXL_STORE_ERROR_INVALID_ARGUMENT, "{}", message());
}

/// A newer caller may pass a longer struct as long as the rest asks for nothing.
#[test]
fn an_unknown_tail_must_be_zero() {
    #[repr(C)]
    struct Newer {
        known: nixl_store_open_options_t,
        tail: [u64; 4],
    }
    let mut newer = Newer { known: options(), tail: [0; 4] };
    newer.known.struct_size = size_of::<Newer>();
    let open_newer = |newer: &Newer| open(NO_SUCH_FILE.as_ptr(), ptr::from_ref(newer).cast());
    assert_ne!(open_newer(&newer), NIXL_STORE_ERROR_INVALID_ARGUMENT, "{}", message());
    for at in 0..4 {
        newer.tail = [0; 4];
        newer.tail[at] = 1 << 56;
        assert_eq!(open_newer(&newer), NIXL_STORE_ERROR_INVALID_ARGUMENT);
        assert!(message().contains("does not know"), "{}", message());
    }
    newer.known.struct_size = size_of::<nixl_store_open_options_t>();
    let status = open_newer(&newer);
    assert_ne!(status, NIXL_STORE_ERROR_INVALID_ARGUMENT, "what is beyond the stated size is not read");
}

/// Options that contradict themselves are a bug of the engine's that it wants to hear of.
#[test]
fn contradictory_options_are_refused() {
    assert!(!refuses(&options()));
    assert!(refuses(&nixl_store_open_options_t { worker_id: 1, ..options() }));
    assert!(refuses(&nixl_store_open_options_t { worker_id: 4, world_size: 4, ..options() }));
    assert!(!refuses(&nixl_store_open_options_t { worker_id: 3, world_size: 4, ..options() }));
    assert!(refuses(&nixl_store_open_options_t { cuda_device: 1, ..options() }));
    assert!(refuses(&nixl_store_open_options_t { has_cuda_device: 2, ..options() }));
    let mut shifted = [0u64; 8];
    let misaligned = (&raw mut shifted).cast::<u8>().wrapping_add(4).cast();
    assert_eq!(open(NO_SUCH_FILE.as_ptr(), misaligned), NIXL_STORE_ERROR_INVALID_ARGUMENT);
}

/// A namespace is bounded, and read no further than its bound.
#[test]
fn a_namespace_is_bounded() {
    let page = GuardedPages::new(4096);
    page.fill(b'n');
    let too_long = page.end_minus(NIXL_STORE_NAMESPACE_BYTES_MAX + 1);
    assert!(refuses(&nixl_store_open_options_t { cache_namespace: too_long, ..options() }));
    page.set_last(0);
    assert!(!refuses(&nixl_store_open_options_t { cache_namespace: too_long, ..options() }));
    assert!(!refuses(&nixl_store_open_options_t { cache_namespace: c"".as_ptr(), ..options() }));
}

/// The calls that cannot fail answer constants, and leave the message of the last failed call alone.
#[test]
fn names_and_versions_leave_the_message_alone() {
    assert_eq!(open(c"".as_ptr(), ptr::null()), NIXL_STORE_ERROR_INVALID_ARGUMENT);
    let before = message();
    // SAFETY: all three answer NUL-terminated constants.
    unsafe {
        assert_eq!(CStr::from_ptr(nixl_store_version()).to_str().unwrap(), env!("CARGO_PKG_VERSION"));
        let name = CStr::from_ptr(nixl_store_status_name(NIXL_STORE_ERROR_POOL_FULL));
        assert_eq!(name, c"NIXL_STORE_ERROR_POOL_FULL");
        assert_eq!(CStr::from_ptr(nixl_store_status_name(i32::MIN)), c"NIXL_STORE_UNKNOWN");
    }
    assert_eq!(nixl_store_abi_version(), NIXL_STORE_ABI_VERSION);
    assert_eq!(message(), before);
    std::thread::spawn(|| assert_eq!(message(), "")).join().unwrap();
}

/// Memory that ends where nothing is mapped, so that a read too far is a crash and no luck.
struct GuardedPages {
    base: *mut u8,
    length: usize,
}

const PAGE: usize = 4096;

impl GuardedPages {
    fn new(length: usize) -> GuardedPages {
        assert!(length.is_multiple_of(PAGE));
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: new anonymous memory; the last page of it is then made inaccessible.
        let base = unsafe {
            let base = libc::mmap(ptr::null_mut(), length + PAGE, access, flags, -1, 0);
            assert_ne!(base, libc::MAP_FAILED);
            assert_eq!(libc::mprotect(base.byte_add(length), PAGE, libc::PROT_NONE), 0);
            base
        };
        GuardedPages { base: base.cast(), length }
    }

    fn fill(&self, byte: u8) {
        // SAFETY: the accessible part.
        unsafe { self.base.write_bytes(byte, self.length) };
    }

    fn set_last(&self, byte: u8) {
        // SAFETY: the last accessible byte.
        unsafe { self.base.add(self.length - 1).write(byte) };
    }

    fn start(&self) -> *const c_char {
        self.base.cast()
    }

    fn end_minus(&self, bytes: usize) -> *const c_char {
        self.base.wrapping_add(self.length - bytes).cast()
    }
}

impl Drop for GuardedPages {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length.
        unsafe { libc::munmap(self.base.cast(), self.length + PAGE) };
    }
}
