//! Small parts of one device are copied by one launch, in either direction, to the right places and nowhere else.

use nixl_store::memory::CopyDirection::{self, IntoStaging, OutOfStaging};
use nixl_store::memory::{CopyPart, HostPtr, HostSlice, Stretch};

use crate::common::cuda::{Block, Kind};
use crate::common::{Memory, Random, payload};
use crate::rig::{KIB, MIB, Rig, STAGING_BYTES, device_bytes, read, slice};

/// Bytes of device memory that parts are cut from.
const MEMORY_BYTES: usize = 2 * MIB;

/// One part: where it lies in the device's memory and in the staging buffer.
#[derive(Clone, Copy, Debug)]
struct Span {
    memory: usize,
    staging: usize,
    length: usize,
}

/// Parts of all alignments with gaps on both sides.
fn spans(random: &mut Random, count: usize, length_max: usize) -> Vec<Span> {
    let (mut memory, mut staging) = (random.below(16), random.below(16));
    (0..count)
        .map(|_| {
            let span = Span { memory, staging, length: random.between(1, length_max) };
            memory += span.length + random.between(1, 40);
            staging += span.length + random.between(1, 40);
            assert!(memory <= MEMORY_BYTES && staging <= STAGING_BYTES);
            span
        })
        .collect()
}

/// Launches and copies since the last look.
fn calls(rig: &Rig, before: &mut (u64, u64)) -> (u64, u64) {
    let now = (rig.driver.calls("cuLaunchKernel"), rig.driver.calls("cuMemcpyAsync"));
    let made = (now.0 - before.0, now.1 - before.1);
    *before = now;
    made
}

/// Copies spans and checks each byte of both sides. What it took: launches and copies.
#[track_caller]
fn copy(rig: &mut Rig, direction: CopyDirection, block: &Block, device: usize, spans: &[Span]) -> (u64, u64) {
    let (memory, staging) = (payload(1, MEMORY_BYTES), payload(2, STAGING_BYTES));
    block.write(0, &memory);
    rig.write_staging(0, &staging);
    let parts: Vec<CopyPart> = spans
        .iter()
        .map(|span| CopyPart {
            staging: rig.staging(span.staging, span.length),
            memory: Stretch::Device(slice(block, device, span.memory, span.length)),
        })
        .collect();
    let mut before = (0, 0);
    calls(rig, &mut before);
    assert_eq!(rig.run(direction, &parts, &[]), Ok(vec![]));
    let made = calls(rig, &mut before);
    let (mut memory_wanted, mut staging_wanted) = (memory.clone(), staging.clone());
    for &Span { memory: at, staging: from, length } in spans {
        match direction {
            IntoStaging => staging_wanted[from..from + length].copy_from_slice(&memory[at..at + length]),
            OutOfStaging => memory_wanted[at..at + length].copy_from_slice(&staging[from..from + length]),
        }
    }
    assert!(read(block, 0, MEMORY_BYTES) == memory_wanted, "{direction:?}");
    assert!(rig.read_staging(0, STAGING_BYTES) == staging_wanted, "{direction:?}");
    made
}

/// The first work of a device, which is ready then.
fn warm(rig: &mut Rig, device: usize) {
    rig.devices().prepare(device as u16).unwrap();
    let block = device_bytes(device, 0, b"warm");
    let part = CopyPart { staging: rig.staging(0, 4), memory: Stretch::Device(slice(&block, device, 0, 4)) };
    rig.run(IntoStaging, &[part], &[]).unwrap();
}

/// Hundreds of small parts at odd addresses are one launch, between a device and the staging buffer on the host or there.
#[test]
fn many_small_parts_are_one_launch() {
    for staging_on in [None, Some(1)] {
        let mut rig = staging_on.map_or_else(Rig::new, Rig::on_device);
        let block = rig.driver.allocate(Kind::Device, 1, MEMORY_BYTES);
        warm(&mut rig, 1);
        let mut random = Random::new(1);
        for (count, length_max) in [(4, 64 * KIB - 1), (5, 3), (300, 4000), (512, 200)] {
            let spans = spans(&mut random, count, length_max);
            for direction in [IntoStaging, OutOfStaging] {
                let made = copy(&mut rig, direction, &block, 1, &spans);
                assert_eq!(made, (1, 0), "{count} parts, {staging_on:?}");
            }
        }
        drop(block);
        rig.end();
    }
}

/// What a launch does not have room for goes into the next.
#[test]
fn thousands_of_parts_are_a_few_launches() {
    let mut rig = Rig::new();
    let block = rig.driver.allocate(Kind::Device, 0, MEMORY_BYTES);
    warm(&mut rig, 0);
    let spans = spans(&mut Random::new(2), 2500, 100);
    for direction in [IntoStaging, OutOfStaging] {
        assert_eq!(copy(&mut rig, direction, &block, 0, &spans), (5, 0));
    }
    drop(block);
    rig.end();
}

