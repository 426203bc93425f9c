//! Arguments from C, wrapped before anything trusts them.
//!
//! What a pointer's number shows is checked here: NULL, alignment, lengths, sums that wrap around. Whether the memory
//! behind it is mapped and the caller's cannot be seen from the number. The header therefore asks it of the caller for
//! each argument, and every function here that reads or writes such memory is `unsafe` and says so again.

use std::ffi::{c_char, c_void};
use std::marker::PhantomData;

use super::constants::NIXL_STORE_KEY_BYTES_MAX;
use crate::error::{Error, Result, Status};

/// [`Status::InvalidArgument`] with a message.
pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::new(Status::InvalidArgument, message)
}

/// Where a call puts an answer, checked before the call does anything.
pub(super) struct Output<'a, T> {
    pointer: *mut T,
    caller: PhantomData<&'a mut T>,
}

impl<T> Output<'_, T> {
    /// Writes the answer.
    pub(super) fn write(self, value: T) {
        // SAFETY: `output` checked NULL and alignment, its caller vouched for the memory.
        unsafe { self.pointer.write(value) }
    }
}

/// Checks a pointer to write one value to.
///
/// # Safety
/// A pointer that is not NULL points to memory that the call may write a `T` to.
pub(super) unsafe fn output<'a, T>(name: &str, pointer: *mut T) -> Result<Output<'a, T>> {
    typed(name, pointer)?;
    Ok(Output { pointer, caller: PhantomData })
}

/// An array of answers, filled from its start, and the place for their number.
///
/// Whatever way the call ends, entries that it did not fill say so when this is dropped: memory that still holds the
/// results of an earlier call, or zeros, must not look like success.
pub(super) struct OutputArray<'a, T: Copy> {
    pointer: *mut T,
    capacity: usize,
    filled: usize,
    /// What stands in an entry without an answer.
    unfilled: T,
    count_out: *mut usize,
    caller: PhantomData<&'a mut T>,
}

impl<T: Copy> OutputArray<'_, T> {
    /// Entries that there is room for.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Fills the next entry; what there is no room for is dropped.
    pub(super) fn push(&mut self, value: T) {
        if self.filled < self.capacity {
            // SAFETY: below the capacity that the caller of `output_array` vouched for; aligned and not NULL.
            unsafe { self.pointer.add(self.filled).write(value) };
            self.filled += 1;
        }
    }
}

impl<T: Copy> Drop for OutputArray<'_, T> {
    fn drop(&mut self) {
        // SAFETY: `output_array` checked it, its caller vouched for the memory.
        unsafe { self.count_out.write(self.filled) };
        while self.filled < self.capacity {
            self.push(self.unfilled);
        }
    }
}

/// Checks an array of `capacity` values to write to, and the place for their number. That place is 0 from here on, so
/// that it never promises entries that are not there.
///
/// # Safety
/// Pointers that are not NULL point to memory that the call may write `capacity` values of `T`, and a `usize`, to.
pub(super) unsafe fn output_array<'a, T: Copy>(
    name: &str,
    pointer: *mut T,
    capacity: usize,
    unfilled: T,
    count_name: &str,
    count_out: *mut usize,
) -> Result<OutputArray<'a, T>> {
    typed(count_name, count_out)?;
    // SAFETY: aligned and not NULL; the rest is the caller's promise.
    unsafe { count_out.write(0) };
    let capacity = array(name, pointer, capacity as u64, usize::MAX)?;
    // Cannot wrap: `array` checked the product.
    if overlap(pointer.addr(), capacity * size_of::<T>(), count_out.addr(), size_of::<usize>()) {
        return Err(invalid(format!("{count_name} lies in {name}")));
    }
    Ok(OutputArray { pointer, capacity, filled: 0, unfilled, count_out, caller: PhantomData })
}

/// Checks a pointer to a `T`: not NULL, aligned.
pub(super) fn typed<T>(name: &str, pointer: *const T) -> Result<()> {
    if pointer.is_null() {
        return Err(invalid(format!("{name} is NULL")));
    }
    if !pointer.is_aligned() {
        let align = align_of::<T>();
        return Err(invalid(format!("{name} is {pointer:p}, which is not aligned to {align} bytes")));
    }
    Ok(())
}

/// Checks an array of 1 to `count_max` values of `T`.
pub(super) fn array<T>(name: &str, pointer: *const T, count: u64, count_max: usize) -> Result<usize> {
    typed(name, pointer)?;
    match usize::try_from(count) {
        Ok(count) if count > 0 && count <= count_max => {
            memory(name, pointer.addr(), (count as u64).saturating_mul(size_of::<T>() as u64))?;
            Ok(count)
        }
        _ => Err(invalid(format!("{name} has {count} elements; 1 to {count_max} are allowed"))),
    }
}

