//! Whatever the driver refuses, and wherever a kernel fails: the work tells it, nothing is given back before the device is done,
//! and nothing stays with the driver.

use std::sync::atomic::{AtomicBool, Ordering};

use nixl_store::memory::CopyDirection::{IntoStaging, OutOfStaging};
use nixl_store::memory::bytes::checksum_bytes;
use nixl_store::memory::{Copiers, CopyPart, DeviceSlice, Stretch};

use crate::common::cuda::Block;
use crate::common::payload;
use crate::rig::{FAILED, KIB, Rig, device_bytes, slice};

/// `CUDA_ERROR_ILLEGAL_ADDRESS`, which stays with its context.
const ILLEGAL_ADDRESS: i32 = 700;

/// Small parts of a device's memory, and the same as blocks.
fn work(rig: &Rig, block: &Block, device: usize) -> (Vec<CopyPart>, Vec<DeviceSlice>) {
    (0..10)
        .map(|at| {
            let memory = slice(block, device, at * 6000, 5000);
            (CopyPart { staging: rig.staging(at * 5000, 5000), memory: Stretch::Device(memory) }, memory)
        })
        .unzip()
}

fn wanted(object: &[u8]) -> Vec<u64> {
    (0..10).map(|at| checksum_bytes(&object[at * 6000..at * 6000 + 5000])).collect()
}

