//! One item on its way through a lane: its parts, and how it ends where nothing was moved.

use super::Lane;
use super::job::Failure;
use crate::backend::IoDirection;
use crate::batch::{ItemGuard, ItemResult};
use crate::error::{Error, Status};
use crate::memory::Stretch;
use crate::placement::{Key, Placement};

/// An item that waits for what others hold, and holds nothing itself.
pub(super) struct Parked {
    pub(super) guard: ItemGuard,
    /// Attempts of a put that met a full device before.
    pub(super) attempts: u32,
}

/// The key and memory of an item, as its job needs them again and again.
pub(super) fn item_parts(guard: &ItemGuard) -> Option<(Key<'_>, &[Stretch])> {
    let (batch, item, _) = guard.parts()?;
    Some((Key { effective: batch.key(item), digest: item.digest }, batch.stretches(item)))
}

/// The result of an operation that failed before or after its transfer; the item keeps the reason.
pub(super) fn failed(guard: &ItemGuard, error: &Error) -> ItemResult {
    guard.explain(|| error.message().to_owned());
    ItemResult::failed(error.status(), error.os_error())
}

/// The result of a transfer that failed.
pub(super) fn failed_transfer(guard: &ItemGuard, direction: IoDirection, failure: &Failure) -> ItemResult {
    let Failure { status, os_error, message } = failure;
    if let Some(message) = message {
        guard.explain(|| message.clone());
    } else if *os_error != 0 {
        let what = match direction {
            IoDirection::Read => "reading",
            IoDirection::Write => "writing",
        };
        guard.explain(|| {
            let key = item_parts(guard).map_or_else(String::new, |(key, _)| key.shown());
            format!("{what} key {key}: {}", std::io::Error::from_raw_os_error(*os_error))
        });
    }
    ItemResult::failed(*status, *os_error)
}

/// The result of a get that found nothing to serve.
pub(super) fn not_found() -> ItemResult {
    ItemResult::of(Status::NotFound)
}

impl<P: Placement> Lane<P> {
    /// Ends an item. Whatever it held was given back before, so lanes that wait for such look again.
    pub(super) fn finish(&self, guard: ItemGuard, result: ItemResult) {
        self.shared.finish(guard, result);
        self.shared.relieve();
    }

    /// Announces that an item asks the placement for what it needs. True: no other item holds anything.
    pub(super) fn hold(&self) -> bool {
        let alone = !self.shared.has_holders();
        self.shared.hold();
        alone
    }

    /// Whether an error will pass: descriptors are short, and there was another item that will give some back.
    pub(super) fn passes(&self, error: &Error, alone: bool) -> bool {
        !alone && matches!(error.os_error(), libc::EMFILE | libc::ENFILE)
    }

    /// Tries an item again when others have given back descriptors.
    pub(super) fn park_get(&mut self, guard: ItemGuard) {
        self.is_short = true;
        self.parked_gets.push_back(Parked { guard, attempts: 0 });
    }

    /// As [`Lane::park_get`].
    pub(super) fn park_put(&mut self, guard: ItemGuard, attempts: u32) {
        self.is_short = true;
        self.parked_puts.push_back(Parked { guard, attempts });
    }
}