/// Checks a stretch of memory: not NULL, not empty, not wrapping around the end of the address space.
pub(super) fn memory(name: &str, address: usize, length: u64) -> Result<usize> {
    if address == 0 {
        return Err(invalid(format!("{name} is NULL")));
    }
    match usize::try_from(length) {
        Ok(0) => Err(invalid(format!("{name} has length 0"))),
        // No object in Rust or C is longer than `isize::MAX`, and pointer arithmetic would be undefined if one were.
        Ok(bytes) if bytes <= isize::MAX as usize && address.checked_add(bytes).is_some() => Ok(bytes),
        _ => Err(invalid(format!("{name}: {length} bytes at {address:#x} reach past the end of memory"))),
    }
}

/// Whether `[a, a + a_length)` and `[b, b + b_length)` share a byte; both were checked by [`memory`].
pub(super) fn overlap(a: usize, a_length: usize, b: usize, b_length: usize) -> bool {
    a < b.saturating_add(b_length) && b < a.saturating_add(a_length)
}

/// Checks a key and lends its bytes.
///
/// # Safety
/// A pointer that is not NULL points to `length` readable bytes which do not change during `'a`.
pub(super) unsafe fn key<'a>(pointer: *const c_void, length: u64) -> Result<&'a [u8]> {
    if length > NIXL_STORE_KEY_BYTES_MAX as u64 {
        return Err(invalid(format!(
            "key has {length} bytes; at most {NIXL_STORE_KEY_BYTES_MAX} are allowed"
        )));
    }
    let length = memory("key", pointer.addr(), length)?;
    // SAFETY: not NULL, no wrap-around, at most 1024 bytes; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(pointer.cast(), length) })
}

/// Checks a NUL-terminated string of at most `bytes_max` bytes without its NUL, and lends its bytes.
///
/// # Safety
/// A pointer that is not NULL points to readable bytes up to and including a NUL, or to more than
/// `bytes_max` of them, which do not change during `'a`.
pub(super) unsafe fn text<'a>(name: &str, pointer: *const c_char, bytes_max: usize) -> Result<&'a [u8]> {
    typed(name, pointer)?;
    // SAFETY: reads up to the NUL and never more than the bound; see above.
    let length = unsafe { libc::strnlen(pointer, bytes_max + 1) };
    if length > bytes_max {
        return Err(invalid(format!("{name} is longer than {bytes_max} bytes")));
    }
    // SAFETY: `strnlen` just read these bytes.
    Ok(unsafe { std::slice::from_raw_parts(pointer.cast(), length) })
}

/// Checks that fields kept for later are zero: else a program that leaves them undefined would change its meaning on
/// the day when they get one.
pub(super) fn reserved_fields(fields: &[u32]) -> Result<()> {
    if fields.iter().any(|&field| field != 0) {
        return Err(invalid("a reserved field is not 0; clear the whole struct before it is filled in"));
    }
    Ok(())
}

/// Checks that what has to be zero is zero.
pub(super) fn reserved(name: &str, value: u64) -> Result<()> {
    if value == 0 { Ok(()) } else { Err(invalid(format!("{name} is {value:#x}; it must be 0"))) }
}

/// Numbers alone: none of these checks reads the memory.
#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths near the end of the address space must not wrap into a small sum that looks fine.
    #[test]
    fn memory_does_not_wrap() {
        assert_eq!(memory("m", 4096, 1).unwrap(), 1);
        assert_eq!(memory("m", 1, isize::MAX as u64).unwrap(), isize::MAX as usize);
        for (address, length) in [
            (0, 1),
            (4096, 0),
            (4096, u64::MAX),
            (4096, 1 << 63),
            (usize::MAX, 1),
            (usize::MAX - 10, 11),
            (1 << 63, 1 << 63),
        ] {
            assert!(memory("m", address, length).is_err(), "{address:#x} {length:#x}");
        }
    }

    /// An array's count comes from C as it is: zero, too many and an overflowing product are refused.
    #[test]
    fn arrays_are_bounded_and_aligned() {
        let at = std::ptr::without_provenance::<u64>;
        assert_eq!(array("a", at(8), 3, 4).unwrap(), 3);
        assert!(array("a", at(8), 0, 4).is_err());
        assert!(array("a", at(8), 5, 4).is_err());
        assert!(array("a", at(8), u64::MAX, usize::MAX).is_err());
        assert!(array("a", at(12), 1, 4).is_err());
        assert!(array("a", at(0), 1, 4).is_err());
        assert!(array("a", at(usize::MAX - 7), 2, 4).is_err());
    }

    /// Touching stretches share no byte.
    #[test]
    fn overlap_counts_bytes_not_ends() {
        assert!(!overlap(0, 10, 10, 10));
        assert!(!overlap(10, 10, 0, 10));
        assert!(overlap(0, 11, 10, 10));
        assert!(overlap(10, 1, 0, 100));
        assert!(overlap(0, 100, 10, 1));
    }
}
