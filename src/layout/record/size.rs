//! How long records and their parts are. All arithmetic is checked: lengths come from files.

/// Payloads and trailers start and end on multiples of this many bytes, so that O_DIRECT and
/// whole-page replacement hold for each on its own.
pub const RECORD_ALIGNMENT: u64 = 4096;
/// Payload bytes behind one checksum. A range get verifies the blocks it touches and no more.
pub const CHECKSUM_BLOCK_BYTES: usize = 65536;
/// Bytes of a trailer before its block checksums.
pub(super) const TRAILER_FIXED_BYTES: usize = 1792;
/// Bytes of the shortest trailer.
pub const TRAILER_BYTES_MIN: u64 = RECORD_ALIGNMENT;
/// Bytes of the longest trailer: its length is stored in 32 bits, and stays a multiple of the alignment.
const TRAILER_BYTES_MAX: u64 = u32::MAX as u64 + 1 - RECORD_ALIGNMENT;

/// `payload_bytes` rounded up to whole pages. `None` for an empty payload, which is no record, and past `u64`.
pub fn padded(payload_bytes: u64) -> Option<u64> {
    if payload_bytes == 0 {
        return None;
    }
    payload_bytes.checked_next_multiple_of(RECORD_ALIGNMENT)
}

/// Length of the trailer behind `padded_payload_bytes`. `None` if it would be longer than a trailer can be.
pub fn trailer_bytes(padded_payload_bytes: u64) -> Option<u64> {
    let blocks = padded_payload_bytes.div_ceil(CHECKSUM_BLOCK_BYTES as u64);
    blocks
        .checked_mul(size_of::<u64>() as u64)?
        .checked_add(TRAILER_FIXED_BYTES as u64)?
        .checked_next_multiple_of(RECORD_ALIGNMENT)
        .filter(|bytes| *bytes <= TRAILER_BYTES_MAX)
}

/// How many block checksums a payload has. `None` where no trailer could hold them.
pub fn block_count(payload_bytes: u64) -> Option<usize> {
    trailer_bytes(padded(payload_bytes)?)?;
    usize::try_from(payload_bytes.div_ceil(CHECKSUM_BLOCK_BYTES as u64)).ok()
}

/// Splits the length of a file that holds one record into padded payload and trailer.
/// `None`: no record has this length. The trailer must then name a payload that pads to the first.
pub fn split_file(file_bytes: u64) -> Option<(u64, u64)> {
    if !file_bytes.is_multiple_of(RECORD_ALIGNMENT) {
        return None;
    }
    // Payload plus trailer grows with every page of payload, so there is at most one answer and
    // bisection finds it. A payload too long for any trailer counts as too long for the file.
    let (mut low, mut high) = (1, file_bytes / RECORD_ALIGNMENT);
    while low < high {
        let middle = low + (high - low) / 2;
        match record_bytes(middle) {
            Some(bytes) if bytes < file_bytes => low = middle + 1,
            _ => high = middle,
        }
    }
    (record_bytes(low)? == file_bytes).then(|| {
        let payload = low * RECORD_ALIGNMENT;
        (payload, file_bytes - payload)
    })
}

fn record_bytes(payload_pages: u64) -> Option<u64> {
    let payload = payload_pages.checked_mul(RECORD_ALIGNMENT)?;
    payload.checked_add(trailer_bytes(payload)?)
}
