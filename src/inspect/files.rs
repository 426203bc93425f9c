//! The files of a dynamic store, as somebody sees them who only reads.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::time::SystemTime;

use super::View;
use super::entry::{Entry, EntryKind, Look, Place, Record, Survey, Suspect, Unreadable};
use super::proof::{Room, Unproven};
use crate::config::Layout;
use crate::error::{Error, Result};
use crate::layout::files::{FilesView, ObjectName, is_planted};
use crate::layout::record::{self, EffectiveKey, Identity, Invalid, TRAILER_BYTES_MIN};
use crate::log::Logger;
use crate::memory::AlignedBuffer;
use crate::placement::objects::OBJECT_BYTES_MAX;
use crate::sys::file::fingerprint;
use crate::sys::retry_on_interrupt;

/// A dynamic store in a directory.
pub(super) struct Files {
    view: FilesView,
}

/// How an object of a dynamic store is divided, by its length alone; `None`: no put of a store made it.
pub(super) fn split(bytes: u64) -> Option<(u64, u64)> {
    record::split_file(bytes).filter(|(padded_bytes, _)| *padded_bytes <= OBJECT_BYTES_MAX)
}

/// Whether a whole record is that of the object it lies in: its length, its name, and whose it is.
pub(super) fn check(
    identity: &Identity<'_>,
    pool_id: u128,
    padded_bytes: u64,
    has_name: impl FnOnce(u128, &[u8]) -> bool,
) -> std::result::Result<(), String> {
    let key = record::parts(identity.key).map(|(_, key)| key).unwrap_or_default();
    let wrong = if record::padded(identity.payload_bytes) != Some(padded_bytes) {
        "its length"
    } else if identity.pool_id != pool_id {
        "its pool"
    } else if identity.slot != record::NO_SLOT {
        "a slot"
    } else if !has_name(record::digest(identity.key), key) {
        "its key"
    } else {
        return Ok(());
    };
    Err(format!("the trailer names {wrong}, which is not that of this object"))
}

/// What a file or object is whose trailer says so: in the lmcache layout those of LMCache's lie beside this store's.
pub(super) fn without_trailer(layout: Layout, why: Invalid) -> EntryKind {
    match (layout, why) {
        (Layout::Lmcache, Invalid::Absent | Invalid::Magic | Invalid::Length) => EntryKind::Unverified,
        (_, Invalid::Absent) => EntryKind::Damaged("no trailer at its end".to_owned()),
        (_, why) => EntryKind::Damaged(why.to_string()),
    }
}

impl Files {
    pub(super) fn new(view: FilesView) -> Files {
        Files { view }
    }

    fn without_trailer(&self, why: Invalid) -> EntryKind {
        without_trailer(self.view.layout(), why)
    }

    /// Reads the trailer of a file into `buffer`; how long padded payload and trailer are.
    fn read_trailer(
        &self,
        file: &File,
        bytes: u64,
        room: &mut Room,
    ) -> io::Result<std::result::Result<(AlignedBuffer, u64, usize), EntryKind>> {
        let Some((padded_bytes, trailer_bytes)) = split(bytes) else {
            return Ok(Err(self.without_trailer(Invalid::Length)));
        };
        let no_memory = |error: Error| io::Error::other(error);
        let mut buffer = room.take_trailer(TRAILER_BYTES_MIN).map_err(no_memory)?;
        // A long one is read once its first page says that it is one: a sparse file of any length costs a page.
        let head = buffer.as_mut_slice().get_mut(..TRAILER_BYTES_MIN as usize).unwrap_or_default();
        read_exact(file, head, padded_bytes)?;
        if trailer_bytes > TRAILER_BYTES_MIN {
            if record::announced_bytes(head) != Some(trailer_bytes) {
                let why = record::decode(head).err().unwrap_or(Invalid::Length);
                room.keep_trailer(buffer);
                return Ok(Err(self.without_trailer(if why == Invalid::Checksum {
                    Invalid::Length
                } else {
                    why
                })));
            }
            room.keep_trailer(buffer);
            buffer = room.take_trailer(trailer_bytes).map_err(no_memory)?;
            let whole = buffer.as_mut_slice().get_mut(..trailer_bytes as usize).unwrap_or_default();
            read_exact(file, whole, padded_bytes)?;
        }
        Ok(Ok((buffer, padded_bytes, trailer_bytes as usize)))
    }

    fn open(&self, place: &Place) -> io::Result<Option<(ObjectName, File, u64)>> {
        let Some(name) = place.object_name() else { return Ok(None) };
        match self.view.open_read(&name) {
            Err(error) if is_planted(&error) => Ok(None),
            other => Ok(other?.filter(|(_, bytes)| *bytes > 0).map(|(file, bytes)| (name, file, bytes))),
        }
    }

