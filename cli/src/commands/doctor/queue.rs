//! What moves the bytes: the backend is opened as the store opens it, with the queue and the staging buffer of one I/O thread.

use nixl_store::backend::{self, Worker};
use nixl_store::config::{BackendKind, Effective};
use nixl_store::store::prospect::{Prospect, prospect};

use super::finding::Finding;
use super::situation::Situation;
use super::system::{locked_memory_limit, status_line};
use crate::output::bytes;

/// What the kernel allows of io_uring (`kernel.io_uring_disabled`, Linux 6.6).
const URING_SWITCH: &str = "/proc/sys/kernel/io_uring_disabled";

/// Opens it, and says what was found, and what the settings come to.
pub fn examine(situation: &Situation) -> (Vec<Finding>, Option<Vec<Effective>>) {
    let Situation { config, options } = situation;
    if config.backend == BackendKind::Obj {
        // Its queue is a connection, and opening it asks the server, which is looked at step by step.
        return (Vec::new(), None);
    }
    let worker = Worker { id: options.worker_id, device: options.cuda_device };
    let opened = backend::open(config, worker, &options.logger);
    let backend = match opened {
        Ok(backend) => backend,
        Err(error) => return (vec![Finding::broken("backend", error.message())], None),
    };
    match prospect(config, options, &*backend) {
        Err(error) => (vec![Finding::broken("backend", error.message())], None),
        Ok(found) => {
            let mut findings = vec![path(situation, &found)];
            findings.extend(locked_memory(&found));
            findings.extend(huge_pages(situation, &found));
            (findings, Some(found.settings))
        }
    }
}

fn path(situation: &Situation, found: &Prospect) -> Finding {
    let threads = format!("{} I/O threads", found.io_threads);
    let reason = found.path.reason.clone();
    match (situation.config.backend, found.path.name) {
        (BackendKind::Posix, "io_uring") => Finding::ok("io_uring", format!("in effect, {threads}")),
        (BackendKind::Posix, "inline") => {
            Finding::ok("io_uring", format!("not needed: {threads} copy, as the files lie in memory"))
        }
        (BackendKind::Posix, name) => {
            let finding = Finding::better("io_uring", format!("not in effect: {name} do reads and writes"))
                .because(&*reason);
            advise_uring(finding, &reason)
        }
        (_, name) if reason.is_empty() => Finding::ok("path", format!("{name}, {threads}")),
        (_, name) => Finding::better("path", format!("{name}, {threads}")).because(reason),
    }
}

/// What keeps io_uring from a process, in the order in which the kernel asks.
fn advise_uring(finding: Finding, reason: &str) -> Finding {
    if !reason.contains("refused") {
        return finding.advise("Leave that parameter out, and io_uring is used.");
    }
    let switch = std::fs::read_to_string(URING_SWITCH).unwrap_or_default();
    let is_filtered = status_line("Seccomp").as_deref() == Some("2");
    match switch.trim() {
        "2" => finding.advise("kernel.io_uring_disabled is 2, off for all: sysctl kernel.io_uring_disabled=0"),
        "1" => finding.advise(
            "kernel.io_uring_disabled is 1, for some only: sysctl kernel.io_uring_disabled=0, or make the user a member of \
             the group in kernel.io_uring_group",
        ),
        _ if is_filtered => finding.advise(
            "A seccomp profile filters system calls here: allow io_uring_setup, io_uring_enter and io_uring_register in it, \
             or start the container with --security-opt seccomp=unconfined",
        ),
        _ if reason.contains("os error 12") => finding.advise("Locked memory may be short: ulimit -l unlimited"),
        _ => finding.advise("It needs Linux 5.6 or later, with CONFIG_IO_URING."),
    }
}

/// Whether the staging buffer is known to the kernel, which spares pinning its pages for each transfer.
fn locked_memory(found: &Prospect) -> Option<Finding> {
    let buffer = bytes(found.buffer_bytes);
    let most = locked_memory_limit();
    let limit = most.map_or("unlimited".to_owned(), bytes);
    if let Some(error) = &found.unregistered {
        let wanted_kib = found.buffer_bytes.div_ceil(1024).saturating_mul(found.io_threads as u64);
        return Some(
            Finding::better(
                "locked memory",
                format!("the staging buffer of {buffer} is not registered with the kernel"),
            )
            .because(format!("{error}; the limit is {limit}"))
            .advise(format!("ulimit -l unlimited, or at least {wanted_kib} ({} threads)", found.io_threads))
            .advise("systemd: LimitMEMLOCK=infinity; docker: --ulimit memlock=-1")
            .advise("or a smaller nixl_buffer_size"),
        );
    }
    // Some users may exceed the limit, root among them.
    let binds = most.is_none_or(|most| most >= found.buffer_bytes);
    let limit = if binds { format!(", the limit is {limit}") } else { String::new() };
    let text = format!("the staging buffer of {buffer} is registered{limit}");
    found.is_registered.then(|| Finding::ok("locked memory", text))
}

fn huge_pages(situation: &Situation, found: &Prospect) -> Option<Finding> {
    let is_wanted = situation.config.use_hugepages;
    if is_wanted && found.has_huge_pages {
        return Some(Finding::ok("huge pages", "the staging buffer lies in them"));
    }
    let transparent =
        std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    if is_wanted {
        let pages = found.buffer_bytes.div_ceil(2 << 20);
        return Some(
            Finding::better(
                "huge pages",
                "asked for, and none are free: the staging buffer lies in ordinary ones",
            )
            .advise(format!("sysctl vm.nr_hugepages={pages} (pages of 2 MiB that no other process takes)")),
        );
    }
    if transparent.contains("[never]") {
        return Some(
            Finding::better("huge pages", "none: the kernel gives no transparent ones")
                .advise("echo madvise > /sys/kernel/mm/transparent_hugepage/enabled")
                .advise("or reserve some, and set local_cpu_use_hugepages: true"),
        );
    }
    let has = transparent.contains("[madvise]") || transparent.contains("[always]");
    has.then(|| Finding::ok("huge pages", "transparent ones, where the kernel finds any"))
}
