//! A placement that answers as a test says, and batches to ask it about.

use super::Inquiry;
use crate::batch::{Batch, Direction, Question, Wish};
use crate::error::{Result, Status};
use crate::lane::shared::Shared;
use crate::placement::{Asking, Gauges, Key, Keys};
use crate::sync::Arc;

/// How a question about many keys is answered.
type Ask = dyn Fn(&[Key<'_>], &mut dyn Asking) + Send + Sync;
/// How one key is looked up.
type Length = dyn Fn(&Key<'_>) -> Result<Option<u64>> + Send + Sync;

/// The placement.
#[cfg_attr(feature = "shuttle", allow(dead_code, reason = "the model looks up one key after the other"))]
pub(in crate::lane) enum Fake {
    /// Answers many keys at a time.
    AtOnce(Box<Ask>),
    /// Looks up one key after the other, as placements do by themselves.
    OneByOne(Box<Length>),
}

impl Keys for Fake {
    fn contains(&self, key: &Key<'_>) -> Result<bool> {
        Ok(self.length(key)?.is_some())
    }
    fn length(&self, key: &Key<'_>) -> Result<Option<u64>> {
        match self {
            Fake::OneByOne(length) => length(key),
            Fake::AtOnce(_) => Ok(None),
        }
    }
    fn ask(&self, question: Question, keys: &[Key<'_>], asking: &mut dyn Asking) {
        match self {
            Fake::AtOnce(ask) => ask(keys, asking),
            Fake::OneByOne(_) => crate::placement::one_by_one(self, question, keys, asking),
        }
    }
    fn remove(&self, _key: &Key<'_>) -> Result<Status> {
        Ok(Status::NotFound)
    }
    fn pin(&self, _key: &Key<'_>) -> Result<bool> {
        Ok(false)
    }
    fn unpin(&self, _key: &Key<'_>) -> Result<bool> {
        Ok(false)
    }
    fn clear(&self) -> Result<u64> {
        Ok(0)
    }
    fn sync(&self) -> Result<()> {
        Ok(())
    }
    fn close(&self) -> Result<()> {
        Ok(())
    }
    fn abandon_after_fork(&self) {}
    fn gauges(&self) -> Gauges {
        Gauges::default()
    }
}

/// An admitted batch of lookups; the digest of a key is its item's number.
pub(in crate::lane) fn batch_of(shared: &Shared, items: usize, ticket: u64) -> Arc<Batch> {
    let mut batch = Batch::default();
    batch.reset(Direction::Get);
    batch.question = Some(Question::Lookup { chain: false });
    batch.ticket = ticket;
    (0..items).for_each(|index| batch.push_item(index as u128, b"\0key", Wish::default()));
    shared.admit_questions(items, None).unwrap();
    Arc::new(batch)
}

/// The questions of a batch.
pub(in crate::lane) fn inquiry(
    shared: &Arc<Shared>,
    fake: &Arc<Fake>,
    batch: &Arc<Batch>,
    chain: bool,
) -> Inquiry {
    let keys: Arc<dyn Keys> = Arc::<Fake>::clone(fake);
    Inquiry::new(Arc::clone(shared), keys, Arc::clone(batch), Question::Lookup { chain })
}
