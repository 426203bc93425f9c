//! Gets go ahead of puts.

use crate::common::status::OK;
use crate::common::{Batch, Scratch, Setup, Store, Submit, payload};
use crate::{MIB, key, stores};

const PUTS: usize = 96;
/// Puts that must still be waiting when the get is submitted, for a round to say anything.
const WAITING_MIN: usize = 48;

/// Reads are on the way to a request's first token, writes are not. A get that is submitted behind a hundred puts of a
/// megabyte is served before most of them, and only those that were under way already come before it.
#[test]
fn a_get_overtakes_waiting_puts() {
    for (name, setup) in stores() {
        let scratch = Scratch::new(name);
        let store = Store::open(&Setup { io_threads: 1, slots: 6, ..setup.clone() }, &scratch);
        let object = payload(1, MIB);
        let wanted = payload(2, 300_000);
        assert_eq!((store.put(b"wanted", &wanted), store.pin(b"wanted")), (OK, OK));
        // On a machine so busy that most puts are done before the get is submitted, a round shows nothing. Were puts
        // not overtaken, no round would.
        let is_shown = (0..20).any(|_| {
            let queue = store.queue();
            let mut buffer = vec![0; 300_000];
            let mut batches: Vec<Batch<'_>> = Vec::new();
            for index in 0..PUTS {
                let mut puts = Batch::new();
                puts.put(&key(index), &object);
                batches.push(puts);
            }
            let submit = |user_data| Submit { queue: Some(&queue), user_data, ..Submit::default() };
            let pending: Vec<_> = (0u64..)
                .zip(&batches)
                .map(|(number, puts)| store.submit_puts(puts, submit(number)).unwrap())
                .collect();
            let mut done_before = 0;
            loop {
                let drained = queue.drain().len();
                done_before += drained;
                if drained == 0 {
                    break;
                }
            }
            let mut gets = Batch::new();
            gets.get(b"wanted", &mut buffer);
            let get = store.submit_gets(&gets, submit(u64::MAX)).unwrap();
            let rest = queue.take(PUTS - done_before + 1);
            let place = rest.iter().position(|completion| completion.user_data == u64::MAX).unwrap();
            assert_eq!(get.wait().0, OK, "{name}");
            drop(gets);
            assert!(buffer == wanted, "{name}");
            for pending in pending {
                assert_eq!(pending.wait().0, OK, "{name}");
            }
            let waiting = PUTS - done_before;
            waiting >= WAITING_MIN && place < waiting / 2
        });
        assert!(is_shown, "{name}: behind most of the waiting puts, every time");
    }
}
