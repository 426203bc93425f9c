//! Questions about keys on their way: every item ends once, whatever the placement does.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use super::testing::{Fake, batch_of, inquiry};
use super::*;
use crate::batch::ticket::TicketTable;
use crate::lane::chores::Chores;
use crate::lane::deadlines;
use crate::log::{Level, Logger};
use crate::memory::{Arena, Staging};
use crate::sync::{AtomicUsize, Ordering};

/// What has to end, has so long for it, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(20);
/// More than two turns have.
const ITEMS: usize = 2 * KEYS_PER_TURN + 10;

fn shared() -> Arc<Shared> {
    let staging = Staging::new(256 << 10, |bytes| Arena::new(bytes, false)).unwrap();
    Arc::new(Shared::new(1, 4 * ITEMS, Arc::new(staging), Logger::to_stderr(Some(Level::Warn))).unwrap())
}

fn statuses(batch: &Batch) -> Vec<Status> {
    batch.items().iter().map(|item| batch.result(item).status).collect()
}

const FOUND: Result<Asked> = Ok(Asked::Done { length: Some(7) });

/// A backend that asks for all keys side by side has its answers back in any order. Each lands on its item; what it
/// forgets, or answers twice, does no harm.
#[test]
fn answers_come_in_any_order() {
    let shared = shared();
    let fake = Arc::new(Fake::AtOnce(Box::new(|keys, asking| {
        let forgotten = 3;
        assert!((0..keys.len()).all(|index| asking.begin(index)));
        for index in (0..keys.len()).rev().filter(|&index| index != forgotten) {
            let odd = keys[index].digest % 2 == 1;
            asking.answer(index, if odd { FOUND } else { Ok(Asked::NotFound) });
            asking.answer(index, Ok(Asked::Pinned));
        }
        asking.answer(keys.len(), FOUND);
        assert!(!asking.begin(keys.len()));
    })));
    let batch = batch_of(&shared, ITEMS, 1);
    inquiry(&shared, &fake, &batch, false).run();
    assert!(batch.is_done());
    for (index, status) in statuses(&batch).into_iter().enumerate() {
        let wanted = match index {
            _ if index % KEYS_PER_TURN == 3 => Status::Internal,
            _ if index % 2 == 1 => Status::Ok,
            _ => Status::NotFound,
        };
        assert_eq!(status, wanted, "item {index}");
    }
    assert_eq!(shared.in_flight(), 0);
}

/// Of a chain nothing behind the first miss is asked for, neither in its turn nor in later ones.
#[test]
fn nothing_is_asked_behind_the_end_of_a_chain() {
    for gap in [0, 5, KEYS_PER_TURN - 1, KEYS_PER_TURN, ITEMS - 1] {
        let shared = shared();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let fake = Arc::new(Fake::OneByOne(Box::new(move |key| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok((key.digest != gap as u128).then_some(7))
        })));
        let batch = batch_of(&shared, ITEMS, 1);
        inquiry(&shared, &fake, &batch, true).run();
        let statuses = statuses(&batch);
        assert!(statuses[..gap].iter().all(|status| *status == Status::Ok));
        assert!(statuses[gap..].iter().all(|status| *status == Status::NotFound));
        assert_eq!(asked.load(Ordering::SeqCst), gap + 1);
        assert_eq!(shared.in_flight(), 0);
    }
}

/// A bug in a placement: the answers that it gave stand, all other items end as poisoned, those of later turns too, and the
/// store is poisoned.
#[test]
fn a_panic_ends_the_batch_and_poisons_the_store() {
    let shared = shared();
    let fake = Arc::new(Fake::AtOnce(Box::new(|_, asking| {
        assert!(asking.begin(0) && asking.begin(1));
        asking.answer(0, FOUND);
        panic!("a bug");
    })));
    let chores = Arc::new(Chores::new(Arc::clone(&shared)));
    let batch = batch_of(&shared, ITEMS, 1);
    assert!(chores.inquire(inquiry(&shared, &fake, &batch, false)).is_empty());
    assert!(batch.wait(Some(PATIENCE)));
    let statuses = statuses(&batch);
    assert_eq!(statuses[0], Status::Ok);
    assert!(statuses[1..].iter().all(|status| *status == Status::Poisoned));
    // The last item ended in the unwinding, a moment before its thread caught the panic.
    chores.stop();
    assert!(shared.is_poisoned());
}

/// All threads that ask hang when the store is poisoned. What was not begun ends at once; what was begun ends with its
/// answer, and nothing is begun after it.
#[test]
fn poison_ends_what_waits_for_threads_that_hang() {
    let shared = shared();
    let tickets = Arc::new(TicketTable::new(1));
    let keeper = deadlines::spawn(Arc::clone(&shared), Arc::clone(&tickets)).unwrap();
    let (begin, begun) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let (begin, released) = (Mutex::new(begin), Mutex::new(released));
    let fake = Arc::new(Fake::OneByOne(Box::new(move |_| {
        begin.lock().unwrap().send(()).unwrap();
        // Ends by an error, when the test lets go of the sender.
        let _ = released.lock().unwrap().recv();
        Ok(Some(7))
    })));
    let chores = Arc::new(Chores::new(Arc::clone(&shared)));
    let submit = |number: u64| {
        let batch = batch_of(&shared, 3, number);
        tickets.insert(tickets.reserve().unwrap(), Arc::clone(&batch));
        assert!(chores.inquire(inquiry(&shared, &fake, &batch, false)).is_empty());
        batch
    };
    let mut batches: Vec<_> = (1..=4).map(submit).collect();
    // The lock that they wait for the release under lets one after the other; all have begun all the same.
    (0..4).for_each(|_| begun.recv_timeout(PATIENCE).unwrap());
    batches.push(submit(5));
    shared.poison("a test");
    assert!(batches[4].wait(Some(PATIENCE)), "it waits for threads that hang");
    assert_eq!(statuses(&batches[4]), [Status::Poisoned; 3]);
    assert!(batches[..4].iter().all(|batch| !batch.is_done()));
    drop(release);
    for batch in &batches[..4] {
        assert!(batch.wait(Some(PATIENCE)));
        assert_eq!(statuses(batch), [Status::Ok, Status::Poisoned, Status::Poisoned]);
    }
    chores.stop();
    assert!(begun.try_recv().is_err(), "nothing is begun in a poisoned store");
    assert_eq!(shared.in_flight(), 0);
    shared.stop();
    keeper.join().unwrap();
}

/// A batch that comes to a thread after the store was poisoned ends there, without a question.
#[test]
fn nothing_is_asked_in_a_poisoned_store() {
    let shared = shared();
    let fake = Arc::new(Fake::OneByOne(Box::new(|_| panic!("asked"))));
    let batch = batch_of(&shared, ITEMS, 1);
    shared.poison("a test");
    inquiry(&shared, &fake, &batch, false).run();
    assert!(statuses(&batch).iter().all(|status| *status == Status::Poisoned));
    assert_eq!(shared.in_flight(), 0);
}