/// Managed, pooled and mapped memory, and that of several devices, takes part.
#[test]
fn every_kind_of_device_memory_is_gathered() {
    let mut rig = Rig::new();
    warm(&mut rig, 1);
    for kind in [Kind::Pool, Kind::Vmm, Kind::Managed] {
        let block = rig.driver.allocate(kind, 1, MEMORY_BYTES);
        let spans = spans(&mut Random::new(3), 50, 1000);
        for direction in [IntoStaging, OutOfStaging] {
            assert_eq!(copy(&mut rig, direction, &block, 1, &spans), (1, 0), "{kind:?}");
        }
        drop(block);
    }
    rig.end();
}

/// Few parts, and large ones, are copies; small ones beside them are a launch all the same.
#[test]
fn few_or_large_parts_are_copies() {
    let mut rig = Rig::new();
    let block = rig.driver.allocate(Kind::Device, 0, MEMORY_BYTES);
    warm(&mut rig, 0);
    let of = |lengths: &[usize]| {
        let mut at = 0;
        let mut span = |&length: &usize| {
            at += length + 8;
            Span { memory: at - length, staging: at - length + 3, length }
        };
        lengths.iter().map(&mut span).collect::<Vec<_>>()
    };
    for (lengths, wanted) in [
        (&[100, 100, 100][..], (0, 3)),
        (&[64 * KIB; 5], (0, 5)),
        (&[100, 100, 64 * KIB, 100, 100, 200 * KIB], (1, 2)),
    ] {
        for direction in [IntoStaging, OutOfStaging] {
            assert_eq!(copy(&mut rig, direction, &block, 0, &of(lengths)), wanted, "{lengths:?}");
        }
    }
    drop(block);
    rig.end();
}

/// Memory that the device's kernels do not reach is copied: another device's, and of the host what was not pinned.
#[test]
fn what_a_kernel_does_not_reach_is_copied() {
    let mut rig = Rig::on_device(0);
    let block = rig.driver.allocate(Kind::Device, 1, MEMORY_BYTES);
    warm(&mut rig, 0);
    warm(&mut rig, 1);
    let spans = spans(&mut Random::new(4), 50, 1000);
    for direction in [IntoStaging, OutOfStaging] {
        assert_eq!(copy(&mut rig, direction, &block, 1, &spans), (0, 50));
    }
    // Items on the host, with the staging buffer on a device.
    let mut host = Memory::new(64 * KIB);
    host.bytes_mut().copy_from_slice(&payload(5, 64 * KIB));
    let parts: Vec<CopyPart> = (0..16)
        .map(|at| {
            // SAFETY: it stays until the copies have ended.
            let pointer = unsafe { HostPtr::new(host.address().wrapping_add(at * 4000)) };
            let memory = Stretch::Host(HostSlice { pointer, length: 100 });
            CopyPart { staging: rig.staging(at * 1000, 100), memory }
        })
        .collect();
    let mut before = (0, 0);
    calls(&rig, &mut before);
    rig.run(IntoStaging, &parts, &[]).unwrap();
    assert_eq!(calls(&rig, &mut before), (0, 16));
    for at in 0..16 {
        assert_eq!(rig.read_staging(at * 1000, 100), host.bytes()[at * 4000..at * 4000 + 100]);
    }
    drop(block);
    rig.end();

    // A staging buffer that could not be pinned.
    let mut rig = Rig::new();
    let block = rig.driver.allocate(Kind::Device, 0, MEMORY_BYTES);
    rig.driver.fail("cuMemHostRegister", 1, 2);
    warm(&mut rig, 0);
    assert_eq!(rig.logged("pinning the staging buffer"), 1);
    for direction in [IntoStaging, OutOfStaging] {
        assert_eq!(copy(&mut rig, direction, &block, 0, &spans), (0, 50));
    }
    drop(block);
    rig.end();
}

/// Parts of two devices in one push are a launch on each.
#[test]
fn parts_of_two_devices_are_a_launch_on_each() {
    let mut rig = Rig::new();
    warm(&mut rig, 0);
    warm(&mut rig, 1);
    let object = payload(6, 64 * KIB);
    let blocks = [device_bytes(0, 0, &object), device_bytes(1, 0, &object)];
    let parts: Vec<CopyPart> = (0..40)
        .map(|at| {
            let device = at / 20;
            let memory = Stretch::Device(slice(&blocks[device], device, at * 1500, 1000));
            CopyPart { staging: rig.staging(at * 1000, 1000), memory }
        })
        .collect();
    let mut before = (0, 0);
    calls(&rig, &mut before);
    rig.run(IntoStaging, &parts, &[]).unwrap();
    assert_eq!(calls(&rig, &mut before), (2, 0));
    for at in 0..40 {
        assert!(rig.read_staging(at * 1000, 1000) == object[at * 1500..at * 1500 + 1000]);
    }
    drop(blocks);
    rig.end();
}
