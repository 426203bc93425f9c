//! LMCache's presence cache: what this process knows to be stored is believed without asking.

use nixl_store::capi::*;

use crate::crash_common::Scratch;
use crate::crash_common::api::Store;
use crate::crash_common::config::Settings;
use crate::crash_common::questions::Ask;

/// An object that another process put, one of this one's, one that another removed, and one that nobody knows.
const KEYS: [&str; 4] = ["others", "ours", "lost", "nowhere"];

/// Opens two stores on one directory, the second with these settings; and the answers of its lookups.
fn lookups(name: &str, extra: &[(&str, bool)]) -> Vec<(nixl_store_status_t, u64)> {
    let scratch = Scratch::new(name);
    let settings = Settings::dynamic(&scratch.join("data"));
    let other = Store::open(&settings.write(&scratch.join("other.yaml"))).unwrap();
    let with = |settings: Settings, (key, value): &(&str, bool)| settings.with(key, value);
    let settings = extra.iter().fold(settings, with);
    let store = Store::open(&settings.write(&scratch.join("lmcache.yaml"))).unwrap();
    other.put("others", &[1; 100]).unwrap();
    store.put("ours", &[2; 200]).unwrap();
    store.put("lost", &[3; 300]).unwrap();
    assert_eq!(other.remove("lost").unwrap(), NIXL_STORE_OK);
    let (_, results) = store.ask(Ask::Lookup, &KEYS);
    for (key, result) in KEYS.iter().zip(&results) {
        let one = store.contains(key).unwrap();
        assert_eq!(one, result.status == NIXL_STORE_OK, "{key}: as the call for one key");
    }
    results.iter().map(|result| (result.status, result.object_length)).collect()
}

#[test]
fn without_a_presence_cache_storage_is_asked() {
    let (ok, none) = (NIXL_STORE_OK, (NIXL_STORE_NOT_FOUND, 0));
    assert_eq!(lookups("asked", &[]), [(ok, 100), (ok, 200), none, none]);
}

/// What this process put is there for it, length unknown, whatever others did; what it does not know is asked for.
#[test]
fn a_presence_cache_is_believed() {
    let (ok, none) = (NIXL_STORE_OK, (NIXL_STORE_NOT_FOUND, 0));
    let cached = lookups("cached", &[("nixl_presence_cache", true)]);
    assert_eq!(cached, [(ok, 100), (ok, 0), (ok, 0), none]);
}

/// Nothing else is asked at all.
#[test]
fn a_presence_cache_alone_asks_nothing() {
    let (ok, none) = (NIXL_STORE_OK, (NIXL_STORE_NOT_FOUND, 0));
    let only = [("nixl_presence_cache", true), ("nixl_presence_cache_only", true)];
    assert_eq!(lookups("only", &only), [none, (ok, 0), (ok, 0), none]);
}
