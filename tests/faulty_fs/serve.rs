//! The server's process: takes requests from the kernel and commands from the test, in one thread.
//!
//! A request that hangs is a request in a list, so the server itself never waits for anything but the next event.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::{Duration, Instant};

use super::operations::Service;
use super::rule::{Fault, Op, Rule, Rules};
use super::wire::{self, Out, Request};
use super::{COMMAND_BYTES_MAX, Options};

/// A request that is not answered yet.
struct Held {
    op: Op,
    request: Request,
    until: Option<Instant>,
}

struct Server {
    device: File,
    control: File,
    /// Where requests are read into.
    buffer: Vec<u8>,
    options: Options,
    service: Service,
    rules: Rules,
    held: Vec<Held>,
    /// The test waits until so many hang.
    awaited: Option<usize>,
    /// Requests so far.
    counts: HashMap<u32, u64>,
    is_powered: bool,
}

/// Serves until the mount or the test is gone.
pub fn serve(device: i32, control: i32, options: Options) {
    // SAFETY: the parent left both descriptors open for this process, and nobody else here knows of them.
    let (device, control) = unsafe { (File::from_raw_fd(device), File::from_raw_fd(control)) };
    let service = Service::new(options.capacity_bytes, options.cache_ms);
    let mut server = Server {
        device,
        control,
        buffer: vec![0; wire::REQUEST_BYTES_MAX],
        options,
        service,
        rules: Rules::default(),
        held: Vec::new(),
        awaited: None,
        counts: HashMap::new(),
        is_powered: true,
    };
    while server.turn() {}
}

impl Server {
    /// Waits for an event and deals with it; false at the end.
    fn turn(&mut self) -> bool {
        let watch = |file: &File| libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let mut polled = [watch(&self.device), watch(&self.control)];
        let next = self.held.iter().filter_map(|held| held.until).min();
        let wait = next.map_or(-1, |at| at.saturating_duration_since(Instant::now()).as_millis() as i32 + 1);
        // SAFETY: two valid pollfds.
        unsafe { libc::poll(polled.as_mut_ptr(), 2, wait) };
        let now = Instant::now();
        self.answer_held(|held| held.until.is_some_and(|until| until <= now));
        (polled[1].revents == 0 || self.obey()) && (polled[0].revents == 0 || self.take_request())
    }

    fn take_request(&mut self) -> bool {
        match self.device.read(&mut self.buffer) {
            Ok(length) if length >= wire::IN_HEADER_BYTES => {
                self.meet(Request::parse(&self.buffer[..length]));
                true
            }
            Ok(_) => false,
            // ENOENT: the request was interrupted before it could be read.
            Err(error) => {
                let wanted = [libc::EAGAIN, libc::EINTR, libc::ENOENT];
                error.raw_os_error().is_some_and(|errno| wanted.contains(&errno))
            }
        }
    }

    fn meet(&mut self, request: Request) {
        *self.counts.entry(request.opcode).or_default() += 1;
        let mut fields = request.fields();
        match request.opcode {
            wire::INIT => self.reply(request.unique, Ok(self.greet(&request))),
            wire::FORGET => self.service.image.forget(request.node, fields.u64()),
            wire::BATCH_FORGET => {
                for _ in 0..fields.u64() as u32 {
                    let (node, lookups) = (fields.u64(), fields.u64());
                    self.service.image.forget(node, lookups);
                }
            }
            // A file system that hangs does not mind signals.
            wire::INTERRUPT => {}
            wire::DESTROY => self.reply(request.unique, Ok(Vec::new())),
            opcode => match Op::of(opcode) {
                Some(op) => self.decide(op, request),
                None => self.reply(request.unique, Err(libc::ENOSYS)),
            },
        }
    }

    fn decide(&mut self, op: Op, request: Request) {
        let is_lock = matches!(op, Op::GetLock | Op::SetLock | Op::SetLockWait);
        let (path, bytes) = self.service.scope(op, &request);
        match self.rules.decide(op, &path, &bytes) {
            _ if is_lock && self.options.lock_errno != 0 => {
                self.reply(request.unique, Err(self.options.lock_errno));
            }
            Fault::Die => std::process::exit(0),
            Fault::Hang => {
                self.held.push(Held { op, request, until: None });
                self.tell_awaited();
            }
            Fault::SlowMs(time) => {
                let until = Some(Instant::now() + Duration::from_millis(time));
                self.held.push(Held { op, request, until });
            }
            fault => self.answer(op, &request, fault),
        }
    }

