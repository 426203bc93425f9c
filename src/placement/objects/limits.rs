//! How large an object of a dynamic store may be. A put is held to it, and so a file that claims to be larger was
//! made by no put: what is read to find a file's trailer, and the memory for it, has a bound that storage cannot move.

use crate::error::{Error, Result, Status};
use crate::layout::record;
use crate::sys::file_size_limit;

/// Payload bytes of the largest object: hundreds of times a chunk of the largest models, and its trailer is 2 MiB.
pub const OBJECT_BYTES_MAX: u64 = 16 << 30;

/// The parts of the file that an object takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordBytes {
    /// Payload with its padding.
    pub(super) padded_bytes: u64,
    /// Trailer behind it.
    pub(super) trailer_bytes: u64,
    /// Both.
    pub(super) bytes: u64,
}

/// What an object of `length` payload bytes takes.
///
/// # Errors
/// `TooLarge` past [`OBJECT_BYTES_MAX`], and past the size that this process may give to a file: the kernel answers the
/// attempt with SIGXFSZ, which would end the process of an engine that does not expect it.
pub(super) fn record_bytes(length: u64) -> Result<RecordBytes> {
    let too_large = |os_error: i32, why: std::fmt::Arguments<'_>| {
        Err(Error::with_os_error(Status::TooLarge, os_error, format!("object of {length} bytes: {why}")))
    };
    let padded_bytes = record::padded(length).filter(|_| length <= OBJECT_BYTES_MAX);
    let sizes = padded_bytes.and_then(|padded| Some((padded, record::trailer_bytes(padded)?)));
    let Some((padded_bytes, trailer_bytes)) = sizes else {
        return too_large(0, format_args!("a dynamic store takes at most {OBJECT_BYTES_MAX}"));
    };
    let bytes = padded_bytes + trailer_bytes;
    let limit = file_size_limit();
    if bytes > limit {
        // As the kernel would have answered.
        return too_large(
            libc::EFBIG,
            format_args!(
                "its file of {bytes} bytes is longer than this process may write (RLIMIT_FSIZE, ulimit -f: {limit} bytes)"
            ),
        );
    }
    Ok(RecordBytes { padded_bytes, trailer_bytes, bytes })
}

/// Splits a file's length into padded payload and trailer, as [`record::split_file`] does. `None` also for what no put
/// of a dynamic store makes.
pub(super) fn split_file(file_bytes: u64) -> Option<(u64, u64)> {
    record::split_file(file_bytes).filter(|(padded_bytes, _)| *padded_bytes <= OBJECT_BYTES_MAX)
}

// The largest object is a record, and whole pages.
const _: () = assert!(OBJECT_BYTES_MAX.is_multiple_of(record::RECORD_ALIGNMENT));

#[cfg(test)]
mod tests {
    use super::*;

    /// What a put may write a get must find, and nothing larger: not the next page, nor the largest record there is.
    #[test]
    fn a_length_is_believed_up_to_the_largest_object() {
        let largest = record_bytes(OBJECT_BYTES_MAX).expect("the largest object is one");
        assert_eq!(split_file(largest.bytes), Some((OBJECT_BYTES_MAX, largest.trailer_bytes)));
        assert!(largest.trailer_bytes <= 4 << 20, "{}", largest.trailer_bytes);
        assert_eq!(record_bytes(OBJECT_BYTES_MAX + 1).unwrap_err().status(), Status::TooLarge);
        let padded = OBJECT_BYTES_MAX + record::RECORD_ALIGNMENT;
        let next = padded + record::trailer_bytes(padded).expect("records may be larger");
        assert!(record::split_file(next).is_some());
        assert_eq!(split_file(next), None);
        assert_eq!(record_bytes(u64::MAX).unwrap_err().status(), Status::TooLarge);
        for length in [1, 4096, 70_000, 32 << 20] {
            let record = record_bytes(length).expect("an ordinary object");
            assert_eq!(split_file(record.bytes), Some((record.padded_bytes, record.trailer_bytes)));
        }
    }
}
