//! A proxy between the library and a server: passes HTTP/1.1 on, tells what it saw, and breaks what the rules of a
//! test name ([`rule`]). A thread for each connection ([`relay`]); all ends when the proxy is dropped.

mod relay;
pub mod rule;
pub mod seen;

use std::collections::HashMap;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::http::Head;
use super::{BUCKET, Server, tls, wait};
use rule::Armed;
pub use rule::{Fault, Gate, Rule};
pub use seen::{Kind, Seen, peak};

/// A running proxy.
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

/// What its threads share.
struct Shared {
    upstream: SocketAddr,
    tls: Option<Arc<rustls::ServerConfig>>,
    rules: Mutex<Vec<Armed>>,
    seen: Mutex<Vec<Seen>>,
    clock: AtomicU64,
    /// Connections that are open, to end them.
    open: Mutex<HashMap<u64, TcpStream>>,
    connections: AtomicU64,
    stopping: AtomicBool,
    /// How often the rules were lifted.
    healed: AtomicU64,
}

/// Names a rule that is in force.
#[derive(Clone, Copy, Debug)]
pub struct RuleId(usize);

impl Proxy {
    /// Before the server of this process.
    pub fn new() -> Proxy {
        Proxy::before(Server::of_this_process().address, None)
    }

    /// The same, with TLS towards the library: a certificate of the tests' own authority for 127.0.0.1 and localhost.
    pub fn over_tls() -> Proxy {
        Proxy::before(Server::of_this_process().address, Some(tls::server_config()))
    }

    pub fn before(upstream: SocketAddr, tls: Option<Arc<rustls::ServerConfig>>) -> Proxy {
        let shared = Arc::new(Shared {
            upstream,
            tls,
            rules: Mutex::default(),
            seen: Mutex::default(),
            clock: AtomicU64::new(0),
            open: Mutex::default(),
            connections: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            healed: AtomicU64::new(0),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().unwrap();
        let acceptor = Some(accept(&shared, listener));
        Proxy { shared, address, acceptor }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `endpoint_override` has to be.
    pub fn endpoint(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Puts a rule in force, behind those that are.
    pub fn add(&self, rule: Rule) -> RuleId {
        let mut rules = self.shared.rules.lock().unwrap();
        rules.push(Armed::new(rule));
        RuleId(rules.len() - 1)
    }

    /// How many requests have met it.
    pub fn struck(&self, rule: RuleId) -> usize {
        self.shared.rules.lock().unwrap()[rule.0].struck
    }

    /// No rule is in force any more. Requests that stall are not answered; but what they still send is read and thrown
    /// away, or nobody could tell whether the library has closed their connections.
    pub fn heal(&self) {
        self.shared.rules.lock().unwrap().clear();
        self.shared.healed.fetch_add(1, Ordering::SeqCst);
    }

    /// Refuses connections from now on, and resets those that are open.
    pub fn refuse(&mut self) {
        self.stop();
    }

    /// Accepts them again.
    pub fn accept_again(&mut self) {
        assert!(self.acceptor.is_none());
        self.shared.stopping.store(false, Ordering::SeqCst);
        // Connections that were reset leave nothing behind that holds the port.
        let listener = TcpListener::bind(self.address).expect("the port that this proxy had");
        self.acceptor = Some(accept(&self.shared, listener));
    }

    /// All requests so far, in the order of their coming.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Those of a kind.
    pub fn seen_of(&self, kind: Kind) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.kind == kind).collect()
    }

    pub fn count(&self, kind: Kind) -> usize {
        self.shared.seen.lock().unwrap().iter().filter(|seen| seen.kind == kind).count()
    }

    /// Forgets what was seen. Not while requests are under way.
    pub fn forget(&self) {
        self.shared.seen.lock().unwrap().clear();
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.shared.open.lock().unwrap().len()
    }

    /// Waits until the library has closed all connections.
    #[track_caller]
    pub fn wait_until_idle(&self) {
        wait::until("all connections are closed", wait::LONG, || (self.connections() == 0).then_some(()));
    }

    fn stop(&mut self) {
        let Some(acceptor) = self.acceptor.take() else { return };
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes who accepts.
        drop(TcpStream::connect(self.address));
        acceptor.join().expect("the proxy's thread");
        for stream in self.shared.open.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        wait::until("the proxy's threads end", wait::LONG * 2, || (self.connections() == 0).then_some(()));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// A request came: its place in the list, and the faults that it meets.
    fn arrive(&self, head: &Head, connection: u64) -> (usize, Seen, Vec<Fault>) {
        let mut all = self.seen.lock().unwrap();
        let seen = Seen::of(head, BUCKET, connection, self.tick());
        all.push(seen.clone());
        let place = all.len() - 1;
        drop(all);
        let mut rules = self.rules.lock().unwrap();
        let faults = rules
            .iter_mut()
            .filter_map(|armed| armed.meets(&seen).then(|| armed.rule.fault.clone()))
            .collect();
        (place, seen, faults)
    }

    fn note(&self, place: usize, change: impl FnOnce(&mut Seen)) {
        if let Some(seen) = self.seen.lock().unwrap().get_mut(place) {
            change(seen);
        }
    }
}

fn accept(shared: &Arc<Shared>, listener: TcpListener) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    let run = move || {
        for stream in listener.incoming() {
            if shared.stopping.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else { continue };
            let _ = stream.set_nodelay(true);
            let connection = shared.connections.fetch_add(1, Ordering::SeqCst);
            shared.open.lock().unwrap().insert(connection, stream.try_clone().expect("a descriptor"));
            let shared = Arc::clone(&shared);
            let serve = move || {
                relay::serve(&shared, stream, connection);
                shared.open.lock().unwrap().remove(&connection);
            };
            std::thread::spawn(serve);
        }
    };
    std::thread::spawn(run)
}
