//! The right bytes or a miss: what was read is taken in, summed, and compared with what the trailer says, or with the sums of its
//! blocks that the placement has in memory.

use std::ops::Range;

use super::Lane;
use super::get::refusal;
use super::item::item_parts;
use super::job::{Get, Job, Piece, Proof, TAIL_BYTES, Work};
use super::plan::blocks_in;
use crate::layout::record::{self, CHECKSUM_BLOCK_BYTES, Invalid};
use crate::memory::bytes::{self, NotHost};
use crate::memory::{Holds, Stretch};
use crate::placement::{BlockSums, Placement};

impl<P: Placement> Lane<P> {
    /// Decodes the trailer, which has landed, and compares it with what was asked for.
    pub(super) fn check_trailer(&mut self, index: usize) {
        let job = &mut self.jobs[index];
        let range = job.trailer_range();
        let Work::Get(get) = &mut job.work else { return };
        let Some((key, _)) = item_parts(&job.guard) else { return };
        let Some(buffer) = &job.buffer else { return job.damaged("the trailer's buffer is lost") };
        let proof = match record::decode(&buffer.as_slice()[range]) {
            Err(Invalid::Absent | Invalid::Magic) => Proof::Absent,
            Err(_) => Proof::Damaged("damaged trailer"),
            Ok(trailer) => {
                let found = trailer.identity();
                let expected_length = match get.known_bytes {
                    Some(length) => found.payload_bytes == length,
                    None => record::padded(found.payload_bytes) == Some(job.extent.padded_bytes),
                };
                let expected_version = get.generation.is_none_or(|generation| generation == found.generation);
                if found.key != key.effective {
                    Proof::OtherKey
                } else if found.pool_id != job.extent.pool_id || found.slot != job.extent.slot {
                    Proof::Damaged("a record of another place")
                } else if !expected_length || !expected_version {
                    Proof::Damaged("another version of the record")
                } else {
                    Proof::Trailer { object_bytes: found.payload_bytes }
                }
            }
        };
        get.proof = proof;
        match proof.object_bytes() {
            None => job.fail(crate::error::Status::NotFound, 0),
            Some(length) => {
                if let Some(status) = refusal(&job.guard, length) {
                    job.fail(status, 0);
                }
            }
        }
    }

    /// Checksums the blocks of a piece and delivers what did not go direct. `sums`: those of its blocks, where the backend
    /// computed them as the bytes came.
    ///
    /// # Errors
    /// [`NotHost`]: the item's memory cannot be reached from here.
    pub(super) fn take_in_piece(
        &mut self,
        index: usize,
        piece: &Piece,
        holds: &Holds,
        sums: &[u64],
    ) -> Result<(), NotHost> {
        let scratch = &mut self.scratch;
        let job = &mut self.jobs[index];
        let Work::Get(get) = &job.work else { return Ok(()) };
        let Some((_, stretches)) = item_parts(&job.guard) else { return Ok(()) };
        let Piece { body, with_tail, .. } = piece;
        let staged = &mut self.staged;
        if !holds.is_empty() {
            staged.clear();
            staged.extend(holds.memory((body.end - body.start) as usize));
        }
        let object_end = get.object_end();
        let end = if *with_tail { job.extent.padded_bytes } else { body.end };
        // Only the piece that brings the tail block may look at it: before that landed it is under way.
        let tail = match &job.buffer {
            Some(buffer) if *with_tail => &buffer.as_slice()[..TAIL_BYTES],
            _ => &[],
        };
        let first_block = (get.span.start / CHECKSUM_BLOCK_BYTES as u64) as usize;
        // A trailer by itself starts where the padded payload ends and brings no payload.
        if !get.proof.is_waived() && body.start < job.extent.padded_bytes {
            let (memory, origin) =
                if holds.is_empty() { (stretches, get.want.start) } else { (&staged[..], body.start) };
            let landed = Landed { body, memory, origin, tail, body_end: get.body_end };
            for (block, range) in blocks_in(body.start..end, end.min(object_end)) {
                let brought = block - (body.start / CHECKSUM_BLOCK_BYTES as u64) as usize;
                // The backend's blocks know nothing of tail and trailer: only whole ones are what is meant here.
                let is_whole =
                    range.end <= body.end && range.end - range.start == CHECKSUM_BLOCK_BYTES as u64;
                let sum = match sums.get(brought) {
                    Some(&sum) if is_whole => sum,
                    _ => landed.checksum(&range, scratch)?,
                };
                if let Some(place) = job.sums.get_mut(block - first_block) {
                    *place = sum;
                }
            }
        }
        if !job.is_on_device {
            let Work::Get(get) = &job.work else { return Ok(()) };
            let mut start = body.start;
            for slice in holds.memory((body.end - body.start) as usize) {
                let end = start + slice.length() as u64;
                let wanted = start.max(get.want.start)..end.min(get.want.end);
                if wanted.start < wanted.end {
                    let part = slice.part((wanted.start - start) as usize, (wanted.end - start) as usize);
                    bytes::scatter_slice(part, stretches, (wanted.start - get.want.start) as usize)?;
                }
                start = end;
            }
            if *with_tail {
                let object_end = get.proof.object_bytes().unwrap_or(job.extent.padded_bytes);
                let wanted = get.body_end.max(get.want.start)..object_end.min(get.want.end);
                if wanted.start < wanted.end && get.span.end > get.body_end {
                    let part = (wanted.start - get.body_end) as usize..(wanted.end - get.body_end) as usize;
                    bytes::scatter(&tail[part], stretches, (wanted.start - get.want.start) as usize)?;
                }
            }
        }
        Ok(())
    }

