//! Entries of a store on several threads, as each costs a read or a request.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nixl_store::config::BackendKind;
use nixl_store::inspect::{Entry, EntryKind, Inspection, Room};
use nixl_store::sys::thread::{STACK_BYTES, spawn_scoped};

use crate::output::Failure;

/// Threads that read from files: each waits for the device most of the time.
const FILE_THREADS: usize = 8;
/// Threads that ask a server.
const SERVER_THREADS: usize = 16;

/// Threads that a store is read with.
pub fn threads(store: &Inspection) -> usize {
    match store.facts().backend {
        BackendKind::Obj => SERVER_THREADS,
        // Checksums are the processor's work, so that more than two for each only wait.
        _ => thread::available_parallelism().map_or(1, NonZero::get).saturating_mul(2).min(FILE_THREADS),
    }
}

/// Does `work` for each of `items`, on that many threads that have a room each; the answers in the order of the items.
///
/// # Errors
/// The first failure of `work`; what is under way then is done, and no more.
pub fn each<T: Sync, U: Send>(
    threads: usize,
    items: &[T],
    room: impl Fn() -> Room + Sync,
    work: impl Fn(&T, &mut Room) -> Result<U, Failure> + Sync,
) -> Result<Vec<U>, Failure> {
    let next = AtomicUsize::new(0);
    let answers: Mutex<Vec<(usize, U)>> = Mutex::new(Vec::with_capacity(items.len()));
    let failure = Mutex::new(None);
    let run = || {
        let mut room = room();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return };
            match work(item, &mut room) {
                Ok(answer) => lock(&answers).push((index, answer)),
                Err(error) => {
                    lock(&failure).get_or_insert(error);
                    next.store(items.len(), Ordering::Relaxed);
                }
            }
        }
    };
    thread::scope(|scope| {
        // This thread works as well, also where no other can be had.
        for _ in 1..threads.min(items.len()) {
            drop(spawn_scoped(scope, "nixl-read", STACK_BYTES, run));
        }
        run();
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        return Err(error);
    }
    let mut answers = answers.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    answers.sort_unstable_by_key(|(index, _)| *index);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

/// The entries with all that can be found out about them without reading their payloads; those that are gone are left out.
///
/// # Errors
/// What the system or the server answers.
pub fn described(store: &Inspection, entries: Vec<Entry>) -> Result<Vec<Entry>, Failure> {
    if entries.iter().all(Entry::is_described) {
        return Ok(entries);
    }
    let found = each(threads(store), &entries, Room::default, |entry, room| {
        let mut entry = entry.clone();
        match store.describe(&mut entry, room) {
            Ok(is_there) => Ok(is_there.then_some(entry)),
            // A server that does not answer will not for the next one either; a file may be the only one.
            Err(error) if store.facts().backend == BackendKind::Obj => Err(error.into()),
            Err(error) => {
                entry.kind = EntryKind::Unreadable(error.message().to_owned());
                Ok(Some(entry))
            }
        }
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// A lock that a panic elsewhere does not spoil.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
