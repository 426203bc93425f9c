//! Tickets: how a batch that was submitted is waited for, looked at, cancelled and consumed.

use std::time::Duration;

use super::{SPARE_BATCH_ITEMS_MAX, Store, Ticket, invalid};
use crate::batch::{Batch, ItemResult};
use crate::cuda::StreamHandle;
use crate::error::{Error, Result, Status};

impl Store {
    /// Waits for a ticket; `timeout` `None` waits for ever. `InProgress` keeps the ticket, anything
    /// else released it after `results` saw every item, with the message of one that failed if there is room for it.
    ///
    /// # Errors
    /// [`Status::InvalidHandle`] for what is no ticket of this store, or one already waited for.
    pub fn ticket_wait(
        &self,
        ticket: Ticket,
        timeout: Option<Duration>,
        results: &mut dyn FnMut(usize, ItemResult, Option<&str>),
    ) -> Result<Status> {
        let batch = self.tickets.get(ticket).ok_or_else(|| no_ticket(ticket))?;
        if !batch.wait(timeout) {
            return Ok(Status::InProgress);
        }
        let batch = self.tickets.take(ticket).ok_or_else(|| no_ticket(ticket))?;
        let messages = batch.messages();
        for (index, item) in batch.items().iter().enumerate() {
            let message = messages.iter().find(|(number, _)| *number as usize == index);
            results(index, batch.result(item), message.map(|(_, text)| text.as_str()));
        }
        drop(messages);
        let summary = batch.summary();
        if batch.items().len() <= SPARE_BATCH_ITEMS_MAX && batch.stretch_count() <= SPARE_BATCH_ITEMS_MAX {
            // Full: enough spares are kept.
            drop(self.spare_batches.push(batch));
        }
        Ok(summary)
    }

    /// How many items the ticket's batch has.
    ///
    /// # Errors
    /// [`Status::InvalidHandle`].
    pub fn ticket_item_count(&self, ticket: Ticket) -> Result<usize> {
        Ok(self.tickets.get(ticket).ok_or_else(|| no_ticket(ticket))?.len())
    }

    /// What [`Store::ticket_wait`] would return now, without waiting or releasing.
    ///
    /// # Errors
    /// [`Status::InvalidHandle`].
    pub fn ticket_poll(&self, ticket: Ticket) -> Result<Status> {
        Ok(self.tickets.get(ticket).ok_or_else(|| no_ticket(ticket))?.summary())
    }

    /// Asks that the items not yet started end with `Cancelled`. Those under way finish.
    ///
    /// # Errors
    /// [`Status::InvalidHandle`].
    pub fn ticket_cancel(&self, ticket: Ticket) -> Result<()> {
        let batch = self.tickets.get(ticket).ok_or_else(|| no_ticket(ticket))?;
        batch.cancel();
        // Here and now: the lanes may be held up by the device.
        self.shared.end_waiting(&batch, Status::Cancelled);
        self.shared.wake_all();
        self.streams.look();
        Ok(())
    }

    /// Waits until so many bytes of an item are proven and in place, or it has ended, or the time is up; `None` waits for
    /// ever. How it ended, how many bytes are, and what there is to say about a failure.
    ///
    /// # Errors
    /// [`Status::InvalidHandle`]; [`Status::InvalidArgument`] for an item that the batch does not have.
    pub fn ticket_progress(
        &self,
        ticket: Ticket,
        item: usize,
        bytes: u64,
        timeout: Option<Duration>,
    ) -> Result<(ItemResult, u64, Option<String>)> {
        let batch = self.tickets.get(ticket).ok_or_else(|| no_ticket(ticket))?;
        let index = item_index(&batch, item)?;
        let (result, bytes) = batch.wait_bytes(index, bytes, timeout);
        let message = match result.status.is_error() {
            true => {
                batch.messages().iter().find(|(number, _)| *number == index).map(|(_, text)| text.clone())
            }
            false => None,
        };
        Ok((result, bytes, message))
    }

    /// Makes what is put on the stream later wait until so many bytes of an item are proven and in place, or it has ended;
    /// without an item, until all have.
    ///
    /// # Errors
    /// [`Status::InvalidHandle`]; [`Status::InvalidArgument`] for an item that the batch does not have, a batch that moves
    /// nothing, a stream that is captured or none; [`Status::Unsupported`], [`Status::Busy`]; what the driver answers.
    pub fn stream_wait(
        &self,
        ticket: Ticket,
        item: Option<usize>,
        bytes: u64,
        stream: StreamHandle,
    ) -> Result<()> {
        let batch = self.tickets.get(ticket).ok_or_else(|| no_ticket(ticket))?;
        if batch.question.is_some() {
            return Err(invalid("a batch that asks about keys brings no bytes to wait for".to_owned()));
        }
        let index = item.map(|item| item_index(&batch, item)).transpose()?;
        self.streams.wait(&batch, index, bytes, stream)
    }
}

fn no_ticket(ticket: Ticket) -> Error {
    Error::new(
        Status::InvalidHandle,
        format!("{ticket:#x} is no ticket of this store, or was waited for already"),
    )
}

fn item_index(batch: &Batch, item: usize) -> Result<u32> {
    let count = batch.len();
    if item >= count {
        return Err(invalid(format!("item_index is {item}, the batch has {count} items")));
    }
    // A batch has far fewer.
    Ok(item as u32)
}