    /// The entry of a key under its name.
    fn found(&self, name: &ObjectName, key: &EffectiveKey, room: &mut Room) -> Result<Option<Entry>> {
        let opened = self.open(&Place::of(name));
        let opened = opened.map_err(|error| Error::os(format_args!("opening object {name}"), &error))?;
        let Some((_, file, bytes)) = opened else { return Ok(None) };
        let modified = retry_on_interrupt(|| file.metadata()).and_then(|found| found.modified());
        let mut entry = Entry::found(name, bytes, modified.unwrap_or(SystemTime::UNIX_EPOCH));
        let is_there = self.describe(&mut entry, room)?;
        // Another key of the same name has another record.
        let is_other = entry.key.as_deref().is_some_and(|found| found != key.bytes());
        Ok((is_there && !is_other).then_some(entry))
    }

    fn path_of(&self, name: &ObjectName) -> String {
        self.view.path().join(name.to_string()).display().to_string()
    }

    fn looked(&self, entry: &Entry, room: &mut Room) -> io::Result<Look> {
        let Some((name, file, bytes)) = self.open(&entry.place)? else { return Ok(Look::Gone) };
        let fingerprint = fingerprint(&retry_on_interrupt(|| file.metadata())?);
        let suspect = |damage: String| {
            let damage = format!("{damage}; {}", self.path_of(&name));
            Look::Suspect(Suspect { entry: entry.clone(), damage, fingerprint })
        };
        let (mut buffer, padded_bytes, trailer_bytes) = match self.read_trailer(&file, bytes, room)? {
            Ok(read) => read,
            Err(EntryKind::Damaged(why)) => return Ok(suspect(why)),
            Err(_) => return Ok(Look::Unverified),
        };
        let trailer = buffer.as_mut_slice().get(..trailer_bytes).unwrap_or_default();
        let look = match record::decode(trailer) {
            Err(why) => match self.without_trailer(why) {
                EntryKind::Damaged(why) => suspect(why),
                _ => Look::Unverified,
            },
            Ok(trailer) => {
                let identity = trailer.identity();
                let has_name =
                    |digest, key: &[u8]| self.view.name_of(digest, key).is_ok_and(|named| named == name);
                match check(&identity, record::NO_POOL, padded_bytes, has_name) {
                    Err(why) => suspect(why),
                    Ok(()) => {
                        let proven = room.prove(&trailer, padded_bytes, &mut |offset, out| {
                            read_exact(&file, out, offset)
                                .map_err(|error| format!("reading {}: {error}", self.path_of(&name)))
                        });
                        match proven {
                            Err(Unproven::Damaged(why)) => suspect(why).named(identity.key),
                            Err(Unproven::Unreadable(why)) => Look::Unreadable(why),
                            Ok(()) => Look::Proven(Record {
                                key: identity.key.into(),
                                payload_bytes: identity.payload_bytes,
                                generation: identity.generation,
                                blocks: trailer.block_count(),
                                file: self.path_of(&name),
                                offset: 0,
                            }),
                        }
                    }
                }
            }
        };
        room.keep_trailer(buffer);
        Ok(look)
    }
}

impl View for Files {
    fn survey(&self, _logger: &Logger, sink: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> Result<Survey> {
        let mut unreadable = Vec::new();
        self.view.scan(
            &mut |scanned| match scanned.bytes {
                0 => ControlFlow::Continue(()),
                bytes => sink(Entry::found(&scanned.name, bytes, scanned.modified)),
            },
            &mut |path, error| {
                unreadable.push(Unreadable { what: path.display().to_string(), why: error.to_string() });
            },
        )?;
        Ok(Survey { source: "the files in the directory", unreadable, ..Survey::default() })
    }

    fn describe(&self, entry: &mut Entry, room: &mut Room) -> Result<bool> {
        let failed = |error: &io::Error| Error::os(format_args!("reading object {}", entry.place), error);
        let Some((_, file, bytes)) = self.open(&entry.place).map_err(|error| failed(&error))? else {
            return Ok(false);
        };
        match self.read_trailer(&file, bytes, room).map_err(|error| failed(&error))? {
            Err(kind) => entry.kind = kind,
            Ok((buffer, _, trailer_bytes)) => {
                match record::decode(buffer.as_slice().get(..trailer_bytes).unwrap_or_default()) {
                    Err(why) => entry.kind = self.without_trailer(why),
                    Ok(trailer) => {
                        entry.kind = EntryKind::Record;
                        entry.key = Some(trailer.identity().key.into());
                        entry.payload_bytes = trailer.identity().payload_bytes;
                    }
                }
                room.keep_trailer(buffer);
            }
        }
        Ok(true)
    }

    fn find(&self, keys: &[EffectiveKey], room: &mut Room, _logger: &Logger) -> Result<Vec<Option<Entry>>> {
        let find = |key: &EffectiveKey, room: &mut Room| -> Result<Option<Entry>> {
            let (_, plain) = record::parts(key.bytes()).unwrap_or_default();
            let name = self.view.name_of(key.digest(), plain)?;
            // One that cannot be read says nothing of the others.
            Ok(self.found(&name, key, room).unwrap_or_else(|error| Some(Entry::unreadable(&name, &error))))
        };
        keys.iter().map(|key| find(key, room)).collect()
    }

    fn look(&self, entry: &Entry, room: &mut Room) -> Look {
        self.looked(entry, room)
            .unwrap_or_else(|error| Look::Unreadable(format!("reading object {}: {error}", entry.place)))
    }
}

fn read_exact(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(out, offset)
}
