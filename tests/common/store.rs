//! An open store, with the exported functions as safe methods.

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr;
use std::sync::{Arc, Mutex};

use nixl_store::capi::*;

use super::batch::{Batch, Pending, Queue, Submit};
use super::cuda::{self, Kind};
use super::hf3fs;
use super::memory::segment;
use super::mirror::Mirror;
use super::setup::{Scratch, Setup};
use super::status::{NOT_FOUND, OK, Status, message};

/// What a store has logged.
pub type Log = Mutex<Vec<String>>;

/// An open store; closed at the end, if the test did not close it.
pub struct Store {
    handle: *mut nixl_store_t,
    kind: Kind,
    // The library is given its address; it must stay until the store is closed.
    log: Arc<Log>,
}

// SAFETY: a handle may be used from any thread, several at a time.
unsafe impl Send for Store {}
// SAFETY: as above.
unsafe impl Sync for Store {}

unsafe extern "C" fn take_message(context: *mut c_void, _level: u32, message: *const c_char) {
    // SAFETY: the context is the log of a store that is open, the message a string during the call.
    let (log, message) = unsafe { (&*context.cast::<Log>(), CStr::from_ptr(message)) };
    log.lock().unwrap().push(message.to_string_lossy().into_owned());
}

impl Store {
    /// Opens a store in the scratch directory, or tells why that was refused.
    pub fn try_open(setup: &Setup, scratch: &Scratch) -> Result<Store, (Status, String)> {
        if setup.memory != Kind::Host {
            cuda::driver();
        }
        if setup.backend() == "HF3FS" {
            hf3fs::standin();
            if !scratch.is_on_a_mount() {
                hf3fs::make_mount(scratch.path());
            }
        }
        let path = scratch.path().join("lmcache.yaml");
        std::fs::write(&path, setup.yaml(&scratch.data())).unwrap();
        let path = CString::new(path.to_str().unwrap()).unwrap();
        Store::try_open_with(setup, Some(&path), None)
    }

    /// Opens a store at this path, whose configuration is in no file, or tells why that was refused. A directory above it is a
    /// mount, where the backend needs one.
    pub fn try_open_at(setup: &Setup, data: &Path) -> Result<Store, (Status, String)> {
        if setup.backend == "HF3FS" {
            hf3fs::standin();
        }
        let text = CString::new(setup.yaml(data)).unwrap();
        Store::try_open_with(setup, None, Some(&text))
    }

    #[track_caller]
    pub fn open_at(setup: &Setup, data: &Path) -> Store {
        match Store::try_open_at(setup, data) {
            Ok(store) => store,
            Err((status, why)) => panic!("{status:?}: {why}\n{}", setup.yaml(data)),
        }
    }

    fn try_open_with(
        setup: &Setup,
        path: Option<&CStr>,
        text: Option<&CStr>,
    ) -> Result<Store, (Status, String)> {
        let pointer = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
        let log = Arc::new(Log::default());
        let options = nixl_store_open_options_t {
            struct_size: size_of::<nixl_store_open_options_t>(),
            chunk_bytes: 0,
            worker_id: 0,
            world_size: 0,
            has_cuda_device: setup.cuda_device.is_some().into(),
            cuda_device: setup.cuda_device.unwrap_or(0),
            cache_namespace: ptr::null(),
            log_function: Some(take_message),
            log_context: Arc::as_ptr(&log).cast_mut().cast(),
            config_text: pointer(text),
            log_record_function: None,
        };
        let mut handle = ptr::null_mut();
        // SAFETY: a path or none, options of the stated size, a place for the handle; the log outlives the store.
        let status = Status(unsafe { nixl_store_open(pointer(path), &raw const options, &raw mut handle) });
        if status == OK { Ok(Store { handle, kind: setup.memory, log }) } else { Err((status, message())) }
    }

    #[track_caller]
    pub fn open(setup: &Setup, scratch: &Scratch) -> Store {
        match Store::try_open(setup, scratch) {
            Ok(store) => store,
            Err((status, why)) => panic!("{status:?}: {why}\n{}", setup.yaml(&scratch.data())),
        }
    }

    /// Closes it; it may be closed only once.
    pub fn close(&self) -> Status {
        // SAFETY: whether the handle is still open is what the call has to find out.
        Status(unsafe { nixl_store_close(self.handle) })
    }