/// A driver that cannot use the kernels says why, once in the log and whenever it is asked; copies go on without them.
#[test]
fn without_kernels_copies_go_on_and_sums_are_refused_with_the_reason() {
    for (call, nth, code, name) in [
        ("cuModuleLoadData", 1, 222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION (222)"),
        ("cuModuleLoadData", 1, 218, "CUDA_ERROR_INVALID_PTX (218)"),
        ("cuModuleLoadData", 1, 209, "CUDA_ERROR_NO_BINARY_FOR_GPU (209)"),
        ("cuModuleGetFunction", 3, 500, "CUDA_ERROR_NOT_FOUND (500)"),
        ("cuStreamCreate", 1, 2, "CUDA_ERROR_OUT_OF_MEMORY (2)"),
        ("cuLaunchKernel", 2, FAILED, "CUDA_ERROR_LAUNCH_FAILED (719)"),
    ] {
        let mut rig = Rig::new();
        rig.driver.fail(call, nth, code);
        for _ in 0..3 {
            assert!(!rig.devices().can_sum(0), "{call}");
        }
        assert!(rig.devices().can_sum(1), "another device is another matter");
        let why = rig.devices().why_no_sums().unwrap();
        assert!(why.starts_with("device 0: CUDA: ") && why.contains(name), "{why}");
        assert_eq!(rig.logged(name), 1, "{call}");
        let object = payload(1, 64 * KIB);
        let block = device_bytes(0, 0, &object);
        let (parts, blocks) = work(&rig, &block, 0);
        let launches = rig.driver.calls("cuLaunchKernel");
        assert_eq!(rig.run(IntoStaging, &parts, &[]), Ok(vec![]));
        assert_eq!(rig.driver.calls("cuLaunchKernel"), launches, "{call}");
        assert!(rig.read_staging(5000, 5000) == object[6000..11_000]);
        let refused = rig.run(IntoStaging, &parts, &blocks).unwrap_err();
        assert!(refused.starts_with("device 0 computes no checksums") && refused.contains(name), "{refused}");
        drop(block);
        rig.end();
    }
}

/// A device that cannot be had at all is asked for again.
#[test]
fn a_device_that_cannot_be_had_may_be_had_later() {
    let rig = Rig::new();
    rig.driver.fail("cuDevicePrimaryCtxRetain", 1, 2);
    assert!(!rig.devices().can_sum(0));
    let why = rig.devices().why_no_sums().unwrap();
    assert!(why.contains("using device 0: CUDA_ERROR_OUT_OF_MEMORY"), "{why}");
    rig.driver.fail("cuCtxPushCurrent", 1, 2);
    assert!(!rig.devices().can_sum(0));
    assert!(rig.devices().can_sum(0));
    assert_eq!(rig.devices().why_no_sums(), None);
    rig.end();
}

/// What is refused while work is begun fails that work, with words for it; the next is done, and nothing is left.
#[test]
fn work_that_is_refused_fails_alone() {
    let mut rig = Rig::new();
    let object = payload(2, 64 * KIB);
    let blocks = [device_bytes(0, 0, &object), device_bytes(1, 0, &object)];
    let (parts, slices): (Vec<_>, Vec<_>) =
        blocks.iter().enumerate().map(|(device, block)| work(&rig, block, device)).unzip();
    let wanted = [wanted(&object), wanted(&object)].concat();
    // The parts of one device alone: those of both would go to one place.
    let (parts, slices) = (parts[0].clone(), slices.concat());
    assert_eq!(rig.run(IntoStaging, &parts, &slices), Ok(wanted.clone()));
    let live = [0, 1, 2, 3, 5].map(|kind| rig.driver.live(kind));
    for (call, nth, told) in [
        ("cuLaunchKernel", 1, "launching a kernel that copies 50000 bytes in 10 pieces on device 0"),
        ("cuLaunchKernel", 2, "launching a kernel that sums 10 blocks on device 0"),
        ("cuLaunchKernel", 3, "launching a kernel that sums 10 blocks on device 1"),
        ("cuEventRecord", 1, "recording an event on device 0"),
        ("cuEventRecord", 2, "recording an event on device 0"),
        ("cuEventRecord", 3, "recording an event on device 1"),
        ("cuStreamWaitEvent", 1, "waiting for another device on device 1"),
        ("cuEventQuery", 1, "CUDA_ERROR_LAUNCH_FAILED"),
        ("cuEventQuery", 2, "CUDA_ERROR_LAUNCH_FAILED"),
        ("cuCtxSetCurrent", 1, "making a context current"),
        ("cuCtxSetCurrent", 3, "making a context current"),
        ("cuCtxSetCurrent", 4, "making a context current"),
    ] {
        rig.driver.fail(call, nth, FAILED);
        let failed = rig.run(IntoStaging, &parts, &slices).unwrap_err();
        assert!(failed.contains(told) && failed.contains("CUDA_ERROR_LAUNCH_FAILED"), "{call}: {failed}");
        assert_eq!(rig.run(IntoStaging, &parts, &slices), Ok(wanted.clone()), "{call}");
    }
    // What a failure had is used again: pinned memory, events, streams.
    assert_eq!([0, 1, 2, 3, 5].map(|kind| rig.driver.live(kind)), live);
    // Without the wake-up the copier is asked by the clock.
    rig.driver.fail("cuLaunchHostFunc", 1, FAILED);
    assert_eq!(rig.run(IntoStaging, &parts, &slices), Ok(wanted));
    drop(blocks);
    rig.end();
}

/// Whichever question or mark fails, work is not over before the device is done with its memory and its descriptors.
#[test]
fn work_that_failed_is_not_over_before_the_device_is_done() {
    for call in ["cuEventQuery", "cuEventRecord", "cuEventCreate", "cuCtxSetCurrent"] {
        let mut rig = Rig::new();
        let object = payload(7, 64 * KIB);
        let others = device_bytes(0, 0, &object);
        let block = device_bytes(1, 0, &object);
        let (parts, blocks) = work(&rig, &block, 1);
        let (other_parts, _) = work(&rig, &others, 0);
        if call != "cuEventCreate" {
            rig.run(IntoStaging, &parts, &blocks).unwrap();
        }
        rig.run(OutOfStaging, &other_parts, &[]).unwrap();
        rig.devices().prepare(1).unwrap();
        let driver = rig.driver;
        driver.hold_all(true);
        let waits = driver.calls("cuStreamSynchronize");
        let (released, over) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while driver.calls("cuStreamSynchronize") == waits && !over.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                released.store(true, Ordering::SeqCst);
                driver.hold_all(false);
            });
            // The context is the other device's when the push begins, and this one's when it is asked.
            driver.fail(call, if call == "cuCtxSetCurrent" { 3 } else { 1 }, FAILED);
            let pushed = rig.copier().push(1, IntoStaging, &parts, &blocks);
            let outcome = pushed.and_then(|()| {
                if call == "cuCtxSetCurrent" {
                    rig.copier().push(2, OutOfStaging, &other_parts, &[]).unwrap();
                }
                rig.next().result
            });
            let was_released = released.load(Ordering::SeqCst);
            over.store(true, Ordering::SeqCst);
            assert!(was_released, "{call}: the device still has the memory");
            let failed = outcome.unwrap_err().to_string();
            assert!(failed.contains("CUDA_ERROR_LAUNCH_FAILED"), "{call}: {failed}");
        });
        if call == "cuCtxSetCurrent" {
            rig.next().result.unwrap();
        }
        drop((block, others));
        rig.end();
    }
}

