//! Every fault against every kind of call. A call ends within its deadline with the right answer, or with a clear error
//! on the item that met the fault, never with a wrong byte; nothing is left under way, and when the fault is gone the
//! store serves as before.

use std::time::{Duration, Instant};

use crate::crash_common::api::{Failure, Store};
use crate::crash_common::chunk;
use crate::place::{LARGE, Place, SMALL, put, wait_until_served};
use crate::s3_common::{Fault, Kind, Proxy, Rule, wait};
use nixl_store::capi::*;

/// The deadline of a call that is to succeed, on a machine that may be busy.
const DEADLINE: Duration = Duration::from_secs(60);
/// The deadline of a call that is to fail.
const SHORT_DEADLINE: Duration = Duration::from_secs(5);
/// How much later a call may end on such a machine.
const LATE_MAX: Duration = Duration::from_secs(10);

/// What may become of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum May {
    /// It has to be right, as if nothing had been.
    BeRight,
    /// It has to fail.
    Fail,
    /// It may be a miss too: what came cannot be believed.
    Miss,
}

/// A fault: on which requests, how often, and what it may do to gets and to puts.
struct Case {
    name: &'static str,
    rule: Rule,
    gets: May,
    puts: May,
}

/// Any request about an object.
fn objects(fault: Fault) -> Rule {
    let kinds = [
        Kind::Head,
        Kind::Put,
        Kind::CreateUpload,
        Kind::Part,
        Kind::CompleteUpload,
        Kind::AbortUpload,
        Kind::Delete,
    ];
    kinds.into_iter().fold(Rule::on(Kind::Get, fault), Rule::or_on)
}

fn gets(fault: Fault) -> Rule {
    Rule::on(Kind::Get, fault)
}

fn writes(fault: Fault) -> Rule {
    Rule::on(Kind::Put, fault).or_on(Kind::Part)
}

/// What passes is tried again, and nobody notices.
fn passing() -> Vec<Case> {
    let case = |name, rule: Rule| Case { name, rule, gets: May::BeRight, puts: May::BeRight };
    vec![
        case("a reset", objects(Fault::Reset).once()),
        case("a reset in a request", writes(Fault::ResetInRequest(50_000)).once()),
        case("an answer lost", objects(Fault::LoseAnswer).once()),
        case("a reset in an answer", gets(Fault::ResetInAnswer(50_000)).once()),
        case("a reset in a large answer", gets(Fault::ResetInAnswer(900_000)).after(1).once()),
        case("an answer cut", gets(Fault::CutAnswer(50_000)).once()),
        case("an answer cut at once", gets(Fault::CutAnswer(0)).once()),
        case("500", objects(Fault::answer(500, "InternalError")).once()),
        case("503", objects(Fault::answer(503, "SlowDown")).once()),
        case("503 twice", objects(Fault::answer(503, "SlowDown")).times(2)),
        case(
            "503 before the body is read",
            writes(Fault::AnswerEarly { status: 503, code: "SlowDown" }).once(),
        ),
        case("chunked answers", gets(Fault::ChunkAnswer(10_000))),
        case("slow answers", gets(Fault::Trickle(16_384, Duration::from_micros(500)))),
        case("no ETag", Rule::on(Kind::Get, Fault::StripAnswer("ETag")).or_on(Kind::Head).or_on(Kind::Put)),
    ]
}

/// What stays is told.
fn lasting() -> Vec<Case> {
    let case = |name, rule: Rule| Case { name, rule, gets: May::Fail, puts: May::Fail };
    vec![
        case("resets", objects(Fault::Reset)),
        Case { gets: May::BeRight, ..case("resets in requests", writes(Fault::ResetInRequest(50_000))) },
        case("answers lost", objects(Fault::LoseAnswer)),
        Case { puts: May::BeRight, ..case("resets in answers", gets(Fault::ResetInAnswer(50_000))) },
        Case { puts: May::BeRight, ..case("answers cut", gets(Fault::CutAnswer(50_000))) },
        case("500 always", objects(Fault::answer(500, "InternalError"))),
        case("503 always", objects(Fault::answer(503, "SlowDown"))),
        Case {
            gets: May::BeRight,
            ..case("503 before bodies are read", writes(Fault::AnswerEarly { status: 503, code: "SlowDown" }))
        },
        case("403", objects(Fault::answer(403, "AccessDenied"))),
        case("a token expired", objects(Fault::answer(400, "ExpiredToken"))),
        case("a clock that is wrong", objects(Fault::answer(403, "RequestTimeTooSkewed"))),
        case("the bucket is gone", objects(Fault::answer(404, "NoSuchBucket"))),
        case("another region", objects(Fault::redirect("eu-west-1"))),
    ]
}

