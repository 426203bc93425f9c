//! The library's side: batches of puts and gets, one after the other, on memory that is registered with the store.

use std::time::{Duration, Instant};

use nixl_store::config::Config;
use nixl_store::error::Status;
use nixl_store::memory::AlignedBuffer;
use nixl_store::store::{Capabilities, Direction, OpenOptions, Store, SubmitOptions, Wish};

use super::interrupt::Interrupt;
use super::plan::Cell;
use crate::output::Failure;

/// What one measurement came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Bytes that were moved.
    pub bytes: u64,
    /// The time that it took.
    pub time: Duration,
}

impl Measured {
    /// Bytes in a second.
    pub fn speed(&self) -> f64 {
        self.bytes as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

/// A store of its own, and the memory that it moves.
pub struct Library {
    store: Store,
    /// What is put.
    source: AlignedBuffer,
    /// Where it comes back.
    target: AlignedBuffer,
    is_static: bool,
    /// Part of the keys, another one each round.
    round: u64,
    /// Objects of this round that are stored.
    stored: u64,
}

impl Library {
    /// Opens a store for objects of this size, with room for so many.
    ///
    /// # Errors
    /// What the library answers; memory that cannot be had.
    pub fn open(config: &Config, options: &OpenOptions, size: u64, objects: u64) -> Result<Library, Failure> {
        let mut config = config.clone();
        let mut options = options.clone();
        let is_static = config.pool_size > 0;
        if is_static {
            config.pool_size = u32::try_from(objects).map_err(|_| Failure::new("too many objects"))?;
            options.chunk_bytes = Some(size);
            // In a bucket the pool of the size before is still there, and has another shape.
            config.store.prefix.push_str(&format!("{size}/"));
        }
        let length =
            usize::try_from(size * objects).map_err(|_| Failure::new("more bytes than memory can have"))?;
        let memory = || AlignedBuffer::new(length).map_err(|error| Failure::os("memory to move", &error));
        let (mut source, target) = (memory()?, memory()?);
        fill(source.as_mut_slice());
        let store = Store::open(&config, &options)?;
        for buffer in [&source, &target] {
            // Without it the kernel pins the memory for each transfer, as for an engine that does not register its own.
            let _ = store.memory_register(buffer.host_slice(0, buffer.len()).into());
        }
        Ok(Library { store, source, target, is_static, round: 0, stored: 0 })
    }

    /// What is in effect.
    ///
    /// # Errors
    /// What the library answers.
    pub fn capabilities(&self) -> Result<Capabilities, Failure> {
        Ok(self.store.capabilities()?)
    }

    /// The memory, for the bare measurements.
    pub fn memory(&mut self) -> (&AlignedBuffer, &mut AlignedBuffer) {
        (&self.source, &mut self.target)
    }

    /// Makes ready for another round: what a dynamic store holds goes, as nothing would evict it.
    ///
    /// # Errors
    /// What the library answers.
    pub fn begin_round(&mut self) -> Result<(), Failure> {
        self.round += 1;
        self.stored = 0;
        if !self.is_static {
            self.store.clear()?;
        }
        Ok(())
    }

    /// Puts the round's objects, as many batches as the time allows and one at least.
    ///
    /// # Errors
    /// What the library answers.
    pub fn put(
        &mut self,
        cell: &Cell,
        time_max: Duration,
        interrupt: &Interrupt,
    ) -> Result<Measured, Failure> {
        let begun = Instant::now();
        let mut objects = 0;
        while objects < cell.objects && (objects == 0 || begun.elapsed() < time_max) && !interrupt.came() {
            self.batch(Direction::Put, cell, objects)?;
            objects += cell.batch;
        }
        self.stored = objects;
        Ok(Measured { bytes: objects * cell.object_bytes, time: begun.elapsed() })
    }

    /// Gets what was put in this round, then compares every byte that came.
    ///
    /// # Errors
    /// What the library answers; bytes that are not those that were put.
    pub fn get(
        &mut self,
        cell: &Cell,
        time_max: Duration,
        interrupt: &Interrupt,
    ) -> Result<Measured, Failure> {
        self.target.as_mut_slice().fill(0);
        let begun = Instant::now();
        let mut objects = 0;
        while objects < self.stored && (objects == 0 || begun.elapsed() < time_max) && !interrupt.came() {
            self.batch(Direction::Get, cell, objects)?;
            objects += cell.batch;
        }
        let time = begun.elapsed();
        let bytes = objects * cell.object_bytes;
        let moved = bytes as usize;
        if self.target.as_slice().get(..moved) != self.source.as_slice().get(..moved) {
            return Err(Failure::new("the bytes that came back are not those that were put"));
        }
        Ok(Measured { bytes, time })
    }

    fn batch(&self, direction: Direction, cell: &Cell, first: u64) -> Result<(), Failure> {
        let mut batch = self.store.batch(direction, cell.batch as usize)?;
        let memory = if direction == Direction::Put { &self.source } else { &self.target };
        for object in first..first + cell.batch {
            batch.item(format!("bench/{}/{object}", self.round).as_bytes(), Wish::default())?;
            let from = (object * cell.object_bytes) as usize;
            batch.stretch(memory.host_slice(from, from + cell.object_bytes as usize).into())?;
        }
        // One object is put or got as a blocking call does it.
        let ticket = if cell.batch == 1 {
            batch.run(SubmitOptions::default())
        } else {
            batch.submit(SubmitOptions::default())
        };
        let mut failed = None;
        self.store.ticket_wait(ticket?, None, &mut |_, result, message| {
            if result.status != Status::Ok && failed.is_none() {
                let told = message.map_or_else(|| format!("{:?}", result.status), str::to_owned);
                failed = Some(Failure::new(format!("{direction:?} of {} bytes: {told}", cell.object_bytes)));
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Closes the store.
    ///
    /// # Errors
    /// What the library answers.
    pub fn close(self) -> Result<(), Failure> {
        // The memory is freed after the store has let go of it.
        Ok(self.store.close()?)
    }
}

/// Bytes that no device can compress, and of which no two pages are alike (xorshift64).
fn fill(bytes: &mut [u8]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for word in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
    }
}