    pub fn handle(&self) -> *mut nixl_store_t {
        self.handle
    }

    /// Lines of the log that hold `text`.
    pub fn logged(&self, text: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    /// All that it has logged.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Where the bytes of its items lie.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn put(&self, key: &[u8], data: &[u8]) -> Status {
        let mut segments = [segment(data.as_ptr().cast_mut().cast(), data.len())];
        let mirror = Mirror::of(self.kind, if data.is_empty() { &mut [] } else { &mut segments }, true);
        let address = segments[0].address.cast_const();
        // SAFETY: both slices, or the mirror of the second, are readable for their lengths.
        let status = Status(unsafe {
            nixl_store_put(self.handle, key.as_ptr().cast(), key.len(), address, data.len())
        });
        mirror.iter().for_each(Mirror::give_back);
        status
    }

    /// The status of a get, and the length where it is told.
    pub fn get(&self, key: &[u8], buffer: &mut [u8]) -> (Status, Option<usize>) {
        const UNTOLD: usize = usize::MAX;
        let mut length = UNTOLD;
        let mut segments = [segment(buffer.as_mut_ptr().cast(), buffer.len())];
        let mirror = Mirror::of(self.kind, if buffer.is_empty() { &mut [] } else { &mut segments }, false);
        // SAFETY: the slices are readable and writable for their lengths.
        let status = Status(unsafe {
            nixl_store_get(
                self.handle,
                key.as_ptr().cast(),
                key.len(),
                segments[0].address,
                buffer.len(),
                &raw mut length,
            )
        });
        mirror.iter().for_each(Mirror::give_back);
        (status, (length != UNTOLD).then_some(length))
    }

    /// The object under a key of at most `capacity` bytes; `None`: not found. Anything else fails the test.
    #[track_caller]
    pub fn fetch(&self, key: &[u8], capacity: usize) -> Option<Vec<u8>> {
        let mut buffer = vec![0; capacity];
        match self.get(key, &mut buffer) {
            (OK, Some(length)) => {
                buffer.truncate(length);
                Some(buffer)
            }
            (NOT_FOUND, None) => None,
            other => panic!("get: {other:?}: {}", message()),
        }
    }

    pub fn submit_puts<'s, 'm>(
        &'s self,
        batch: &Batch<'m>,
        options: Submit<'_>,
    ) -> Result<Pending<'s, 'm>, Status> {
        batch.submit(self, true, options)
    }

    pub fn submit_gets<'s, 'm>(
        &'s self,
        batch: &Batch<'m>,
        options: Submit<'_>,
    ) -> Result<Pending<'s, 'm>, Status> {
        batch.submit(self, false, options)
    }

    /// Puts a batch and waits for it.
    #[track_caller]
    pub fn put_batch(&self, batch: &Batch<'_>) -> (Status, Vec<nixl_store_result_t>) {
        self.submit_puts(batch, Submit::default()).expect("submitted").wait()
    }

    /// Gets a batch and waits for it.
    #[track_caller]
    pub fn get_batch(&self, batch: &Batch<'_>) -> (Status, Vec<nixl_store_result_t>) {
        self.submit_gets(batch, Submit::default()).expect("submitted").wait()
    }

