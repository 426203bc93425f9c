//! What is missing is told at open, by name, with what to use instead; and what can be done without is done without, which is said
//! once.

use std::process::Command;

use nixl_store::capi::NIXL_STORE_ERROR_UNSUPPORTED;

use crate::common::cuda::{self, driver};
use crate::common::status::{OK, OUT_OF_MEMORY, Status};
use crate::common::{Kind, Scratch, Setup, Store, payload};
use crate::cufile_common;
use crate::on_device::{OnDevice, even};
use crate::{GDS, KIB, MIB, Moved, STORES, Turn, end, get, put};

/// What a child process does, which has a driver of its own or none.
const ROLE: &str = "NIXL_STORE_TEST_GDS_DEVICE_CHILD";
/// Seconds after which it is ended, whatever it does.
const CHILD_SECONDS_MAX: u32 = 100;

const UNSUPPORTED: Status = Status(NIXL_STORE_ERROR_UNSUPPORTED);

fn with_buffers_on(device: &'static str) -> [Setup; 2] {
    [Setup { device, ..GDS }, Setup { device, ..Setup::GDS_MT }]
}

/// Opens a store of each backend, which is refused with all of these words, and without having made anything.
#[track_caller]
fn is_refused(device: &'static str, status: Status, words: &[&str]) {
    for of in with_buffers_on(device) {
        let scratch = Scratch::new("gds-refused");
        let setup = Setup { buffer_bytes: 256 << 20, ..of };
        let Err((refused, why)) = Store::try_open(&setup, &scratch) else {
            panic!("{} opens", setup.backend)
        };
        assert_eq!(refused, status, "{why}");
        for word in words.iter().chain(&["nixl_buffer_device: cpu"]) {
            assert!(why.contains(word), "'{word}' is not in: {why}");
        }
        assert!(!scratch.data().exists());
    }
}

/// Host memory is served, with a staging buffer in host memory.
#[track_caller]
fn serves_the_host() {
    for setup in with_buffers_on("cpu") {
        let scratch = Scratch::new("gds-host");
        let store = Store::open(&setup, &scratch);
        let object = payload(1, 300_001);
        assert_eq!(store.put(b"key", &object), OK);
        assert_eq!(store.fetch(b"key", object.len()), Some(object));
        end(&store);
    }
}

/// Runs a role in a process of its own, with these variables.
#[track_caller]
fn in_a_child(role: &str, variables: &[(&str, &str)]) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "opening::child", "--nocapture"]).env(ROLE, role);
    let ended = child.envs(variables.iter().copied()).output().unwrap();
    let told = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && told.contains("1 passed"), "{role}: {told}");
    let skipped = String::from_utf8_lossy(&ended.stderr);
    skipped.lines().filter(|line| line.starts_with("SKIPPED")).for_each(|line| eprintln!("{line}"));
}

/// Not a test: what the child does.
#[test]
#[ignore = "the body of a child process"]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    // SAFETY: takes no pointers.
    unsafe { libc::alarm(CHILD_SECONDS_MAX) };
    match role.as_str() {
        "no driver" => {
            // SAFETY: a string.
            let found = unsafe { libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW) };
            match found.is_null() && cufile_common::is_real() {
                true => is_refused("cuda", UNSUPPORTED, &["nixl_buffer_device is cuda", "libcuda.so.1"]),
                false => eprintln!("SKIPPED: this machine has a libcuda.so.1 of its own"),
            }
        }
        "no device" => {
            // It does not start, so no test can use it.
            cufile_common::load(&cuda::built());
            if cufile_common::is_real() {
                is_refused("cuda", UNSUPPORTED, &["CUDA_ERROR_NO_DEVICE"]);
            }
        }
        "little memory" => {
            let Some(_turn) = Turn::take() else { return };
            is_refused("cuda", OUT_OF_MEMORY, &["CUDA_ERROR_OUT_OF_MEMORY", "device 0"]);
            is_refused("cuda:1", OUT_OF_MEMORY, &["CUDA_ERROR_OUT_OF_MEMORY", "device 1"]);
            serves_the_host();
        }
        "old driver" => {
            let Some(_turn) = Turn::take() else { return };
            for (name, of) in STORES {
                is_served_without_kernels(name, of);
            }
        }
        other => panic!("{other}"),
    }
}

