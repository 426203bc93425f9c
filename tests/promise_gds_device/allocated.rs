//! Memory that the store allocates, and memory that is registered with it.

use nixl_store::capi::*;

use crate::common::cuda::{ALLOCATIONS, Driver};
use crate::common::status::{INVALID_ARGUMENT, OK, OUT_OF_MEMORY};
use crate::common::{Scratch, Setup, Store, payload};
use crate::on_device::OnDevice;
use crate::{MIB, Moved, STORES, Turn, end, get, put};

/// Those whose staging buffer lies on a device.
fn on_device() -> impl Iterator<Item = (&'static str, Setup)> {
    STORES.into_iter().filter(|(_, setup)| setup.device != "cpu")
}

fn segment(address: *mut u8, bytes: usize) -> Vec<nixl_store_segment_t> {
    vec![crate::common::memory::segment(address.cast(), bytes)]
}

#[track_caller]
fn assert_lies_there(driver: &Driver, address: *mut u8, object: &[u8]) {
    let mut back = vec![0; object.len()];
    driver.read(address.addr() as u64, &mut back);
    assert!(back == object);
}

/// What is allocated is the device's, and aligned: it goes direct. It is given back, and serves the next.
#[test]
fn allocated_memory_is_the_devices_and_goes_direct() {
    let Some(turn) = Turn::take() else { return };
    for (name, of) in on_device() {
        let scratch = Scratch::new(name);
        let store = Store::open(&of, &scratch);
        for round in 0..20 {
            let [source, target] = [(); 2].map(|()| store.allocate(MIB).unwrap());
            assert!(source.addr().is_multiple_of(4096) && target.addr().is_multiple_of(4096));
            let object = payload(round, MIB);
            turn.driver.write(source.addr() as u64, &object);
            let mut moved = Moved::new(&store);
            assert_eq!(put(&store, b"key", segment(source, MIB)), OK, "{name}");
            assert_eq!(get(&store, b"key", segment(target, MIB)), OK, "{name}");
            assert_eq!(moved.next(&store), (2 * MIB as u64, 0), "{name}");
            assert_lies_there(turn.driver, target, &object);
            assert_eq!((store.free(source), store.free(target)), (OK, OK));
            assert_eq!(store.free(source), INVALID_ARGUMENT);
        }
        end(&store);
    }
}

/// A store keeps enough of the buffer to stage by, however much is asked for; what nobody freed goes with the store.
#[test]
fn what_is_allocated_leaves_room_and_goes_with_the_store() {
    let Some(turn) = Turn::take() else { return };
    for (name, of) in on_device() {
        let mut before = None;
        for _ in 0..3 {
            let scratch = Scratch::new(name);
            let store = Store::open(&of, &scratch);
            let mut taken = 0;
            while store.allocate(MIB / 2).is_ok() {
                taken += 1;
            }
            assert!(taken > 0 && taken < 16, "{name}: {taken} of 16 halves of a MiB");
            assert_eq!(store.allocate(of.buffer_bytes as usize), Err(OUT_OF_MEMORY));
            // Not aligned, so it has to be staged.
            let object = payload(7, MIB / 2);
            let source = OnDevice::room(MIB);
            turn.driver.write(source.address().addr() as u64 + 1, &object);
            assert_eq!(put(&store, b"key", vec![source.segment(1..1 + MIB / 2)]), OK, "{name}");
            assert_eq!(get(&store, b"key", vec![source.segment(MIB / 2 - 1..MIB - 1)]), OK, "{name}");
            assert!(source.read(MIB / 2 - 1..MIB - 1) == object, "{name}");
            end(&store);
            drop(source);
            let live = turn.driver.live(ALLOCATIONS);
            assert_eq!(live, *before.get_or_insert(live), "{name}");
        }
    }
}

/// Registering a device's memory is no error, once for each region; with a registration, during it and after it transfers are
/// the same. What nobody unregistered goes with the store.
#[test]
fn device_memory_may_be_registered() {
    let Some(_turn) = Turn::take() else { return };
    for (name, of) in STORES {
        let scratch = Scratch::new(name);
        let store = Store::open(&of, &scratch);
        let object = payload(8, MIB);
        let (source, target) = (OnDevice::whole(&object), OnDevice::room(MIB));
        assert_eq!(store.register(source.address(), MIB), OK, "{name}");
        assert_eq!(store.register(source.address().wrapping_add(4096), 4096), INVALID_ARGUMENT);
        let mut moved = Moved::new(&store);
        assert_eq!(put(&store, b"key", source.segments()), OK);
        assert_eq!(store.unregister(source.address()), OK);
        assert_eq!(store.unregister(source.address()), INVALID_ARGUMENT);
        assert_eq!(store.register(source.address(), MIB), OK);
        assert_eq!(get(&store, b"key", target.segments()), OK);
        assert_eq!(moved.next(&store), (2 * MIB as u64, 0), "{name}");
        target.assert_holds(&object, &name);
        assert_eq!(store.logged("registering device memory failed"), 0);
        end(&store);
    }
}
