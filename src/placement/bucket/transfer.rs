//! A store in a bucket around a transfer: which object is read, and how; where a put goes, and how it becomes visible.
//!
//! A record below the bound of parts is one request each way: a get of known or guessed size, a put that replaces what
//! was there as a whole. Larger ones take round trips before and after, so lanes are given work for other threads.

use std::io;

use super::get::Reading;
use super::in_use::Taken;
use super::put::Draft;
use super::{Buckets, Kind};
use crate::error::Result;
use crate::placement::{Answer, GetWish, Key, Never, Placement, PutPlace, PutWish, Source, Tombstones};
use crate::sync::Arc;

impl Placement for Buckets {
    type GetClaim = Reading;
    type PutClaim = Draft;
    type TombClaim = Never;

    fn payload_bytes_max(&self) -> Option<u64> {
        match self.core.kind {
            Kind::Pool { chunk_bytes, .. } => Some(chunk_bytes),
            Kind::Dynamic => None,
        }
    }

    fn find(self: &Arc<Self>, key: &Key<'_>) -> Answer<Result<Option<u64>>> {
        let (core, key) = (Arc::clone(&self.core), key.to_owned());
        Answer::later(move || {
            let asking = Arc::clone(&core);
            let length = core.bucket.client.block_on({
                let key = key.clone();
                async move { asking.length(&key, None).await }
            })?;
            if length.is_some() {
                core.catalog.keep(core.names.id_of(&core.name(&key.key())?));
            }
            Ok(length)
        })
    }

    fn open_get(self: &Arc<Self>, key: &Key<'_>, wish: GetWish) -> Answer<Result<Option<Source<Reading>>>> {
        let core = &self.core;
        let name = match core.name(key) {
            Ok(name) => name,
            Err(error) => return Answer::Now(Err(error)),
        };
        let id = core.names.id_of(&name);
        let known = core.catalog.noted(id).map(|(bytes, _)| bytes);
        if core.is_pool() && known.is_none() {
            return Answer::Now(Ok(None));
        }
        core.catalog.touch(id);
        let reader = core.in_use.read(id);
        let known = core.sizes.met(id).or(known.filter(|bytes| *bytes > 0));
        if let Some(bytes) = known.filter(|bytes| core.is_damaged(*bytes)) {
            let core = Arc::clone(core);
            return Answer::later(move || {
                let removing = Arc::clone(&core);
                core.bucket
                    .client
                    .block_on(async move { removing.remove_no_record(name, bytes, None).await });
                Ok(None)
            });
        }
        let bytes = known.or_else(|| core.sizes.guess(wish));
        match bytes {
            Some(bytes) if bytes < core.bucket.multipart_bytes_min => {
                let guessed = known.is_none().then_some(wish);
                Answer::Now(Ok(core.begin_reading(name, reader, bytes, None, guessed)))
            }
            // Too large for one request, or nothing tells how large.
            _ => {
                let (core, key) = (Arc::clone(core), key.to_owned());
                Answer::later(move || {
                    let opening = Arc::clone(&core);
                    core.bucket
                        .client
                        .block_on(async move { opening.open_by_tail(name, reader, key, wish.deadline).await })
                })
            }
        }
    }

    fn close_get(
        self: &Arc<Self>,
        _key: &Key<'_>,
        claim: Reading,
        corrupt: bool,
    ) -> Answer<Tombstones<Never>> {
        let core = &self.core;
        core.learn(&claim);
        if !corrupt {
            return Answer::Now(Tombstones::NONE);
        }
        let core = Arc::clone(core);
        Answer::later(move || {
            let removing = Arc::clone(&core);
            core.bucket.client.block_on(async move {
                let (bytes, version) = (claim.object.bytes(), claim.object.version());
                removing.remove_damaged(claim.name.clone(), bytes, version).await;
            });
            Tombstones::NONE
        })
    }

    fn open_put(
        self: &Arc<Self>,
        key: &Key<'_>,
        length: u64,
        wish: PutWish,
    ) -> Answer<Result<PutPlace<Draft>>> {
        let core = &self.core;
        let name = match core.name(key) {
            Ok(name) => name,
            Err(error) => return Answer::Now(Err(error)),
        };
        let turn = match core.in_use.try_put(core.names.id_of(&name)) {
            Ok(turn) => turn,
            // Its end lets this put go on.
            Err(Taken::ByTransfer) => return Answer::Now(Ok(PutPlace::Busy)),
            Err(Taken::ForAMoment) => {
                let (core, key) = (Arc::clone(core), key.to_owned());
                return Answer::later(move || core.wait_and_write(name, &key, length, wish));
            }
        };
        let begun = match core.begin_writing(name, turn, length, wish) {
            Ok(Ok(begun)) => begun,
            Ok(Err(refused)) => return Answer::Now(Ok(refused.place())),
            Err(error) => return Answer::Now(Err(error)),
        };
        if begun.victims.is_empty() && begun.parts.whole() < core.bucket.multipart_bytes_min {
            return Answer::Now(Ok(core.ready(begun, None)));
        }
        let core = Arc::clone(core);
        Answer::later(move || core.make_ready(begun))
    }

    fn commit_put(
        self: &Arc<Self>,
        _key: &Key<'_>,
        claim: Draft,
        length: u64,
    ) -> Answer<Result<Tombstones<Never>>> {
        if claim.upload.is_none() {
            self.core.publish(claim, length);
            return Answer::Now(Ok(Tombstones::NONE));
        }
        let core = Arc::clone(&self.core);
        Answer::later(move || {
            let completing = Arc::clone(&core);
            core.bucket.client.block_on(async move { completing.complete(claim, length).await })?;
            Ok(Tombstones::NONE)
        })
    }

    fn abort_put(self: &Arc<Self>, claim: Draft, touched: bool) -> Answer<Tombstones<Never>> {
        let core = Arc::clone(&self.core);
        if claim.upload.is_none() {
            // A put that failed may be there all the same, if it was its answer that failed.
            core.give_up(claim, touched);
            return Answer::Now(Tombstones::NONE);
        }
        Answer::later(move || {
            let aborting = Arc::clone(&core);
            core.bucket.client.block_on(async move { aborting.abort(claim).await });
            Tombstones::NONE
        })
    }

    fn make_room(self: &Arc<Self>, bytes: u64) -> Answer<bool> {
        if self.core.is_pool() {
            return Answer::Now(false);
        }
        let core = Arc::clone(&self.core);
        Answer::later(move || core.evict_at_least(bytes))
    }

    fn entombed(self: &Arc<Self>, claim: Never, _outcome: io::Result<()>) -> Answer<Tombstones<Never>> {
        match claim {}
    }
}
