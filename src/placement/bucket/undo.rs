//! Puts that failed without anybody knowing how they ended: a put whose answer was lost may be there all the same, and an
//! upload may be left behind. Each is looked for until that is known, in the background and once more at close.
//!
//! A failed put leaves nothing visible: what lies under its name and carries its generation is removed. Whether that
//! succeeds in time is up to the network; the bytes are right in any case.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Core;
use crate::layout::files::ObjectName;
use crate::s3::{Answer, FailureKind, UploadId};
use crate::sync::{Arc, Mutex, lock};

/// Puts that are remembered; beyond, the oldest is given up, and the log says so.
const PUTS_MAX: usize = 4096;
/// Times that one is looked for by a server that refuses to tell.
const TRIES_MAX: u32 = 8;
/// Longest time of one look.
const LOOK_TIME_MAX: Duration = Duration::from_secs(10);

/// What is to be undone, the one that waits longest in front.
#[derive(Debug, Default)]
pub(super) struct Undo(Mutex<VecDeque<Unknown>>);

/// A put of which nobody knows how it ended.
#[derive(Clone, Debug)]
pub(super) struct Unknown {
    pub(super) name: ObjectName,
    /// Tells its record from others under that name; `None`: nothing was written yet.
    pub(super) generation: Option<u64>,
    pub(super) upload: Upload,
    pub(super) tries: u32,
}

/// What is known of its upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Upload {
    /// It had none, or none that is left.
    None,
    /// It has this one.
    Known(UploadId),
    /// One may have been begun: the answer was lost.
    Perhaps,
}

impl Undo {
    /// Remembers one. The one that has to be given up for it, if there is one.
    pub(super) fn add(&self, unknown: Unknown) -> Option<Unknown> {
        let mut all = lock(&self.0);
        all.push_back(unknown);
        (all.len() > PUTS_MAX).then(|| all.pop_front()).flatten()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        lock(&self.0).len()
    }

    fn take(&self) -> Option<Unknown> {
        lock(&self.0).pop_front()
    }
}

impl Core {
    /// Has a put undone of which nobody knows how it ended.
    pub(super) fn undo_later(&self, unknown: Unknown) {
        self.undo_again(unknown);
        self.bell.call();
    }

    /// The same for one that was looked for and is to be looked for once more, in the next round.
    fn undo_again(&self, unknown: Unknown) {
        if let Some(given_up) = self.undo.add(unknown) {
            self.leave(&given_up);
        }
    }

    /// Looks once for each put that is to be undone, until `deadline`.
    pub(super) async fn undo_all(self: &Arc<Self>, deadline: Instant) {
        for _ in 0..self.undo.len() {
            if Instant::now() >= deadline {
                return;
            }
            let Some(mut unknown) = self.undo.take() else { return };
            match self.undo_one(&mut unknown, deadline.min(Instant::now() + LOOK_TIME_MAX)).await {
                Ok(true) => {}
                Ok(false) => self.undo_again(unknown),
                Err(failure) => {
                    // A server that does not answer says nothing about this put, and what comes behind would not fare
                    // better.
                    let is_out = matches!(
                        failure.kind(),
                        FailureKind::Unreachable | FailureKind::TimedOut | FailureKind::Throttled
                    );
                    unknown.tries += u32::from(!is_out);
                    if unknown.tries >= TRIES_MAX {
                        self.leave(&unknown);
                        continue;
                    }
                    self.undo_again(unknown);
                    if is_out {
                        return;
                    }
                }
            }
        }
    }

    /// False: a put of the same key is under way; later.
    async fn undo_one(self: &Arc<Self>, unknown: &mut Unknown, deadline: Instant) -> Answer<bool> {
        let id = self.names.id_of(&unknown.name);
        let Some(turn) = self.in_use.try_turn(id) else { return Ok(false) };
        let whole = self.names.whole(&unknown.name);
        let client = &self.bucket.client;
        let uploads = match &unknown.upload {
            Upload::None => Vec::new(),
            Upload::Known(upload) => vec![upload.clone()],
            // Another process that puts the same key at this moment loses its upload too; its put fails and says so.
            Upload::Perhaps => {
                let listed = client.list_uploads(&whole, Some(deadline)).await?;
                listed.into_iter().filter(|listed| listed.name == whole).map(|listed| listed.upload).collect()
            }
        };
        for upload in &uploads {
            client.abort_upload(&whole, upload, Some(deadline)).await?;
        }
        unknown.upload = Upload::None;
        let Some(generation) = unknown.generation else { return Ok(true) };
        if let Some(seen) = self.look(&unknown.name, Some(deadline)).await?
            && seen.ours.as_ref().is_some_and(|ours| ours.generation == generation)
        {
            self.remove_version(&unknown.name, seen.bytes, seen.version.as_ref(), &turn).await?;
        }
        Ok(true)
    }

    /// Says what may be left behind.
    fn leave(&self, unknown: &Unknown) {
        self.logger.warn(format_args!(
            "a put of object {} failed, and the server does not tell what it left: the object may be there, or parts of an \
             upload, which a lifecycle rule removes (see the documentation of OBJ)",
            self.names.whole(&unknown.name)
        ));
    }
}
