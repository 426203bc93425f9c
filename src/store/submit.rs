//! Submitting: items are collected while the batch is the submitter's alone, then handed to the lanes, or to the threads
//! that ask about keys.

use std::collections::VecDeque;
use std::time::Instant;

use super::gate::Entered;
use super::{BATCH_ITEMS_MAX, QueueId, Store, StreamOrder, SubmitOptions, Ticket, invalid};
use crate::batch::completion::COMPLETIONS_MAX;
use crate::batch::ticket::{Reserved, TICKETS_MAX};
use crate::batch::{Age, Batch, Direction, Item, ItemGuard, Notice, Question, Wish};
use crate::catalog::Asked;
use crate::error::{Error, Result, Status};
use crate::lane::inquiry::Inquiry;
use crate::layout::record::EffectiveKey;
use crate::memory::Stretch;
use crate::placement::Key;
use crate::sync::{Arc, lock};

/// Collects the items of a batch before it is submitted.
pub struct BatchBuilder<'a> {
    store: &'a Store,
    batch: Arc<Batch>,
}

impl<'a> BatchBuilder<'a> {
    /// Starts an item for `key`.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for an empty or too long key or too many items.
    pub fn item(&mut self, key: &[u8], wish: Wish) -> Result<()> {
        let key = EffectiveKey::new(&self.store.namespace, key)?;
        self.push(&key, wish)
    }

    /// The same for a key of any namespace. A store whose layout has no place for namespaces takes keys of its own alone.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for such a key there, or too many items.
    pub fn item_of(&mut self, key: &EffectiveKey, wish: Wish) -> Result<()> {
        if self.store.keeps_no_namespaces() && key.bytes().first() != Some(&0) {
            return Err(invalid("nixl_store_layout lmcache has no place for a namespace".to_owned()));
        }
        self.push(key, wish)
    }

    #[inline(always)]
    fn push(&mut self, key: &EffectiveKey, wish: Wish) -> Result<()> {
        let batch = self.batch()?;
        if batch.len() == BATCH_ITEMS_MAX {
            return Err(invalid(format!("a batch has at most {BATCH_ITEMS_MAX} items")));
        }
        batch.push_item(key.digest(), key.bytes(), wish);
        Ok(())
    }

    /// Adds memory to the item started last.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] if it is empty, there is no item, or the item has too many bytes.
    pub fn stretch(&mut self, stretch: Stretch) -> Result<()> {
        if stretch.length() == 0 {
            return Err(invalid("a segment of 0 bytes".to_owned()));
        }
        if !self.batch()?.push_stretch(stretch) {
            return Err(invalid("a segment without an item, or more bytes than memory can have".to_owned()));
        }
        Ok(())
    }

    /// Room for comparing segments, to be given back with [`BatchBuilder::keep_ranges`].
    ///
    /// # Errors
    /// [`Status::Internal`]; never before the batch is submitted.
    pub fn take_ranges(&mut self) -> Result<Vec<(usize, usize)>> {
        Ok(std::mem::take(&mut self.batch()?.ranges))
    }

    /// Keeps that room with the batch, so that its next use need not allocate.
    ///
    /// # Errors
    /// As for [`BatchBuilder::take_ranges`].
    pub fn keep_ranges(&mut self, ranges: Vec<(usize, usize)>) -> Result<()> {
        self.batch()?.ranges = ranges;
        Ok(())
    }

    /// Hands the batch to the I/O threads. From here to completion they own the memory.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for an item without segments or a queue that is none; [`Status::Busy`] if
    /// a table or queue is full, past the deadline; [`Status::Closing`], [`Status::Poisoned`].
    pub fn submit(self, options: SubmitOptions) -> Result<Ticket> {
        self.start(options, false)
    }

    /// As [`BatchBuilder::submit`], for a caller who does nothing but wait: if its one object is small and its memory
    /// fit for direct transfer, the calling thread does the work and the ticket is done when this returns.
    ///
    /// # Errors
    /// As for [`BatchBuilder::submit`].
    pub fn run(self, options: SubmitOptions) -> Result<Ticket> {
        let carried = self.is_carried();
        self.start(options, carried)
    }

