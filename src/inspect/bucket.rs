//! Stores in a bucket, as somebody sees them who only reads: listings, and the ends of objects.

use std::ops::ControlFlow;
use std::time::{Duration, Instant, SystemTime};

use super::View;
use super::entry::{Entry, EntryKind, Look, Record, Removed, Survey, Suspect};
use super::facts::{Facts, PoolFacts};
use super::files::{check, split, without_trailer};
use super::proof::{Room, Unproven};
use crate::backend::{self, Worker, obj};
use crate::config::Config;
use crate::error::{Error, Result, Status};
use crate::layout::bucket::Names;
use crate::layout::bucket::lease::{LEASE, LEASE_BYTES_MAX, LEASE_TIME, Owner};
use crate::layout::bucket::manifest::{self, MANIFEST, PoolShape};
use crate::layout::files::ObjectName;
use crate::layout::pool::Ownership;
use crate::layout::record::{self, EffectiveKey, Invalid};
use crate::log::Logger;
use crate::memory::bytes::checksum_bytes;
use crate::s3::client::LISTED_MAX;
use crate::s3::{Client, FailureKind, Part, Small, Version};
use crate::store::{self, OpenOptions};

/// Bytes of the end that are asked for: the trailer of any payload up to 48 MiB.
const TAIL_BYTES: u64 = 8 << 10;

/// A store in a bucket.
pub(super) struct Objects {
    client: Client,
    names: Names,
    pool_id: u128,
    call_time_max: Duration,
}

/// The end of an object, and what it says.
struct Tail {
    object_bytes: u64,
    version: Option<Version>,
    /// The bytes that should be the trailer, and those of the payload before it; `None`: no record has this length.
    trailer: Option<(Vec<u8>, u64)>,
}

/// Looks at the store that the configuration describes. Nothing is put to find out what the server honours.
pub(super) fn open(config: &Config, options: &OpenOptions, logger: &Logger) -> Result<(Objects, Facts)> {
    let (client, _) = obj::client(config, options.worker_id, logger)?;
    let call_time_max = obj::call_time_max(config);
    let prefix = &config.store.prefix;
    let is_pool = config.pool_size > 0;
    let names = match is_pool {
        true => Names::of_pool(prefix, &store::pool_name(options))?,
        false => Names::dynamic(prefix, config.store.layout)?,
    };
    let place =
        format!("bucket {}, {}, at {}", client.bucket(), shown(names.root()), client.endpoint_shown());
    let mut objects = Objects { client, names, pool_id: record::NO_POOL, call_time_max };
    let mut facts = Facts {
        layout: if is_pool { "static" } else { config.store.layout.dynamic_name() },
        backend: config.backend,
        place,
        pool: None,
        misfit: None,
        owner: None,
        capacity_bytes: config.store.capacity_bytes.filter(|_| !is_pool),
    };
    if is_pool {
        let (pool_id, made) = objects.manifest()?.ok_or_else(|| {
            let place = &facts.place;
            Error::new(
                Status::NotFound,
                format!("there is no pool in {place}: an engine that opens this configuration makes it"),
            )
        })?;
        let asked = PoolShape {
            object_count: config.pool_size,
            chunk_bytes: store::chunk_bytes(config, options).unwrap_or(made.chunk_bytes),
            chunk_size_tokens: config.chunk_size_tokens,
        };
        objects.pool_id = pool_id;
        facts.misfit = manifest::check(&objects.names.beside(MANIFEST), made, asked)
            .err()
            .map(|error| error.message().to_owned());
        facts.owner = Some(objects.ownership()?);
        facts.pool = Some(PoolFacts {
            slots: made.object_count,
            chunk_bytes: made.chunk_bytes,
            chunk_size_tokens: made.chunk_size_tokens,
        });
    } else {
        // A bucket that is missing, or closed to this identity, is told of now.
        objects.page(&objects.names.of_all(), None, 1)?;
    }
    Ok((objects, facts))
}

fn shown(root: &str) -> String {
    if root.is_empty() { "no prefix".to_owned() } else { format!("prefix {root}") }
}

