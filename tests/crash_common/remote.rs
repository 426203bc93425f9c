//! A store in another process: one line asks, one line answers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use nixl_store::capi::*;

use super::api::{Capabilities, Failure, Options, Outcome, Store};
use super::chunk;
use super::helper::{Helper, Peer};
use super::sandbox;

/// The role of a helper that serves [`Remote`].
pub const ROLE: super::helper::Role = ("store", serve);

/// Room for the largest object that a remote store is asked for.
const GET_BYTES_MAX: usize = 8 << 20;

/// The parent's side.
pub struct Remote {
    pub helper: Helper,
}

impl Remote {
    /// A process that has no store open yet.
    pub fn start() -> Remote {
        Remote { helper: Helper::start(ROLE.0) }
    }

    /// A process with a store open.
    pub fn open(config: &Path) -> Remote {
        let mut remote = Remote::start();
        remote.try_open(config, &Options::default()).unwrap_or_else(|failure| panic!("{failure}"));
        remote
    }

    pub fn try_open(&mut self, config: &Path, options: &Options) -> Outcome<()> {
        let Options { chunk_bytes, worker_id, world_size, .. } = options;
        let namespace = options.namespace.as_deref().unwrap_or("-");
        let line = format!("open {} {chunk_bytes} {worker_id} {world_size} {namespace}", config.display());
        self.ask(&line).map(drop)
    }

    pub fn put(&mut self, key: &str, version: u64, length: usize) -> Outcome<()> {
        self.ask(&format!("put {key} {version} {length}")).map(drop)
    }

    /// The version found, every byte of it checked; `None` is a miss.
    pub fn get(&mut self, key: &str) -> Outcome<Option<u64>> {
        let answer = self.ask(&format!("get {key}"))?;
        if answer == "miss" {
            Ok(None)
        } else {
            Ok(Some(answer.parse().unwrap_or_else(|_| panic!("{answer}"))))
        }
    }

    pub fn contains(&mut self, key: &str) -> Outcome<bool> {
        self.ask(&format!("contains {key}")).map(|answer| answer == "true")
    }

    pub fn remove(&mut self, key: &str) -> Outcome<i32> {
        self.ask(&format!("remove {key}")).map(|answer| answer.parse().unwrap())
    }

    pub fn pin(&mut self, key: &str) -> Outcome<bool> {
        self.ask(&format!("pin {key}")).map(|answer| answer == "true")
    }

    pub fn unpin(&mut self, key: &str) -> Outcome<bool> {
        self.ask(&format!("unpin {key}")).map(|answer| answer == "true")
    }

    pub fn flush(&mut self) -> Outcome<()> {
        self.ask("flush").map(drop)
    }

    pub fn close(&mut self) -> Outcome<()> {
        self.ask("close").map(drop)
    }

    pub fn stats(&mut self) -> HashMap<String, u64> {
        let answer = self.ask("stats").unwrap();
        let pair =
            |word: &str| word.split_once('=').map(|(name, value)| (name.to_owned(), value.parse().unwrap()));
        answer.split(' ').filter_map(pair).collect()
    }

    /// `io_path`, `direct`, `registered` and the reason.
    pub fn capabilities(&mut self) -> String {
        self.ask("capabilities").unwrap()
    }

