//! CUDA calls that fail: the item or the open that met it ends with the driver's word for it, the next one works, and nothing is
//! left with the driver.

use nixl_store::capi::*;

use crate::common::cuda::{ALLOCATIONS, EVENTS, FAILED, MODULES, REGISTRATIONS, STREAMS};
use crate::common::status::{IO, NOT_FOUND, OK, OUT_OF_MEMORY, Status, message};
use crate::common::{Kind, Scratch, Setup, Store, payload};
use crate::on_device::{OnDevice, even};
use crate::{KIB, MIB, STORES, Turn, end, get, put};

/// `CUDA_ERROR_OUT_OF_MEMORY`.
const NO_MEMORY: i32 = 2;
/// `CUDA_ERROR_INVALID_PTX`.
const NO_CODE: i32 = 218;

/// A put or a get of one piece of memory through the simple layer, whose message is this thread's.
fn simple(store: &Store, is_put: bool, key: &[u8], memory: &OnDevice, at: usize, bytes: usize) -> Status {
    let address = memory.address().wrapping_add(at).cast();
    let mut length = 0;
    // SAFETY: a key of the stated length, a place for the length, and device memory that lives on.
    Status(unsafe {
        match is_put {
            true => nixl_store_put(store.handle(), key.as_ptr().cast(), key.len(), address, bytes),
            false => {
                let length = &raw mut length;
                nixl_store_get(store.handle(), key.as_ptr().cast(), key.len(), address, bytes, length)
            }
        }
    })
}

/// A kernel that is not launched: sums of what goes direct, and of what is staged on a device, and the gathering of small
/// segments.
#[test]
fn a_launch_that_fails_fails_its_item_alone() {
    let Some(turn) = Turn::take() else { return };
    for (name, of) in STORES {
        let scratch = Scratch::new(name);
        let store = Store::open(&Setup { slots: 4, ..of.clone() }, &scratch);
        let object = payload(1, MIB);
        let source = OnDevice::whole(&object);
        assert_eq!(put(&store, b"key", source.segments()), OK);
        // More rounds than there are slots or slices: what a failure took is given back.
        for round in 0..20 {
            turn.driver.fail("cuLaunchKernel", 1, FAILED);
            assert_eq!(simple(&store, true, b"other", &source, 0, MIB), IO, "{name} {round}");
            assert!(message().contains("CUDA_ERROR_LAUNCH_FAILED"), "{}", message());
            assert_eq!(store.contains(b"other"), NOT_FOUND, "{name} {round}");
            let target = OnDevice::room(MIB);
            turn.driver.fail("cuLaunchKernel", 1, FAILED);
            assert_eq!(simple(&store, false, b"key", &target, 0, MIB), IO, "{name} {round}");
            assert!(message().contains("CUDA_ERROR_LAUNCH_FAILED"), "{}", message());
            // What went wrong was the launch: the record is where it was, and right.
            assert_eq!(get(&store, b"key", target.segments()), OK, "{name} {round}");
            target.assert_holds(&object, &name);
        }
        let pages = even(MIB, 4 * KIB, 4 * KIB, 0);
        let (from, to) = (
            OnDevice::holding(Kind::Device, 0, pages.clone(), &object),
            OnDevice::new(Kind::Device, 0, pages),
        );
        // In host memory the processor computes the sums.
        let launches = if of.device == "cpu" { 1 } else { 2 };
        for nth in 1..=launches {
            turn.driver.fail("cuLaunchKernel", nth, FAILED);
            assert_eq!(put(&store, b"other", from.segments()), IO, "{name} {nth}");
            turn.driver.fail("cuLaunchKernel", nth, FAILED);
            assert_eq!(get(&store, b"key", to.segments()), IO, "{name} {nth}");
        }
        assert_eq!(put(&store, b"other", from.segments()), OK, "{name}");
        assert_eq!(get(&store, b"other", to.segments()), OK, "{name}");
        to.assert_holds(&object, &name);
        end(&store);
    }
}

/// A copy between the item's memory and the staging buffer, and the event behind it.
#[test]
fn a_copy_that_fails_fails_its_item_alone() {
    let Some(turn) = Turn::take() else { return };
    for (name, of) in STORES {
        let scratch = Scratch::new(name);
        let store = Store::open(&Setup { slots: 4, ..of.clone() }, &scratch);
        let object = payload(2, 64 * KIB);
        let spans = even(64 * KIB, 64 * KIB, 0, 1);
        let source = OnDevice::holding(Kind::Device, 0, spans.clone(), &object);
        let target = OnDevice::new(Kind::Device, 0, spans);
        assert_eq!(put(&store, b"key", source.segments()), OK);
        for call in ["cuMemcpyAsync", "cuEventRecord"] {
            for _ in 0..20 {
                turn.driver.fail(call, 1, FAILED);
                assert_eq!(simple(&store, true, b"other", &source, 1, 64 * KIB), IO, "{name} {call}");
                assert!(message().contains("CUDA_ERROR_LAUNCH_FAILED"), "{name} {call}: {}", message());
                assert_eq!(store.contains(b"other"), NOT_FOUND, "{name} {call}");
                turn.driver.fail(call, 1, FAILED);
                assert_eq!(simple(&store, false, b"key", &target, 1, 64 * KIB), IO, "{name} {call}");
                assert!(message().contains("CUDA_ERROR_LAUNCH_FAILED"), "{name} {call}: {}", message());
            }
        }
        assert_eq!(put(&store, b"other", source.segments()), OK, "{name}");
        assert_eq!(get(&store, b"key", target.segments()), OK, "{name}");
        target.assert_holds(&object, &name);
        end(&store);
    }
}

