//! The daemon dies: what it had under way ends with an error, the store refuses all that comes after, and closes.

use std::time::Instant;

use crate::common::exchange::{PATIENCE, begin_gets, close_off};
use crate::common::hf3fs::What;
use crate::common::status::{IO, OK, POISONED, Status};
use crate::common::{Batch, Scratch, Setup, Store, Submit, payload};
use crate::{Alone, BOTH, MIB};

const UNSUPPORTED: Status = Status(nixl_store::capi::NIXL_STORE_ERROR_UNSUPPORTED);

/// Gives the daemon some gets and some puts, lets it die, and looks at what becomes of them.
#[track_caller]
fn dies(standin: &Alone, of: &Setup, let_it_die: impl FnOnce()) {
    let scratch = Scratch::new("hf3fs-death");
    let store = Store::open(&Setup { slots: 64, ..of.clone() }, &scratch);
    let object = payload(2, MIB);
    assert_eq!(store.put(b"key", &object), OK);
    standin.hold(true);
    let (memory, gets) = begin_gets(&store, b"key", 8, MIB);
    let mut puts = Batch::new();
    puts.put(b"other", &object);
    let puts = store.submit_puts(&puts, Submit::default()).unwrap();
    while standin.count(What::Held) < 2 {
        std::thread::yield_now();
    }
    let died = Instant::now();
    let_it_die();
    for pending in [gets, puts] {
        let (status, results) = pending.wait();
        // Those that were yet to open a file meet the death there.
        assert!([POISONED, IO, UNSUPPORTED].contains(&status), "{status:?}");
        assert!(results.iter().all(|result| Status(result.status) != OK));
    }
    assert!(died.elapsed() < PATIENCE, "{:?}", died.elapsed());
    // From here on it is the engine's.
    close_off(&memory);
    assert_eq!(store.put(b"key", &object), POISONED);
    assert_eq!(store.get(b"key", &mut [0; 9]).0, POISONED);
    let logged = store.logged("the daemon of 3FS at");
    assert!(logged > 0, "nobody was told why");
    assert_eq!(store.close(), POISONED);
    standin.revive();
    // What was stored before is there again, for a store that is opened anew.
    let store = Store::open(&Setup { slots: 64, ..of.clone() }, &scratch);
    assert_eq!(store.fetch(b"key", MIB).as_ref(), Some(&object));
    assert_eq!(store.fetch(b"other", MIB), None);
    assert_eq!(store.close(), OK);
}

/// Its death is noticed although a ring says nothing of it.
#[test]
fn a_dead_daemon_ends_what_is_under_way() {
    let standin = Alone::new();
    for of in &BOTH {
        dies(&standin, of, || standin.kill());
    }
}

/// A store that has nothing under way learns of it with the next item.
#[test]
fn an_idle_store_learns_of_a_death_by_its_next_item() {
    let standin = Alone::new();
    let scratch = Scratch::new("hf3fs-idle");
    let store = Store::open(&Setup::HF3FS, &scratch);
    assert_eq!(store.put(b"key", &[1; 9000]), OK);
    standin.kill();
    assert_eq!(store.get(b"key", &mut [0; 9000]).0, POISONED);
    assert_eq!(store.close(), POISONED);
    standin.revive();
}

/// A daemon that is slow is no dead one, however long it takes.
#[test]
fn a_daemon_that_is_slow_is_waited_for() {
    let standin = Alone::new();
    let scratch = Scratch::new("hf3fs-slow");
    let store = Store::open(&Setup::HF3FS, &scratch);
    let object = payload(2, MIB);
    assert_eq!(store.put(b"key", &object), OK);
    standin.hold(true);
    let mut buffer = vec![0; MIB];
    let mut gets = Batch::new();
    gets.get(b"key", &mut buffer);
    let pending = store.submit_gets(&gets, Submit::default()).unwrap();
    // Longer than it takes to ask after the daemon, and to give it up.
    let Err(pending) = pending.try_wait(3000) else { panic!("nothing can have come") };
    standin.hold(false);
    assert_eq!(pending.wait().0, OK);
    drop(gets);
    assert!(buffer == object);
    assert_eq!(store.close(), OK);
}
