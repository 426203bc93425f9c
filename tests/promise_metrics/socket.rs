//! The status socket of a store: who reads from it, and who only disturbs.

use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use nixl_store::capi::*;
use nixl_store::status::{self, Socket};

use crate::common::status::OK;
use crate::common::{Scratch, Setup, Store, payload};
use crate::text::Text;
use crate::{KIB, text};

/// How long what should not wait may take, on a machine that may be busy.
const TIME_MAX: Duration = Duration::from_secs(60);

/// The socket of a store of this process.
#[track_caller]
fn socket_of(store: &Store) -> PathBuf {
    let number: u64 = text(store).labels("nixl_store_info")[0]["store"].parse().unwrap();
    let pid = std::process::id();
    let is_its = |socket: &Socket| socket.pid == pid && socket.store == number;
    let socket = status::list().into_iter().find(is_its);
    socket.unwrap_or_else(|| panic!("no socket: {:?}", store.log())).path
}

/// Read again and again while the store works, it answers each time, with numbers that never fall.
#[test]
fn it_answers_while_the_store_works() {
    const READS: usize = 50;
    let scratch = Scratch::new("metrics");
    let setup = Setup { chunk_bytes: 64 * KIB as u64, ..Setup::POOL };
    let store = Store::open(&setup, &scratch);
    let socket = socket_of(&store);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let directory = std::fs::metadata(socket.parent().unwrap()).unwrap();
    assert_eq!(directory.permissions().mode() & 0o777, 0o700);
    let object = payload(1, 64 * KIB);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..2u8 {
            let (store, object, is_over) = (&store, &object, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    assert_eq!(store.put(&[thread], object), OK);
                    assert_eq!(store.get(&[thread], &mut vec![0; 64 * KIB]).0, OK);
                }
            });
        }
        let mut last = 0;
        let reads: Vec<Result<u64, String>> = (0..READS)
            .map(|_| {
                let told = status::read(&socket).map_err(|error| error.message().to_owned())?;
                Ok(Text::read(&told).sum("nixl_store_latency_seconds_count", &[]) as u64)
            })
            .collect();
        is_over.store(true, Ordering::SeqCst);
        for read in reads {
            let count = read.unwrap();
            assert!(count >= last);
            last = count;
        }
    });
    let told = Text::read(&status::read(&socket).unwrap());
    assert_eq!(told.one("nixl_store_gets_total", &[("outcome", "hit")]), store.stats().gets_hit);
}

/// Clients that hang keep neither the store from working nor its close from ending, and with that the socket is gone.
#[test]
fn a_hanging_client_disturbs_nothing() {
    /// More than have their second each within `TIME_MAX`.
    const CLIENTS: usize = 100;
    let scratch = Scratch::new("metrics");
    let store = Store::open(&Setup::POOL, &scratch);
    let socket = socket_of(&store);
    let mut hanging: Vec<UnixStream> = (0..CLIENTS).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    hanging[1].write_all(b"GET /met").unwrap();
    let object = payload(1, 64 * KIB);
    assert_eq!(store.put(b"key", &object), OK);
    assert_eq!(store.fetch(b"key", 64 * KIB), Some(object));
    let (closed, has_closed) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| closed.send(store.close()).unwrap());
        assert_eq!(has_closed.recv_timeout(TIME_MAX).unwrap(), OK);
    });
    assert!(!socket.exists());
    // They hear of the end, each of them: no descriptor was left behind.
    for mut client in hanging {
        client.set_read_timeout(Some(TIME_MAX)).unwrap();
        let told = client.read(&mut [0; 100]);
        assert!(
            matches!(&told, Ok(0)) || told.is_err_and(|error| error.raw_os_error() == Some(libc::ECONNRESET))
        );
    }
}

/// A configuration that wants none has none, and no thread for it.
#[test]
fn it_can_be_switched_off() {
    let scratch = Scratch::new("metrics");
    let setup = Setup { more: "  nixl_store_status_socket: false\n", ..Setup::MEMORY };
    let store = Store::open(&setup, &scratch);
    let number: u64 = text(&store).labels("nixl_store_info")[0]["store"].parse().unwrap();
    assert!(status::list().iter().all(|socket| (socket.pid, socket.store) != (std::process::id(), number)));
    assert_eq!(store.logged("can be read at"), 0);
    assert_eq!(store.put(b"key", b"object"), OK);
}

/// Whether this process has a socket of that name open. Allocates nothing, as it runs in a forked child.
fn holds(name: &[u8]) -> bool {
    const DESCRIPTORS: i32 = 1024;
    (0..DESCRIPTORS).any(|descriptor| {
        // SAFETY: plain old data, for which all zeros is valid.
        let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        let mut length = size_of_val(&address) as libc::socklen_t;
        // SAFETY: a place of that length for the address.
        let told = unsafe { libc::getsockname(descriptor, (&raw mut address).cast(), &raw mut length) };
        let path = address.sun_path.iter().map(|letter| letter.cast_unsigned());
        told == 0 && path.take(name.len()).eq(name.iter().copied())
    })
}

/// A child that closes what it inherited, or ends, leaves the parent its socket.
#[test]
fn a_forked_child_leaves_the_parent_its_socket() {
    /// Seconds after which a child that waits is ended.
    const CHILD_SECONDS_MAX: u32 = 20;
    let scratch = Scratch::new("metrics");
    let store = Store::open(&Setup::MEMORY, &scratch);
    let socket = socket_of(&store);
    let (handle, name) = (store.handle(), socket.as_os_str().as_bytes().to_vec());
    let mut buffer = vec![0_u8; 64 << 10];
    let (start, capacity, mut length) = (buffer.as_mut_ptr().cast(), buffer.len(), 0);
    // SAFETY: the child calls the library as the header lets it, and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: memory of that capacity, a place for the length, a handle of the parent's.
        unsafe {
            libc::alarm(CHILD_SECONDS_MAX);
            let forked = nixl_store_metrics_text(handle, start, capacity, &raw mut length);
            let none = nixl_store_metrics_text(ptr::null_mut(), start, capacity, &raw mut length);
            let had = holds(&name);
            let closed = nixl_store_close(handle);
            let is_right = had
                && !holds(&name)
                && (forked, none, closed) == (NIXL_STORE_ERROR_FORKED, NIXL_STORE_OK, NIXL_STORE_OK);
            libc::_exit(i32::from(!is_right || buffer[..length].windows(7).any(|bytes| bytes == b"{store=")));
        }
    }
    let mut ended = -1;
    // SAFETY: `ended` outlives the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut ended, 0) }, child);
    assert_eq!(ended, 0);
    assert!(status::read(&socket).unwrap().ends_with("# EOF\n"));
    assert_eq!(store.close(), OK);
    assert!(!socket.exists());
}
