//! Lists the objects of a store: every name that the store could have given, nothing else.
//!
//! Names, sizes and times come from a server and from whoever else writes to the bucket: a name is parsed strictly or
//! passed over, and pages and objects are counted, so that what others put there costs time and no more.

use std::time::{Instant, SystemTime};

use tokio::task::JoinSet;

use super::name::Names;
use crate::layout::files::ObjectName;
use crate::s3::{Client, Failure, FailureKind, Version};
use crate::sync::{Arc, AtomicBool, Ordering};

/// Objects that one request lists, the most that S3 gives.
const PAGE_OBJECTS: u32 = 1000;

/// An object that has a name of this store's.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its name.
    pub name: ObjectName,
    /// Its size. It comes from a server: whoever adds it up must expect any number.
    pub bytes: u64,
    /// When it was last written, by the server's clock.
    pub modified: SystemTime,
    /// Its version, if the server told.
    pub version: Option<Version>,
}

/// How far a listing may go.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Most objects that are kept.
    pub objects_max: usize,
    /// When it has to end.
    pub deadline: Option<Instant>,
    /// Ends it early once set.
    pub stop: Arc<AtomicBool>,
}

/// What a listing brought.
#[derive(Debug, Default)]
pub struct Listed {
    /// The objects.
    pub found: Vec<Found>,
    /// Whether these are all there are.
    pub is_whole: bool,
}

/// Lists the objects whose names begin with `prefix`.
///
/// # Errors
/// What the server answers, but for a deadline that passes: that leaves the listing incomplete.
pub async fn below(client: &Client, names: &Names, prefix: &str, bounds: &Bounds) -> Result<Listed, Failure> {
    let mut listed = Listed::default();
    let mut after: Option<String> = None;
    loop {
        if bounds.stop.load(Ordering::Acquire) {
            return Ok(listed);
        }
        let page = match client.list(prefix, after.as_deref(), PAGE_OBJECTS, bounds.deadline).await {
            Ok(page) => page,
            Err(failure) if failure.kind() == FailureKind::TimedOut && bounds.is_over() => return Ok(listed),
            Err(failure) => return Err(failure),
        };
        for object in page.objects {
            let Some(name) = names.parse(&object.name) else { continue };
            if listed.found.len() >= bounds.objects_max {
                return Ok(listed);
            }
            let (bytes, modified, version) = (object.bytes, object.modified, object.version);
            listed.found.push(Found { name, bytes, modified, version });
        }
        match page.next {
            // A server that goes round in circles must not have us follow.
            Some(next) if after.as_ref().is_none_or(|after| next > *after) => after = Some(next),
            Some(_) => return Ok(listed),
            None => {
                listed.is_whole = true;
                return Ok(listed);
            }
        }
    }
}

/// Lists all objects of the store, parts of it side by side.
///
/// # Errors
/// As for [`below`].
pub async fn all(client: &Client, names: &Names, bounds: &Bounds) -> Result<Listed, Failure> {
    // A small store is listed by one request.
    let first = client.list(&names.of_all(), None, PAGE_OBJECTS, bounds.deadline).await;
    match first {
        Ok(page) if page.next.is_some() => {}
        Err(failure) if failure.kind() == FailureKind::TimedOut && bounds.is_over() => {
            return Ok(Listed::default());
        }
        other => {
            let objects = other?.objects.into_iter();
            let found = objects.filter_map(|object| {
                let name = names.parse(&object.name)?;
                Some(Found { name, bytes: object.bytes, modified: object.modified, version: object.version })
            });
            return Ok(Listed { found: found.take(bounds.objects_max).collect(), is_whole: true });
        }
    }
    let parts = names.parts();
    let each = Bounds { objects_max: bounds.objects_max / parts.len().max(1), ..bounds.clone() };
    let mut listings = JoinSet::new();
    for part in parts {
        let (client, names, bounds) = (client.clone(), names.clone(), each.clone());
        listings.spawn(async move { below(&client, &names, &part, &bounds).await });
    }
    let mut all = Listed { found: Vec::new(), is_whole: true };
    while let Some(listed) = listings.join_next().await {
        // A listing that panicked is one that did not end; the panic's message went to stderr.
        let listed = listed.unwrap_or_else(|_| Ok(Listed::default()))?;
        all.is_whole &= listed.is_whole;
        all.found.extend(listed.found);
    }
    Ok(all)
}

impl Bounds {
    fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}
