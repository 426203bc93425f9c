//! The slots of a static pool, as somebody sees them who does not own it.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::View;
use super::entry::{Entry, EntryKind, Look, Place, Record, Survey, Suspect, Unreadable};
use super::proof::{Room, Unproven};
use crate::error::Result;
use crate::layout::pool::PoolView;
use crate::layout::record::{self, EffectiveKey, Invalid, Trailer};
use crate::log::Logger;
use crate::memory::bytes::checksum_bytes;

/// A static pool in files.
pub(super) struct Slots {
    view: PoolView,
}

impl Slots {
    pub(super) fn new(view: PoolView) -> Slots {
        Slots { view }
    }

    /// Whether a whole record is one that may be in this slot.
    fn check(&self, entry: &Entry, slot: u32, trailer: &Trailer<'_>) -> std::result::Result<(), String> {
        let identity = trailer.identity();
        self.view.check_place(&identity, slot).map_err(|why| why.to_string())?;
        let is_same =
            Some(identity.generation) == entry.generation && entry.key.as_deref() == Some(identity.key);
        if !is_same && self.is_listed(entry) {
            return Err("the snapshot lists another record in this slot".to_owned());
        }
        Ok(())
    }

    /// Whether a snapshot lists it. Asked after the slot was read: the snapshot is gone before an owner changes a slot.
    fn is_listed(&self, entry: &Entry) -> bool {
        entry.listed_by.is_some() && entry.listed_by == self.view.snapshot()
    }

    fn suspect(&self, entry: &Entry, slot: u32, damage: &str, fingerprint: u64) -> Look {
        let (file, offset) = self.view.trailer_place(slot);
        let damage = format!("{damage}; slot {slot}, trailer in {file} at offset {offset}");
        Look::Suspect(Suspect { entry: entry.clone(), damage, fingerprint })
    }
}

impl View for Slots {
    fn survey(&self, logger: &Logger, sink: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<Survey> {
        let contents = self.view.contents(logger)?;
        let mut defects = self.view.defects().to_vec();
        if let Some(why) = &contents.snapshot_refused {
            defects.push(format!("the snapshot is not believed ({why}); the next open reads all trailers"));
        }
        let damaged = contents.damaged.iter().map(|&(slot, why)| Entry {
            place: Place::Slot(slot),
            kind: EntryKind::Damaged(why.to_string()),
            key: None,
            payload_bytes: 0,
            generation: None,
            modified: None,
            listed_by: None,
        });
        let why = contents.first_error.as_ref().map_or_else(String::new, ToString::to_string);
        let unreadable = contents
            .unreadable
            .iter()
            .map(|&slot| Unreadable { what: Place::Slot(slot).to_string(), why: why.clone() });
        let survey = Survey {
            source: if contents.snapshot.is_some() {
                "the snapshot of a clean close"
            } else {
                "the trailers of all slots"
            },
            defects,
            outdated: contents.outdated,
            damaged: damaged.collect(),
            unreadable: unreadable.collect(),
        };
        for entry in &contents.entries {
            let entry = Entry {
                place: Place::Slot(entry.slot),
                kind: EntryKind::Record,
                key: Some(contents.keys.get(entry.key).into()),
                payload_bytes: entry.payload_bytes,
                generation: Some(entry.generation),
                modified: None,
                listed_by: contents.snapshot,
            };
            if sink(entry).is_break() {
                break;
            }
        }
        Ok(survey)
    }

    fn describe(&self, _entry: &mut Entry, _room: &mut Room) -> Result<bool> {
        Ok(true)
    }

    fn find(&self, keys: &[EffectiveKey], _room: &mut Room, logger: &Logger) -> Result<Vec<Option<Entry>>> {
        let mut found: Vec<Option<Entry>> = keys.iter().map(|_| None).collect();
        let mut wanted: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (index, key) in keys.iter().enumerate() {
            wanted.entry(key.bytes()).or_default().push(index);
        }
        self.survey(logger, &mut |entry| {
            for &index in entry.key.as_deref().and_then(|key| wanted.get(key)).into_iter().flatten() {
                if let Some(place) = found.get_mut(index) {
                    *place = Some(entry.clone());
                }
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    fn look(&self, entry: &Entry, room: &mut Room) -> Look {
        let Place::Slot(slot) = entry.place else { return Look::Gone };
        let mut buffer = match room.take_trailer(self.view.geometry().trailer_bytes()) {
            Ok(buffer) => buffer,
            Err(error) => return Look::Unreadable(error.message().to_owned()),
        };
        let bytes = self.view.geometry().trailer_bytes() as usize;
        let look =
            self.look_with(entry, slot, buffer.as_mut_slice().get_mut(..bytes).unwrap_or_default(), room);
        room.keep_trailer(buffer);
        look
    }
}

impl Slots {
    fn look_with(&self, entry: &Entry, slot: u32, bytes: &mut [u8], room: &mut Room) -> Look {
        if let Err(error) = self.view.read_trailer(slot, bytes) {
            return Look::Unreadable(format!("reading the trailer of slot {slot}: {error}"));
        }
        let fingerprint = checksum_bytes(bytes);
        let trailer = match record::decode(bytes) {
            Ok(trailer) => trailer,
            Err(Invalid::Absent) if !self.is_listed(entry) => return Look::Gone,
            Err(Invalid::Absent) => {
                return self.suspect(
                    entry,
                    slot,
                    "the snapshot lists it, and its slot is empty",
                    fingerprint,
                );
            }
            Err(why) => return self.suspect(entry, slot, &why.to_string(), fingerprint),
        };
        if let Err(why) = self.check(entry, slot, &trailer) {
            return self.suspect(entry, slot, &why, fingerprint);
        }
        let identity = trailer.identity();
        let Some(padded_bytes) = record::padded(identity.payload_bytes) else { return Look::Gone };
        let proven = room.prove(&trailer, padded_bytes, &mut |offset, out| {
            let read = self.view.read_payload(slot, identity.payload_bytes, offset, out);
            read.map_err(|error| format!("reading the payload of slot {slot}: {error}"))
        });
        let (file, trailer_offset) = self.view.trailer_place(slot);
        match proven {
            Ok(()) => Look::Proven(Record {
                key: identity.key.into(),
                payload_bytes: identity.payload_bytes,
                generation: identity.generation,
                blocks: trailer.block_count(),
                file: self.view.path().join(file).display().to_string(),
                offset: trailer_offset - padded_bytes,
            }),
            Err(Unproven::Unreadable(why)) => Look::Unreadable(why),
            Err(Unproven::Damaged(why)) => self.suspect(entry, slot, &why, fingerprint).named(identity.key),
        }
    }
}