/// Descriptors for which there is no pinned memory fail the work that needs them, and no other.
#[test]
fn pinned_memory_that_cannot_be_had_fails_the_work() {
    let mut rig = Rig::new();
    let object = payload(3, 64 * KIB);
    let block = device_bytes(0, 0, &object);
    let (parts, blocks) = work(&rig, &block, 0);
    // When the streams are made, which do without, and when it is needed.
    rig.driver.fail("cuMemHostAlloc", 1, 2);
    rig.driver.fail("cuMemHostAlloc", 2, 2);
    let failed = rig.run(IntoStaging, &parts, &blocks).unwrap_err();
    assert!(failed.contains("for descriptors: CUDA_ERROR_OUT_OF_MEMORY"), "{failed}");
    assert_eq!(rig.run(IntoStaging, &parts, &blocks), Ok(wanted(&object)));
    drop(block);
    rig.end();
}

/// Where the staging buffer cannot be found on a device it is pinned all the same, and small parts are copied.
#[test]
fn a_staging_buffer_that_is_not_found_is_copied_from() {
    let mut rig = Rig::new();
    let object = payload(4, 64 * KIB);
    let block = device_bytes(0, 0, &object);
    rig.driver.fail("cuMemHostGetDevicePointer", 1, 1);
    let (parts, blocks) = work(&rig, &block, 0);
    assert!(rig.devices().can_sum(0));
    assert_eq!(rig.logged("finding the staging buffer on device 0"), 1);
    let launches = rig.driver.calls("cuLaunchKernel");
    assert_eq!(rig.run(IntoStaging, &parts, &blocks), Ok(wanted(&object)));
    assert_eq!(rig.driver.calls("cuLaunchKernel"), launches + 1, "the sums alone");
    assert!(rig.read_staging(0, 5000) == object[..5000]);
    drop(block);
    rig.end();
}

/// A kernel that fails takes its context along. Work of that device fails from then on, that of others does not, and all there
/// was ends with the context.
#[test]
fn a_kernel_that_fails_makes_its_device_useless_and_no_other() {
    for code in [ILLEGAL_ADDRESS, FAILED] {
        let mut rig = Rig::new();
        let object = payload(5, 64 * KIB);
        let good = device_bytes(0, 0, &object);
        let bad = device_bytes(1, 0, &object);
        let (parts, blocks) = work(&rig, &bad, 1);
        let (good_parts, good_blocks) = work(&rig, &good, 0);
        assert_eq!(rig.run(IntoStaging, &parts, &blocks), Ok(wanted(&object)));
        // The second launch of a push, which is that of the sums.
        rig.driver.fail("cuLaunchKernel:run", 2, code);
        let failed = rig.run(IntoStaging, &parts, &blocks).unwrap_err();
        assert!(failed.contains("device 1: CUDA_ERROR"), "{failed}");
        rig.run(OutOfStaging, &parts, &[]).unwrap_err();
        rig.run(OutOfStaging, &[], &blocks).unwrap_err();
        assert_eq!(rig.run(IntoStaging, &good_parts, &good_blocks), Ok(wanted(&object)));
        drop(good);
        bad.forget();
        rig.end_without(1);
    }
}

/// A copier that goes while launches are under way waits for them, in whichever direction: their descriptors, and the memory
/// that they use, stay.
#[test]
fn a_copier_that_goes_waits_for_its_launches() {
    for direction in [IntoStaging, OutOfStaging] {
        let mut rig = Rig::new();
        let block = device_bytes(0, 0, &payload(6, 64 * KIB));
        let (parts, blocks) = work(&rig, &block, 0);
        rig.run(direction, &parts, &blocks).unwrap();
        let driver = rig.driver;
        driver.hold_all(true);
        for token in 0..3 {
            rig.copier().push(token, direction, &parts, &blocks).unwrap();
        }
        // The stream of the other direction, which is empty, is waited for as well.
        let waits = driver.calls("cuStreamSynchronize");
        let (released, gone) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let enough = if direction == IntoStaging { 1 } else { 2 };
                while driver.calls("cuStreamSynchronize") < waits + enough && !gone.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                released.store(true, Ordering::SeqCst);
                driver.hold_all(false);
            });
            rig.let_go();
            let was_released = released.load(Ordering::SeqCst);
            gone.store(true, Ordering::SeqCst);
            assert!(was_released, "{direction:?}: the device still has the memory");
        });
        drop(block);
        rig.end();
    }
}
