//! Bounds on time within one attempt, and the watch that sees whether anything moves.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::fault::{Fault, FaultKind};

/// How long the steps of an attempt may take. A call's own bound is beside these.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Until a connection stands, name and TLS included.
    pub connect: Duration,
    /// From the last byte of a request to the first of its answer.
    pub first_byte: Duration,
    /// Between two bytes, either way.
    pub stall: Duration,
    /// How long a connection may lie unused and be used again.
    pub idle: Duration,
}

impl Default for Times {
    /// A server that lives answers far sooner. S3 itself closes idle connections after some 20 s.
    fn default() -> Times {
        Times {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(20),
            stall: Duration::from_secs(10),
            idle: Duration::from_secs(15),
        }
    }
}

/// Sees to it that something moves. Noting a movement is cheap; the timer is set anew only when it rings.
#[derive(Debug)]
pub struct Watch {
    timer: Pin<Box<Sleep>>,
    moved_at: Instant,
    limit: Duration,
    waiting_for: &'static str,
}

impl Watch {
    /// A watch that allows `limit` without a movement.
    pub fn new(limit: Duration, waiting_for: &'static str) -> Watch {
        let moved_at = Instant::now();
        Watch { timer: Box::pin(sleep_until(moved_at + limit)), moved_at, limit, waiting_for }
    }

    /// From now on `limit` is allowed.
    pub fn expect(&mut self, limit: Duration, waiting_for: &'static str) {
        (self.limit, self.waiting_for) = (limit, waiting_for);
        self.moved();
        // A timer that rings too early is set anew then; one that would ring too late, now.
        if self.timer.deadline() > self.moved_at + limit {
            self.timer.as_mut().reset(self.moved_at + limit);
        }
    }

    /// Something moved.
    pub fn moved(&mut self) {
        self.moved_at = Instant::now();
    }

    /// Ready once nothing has moved for too long.
    pub fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Fault> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let until = self.moved_at + self.limit;
            if until <= Instant::now() {
                let (limit, what) = (self.limit.as_secs_f64(), self.waiting_for);
                return Poll::Ready(Fault::new(FaultKind::Stalled, format!("{what} for {limit} s")));
            }
            self.timer.as_mut().reset(until);
        }
    }
}