/// What comes is not what was put.
fn lying() -> Vec<Case> {
    let case = |name, rule: Rule| Case { name, rule, gets: May::Miss, puts: May::BeRight };
    let total = |total: &'static str| {
        Fault::edit(move |head| {
            if let Some(range) = head.get("content-range").map(str::to_owned) {
                let (part, _) = range.split_once('/').expect("a total");
                head.set("Content-Range", format!("{part}/{total}"));
            }
        })
    };
    vec![
        case("an answer that is none", gets(Fault::answer(299, "Nonsense"))),
        case("a bit wrong", gets(Fault::FlipAnswer(5000)).once()),
        case("bits wrong", gets(Fault::FlipAnswer(70_000))),
        case("a first bit wrong", gets(Fault::FlipAnswer(0))),
        case("a larger total", gets(total("99999999"))),
        case("a smaller total", gets(total("7"))),
        case("an endless total", gets(total("*"))),
        case("a total that is no number", gets(total("18446744073709551616"))),
        case("no range where one was asked for", gets(Fault::StripRequest("Range"))),
        case("another range", gets(Fault::edit(|head| head.set("Content-Range", "bytes 0-99999/104448")))),
        case(
            "a length that is too long",
            gets(Fault::edit(|head| head.set("Content-Length", "99999999999999"))),
        ),
        case("a length that is too short", gets(Fault::edit(|head| head.set("Content-Length", "10")))),
        case("a length that is none", gets(Fault::edit(|head| head.set("Content-Length", "-1")))),
        case("a head without end", gets(Fault::edit(|head| head.set("X-Long", "x".repeat(60_000))))),
    ]
}

/// How a call ended.
#[derive(Debug)]
enum End {
    Right,
    Missed,
    Failed(Failure),
}

impl Case {
    fn deadline(&self) -> Duration {
        if self.gets == May::Fail || self.puts == May::Fail { SHORT_DEADLINE } else { DEADLINE }
    }
}

struct Cell<'c> {
    case: &'c Case,
    store: &'c Store,
}

impl Cell<'_> {
    fn call(&self, what: &str, may: May, call: impl FnOnce(&Store) -> End) {
        let start = Instant::now();
        let end = call(self.store);
        let (took, name) = (start.elapsed(), self.case.name);
        assert!(took < self.case.deadline() + LATE_MAX, "{name}: {what} took {took:?}");
        match (&end, may) {
            (End::Right, May::BeRight | May::Miss) => {}
            (End::Missed, May::Miss) => {}
            (End::Failed(failure), May::Fail | May::Miss) => {
                assert!(failure.status < 0 && !failure.message.is_empty(), "{name}: {what}: {failure}");
            }
            _ => panic!("{name}: {what}: {end:?} and not {may:?}"),
        }
    }

    fn get(&self, key: &str, version: u64, length: usize) {
        let read = |store: &Store| match store.get(key, length) {
            Ok(Some(found)) => {
                assert_eq!(chunk::read(key, &found), Ok(version), "{}: {key}", self.case.name);
                assert_eq!(found.len(), length);
                End::Right
            }
            Ok(None) => End::Missed,
            Err(failure) => End::Failed(failure),
        };
        self.call(&format!("get of {length} bytes"), self.case.gets, read);
    }

    fn put(&self, key: &str, version: u64, length: usize) {
        let write = |store: &Store| match store.put(key, &chunk::fill(key, version, length)) {
            Ok(()) => End::Right,
            Err(failure) => End::Failed(failure),
        };
        self.call(&format!("put of {length} bytes"), self.case.puts, write);
    }
}

