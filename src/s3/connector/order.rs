//! What a call of the client asks of the connector beyond the HTTP request: memory to send from or to land in, and how
//! much of a body may be kept. The SDK carries it along without knowing it, as an extension of each attempt's request.
//!
//! The memory's lease is in the order until the call ends, when [`Ending`] takes it out, and with an attempt under way for as
//! long as that lasts. So no copy of the order that the SDK might keep keeps the memory too.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

use super::fault::{Fault, FaultKind};
use crate::s3::payload::{Landing, Payload};
use crate::s3::types::{Part, Version};
use crate::sync::{Arc, Mutex, lock};

/// Bytes of an error's body that are read; S3's have some hundred.
pub const ERROR_BYTES_MAX: usize = 64 << 10;

/// Where the body of a good answer is to go, and which answer is good.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which bytes were asked for.
    pub part: Part,
    /// Bytes that the whole object must have.
    pub object_bytes: Option<u64>,
    /// The version that it must have.
    pub version: Option<Version>,
    /// Where they go.
    pub landing: Landing,
    /// Whether the SDK is to see the bytes too, for its checksums.
    pub shown: bool,
}

/// What an attempt has to do with bodies.
#[derive(Clone, Debug)]
pub enum Work {
    /// Send these bytes.
    Send(Payload),
    /// Land the answer's body.
    Land(Wanted),
    /// Hand the answer's body on.
    Collect,
}

/// What became of a [`Work::Land`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The bytes are in place.
    Landed {
        /// So many.
        bytes: usize,
        /// Bytes of the whole object.
        object_bytes: Option<u64>,
        /// Its version.
        version: Option<Version>,
        /// Sums of the blocks, if they were asked for.
        sums: Vec<u64>,
    },
    /// Another size than the expected one, or too large for the landing.
    Other {
        /// Bytes of the whole object.
        object_bytes: u64,
        /// Its version.
        version: Option<Version>,
    },
    /// Another version than the one asked for, from a server that does not honour If-Match.
    Changed,
}

#[derive(Debug)]
struct State {
    /// `None` once the call has ended.
    work: Option<Work>,
    seen: Option<Seen>,
    /// How the last attempt went wrong.
    trouble: Option<String>,
}

/// The order of one call, shared by its attempts.
#[derive(Debug)]
pub struct Order {
    state: Mutex<State>,
    /// Most bytes of a good answer's body that are handed on.
    pub body_bytes_max: usize,
}

impl Order {
    /// An order, and the guard that ends it.
    pub fn new(work: Work, body_bytes_max: usize) -> (Arc<Order>, Ending) {
        let state = State { work: Some(work), seen: None, trouble: None };
        let order = Arc::new(Order { state: Mutex::new(state), body_bytes_max });
        (Arc::clone(&order), Ending(order))
    }

    /// What an attempt that begins has to do.
    ///
    /// # Errors
    /// The call has ended.
    pub fn begin(&self) -> Result<Work, Fault> {
        let mut state = lock(&self.state);
        state.seen = None;
        state.work.clone().ok_or_else(|| Fault::new(FaultKind::Request, "the call has ended"))
    }

    /// Tells what became of the landing.
    pub fn report(&self, seen: Seen) {
        lock(&self.state).seen = Some(seen);
    }

    /// What became of the landing in the last attempt.
    pub fn take_seen(&self) -> Option<Seen> {
        lock(&self.state).seen.take()
    }

    /// Notes how an attempt went wrong, for the message of a call that runs out of time.
    pub fn note(&self, trouble: String) {
        lock(&self.state).trouble = Some(trouble);
    }

    /// How the last attempt that went wrong did.
    pub fn trouble(&self) -> Option<String> {
        lock(&self.state).trouble.clone()
    }

    /// The payload while the call lasts.
    pub fn payload(&self) -> Option<Payload> {
        match &lock(&self.state).work {
            Some(Work::Send(payload)) => Some(payload.clone()),
            _ => None,
        }
    }
}

/// Ends an order when it is dropped. It has to outlive the future that the SDK gives for the call.
#[derive(Debug)]
pub struct Ending(Arc<Order>);

impl Drop for Ending {
    fn drop(&mut self) {
        let work = lock(&self.0.state).work.take();
        // After the lock, since whoever gave the lease may do anything when it ends.
        drop(work);
    }
}

/// Puts the order on the request of each attempt: a clone of a request, which the SDK makes for each, has no extensions.
#[derive(Clone, Debug)]
pub struct Attach(pub Arc<Order>);

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for Attach {
    fn name(&self) -> &'static str {
        "nixl_store::Attach"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        context.request_mut().add_extension(Arc::clone(&self.0));
        Ok(())
    }
}
