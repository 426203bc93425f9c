//! A system that has nothing left, seen from open. Limits hold for a whole process, so each test has one of its own.

use std::ffi::CString;
use std::process::Command;
use std::ptr;

use nixl_store::capi::*;

use crate::fixture::*;

/// Which limit a helper process lowers.
const LIMIT: &str = "NIXL_STORE_TEST_LIMIT";

/// Runs [`helper_process`] with this limit; it fails if the helper does.
#[track_caller]
fn with_limit(limit: &str) {
    let helper = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "exhaustion::helper_process", "--ignored", "--nocapture", "--test-threads=1"])
        .env(LIMIT, limit)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&helper.stdout) + String::from_utf8_lossy(&helper.stderr);
    assert!(helper.status.success() && said.contains("1 passed"), "{said}");
}

/// The configuration is read on a thread of its own. A process that may have no further thread is told so; nobody must
/// go looking for a mistake in a configuration that has none.
#[test]
fn no_thread_left_is_no_fault_of_the_configuration() {
    with_limit("threads");
}

/// The same where there is no address space for the thread's stack.
#[test]
fn no_memory_for_a_thread_is_no_fault_of_the_configuration() {
    with_limit("memory");
}

/// The threads that do the I/O are missed in the same way, not as an error of a device.
#[test]
fn no_memory_for_the_io_threads_is_no_error_of_a_device() {
    with_limit("more memory");
}

#[test]
#[ignore = "the body of helper processes"]
fn helper_process() {
    let yaml = CString::new(
        "nixl_buffer_size: 262144\nextra_config:\n  enable_nixl_storage: true\n  nixl_backend: MEMORY\n  \
         nixl_pool_size: 4\n  nixl_store_chunk_bytes: 4096\n  nixl_store_queue_items: 16\n",
    )
    .unwrap();
    let options = nixl_store_open_options_t { config_text: yaml.as_ptr(), ..open_options() };
    let mut store = ptr::null_mut();
    let limit = std::env::var(LIMIT).unwrap();
    let limited = Limited::new(&limit);
    // SAFETY: a text, options of the stated size, a place for the handle.
    let status = unsafe { nixl_store_open(ptr::null(), &raw const options, &raw mut store) };
    drop(limited);
    assert_eq!(status, NIXL_STORE_ERROR_OUT_OF_MEMORY, "{}", message());
    let told = message();
    let missed =
        if limit == "more memory" { "starting the" } else { "the thread that reads the configuration" };
    let why = if limit == "threads" { "Resource temporarily unavailable" } else { "Cannot allocate memory" };
    assert!(told.contains(missed) && told.contains(why), "{told}");
    // Nothing is left of it: the same options open once there is room.
    // SAFETY: as above; then what was opened just now is closed.
    unsafe {
        assert_eq!(
            nixl_store_open(ptr::null(), &raw const options, &raw mut store),
            NIXL_STORE_OK,
            "{}",
            message()
        );
        assert_eq!(nixl_store_close(store), NIXL_STORE_OK);
    }
}

/// A limit that is lowered, and raised again when this is dropped.
struct Limited {
    resource: libc::__rlimit_resource_t,
    before: libc::rlimit,
}

impl Limited {
    fn new(name: &str) -> Limited {
        let (resource, limit) = match name {
            "threads" => {
                // The limit on threads is none for root. This process exists for one test: it gives up for good what
                // it is.
                // SAFETY: asks for a number, and changes one.
                let is_nobody = unsafe { libc::geteuid() != 0 || libc::setresuid(65534, 65534, 65534) == 0 };
                assert!(is_nobody);
                (libc::RLIMIT_NPROC, 0)
            }
            // Less than the stack of a thread, more than the small pieces that open needs.
            "memory" => (libc::RLIMIT_AS, mapped_bytes() + (512 << 10)),
            // That thread's stack and the queues too, but not the stacks of the threads that stay.
            "more memory" => (libc::RLIMIT_AS, mapped_bytes() + (11648 << 10)),
            other => panic!("{other}"),
        };
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: both structs outlive their calls.
        unsafe {
            assert_eq!(libc::getrlimit(resource, &raw mut before), 0);
            let lower = libc::rlimit { rlim_cur: limit, ..before };
            assert_eq!(libc::setrlimit(resource, &raw const lower), 0);
        }
        Limited { resource, before }
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // SAFETY: the struct outlives the call.
        unsafe { libc::setrlimit(self.resource, &raw const self.before) };
    }
}

fn mapped_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
    // SAFETY: asks for a number.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64
}
