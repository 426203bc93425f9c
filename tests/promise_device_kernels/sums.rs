//! Checksums of device memory are those that the library computes of host memory, and come in the order of their blocks.

use nixl_store::memory::CopyDirection::{self, IntoStaging, OutOfStaging};
use nixl_store::memory::bytes::checksum_bytes;
use nixl_store::memory::{Copiers, CopyPart, DeviceSlice, Stretch};

use crate::common::cuda::{Block, DELAY_US_MAX, Kind};
use crate::common::{Random, payload};
use crate::rig::{KIB, Rig, allocator_calls, device_bytes, read, slice};

const BLOCK_BYTES: usize = 64 * KIB;
/// More than one launch has, by an odd number.
const MANY_BLOCKS: usize = 4 * 512 + 333;

/// Any length at any alignment, on several devices whose blocks are mixed, has the sum that it has on the host.
#[test]
fn a_sum_is_the_librarys_whatever_length_place_and_device() {
    let mut rig = Rig::new();
    let lengths: Vec<usize> = (0..=20)
        .chain([31, 32, 33, 127, 128, 129, 239, 240, 241, 255, 256, 257, 1023, 1024, 1025, 4097])
        .chain([BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 300_001])
        .collect();
    for offset in [0, 1, 7, 8, 13] {
        let object = payload(offset as u64, 300_001);
        let memory = [device_bytes(0, offset, &object), device_bytes(1, offset, &object)];
        let blocks: Vec<DeviceSlice> = lengths
            .iter()
            .enumerate()
            .map(|(at, &length)| slice(&memory[at % 2], at % 2, offset, length))
            .collect();
        let sums = rig.run(OutOfStaging, &[], &blocks).unwrap();
        let wanted: Vec<u64> = lengths.iter().map(|&length| checksum_bytes(&object[..length])).collect();
        assert_eq!(sums, wanted, "at {offset}");
        drop(memory);
    }
    rig.end();
}

/// More blocks than a launch has, on two devices: each sum stands where its block stood.
#[test]
fn hundreds_of_blocks_keep_their_order() {
    let mut rig = Rig::new();
    let object = payload(2, 64 * KIB);
    let memory = [device_bytes(0, 0, &object), device_bytes(1, 0, &object)];
    let mut random = Random::new(3);
    let spans: Vec<(usize, usize, usize)> = (0..MANY_BLOCKS)
        .map(|_| (random.below(5).min(1), random.below(60 * KIB), random.between(1, 300)))
        .collect();
    let blocks: Vec<DeviceSlice> =
        spans.iter().map(|&(device, from, length)| slice(&memory[device], device, from, length)).collect();
    let wanted: Vec<u64> =
        spans.iter().map(|&(_, from, length)| checksum_bytes(&object[from..from + length])).collect();
    for direction in [IntoStaging, OutOfStaging] {
        assert_eq!(rig.run(direction, &[], &blocks).unwrap(), wanted);
    }
    drop(memory);
    rig.end();
}

/// Managed, pooled and mapped memory is summed as any of a device's.
#[test]
fn every_kind_of_device_memory_is_summed() {
    let mut rig = Rig::new();
    for kind in [Kind::Device, Kind::Pool, Kind::Vmm, Kind::Managed] {
        let object = payload(4, BLOCK_BYTES);
        let block = rig.driver.allocate(kind, 1, BLOCK_BYTES);
        block.write(0, &object);
        let sums = rig.run(OutOfStaging, &[], &[slice(&block, 1, 0, BLOCK_BYTES)]);
        assert_eq!(sums, Ok(vec![checksum_bytes(&object)]), "{kind:?}");
        drop(block);
    }
    rig.end();
}

