//! What every lane is asked to do by itself, since its queue and its streams are its own.

use std::sync::mpsc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::lane::shared::{Command, Shared};

/// How often a wait for the lanes' answers looks whether they are still there.
const ANSWER_POLL: Duration = Duration::from_millis(50);

/// Has every lane get what it takes to copy from and to a device. That may wait for the device, so it is done before a stream is
/// made to wait for a lane.
///
/// # Errors
/// What the driver answers one of them.
pub(super) fn prepare(shared: &Shared, device: u16) -> Result<()> {
    ask_all(shared, |reply| Command::Prepare { device, reply }).map_err(|error| {
        Error::told(&error)
            .cloned()
            .unwrap_or_else(|| Error::os(format_args!("getting ready for device {device}"), &error))
    })
}

/// Puts a command to every lane and waits for all answers; the first error wins.
pub(super) fn ask_all(
    shared: &Shared,
    command: impl Fn(mpsc::Sender<std::io::Result<bool>>) -> Command,
) -> std::io::Result<()> {
    let (reply, answers) = mpsc::channel();
    for lane in &shared.lanes {
        lane.commands.push(command(reply.clone()));
        lane.waker.signal();
    }
    drop(reply);
    let mut outcome = Ok(());
    loop {
        match answers.recv_timeout(ANSWER_POLL) {
            Ok(answer) => outcome = outcome.and(answer.map(drop)),
            // A lane that ended, in a panic or because the store closes, answers nothing any more.
            Err(mpsc::RecvTimeoutError::Timeout) if !shared.is_poisoned() && !shared.is_stopping() => {}
            Err(_) => return outcome,
        }
    }
}
