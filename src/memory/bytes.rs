//! Copies and checksums over memory that is known only by address.
//!
//! All of it is the processor's work. Where a stretch lies on a device the answer is [`NotHost`], and what was copied or
//! computed before it counts for nothing.

use super::stretch::{HostSlice, Stretch, for_each_part};
use super::xxh3;

/// A stretch of a device's memory is among those that the processor was to read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHost;

/// Visits the host memory that makes up the bytes `from..to` of `stretches`.
fn for_each_host(
    stretches: &[Stretch],
    from: usize,
    to: usize,
    mut visit: impl FnMut(HostSlice),
) -> Result<(), NotHost> {
    let mut outcome = Ok(());
    for_each_part(stretches, from, to, |part| match part {
        Stretch::Host(slice) => visit(slice),
        Stretch::Device(_) => outcome = Err(NotHost),
    });
    outcome
}

/// XXH3 (64 bit) of one checksum block that lies in `stretches` from `from` to `to`.
///
/// A block in one piece is hashed in place; one that lies in several is gathered into `scratch` first, which must hold
/// the block.
///
/// # Errors
/// [`NotHost`].
pub fn checksum(stretches: &[Stretch], from: usize, to: usize, scratch: &mut [u8]) -> Result<u64, NotHost> {
    let mut whole = None;
    for_each_host(stretches, from, to, |slice| {
        if slice.length == to - from {
            whole = Some(slice);
        }
    })?;
    if let Some(slice) = whole {
        return Ok(checksum_slice(slice));
    }
    let gathered = &mut scratch[..to - from];
    gather(stretches, from, gathered)?;
    Ok(xxh3::checksum(gathered))
}

/// XXH3 (64 bit) of one stretch of memory.
fn checksum_slice(slice: HostSlice) -> u64 {
    // SAFETY: the maker of the HostPtr vouched for these bytes until the operation completes, and it
    // has not completed yet; nobody writes them meanwhile.
    xxh3::checksum(unsafe { std::slice::from_raw_parts(slice.pointer.as_ptr(), slice.length) })
}

/// XXH3 (64 bit) of bytes of our own.
pub fn checksum_bytes(bytes: &[u8]) -> u64 {
    xxh3::checksum(bytes)
}

/// Copies the stretch `source` into `stretches` from offset `from` on.
///
/// # Errors
/// [`NotHost`].
pub fn scatter_slice(source: Stretch, stretches: &[Stretch], from: usize) -> Result<(), NotHost> {
    let source = source.host().ok_or(NotHost)?;
    let mut at = 0;
    for_each_host(stretches, from, from + source.length, |slice| {
        let part = source.pointer.offset(at);
        // SAFETY: as in `scatter`, with a source in the staging buffer.
        unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), slice.pointer.as_ptr(), slice.length) };
        at += slice.length;
    })
}

/// Copies the bytes of `stretches` from offset `from` on into the stretch `target`, filling it.
///
/// # Errors
/// [`NotHost`].
pub fn gather_into(stretches: &[Stretch], from: usize, target: Stretch) -> Result<(), NotHost> {
    let target = target.host().ok_or(NotHost)?;
    let mut at = 0;
    for_each_host(stretches, from, from + target.length, |slice| {
        let part = target.pointer.offset(at);
        // SAFETY: as in `gather`, with a target in the staging buffer.
        unsafe { std::ptr::copy_nonoverlapping(slice.pointer.as_ptr(), part.as_ptr(), slice.length) };
        at += slice.length;
    })
}

/// Copies the bytes of `stretches` from offset `from` on into `target`, filling it.
///
/// # Errors
/// [`NotHost`].
pub fn gather(stretches: &[Stretch], from: usize, target: &mut [u8]) -> Result<(), NotHost> {
    let mut at = 0;
    for_each_host(stretches, from, from + target.len(), |slice| {
        let part = &mut target[at..at + slice.length];
        // SAFETY: the source is valid as HostPtr's maker vouched, the target is ours and as long;
        // store memory and caller memory are different allocations or, for memory that the store
        // lent out, different parts of one.
        unsafe { std::ptr::copy_nonoverlapping(slice.pointer.as_ptr(), part.as_mut_ptr(), part.len()) };
        at += slice.length;
    })
}

/// Copies `source` into `stretches` from offset `from` on.
///
/// # Errors
/// [`NotHost`].
pub fn scatter(source: &[u8], stretches: &[Stretch], from: usize) -> Result<(), NotHost> {
    let mut at = 0;
    for_each_host(stretches, from, from + source.len(), |slice| {
        let part = &source[at..at + slice.length];
        // SAFETY: as in `gather`, the other way round; a get's memory is writable until it completes.
        unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), slice.pointer.as_ptr(), part.len()) };
        at += slice.length;
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{DevicePtr, DeviceSlice, HostPtr};

    fn stretches(parts: &mut [Vec<u8>]) -> Vec<Stretch> {
        parts
            .iter_mut()
            .map(|part| {
                // SAFETY: the vectors outlive the stretches in each test.
                let pointer = unsafe { HostPtr::new(part.as_mut_ptr()) };
                Stretch::Host(HostSlice { pointer, length: part.len() })
            })
            .collect()
    }

    /// However the bytes are cut into stretches, scatter and gather see one string and the checksum is
    /// that of the string.
    #[test]
    fn stretches_are_one_string_of_bytes() {
        let text: Vec<u8> = (0..1000u32).map(|i| (i * 7 % 251) as u8).collect();
        let mut parts = vec![vec![0; 1], vec![0; 499], vec![0; 3], vec![0; 497]];
        let view = stretches(&mut parts);
        scatter(&text, &view, 0).expect("host");
        let mut back = vec![0; 700];
        gather(&view, 150, &mut back).expect("host");
        assert_eq!(back, text[150..850]);
        let mut scratch = vec![0; 1000];
        for (from, to) in [(0, 1000), (1, 500), (200, 300), (499, 504)] {
            assert_eq!(checksum(&view, from, to, &mut scratch), Ok(xxh3::checksum(&text[from..to])));
        }
        assert_eq!(parts.concat(), text);
    }

    /// A device's memory is never read or written by the processor: whoever tries is told.
    #[test]
    fn device_memory_is_refused() {
        let mut parts = vec![vec![0; 64]];
        let mut view = stretches(&mut parts);
        view.push(Stretch::Device(DeviceSlice {
            pointer: DevicePtr::new(0x7000_0000_0000),
            length: 64,
            device: 0,
        }));
        let mut bytes = [0; 128];
        assert_eq!(gather(&view, 0, &mut bytes), Err(NotHost));
        assert_eq!(scatter(&bytes, &view, 0), Err(NotHost));
        assert_eq!(checksum(&view, 32, 96, &mut bytes), Err(NotHost));
        let mut front = [0; 64];
        assert_eq!(gather(&view, 0, &mut front), Ok(()));
    }
}
