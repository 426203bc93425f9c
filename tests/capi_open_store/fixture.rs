//! A store to test on, and short forms of its calls.

use std::ffi::{CStr, CString};
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use nixl_store::capi::*;

/// A store in memory with its configuration file; both are gone at the end of the test.
pub(crate) struct Fixture {
    pub(crate) store: *mut nixl_store_t,
    directory: PathBuf,
}

// SAFETY: a handle may be used from any thread; that is what some of these tests are about.
unsafe impl Send for Fixture {}
// SAFETY: as above.
unsafe impl Sync for Fixture {}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        Fixture::with_options(ptr::null())
    }

    pub(crate) fn with_options(options: *const nixl_store_open_options_t) -> Fixture {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("nixl_store_capi_{}_{serial}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("lmcache.yaml");
        std::fs::write(
            &path,
            format!(
                "chunk_size: 256\nnixl_buffer_size: 4194304\nnixl_buffer_device: cpu\nextra_config:\n  \
                 enable_nixl_storage: true\n  nixl_backend: MEMORY\n  nixl_pool_size: 16\n  nixl_path: {}\n  \
                 nixl_store_chunk_bytes: 65536\n",
                directory.display()
            ),
        )
        .unwrap();
        let path = CString::new(path.to_str().unwrap()).unwrap();
        let mut store = ptr::null_mut();
        // SAFETY: a path, options of the stated size or NULL, a place for the handle.
        let status = unsafe { nixl_store_open(path.as_ptr(), options, &raw mut store) };
        assert_eq!(status, NIXL_STORE_OK, "{}", message());
        Fixture { store, directory }
    }

    pub(crate) fn close(&self) -> nixl_store_status_t {
        // SAFETY: whether the handle is still open is what the call has to find out.
        unsafe { nixl_store_close(self.store) }
    }

    pub(crate) fn put(&self, key: &[u8], data: &[u8]) -> nixl_store_status_t {
        // SAFETY: both slices are readable for their lengths.
        unsafe {
            nixl_store_put(self.store, key.as_ptr().cast(), key.len(), data.as_ptr().cast(), data.len())
        }
    }

    pub(crate) fn get(&self, key: &[u8], buffer: &mut [u8]) -> (nixl_store_status_t, usize) {
        let mut length = UNTOUCHED;
        // SAFETY: the slices are readable and writable for their lengths.
        let status = unsafe {
            nixl_store_get(
                self.store,
                key.as_ptr().cast(),
                key.len(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &raw mut length,
            )
        };
        (status, length)
    }

    pub(crate) fn submit(
        &self,
        put: bool,
        items: &[nixl_store_item_t],
        options: *const nixl_store_submit_options_t,
    ) -> Result<nixl_store_ticket_t, nixl_store_status_t> {
        let submit = if put { nixl_store_batch_put } else { nixl_store_batch_get };
        let mut ticket = 0;
        // SAFETY: the array has as many items; their memory lives until the tests waited.
        let status = unsafe { submit(self.store, items.as_ptr(), items.len(), options, &raw mut ticket) };
        if status == NIXL_STORE_OK {
            assert_ne!(ticket, 0);
            return Ok(ticket);
        }
        assert_eq!(ticket, 0, "an output is written on success only");
        assert!(!message().is_empty());
        Err(status)
    }

    pub(crate) fn wait(
        &self,
        ticket: nixl_store_ticket_t,
        results: &mut [nixl_store_result_t],
    ) -> nixl_store_status_t {
        let infinite = NIXL_STORE_TIMEOUT_INFINITE;
        let (place, capacity) = (results.as_mut_ptr(), results.len());
        let mut count = UNTOUCHED;
        // SAFETY: the slice is writable for its length.
        let status =
            unsafe { nixl_store_ticket_wait(self.store, ticket, infinite, place, capacity, &raw mut count) };
        let (filled, rest) = results.split_at(count);
        assert!(filled.iter().all(|result| result.status != NIXL_STORE_ERROR_NO_RESULT));
        assert!(rest.iter().all(|result| result.status == NIXL_STORE_ERROR_NO_RESULT));
        status
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // Some tests closed it already, which is none of this one's business.
        self.close();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

pub(crate) const UNTOUCHED: usize = 0x5555;

/// What a careless program leaves in an array: it looks like a success.
pub(crate) const STALE: nixl_store_result_t =
    nixl_store_result_t { status: NIXL_STORE_OK, os_error: 0, bytes: 7, object_length: 7, reserved: [7; 3] };

pub(crate) fn message() -> String {
    // SAFETY: never NULL, NUL-terminated, valid until this thread's next call.
    unsafe { CStr::from_ptr(nixl_store_error_message()) }.to_str().unwrap().to_owned()
}

pub(crate) fn segment(memory: &mut [u8]) -> nixl_store_segment_t {
    nixl_store_segment_t {
        address: memory.as_mut_ptr().cast(),
        length: memory.len() as u64,
        memory_kind: NIXL_STORE_MEMORY_AUTO,
        cuda_device: 0,
        reserved: [0; 2],
    }
}

pub(crate) fn item(key: &[u8], segments: &[nixl_store_segment_t]) -> nixl_store_item_t {
    nixl_store_item_t {
        key: key.as_ptr().cast(),
        key_length: key.len() as u64,
        segments: segments.as_ptr(),
        segment_count: segments.len() as u64,
        object_offset: 0,
        flags: 0,
        reserved: [0; 5],
    }
}

/// An element of a chain.
pub(crate) fn link(key: &[u8]) -> nixl_store_key_t {
    nixl_store_key_t { key: key.as_ptr().cast(), key_length: key.len() as u64, reserved: [0; 4] }
}

/// Options that say nothing.
pub(crate) fn open_options() -> nixl_store_open_options_t {
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

pub(crate) fn submit_options() -> nixl_store_submit_options_t {
    nixl_store_submit_options_t {
        struct_size: size_of::<nixl_store_submit_options_t>(),
        deadline_ms: NIXL_STORE_DEADLINE_DEFAULT,
        queue: ptr::null_mut(),
        user_data: 0,
        flags: 0,
        reserved: 0,
        cuda_stream: std::ptr::null_mut(),
        request: 0,
    }
}