    fn answer(&mut self, op: Op, request: &Request, fault: Fault) {
        let is_end = matches!(op, Op::Release | Op::ReleaseDir | Op::Flush);
        let answer =
            if self.is_powered || is_end { self.service.answer(op, request, fault) } else { Err(libc::EIO) };
        self.reply(request.unique, answer);
    }

    /// Answers those of the held requests, in the order of their coming.
    fn answer_held(&mut self, is_due: impl Fn(&Held) -> bool) {
        let (due, held) = std::mem::take(&mut self.held).into_iter().partition(is_due);
        self.held = held;
        for Held { op, request, .. } in due {
            self.answer(op, &request, Fault::None);
        }
    }

    fn reply(&self, unique: u64, answer: Result<Vec<u8>, i32>) {
        let (errno, body) = match answer {
            Ok(body) => (0, body),
            Err(errno) => (errno, Vec::new()),
        };
        let length = 16 + body.len();
        let out = Out::default().u32(length as u32).u32((-errno) as u32).u64(unique).bytes(&body);
        // Who asked may be gone.
        let _ = (&self.device).write_all(&out.0);
    }

    /// `struct fuse_init_out`.
    fn greet(&self, request: &Request) -> Vec<u8> {
        let mut fields = request.fields();
        let (_major, minor, read_ahead) = (fields.u32(), fields.u32(), fields.u32());
        let locks = if self.options.lock_errno == 0 { 0 } else { wire::INIT_LOCKS };
        let flags = fields.u32() & (wire::INIT_FLAGS | locks);
        let out = Out::default().u32(wire::MAJOR).u32(minor.min(wire::MINOR)).u32(read_ahead).u32(flags);
        // Requests in the background: more than any test has under way, so that those that hang stop no others.
        let out = out.u16(1024).u16(1024).u32(wire::TRANSFER_BYTES_MAX as u32).u32(1);
        out.u16((wire::TRANSFER_BYTES_MAX >> 12) as u16).u16(0).u32(0).zeros(28).0
    }

    fn tell_awaited(&mut self) {
        let hanging = self.held.iter().filter(|held| held.until.is_none()).count();
        if self.awaited.is_some_and(|awaited| hanging >= awaited) {
            self.awaited = None;
            self.say(&hanging.to_string());
        }
    }

    fn say(&self, line: &str) {
        // A test that is gone is noticed by the next read.
        let _ = (&self.control).write_all(line.as_bytes());
    }

    /// Takes a command of the test; false if it is gone.
    fn obey(&mut self) -> bool {
        let mut buffer = vec![0; COMMAND_BYTES_MAX];
        let length = self.control.read(&mut buffer).unwrap_or(0);
        if length == 0 {
            return false;
        }
        let line = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match command {
            "rule" => {
                self.rules.add(Rule::of_line(rest));
                String::new()
            }
            "clear" => {
                self.rules.clear();
                String::new()
            }
            "release" => {
                if rest == "reversed" {
                    self.held.reverse();
                }
                let hanging = self.held.iter().filter(|held| held.until.is_none()).count();
                self.answer_held(|held| held.until.is_none());
                hanging.to_string()
            }
            "hanging-now" => self.held.iter().filter(|held| held.until.is_none()).count().to_string(),
            "hanging" => {
                self.awaited = Some(rest.parse().unwrap());
                self.tell_awaited();
                return true;
            }
            "struck" => self.rules.struck().to_string(),
            "count" => self.counts.get(&rest.parse().unwrap()).copied().unwrap_or(0).to_string(),
            "power-off" => {
                self.is_powered = false;
                self.service.image.lose_power(rest.parse().ok());
                self.answer_held(|_| true);
                String::new()
            }
            "power-on" => {
                self.is_powered = true;
                String::new()
            }
            "drop-caches" => {
                self.drop_caches();
                return true;
            }
            other => panic!("{other} is no command"),
        };
        self.say(&format!("ok {answer}"));
        true
    }

    /// In a thread of its own: the kernel waits for pages that are being read, for which this one is needed.
    fn drop_caches(&self) {
        let device = self.device.try_clone().unwrap();
        let control = self.control.try_clone().unwrap();
        let files = self.service.image.files();
        std::thread::spawn(move || {
            for id in files {
                let out = Out::default().u32(40).u32(wire::NOTIFY_INVALIDATE as u32).u64(0);
                // ENOENT: the kernel does not know the file.
                let _ = (&device).write_all(&out.u64(id).u64(0).u64(0).0);
            }
            let _ = (&control).write_all(b"ok ");
        });
    }
}
