//! The client's own thread `nixl-s3`: a current-thread runtime for what is not part of a lane's.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread, ThreadId};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::sync::{Mutex, lock};
use crate::sys::thread::spawn;

/// Threads that look names up, which the C library does by blocking.
const NAME_THREADS_MAX: usize = 2;

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub struct Runtime {
    handle: Handle,
    /// Dropped to end the thread.
    running: Option<oneshot::Sender<()>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    id: ThreadId,
}

impl Runtime {
    /// Starts the thread.
    ///
    /// # Errors
    /// No thread, or no file descriptors for the runtime.
    pub fn start() -> Result<Runtime> {
        let failed = |error: &std::io::Error| Error::no_thread("starting the thread nixl-s3", error);
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(NAME_THREADS_MAX)
            .thread_name("nixl-s3-names")
            .build()
            .map_err(|error| Error::os("starting the runtime of nixl-s3", &error))?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel::<()>();
        let thread = spawn("nixl-s3", move || {
            // An error is what is waited for: the sender is gone.
            let _ = runtime.block_on(ended);
            // A name that is being looked up is not waited for.
            runtime.shutdown_background();
        })
        .map_err(|error| failed(&error))?;
        let id = thread.thread().id();
        Ok(Runtime { handle, running: Some(running), thread: Mutex::new(Some(thread)), id })
    }

    /// The runtime's handle. It does not keep the thread.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs `work` on the thread and waits for it. A panic in it goes on here.
    pub fn block_on<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        if std::thread::current().id() == self.id {
            resume_unwind(Box::new("nixl-s3 must not wait for itself"));
        }
        match park_on(self.handle.spawn(work)) {
            Ok(value) => value,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => resume_unwind(Box::new("nixl-s3 ended before its work")),
            },
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.running.take());
        // Work that holds the last client may drop it on the thread itself, which cannot wait for its own end.
        if std::thread::current().id() != self.id
            && let Some(thread) = lock(&self.thread).take()
        {
            let _ = thread.join();
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Drives a future on this thread, which sleeps in between.
fn park_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn threads() -> Vec<String> {
        let tasks = std::fs::read_dir("/proc/self/task").expect("proc");
        let name = |task: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
        };
        tasks.filter_map(name).map(|name| name.trim().to_owned()).collect()
    }

    /// Work is done on the thread, which takes no signals, and its answer comes back.
    #[test]
    fn work_is_done_on_the_clients_thread() {
        let runtime = Runtime::start().expect("starts");
        let name = runtime.block_on(async {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            std::thread::current().name().map(str::to_owned)
        });
        assert_eq!(name.as_deref(), Some("nixl-s3"));
    }

    /// A panic in the work is the caller's, who does not wait for ever; the thread serves the next one.
    #[test]
    fn a_panic_in_the_work_does_not_hang_the_caller() {
        let runtime = Runtime::start().expect("starts");
        let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(async { panic!("in the work") })));
        let panic = outcome.expect_err("a panic");
        assert_eq!(crate::error::panic_message(&*panic), "in the work");
        assert_eq!(runtime.block_on(async { 7 }), 7);
    }

    /// The thread is gone when the last owner is, also one that is dropped by work on the thread itself.
    #[test]
    fn the_thread_ends_with_its_last_owner() {
        let runtime = Arc::new(Runtime::start().expect("starts"));
        let owner = Arc::clone(&runtime);
        let (sender, dropped) = std::sync::mpsc::channel::<()>();
        runtime.handle().spawn(async move {
            // Until the test has let go of its own.
            while Arc::strong_count(&owner) > 1 {
                tokio::task::yield_now().await;
            }
            drop(owner);
            drop(sender);
        });
        drop(runtime);
        assert!(dropped.recv().is_err());
        let runtime = Runtime::start().expect("starts");
        drop(runtime);
        // Joined, so it is not among them; that other tests run their own beside this one is why no more is asserted.
        assert!(threads().len() < 1000);
    }

    /// Work that is under way when the thread ends is dropped, and what it holds with it.
    #[test]
    fn work_under_way_is_dropped_with_the_thread() {
        let runtime = Runtime::start().expect("starts");
        let held = Arc::new(());
        let holder = Arc::clone(&held);
        runtime.handle().spawn(async move {
            std::future::pending::<()>().await;
            drop(holder);
        });
        drop(runtime);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
