//! Which request a key belongs to, and where it stands in that request's chain.
//!
//! A prompt is a chain of keys. An eviction order that knows chains lets a leaf leave before the block that it hangs on,
//! and counts a request once, whatever batches it comes in. Keys say nothing of chains, but calls do: a lookup names the
//! whole chain, and the gets and puts that follow name parts of it. So lookups and submits write down here, for each of
//! their keys, the request and the position; whoever gets or puts the key reads it.
//!
//! ```text
//! prefix match k0..k9      → request 7, positions 0..9
//! get k0..k3, put k4..k6   → request 7, as written
//! put k7..k12 later        → request 7, positions 7..12
//! ```
//!
//! This is a hint in bounded memory: what is forgotten (more than [`REQUESTS_MAX`] requests or some [`WAYS`] keys of one set
//! ago) counts as a request of its own. Nothing here locks; keys written by two threads at a time may be lost.

use std::collections::TryReserveError;

use super::index::tag_of;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Requests whose keys are known to belong together. A model check makes each of these tables anew for every run.
pub(super) const REQUESTS_MAX: usize = if cfg!(feature = "shuttle") { 16 } else { 1024 };
/// Keys of one set: a chain's keys are spread by their digests, and a chain of a few hundred must not push out its own.
const WAYS: usize = 4;
/// Sets, as a power of two: 64 Ki keys in 512 KiB.
const SET_BITS: u32 = if cfg!(feature = "shuttle") { 4 } else { 14 };
/// The last position that is told apart from those behind it.
const POSITION_MAX: u32 = u16::MAX as u32;

/// A position that the first key tells.
const UNKNOWN: u32 = u32::MAX;

// An entry: the tag's low bits, the request, the position.
const POSITION_BITS: u32 = 16;
const REQUEST_BITS: u32 = 20;
const REQUEST_MASK: u32 = (1 << REQUEST_BITS) - 1;
/// Bits of the tag that an entry keeps. With the set's number they are the whole tag.
const TAG_BITS: u32 = u64::BITS - POSITION_BITS - REQUEST_BITS;
const TAG_MASK: u32 = (1 << TAG_BITS) - 1;

const _: () = assert!(SET_BITS + TAG_BITS >= u32::BITS && REQUESTS_MAX < 1 << (REQUEST_BITS - 1));

/// In a request's number: it was begun by a lookup or has a name, so whatever names its keys later belongs to it. One that
/// began with a batch goes on only until another request begins.
const LASTS: u32 = 1;

/// What somebody asks of a whole chain. A request is asked each of these once: that it is asked the same again means that the
/// prompt has come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Which of its keys are stored.
    Stored,
    /// Which of its keys would be stored.
    Planned,
    /// To keep its keys.
    Pinned,
}

impl Asked {
    /// Its bit in a request's entry, above the length.
    fn bit(self) -> u64 {
        1 << (LENGTH_BITS + self as u32)
    }
}

// A request's entry: its number (the high half), what it was asked, and its length in keys.
const LENGTH_BITS: u32 = 29;
const LENGTH_MAX: u32 = (1 << LENGTH_BITS) - 1;

/// A key's place in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// 0: no request is known; the key is one by itself.
    pub(super) request: u32,
    pub(super) position: u16,
}

impl Sight {
    /// A key that is a request by itself.
    pub(super) const ALONE: Sight = Sight { request: 0, position: 0 };
}

/// Where in a table of [`REQUESTS_MAX`] entries the request is.
pub(super) fn place_of(request: u32) -> usize {
    (request >> 1) as usize % REQUESTS_MAX
}

/// The recent requests and their keys. All methods may be called from any thread.
pub struct Chains {
    sets: Box<[[AtomicU64; WAYS]]>,
    /// Of each request its number, what it was asked, and its length in keys.
    requests: Box<[AtomicU64]>,
    /// For names that callers gave to requests: bits of the name's hash (high half) and the request.
    names: Box<[AtomicU64]>,
    /// Requests begun.
    begun: AtomicU32,
    /// Whether a key that is put by itself is written down too, so that it is known when it is put again at once.
    notes_single_puts: bool,
}

/// A chain being written down. Its request is as long as the keys that were added.
pub struct Chain<'a> {
    chains: &'a Chains,
    request: u32,
    /// Of the next key, or [`UNKNOWN`].
    position: u32,
    /// Keys that belong to another request, by a lookup or a name, stay there.
    leaves_others: bool,
}

impl Chains {
    /// Nothing known yet.
    ///
    /// # Errors
    /// If there is no memory for it, half a MiB.
    pub(super) fn new(notes_single_puts: bool) -> Result<Chains, TryReserveError> {
        Ok(Chains {
            sets: zeroed(1 << SET_BITS, Default::default)?,
            requests: zeroed(REQUESTS_MAX, Default::default)?,
            names: zeroed(REQUESTS_MAX, Default::default)?,
            begun: AtomicU32::new(0),
            notes_single_puts,
        })
    }

