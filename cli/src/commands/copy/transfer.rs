//! Windows of objects: each is read and proven on several threads while the one before is put. One window is put at a time, so that
//! the order in which the objects were written is kept between windows, and memory is bounded by two of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nixl_store::batch::Wish;
use nixl_store::error::Status;
use nixl_store::inspect::{Entry, EntryKind, Inspection, Room, Verdict};
use nixl_store::layout::record::EffectiveKey;
use nixl_store::memory::{AlignedBuffer, Stretch};
use nixl_store::store::{Direction, Store, SubmitOptions, Ticket};

use super::names::{Named, Naming};
use super::report::{Left, Report};
use crate::commands::ls::Filter;
use crate::commands::verify::bar;
use crate::many;
use crate::output::{Failure, Output};
use crate::shown;

/// Objects of a window.
const WINDOW_OBJECTS: usize = 64;
/// Bytes of a window, unless one object alone has more.
const WINDOW_BYTES: u64 = 64 << 20;
/// How long a put may take: long enough for any bucket.
const PUT_TIME_MAX: Duration = Duration::from_secs(600);

/// An object on its way.
struct Object {
    key: Box<EffectiveKey>,
    name: String,
    payload: AlignedBuffer,
    payload_bytes: usize,
}

/// What became of an entry before anything was put.
enum Read {
    Object(Object),
    Left(Left, String, String),
    Passed,
}

/// A window that is being put; its memory is the store's until the ticket is done.
struct UnderWay {
    objects: Vec<Object>,
    ticket: Ticket,
}

/// Copies the entries, until `stop` is set.
///
/// # Errors
/// If the store does not take a batch.
#[expect(clippy::too_many_arguments, reason = "all that a copy is about, passed once")]
pub fn run(
    from: &Inspection,
    to: &Store,
    entries: Vec<Entry>,
    filter: &Filter,
    naming: &Naming,
    keeps: bool,
    stop: &AtomicBool,
    output: &Output,
    report: &mut Report,
) -> Result<(), Failure> {
    let object_bytes_max = to.capabilities()?.object_bytes_max;
    let progress = bar(output, Some(entries.iter().map(|entry| entry.payload_bytes).sum()));
    let mut under_way: Option<UnderWay> = None;
    let mut rest = entries.as_slice();
    let mut outcome = Ok(());
    while !rest.is_empty() && outcome.is_ok() && !stop.load(Ordering::Relaxed) {
        let (window, behind) = rest.split_at(window_length(rest));
        rest = behind;
        let read = many::each(many::threads(from), window, Room::keeping, |entry, room| {
            read(from, to, entry, filter, naming, keeps, object_bytes_max, room)
        });
        // In any case: its memory is in use until then.
        outcome = finish(to, under_way.take(), report);
        let read = match (read, &outcome) {
            (Ok(read), Ok(())) => read,
            (Err(error), _) => {
                outcome = Err(error);
                break;
            }
            _ => break,
        };
        let mut objects = Vec::new();
        for one in read {
            match one {
                Read::Object(object) => objects.push(object),
                Read::Left(left, name, why) => report.left(left, name, why),
                Read::Passed => {}
            }
        }
        progress.inc(window.iter().map(|entry| entry.payload_bytes).sum());
        match put(to, objects, keeps) {
            Ok(put) => under_way = put,
            Err(error) => outcome = Err(error),
        }
    }
    let finished = finish(to, under_way, report);
    progress.finish_and_clear();
    outcome.and(finished)
}

fn window_length(entries: &[Entry]) -> usize {
    let mut bytes = 0u64;
    let fits = entries.iter().take(WINDOW_OBJECTS).take_while(|entry| {
        bytes = bytes.saturating_add(entry.payload_bytes);
        bytes <= WINDOW_BYTES
    });
    fits.count().max(1)
}

