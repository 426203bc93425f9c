//! Where bytes are, apart from how they move: what lanes and callers ask of a static pool or of a
//! directory of files alike.

mod answer;
mod asking;
#[cfg(feature = "obj")]
pub mod bucket;
pub mod objects;
pub mod slots;
mod sums;

use std::convert::Infallible;
use std::io;
use std::time::Instant;

use crate::backend::Target;
use crate::batch::Question;
use crate::catalog::Chains;
use crate::error::{Result, Status};
use crate::layout::record::Trailer;
use crate::sync::Arc;
use crate::sys::file::DirectAlignment;

pub use answer::{Answer, Work};
#[cfg(test)]
pub(crate) use asking::one_by_one;
pub use asking::{Asked, Asking};
pub use sums::BlockSums;

/// A key as the store uses it: effective bytes and their digest.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// Namespace and key, see the record format.
    pub effective: &'a [u8],
    /// XXH3 (128 bit) of them.
    pub digest: u128,
}

/// Bytes of a key that a message shows.
const SHOWN_BYTES_MAX: usize = 48;

/// A key for whoever answers later.
#[derive(Clone, Debug)]
pub struct OwnedKey {
    effective: Box<[u8]>,
    digest: u128,
}

impl OwnedKey {
    /// The key.
    pub fn key(&self) -> Key<'_> {
        Key { effective: &self.effective, digest: self.digest }
    }
}

impl Key<'_> {
    /// A copy that lives on its own.
    pub fn to_owned(&self) -> OwnedKey {
        OwnedKey { effective: self.effective.into(), digest: self.digest }
    }

    /// The key as messages show it: its digest, and the beginning of what the engine called it.
    pub fn shown(&self) -> String {
        let namespace = self.effective.first().map_or(0, |length| usize::from(*length));
        let name = self.effective.get(1 + namespace..).unwrap_or_default();
        let more = if name.len() > SHOWN_BYTES_MAX { "…" } else { "" };
        let name = name[..name.len().min(SHOWN_BYTES_MAX)].escape_ascii();
        format!("{:032x} (\"{name}{more}\")", self.digest)
    }
}

/// The geometry of one record in a file: payload, padding, trailer, without gaps.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The file; held open while a transfer is under way.
    pub target: Target,
    /// First payload byte.
    pub payload_offset: u64,
    /// Payload with its padding.
    pub padded_bytes: u64,
    /// Trailer behind it; 0 for a file that another program wrote and that has none.
    pub trailer_bytes: u64,
    /// Pool identity in the trailer.
    pub pool_id: u128,
    /// Slot number in the trailer.
    pub slot: u64,
    /// What the file asks of direct transfers; `None`: it is buffered, anything goes.
    pub alignment: Option<DirectAlignment>,
    /// Payload bytes of every request but the last, where the target has a say in it: a put must keep to it, a get had
    /// better. A multiple of the checksum block, or no less than `padded_bytes`. `None`: the lane chooses.
    pub piece_bytes: Option<u64>,
}

/// What a get asks for, for a placement that has to guess how long its record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetWish {
    /// Bytes of the caller's memory.
    pub capacity: u64,
    /// A range that begins at this byte of the object; `None`: all of it.
    pub range_offset: Option<u64>,
    /// An object of any other length than the memory's counts as not found.
    pub exact: bool,
    /// When the get is to have ended, for a placement whose work can be called back.
    pub deadline: Option<Instant>,
}

/// What a file without a trailer of ours is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// A record that is damaged.
    Damaged,
    /// Another program's file, not to be served and not to be touched.
    Ignored,
    /// Another program's file of this size, served as it is (`nixl_store_serve_unverified`).
    Served {
        /// Bytes of the file.
        bytes: u64,
    },
}

/// A record to read.
#[derive(Debug)]
pub struct Source<C> {
    /// Where it lies.
    pub extent: Extent,
    /// Its payload length, where that is known before the trailer is read.
    pub payload_bytes: Option<u64>,
    /// Its generation, where that is known.
    pub generation: Option<u64>,
    /// What it means if there is no trailer where one should be.
    pub foreign: Foreign,
    /// To be handed back with [`Placement::close_get`].
    pub claim: C,
}

/// Room for a record to write.
#[derive(Debug)]
pub struct Sink<C> {
    /// Where it goes.
    pub extent: Extent,
    /// Generation for the trailer.
    pub generation: u64,
    /// Whether an older trailer there must be destroyed before anything else is written.
    pub invalidate_first: bool,
    /// Whether the record becomes visible by `commit_put` alone, so that the order of its writes does not matter.
    pub hidden: bool,
    /// To be handed back with [`Placement::commit_put`] or [`Placement::abort_put`].
    pub claim: C,
}

/// What a put asks for beside its key and length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutWish {
    /// When the put is to have ended, for a placement whose work can be called back.
    pub deadline: Option<Instant>,
    /// It is not to be declined, whatever the eviction policy finds.
    pub must: bool,
}

