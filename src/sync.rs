//! The seam between std's and shuttle's synchronisation, so that shared state can be model-checked.
//!
//! Code that shares state between threads takes its primitives from here and nowhere else.

#[cfg(not(feature = "shuttle"))]
pub use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard,
    atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};
#[cfg(not(feature = "shuttle"))]
pub use std::thread;

#[cfg(feature = "shuttle")]
pub use shuttle::sync::{
    Arc, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard,
    atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering},
};
#[cfg(feature = "shuttle")]
pub use shuttle::thread;

/// Locks a mutex whose holder may have panicked.
///
/// A panic poisons the whole store at the boundary that catches it, so the lock's own poison
/// flag carries no further information.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.lock() {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    }
}
