//! Questions about many keys at a time, as a placement sees them: what is asked, who asks, what can be answered.

use std::time::Instant;

use super::{Key, Keys};
use crate::batch::Question;
use crate::error::{Result, Status};

/// Keys ahead of the one that is asked about whose place in memory is fetched already; as in a prefix match.
const KEYS_EXPECTED: usize = 16;

/// The answer to a question about one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is stored, or what was asked for is done.
    Done {
        /// Length of the object, where the question was for it and it is known.
        length: Option<u64>,
    },
    /// It is not stored; of an unpin: not pinned.
    NotFound,
    /// Not removed, as it is pinned.
    Pinned,
}

/// Who asks. Used by the thread that called [`Keys::ask`] and no other; answers come in any order.
pub trait Asking {
    /// The work for the key of that number is about to begin. False: nobody wants it any more (cancelled, too late, the
    /// store is poisoned); it is left out. What has begun is waited for, so it is told of each key as late as can be.
    fn begin(&mut self, index: usize) -> bool;

    /// What became of that key; once for each that was begun. A key may also be answered without having been begun, where
    /// the answer took no work.
    fn answer(&mut self, index: usize, answer: Result<Asked>);

    /// When whoever asks gives up. Work that can be bounded in time ends by then.
    fn deadline(&self) -> Option<Instant>;
}

/// Asks about one key after the other, each with the call for one key.
pub(crate) fn one_by_one<K: Keys + ?Sized>(
    placement: &K,
    question: Question,
    keys: &[Key<'_>],
    asking: &mut dyn Asking,
) {
    let is_chain = question == Question::Lookup { chain: true };
    let mut chain_ended = false;
    keys.iter().take(KEYS_EXPECTED).for_each(|key| placement.expect(key.digest));
    for (index, key) in keys.iter().enumerate() {
        if chain_ended {
            asking.answer(index, Ok(Asked::NotFound));
            continue;
        }
        if let Some(ahead) = keys.get(index + KEYS_EXPECTED) {
            placement.expect(ahead.digest);
        }
        if !asking.begin(index) {
            continue;
        }
        let answer = one(placement, question, key);
        chain_ended = is_chain && matches!(answer, Ok(Asked::NotFound));
        asking.answer(index, answer);
    }
}

fn one<K: Keys + ?Sized>(placement: &K, question: Question, key: &Key<'_>) -> Result<Asked> {
    let done = |done: bool| if done { Asked::Done { length: None } } else { Asked::NotFound };
    match question {
        Question::Lookup { .. } => placement.look_up(key),
        Question::Pin => placement.pin(key).map(done),
        Question::Unpin => placement.unpin(key).map(done),
        Question::Remove => placement.remove(key).map(|status| match status {
            Status::Pinned => Asked::Pinned,
            status => done(status == Status::Ok),
        }),
    }
}
