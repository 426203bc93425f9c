//! Now or later: what a placement answers where the answer may take long.
//!
//! Opening, naming and removing a file can take as long as the file system likes. A lane that waited for it would keep
//! hundreds of other transfers waiting, so it is given the work instead and has it done elsewhere.

/// An answer, or the work that ends in one.
pub enum Answer<T> {
    /// Known already.
    Now(T),
    /// To be worked out by a thread that may wait.
    Later(Work<T>),
}

/// Work that may wait for storage, and ends in a `T`. Whoever drops it instead of running it drops what it holds.
pub struct Work<T>(Box<dyn FnOnce() -> T + Send>);

impl<T: 'static> Work<T> {
    /// Work to be run once.
    pub fn new(work: impl FnOnce() -> T + Send + 'static) -> Work<T> {
        Work(Box::new(work))
    }

    /// Does it, on the calling thread.
    pub fn run(self) -> T {
        (self.0)()
    }
}

impl<T: 'static> Answer<T> {
    /// Work to be run once.
    pub fn later(work: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
        Answer::Later(Work::new(work))
    }
}
