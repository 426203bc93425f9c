//! One owner at a time: the lease object of a static pool is taken, renewed and given back.
//!
//! Where the server honours If-None-Match, each step is conditional, so that of two that try one succeeds. Where it does
//! not, a lease is written and looked at all the same, but two that come at the same instant may both get it; the log
//! says so.

use std::time::{Duration, Instant, SystemTime};

use super::lease::{HOLD_TIME, LEASE_BYTES_MAX, Owner, Verdict, judge};
use crate::error::{Error, Result, Status};
use crate::log::Logger;
use crate::s3::{Client, Condition, Failure, FailureKind, Part, Traits, Version};
use crate::sync::{Mutex, lock};

/// Rounds in which a lease that somebody else takes or gives up at the same time is looked at anew.
const ROUNDS_MAX: u32 = 4;
/// How long one renewal may take.
const RENEWAL_TIME_MAX: Duration = Duration::from_secs(10);

/// The lease of a pool, held by this process.
#[derive(Debug)]
pub struct PoolOwner {
    client: Client,
    name: String,
    owner: Owner,
    is_conditional: bool,
    deletes_conditionally: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    version: Option<Version>,
    /// When the last renewal that succeeded was begun.
    renewed: Instant,
    /// Another owner has it.
    lost: Option<String>,
    given_back: bool,
}

/// Somebody's lease as it lies in the bucket.
pub(super) struct Found {
    pub(super) owner: Option<Owner>,
    version: Option<Version>,
    pub(super) renewed: Option<SystemTime>,
}

impl PoolOwner {
    /// Takes the lease at `name`.
    ///
    /// # Errors
    /// [`Status::Locked`] naming who holds it; else what the server answers.
    pub async fn take(
        client: &Client,
        name: String,
        traits: &Traits,
        logger: &Logger,
        deadline: Option<Instant>,
    ) -> Result<PoolOwner> {
        let owner =
            Owner::this_process().map_err(|error| Error::os("choosing the identity of an owner", &error))?;
        if !traits.if_none_match {
            logger.warn(format_args!(
                "{name}: the server ignores If-None-Match, so no lease can be had that keeps two processes from opening \
                 this pool at the same instant; see to it that only one does"
            ));
        }
        for _ in 0..ROUNDS_MAX {
            let begun = Instant::now();
            let condition = match find(client, &name, deadline).await? {
                None => Condition::IfAbsent,
                Some(found) => {
                    let now = server_time(client, &name, &owner, deadline).await?;
                    let is_dead = found.owner.as_ref().is_some_and(|held| held.is_dead_here(&owner));
                    // Where the server tells no time, only a dead owner can be told.
                    let verdict = match (found.renewed, now) {
                        (Some(renewed), Some(now)) => judge(renewed, now, is_dead),
                        _ => judge(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH, is_dead),
                    };
                    if let Verdict::Held { left } = verdict {
                        return Err(locked(&name, found.owner.as_ref(), left));
                    }
                    logger.info(format_args!(
                        "{name}: taking over from {}, who {}",
                        shown(found.owner.as_ref()),
                        if is_dead { "has ended" } else { "did not renew it in time" }
                    ));
                    found.version.map_or(Condition::None, Condition::IfVersion)
                }
            };
            let text = owner.to_text().into_bytes();
            let version = match client.put_small(&name, text, condition, deadline).await {
                Ok(version) => version,
                Err(failure) if failure.kind() == FailureKind::Changed => continue,
                Err(failure) => return Err(failure.into()),
            };
            // Also where the condition was kept: an answer that was lost and repeated looks the same.
            let held = find(client, &name, deadline).await?;
            let is_own = |held: &Found| held.owner.as_ref().is_some_and(|held| held.id == owner.id);
            if !held.as_ref().is_some_and(is_own) {
                continue;
            }
            let version = version.or(held.and_then(|held| held.version));
            return Ok(PoolOwner {
                client: client.clone(),
                name,
                owner,
                is_conditional: traits.if_none_match,
                deletes_conditionally: traits.deletes_if_match,
                state: Mutex::new(State { version, renewed: begun, lost: None, given_back: false }),
            });
        }
        Err(Error::new(
            Status::Locked,
            format!("{name}: other processes take it and give it up at the same time"),
        ))
    }

    /// Whether this process may put.
    ///
    /// # Errors
    /// [`Status::Locked`]: another process owns the pool now, or may.
    pub fn check(&self) -> Result<()> {
        let state = lock(&self.state);
        match &state.lost {
            Some(by) => Err(Error::new(
                Status::Locked,
                format!("{}: the pool was taken over by {by}; close this store and open it anew", self.name),
            )),
            None if state.renewed.elapsed() >= HOLD_TIME => Err(Error::new(
                Status::Locked,
                format!(
                    "{}: the lease on the pool could not be renewed for {} s, so that another process may have taken it \
                     over; puts are refused until it is renewed",
                    self.name,
                    state.renewed.elapsed().as_secs()
                ),
            )),
            None => Ok(()),
        }
    }

