//! One body of tests over every kind of store: what the C API promises does not depend on where the bytes are, nor on
//! how they move.
//!
//! Each line of the table at the end is a store; each test in `promises!` runs on each. With feature
//! `fault-injection` every store comes a second time, with transfers that stop short, are interrupted and are
//! refused for a moment; nobody above the transfers may notice.

// Helpers may unwrap as tests do.
#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../cufile_common/mod.rs"]
mod cufile_common;
#[path = "../faulty_fs/mod.rs"]
mod faulty_fs;
#[cfg(feature = "obj")]
#[path = "../s3_common/mod.rs"]
mod s3_common;

mod admission;
mod batches;
mod callers;
mod capacities;
mod fronts;
mod keys;
mod kinds;
mod model;
mod mounts;
mod questions;
mod ranges;
mod registered;
mod room;
mod segments;
mod sizes;

use common::status::OK;
use common::{Kind, Layout, Scratch, Setup, Store};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A line of the table.
struct Case {
    name: &'static str,
    setup: Setup,
}

/// A store of that line, open in a directory of its own.
struct Opened<'c> {
    case: &'c Case,
    scratch: Scratch,
    store: Store,
}

impl Case {
    /// Opens it with room for `slots` objects of up to `chunk_bytes`.
    fn open(&self, slots: u32, chunk_bytes: usize) -> Opened<'_> {
        self.open_with(Setup { slots, chunk_bytes: chunk_bytes as u64, ..self.setup.clone() })
    }

    fn open_with(&self, setup: Setup) -> Opened<'_> {
        let mount = setup.mount.map(|mount| mount().expect("a mount, as it is served"));
        let scratch = mount.map_or_else(|| Scratch::new(self.name), |mount| Scratch::on(mount, self.name));
        let store = Store::open(&setup, &scratch);
        Opened { case: self, scratch, store }
    }

    /// Whether this machine has what the store needs; if not, and it is told to do without, says so.
    fn is_served(&self) -> bool {
        if let Some(mount) = self.setup.mount {
            return mount().is_some();
        }
        if !self.setup.backend.starts_with("GDS") {
            return true;
        }
        // cuFile looks for CUDA's driver when it is loaded, and no later.
        common::cuda::driver();
        cufile_common::is_real()
    }

    fn has_faults(&self) -> bool {
        !self.setup.fault.is_empty()
    }

    /// Whether the statistics count payloads: a listing of a bucket tells how large whole objects are.
    fn counts_payloads(&self) -> bool {
        self.setup.is_static() && self.setup.bucket.is_none()
    }

    /// Whether objects outlive the process.
    fn is_durable(&self) -> bool {
        self.setup.backend != "MEMORY"
    }
}

impl Opened<'_> {
    /// Ends a test in which nothing was to be damaged: nothing was, nothing is left over, and it closes cleanly.
    #[track_caller]
    fn end(self) {
        let stats = self.store.stats();
        assert_eq!((stats.corruptions, stats.quarantined_slots), (0, 0));
        assert_eq!((stats.items_in_flight, stats.timed_out), (0, 0));
        assert_eq!(self.store.close(), OK);
        #[cfg(feature = "obj")]
        if self.case.setup.bucket.is_some() {
            let prefix = s3_common::prefix_of(&self.scratch.data());
            assert_eq!(s3_common::Server::of_this_process().client().uploads(s3_common::BUCKET, &prefix), []);
        }
    }

    /// Asserts that the faults of the schedule were met and overcome, if there is one.
    #[track_caller]
    fn assert_faults_were_met(&self) {
        let stats = self.store.stats();
        let met = (stats.short_transfers > 0, stats.retries > 0);
        if self.case.has_faults() {
            assert_eq!(met, (true, true), "the schedule {} was not met", self.case.setup.fault);
        } else {
            assert_eq!(met, (false, false), "faults without a schedule");
        }
    }
}

/// One test on one store.
macro_rules! promise {
    ($file:ident, $test:ident) => {
        #[test]
        fn $test() {
            if CASE.is_served() {
                super::$file::$test(&CASE);
            }
        }
    };
}