    /// Has the batch's question asked about each of its keys. Where the answers are in memory the ticket is done when this
    /// returns.
    ///
    /// # Errors
    /// As for [`BatchBuilder::submit`].
    pub fn ask(mut self, options: SubmitOptions) -> Result<Ticket> {
        let store = self.store;
        store.check_open()?;
        let Some(question) = self.batch.question else {
            return Err(invalid("a batch that asks nothing".to_owned()));
        };
        if self.batch.is_empty() {
            return Err(invalid("a batch needs keys".to_owned()));
        }
        // Pins of a chain are how some engines ask for what is stored of it. When pins end, keys go back to where their chain is,
        // which may be forgotten by then: one that is unpinned by itself says nothing of a chain.
        if matches!(question, Question::Lookup { .. } | Question::Pin)
            || (question == Question::Unpin && self.batch.items().len() > 1)
        {
            self.note_request(options.request);
        }
        let (ticket, entered) = self.enter(&options, |_| Ok(()))?;
        let (shared, keys) = (Arc::clone(&store.shared), Arc::clone(&store.keys));
        let inquiry = Inquiry::new(shared, keys, Arc::clone(&self.batch), question);
        let at_once = store.keys.answers_at_once(question);
        let left = if at_once { VecDeque::from([inquiry]) } else { store.chores.inquire(inquiry) };
        // The table has the batch: closing waits for it there.
        drop(entered);
        left.into_iter().for_each(Inquiry::run);
        if store.shared.is_poisoned() {
            // Whoever ends what waits in a poisoned store may have looked before this batch came.
            store.shared.end_waiting(&self.batch, Status::Poisoned);
        }
        Ok(ticket)
    }

    /// Writes down that the keys of the batch follow one another in a request.
    fn note_request(&self, name: Option<u64>) {
        let Some(chains) = &self.store.chains else { return };
        let keys = &self.store.keys;
        let id_of =
            |item: &Item| keys.chain_id(&Key { effective: self.batch.key(item), digest: item.digest });
        if let ([item], None, None) = (self.batch.items(), name, self.batch.question) {
            return chains.note_single(self.batch.direction == Direction::Put, id_of(item));
        }
        let items = self.batch.items();
        let ([first, ..], [.., last]) = (items, items) else { return };
        let mut chain = match self.batch.question {
            Some(Question::Pin) => chains.ask(name, Asked::Pinned, items.len(), id_of(last)),
            Some(Question::Lookup { .. }) => chains.ask(name, Asked::Stored, items.len(), id_of(last)),
            _ => chains.join(name, items.len(), id_of(first), id_of(last)),
        };
        items.iter().for_each(|item| chain.add(id_of(item)));
    }

    fn is_carried(&self) -> bool {
        let [item] = self.batch.items() else { return false };
        let [stretch] = self.batch.stretches(item) else { return false };
        stretch.host().is_some()
            && stretch.length() as u64 <= self.store.carried_bytes_max
            && (stretch.addr() as u64).is_multiple_of(self.store.capabilities.direct_alignment)
    }

    fn start(mut self, options: SubmitOptions, carried: bool) -> Result<Ticket> {
        let store = self.store;
        store.check_open()?;
        if self.batch.is_empty() || self.batch.items().iter().any(|item| item.length == 0) {
            return Err(invalid("a batch needs items, and each item memory".to_owned()));
        }
        self.note_request(options.request);
        if let Some(order) = options.stream {
            return self.start_in_order(options, order);
        }
        let (ticket, entered) = self.enter(&options, |_| Ok(()))?;
        match if carried { store.carriers.pop() } else { None } {
            None => store.shared.submit(&self.batch),
            Some(mut carrier) => {
                // The table has the batch: closing waits for it there.
                drop(entered);
                let unfinished = carrier.carry(ItemGuard::new(Arc::clone(&self.batch), 0));
                // It came out of there, so there is room. After a panic it does not go back.
                drop(store.carriers.push(carrier));
                if let Some(guard) = unfinished {
                    store.shared.resubmit(guard);
                }
            }
        }
        Ok(ticket)
    }

    /// Starts the batch in order with a stream. What may fail comes before anything is put on the stream; what fails all the
    /// same lets go of the batch, and with it of the stream.
    #[cold]
    fn start_in_order(mut self, options: SubmitOptions, order: StreamOrder) -> Result<Ticket> {
        let store = self.store;
        order.stream.with(|stream| {
            store.streams.get_ready(&self.batch, order, stream)?;
            let mut point = None;
            let (ticket, _entered) = self.enter(&options, |batch| {
                point = store.streams.order(batch, order, stream)?;
                Ok(())
            })?;
            match point.take() {
                None => store.shared.submit(&self.batch),
                Some(point) => store.streams.hold(Arc::clone(&self.batch), point),
            }
            Ok(ticket)
        })
    }

