//! A server that stands still, and one that is gone: deadlines hold, memory is the caller's again, the breaker spares
//! callers the wait and lets them back.

use std::time::{Duration, Instant};

use crate::crash_common::api::{Direction, Item, Store, Submit};
use crate::crash_common::chunk;
use crate::place::{LARGE, Place, SMALL, put, version, wait_until_served};
use crate::s3_common::{Fault, Kind, Proxy, Rule, wait};
use nixl_store::capi::*;

/// The deadline of each stalled call.
const DEADLINE_MS: u64 = 3000;
/// How much later it may end on a machine that is busy.
const LATE_MAX: Duration = Duration::from_secs(10);

/// One call that meets a stall, and its end.
fn stalled(name: &str, direction: Direction, rule: Rule, length: usize) {
    let place = Place::new(name);
    let proxy = Proxy::new();
    let store = place.open(&place.dynamic(&proxy.endpoint()));
    put(&store, "key", 1, length);
    let rule = proxy.add(rule);
    let memory = match direction {
        Direction::Get => vec![0; length],
        Direction::Put => chunk::fill("key", 2, length),
    };
    let how = Submit { timeout_ms: DEADLINE_MS, ..Submit::default() };
    let start = Instant::now();
    let (status, mut items) = store.submit(direction, vec![Item::new("key", memory)], how).unwrap().wait();
    let took = start.elapsed();
    assert_eq!(status, NIXL_STORE_ERROR_TIMED_OUT, "{name}: {}", items[0].1.status);
    assert!(took < Duration::from_millis(DEADLINE_MS) + LATE_MAX, "{name}: {took:?}");
    assert!(proxy.struck(rule) > 0, "{name}: nobody met it");
    // From here on nobody writes to it, whatever the server still sends.
    let memory = &mut items[0].0.memory;
    memory.fill(0xa5);
    proxy.heal();
    wait::until("the store serves again", wait::LONG, || {
        let found = store.get("key", length).ok()?;
        // A put whose answer did not come may have been done, and is taken back then; what it replaced is gone.
        let Some(found) = found else { return (direction == Direction::Put).then_some(()) };
        let found = chunk::read("key", &found).unwrap();
        assert!(found == 1 || direction == Direction::Put && found == 2);
        Some(())
    });
    assert!(
        items[0].0.memory.iter().all(|&byte| byte == 0xa5),
        "memory was written to after its item had ended"
    );
    place.end_at(store, &proxy);
}

/// Wherever the server stops, an item ends at its deadline as such, its memory is left alone from then on, and no upload
/// is left behind.
#[test]
fn items_end_at_their_deadline_while_the_server_stalls() {
    let (get, put) = (Direction::Get, Direction::Put);
    let on = Rule::on;
    let cases = [
        ("no-answer", get, on(Kind::Get, Fault::StallBeforeAnswer), SMALL),
        ("no-body", get, on(Kind::Get, Fault::StallInAnswer(0)), SMALL),
        ("half-a-body", get, on(Kind::Get, Fault::StallInAnswer(50_000)), SMALL),
        ("half-a-range", get, on(Kind::Get, Fault::StallInAnswer(700_000)).after(2), LARGE),
        ("trickle", get, on(Kind::Get, Fault::Trickle(1000, Duration::from_millis(200))), SMALL),
        ("put-no-answer", put, on(Kind::Put, Fault::StallBeforeAnswer), SMALL),
        ("put-half-a-body", put, on(Kind::Put, Fault::StallInRequest(50_000)), SMALL),
        ("create-no-answer", put, on(Kind::CreateUpload, Fault::StallBeforeAnswer), LARGE),
        ("half-a-part", put, on(Kind::Part, Fault::StallInRequest(1_000_000)), LARGE),
        ("part-no-answer", put, on(Kind::Part, Fault::StallBeforeAnswer).after(1), LARGE),
        ("complete-no-answer", put, on(Kind::CompleteUpload, Fault::StallBeforeAnswer), LARGE),
    ];
    std::thread::scope(|scope| {
        for (name, direction, rule, length) in cases {
            scope.spawn(move || stalled(name, direction, rule, length));
        }
    });
}

/// One stalled request holds up nobody else.
#[test]
fn a_stalled_item_holds_up_no_other() {
    let place = Place::new("others");
    let proxy = Proxy::new();
    let store = place.open(&place.dynamic(&proxy.endpoint()).with("nixl_store_layout", "lmcache"));
    put(&store, "stuck", 1, SMALL);
    put(&store, "free", 1, SMALL);
    proxy.add(Rule::on(Kind::Get, Fault::StallBeforeAnswer).named("stuck"));
    let how = Submit { timeout_ms: 6000, ..Submit::default() };
    let stuck = Item::new("stuck", vec![0; SMALL]);
    let pending = store.submit(Direction::Get, vec![stuck], how).unwrap();
    for _ in 0..20 {
        assert_eq!(version(&store, "free", SMALL), Some(1));
    }
    assert!(!pending.ended_within(Duration::ZERO));
    assert_eq!(pending.wait().0, NIXL_STORE_ERROR_TIMED_OUT);
    place.end_at(store, &proxy);
}

/// A call and how long it took to fail.
fn failing(store: &Store) -> Duration {
    let start = Instant::now();
    let failure = store.get("key", SMALL).expect_err("nobody is there");
    assert!(failure.message.contains("127.0.0.1"), "the endpoint is named: {failure}");
    start.elapsed()
}

/// While nobody is there calls fail, after some of them at once; when the server is back they are served again, by
/// themselves.
#[test]
fn a_breaker_fails_fast_and_recovers() {
    let place = Place::new("breaker");
    let mut proxy = Proxy::new();
    let store = place.open(&place.dynamic(&proxy.endpoint()).with("nixl_store_timeout_ms", 3000));
    put(&store, "key", 1, SMALL);
    proxy.refuse();
    wait::until("calls fail at once", wait::LONG, || {
        (failing(&store) < Duration::from_millis(50)).then_some(())
    });
    // Now most of many do.
    let fast = (0..50).filter(|_| failing(&store) < Duration::from_millis(50)).count();
    assert!(fast >= 40, "{fast} of 50 calls failed at once");
    proxy.accept_again();
    wait_until_served(&store, "key", 1, SMALL);
    assert_eq!(version(&store, "key", SMALL), Some(1), "and from then on each");
    place.end_at(store, &proxy);
}
