//! Structs that grow: read from C and written to C by the size that the caller knows.
//!
//! The first member says how large the struct was for the compiler of the caller. A smaller one is
//! of an older caller, and what it lacks is taken as zero. A larger one is of a newer caller, which
//! is fine as long as it asks for nothing that this library does not know: the rest must be zero.

use std::mem::MaybeUninit;

use super::check::{self, invalid};
use super::constants::NIXL_STORE_STRUCT_BYTES_MAX;
use super::types::{
    nixl_store_capabilities_t, nixl_store_open_options_t, nixl_store_stats_t, nixl_store_submit_options_t,
};
use crate::error::Result;

/// A struct of the C API that begins with its size.
///
/// # Safety
/// `repr(C)`; the first member is a `usize`; every bit pattern, all zero among them, is a valid value.
pub(super) unsafe trait Extensible: Copy {}

// SAFETY: integers, raw pointers, and an optional function pointer, for which every bit pattern is a value too: zero is
// `None`, anything else `Some`. That such a function can be called is the caller's promise.
unsafe impl Extensible for nixl_store_open_options_t {}
// SAFETY: integers and raw pointers.
unsafe impl Extensible for nixl_store_submit_options_t {}
// SAFETY: integers.
unsafe impl Extensible for nixl_store_stats_t {}
// SAFETY: integers and arrays of them.
unsafe impl Extensible for nixl_store_capabilities_t {}

/// Checks pointer and size of an extensible struct, and answers the size.
///
/// # Safety
/// A pointer that is not NULL points to at least a readable `usize`.
unsafe fn struct_size<T: Extensible>(name: &str, pointer: *const T) -> Result<usize> {
    check::typed(name, pointer)?;
    // SAFETY: aligned and not NULL; the first member is a `usize`.
    let size = unsafe { pointer.cast::<usize>().read() };
    // The size of a struct is a multiple of its alignment. Any other number is no sizeof, and could end inside a field.
    if size < size_of::<usize>()
        || size > NIXL_STORE_STRUCT_BYTES_MAX
        || !size.is_multiple_of(align_of::<T>())
    {
        return Err(invalid(format!(
            "{name}->struct_size is {size}; it must be the sizeof of the struct, here {}",
            size_of::<T>()
        )));
    }
    check::memory(name, pointer.addr(), size as u64)?;
    Ok(size)
}

/// Copies an extensible struct in.
///
/// # Safety
/// A pointer that is not NULL points to a readable struct of the size that its first member says.
pub(super) unsafe fn read<T: Extensible>(name: &str, pointer: *const T) -> Result<T> {
    // SAFETY: as this function's.
    let size = unsafe { struct_size(name, pointer) }?;
    let known = size.min(size_of::<T>());
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: `known` bytes are readable behind `pointer` and writable in `value`, which is new memory.
    unsafe { pointer.cast::<u8>().copy_to_nonoverlapping(value.as_mut_ptr().cast(), known) };
    for offset in known..size {
        // SAFETY: `offset` is below the size that the caller vouched for.
        if unsafe { pointer.cast::<u8>().add(offset).read() } != 0 {
            return Err(invalid(format!(
                "{name} asks at byte {offset} for something that this version of the library does not know"
            )));
        }
    }
    // SAFETY: zeroed and then overwritten in part; `Extensible` promises that any bits are a value.
    Ok(unsafe { value.assume_init() })
}

/// An extensible struct to write to, checked.
pub(super) struct ExtensibleOutput<T> {
    pointer: *mut T,
    size: usize,
}

/// Checks an extensible struct to write to.
///
/// # Safety
/// A pointer that is not NULL points to a writable struct of the size that its first member says.
pub(super) unsafe fn output<T: Extensible>(name: &str, pointer: *mut T) -> Result<ExtensibleOutput<T>> {
    // SAFETY: as this function's.
    let size = unsafe { struct_size(name, pointer) }?;
    Ok(ExtensibleOutput { pointer, size })
}

impl<T: Extensible> ExtensibleOutput<T> {
    /// Writes as much of `value` as the caller has room for, but not the size; what the caller
    /// knows beyond this library becomes zero.
    pub(super) fn write(self, value: &T) {
        const SIZE: usize = size_of::<usize>();
        let known = self.size.min(size_of::<T>());
        let to = self.pointer.cast::<u8>();
        let from = (&raw const *value).cast::<u8>();
        // SAFETY: `output` checked pointer and size, its caller vouched for the memory, which is no
        // value of Rust's; both ranges are within `size`, and `known` is at least `SIZE`.
        unsafe {
            from.add(SIZE).copy_to_nonoverlapping(to.add(SIZE), known - SIZE);
            to.add(known).write_bytes(0, self.size - known);
        }
    }
}
