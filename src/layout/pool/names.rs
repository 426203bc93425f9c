//! The names in a pool's directory. Whatever else lies there is not the pool's.

use std::ffi::OsStr;

/// Locked by the owner.
pub(super) const LOCK: &str = "lock";
/// What the pool was made with.
pub(super) const MANIFEST: &str = "manifest";
/// A manifest being written.
pub(super) const MANIFEST_TEMPORARY: &str = "manifest.tmp";
/// The index, between a clean close and the next open.
pub(super) const SNAPSHOT: &str = "snapshot";
/// A snapshot being written.
pub(super) const SNAPSHOT_TEMPORARY: &str = "snapshot.tmp";

/// What lay where when the pool was opened last; see [`super::survivors`].
pub(super) const SURVIVORS: &str = "survivors";
/// Survivors being written.
pub(super) const SURVIVORS_TEMPORARY: &str = "survivors.tmp";

/// Present while what was written may be lost: a sync failed, and none has succeeded since.
pub(super) const DOUBT: &str = "unsynced";

/// Name of slot file `index`.
pub(super) fn slot_file(index: u32) -> String {
    format!("slots-{index:03}.bin")
}

/// Whether a pool could have a slot file of this name.
pub(super) fn is_slot_file(name: &str) -> bool {
    name.strip_prefix("slots-")
        .and_then(|rest| rest.strip_suffix(".bin"))
        .is_some_and(|digits| digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a directory without a manifest may hold a file of this name and still be an unfinished pool.
pub(super) fn may_be_unfinished(name: &OsStr) -> bool {
    let fixed = [LOCK, MANIFEST_TEMPORARY, SNAPSHOT, SNAPSHOT_TEMPORARY, SURVIVORS, SURVIVORS_TEMPORARY];
    fixed.iter().any(|ours| name == *ours) || name.to_str().is_some_and(is_slot_file)
}
