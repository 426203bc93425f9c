//! The bucket, step by step: the endpoint, who we are, whether the bucket is there, what may be done in it, and what its server
//! honours. A small object is written under the store's prefix for that, and removed.

#[cfg(feature = "obj")]
pub use self::s3::examine;

/// A build without the backend says so when the backend is opened.
#[cfg(not(feature = "obj"))]
pub fn examine(_situation: &super::situation::Situation) -> Vec<super::finding::Finding> {
    vec![super::finding::Finding::broken("bucket", "this nixl-store was built without the backend OBJ")]
}

#[cfg(feature = "obj")]
mod s3 {
    use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
    use std::time::{Duration, Instant, SystemTime};

    use nixl_store::backend::obj;
    use nixl_store::layout::bucket::{Look, look};
    use nixl_store::s3::{Answer, Client, Condition, Failure, FailureKind, Part};
    use nixl_store::store::prospect;
    use nixl_store::sys::random_u128;

    use crate::commands::doctor::finding::Finding;
    use crate::commands::doctor::situation::Situation;

    /// Longest time of a connection, of a call, and of the calls that find out what the server honours.
    const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
    const CALL_TIME_MAX: Duration = Duration::from_secs(8);
    const PROBE_TIME_MAX: Duration = Duration::from_secs(15);
    /// Bytes of the object that is tried with.
    const TRIED: &[u8] = b"nixl-store doctor";
    /// Difference of clocks from which something is said; signatures are refused from 15 minutes on.
    const SKEW_MAX: Duration = Duration::from_secs(60);

    /// Looks at it.
    pub fn examine(situation: &Situation) -> Vec<Finding> {
        if !situation.needs_bucket() {
            return vec![Finding::ok("bucket", "none: the store is not in one")];
        }
        let opened = obj::client(&situation.config, situation.options.worker_id, &situation.options.logger);
        let client = match opened {
            Ok((client, _)) => client,
            Err(error) => return vec![Finding::broken("endpoint", error.message())],
        };
        let prefix = situation.config.store.prefix.clone();
        let mut findings = Vec::new();
        for step in [endpoint, credentials, bucket] {
            let (finding, goes_on) = step(&client);
            findings.push(finding);
            if !goes_on {
                return findings;
            }
        }
        let rights = rights(&client, &prefix);
        findings.extend(rights.findings);
        if rights.are_all {
            findings.push(honours(&client, &prefix));
        }
        findings.extend(rights.now.and_then(|now| pool(&client, situation, now)));
        findings
    }

    /// What may be done.
    struct Rights {
        findings: Vec<Finding>,
        /// All that a store does.
        are_all: bool,
        /// The time by the server's clock.
        now: Option<SystemTime>,
    }

    fn soon() -> Option<Instant> {
        Instant::now().checked_add(CALL_TIME_MAX)
    }

