//! The queue of a lane: each request is one call of the S3 client, run by a runtime that the lane's thread drives itself.
//!
//! Nothing runs while the lane does not wait, and no other thread touches its sockets. A request's memory is lent to the
//! client with a lease, and its completion is posted when the lease ends: so nobody learns of an end, whether by a
//! deadline or an error, before the client has let go of the memory.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use tokio::io::unix::AsyncFd;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use super::object::{Learnt, Object, Role};
use crate::backend::queue::{IoCompletion, IoDirection, IoQueue, IoRequest, Wait};
use crate::backend::target::Target;
use crate::error::{Error, Status};
use crate::memory::HostSlice;
use crate::s3::{Client, Condition, Failure, FailureKind, Get, Got, Landing, Lease, Part, Payload};
use crate::sync::{Mutex, lock};
use crate::sys::event::Event;

/// Threads of one lane that resolve host names at a time; they are all that a runtime starts threads for.
const RESOLVERS_MAX: usize = 2;
/// How many completions a list has room for before it grows.
const COMPLETIONS: usize = 64;

/// The queue. Its drop drops the calls under way, and with them lets go of the memory of their requests.
pub(super) struct ObjQueue {
    /// There always, but during the drop.
    runtime: Option<Runtime>,
    bell: AsyncFd<Bell>,
    client: Client,
    outbox: Arc<Outbox>,
    /// Calls that were pushed since the runtime last ran. It is given them while it runs: a call that comes from outside
    /// has to wake it, which is a system call.
    pushed: RefCell<Vec<Pushed>>,
    in_flight: usize,
    depth: usize,
}

/// A call that has yet to begin, and what it owes its request.
struct Pushed {
    call: Call,
    outcome: Outcome,
    lease: Lease,
}

/// The lane's waker, as a reactor takes it.
struct Bell(Arc<Event>);

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What has completed and was not handed over yet.
struct Outbox {
    done: Mutex<Vec<IoCompletion>>,
    arrived: Notify,
}

/// How a call ended, until its memory is free.
type Outcome = Arc<Mutex<Option<io::Result<(usize, Vec<u64>)>>>>;

/// Posts a request's completion when it is dropped, with the last lease on the request's memory.
struct Posting {
    token: u32,
    outcome: Outcome,
    outbox: Arc<Outbox>,
}

impl Drop for Posting {
    fn drop(&mut self) {
        let outcome = lock(&self.outcome).take().unwrap_or_else(|| {
            Err(io::Error::other(Error::new(
                Status::Internal,
                "a call of the S3 client ended without an answer",
            )))
        });
        let completion = match outcome {
            Ok((bytes, sums)) => IoCompletion { token: self.token, result: Ok(bytes), sums },
            Err(error) => IoCompletion::new(self.token, Err(error)),
        };
        lock(&self.outbox.done).push(completion);
        self.outbox.arrived.notify_one();
    }
}

/// What a request asks of the client, with nothing borrowed.
struct Call {
    object: Arc<Object>,
    direction: IoDirection,
    offset: u64,
    slices: Vec<HostSlice>,
    bytes: u64,
    sum_block_bytes: Option<usize>,
    deadline: Option<Instant>,
}

impl ObjQueue {
    /// A queue of `depth` requests at a time, for the calling thread.
    pub(super) fn new(client: &Client, waker: Arc<Event>, depth: usize) -> io::Result<ObjQueue> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(RESOLVERS_MAX)
            .thread_name("nixl-resolve")
            .build()?;
        let bell = {
            let _entered = runtime.enter();
            // SAFETY: the descriptor is the event's own, open as long as the bell is, which is as long as it is registered.
            unsafe { AsyncFd::register_with_interest(Bell(waker), tokio::io::Interest::READABLE)? }
        };
        let outbox = Outbox { done: Mutex::new(Vec::with_capacity(COMPLETIONS)), arrived: Notify::new() };
        Ok(ObjQueue {
            runtime: Some(runtime),
            bell,
            client: client.with_own_connections(),
            outbox: Arc::new(outbox),
            pushed: RefCell::default(),
            in_flight: 0,
            depth,
        })
    }

    /// Lets the calls go as far as they can without waiting.
    fn turn(&self) {
        self.drive(tokio::task::yield_now());
    }

    /// Lets the calls go on until `until` is ready.
    fn drive(&self, until: impl Future<Output = ()>) {
        let Some(runtime) = &self.runtime else { return };
        runtime.block_on(async {
            for pushed in self.pushed.borrow_mut().drain(..) {
                drop(tokio::spawn(pushed.run(self.client.clone())));
            }
            until.await;
        });
    }

    /// Lets the calls go on until one has completed, the waker is signalled, or that moment comes.
    fn sleep(&self, moment: Option<Instant>) {
        self.drive(async {
            let mut arrived = pin!(self.outbox.arrived.notified());
            let mut alarm = pin!(async {
                match moment {
                    Some(moment) => tokio::time::sleep_until(moment.into()).await,
                    None => std::future::pending().await,
                }
            });
            poll_fn(|context| {
                if let Poll::Ready(ready) = self.bell.poll_read_ready(context) {
                    // Cleared before it is said to be not ready: a signal in between is then seen by the next wait.
                    self.bell.get_ref().0.clear();
                    if let Ok(mut ready) = ready {
                        ready.clear_ready();
                    }
                    return Poll::Ready(());
                }
                if arrived.as_mut().poll(context).is_ready() || alarm.as_mut().poll(context).is_ready() {
                    return Poll::Ready(());
                }
                Poll::Pending
            })
            .await;
        });
    }
}