    /// The trailer has proven right: its sums are what blocks are compared with from here on.
    pub(super) fn expect_sums(&mut self, index: usize) {
        let range = self.jobs[index].trailer_range();
        let Job { work, buffer, .. } = &mut self.jobs[index];
        let Work::Get(get) = work else { return };
        let (Some(front), Some(buffer), Proof::Trailer { object_bytes }) =
            (&mut get.front, buffer, get.proof)
        else {
            return;
        };
        let Ok(trailer) = record::decode_again(&buffer.as_slice()[range]) else { return };
        front.expected.clear();
        // There is room for as many.
        front.expected.extend(
            blocks_in(get.span.clone(), object_bytes).filter_map(|(block, _)| trailer.block_checksum(block)),
        );
        self.advance_front(index);
    }

    /// A piece is summed and where the caller wants it.
    pub(super) fn in_place(&mut self, index: usize, piece: &Piece) {
        let job = &mut self.jobs[index];
        let end = if piece.with_tail { job.extent.padded_bytes } else { piece.body.end };
        let Work::Get(get) = &mut job.work else { return };
        let first = (get.span.start / CHECKSUM_BLOCK_BYTES as u64) as usize;
        // A trailer by itself begins where the payload ends.
        let Some(front) = get.front.as_mut().filter(|_| piece.body.start < end) else { return };
        for (block, _) in blocks_in(piece.body.start..end, end) {
            front.mark(block - first);
        }
        self.advance_front(index);
    }

    /// Tells how far the front is, if it has come further.
    fn advance_front(&mut self, index: usize) {
        let job = &mut self.jobs[index];
        let Work::Get(get) = &mut job.work else { return };
        let Some(object_bytes) = get.proof.object_bytes().filter(|_| job.failure.is_none()) else { return };
        let is_waived = get.proof.is_waived();
        let Some(front) = &get.front else { return };
        let known = get.sums_in(&*self.placement);
        let first = (get.span.start / CHECKSUM_BLOCK_BYTES as u64) as usize;
        let expected = |block: usize| match &known {
            Some(sums) => sums.get(first + block),
            None => front.expected.get(block).copied(),
        };
        let before = front.proven;
        let mut proven = before;
        while front.is_in_place(proven)
            && (is_waived || expected(proven).is_some_and(|sum| job.sums.get(proven) == Some(&sum)))
        {
            proven += 1;
        }
        let is_wrong = front.is_in_place(proven) && expected(proven).is_some();
        if let Some(front) = &mut get.front {
            front.proven = proven;
        }
        if proven > before {
            let end = get.span.start + (proven * CHECKSUM_BLOCK_BYTES) as u64;
            let end = end.min(get.want.end).min(object_bytes);
            job.guard.advance(end.saturating_sub(get.want.start));
        }
        // What is in place and did not count is not what was stored.
        if is_wrong {
            job.damaged("payload checksum does not match");
        }
    }