/// A driver that is too old for the kernels: a device's bytes pass the processor, and so does a buffer that was to be on a device.
#[track_caller]
fn is_served_without_kernels(name: &str, of: Setup) {
    let scratch = Scratch::new(name);
    let store = Store::open(&of, &scratch);
    let mut moved = Moved::new(&store);
    for spans in [even(MIB, MIB, 0, 0), even(300_001, 4 * KIB, 100, 1)] {
        let bytes: usize = spans.iter().map(ExactSizeIterator::len).sum();
        let object = payload(2, bytes);
        let source = OnDevice::holding(Kind::Device, 0, spans.clone(), &object);
        let target = OnDevice::new(Kind::Device, 0, spans);
        assert_eq!(put(&store, b"key", source.segments()), OK, "{name}");
        assert_eq!(get(&store, b"key", target.segments()), OK, "{name}");
        // The end of a get that is no whole page counts as direct.
        let (direct, staged) = moved.next(&store);
        assert!(
            direct < 4096 && direct + staged == 2 * bytes as u64,
            "{name}: {direct} direct, {staged} staged"
        );
        target.assert_holds(&object, &name);
    }
    assert_eq!(driver().calls("cuLaunchKernel"), 0);
    assert_eq!(store.logged("computes no checksums"), 1, "{name}");
    let falls_back = store.logged("the staging buffer is host memory");
    assert_eq!(falls_back, usize::from(of.device != "cpu"), "{name}");
    end(&store);
}

/// A machine without CUDA's driver.
#[test]
fn a_buffer_on_a_device_without_a_driver_is_refused() {
    in_a_child("no driver", &[]);
}

/// A machine with the driver and no device.
#[test]
fn a_buffer_on_a_device_where_there_is_none_is_refused() {
    in_a_child("no device", &[("STANDIN_CUDA_DEVICES", "0")]);
}

/// A device that others have most of.
#[test]
fn a_buffer_larger_than_the_devices_memory_is_refused() {
    in_a_child("little memory", &[("STANDIN_CUDA_MEMORY_MIB", "128")]);
}

/// The kernels need a driver of CUDA 12.
#[test]
fn a_driver_older_than_the_kernels_is_served_without_them() {
    in_a_child("old driver", &[("STANDIN_CUDA_VERSION", "11080")]);
}

/// A device by a number that is not there.
#[test]
fn a_device_that_is_not_there_is_refused() {
    let Some(_turn) = Turn::take() else { return };
    is_refused("cuda:7", UNSUPPORTED, &["there is no device 7", "sees 2"]);
}

/// `cuda` alone is the device that the caller names, or else the one whose context is current.
#[test]
fn a_buffer_lies_on_the_device_that_is_named() {
    let Some(turn) = Turn::take() else { return };
    for of in with_buffers_on("cuda") {
        let scratch = Scratch::new("gds-named");
        let store = Store::open(&Setup { cuda_device: Some(1), ..of }, &scratch);
        let allocated = store.allocate(MIB).unwrap();
        assert_eq!(turn.driver.device_of(allocated.addr() as u64), 1);
        end(&store);
    }
    for (device, ordinal) in [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)] {
        for of in with_buffers_on(device) {
            let scratch = Scratch::new("gds-named");
            let store = Store::open(&of, &scratch);
            let allocated = store.allocate(MIB).unwrap();
            assert_eq!(turn.driver.device_of(allocated.addr() as u64), ordinal, "{device}");
            end(&store);
        }
    }
}
