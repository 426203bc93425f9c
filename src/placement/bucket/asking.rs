//! Questions about many keys: asked side by side, a chain in two rounds.

use std::time::Instant;

use tokio::task::JoinSet;

use super::in_use::{Change, Turn};
use super::keys::{TURN_TIME_MAX, busy};
use super::{Core, chain};
use crate::batch::Question;
use crate::error::{Error, Result, Status};
use crate::layout::files::ObjectName;
use crate::placement::{Asked, Asking, Key, OwnedKey};
use crate::sync::Arc;

/// Keys that are asked for at a time.
const SIDE_BY_SIDE: usize = 128;

impl Core {
    /// Asks one question about many keys; see [`crate::placement::Keys::ask`].
    pub(super) fn ask(self: &Arc<Self>, question: Question, keys: &[Key<'_>], asking: &mut dyn Asking) {
        let is_chain = question == Question::Lookup { chain: true };
        let mut round = Round { core: self, question, keys, asking, known: vec![None; keys.len()] };
        round.answer_known(is_chain);
        if is_chain {
            round.ask(&chain::first_round(keys.len()));
            let end = round.known.iter().position(|known| *known == Some(false)).unwrap_or(keys.len());
            let unknown = chain::second_round(&round.known);
            round.ask(&unknown);
            // Behind the end nobody wants to know.
            for index in end..keys.len() {
                round.answer_unasked(index);
            }
        } else {
            let all: Vec<usize> = (0..keys.len()).collect();
            round.ask(&all);
        }
    }

    async fn answer(
        self: &Arc<Self>,
        question: Question,
        key: &OwnedKey,
        deadline: Option<Instant>,
    ) -> Result<Option<Asked>> {
        let done = |done: bool| if done { Asked::Done { length: None } } else { Asked::NotFound };
        Ok(Some(match question {
            Question::Lookup { .. } => match self.length(key, deadline).await? {
                Some(length) => Asked::Done { length: Some(length) },
                None => Asked::NotFound,
            },
            Question::Unpin => done(self.unpin(&key.key())?),
            Question::Remove | Question::Pin => {
                let name = self.name(&key.key())?;
                // A put of the key is under way: whoever waits for it must not hold up the others.
                let Some(turn) = self.in_use.try_turn(self.names.id_of(&name)) else { return Ok(None) };
                self.change(question, key, &name, deadline, &turn).await?
            }
        }))
    }

    async fn change(
        self: &Arc<Self>,
        question: Question,
        key: &OwnedKey,
        name: &ObjectName,
        deadline: Option<Instant>,
        turn: &Turn,
    ) -> Result<Asked> {
        if question == Question::Remove {
            return self.take_out(key, name, deadline, turn).await;
        }
        let is_pinned = self.pin(key, name, deadline, turn).await?;
        Ok(if is_pinned { Asked::Done { length: None } } else { Asked::NotFound })
    }
}

/// Keys of one batch, and what is known of them.
struct Round<'r, 'k> {
    core: &'r Arc<Core>,
    question: Question,
    keys: &'r [Key<'k>],
    asking: &'r mut dyn Asking,
    /// Whether a key is there; `None`: not asked, or it could not be told.
    known: Vec<Option<bool>>,
}

impl Round<'_, '_> {
    /// Answers what takes no round trip.
    fn answer_known(&mut self, is_chain: bool) {
        if !matches!(self.question, Question::Lookup { .. }) {
            return;
        }
        for (index, key) in self.keys.iter().enumerate() {
            let known = self.core.known(key);
            let Some(known) = known.transpose() else { continue };
            let is_there = matches!(known, Ok(Asked::Done { .. }));
            self.known[index] = Some(is_there);
            self.asking.answer(index, known);
            if is_chain && !is_there {
                break;
            }
        }
    }

    /// Asks for those keys that are not known yet.
    fn ask(&mut self, indices: &[usize]) {
        let mut waiting = indices.iter().copied();
        loop {
            let deadline = self.asking.deadline();
            let mut taken = Vec::new();
            while taken.len() < SIDE_BY_SIDE
                && let Some(index) = waiting.next()
            {
                if self.known[index].is_none() && self.asking.begin(index) {
                    taken.push((index, self.keys[index].to_owned()));
                }
            }
            if taken.is_empty() {
                return;
            }
            self.ask_at_once(taken, deadline);
        }
    }

    fn ask_at_once(&mut self, taken: Vec<(usize, OwnedKey)>, deadline: Option<Instant>) {
        let (core, question) = (Arc::clone(self.core), self.question);
        let mut unanswered = taken.clone();
        let answers = self.core.bucket.client.block_on(async move {
            let mut under_way = JoinSet::new();
            for (index, key) in taken {
                let core = Arc::clone(&core);
                under_way.spawn(async move { (index, core.answer(question, &key, deadline).await) });
            }
            let mut answers = Vec::new();
            while let Some(answer) = under_way.join_next().await {
                answers.extend(answer.ok());
            }
            answers
        });
        let mut busy = Vec::new();
        for (index, answer) in answers {
            let at = unanswered.iter().position(|(other, _)| *other == index);
            let Some((_, key)) = at.map(|at| unanswered.swap_remove(at)) else { continue };
            match answer.transpose() {
                Some(answer) => self.tell(index, answer),
                None => busy.push((index, key)),
            }
        }
        for (index, key) in busy {
            self.wait_and_change(index, &key, deadline);
        }
        for (index, _) in unanswered {
            // The panic's message went to stderr.
            self.tell(index, Err(Error::new(Status::Internal, "a question to the server panicked")));
        }
    }

    /// Removes or pins a key of which a put was under way.
    fn wait_and_change(&mut self, index: usize, key: &OwnedKey, deadline: Option<Instant>) {
        let (core, question) = (Arc::clone(self.core), self.question);
        let until = Instant::now() + TURN_TIME_MAX;
        let until = deadline.map_or(until, |deadline| deadline.min(until));
        let answer = core.name(&key.key()).and_then(|name| {
            let id = core.names.id_of(&name);
            let what = if question == Question::Remove { "removing" } else { "pinning" };
            let turn = core.in_use.turn(id, Change::Other, until).ok_or_else(|| busy(what, key))?;
            let (changing, key) = (Arc::clone(&core), key.clone());
            core.bucket
                .client
                .block_on(async move { changing.change(question, &key, &name, deadline, &turn).await })
        });
        self.tell(index, answer);
    }

    fn tell(&mut self, index: usize, answer: Result<Asked>) {
        // An error ends a chain as well: what lies behind is of no use to whoever asks.
        self.known[index] = Some(matches!(answer, Ok(Asked::Done { .. })));
        self.asking.answer(index, answer);
    }

    /// A key behind the end of its chain.
    fn answer_unasked(&mut self, index: usize) {
        if self.known[index].is_none() {
            self.asking.answer(index, Ok(Asked::NotFound));
        }
    }
}
