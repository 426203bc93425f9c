//! The boundary that every export runs inside: no panic leaves it, and every outcome gets its message.
//!
//! A panic means a bug, and whatever it interrupted may be half done. The store it happened in is
//! poisoned: it fails what is outstanding and refuses everything but close.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::error::finish;
use super::handle::{OpenStore, STORES, store_bits};
use super::types::{nixl_store_status_t, nixl_store_t};
use crate::error::{Error, Result, Status};
use crate::sys::fork;

#[cfg(not(panic = "unwind"))]
compile_error!(
    "nixl_store promises that no panic ends the engine's process: build it with panic = \"unwind\""
);

/// Runs a call that has no store.
pub(super) fn boundary(
    operation: &'static str,
    body: impl FnOnce() -> Result<Status>,
) -> nixl_store_status_t {
    finish(
        operation,
        catch(body)
            .unwrap_or_else(|why| Err(Error::new(Status::Internal, format!("a bug in the library: {why}")))),
    )
}

/// Runs a call on a store: looks it up, refuses a forked child, poisons the store on a panic.
pub(super) fn with_store(
    operation: &'static str,
    store: *const nixl_store_t,
    body: impl FnOnce(&OpenStore) -> Result<Status>,
) -> nixl_store_status_t {
    boundary(operation, || {
        STORES.with(store_bits(store), |open| {
            if open.epoch != fork::epoch() {
                return Err(Error::new(
                    Status::Forked,
                    "the process forked after the store was opened; this child may only close it",
                ));
            }
            poison_on_panic(operation, |why| open.store.poison(why), || body(open))
        })
    })
}

/// Runs `body`; a panic in it is told to `poison` and becomes [`Status::Poisoned`].
#[inline(always)]
pub(super) fn poison_on_panic(
    operation: &'static str,
    poison: impl FnOnce(&str),
    body: impl FnOnce() -> Result<Status>,
) -> Result<Status> {
    catch(body).unwrap_or_else(|why| {
        let why = format!("a panic was caught in {operation}: {why}");
        poison(&why);
        Err(Error::new(Status::Poisoned, why))
    })
}

/// Runs `body`; a panic comes back as its message.
fn catch<T>(body: impl FnOnce() -> T) -> std::result::Result<T, String> {
    // Unwinding is safe here: what the panic left half done belongs to the store, which is poisoned and not used again.
    // A call without a store leaves nothing behind.
    catch_unwind(AssertUnwindSafe(body)).map_err(|payload| describe(payload.as_ref()))
}

fn describe(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

/// Panics are raised on purpose here.
#[cfg(test)]
mod tests {
    use super::*;

    /// The store has to learn of the panic before the caller does, or the next call would run on
    /// what the panic left half done.
    #[test]
    fn a_panic_poisons_and_answers_poisoned() {
        let mut told = String::new();
        let result = poison_on_panic("nixl_store_put", |why| told.push_str(why), || panic!("slot {}", 7));
        let error = result.unwrap_err();
        assert_eq!(error.status(), Status::Poisoned);
        assert_eq!(told, "a panic was caught in nixl_store_put: slot 7");
        assert_eq!(error.message(), told);
    }

    /// An answer or an error is no reason to poison.
    #[test]
    fn an_error_does_not_poison() {
        let poison = |_: &str| unreachable!("poisoned without a panic");
        assert_eq!(poison_on_panic("x", poison, || Ok(Status::NotFound)).unwrap(), Status::NotFound);
        let poison = |_: &str| unreachable!("poisoned without a panic");
        let failed = poison_on_panic("x", poison, || Err(Error::new(Status::Io, "e")));
        assert_eq!(failed.unwrap_err().status(), Status::Io);
    }

    /// The engine's process has to outlive any bug, also one outside every store and one whose
    /// panic carries something that is not text.
    #[test]
    fn no_panic_crosses_the_boundary() {
        assert_eq!(boundary("nixl_store_open", || panic!("boom")), Status::Internal.code());
        assert_eq!(boundary("nixl_store_open", || std::panic::panic_any(5)), Status::Internal.code());
        let twice = boundary("nixl_store_put", || {
            poison_on_panic("nixl_store_put", |_| panic!("poisoning failed too"), || panic!("first"))
        });
        assert_eq!(twice, Status::Internal.code());
    }
}
