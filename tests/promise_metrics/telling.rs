//! The call that writes the text.

use std::ptr;

use nixl_store::capi::*;

use crate::common::status::{BUFFER_TOO_SMALL, INVALID_ARGUMENT, INVALID_HANDLE, OK, Status};
use crate::common::{Scratch, Setup, Store};
use crate::{text, text_of, write};

/// A buffer that is too small gets nothing, and the length that is told suffices also for what is counted until the next call.
#[test]
fn a_buffer_is_filled_or_told_what_it_takes() {
    let scratch = Scratch::new("metrics");
    let store = Store::open(&Setup::MEMORY, &scratch);
    let (status, _, needed) = write(store.handle(), 0);
    assert_eq!(status, BUFFER_TOO_SMALL);
    let (status, buffer, _) = write(store.handle(), 100);
    assert_eq!((status, buffer), (BUFFER_TOO_SMALL, vec![b'#'; 100]));
    assert_eq!(store.put(b"key", b"a size class that nothing was counted in before"), OK);
    let (status, buffer, length) = write(store.handle(), needed);
    assert_eq!(status, OK);
    assert_eq!(buffer[length], 0);
    assert!(buffer[..length].ends_with(b"# EOF\n") && buffer[length + 1..].iter().all(|byte| *byte == b'#'));
    // The NUL needs its place.
    assert_eq!(write(store.handle(), length).0, BUFFER_TOO_SMALL);
    assert_eq!(write(store.handle(), length + 1).0, OK);
}

/// What cannot be an argument is refused before anything is written.
#[test]
fn arguments_are_checked() {
    let scratch = Scratch::new("metrics");
    let store = Store::open(&Setup::MEMORY, &scratch);
    let mut buffer = vec![0_usize; 8192];
    let capacity = buffer.len() * size_of::<usize>();
    let (start, mut length) = (buffer.as_mut_ptr(), 0);
    // SAFETY: NULL, or memory of that capacity and a place in it.
    let (no_buffer, no_length, inside) = unsafe {
        (
            nixl_store_metrics_text(store.handle(), ptr::null_mut(), 1, &raw mut length),
            nixl_store_metrics_text(store.handle(), start.cast(), capacity, ptr::null_mut()),
            nixl_store_metrics_text(store.handle(), start.cast(), capacity, start.add(1)),
        )
    };
    assert_eq!([no_buffer, no_length, inside].map(Status), [INVALID_ARGUMENT; 3]);
    assert!(buffer.iter().all(|word| *word == 0));
    let handle = store.handle();
    assert_eq!(store.close(), OK);
    assert_eq!(write(handle, 10).0, INVALID_HANDLE);
}

/// An engine with a store for each device serves one text, in which a family comes once and each sample says whose it is.
#[test]
fn all_stores_of_a_process_are_one_text() {
    let scratch = Scratch::new("metrics");
    let stores: Vec<Store> = (0..3).map(|_| Store::open(&Setup::MEMORY, &scratch)).collect();
    let numbers: Vec<String> =
        stores.iter().map(|store| text(store).labels("nixl_store_info")[0]["store"].clone()).collect();
    for (index, store) in stores.iter().enumerate() {
        (0..=index).for_each(|key| assert_eq!(store.put(&[key as u8], b"object"), OK));
    }
    // Tests at the same time have stores too.
    let all = text_of(ptr::null_mut());
    for (index, number) in numbers.iter().enumerate() {
        let labels = [("store", number.as_str())];
        assert_eq!(all.one("nixl_store_keys", &labels), index as u64 + 1);
        assert_eq!(all.one("nixl_store_info", &labels), 1);
        assert_eq!(all.sum("nixl_store_latency_seconds_count", &labels), (index + 1) as f64);
    }
    assert_eq!(stores[1].close(), OK);
    let all = text_of(ptr::null_mut());
    let left: Vec<&String> = all.labels("nixl_store_keys").iter().map(|labels| &labels["store"]).collect();
    assert!(left.contains(&&numbers[0]) && !left.contains(&&numbers[1]) && left.contains(&&numbers[2]));
}

/// What a store is: enough for whoever looks at several to tell which is which, and what is in effect.
#[test]
fn the_text_says_which_store_it_is() {
    let scratch = Scratch::new("metrics");
    let store = Store::open(&Setup::FILES, &scratch);
    let text = text(&store);
    let labels = text.labels("nixl_store_info")[0].clone();
    let told = |name: &str| labels[name].as_str();
    assert_eq!(told("pid"), std::process::id().to_string());
    assert_eq!(told("config"), scratch.path().join("lmcache.yaml").to_str().unwrap());
    assert_eq!(told("location"), scratch.data().to_str().unwrap());
    assert_eq!((told("backend"), told("layout"), told("worker")), ("POSIX", "dynamic/sharded", "0"));
    assert!(["io_uring", "threads"].contains(&told("path")));
    assert_eq!(told("version"), env!("CARGO_PKG_VERSION"));
    let opened = text.one("nixl_store_open_time_seconds", &[]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((now - 600..=now).contains(&opened), "{opened}");
}

/// The table of the documentation has every family, with its type, and no other.
#[test]
fn the_documentation_lists_every_family() {
    let scratch = Scratch::new("metrics");
    let store = Store::open(&Setup::MEMORY, &scratch);
    let document = include_str!("../../docs/METRICS.md");
    let table = document.split("### Latency").next().unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `nixl_store"));
    let listed: Vec<(String, String)> = rows
        .map(|row| {
            let mut cells = row.split('|').map(str::trim);
            (
                format!("nixl_store{}", cells.next().unwrap().trim_end_matches('`')),
                cells.next().unwrap().to_owned(),
            )
        })
        .collect();
    let mut sorted = listed.clone();
    sorted.sort();
    assert_eq!(sorted, text(&store).families.into_iter().collect::<Vec<_>>());
}