/// The answer to a wish to write.
#[derive(Debug)]
pub enum PutPlace<C> {
    /// Go ahead.
    Ready(Sink<C>),
    /// Nothing free now, but something is under way that will free it.
    Busy,
    /// The eviction policy finds that the key is not worth displacing another for.
    Declined,
}

/// Totals for statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Keys known.
    pub keys: u64,
    /// Payload bytes of them (file bytes in a dynamic store).
    pub bytes: u64,
    /// Slots, 0 if dynamic.
    pub slots: u64,
    /// Slots free.
    pub slots_free: u64,
    /// Slots out of use.
    pub slots_quarantined: u64,
    /// Entries evicted since open.
    pub evictions: u64,
    /// Dynamic: gets since open that met a file which cannot be a record. Static: keys that a flush dropped, as what was
    /// put could not be read again.
    pub files_damaged: u64,
    /// Capacity in bytes, 0 for none.
    pub capacity_bytes: u64,
    /// Keys pinned by this process.
    pub keys_pinned: u64,
}

/// The part that needs no transfer. Callable from any thread.
pub trait Keys: Send + Sync {
    /// Whether the key is stored.
    ///
    /// # Errors
    /// What the file system answers.
    fn contains(&self, key: &Key<'_>) -> Result<bool>;

    /// Where requests and their keys are written down, if the eviction policy knows them.
    fn chains(&self) -> Option<Arc<Chains>> {
        None
    }

    /// The number that the key has there.
    fn chain_id(&self, key: &Key<'_>) -> u128 {
        key.digest
    }

    /// How many of these keys, one after the other from the first on, a put would store now: they are what is missing of a chain
    /// that was looked up, by the numbers that they have in [`Keys::chains`], each `length` bytes long. Those behind are declined
    /// herewith.
    fn plan(&self, ids: &[u128], _length: u64) -> usize {
        ids.len()
    }

    /// A hint that [`Keys::contains`] is asked soon about the key with this digest.
    fn expect(&self, _digest: u128) {}

    /// Length of the stored object.
    ///
    /// # Errors
    /// What the file system answers.
    fn length(&self, key: &Key<'_>) -> Result<Option<u64>>;

    /// Removes the key: `Ok`, `NotFound` or `Pinned`. It stays removed after a crash.
    ///
    /// # Errors
    /// What the file system answers.
    fn remove(&self, key: &Key<'_>) -> Result<Status>;

    /// Protects the key from eviction; false if it is not stored.
    ///
    /// # Errors
    /// What the file system answers.
    fn pin(&self, key: &Key<'_>) -> Result<bool>;

    /// Takes one pin back; false if there is none.
    ///
    /// # Errors
    /// What the file system answers.
    fn unpin(&self, key: &Key<'_>) -> Result<bool>;

    /// Whether the key is stored, and its length where that is known without asking storage for more than it was asked
    /// for: a presence cache (`nixl_presence_cache`) answers without.
    ///
    /// # Errors
    /// What the file system answers.
    fn look_up(&self, key: &Key<'_>) -> Result<Asked> {
        Ok(self.length(key)?.map_or(Asked::NotFound, |length| Asked::Done { length: Some(length) }))
    }

    /// Asks one question about many keys. Each key that `asking` lets begin is answered, in any order. Of a chain, what
    /// lies behind the first key that is not stored may be answered with [`Asked::NotFound`] without being looked up.
    ///
    /// A placement whose answers take round trips asks for many keys at a time; this one asks for one after the other.
    fn ask(&self, question: Question, keys: &[Key<'_>], asking: &mut dyn Asking) {
        asking::one_by_one(self, question, keys, asking);
    }

    /// Whether the answer to such a question is in memory, so that a thread which may not wait can ask.
    fn answers_at_once(&self, _question: Question) -> bool {
        false
    }

    /// Removes every key that is not pinned; returns how many.
    ///
    /// # Errors
    /// What the file system answers; some keys may be removed.
    fn clear(&self) -> Result<u64>;

    /// Makes completed puts durable.
    ///
    /// # Errors
    /// What the file system answers.
    fn sync(&self) -> Result<()>;

    /// Writes down what lets the next open be quick. No transfer is under way any more.
    ///
    /// # Errors
    /// What the file system answers; the next open scans instead.
    fn close(&self) -> Result<()>;

    /// Lets go of locks after a panic, when what this knows is not to be believed: without it, descriptors that somebody copied keep
    /// them. No transfer is under way any more.
    fn give_up(&self) {}

    /// In a forked child: lets go of what else would outlive the parent. Nothing else may be called afterwards.
    fn abandon_after_fork(&self);

    /// Totals now.
    fn gauges(&self) -> Gauges;
}

/// A place whose record has to be destroyed before the place can be used again: one page of zeros at `offset`.
#[derive(Debug)]
pub struct Tombstone<D> {
    /// What is written to.
    pub target: Target,
    /// First byte of the record's trailer in it.
    pub offset: u64,
    /// To be handed back with [`Placement::entombed`].
    pub claim: D,
}

/// Tombstones that are due; mostly none, hardly ever more than two.
#[derive(Debug)]
pub struct Tombstones<D> {
    first: [Option<Tombstone<D>>; 2],
    /// Those beyond: an empty list takes no memory.
    more: Vec<Tombstone<D>>,
}

impl<D> Tombstones<D> {
    /// None is due.
    pub const NONE: Tombstones<D> = Tombstones { first: [None, None], more: Vec::new() };

    /// These are due.
    pub fn of(due: impl IntoIterator<Item = Tombstone<D>>) -> Tombstones<D> {
        let mut due = due.into_iter();
        Tombstones { first: [due.next(), due.next()], more: due.collect() }
    }

    /// Adds what became due since.
    pub fn add(&mut self, due: Tombstones<D>) {
        for tombstone in due.first.into_iter().flatten().chain(due.more) {
            match self.first.iter_mut().find(|place| place.is_none()) {
                Some(place) => *place = Some(tombstone),
                None => self.more.push(tombstone),
            }
        }
    }

    /// Takes one out.
    pub fn take(&mut self) -> Option<Tombstone<D>> {
        self.first.iter_mut().find_map(Option::take).or_else(|| self.more.pop())
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.first.iter().all(Option::is_none) && self.more.is_empty()
    }
}

/// The claim of a placement that needs no tombstones.
pub type Never = Infallible;

/// The part that lanes use around a transfer. Where a call may take long it answers with work for another thread.
pub trait Placement: Keys + 'static {
    /// What a get holds while it reads.
    type GetClaim: Send;
    /// What a put holds while it writes.
    type PutClaim: Send;
    /// What a tombstone holds while it is written.
    type TombClaim: Send;

    /// Payload of the largest object, where there is a bound.
    fn payload_bytes_max(&self) -> Option<u64>;

    /// Length of the stored object, as [`Keys::length`], for a put that may leave it as it is. To a policy that knows requests
    /// that is a use.
    fn find(self: &Arc<Self>, key: &Key<'_>) -> Answer<Result<Option<u64>>>;

    /// Finds the record and keeps it from being overwritten until `close_get`. `None`: not stored. Errors are what the
    /// file system answers.
    ///
    /// A record whose length is only guessed from `wish` may turn out to be another one while it is read: the transfer
    /// then fails with `ESTALE`, the lane closes the get and opens it anew, a bounded number of times.
    fn open_get(
        self: &Arc<Self>,
        key: &Key<'_>,
        wish: GetWish,
    ) -> Answer<Result<Option<Source<Self::GetClaim>>>>;

    /// Ends a get. `corrupt`: the record did not prove right and must not be served again. What was learnt about the
    /// target while it was read is in the claim.
    fn close_get(
        self: &Arc<Self>,
        key: &Key<'_>,
        claim: Self::GetClaim,
        corrupt: bool,
    ) -> Answer<Tombstones<Self::TombClaim>>;

    /// Finds room, evicting if need be. Errors are `PoolFull`, `NoSpace`, `TooLarge`, or what the file system answers.
    /// What a placement does for this put that can be called back ends by its deadline.
    fn open_put(
        self: &Arc<Self>,
        key: &Key<'_>,
        length: u64,
        wish: PutWish,
    ) -> Answer<Result<PutPlace<Self::PutClaim>>>;

    /// Publishes what was written. After an error, which is what the file system answers, nothing is visible and nothing
    /// is held.
    fn commit_put(
        self: &Arc<Self>,
        key: &Key<'_>,
        claim: Self::PutClaim,
        length: u64,
    ) -> Answer<Result<Tombstones<Self::TombClaim>>>;

    /// Gives the room back. `touched`: writes were started there.
    fn abort_put(
        self: &Arc<Self>,
        claim: Self::PutClaim,
        touched: bool,
    ) -> Answer<Tombstones<Self::TombClaim>>;

    /// The device is full: frees at least `bytes` if that can be done. False: nothing can be evicted.
    fn make_room(self: &Arc<Self>, bytes: u64) -> Answer<bool>;

    /// Takes in how a tombstone ended, and says which ones that makes due.
    fn entombed(
        self: &Arc<Self>,
        claim: Self::TombClaim,
        outcome: io::Result<()>,
    ) -> Answer<Tombstones<Self::TombClaim>>;

    /// The checksums of the record that a get has opened, if they are in memory: it is proven by them then, and without its trailer.
    /// They stay known until `close_get`.
    fn sums(&self, _claim: &Self::GetClaim) -> Option<BlockSums<'_>> {
        None
    }

    /// Takes in the trailer of a record that a get has opened and proven right, the trailer as well as what it read of the payload.
    fn learn(&self, _claim: &Self::GetClaim, _trailer: &Trailer<'_>) {}

    /// Takes in the checksums of all blocks of a put whose record is written, before it is committed.
    fn learn_put(&self, _claim: &Self::PutClaim, _sums: &[u64]) {}

    /// Whether there is work that no call waits for: other processes' doings to be looked at, and the like.
    fn background(self: &Arc<Self>) -> Option<Work<()>> {
        None
    }
}