    /// What it logged: each line with its level in front.
    pub fn log(&mut self) -> Vec<String> {
        let answer = self.ask("log").unwrap();
        answer.split('\u{1}').filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    pub fn sandbox(&mut self, what: &str) {
        self.ask(&format!("sandbox {what}")).unwrap();
    }

    pub fn descriptors(&mut self) -> usize {
        self.ask("descriptors").unwrap().parse().unwrap()
    }

    pub fn kill(self) {
        self.helper.kill();
    }

    pub fn finish(self) {
        self.helper.finish();
    }

    fn ask(&mut self, line: &str) -> Outcome<String> {
        let answer = self.helper.ask(line);
        match answer.split_once(' ') {
            Some(("err", rest)) => {
                let (status, message) = rest.split_once(' ').unwrap_or((rest, ""));
                Err(Failure { status: status.parse().unwrap(), message: message.to_owned() })
            }
            Some(("ok", rest)) => Ok(rest.to_owned()),
            _ if answer == "ok" => Ok(String::new()),
            _ => panic!("the helper answered {answer:?} to {line:?}"),
        }
    }
}

fn serve(peer: &mut Peer) {
    let mut store = None;
    while let Some(line) = peer.line() {
        match act(&line, &mut store) {
            Ok(answer) => peer.say(&format!("ok {}", answer.replace('\n', " "))),
            Err(failure) => {
                peer.say(&format!("err {} {}", failure.status, failure.message.replace('\n', " ")))
            }
        }
    }
}

fn act(line: &str, place: &mut Option<Store>) -> Outcome<String> {
    let words: Vec<&str> = line.split(' ').collect();
    if let ["open", config, chunk_bytes, worker_id, world_size, namespace] = words[..] {
        let options = Options {
            chunk_bytes: chunk_bytes.parse().unwrap(),
            worker_id: worker_id.parse().unwrap(),
            world_size: world_size.parse().unwrap(),
            namespace: (namespace != "-").then(|| namespace.to_owned()),
            ..Options::default()
        };
        *place = Some(Store::open_with(&PathBuf::from(config), &options)?);
        return Ok(String::new());
    }
    match words[..] {
        ["sandbox", what] => {
            sandbox::enter(what);
            return Ok(String::new());
        }
        ["descriptors"] => return Ok(super::descriptors().to_string()),
        _ => {}
    }
    let store = place.as_ref().expect("an open store");
    Ok(match words[..] {
        ["put", key, version, length] => {
            let payload = chunk::fill(key, version.parse().unwrap(), length.parse().unwrap());
            store.put(key, &payload)?;
            String::new()
        }
        ["get", key] => match store.get(key, GET_BYTES_MAX)? {
            None => "miss".to_owned(),
            Some(payload) => match chunk::read(key, &payload) {
                Ok(version) => version.to_string(),
                Err(wrong) => format!("wrong bytes: {wrong}"),
            },
        },
        ["contains", key] => store.contains(key)?.to_string(),
        ["remove", key] => store.remove(key)?.to_string(),
        ["pin", key] => store.pin(key)?.to_string(),
        ["unpin", key] => store.unpin(key)?.to_string(),
        ["flush"] => store.flush().map(|()| String::new())?,
        ["stats"] => stats_line(&store.stats()?),
        ["capabilities"] => {
            let Capabilities { io_path, direct_io, registered, reason, .. } = store.capabilities()?;
            format!("{io_path} direct={direct_io} registered={registered} reason={reason}")
        }
        ["log"] => {
            let lines = store.log.lines();
            let lines: Vec<String> =
                lines.into_iter().map(|(level, line)| format!("{level} {line}")).collect();
            lines.join("\u{1}")
        }
        ["close"] => {
            let closed = store.close();
            *place = None;
            closed.map(|()| String::new())?
        }
        _ => panic!("{line:?} is no request"),
    })
}

fn stats_line(stats: &nixl_store_stats_t) -> String {
    format!(
        "keys={} bytes_stored={} slots={} slots_free={} keys_pinned={} evictions={} corruptions={} quarantined={} \
         puts_ok={} puts_failed={} gets_hit={} gets_missed={} items_in_flight={}",
        stats.keys,
        stats.bytes_stored,
        stats.slots,
        stats.slots_free,
        stats.keys_pinned,
        stats.evictions,
        stats.corruptions,
        stats.quarantined_slots,
        stats.puts_ok,
        stats.puts_failed,
        stats.gets_hit,
        stats.gets_missed,
        stats.items_in_flight
    )
}