/// What a push copies to a device is summed after it has come, also where it comes from another device.
#[test]
fn what_is_copied_is_summed_behind_its_copy() {
    for staging_on in [None, Some(0), Some(1)] {
        let mut rig = staging_on.map_or_else(Rig::new, Rig::on_device);
        rig.driver.set_delay_us(500);
        let lengths = [BLOCK_BYTES, BLOCK_BYTES, 1000, 3, BLOCK_BYTES, 70_001];
        let memory: Vec<Block> =
            (0..lengths.len()).map(|at| device_bytes(at % 2, 1, &payload(9, 70_001))).collect();
        for round in 0..10 {
            let (mut parts, mut blocks, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
            for (at, &length) in lengths.iter().enumerate() {
                let object = payload(100 * round + at as u64, length);
                rig.write_staging(at * 100_000, &object);
                let target = slice(&memory[at], at % 2, 1, length);
                parts.push(CopyPart {
                    staging: rig.staging(at * 100_000, length),
                    memory: Stretch::Device(target),
                });
                blocks.push(target);
                wanted.push(checksum_bytes(&object));
            }
            assert_eq!(rig.run(OutOfStaging, &parts, &blocks).unwrap(), wanted, "{staging_on:?} {round}");
            // And the other way, where the staging buffer is what is summed.
            let Some(device) = staging_on else { continue };
            let (mut parts, mut blocks, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
            for (at, &length) in lengths.iter().enumerate() {
                let staging = rig.staging(at * 100_000 + 50, length);
                let Stretch::Device(target) = staging else { panic!("the rig's staging is a device's") };
                assert_eq!(usize::from(target.device), device);
                parts.push(CopyPart {
                    staging,
                    memory: Stretch::Device(slice(&memory[at], at % 2, 1, length)),
                });
                blocks.push(target);
                wanted.push(checksum_bytes(&read(&memory[at], 1, length)));
            }
            assert_eq!(rig.run(IntoStaging, &parts, &blocks).unwrap(), wanted, "{staging_on:?} {round}");
        }
        drop(memory);
        rig.driver.set_delay_us(DELAY_US_MAX);
        rig.end();
    }
}

/// Several pushes under way have their sums to themselves.
#[test]
fn sums_under_way_are_not_mixed_up() {
    let mut rig = Rig::new();
    let object = payload(5, 64 * KIB);
    let block = device_bytes(0, 0, &object);
    assert_eq!(rig.run(IntoStaging, &[], &[slice(&block, 0, 0, 1)]).unwrap().len(), 1);
    rig.driver.hold_all(true);
    let of = |token: u32| (token as usize * 512, 1000 + token as usize);
    for token in 0..20 {
        let (from, length) = of(token);
        let direction: CopyDirection = if token % 2 == 0 { IntoStaging } else { OutOfStaging };
        rig.copier().push(token, direction, &[], &[slice(&block, 0, from, length)]).unwrap();
    }
    rig.driver.hold_all(false);
    for _ in 0..20 {
        let done = rig.next();
        let (from, length) = of(done.token);
        done.result.unwrap();
        assert_eq!(done.sums, [checksum_bytes(&object[from..from + length])], "{}", done.token);
    }
    drop(block);
    rig.end();
}

/// A copier that has seen as much work allocates nothing more, neither of the process nor of the driver.
#[test]
fn a_copier_that_is_warm_allocates_nothing() {
    let mut rig = Rig::new();
    let memory = [device_bytes(0, 0, &payload(6, 256 * KIB)), device_bytes(1, 0, &payload(7, 256 * KIB))];
    let (mut parts, mut blocks) = (Vec::new(), Vec::new());
    for at in 0..40 {
        let device = at % 2;
        let part = slice(&memory[device], device, at * 5000, 4000);
        parts.push(CopyPart { staging: rig.staging(at * 4000, 4000), memory: Stretch::Device(part) });
        blocks.push(part);
    }
    const CALLS: [&str; 4] = ["cuMemHostAlloc", "cuEventCreate", "cuStreamCreate", "cuModuleLoadData"];
    let mut done = Vec::with_capacity(8);
    let mut seen = Vec::new();
    for round in 0..6 {
        let before = allocator_calls();
        for direction in [IntoStaging, OutOfStaging] {
            for token in 0..4 {
                rig.copier().push(token, direction, &parts, &blocks).unwrap();
            }
        }
        while done.len() < 8 {
            rig.copier().reap(&mut done);
        }
        for done in done.drain(..) {
            done.result.unwrap();
            assert_eq!(done.sums.len(), 40);
            rig.copier().recycle(done.sums);
        }
        let mine = allocator_calls() - before;
        seen.push((mine, CALLS.map(|call| rig.driver.calls(call))));
        assert!(round < 3 || (seen[round].0 == 0 && seen[round].1 == seen[2].1), "{seen:?}");
    }
    drop(memory);
    rig.end();
}

/// Whether a device computes sums is found out once, and asked often.
#[test]
fn the_kernels_are_loaded_once_for_a_device() {
    let mut rig = Rig::new();
    let loads = |rig: &Rig| rig.driver.calls("cuModuleLoadData");
    let before = loads(&rig);
    rig.devices().prepare(1).unwrap();
    assert_eq!(loads(&rig), before + 1);
    for _ in 0..100 {
        assert!(rig.devices().can_sum(1));
    }
    let object = payload(8, 100);
    let blocks = [device_bytes(0, 0, &object), device_bytes(1, 0, &object)];
    let slices = [slice(&blocks[0], 0, 0, 100), slice(&blocks[1], 1, 0, 100)];
    assert_eq!(rig.run(OutOfStaging, &[], &slices).unwrap(), [checksum_bytes(&object); 2]);
    assert!(rig.devices().can_sum(0));
    assert_eq!(loads(&rig), before + 2);
    assert_eq!(rig.devices().why_no_sums(), None);
    assert!(!rig.devices().can_sum(99));
    let why = rig.devices().why_no_sums().unwrap();
    assert!(why.contains("there is no device 99"), "{why}");
    drop(blocks);
    rig.end();
}
