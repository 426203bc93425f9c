//! Slots that are not to be used, and why: what an open finds out, and what a snapshot keeps for the next.

/// Most outdated records that are known of one slot: that of the evicted key, and that of the put that failed there.
pub const OLD_RECORDS_MAX: usize = 2;

/// A slot that is not to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfUse {
    /// Its number.
    pub slot: u32,
    /// Why.
    pub why: Why,
}

/// Why a slot is not to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// What was put there came back as other bytes.
    Damaged,
    /// It may hold a record that must not be found again, and could not be tombstoned. What is known of such records.
    Unclean([Option<OldRecord>; OLD_RECORDS_MAX]),
}

/// A record that must not be found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldRecord {
    /// The upper 32 bits of its key's digest, but 1 for 0.
    pub tag: u32,
    /// Its generation; 0 for a put that failed.
    pub generation: u64,
}

impl OldRecord {
    /// What is told of a key's record.
    pub fn of(digest: u128, generation: u64) -> OldRecord {
        OldRecord { tag: ((digest >> 96) as u32).max(1), generation }
    }
}

impl OutOfUse {
    /// The highest generation of a record that it is known to hold.
    pub fn generation(&self) -> u64 {
        match self.why {
            Why::Damaged => 0,
            Why::Unclean(records) => {
                records.iter().flatten().map(|record| record.generation).max().unwrap_or(0)
            }
        }
    }
}
