//! A look at a static pool in a bucket from outside: whether it fits, and who has it. Nothing is written, and no lease taken.

use std::time::{Instant, SystemTime};

use super::Names;
use super::lease::{LEASE, Owner, Verdict, judge};
use super::manifest::{self, MANIFEST, PoolShape};
use super::owner::{find, shown};
use crate::error::{Error, Result};
use crate::s3::Client;

/// What was found of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whether it was made before.
    pub is_made: bool,
    /// Who has it, such as "process 12 on host a"; `None`: nobody, or somebody whose lease is over.
    pub owner: Option<String>,
}

/// Looks at a pool, at `now` by the server's clock.
///
/// # Errors
/// [`Status::Format`](crate::error::Status::Format) if it was made with another shape or is damaged; what the server answers.
pub async fn look(
    client: &Client,
    names: &Names,
    shape: PoolShape,
    now: SystemTime,
    deadline: Option<Instant>,
) -> Result<Look> {
    let name = names.beside(MANIFEST);
    let made = manifest::look(client, &name, deadline).await?;
    made.map(|(_, made)| manifest::check(&name, made, shape)).transpose()?;
    let lease = find(client, &names.beside(LEASE), deadline).await?;
    let here =
        Owner::this_process().map_err(|error| Error::os("choosing the identity of an owner", &error))?;
    let owner = lease.and_then(|lease| {
        let is_dead = lease.owner.as_ref().is_some_and(|owner| owner.is_dead_here(&here));
        let verdict = judge(lease.renewed.unwrap_or(now), now, is_dead);
        matches!(verdict, Verdict::Held { .. }).then(|| shown(lease.owner.as_ref()))
    });
    Ok(Look { is_made: made.is_some(), owner })
}