impl Objects {
    fn deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(self.call_time_max)
    }

    fn manifest(&self) -> Result<Option<(u128, PoolShape)>> {
        let (client, name, deadline) = (self.client.clone(), self.names.beside(MANIFEST), self.deadline());
        self.client.block_on(async move { manifest::look(&client, &name, deadline).await })
    }

    /// Who holds the lease. Its age is told by this machine's clock, which decides nothing.
    fn ownership(&self) -> Result<Ownership> {
        let (client, name, deadline) = (self.client.clone(), self.names.beside(LEASE), self.deadline());
        let (small, head) = self.client.block_on(async move {
            let part = Part::Range(0..LEASE_BYTES_MAX as u64);
            let small = client.get_small(&name, part, LEASE_BYTES_MAX, deadline).await;
            let head = client.head(&name, deadline).await;
            (small, head)
        });
        let small = match small {
            Err(failure) if failure.kind() == FailureKind::Missing => return Ok(Ownership::Free),
            other => other?,
        };
        let here = Owner::this_process().map_err(|error| Error::os("asking who this process is", &error))?;
        let Some(owner) = Owner::from_text(&small.bytes) else {
            return Ok(Ownership::Unknown { last: "somebody who left no name".to_owned() });
        };
        let renewed = head.ok().and_then(|head| head.modified);
        let age =
            renewed.and_then(|renewed| SystemTime::now().duration_since(renewed).ok()).unwrap_or_default();
        Ok(if owner.is_dead_here(&here) || age >= LEASE_TIME * 2 {
            Ownership::Free
        } else if age < LEASE_TIME {
            Ownership::Held { by: owner.to_string() }
        } else {
            Ownership::Unknown { last: owner.to_string() }
        })
    }

    fn page(&self, prefix: &str, after: Option<String>, limit: u32) -> Result<crate::s3::Listing> {
        let (client, prefix, deadline) = (self.client.clone(), prefix.to_owned(), self.deadline());
        let listed = self
            .client
            .block_on(async move { client.list(&prefix, after.as_deref(), limit, deadline).await });
        Ok(listed?)
    }

    /// Reads a part of an object; `None`: it is gone.
    fn read(&self, name: &str, part: Part, limit_bytes: u64) -> Result<Option<Small>> {
        let (client, name, deadline) = (self.client.clone(), name.to_owned(), self.deadline());
        let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        let read = self.client.block_on(async move { client.get_small(&name, part, limit, deadline).await });
        match read {
            Ok(small) => Ok(Some(small)),
            Err(failure) if failure.kind() == FailureKind::Missing => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Reads the end of an object.
    fn tail(&self, name: &ObjectName) -> Result<Option<Tail>> {
        let whole = self.names.whole(name);
        let Some(mut small) = self.read(&whole, Part::Tail(TAIL_BYTES), TAIL_BYTES)? else { return Ok(None) };
        let object_bytes = small.object_bytes;
        let Some((padded_bytes, trailer_bytes)) = split(object_bytes) else {
            return Ok(Some(Tail { object_bytes, version: small.version, trailer: None }));
        };
        if trailer_bytes > small.bytes.len() as u64 {
            let part = Part::Range(padded_bytes..object_bytes);
            match self.read(&whole, part, trailer_bytes)? {
                None => return Ok(None),
                Some(longer) => small = longer,
            }
        }
        let start = small.bytes.len().saturating_sub(trailer_bytes as usize);
        let trailer = small.bytes.split_off(start);
        Ok(Some(Tail { object_bytes, version: small.version, trailer: Some((trailer, padded_bytes)) }))
    }

    /// The entry of a key under its name.
    fn found(&self, name: &ObjectName, key: &EffectiveKey, room: &mut Room) -> Result<Option<Entry>> {
        let (client, whole, deadline) = (self.client.clone(), self.names.whole(name), self.deadline());
        let head = match self.client.block_on(async move { client.head(&whole, deadline).await }) {
            Err(failure) if failure.kind() == FailureKind::Missing => return Ok(None),
            other => other?,
        };
        let mut entry = Entry::found(name, head.bytes, head.modified.unwrap_or(SystemTime::UNIX_EPOCH));
        let is_there = self.describe(&mut entry, room)?;
        let is_other = entry.key.as_deref().is_some_and(|found| found != key.bytes());
        Ok((is_there && !is_other).then_some(entry))
    }

    fn unfit(&self, why: Invalid) -> EntryKind {
        without_trailer(self.names.layout(), why)
    }

    fn looked(&self, entry: &Entry, room: &mut Room) -> Result<Look> {
        let Some(name) = entry.place.object_name() else { return Ok(Look::Gone) };
        let Some(tail) = self.tail(&name)? else { return Ok(Look::Gone) };
        let whole = self.names.whole(&name);
        let fingerprint = fingerprint(&tail);
        let suspect = |damage: String| {
            let damage = format!("{damage}; object {whole}");
            Look::Suspect(Suspect { entry: entry.clone(), damage, fingerprint })
        };
        let unfit = |kind| match kind {
            EntryKind::Damaged(why) => suspect(why),
            _ => Look::Unverified,
        };
        let Some((trailer, padded_bytes)) = &tail.trailer else {
            return Ok(unfit(self.unfit(Invalid::Length)));
        };
        let trailer = match record::decode(trailer) {
            Ok(trailer) => trailer,
            Err(why) => return Ok(unfit(self.unfit(why))),
        };
        let identity = trailer.identity();
        let has_name = |digest, key: &[u8]| self.names.name_of(digest, key).is_ok_and(|named| named == name);
        if let Err(why) = check(&identity, self.pool_id, *padded_bytes, has_name) {
            return Ok(suspect(why));
        }
        let proven = room.prove(&trailer, *padded_bytes, &mut |offset, out| {
            let part = Part::Range(offset..offset + out.len() as u64);
            let small =
                self.read(&whole, part, out.len() as u64).map_err(|error| error.message().to_owned())?;
            let small = small.ok_or_else(|| format!("{whole} was removed while it was read"))?;
            if small.version != tail.version || small.bytes.len() != out.len() {
                return Err(format!("{whole} was replaced while it was read"));
            }
            out.copy_from_slice(&small.bytes);
            Ok(())
        });
        Ok(match proven {
            Err(Unproven::Damaged(why)) => suspect(why).named(identity.key),
            Err(Unproven::Unreadable(why)) => match self.tail(&name)? {
                None => Look::Gone,
                // Another one by now: whoever asks again finds that.
                Some(now) if now.version != tail.version => {
                    Look::Suspect(Suspect { entry: entry.clone(), damage: why, fingerprint })
                }
                Some(_) => Look::Unreadable(why),
            },
            Ok(()) => Look::Proven(Record {
                key: identity.key.into(),
                payload_bytes: identity.payload_bytes,
                generation: identity.generation,
                blocks: trailer.block_count(),
                file: whole.clone(),
                offset: 0,
            }),
        })
    }
}

fn fingerprint(tail: &Tail) -> u64 {
    let version = tail.version.as_ref().map_or("", Version::as_str);
    let trailer = tail.trailer.as_ref().map_or(0, |(trailer, _)| checksum_bytes(trailer));
    checksum_bytes(version.as_bytes()) ^ trailer ^ tail.object_bytes.rotate_left(32)
}

impl View for Objects {
    fn survey(&self, _logger: &Logger, sink: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<Survey> {
        let (prefix, mut after) = (self.names.of_all(), None);
        let survey = Survey { source: "a listing of the bucket", ..Survey::default() };
        loop {
            let page = self.page(&prefix, after.clone(), LISTED_MAX)?;
            for object in &page.objects {
                let Some(name) = self.names.parse(&object.name) else { continue };
                if sink(Entry::found(&name, object.bytes, object.modified)).is_break() {
                    return Ok(survey);
                }
            }
            match page.next {
                Some(next) if after.as_ref().is_none_or(|after| next > *after) => after = Some(next),
                _ => return Ok(survey),
            }
        }
    }

    fn describe(&self, entry: &mut Entry, _room: &mut Room) -> Result<bool> {
        let Some(name) = entry.place.object_name() else { return Ok(false) };
        let Some(tail) = self.tail(&name)? else { return Ok(false) };
        match tail.trailer.as_ref().map_or(Err(Invalid::Length), |(trailer, _)| record::decode(trailer)) {
            Err(why) => entry.kind = self.unfit(why),
            Ok(trailer) => {
                entry.kind = EntryKind::Record;
                entry.key = Some(trailer.identity().key.into());
                entry.payload_bytes = trailer.identity().payload_bytes;
            }
        }
        Ok(true)
    }

    fn find(&self, keys: &[EffectiveKey], room: &mut Room, _logger: &Logger) -> Result<Vec<Option<Entry>>> {
        let find = |key: &EffectiveKey, room: &mut Room| -> Result<Option<Entry>> {
            let (_, plain) = record::parts(key.bytes()).unwrap_or_default();
            let name = self.names.name_of(key.digest(), plain)?;
            // One that cannot be read says nothing of the others.
            Ok(self.found(&name, key, room).unwrap_or_else(|error| Some(Entry::unreadable(&name, &error))))
        };
        keys.iter().map(|key| find(key, room)).collect()
    }

    fn look(&self, entry: &Entry, room: &mut Room) -> Look {
        self.looked(entry, room).unwrap_or_else(|error| Look::Unreadable(error.message().to_owned()))
    }
}

/// Removes damaged objects of a store in a bucket.
pub(super) struct Removing {
    objects: Objects,
    deletes_conditionally: bool,
}

impl Removing {
    /// Opens the store for removals; the server is asked what it honours.
    pub(super) fn open(config: &Config, options: &OpenOptions) -> Result<Removing> {
        let (objects, _) = open(config, options, &options.logger)?;
        let worker = Worker { id: options.worker_id, device: options.cuda_device };
        let backend = backend::open(config, worker, &options.logger)?;
        let deletes_conditionally = backend.bucket().is_some_and(|bucket| bucket.traits.deletes_if_match);
        Ok(Removing { objects, deletes_conditionally })
    }

    pub(super) fn remove(&self, suspect: &Suspect) -> Result<Removed> {
        let Some(name) = suspect.entry.place.object_name() else { return Ok(Removed::Changed) };
        let objects = &self.objects;
        let tail = match objects.tail(&name)? {
            Some(tail) if fingerprint(&tail) == suspect.fingerprint => tail,
            _ => return Ok(Removed::Changed),
        };
        let only = tail.version.filter(|_| self.deletes_conditionally);
        let (client, whole, deadline) =
            (objects.client.clone(), objects.names.whole(&name), objects.deadline());
        let deleted =
            objects.client.block_on(async move { client.delete(&whole, only.as_ref(), deadline).await });
        match deleted {
            Ok(()) => Ok(Removed::Yes),
            Err(failure) if failure.kind() == FailureKind::Changed => Ok(Removed::Changed),
            Err(failure) => Err(failure.into()),
        }
    }
}