fn run(case: &Case) {
    let place = Place::new("fault");
    let proxy = Proxy::new();
    let settings =
        place.dynamic(&proxy.endpoint()).with("nixl_store_timeout_ms", case.deadline().as_millis());
    let store = place.open(&settings);
    for (key, length) in [("small", SMALL), ("large", LARGE), ("kept", SMALL)] {
        put(&store, key, 1, length);
    }
    let rule = proxy.add(case.rule.clone());
    let cell = Cell { case, store: &store };
    cell.get("small", 1, SMALL);
    cell.get("large", 1, LARGE);
    cell.put("new-small", 1, SMALL);
    cell.put("new-large", 1, LARGE);
    cell.put("kept", 2, SMALL);
    assert!(proxy.struck(rule) > 0, "{}: nobody met it", case.name);

    proxy.heal();
    wait::until("puts work again", wait::LONG, || store.put("after", &chunk::fill("after", 1, SMALL)).ok());
    wait_until_served(&store, "after", 1, SMALL);
    for (key, versions, length) in
        [("new-small", 1..=1, SMALL), ("new-large", 1..=1, LARGE), ("kept", 1..=2, SMALL)]
    {
        // A put whose answers are lost may have been done; then it is there as a whole.
        let found = wait::until("an answer", wait::LONG, || store.get(key, length).ok());
        match found {
            Some(found) => {
                let version =
                    chunk::read(key, &found).unwrap_or_else(|wrong| panic!("{}: {wrong}", case.name));
                assert!(found.len() == length && versions.contains(&version), "{}: {key}", case.name);
            }
            None => assert_ne!(case.puts, May::BeRight, "{}: {key} was put", case.name),
        }
    }
    place.end_at(store, &proxy);
}

fn run_all(cases: &[Case]) {
    // Most of a cell is waiting; a few at once keep two cores busy.
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    run(case);
                }
            });
        }
    });
}

#[test]
fn passing_faults_go_unnoticed() {
    run_all(&passing());
}

#[test]
fn lasting_faults_are_told() {
    run_all(&lasting());
}

#[test]
fn what_cannot_be_believed_is_not_served() {
    run_all(&lying());
}

/// In a batch, only the items that meet a fault fail.
#[test]
fn an_error_lands_on_the_item_that_met_it() {
    use crate::crash_common::api::{Direction, Item, Submit};
    let place = Place::new("item");
    let proxy = Proxy::new();
    let store = place.open(&place.dynamic(&proxy.endpoint()).with("nixl_store_layout", "lmcache"));
    let keys = ["first", "refused", "third", "absent"];
    for key in &keys[..3] {
        put(&store, key, 1, SMALL);
    }
    proxy.add(Rule::any(Fault::answer(403, "AccessDenied")).named("refused"));
    let items = keys.map(|key| Item::new(key, vec![0; SMALL])).into();
    let (_, items) = store.submit(Direction::Get, items, Submit::default()).unwrap().wait();
    let statuses: Vec<i32> = items.iter().map(|(_, result)| result.status).collect();
    let wanted = [NIXL_STORE_OK, NIXL_STORE_ERROR_PERMISSION, NIXL_STORE_OK, NIXL_STORE_NOT_FOUND];
    assert_eq!(statuses, wanted);
    for (item, _) in [&items[0], &items[2]] {
        assert_eq!(chunk::read(&item.key, &item.memory), Ok(1));
    }
    let puts = keys.map(|key| Item::new(key, chunk::fill(key, 2, SMALL))).into();
    let (_, items) = store.submit(Direction::Put, puts, Submit::default()).unwrap().wait();
    let statuses: Vec<i32> = items.iter().map(|(_, result)| result.status).collect();
    assert_eq!(statuses, [NIXL_STORE_OK, NIXL_STORE_ERROR_PERMISSION, NIXL_STORE_OK, NIXL_STORE_OK]);
    place.end_at(store, &proxy);
}