/// All tests on one store, whose items have their memory on the host.
macro_rules! store {
    ($(#[$attribute:meta])* $name:ident, $setup:expr) => {
        store_of_any_memory! {
            $(#[$attribute])* $name, $setup,
            // Elsewhere the items' memory is another than what the test gives back.
            promise!(registered, memory_is_given_back_when_its_transfers_are_over);
        }
    };
}

/// The tests on one store that depend on where its items' memory is.
macro_rules! store_of_memory {
    ($(#[$attribute:meta])* $name:ident, $setup:expr) => {
        $(#[$attribute])*
        mod $name {
            use super::*;
            const CASE: Case = Case { name: stringify!($name), setup: $setup };

            promise!(sizes, objects_of_every_size_come_back);
            promise!(segments, objects_in_many_segments_come_back);
            promise!(segments, a_batch_of_scattered_objects_comes_back);
            promise!(ranges, a_range_is_that_part_and_no_more);
            promise!(kinds, what_is_written_from_one_kind_is_read_into_another);
            promise!(fronts, what_is_told_from_the_front_is_right);
            promise!(fronts, a_front_of_nothing_is_nothing);
            promise!(capacities, too_small_a_buffer_is_told_the_length);
            promise!(capacities, room_beyond_the_object_is_left_alone);
            promise!(batches, hits_and_misses_of_a_batch_are_told_apart);
            promise!(batches, errors_land_on_their_items);
            promise!(callers, callers_at_once_get_their_own_bytes);
            promise!(keys, objects_are_there_after_a_restart);
            promise!(room, a_full_store_evicts_what_was_used_longest_ago);
            promise!(model, random_operations_agree_with_a_map);
        }
    };
}

/// All tests on one store, wherever its items' memory is.
macro_rules! store_of_any_memory {
    ($(#[$attribute:meta])* $name:ident, $setup:expr $(, $($more:tt)*)?) => {
        $(#[$attribute])*
        mod $name {
            use super::*;
            const CASE: Case = Case { name: stringify!($name), setup: $setup };

            $($($more)*)?

            promise!(sizes, objects_of_every_size_come_back);
            promise!(segments, objects_in_many_segments_come_back);
            promise!(segments, a_batch_of_scattered_objects_comes_back);
            promise!(ranges, a_range_is_that_part_and_no_more);
            promise!(fronts, what_is_told_from_the_front_is_right);
            promise!(fronts, a_front_of_nothing_is_nothing);
            promise!(ranges, a_range_past_the_end_is_refused);
            promise!(capacities, too_small_a_buffer_is_told_the_length);
            promise!(capacities, room_beyond_the_object_is_left_alone);
            promise!(batches, hits_and_misses_of_a_batch_are_told_apart);
            promise!(batches, one_key_twice_in_a_batch_is_one_of_both);
            promise!(batches, errors_land_on_their_items);
            promise!(callers, callers_at_once_get_their_own_bytes);
            promise!(keys, keys_are_any_bytes);
            promise!(keys, a_put_that_keeps_leaves_what_is_stored);
            promise!(keys, a_put_that_keeps_exactly_replaces_another_length);
            promise!(keys, an_exact_get_takes_no_other_length);
            promise!(keys, questions_about_keys_agree_with_gets);
            promise!(keys, a_key_replaced_has_the_new_object_alone);
            promise!(keys, objects_are_there_after_a_restart);
            promise!(questions, lookups_in_a_batch_tell_each_keys_length);
            promise!(questions, a_chain_is_found_up_to_its_first_gap);
            promise!(questions, pins_and_removals_in_batches_are_those_of_each_key);
            promise!(questions, questions_and_transfers_go_on_side_by_side);
            promise!(room, a_full_store_evicts_what_was_used_longest_ago);
            promise!(room, a_pinned_key_is_neither_evicted_nor_removed);
            promise!(room, clear_leaves_what_is_pinned);
            promise!(admission, what_is_worth_displacing_nothing_is_declined);
            promise!(admission, a_chain_leaves_from_its_end);
            promise!(registered, registered_memory_is_source_and_target);
            promise!(registered, allocated_memory_is_source_and_target);
            promise!(model, random_operations_agree_with_a_map);
            promise!(model, statistics_add_up);
        }
    };
}

/// Not a test: what serves the mounts.
#[test]
#[ignore = "the body of the processes that serve mounts"]
fn helper_process() {
    faulty_fs::serve_if_asked();
}

/// Every transfer may be cut short, interrupted, or refused for a moment, in a mix that shifts from one to the next.
#[cfg(feature = "fault-injection")]
const FAULTS: &str = "short:3,eintr:5,eagain:7";

/// With few batches: cuFile takes 100 ms to end each, and one row has as many as there are by default.
const GDS: Setup = Setup { params: &[("batch_pool_size", 2)], ..Setup::GDS };

store!(pool_uring_direct, Setup::POOL);
store!(pool_uring_buffered, Setup { direct_io: false, ..Setup::POOL });
store!(pool_threads_direct, Setup { uring: false, ..Setup::POOL });
// The least of everything: four slices of staging buffer, a ring of 16, one thread.
store!(
    pool_tight,
    Setup { buffer_bytes: 256 << 10, kernel_queue_size: 16, io_threads: 1, queue_items: 16, ..Setup::POOL }
);
store!(files_sharded_direct, Setup::FILES);
store!(files_sharded_buffered, Setup { direct_io: false, ..Setup::FILES });
store!(files_lmcache_direct, Setup { layout: Layout::Lmcache, ..Setup::FILES });
store!(memory, Setup::MEMORY);

/// Rows whose bytes lie on a device, once more with the libcufile of CUDA 12: one cuFile serves a process.
#[test]
fn device_rows_hold_with_cufile_of_cuda_12() {
    // The longest one of a row does what the others do, at random.
    let rows = ["gds_pool_on_device::", "gds_mt_pool_from_device::"];
    let left_out = ["--skip", "random_operations", "--skip", "faulty"];
    cufile_common::once_more_of_cuda_12(&[&rows[..], &left_out[..]].concat(), 22);
}

// Memory of a device, in which the processor cannot touch a byte: all of it on one store.
store_of_any_memory!(pool_from_device, Setup { memory: Kind::Device, ..Setup::POOL });
// Every kind of such memory, and every kind of store: what depends on where bytes are.
store_of_memory!(pool_buffered_from_vmm, Setup { memory: Kind::Vmm, direct_io: false, ..Setup::POOL });
store_of_memory!(files_from_pool_memory, Setup { memory: Kind::Pool, ..Setup::FILES });
store_of_memory!(memory_from_managed, Setup { memory: Kind::Managed, ..Setup::MEMORY });
store_of_memory!(pool_from_pinned, Setup { memory: Kind::Pinned, ..Setup::POOL });
store_of_memory!(
    pool_tight_from_device,
    Setup {
        memory: Kind::Device,
        buffer_bytes: 256 << 10,
        kernel_queue_size: 16,
        io_threads: 1,
        queue_items: 16,
        ..Setup::POOL
    }
);
store_of_memory!(gds_pool_from_device, Setup { memory: Kind::Device, ..GDS });
store_of_memory!(gds_mt_pool_from_device, Setup { memory: Kind::Device, ..Setup::GDS_MT });
// The staging buffer on a device too: what does not go direct is gathered there, host memory among it.
store_of_memory!(gds_pool_on_device, Setup { memory: Kind::Device, device: "cuda", ..GDS });
store_of_memory!(
    gds_mt_files_buffered_on_device,
    Setup { memory: Kind::Vmm, device: "cuda:1", layout: Layout::Sharded, direct_io: false, ..Setup::GDS_MT }
);
store_of_memory!(gds_mt_pool_from_host_on_device, Setup { device: "cuda", ..Setup::GDS_MT });
store_of_memory!(
    #[cfg(feature = "fault-injection")]
    faulty_gds_pool_on_device,
    Setup { fault: FAULTS, memory: Kind::Pool, device: "cuda", ..GDS }
);
store_of_memory!(
    #[cfg(feature = "obj")]
    bucket_from_device,
    Setup { memory: Kind::Device, buffer_bytes: 64 << 20, ..Setup::objects(s3_common::on_the_server) }
);
store_of_memory!(
    #[cfg(feature = "fault-injection")]
    faulty_pool_from_device,
    Setup { fault: FAULTS, memory: Kind::Device, ..Setup::POOL }
);
store!(gds_pool_direct, Setup::GDS);
store!(gds_pool_buffered, Setup { direct_io: false, ..GDS });
store!(gds_files_sharded_direct, Setup { layout: Layout::Sharded, ..GDS });
store!(gds_mt_pool_direct, Setup::GDS_MT);
store!(hf3fs_pool, Setup::HF3FS);
store!(hf3fs_files_sharded, Setup { layout: Layout::Sharded, ..Setup::HF3FS });
store!(hf3fs_files_lmcache, Setup { layout: Layout::Lmcache, ..Setup::HF3FS });
// 3FS's files through its rings, its names and locks through a mount that has its habits.
store!(hf3fs_mount_pool, Setup { mount: Some(mounts::telling_late), ..Setup::HF3FS });
store!(
    hf3fs_mount_files_sharded,
    Setup { mount: Some(mounts::telling_late), layout: Layout::Sharded, ..Setup::HF3FS }
);
store!(
    hf3fs_mount_files_lmcache,
    Setup { mount: Some(mounts::telling_late), layout: Layout::Lmcache, ..Setup::HF3FS }
);
store_of_memory!(hf3fs_mount_pool_that_tells, Setup { mount: Some(mounts::telling), ..Setup::HF3FS });
store_of_memory!(
    hf3fs_mount_files_that_tell,
    Setup { mount: Some(mounts::telling), layout: Layout::Sharded, ..Setup::HF3FS }
);
store!(gds_mt_files_lmcache_buffered, Setup { layout: Layout::Lmcache, direct_io: false, ..Setup::GDS_MT });
store!(
    #[cfg(feature = "obj")]
    bucket_sharded,
    Setup::objects(s3_common::on_the_server)
);
store!(
    #[cfg(feature = "obj")]
    bucket_lmcache,
    Setup { layout: Layout::Lmcache, ..Setup::objects(s3_common::on_the_server) }
);
store!(
    #[cfg(feature = "obj")]
    bucket_pool,
    Setup { layout: Layout::Static, ..Setup::objects(s3_common::on_the_server) }
);

store!(
    #[cfg(feature = "fault-injection")]
    faulty_pool_uring_direct,
    Setup { fault: FAULTS, ..Setup::POOL }
);
store!(
    #[cfg(feature = "fault-injection")]
    faulty_pool_uring_buffered,
    Setup { fault: FAULTS, direct_io: false, ..Setup::POOL }
);
store!(
    #[cfg(feature = "fault-injection")]
    faulty_pool_threads_direct,
    Setup { fault: FAULTS, uring: false, ..Setup::POOL }
);
store!(
    #[cfg(feature = "fault-injection")]
    faulty_files_sharded_direct,
    Setup { fault: FAULTS, ..Setup::FILES }
);
store!(
    #[cfg(feature = "fault-injection")]
    faulty_files_sharded_buffered,
    Setup { fault: FAULTS, direct_io: false, ..Setup::FILES }
);
store!(
    #[cfg(feature = "fault-injection")]
    faulty_files_lmcache_direct,
    Setup { fault: FAULTS, layout: Layout::Lmcache, ..Setup::FILES }
);
store!(
    #[cfg(feature = "fault-injection")]
    faulty_gds_pool_direct,
    Setup { fault: FAULTS, ..GDS }
);
store!(
    #[cfg(feature = "fault-injection")]
    faulty_gds_mt_files_direct,
    Setup { fault: FAULTS, layout: Layout::Sharded, ..Setup::GDS_MT }
);
store!(
    #[cfg(feature = "fault-injection")]
    faulty_hf3fs_pool,
    Setup { fault: FAULTS, ..Setup::HF3FS }
);
store!(
    #[cfg(feature = "fault-injection")]
    faulty_hf3fs_files,
    Setup { fault: FAULTS, layout: Layout::Sharded, ..Setup::HF3FS }
);
store!(
    #[cfg(feature = "fault-injection")]
    faulty_memory,
    Setup { fault: FAULTS, ..Setup::MEMORY }
);