    /// Renews it. What goes wrong is logged, and shows in [`PoolOwner::check`].
    pub async fn renew(&self, logger: &Logger) {
        let begun = Instant::now();
        let version = {
            let state = lock(&self.state);
            if state.lost.is_some() || state.given_back {
                return;
            }
            state.version.clone()
        };
        let deadline = Some(begun + RENEWAL_TIME_MAX);
        match self.renewed(version, deadline).await {
            Ok(Ok(version)) => {
                let mut state = lock(&self.state);
                state.version = version;
                state.renewed = begun;
            }
            Ok(Err(by)) => {
                logger.error(format_args!(
                    "{}: the pool was taken over by {by}, as it was not renewed in time; puts are refused from now on",
                    self.name
                ));
                lock(&self.state).lost = Some(by);
            }
            Err(failure) => {
                logger.warn(format_args!("renewing the lease {}: {}", self.name, failure.message()))
            }
        }
    }

    /// `Ok(Err)`: another one has it.
    async fn renewed(
        &self,
        version: Option<Version>,
        deadline: Option<Instant>,
    ) -> std::result::Result<std::result::Result<Option<Version>, String>, Failure> {
        let mut condition = match version {
            Some(version) if self.is_conditional => Condition::IfVersion(version),
            _ => {
                // Without conditions, a look before tells of all but a takeover at this very moment.
                match find(&self.client, &self.name, deadline).await? {
                    Some(found) if !self.is_own(&found) => return Ok(Err(shown(found.owner.as_ref()))),
                    _ => Condition::None,
                }
            }
        };
        loop {
            let text = self.owner.to_text().into_bytes();
            match self.client.put_small(&self.name, text, condition, deadline).await {
                Ok(version) => return Ok(Ok(version)),
                Err(failure) if failure.kind() == FailureKind::Changed => {}
                Err(failure) if failure.kind() == FailureKind::Missing => {}
                Err(failure) => return Err(failure),
            }
            // An earlier renewal whose answer was lost has changed the version as well, and the object may have been
            // removed by hand.
            condition = match find(&self.client, &self.name, deadline).await? {
                None => Condition::IfAbsent,
                Some(found) if self.is_own(&found) => match found.version {
                    Some(version) => Condition::IfVersion(version),
                    None => Condition::None,
                },
                Some(found) => return Ok(Err(shown(found.owner.as_ref()))),
            };
        }
    }

    fn is_own(&self, found: &Found) -> bool {
        found.owner.as_ref().is_some_and(|owner| owner.id == self.owner.id)
    }

    /// Gives it back, so that the next process need not wait. What goes wrong is logged: the lease then ends by itself.
    pub async fn give_back(&self, logger: &Logger, deadline: Option<Instant>) {
        let version = {
            let mut state = lock(&self.state);
            if state.given_back || state.lost.is_some() {
                return;
            }
            state.given_back = true;
            state.version.clone()
        };
        let given = async {
            if !self.deletes_conditionally || version.is_none() {
                match find(&self.client, &self.name, deadline).await? {
                    Some(found) if self.is_own(&found) => {}
                    _ => return Ok(()),
                }
            }
            let only = version.as_ref().filter(|_| self.deletes_conditionally);
            self.client.delete(&self.name, only, deadline).await
        };
        match given.await {
            Err(failure) if !matches!(failure.kind(), FailureKind::Changed | FailureKind::Missing) => {
                logger.warn(format_args!("giving the lease {} back: {}", self.name, failure.message()));
            }
            _ => {}
        }
    }
}

pub(super) async fn find(
    client: &Client,
    name: &str,
    deadline: Option<Instant>,
) -> std::result::Result<Option<Found>, Failure> {
    let part = Part::Range(0..LEASE_BYTES_MAX as u64);
    let missing = |failure: Failure| match failure.kind() {
        FailureKind::Missing => Ok(None),
        _ => Err(failure),
    };
    let small = match client.get_small(name, part, LEASE_BYTES_MAX, deadline).await {
        Ok(small) => small,
        Err(failure) => return missing(failure),
    };
    let head = match client.head(name, deadline).await {
        Ok(head) => head,
        Err(failure) => return missing(failure),
    };
    // Between the two another may have written it; then the condition on the version does not hold.
    let version = small.version.or(head.version);
    Ok(Some(Found { owner: Owner::from_text(&small.bytes), version, renewed: head.modified }))
}

/// The server's time, as the age of an object tells that is written now.
async fn server_time(
    client: &Client,
    lease: &str,
    owner: &Owner,
    deadline: Option<Instant>,
) -> std::result::Result<Option<SystemTime>, Failure> {
    let name = format!("{lease}-asked-by-{:032x}", owner.id);
    client.put_small(&name, b"nixl_store time\n".to_vec(), Condition::None, deadline).await?;
    let head = client.head(&name, deadline).await;
    let removed = client.delete(&name, None, deadline).await;
    let time = head?.modified;
    removed?;
    Ok(time)
}

pub(super) fn shown(owner: Option<&Owner>) -> String {
    owner.map_or_else(|| "somebody who left no name".to_owned(), Owner::to_string)
}

fn locked(name: &str, owner: Option<&Owner>, left: Duration) -> Error {
    Error::new(
        Status::Locked,
        format!(
            "{name}: the pool is in use by {}; a static pool has one owner at a time. Stop that process, or give this one \
             another nixl_store_prefix or worker id (a lease that is not renewed is over in {} s)",
            shown(owner),
            left.as_secs().max(1)
        ),
    )
}