    /// Somebody asks something of a whole chain of so many keys, the last of which has this digest. It is the request of that
    /// name, else the one that was looked up with these keys and not asked this yet, else one of its own.
    ///
    /// ```text
    /// prefix match k0..k9, prefix plan k0..k9    one request
    /// prefix match k0..k9, prefix match k0..k9   two
    /// ```
    pub fn ask(&self, name: Option<u64>, asked: Asked, count: usize, last: u128) -> Chain<'_> {
        if let Some(name) = name {
            return self.chain(self.named(name), UNKNOWN);
        }
        let known = self.sight(tag_of(last));
        let is_the_chain = known.request & LASTS != 0 && usize::from(known.position) + 1 == count;
        if is_the_chain && self.is_asked_first(known.request, asked) {
            return self.chain(known.request, 0);
        }
        let request = self.begin(LASTS, 0);
        self.is_asked_first(request, asked);
        self.chain(request, 0)
    }

    /// A batch of gets, puts or unpins of so many keys is about to begin, the first and the last of which have these digests. It goes
    /// on with the request of that name, else with the one that its keys were last seen in, else begins one.
    ///
    /// ```text
    /// match s0 a1 a2, match s0 b1 b2, get s0 a1    of the first prompt, by its end; s0 was last seen in the second
    /// match a0 a1, match b0 b1, get a0 a1 b0 b1    of both: what was looked up apart is left apart
    /// ```
    pub fn join(&self, name: Option<u64>, count: usize, first: u128, last: u128) -> Chain<'_> {
        if let Some(name) = name {
            return self.chain(self.named(name), UNKNOWN);
        }
        let (known, end) = (self.sight(tag_of(first)), self.sight(tag_of(last)));
        let begin = (usize::from(end.position) + 1).checked_sub(count);
        if end.request & LASTS != 0 && begin == Some(known.position.into()) {
            return self.chain(end.request, known.position.into());
        }
        if !self.goes_on(known.request) {
            return self.chain(self.begin(0, 0), 0);
        }
        let leaves_others = known.request & LASTS != 0;
        Chain { leaves_others, ..self.chain(known.request, known.position.into()) }
    }

    fn chain(&self, request: u32, position: u32) -> Chain<'_> {
        Chain { chains: self, request, position, leaves_others: false }
    }

    /// Whether the request was not asked this before; it is now.
    fn is_asked_first(&self, request: u32, asked: Asked) -> bool {
        let place = &self.requests[place_of(request)];
        let known = place.load(Ordering::Relaxed);
        let is_first = (known >> 32) as u32 == request && known & asked.bit() == 0;
        if is_first {
            place.store(known | asked.bit(), Ordering::Relaxed);
        }
        is_first
    }

    /// Where a piece of a request's chain begins: where its first key was seen, else behind what is known of it.
    fn position_of(&self, request: u32, first: u128) -> u32 {
        let known = self.sight(tag_of(first));
        if known.request == request { known.position.into() } else { self.length(request) }
    }

    /// One key is about to be got or put by itself. It is no chain; where its being put again at once has to be known, it is a
    /// request.
    pub fn note_single(&self, is_put: bool, id: u128) {
        if !is_put || !self.notes_single_puts {
            return;
        }
        let tag = tag_of(id);
        if !self.goes_on(self.sight(tag).request) {
            self.write(tag, self.begin(0, 1), 0);
        }
    }

    /// Whether a key that was last seen in that request, if any, belongs to it when it is named again.
    fn goes_on(&self, request: u32) -> bool {
        request & LASTS != 0 || (request != 0 && self.is_newest(request))
    }

    /// Where the key with this tag was seen last.
    #[inline]
    pub(super) fn sight(&self, tag: u32) -> Sight {
        for entry in self.set(tag) {
            let entry = entry.load(Ordering::Relaxed);
            if is_of(entry, tag) {
                let request = request_of(entry);
                let is_known = request != 0 && self.request(request).is_some();
                return if is_known { Sight { request, position: entry as u16 } } else { Sight::ALONE };
            }
        }
        Sight::ALONE
    }

    /// Keys of the request; 0 if it is forgotten.
    pub(super) fn length(&self, request: u32) -> u32 {
        self.request(request).unwrap_or(0)
    }

    fn request(&self, request: u32) -> Option<u32> {
        let known = self.requests[place_of(request)].load(Ordering::Relaxed);
        ((known >> 32) as u32 == request).then_some(known as u32 & LENGTH_MAX)
    }

    fn is_newest(&self, request: u32) -> bool {
        number(self.begun.load(Ordering::Relaxed)) == request >> 1
    }

    /// Begins a request of which so many keys are known.
    fn begin(&self, lasts: u32, length: u32) -> u32 {
        let begun = self.begun.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let request = number(begun) << 1 | lasts;
        self.requests[place_of(request)]
            .store(u64::from(request) << 32 | u64::from(length), Ordering::Relaxed);
        request
    }

    /// The request that a caller calls so.
    fn named(&self, name: u64) -> u32 {
        // Names may be small numbers in a row, or pointers: all of their bits have a say.
        let hash = name.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let hash = (hash ^ (hash >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let place = &self.names[hash as usize % REQUESTS_MAX];
        let known = place.load(Ordering::Relaxed);
        let request = known as u32;
        if known >> 32 == hash >> 32 && request != 0 && self.request(request).is_some() {
            return request;
        }
        let request = self.begin(LASTS, 0);
        // What comes without the name is not of this request.
        for asked in [Asked::Stored, Asked::Planned, Asked::Pinned] {
            self.is_asked_first(request, asked);
        }
        place.store(hash >> 32 << 32 | u64::from(request), Ordering::Relaxed);
        request
    }

    fn set(&self, tag: u32) -> &[AtomicU64; WAYS] {
        &self.sets[(tag >> (u32::BITS - SET_BITS)) as usize]
    }

    /// Whether a key was looked up with another request than this, or put under its name.
    #[inline(never)]
    fn is_anothers(&self, tag: u32, request: u32) -> bool {
        let known = self.sight(tag).request;
        known & LASTS != 0 && known != request
    }

    /// Writes a key down. A key that is twice in a chain stands where it came first.
    #[inline]
    fn write(&self, tag: u32, request: u32, position: u32) {
        let entry = entry_of(tag, request, position);
        let set = self.set(tag);
        for place in set {
            let found = place.load(Ordering::Relaxed);
            if is_of(found, tag) {
                if request_of(found) != request {
                    place.store(entry, Ordering::Relaxed);
                }
                return;
            }
        }
        self.oldest(set).store(entry, Ordering::Relaxed);
    }

    /// The place of a set that nothing is in, else the one whose request began longest ago.
    #[inline(never)]
    fn oldest<'a>(&self, set: &'a [AtomicU64; WAYS]) -> &'a AtomicU64 {
        let newest = number(self.begun.load(Ordering::Relaxed));
        let age = |place: &AtomicU64| match request_of(place.load(Ordering::Relaxed)) {
            0 => u32::MAX,
            request => newest.wrapping_sub(request >> 1) & (REQUEST_MASK >> 1),
        };
        let [first, rest @ ..] = set;
        let oldest = rest.iter().fold((age(first), first), |oldest, place| {
            let age = age(place);
            if age >= oldest.0 { (age, place) } else { oldest }
        });
        oldest.1
    }
}

