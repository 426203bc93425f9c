//! The system's allocator, counting what every thread of the process asks of it while that is wanted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Traces kept of one measurement; the first ones usually tell.
const TRACES_MAX: u64 = 4;

pub struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicU64 = AtomicU64::new(0);
static TRACES: Mutex<Vec<(&str, Backtrace)>> = Mutex::new(Vec::new());

thread_local! {
    /// Taking a trace allocates.
    static TAKES_TRACE: Cell<bool> = const { Cell::new(false) };
}

fn note(what: &'static str) {
    if !COUNTS.load(Ordering::SeqCst) || TAKES_TRACE.get() {
        return;
    }
    if CALLS.fetch_add(1, Ordering::SeqCst) < TRACES_MAX {
        TAKES_TRACE.set(true);
        let trace = Backtrace::force_capture();
        TRACES.lock().unwrap().push((what, trace));
        TAKES_TRACE.set(false);
    }
}

// SAFETY: every call is the system allocator's own, with its arguments as they came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note("alloc");
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note("alloc_zeroed");
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note("realloc");
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, bytes) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note("dealloc");
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Calls of the allocator, by any thread, while `body` runs, and where the first of them came from.
pub fn calls_during(body: impl FnOnce()) -> (u64, String) {
    CALLS.store(0, Ordering::SeqCst);
    COUNTS.store(true, Ordering::SeqCst);
    body();
    COUNTS.store(false, Ordering::SeqCst);
    let traces = std::mem::take(&mut *TRACES.lock().unwrap());
    let shown = traces.iter().map(|(what, trace)| format!("{what}\n{}", of_ours(trace))).collect();
    (CALLS.load(Ordering::SeqCst), shown)
}

/// The frames of a trace that lie in this package, each with its place, which the next line tells.
fn of_ours(trace: &Backtrace) -> String {
    let text = trace.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let frames = lines.windows(2).filter(|frame| frame[1].starts_with("at ./"));
    frames.map(|frame| format!("  {} {}\n", frame[0], frame[1])).collect()
}
