//! What was found about one thing, and what it comes to.

use serde::Serialize;

/// How good it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Ok,
    /// The store works, but not as well as it could.
    CouldBeBetter,
    /// The store does not open, or loses what it is for.
    Broken,
}

/// One finding. The names of its fields are those of the JSON document, and stay.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How good it is.
    pub state: State,
    /// What is in effect.
    pub found: String,
    /// Why it is not better.
    pub why: Option<String>,
    /// What to do about it.
    pub advice: Vec<String>,
}

impl Finding {
    fn new(check: &'static str, state: State, found: impl Into<String>) -> Finding {
        Finding { check, state, found: found.into(), why: None, advice: Vec::new() }
    }

    /// All is well.
    pub fn ok(check: &'static str, found: impl Into<String>) -> Finding {
        Finding::new(check, State::Ok, found)
    }

    /// It works, and could be better.
    pub fn better(check: &'static str, found: impl Into<String>) -> Finding {
        Finding::new(check, State::CouldBeBetter, found)
    }

    /// It does not work.
    pub fn broken(check: &'static str, found: impl Into<String>) -> Finding {
        Finding::new(check, State::Broken, found)
    }

    /// Adds why it is so.
    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Finding {
        self.why = Some(why.into()).filter(|why| !why.is_empty());
        self
    }

    /// Adds something to do.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Finding {
        self.advice.push(advice.into());
        self
    }

    /// The same about what this store does not use: it may be as it is.
    #[must_use]
    pub fn not_needed(mut self) -> Finding {
        if self.state != State::Ok {
            self.state = State::Ok;
            self.found = format!("not used by this store: {}", self.found);
            self.advice.clear();
        }
        self
    }
}

/// What all findings come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing could be better.
    Usable,
    /// The store works, and something could be better.
    CouldBeBetter,
    /// The store does not work.
    NotUsable,
}

/// How many findings are of a state.
pub fn count(findings: &[Finding], state: State) -> usize {
    findings.iter().filter(|finding| finding.state == state).count()
}

/// What the findings come to.
pub fn verdict(findings: &[Finding]) -> Verdict {
    match (count(findings, State::Broken), count(findings, State::CouldBeBetter)) {
        (0, 0) => Verdict::Usable,
        (0, _) => Verdict::CouldBeBetter,
        _ => Verdict::NotUsable,
    }
}
