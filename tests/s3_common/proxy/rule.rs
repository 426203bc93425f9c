//! What the proxy does to which request.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::seen::{Kind, Seen};
use crate::s3_common::http::Head;
use crate::s3_common::wait;

/// Something that a test wants done while a request waits.
pub type Hook = Arc<dyn Fn(&Seen) + Send + Sync>;

/// One way to go wrong. Bytes are counted in the body, without its framing.
#[derive(Clone)]
pub enum Fault {
    /// The connection is reset when the request's head is here.
    Reset,
    /// The connection is reset after so much of the request's body; the server never sees the rest.
    ResetInRequest(u64),
    /// The request is carried out, and the connection reset in place of the answer.
    LoseAnswer,
    /// The connection is reset after so much of the answer's body.
    ResetInAnswer(u64),
    /// The connection ends properly after so much of the answer's body.
    CutAnswer(u64),
    /// Nothing more is read after so much of the request's body.
    StallInRequest(u64),
    /// The request is carried out, and nothing comes back.
    StallBeforeAnswer,
    /// Nothing more comes after so much of the answer's body.
    StallInAnswer(u64),
    /// The proxy answers instead of the server, when it has read the whole request.
    Answer { status: u16, code: &'static str, headers: Vec<(&'static str, String)> },
    /// The same without reading the body, and the connection is closed.
    AnswerEarly { status: u16, code: &'static str },
    /// A bit of the answer's body is wrong, at so many bytes into it.
    FlipAnswer(u64),
    /// The server does not get to see this header.
    StripRequest(&'static str),
    /// The library does not get to see this header.
    StripAnswer(&'static str),
    /// The head of the answer is changed.
    EditAnswer(Arc<dyn Fn(&mut Head) + Send + Sync>),
    /// The text of the answer's body is another.
    RewriteAnswer(Arc<dyn Fn(&str) -> String + Send + Sync>),
    /// The answer comes in chunks of so many bytes, without a length.
    ChunkAnswer(usize),
    /// The answer comes in pieces of so many bytes, with a pause after each.
    Trickle(usize, Duration),
    /// Something happens before the server gets the request.
    Before(Hook),
    /// The request waits at a gate before the server gets it.
    Hold(Arc<Gate>),
}

impl Fault {
    pub fn answer(status: u16, code: &'static str) -> Fault {
        Fault::Answer { status, code, headers: Vec::new() }
    }

    /// As S3 answers for a bucket that is elsewhere.
    pub fn redirect(region: &str) -> Fault {
        let headers = vec![("x-amz-bucket-region", region.to_owned())];
        Fault::Answer { status: 301, code: "PermanentRedirect", headers }
    }

    pub fn before(hook: impl Fn(&Seen) + Send + Sync + 'static) -> Fault {
        Fault::Before(Arc::new(hook))
    }

    pub fn rewrite(rewrite: impl Fn(&str) -> String + Send + Sync + 'static) -> Fault {
        Fault::RewriteAnswer(Arc::new(rewrite))
    }

    pub fn edit(edit: impl Fn(&mut Head) + Send + Sync + 'static) -> Fault {
        Fault::EditAnswer(Arc::new(edit))
    }
}

/// Which requests meet a fault.
#[derive(Clone)]
pub struct Rule {
    kinds: Vec<Kind>,
    named: Option<String>,
    skip: usize,
    times: usize,
    every: usize,
    pub(super) fault: Fault,
}

impl Rule {
    /// Every request meets it.
    pub fn any(fault: Fault) -> Rule {
        Rule { kinds: Vec::new(), named: None, skip: 0, times: usize::MAX, every: 1, fault }
    }

    /// Every request of this kind meets it.
    pub fn on(kind: Kind, fault: Fault) -> Rule {
        Rule::any(fault).or_on(kind)
    }

    pub fn or_on(mut self, kind: Kind) -> Rule {
        self.kinds.push(kind);
        self
    }

    /// Only those whose object's name holds this.
    pub fn named(mut self, text: impl Into<String>) -> Rule {
        self.named = Some(text.into());
        self
    }

    /// The first ones pass.
    pub fn after(mut self, passed: usize) -> Rule {
        self.skip = passed;
        self
    }

    /// At most so many meet it.
    pub fn times(mut self, times: usize) -> Rule {
        self.times = times;
        self
    }

    /// One of so many.
    pub fn every(mut self, requests: usize) -> Rule {
        self.every = requests;
        self
    }

    pub fn once(self) -> Rule {
        self.times(1)
    }
}

/// A rule in force.
pub(super) struct Armed {
    pub rule: Rule,
    matched: usize,
    pub struck: usize,
}

impl Armed {
    pub fn new(rule: Rule) -> Armed {
        Armed { rule, matched: 0, struck: 0 }
    }

    /// Whether this request meets the fault; counts it.
    pub fn meets(&mut self, seen: &Seen) -> bool {
        let rule = &self.rule;
        let is_of_kind = rule.kinds.is_empty() || rule.kinds.contains(&seen.kind);
        if !is_of_kind || !rule.named.as_ref().is_none_or(|text| seen.name.contains(text)) {
            return false;
        }
        self.matched += 1;
        let meets = self.matched > rule.skip
            && (self.matched - rule.skip).is_multiple_of(rule.every)
            && self.struck < rule.times;
        self.struck += usize::from(meets);
        meets
    }
}

/// Where requests wait until the test lets them go.
#[derive(Default)]
pub struct Gate {
    /// Requests that wait, and whether it is open.
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Gate {
    pub fn new() -> Arc<Gate> {
        Arc::default()
    }

    pub fn fault(self: &Arc<Gate>) -> Fault {
        Fault::Hold(Arc::clone(self))
    }

    /// Waits until so many requests wait at once.
    #[track_caller]
    pub fn wait_until_held(&self, requests: usize) {
        let state = self.state.lock().unwrap();
        let (state, late) =
            self.changed.wait_timeout_while(state, wait::LONG, |(held, _)| *held < requests).unwrap();
        assert!(!late.timed_out(), "{} requests came to the gate and not {requests}", state.0);
    }

    pub fn held(&self) -> usize {
        self.state.lock().unwrap().0
    }

    /// Lets all go that wait, and all that come later.
    pub fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }

    pub(super) fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.changed.notify_all();
        // A test that fails never opens it; its proxy must end all the same.
        let mut state = self.changed.wait_timeout_while(state, wait::LONG, |(_, open)| !*open).unwrap().0;
        state.0 -= 1;
    }
}
