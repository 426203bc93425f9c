//! A breaker: after enough calls in a row that reached nobody, calls fail at once, but for one in a while that tries.
//!
//! Any answer of the server counts as reaching it, refusals too. A call that ran out of a short deadline of its own says
//! nothing about the server, and does not count.

use std::fmt;
use std::time::{Duration, Instant};

use super::errors::{Failure, FailureKind};
use crate::sync::{Arc, Mutex, lock};

/// Calls in a row that reach nobody before calls fail at once.
pub const FAILURES_MAX: u32 = 8;
/// Time between two calls that try whether the server is back.
pub const TRIAL_INTERVAL: Duration = Duration::from_secs(2);
/// A call that timed out counts if it had waited so long.
const COUNTED_WAIT_MIN: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// When the first of them was.
    since: Option<Instant>,
    /// When the next trial may begin; `None` while calls are let through.
    next_trial: Option<Instant>,
    trial_under_way: bool,
}

/// The breaker of one endpoint; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Breaker(Arc<Mutex<State>>);

/// The right to make one call, which tells how it went; dropped unsaid, nothing is learnt.
#[derive(Debug)]
pub struct Pass {
    breaker: Breaker,
    begun: Instant,
    is_trial: bool,
}

impl Breaker {
    /// Lets a call through, or fails it.
    ///
    /// # Errors
    /// [`FailureKind::Unreachable`]; `what` names operation, object and endpoint.
    pub fn enter(&self, what: &impl fmt::Display) -> Result<Pass, Failure> {
        self.enter_at(what, Instant::now())
    }

    fn enter_at(&self, what: &(impl fmt::Display + ?Sized), now: Instant) -> Result<Pass, Failure> {
        let mut state = lock(&self.0);
        let mut is_trial = false;
        if let Some(next_trial) = state.next_trial {
            if state.trial_under_way || now < next_trial {
                let since = state.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
                let next = next_trial.saturating_duration_since(now);
                let when = if state.trial_under_way {
                    "a call is trying it now".to_owned()
                } else {
                    format!("it is tried again in {:.1} s", next.as_secs_f64())
                };
                let text =
                    format!("{what}: nobody could be reached there for {:.1} s; {when}", since.as_secs_f64());
                return Err(Failure::new(FailureKind::Unreachable, text));
            }
            (state.trial_under_way, is_trial) = (true, true);
        }
        drop(state);
        Ok(Pass { breaker: self.clone(), begun: now, is_trial })
    }
}

impl Pass {
    /// Tells how the call went.
    pub fn end<T>(self, outcome: &Result<T, Failure>) {
        self.end_at(outcome.as_ref().err().map(Failure::kind), Instant::now());
    }

    fn end_at(mut self, failure: Option<FailureKind>, now: Instant) {
        let counts = match failure {
            Some(FailureKind::Unreachable) => true,
            Some(FailureKind::TimedOut) => {
                if !self.is_trial && now.saturating_duration_since(self.begun) < COUNTED_WAIT_MIN {
                    return;
                }
                true
            }
            _ => false,
        };
        let mut state = lock(&self.breaker.0);
        if counts {
            state.since.get_or_insert(self.begun);
            state.failures = state.failures.saturating_add(1);
            if self.is_trial || (state.failures >= FAILURES_MAX && state.next_trial.is_none()) {
                state.next_trial = Some(now + TRIAL_INTERVAL);
            }
            if self.is_trial {
                state.trial_under_way = false;
            }
        } else {
            *state = State::default();
        }
        drop(state);
        self.is_trial = false;
    }
}

impl Drop for Pass {
    /// A trial that was given up makes room for another.
    fn drop(&mut self) {
        if self.is_trial {
            lock(&self.breaker.0).trial_under_way = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(now: Instant) -> Breaker {
        let breaker = Breaker::default();
        for _ in 0..FAILURES_MAX {
            let pass = breaker.enter_at("GET x", now).expect("closed");
            pass.end_at(Some(FailureKind::Unreachable), now);
        }
        breaker
    }

    /// Enough failures in a row make calls fail at once, and say since when and until when; one success before that
    /// begins the count anew.
    #[test]
    fn failures_in_a_row_make_calls_fail_at_once() {
        let now = Instant::now();
        let breaker = Breaker::default();
        for round in 0..3 * FAILURES_MAX {
            let kind = (round % FAILURES_MAX != 0).then_some(FailureKind::Unreachable);
            breaker.enter_at("GET x", now).expect("closed").end_at(kind, now);
        }
        let breaker = broken(now);
        let failure = breaker.enter_at("GET x", now + Duration::from_secs(1)).expect_err("open");
        assert_eq!(failure.kind(), FailureKind::Unreachable);
        assert_eq!(
            failure.message(),
            "GET x: nobody could be reached there for 1.0 s; it is tried again in 1.0 s"
        );
    }

    /// One call in an interval tries; the others fail meanwhile. Its success lets all through.
    #[test]
    fn one_call_in_an_interval_tries_and_its_success_recovers() {
        let start = Instant::now();
        let breaker = broken(start);
        let later = start + TRIAL_INTERVAL;
        let trial = breaker.enter_at("GET x", later).expect("a trial");
        assert!(breaker.enter_at("GET x", later).is_err());
        trial.end_at(Some(FailureKind::Unreachable), later);
        assert!(breaker.enter_at("GET x", later).is_err());
        let later = later + TRIAL_INTERVAL;
        breaker.enter_at("GET x", later).expect("a trial").end_at(Some(FailureKind::Denied), later);
        let both = [breaker.enter_at("GET x", later), breaker.enter_at("GET x", later)];
        assert!(both.iter().all(Result::is_ok));
    }

    /// A trial that is cancelled leaves its place to the next call.
    #[test]
    fn a_trial_that_is_dropped_makes_room_for_another() {
        let start = Instant::now();
        let breaker = broken(start);
        let later = start + TRIAL_INTERVAL;
        drop(breaker.enter_at("GET x", later).expect("a trial"));
        assert!(breaker.enter_at("GET x", later).is_ok());
    }

    /// Short deadlines of callers do not break the connection of others; answers that are no success do not either.
    #[test]
    fn short_deadlines_and_refusals_do_not_count() {
        let now = Instant::now();
        let breaker = Breaker::default();
        for _ in 0..4 * FAILURES_MAX {
            let pass = breaker.enter_at("GET x", now).expect("closed");
            pass.end_at(Some(FailureKind::TimedOut), now + Duration::from_millis(10));
            breaker.enter_at("GET x", now).expect("closed").end_at(Some(FailureKind::Throttled), now);
        }
        for _ in 0..FAILURES_MAX {
            let pass = breaker.enter_at("GET x", now).expect("closed");
            pass.end_at(Some(FailureKind::TimedOut), now + COUNTED_WAIT_MIN);
        }
        assert!(breaker.enter_at("GET x", now).is_err());
    }
}