    /// Takes a ticket and admits the batch, waiting up to its deadline for room; then calls `order`, and from there on the
    /// table has it, and who closes the store waits for whoever is between this and handing it over.
    // Every transfer goes through here: apart from its two callers it costs a get some 20 instructions.
    #[inline(always)]
    fn enter(
        &mut self,
        options: &SubmitOptions,
        order: impl FnOnce(&Batch) -> Result<()>,
    ) -> Result<(Ticket, Entered<'a>)> {
        let store = self.store;
        let timeout = options.timeout.or(store.timeout_default);
        let now = Instant::now();
        let deadline = timeout.and_then(|timeout| now.checked_add(timeout));
        let notice = options.queue.map(|queue| store.notice(queue, options.user_data)).transpose()?;
        let queue = notice.as_ref().map(|notice| Arc::clone(&notice.queue));
        let admitted = store.admit(&self.batch, deadline);
        let reserved = match admitted {
            Ok(reserved) => reserved,
            Err(error) => {
                queue.iter().for_each(|queue| queue.unreserve());
                return Err(error);
            }
        };
        let ticket = reserved.ticket;
        let batch = self.batch()?;
        batch.deadline = deadline;
        batch.age = Age::since(now);
        *lock(&batch.notice) = notice;
        batch.ticket = ticket;
        let ordered = order(batch);
        // `close` raises the flag, waits until nobody is in here, then waits for every batch in the table: either
        // it finds this one there, or this finds the flag up.
        let entered = store.gate.enter();
        if let Err(error) = ordered.and_then(|()| store.shared.check_admitting()) {
            store.tickets.cancel(reserved);
            store.readmit(&self.batch);
            queue.iter().for_each(|queue| queue.unreserve());
            return Err(error);
        }
        store.tickets.insert(reserved, Arc::clone(&self.batch));
        if let Some(deadline) = deadline {
            store.shared.clock.set(deadline);
        }
        Ok((ticket, entered))
    }

    /// The batch, which nobody else holds before it is submitted.
    fn batch(&mut self) -> Result<&mut Batch> {
        Arc::get_mut(&mut self.batch)
            .ok_or_else(|| Error::new(Status::Internal, "a batch shared before its submission"))
    }
}

impl Store {
    /// Starts a batch of about `item_count` items.
    ///
    /// # Errors
    /// [`Status::Closing`], [`Status::Poisoned`].
    pub fn batch(&self, direction: Direction, item_count: usize) -> Result<BatchBuilder<'_>> {
        self.check_open()?;
        if item_count > BATCH_ITEMS_MAX {
            return Err(invalid(format!("a batch has at most {BATCH_ITEMS_MAX} items, not {item_count}")));
        }
        let mut batch = self.spare_batch();
        if let Some(batch) = Arc::get_mut(&mut batch) {
            batch.reset(direction);
        }
        Ok(BatchBuilder { store: self, batch })
    }

    /// Starts a batch that asks `question` about some `key_count` keys.
    ///
    /// # Errors
    /// As for [`Store::batch`].
    pub fn question(&self, question: Question, key_count: usize) -> Result<BatchBuilder<'_>> {
        let mut batch = self.batch(Direction::Get, key_count)?;
        batch.batch()?.question = Some(question);
        Ok(batch)
    }

    /// A batch that nobody else holds: one that was used before if there is one.
    fn spare_batch(&self) -> Arc<Batch> {
        for _ in 0..self.spare_batches.len() {
            let Some(mut batch) = self.spare_batches.pop() else { break };
            if Arc::get_mut(&mut batch).is_some() {
                return batch;
            }
            // A lane is a moment from letting go of it. There is room again, or enough spares are kept.
            drop(self.spare_batches.push(batch));
        }
        Arc::default()
    }

    /// Waits for room among the items under way and takes a ticket.
    fn admit(&self, batch: &Batch, deadline: Option<Instant>) -> Result<Reserved> {
        let reserved = self.tickets.reserve().ok_or_else(|| {
            Error::new(
                Status::Busy,
                format!(
                    "{} tickets are outstanding, the most a store has; wait for some with nixl_store_ticket_wait",
                    TICKETS_MAX
                ),
            )
        })?;
        let admitted = match batch.question {
            None => self.shared.admit(batch.direction, batch.len(), deadline),
            Some(_) => self.shared.admit_questions(batch.len(), deadline),
        };
        match admitted {
            Ok(()) => Ok(reserved),
            Err(error) => {
                self.tickets.cancel(reserved);
                Err(error)
            }
        }
    }

    /// Takes back what [`Store::admit`] gave to a batch that was not submitted.
    fn readmit(&self, batch: &Batch) {
        match batch.question {
            None => self.shared.readmit(batch.direction, batch.len()),
            Some(_) => self.shared.readmit_questions(batch.len()),
        }
    }

    fn notice(&self, queue: QueueId, user_data: u64) -> Result<Notice> {
        let queue = self.queue(queue)?;
        if queue.reserve() {
            return Ok(Notice { queue, user_data });
        }
        let most = COMPLETIONS_MAX;
        Err(Error::new(Status::Busy, format!("the completion queue owes {most} completions; drain it first")))
    }
}