    /// Compares the sums of all blocks that were read with those in memory, or with the trailer's, which are remembered if they are
    /// right.
    pub(super) fn compare_checksums(&self, job: &mut Job<P>) {
        let range = job.trailer_range();
        let Work::Get(get) = &job.work else { return };
        let right = match get.proof {
            Proof::Waived { .. } => true,
            Proof::Known { object_bytes } => {
                let known = get.sums_in(&*self.placement);
                known.is_some_and(|sums| get.is_right(&job.sums, object_bytes, |block| sums.get(block)))
            }
            _ => {
                // `check_trailer` found it right, or there would be a failure.
                let trailer =
                    job.buffer.as_ref().map(|buffer| record::decode_again(&buffer.as_slice()[range]));
                let Some(Ok(trailer)) = trailer else { return job.damaged("damaged trailer") };
                let object_bytes = trailer.identity().payload_bytes;
                let right = get.is_right(&job.sums, object_bytes, |block| trailer.block_checksum(block));
                if right && let Some(claim) = &get.claim {
                    self.placement.learn(claim, &trailer);
                }
                right
            }
        };
        if !right {
            job.damaged("payload checksum does not match");
        }
    }
}

impl<C: Send> Get<C> {
    /// Whether the sums that were computed are the expected ones.
    fn is_right(&self, sums: &[u64], object_bytes: u64, expected: impl Fn(usize) -> Option<u64>) -> bool {
        let first = (self.span.start / CHECKSUM_BLOCK_BYTES as u64) as usize;
        blocks_in(self.span.clone(), object_bytes).into_iter().all(|(block, _)| {
            let computed = sums.get(block - first).copied();
            computed.is_some() && expected(block) == computed
        })
    }

    /// The sums that the blocks are compared with, if they are in memory.
    fn sums_in<'a, P: Placement<GetClaim = C>>(&self, placement: &'a P) -> Option<BlockSums<'a>> {
        match (self.proof, &self.claim) {
            (Proof::Known { .. }, Some(claim)) => placement.sums(claim),
            _ => None,
        }
    }
}

/// Where the bytes of a piece that landed are.
struct Landed<'a> {
    /// Payload bytes in caller memory, or in the staging buffer.
    body: &'a Range<u64>,
    memory: &'a [Stretch],
    /// The payload byte that the memory begins with.
    origin: u64,
    /// The payload bytes from `body_end` on.
    tail: &'a [u8],
    body_end: u64,
}

impl Landed<'_> {
    /// The checksum of the block `range`, which may lie in the body, in the tail block, or partly in each.
    fn checksum(&self, range: &Range<u64>, scratch: &mut [u8]) -> Result<u64, NotHost> {
        let in_body = range.start..range.end.min(self.body.end);
        let in_tail = range.end.saturating_sub(self.body_end.max(range.start)) as usize;
        if in_tail == 0 {
            let (from, to) = (in_body.start - self.origin, in_body.end - self.origin);
            return bytes::checksum(self.memory, from as usize, to as usize, scratch);
        }
        let body_bytes = in_body.end.saturating_sub(in_body.start) as usize;
        let (front, back) = scratch.split_at_mut(body_bytes);
        if body_bytes > 0 {
            bytes::gather(self.memory, (in_body.start - self.origin) as usize, front)?;
        }
        back[..in_tail].copy_from_slice(&self.tail[..in_tail]);
        Ok(bytes::checksum_bytes(&scratch[..body_bytes + in_tail]))
    }
}