impl Chain<'_> {
    /// Adds the next key.
    #[inline]
    pub fn add(&mut self, digest: u128) {
        if self.position == UNKNOWN {
            self.position = self.chains.position_of(self.request, digest);
        }
        let tag = tag_of(digest);
        if self.leaves_others && self.chains.is_anothers(tag, self.request) {
            return;
        }
        self.chains.write(tag, self.request, self.position);
        self.position += 1;
    }
}

impl Drop for Chain<'_> {
    fn drop(&mut self) {
        let place = &self.chains.requests[place_of(self.request)];
        let known = place.load(Ordering::Relaxed);
        let is_known = (known >> 32) as u32 == self.request && self.position != UNKNOWN;
        let length = self.position.min(LENGTH_MAX);
        if is_known && (known as u32 & LENGTH_MAX) < length {
            place.store(known & !u64::from(LENGTH_MAX) | u64::from(length), Ordering::Relaxed);
        }
    }
}

/// The number of the request that was begun as the `begun`th; never 0.
fn number(begun: u32) -> u32 {
    let number = begun & (REQUEST_MASK >> 1);
    if number == 0 { REQUESTS_MAX as u32 } else { number }
}

fn entry_of(tag: u32, request: u32, position: u32) -> u64 {
    u64::from(tag & TAG_MASK) << (REQUEST_BITS + POSITION_BITS)
        | u64::from(request) << POSITION_BITS
        | u64::from(position.min(POSITION_MAX))
}

fn is_of(entry: u64, tag: u32) -> bool {
    (entry >> (REQUEST_BITS + POSITION_BITS)) as u32 == tag & TAG_MASK
}

fn request_of(entry: u64) -> u32 {
    (entry >> POSITION_BITS) as u32 & REQUEST_MASK
}

fn zeroed<T>(count: usize, nothing: impl FnMut() -> T) -> Result<Box<[T]>, TryReserveError> {
    let mut table = Vec::new();
    table.try_reserve_exact(count)?;
    table.resize_with(count, nothing);
    Ok(table.into_boxed_slice())
}
