//! HTTP/1.1 under the SDK: bodies go from the caller's slices to the socket and from the socket into them.
//!
//! | file | owns |
//! | --- | --- |
//! | `order.rs` | what a call asks for beyond HTTP, and what became of it |
//! | `exchange.rs` | one attempt |
//! | `send.rs`, `head.rs`, `body.rs` | what goes out and comes in, within bounds |
//! | `verdict.rs`, `landing.rs` | whether a body may land; landing it, with sums |
//! | `pool.rs`, `stream.rs`, `tls.rs` | connections, kept and new; sockets; certificates |
//! | `pace.rs`, `fault.rs` | bounds on time; what goes wrong |

#[forbid(unsafe_code)]
mod body;
#[forbid(unsafe_code)]
pub mod exchange;
#[forbid(unsafe_code)]
pub mod fault;
#[forbid(unsafe_code)]
pub mod head;
mod landing;
#[forbid(unsafe_code)]
pub mod order;
#[forbid(unsafe_code)]
pub mod pace;
#[forbid(unsafe_code)]
mod pool;
#[forbid(unsafe_code)]
mod send;
#[forbid(unsafe_code)]
mod stream;
#[forbid(unsafe_code)]
pub mod tls;
#[forbid(unsafe_code)]
pub mod verdict;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

use exchange::{Answer, Request};
use fault::Fault;
use order::Order;
use pace::Times;
use pool::Pool;
use tls::Tls;

/// The connections of one client on one runtime. Clones are the same.
#[derive(Clone, Debug)]
pub struct Connector(std::sync::Arc<Pool>);

impl Connector {
    /// A connector without connections yet, and of at most so many.
    pub fn new(connections_max: usize, tls: std::sync::Arc<Tls>, times: Times) -> Connector {
        Connector(std::sync::Arc::new(Pool::new(connections_max, tls, times)))
    }

    /// Makes one attempt with a request that the SDK has not seen.
    ///
    /// # Errors
    /// There is no answer, or none that can be used.
    pub async fn send(&self, request: Request, order: &crate::sync::Arc<Order>) -> Result<Answer, Fault> {
        exchange::run_written(&self.0, request, order).await
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let pool = std::sync::Arc::clone(&self.0);
        HttpConnectorFuture::new(
            async move { exchange::run(&pool, request).await.map_err(ConnectorError::from) },
        )
    }
}

impl HttpClient for Connector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