#[expect(clippy::too_many_arguments, reason = "as for the copy")]
fn read(
    from: &Inspection,
    to: &Store,
    entry: &Entry,
    filter: &Filter,
    naming: &Naming,
    keeps: bool,
    object_bytes_max: u64,
    room: &mut Room,
) -> Result<Read, Failure> {
    let mut entry = entry.clone();
    match from.describe(&mut entry, room) {
        Err(error) => {
            return Ok(Read::Left(
                Left::Unreadable,
                shown::entry_name(from, &entry),
                error.message().to_owned(),
            ));
        }
        Ok(is_there) if !is_there || !filter.takes(&entry) => return Ok(Read::Passed),
        Ok(_) => {}
    }
    let name = shown::entry_name(from, &entry);
    let left = |left, why: &str| Ok(Read::Left(left, name.clone(), why.to_owned()));
    match &entry.kind {
        EntryKind::Unverified => return left(Left::Unverified, "LMCache wrote it, and nothing proves it"),
        EntryKind::Damaged(why) => return left(Left::Damaged, why),
        EntryKind::Unreadable(why) => return left(Left::Unreadable, why),
        EntryKind::Record | EntryKind::Unknown => {}
    }
    if keeps
        && let Some(key) = &entry.key
        && let Named::As(key) = naming.name(key)
        && to.contains_of(&key).unwrap_or(false)
    {
        return left(Left::Kept, "");
    }
    if entry.payload_bytes > object_bytes_max {
        return left(Left::TooLarge, &format!("{} bytes, at most {object_bytes_max}", entry.payload_bytes));
    }
    let record = match from.prove(&entry, room) {
        Verdict::Proven(record) => record,
        Verdict::Gone => return Ok(Read::Passed),
        Verdict::InFlux => return left(Left::InFlux, "an engine changed it while it was read"),
        Verdict::Unverified => return left(Left::Unverified, "LMCache wrote it, and nothing proves it"),
        Verdict::Damaged(suspect) => return left(Left::Damaged, &suspect.damage),
        Verdict::Unreadable(why) => return left(Left::Unreadable, &why),
    };
    // What is there now may be of another key than what was listed.
    let key = match naming.name(&record.key) {
        Named::As(key) => key,
        Named::OtherRank => return Ok(Read::Passed),
        Named::Impossible(why) => return left(Left::Refused, &why),
    };
    let Some(payload) = room.take_payload() else { return Ok(Read::Passed) };
    Ok(Read::Object(Object { key, name, payload, payload_bytes: record.payload_bytes as usize }))
}

fn put(to: &Store, objects: Vec<Object>, keeps: bool) -> Result<Option<UnderWay>, Failure> {
    if objects.is_empty() {
        return Ok(None);
    }
    let mut batch = to.batch(Direction::Put, objects.len())?;
    for object in &objects {
        // Not declined by a policy: somebody asked for it.
        batch.item_of(&object.key, Wish { keep: keeps, must: true, ..Wish::default() })?;
        batch.stretch(Stretch::Host(object.payload.host_slice(0, object.payload_bytes)))?;
    }
    let options = SubmitOptions { timeout: Some(PUT_TIME_MAX), ..SubmitOptions::default() };
    let ticket = batch.submit(options)?;
    Ok(Some(UnderWay { objects, ticket }))
}

/// Waits for a window, and takes down what became of it.
fn finish(to: &Store, under_way: Option<UnderWay>, report: &mut Report) -> Result<(), Failure> {
    let Some(UnderWay { objects, ticket }) = under_way else { return Ok(()) };
    to.ticket_wait(ticket, None, &mut |index, result, message| {
        let Some(object) = objects.get(index) else { return };
        match result.status {
            Status::Ok if result.bytes == 0 => report.left(Left::Kept, object.name.clone(), String::new()),
            Status::Ok => report.copied(result.bytes),
            Status::TooLarge => {
                report.left(Left::TooLarge, object.name.clone(), text(result.status, message))
            }
            status => report.left(Left::Failed, object.name.clone(), text(status, message)),
        }
    })?;
    Ok(())
}

fn text(status: Status, message: Option<&str>) -> String {
    message.map_or_else(|| format!("{status:?}"), str::to_owned)
}