/// A staging buffer that the device has no room for: the open is refused before it has made anything, and the next one works.
#[test]
fn an_allocation_that_fails_refuses_the_open() {
    let Some(turn) = Turn::take() else { return };
    for (name, of) in STORES.into_iter().filter(|(_, setup)| setup.device != "cpu") {
        // It has cuFile's driver open, whose own allocations are not meant.
        let keeper = Scratch::new(name);
        let open = Store::open(&of, &keeper);
        let object = payload(3, MIB);
        assert_eq!(put(&open, b"key", OnDevice::whole(&object).segments()), OK);
        let scratch = Scratch::new(name);
        let count = || [ALLOCATIONS, STREAMS, EVENTS, MODULES].map(|kind| turn.driver.live(kind));
        let before = count();
        turn.driver.fail("cuMemAlloc", 1, NO_MEMORY);
        let (status, why) = Store::try_open(&of, &scratch).err().expect("a refusal");
        assert_eq!(status, OUT_OF_MEMORY, "{why}");
        for word in ["nixl_buffer_device", "CUDA_ERROR_OUT_OF_MEMORY", "cpu"] {
            assert!(why.contains(word), "'{word}' is not in: {why}");
        }
        assert!(!scratch.data().exists());
        assert_eq!(count(), before, "{name}");
        let store = Store::open(&of, &scratch);
        assert_eq!(put(&store, b"key", OnDevice::whole(&object).segments()), OK);
        end(&store);
        end(&open);
    }
}

/// Kernels that the device does not take once: the buffer falls back to host memory, which is said, and items are served.
#[test]
fn kernels_that_cannot_be_loaded_leave_a_buffer_in_host_memory() {
    let Some(turn) = Turn::take() else { return };
    for (name, of) in STORES.into_iter().filter(|(_, setup)| setup.device != "cpu") {
        let scratch = Scratch::new(name);
        turn.driver.fail("cuModuleLoadData", 1, NO_CODE);
        let store = Store::open(&Setup { chunk_bytes: 2 * MIB as u64, ..of }, &scratch);
        assert_eq!(store.logged("the staging buffer is host memory"), 1);
        assert_eq!(store.logged("CUDA_ERROR_INVALID_PTX"), 1);
        let object = payload(4, MIB + 5);
        assert_eq!(put(&store, b"key", OnDevice::whole(&object).segments()), OK);
        let target = OnDevice::room(object.len());
        assert_eq!(get(&store, b"key", target.segments()), OK);
        target.assert_holds(&object, &name);
        end(&store);
    }
}

/// A closed store leaves nothing with the driver, however its items ended: no stream, event, module, allocation, pinned memory.
#[test]
fn a_closed_store_leaves_nothing_with_the_driver() {
    let Some(turn) = Turn::take() else { return };
    let count = || [ALLOCATIONS, REGISTRATIONS, STREAMS, EVENTS, MODULES].map(|kind| turn.driver.live(kind));
    for (name, of) in STORES {
        let mut after_first = None;
        for round in 0..4 {
            let scratch = Scratch::new(name);
            let store = Store::open(&of, &scratch);
            let object = payload(round, MIB);
            for device in [0, 1] {
                for offset in [0, 1] {
                    let memory = OnDevice::holding(Kind::Device, device, even(MIB, MIB, 0, offset), &object);
                    assert_eq!(put(&store, b"key", memory.segments()), OK);
                    let fails = round % 2 == 1;
                    if fails {
                        turn.driver.fail(["cuLaunchKernel", "cuMemcpyAsync"][offset], 1, FAILED);
                    }
                    assert_eq!(put(&store, b"key", memory.segments()), if fails { IO } else { OK });
                    assert_eq!(put(&store, b"key", memory.segments()), OK);
                    assert_eq!(get(&store, b"key", memory.segments()), OK);
                }
            }
            end(&store);
            // The first has cuFile make what it keeps for the process.
            let left = count();
            assert_eq!(left, *after_first.get_or_insert(left), "{name}, round {round}");
        }
    }
}