    /// The endpoint, and whether to go on.
    fn endpoint(client: &Client) -> (Finding, bool) {
        let shown = client.endpoint_shown();
        let Some((host, port, tls)) = client.origin() else {
            return (Finding::ok("endpoint", shown), true);
        };
        let addresses: Vec<SocketAddr> = match (host, port).to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(error) => {
                let finding = Finding::broken("endpoint", format!("{shown}: {host} has no address: {error}"));
                return (
                    finding.advise("Correct endpoint_override (or nixl_endpoint_list), or the name service."),
                    false,
                );
            }
        };
        let mut failed = None;
        for address in &addresses {
            let begun = Instant::now();
            match TcpStream::connect_timeout(address, CONNECT_TIME_MAX) {
                Ok(_) => {
                    let took = begun.elapsed().as_secs_f64() * 1e3;
                    let by = if tls { "TLS" } else { "without TLS" };
                    return (
                        Finding::ok("endpoint", format!("{shown}, {by}, connected in {took:.1} ms")),
                        true,
                    );
                }
                Err(error) => failed = Some(format!("{address}: {error}")),
            }
        }
        let why = failed.unwrap_or_else(|| format!("{host} has no address"));
        let finding = Finding::broken("endpoint", format!("{shown} cannot be reached: {why}"));
        (
            finding.advise("See that the server runs there, and that no firewall or proxy is in between."),
            false,
        )
    }

    fn credentials(client: &Client) -> (Finding, bool) {
        let asked = client.clone();
        match client.block_on(async move { asked.identity().await }) {
            Ok(whose) => (Finding::ok("credentials", format!("found: {whose}")), true),
            Err(failure) => (Finding::broken("credentials", failure.message()), false),
        }
    }

    fn bucket(client: &Client) -> (Finding, bool) {
        let (asked, deadline) = (client.clone(), soon());
        match client.block_on(async move { asked.find_bucket(deadline).await }) {
            Ok(()) if client.origin().is_some_and(|(_, _, tls)| tls) => {
                (Finding::ok("bucket", "is there; the server's certificate is trusted"), true)
            }
            Ok(()) => (Finding::ok("bucket", "is there"), true),
            Err(error) => (Finding::broken("bucket", error.message()), false),
        }
    }

    /// Tries what a store does; the clock besides.
    fn rights(client: &Client, prefix: &str) -> Rights {
        let name = format!("{prefix}nixl-store-doctor-{:016x}", random_u128().unwrap_or_default() as u64);
        let (asked, prefix) = (client.clone(), prefix.to_owned());
        client.block_on(async move {
            let mut findings = Vec::new();
            let mut lacks = Vec::new();
            let mut now = None;
            let mut judge = |right: &'static str, answer: Answer<()>| match answer {
                Ok(()) => true,
                Err(failure) => {
                    lacks.push((right, failure));
                    false
                }
            };
            judge("s3:ListBucket", asked.list(&prefix, None, 1, soon()).await.map(drop));
            let put_at = SystemTime::now();
            let put = asked.put_small(&name, TRIED.to_vec(), Condition::None, soon()).await;
            // What was not refused may be stored, also where no answer came in time or none at all.
            let is_refused = put.as_ref().is_err_and(is_refusal);
            let is_put = judge("s3:PutObject", put.map(drop));
            if is_put {
                let got = asked.get_small(&name, Part::Whole, TRIED.len(), soon()).await;
                let is_same = got.as_ref().is_ok_and(|small| small.bytes == TRIED);
                let is_got = got.is_ok();
                judge("s3:GetObject", got.map(drop));
                if is_got && !is_same {
                    findings.push(Finding::broken(
                        "bucket",
                        "an object came back with other bytes than were put",
                    ));
                }
                if let Ok(head) = asked.head(&name, soon()).await {
                    now = head.modified;
                    findings.extend(head.modified.map(|there| clock(put_at, there)));
                }
            }
            if !is_refused {
                let removed = asked.delete(&name, None, soon()).await;
                if removed.is_err() {
                    let what = if is_put { "that could not be removed" } else { "that may be there" };
                    findings.push(
                        Finding::better("left behind", format!("{name}: {} bytes {what}", TRIED.len()))
                            .advise("Remove it with an identity that may."),
                    );
                }
                if is_put {
                    judge("s3:DeleteObject", removed);
                }
            }
            let are_all = lacks.is_empty() && findings.iter().all(|finding| finding.check != "bucket");
            let rights = if lacks.is_empty() {
                vec![Finding::ok("rights", "list, put, get and delete, tried under the prefix")]
            } else {
                lacks.iter().map(|(right, failure)| lacking(right, failure)).collect()
            };
            findings.splice(0..0, rights);
            Rights { findings, are_all, now }
        })
    }

    /// Whether the server said that it did not do it. What is refused for another reason may be an answer that was not understood.
    fn is_refusal(failure: &Failure) -> bool {
        matches!(failure.kind(), FailureKind::Denied | FailureKind::Missing)
    }

    fn lacking(right: &str, failure: &Failure) -> Finding {
        let finding = Finding::broken("rights", failure.message());
        match failure.kind() {
            FailureKind::Denied => {
                finding.advise(format!("Give this identity {right} on the bucket and the prefix."))
            }
            _ => finding,
        }
    }

    /// How far the server's clock, which tells whole seconds, is from this machine's.
    fn clock(here: SystemTime, there: SystemTime) -> Finding {
        let (skew, side) = match here.duration_since(there) {
            Ok(skew) => (skew, "ahead of"),
            Err(error) => (error.duration(), "behind"),
        };
        if skew <= SKEW_MAX {
            return Finding::ok("clock", "agrees with the server's");
        }
        Finding::better("clock", format!("{} s {side} the server's", skew.as_secs()))
            .because("Signatures are refused from 15 minutes on, and leases of pools are judged by time.")
            .advise("timedatectl set-ntp true, on both sides")
    }

    /// The static pool in the bucket, if the store has one.
    fn pool(client: &Client, situation: &Situation, now: SystemTime) -> Option<Finding> {
        let (names, shape) = match prospect::bucket_pool(&situation.config, &situation.options) {
            Ok(place) => place?,
            Err(error) => return Some(Finding::broken("pool", error.message())),
        };
        let (asked, deadline) = (client.clone(), soon());
        Some(match client.block_on(async move { look(&asked, &names, shape, now, deadline).await }) {
            Err(error) => Finding::broken("pool", error.message()),
            Ok(Look { is_made: false, .. }) => Finding::ok("pool", "is yet to be made"),
            Ok(Look { owner: None, .. }) => Finding::ok("pool", "fits the configuration, and is free"),
            Ok(Look { owner: Some(owner), .. }) => {
                Finding::ok("pool", format!("fits the configuration, in use by {owner}"))
                    .because("A pool has one owner at a time: a second engine needs another nixl_store_prefix or worker id.")
            }
        })
    }

    /// What the server honours of what a store asks.
    fn honours(client: &Client, prefix: &str) -> Finding {
        let (asked, prefix) = (client.clone(), prefix.to_owned());
        let deadline = Instant::now().checked_add(PROBE_TIME_MAX);
        match client.block_on(async move { asked.probe(&prefix, deadline).await }) {
            Err(error) => Finding::broken("conditions", error.message()),
            Ok(traits) => {
                let missing = obj::missing_of(&traits);
                if missing.is_empty() {
                    return Finding::ok("conditions", "If-Match and If-None-Match are honoured");
                }
                Finding::better("conditions", "not all that a store asks for is honoured")
                    .because(missing)
                    .advise(
                        "See docs/S3.md for what goes without it; a later version of the server may have it.",
                    )
            }
        }
    }
}