    pub fn queue(&self) -> Queue<'_> {
        Queue::new(self)
    }

    pub fn contains(&self, key: &[u8]) -> Status {
        // SAFETY: the key is readable.
        Status(unsafe { nixl_store_key_contains(self.handle, key.as_ptr().cast(), key.len()) })
    }

    pub fn length(&self, key: &[u8]) -> (Status, u64) {
        let mut length = u64::MAX;
        // SAFETY: the key is readable, the place writable.
        let status =
            unsafe { nixl_store_key_length(self.handle, key.as_ptr().cast(), key.len(), &raw mut length) };
        (Status(status), length)
    }

    #[track_caller]
    pub fn prefix_match(&self, keys: &[&[u8]]) -> usize {
        let keys = keys_to_c(keys);
        let mut matched = usize::MAX;
        // SAFETY: the keys are readable, the place writable.
        let status =
            unsafe { nixl_store_prefix_match(self.handle, keys.as_ptr(), keys.len(), &raw mut matched) };
        assert_eq!(Status(status), OK, "{}", message());
        matched
    }

    /// The stored prefix of a chain, and how many of the keys behind it would be stored now.
    #[track_caller]
    pub fn prefix_plan(&self, keys: &[&[u8]], object_bytes: u64) -> (usize, usize) {
        let keys = keys_to_c(keys);
        let (mut matched, mut admitted) = (usize::MAX, usize::MAX);
        let (matched_out, admitted_out) = (&raw mut matched, &raw mut admitted);
        // SAFETY: the keys are readable, the places writable.
        let status = unsafe {
            let (keys, count) = (keys.as_ptr(), keys.len());
            nixl_store_prefix_plan(self.handle, keys, count, object_bytes, 0, matched_out, admitted_out)
        };
        assert_eq!(Status(status), OK, "{}", message());
        (matched, admitted)
    }

    pub fn remove(&self, key: &[u8]) -> Status {
        // SAFETY: the key is readable.
        Status(unsafe { nixl_store_key_remove(self.handle, key.as_ptr().cast(), key.len()) })
    }

    pub fn pin(&self, key: &[u8]) -> Status {
        // SAFETY: the key is readable.
        Status(unsafe { nixl_store_key_pin(self.handle, key.as_ptr().cast(), key.len()) })
    }

    pub fn unpin(&self, key: &[u8]) -> Status {
        // SAFETY: the key is readable.
        Status(unsafe { nixl_store_key_unpin(self.handle, key.as_ptr().cast(), key.len()) })
    }

    #[track_caller]
    pub fn clear(&self) -> u64 {
        let mut removed = u64::MAX;
        // SAFETY: the place is writable.
        let status = Status(unsafe { nixl_store_clear(self.handle, &raw mut removed) });
        assert_eq!(status, OK, "{}", message());
        removed
    }

    pub fn flush(&self) -> Status {
        // SAFETY: an open store.
        Status(unsafe { nixl_store_flush(self.handle) })
    }

    #[track_caller]
    pub fn stats(&self) -> nixl_store_stats_t {
        // SAFETY: plain numbers, for which zero is valid.
        let mut stats: nixl_store_stats_t = unsafe { std::mem::zeroed() };
        stats.struct_size = size_of::<nixl_store_stats_t>();
        // SAFETY: writable for the size that it states.
        let status = Status(unsafe { nixl_store_stats_read(self.handle, &raw mut stats) });
        assert_eq!(status, OK, "{}", message());
        stats
    }

    #[track_caller]
    pub fn capabilities(&self) -> nixl_store_capabilities_t {
        // SAFETY: plain numbers and characters, for which zero is valid.
        let mut capabilities: nixl_store_capabilities_t = unsafe { std::mem::zeroed() };
        capabilities.struct_size = size_of::<nixl_store_capabilities_t>();
        // SAFETY: writable for the size that it states.
        let status = Status(unsafe { nixl_store_capabilities_read(self.handle, &raw mut capabilities) });
        assert_eq!(status, OK, "{}", message());
        capabilities
    }

    /// Registers memory that stays mapped until it is unregistered or the store is closed.
    pub fn register(&self, address: *mut u8, length: usize) -> Status {
        // SAFETY: as the caller says.
        Status(unsafe { nixl_store_memory_register(self.handle, address.cast(), length) })
    }

    pub fn unregister(&self, address: *mut u8) -> Status {
        // SAFETY: an address is looked up, not followed.
        Status(unsafe { nixl_store_memory_unregister(self.handle, address.cast()) })
    }

    pub fn allocate(&self, length: usize) -> Result<*mut u8, Status> {
        let mut address = ptr::null_mut();
        // SAFETY: the place is writable.
        match Status(unsafe { nixl_store_memory_allocate(self.handle, length, &raw mut address) }) {
            OK => Ok(address.cast()),
            refused => Err(refused),
        }
    }

    pub fn free(&self, address: *mut u8) -> Status {
        // SAFETY: an address is looked up, not followed.
        Status(unsafe { nixl_store_memory_free(self.handle, address.cast()) })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Some tests closed it already; then this is refused and changes nothing.
        self.close();
    }
}

/// Keys as the elements of an array for C, which lives no longer than they do.
pub(super) fn keys_to_c<K: AsRef<[u8]>>(keys: &[K]) -> Vec<nixl_store_key_t> {
    let key = |key: &[u8]| nixl_store_key_t {
        key: key.as_ptr().cast(),
        key_length: key.len() as u64,
        reserved: [0; 4],
    };
    keys.iter().map(|one| key(one.as_ref())).collect()
}
