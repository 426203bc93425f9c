//! What a batch asks about keys, where it moves no bytes.

/// What is asked about each key of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether it is stored, and how long its object is.
    Lookup {
        /// The keys are a chain: nobody wants to know about those behind the first that is not stored.
        chain: bool,
    },
    /// Remove it.
    Remove,
    /// Keep it from eviction and removal.
    Pin,
    /// Take one pin back.
    Unpin,
}

impl Question {
    /// Whether an answer may give back something that puts wait for.
    pub fn gives_back(self) -> bool {
        matches!(self, Question::Remove | Question::Unpin)
    }
}