impl IoQueue for ObjQueue {
    fn room(&self) -> usize {
        self.depth - self.in_flight
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn push(&mut self, request: &IoRequest<'_>) -> io::Result<()> {
        if self.room() == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let Target::Object(object) = request.target else {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        };
        let host = |stretch: &crate::memory::Stretch| {
            stretch.host().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
        };
        let slices = request.slices.iter().map(host).collect::<io::Result<Vec<HostSlice>>>()?;
        let call = Call {
            object: Arc::clone(object),
            direction: request.direction,
            offset: request.offset,
            bytes: slices.iter().map(|slice| slice.length as u64).sum(),
            slices,
            sum_block_bytes: request.sum_block_bytes,
            deadline: request.deadline,
        };
        let outcome = Outcome::default();
        let posting =
            Posting { token: request.token, outcome: Arc::clone(&outcome), outbox: Arc::clone(&self.outbox) };
        self.in_flight += 1;
        self.pushed.get_mut().push(Pushed { call, outcome, lease: Lease::new(posting) });
        Ok(())
    }

    fn has_completed(&mut self) -> bool {
        !lock(&self.outbox.done).is_empty()
    }

    fn submit(&mut self) -> io::Result<()> {
        self.turn();
        Ok(())
    }

    fn wait(&mut self, wait: Wait, completions: &mut Vec<IoCompletion>) -> io::Result<()> {
        match wait {
            Wait::Until(moment) if !self.has_completed() => self.sleep(moment),
            _ => self.turn(),
        }
        let before = completions.len();
        completions.append(&mut lock(&self.outbox.done));
        self.in_flight -= completions.len() - before;
        Ok(())
    }

    fn register(&mut self, _index: u16, _region: HostSlice) -> io::Result<bool> {
        Ok(false)
    }

    fn unregister(&mut self, _index: u16) {}
}

impl Drop for ObjQueue {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Drops the calls at once, and does not wait for a host name that is being resolved.
            runtime.shutdown_background();
        }
    }
}

impl Pushed {
    async fn run(self, client: Client) {
        let Pushed { call, outcome, lease } = self;
        let answer = call.run(&client, lease.clone()).await;
        *lock(&outcome) = Some(answer);
        // The last lease, unless the client still has one somewhere; the completion goes with whichever is last.
        drop(lease);
    }
}

impl Call {
    async fn run(self, client: &Client, lease: Lease) -> io::Result<(usize, Vec<u64>)> {
        match self.direction {
            IoDirection::Read => self.read(client, lease).await,
            IoDirection::Write => self.write(client, lease).await.map(|bytes| (bytes, Vec::new())),
        }
    }

    async fn read(self, client: &Client, lease: Lease) -> io::Result<(usize, Vec<u64>)> {
        let Role::Read { version } = self.object.role() else { return Err(not_so("read", &self.object)) };
        let object = &self.object;
        let what = Get {
            name: object.name().to_owned(),
            part: Part::Range(self.offset..self.offset + self.bytes),
            object_bytes: Some(object.bytes()),
            version: version.clone(),
            deadline: self.deadline,
        };
        let landing = Landing { slices: self.slices, lease, sum_block_bytes: self.sum_block_bytes };
        match client.get(what, landing).await {
            Ok(Got::Landed { bytes, version, sums, .. }) => {
                if object.has_read(version) {
                    Ok((bytes, sums))
                } else {
                    Err(stale())
                }
            }
            Ok(Got::Other { object_bytes, version }) => {
                object.has_learnt(Learnt::Other { bytes: object_bytes, version });
                Err(stale())
            }
            Err(failure) => match failure.kind() {
                FailureKind::Missing => {
                    object.has_learnt(Learnt::Missing);
                    Err(io::Error::other(Error::from(failure).with_status(Status::NotFound)))
                }
                FailureKind::Changed => {
                    object.has_learnt(Learnt::Changed);
                    Err(stale())
                }
                _ => Err(wrapped(failure)),
            },
        }
    }

    async fn write(self, client: &Client, lease: Lease) -> io::Result<usize> {
        let object = &self.object;
        let bytes = self.bytes;
        let payload = Payload { slices: self.slices, lease };
        match object.role() {
            Role::Put if self.offset == 0 && bytes == object.bytes() => {
                let put = client.put(object.name(), payload, Condition::None, self.deadline).await;
                object.is_put(put.map_err(wrapped)?);
            }
            Role::Upload { upload, part_bytes } if self.offset.is_multiple_of(*part_bytes) => {
                let number = u32::try_from(self.offset / part_bytes + 1)
                    .map_err(|_| not_so("written in so many parts", object))?;
                let part = client.upload_part(object.name(), upload, number, payload, self.deadline).await;
                object.has_part(part.map_err(wrapped)?, bytes);
            }
            _ => return Err(not_so("written there", object)),
        }
        Ok(bytes as usize)
    }
}

fn wrapped(failure: Failure) -> io::Error {
    io::Error::other(Error::from(failure))
}

/// The object is not any more what was opened; the lane opens it anew.
fn stale() -> io::Error {
    io::Error::from_raw_os_error(libc::ESTALE)
}

fn not_so(what: &str, object: &Object) -> io::Error {
    let message = format!("object {} is not to be {what}", object.name());
    io::Error::other(Error::new(Status::Internal, message))
}
