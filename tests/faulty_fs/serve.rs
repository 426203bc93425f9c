//! The server's process: takes requests from the kernel and commands from the test, in one thread.
//!
//! A request that hangs is a request in a list, so the server itself never waits for anything but the next event.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::{Duration, Instant};

use super::COMMAND_BYTES_MAX;
use super::file_system::{self, FileSystem};
use super::hf3fs::Standin;
use super::hf3fs::semaphores;
use super::operations::Service;
use super::options::{Options, Personality, Startup};
use super::rule::{Fault, Op, Rule, Rules};
use super::wire::{self, Out, Request};

/// A request that is not answered yet.
struct Held {
    op: Op,
    request: Request,
    until: Option<Instant>,
}

struct Server {
    /// One for each mount, until it is gone.
    devices: Vec<Option<File>>,
    control: File,
    /// Where requests are read into.
    buffer: Vec<u8>,
    options: Options,
    service: Box<dyn FileSystem>,
    rules: Rules,
    held: Vec<Held>,
    /// The test waits until so many hang.
    awaited: Option<usize>,
    /// Requests so far.
    counts: HashMap<u32, u64>,
    is_powered: bool,
}

/// Serves until the mounts or the test are gone.
pub fn serve(startup: Startup) {
    let Startup { control, options, hosts } = startup;
    // SAFETY: the parent left the descriptors open for this process, and nobody else here knows of them.
    let owned = |number: i32| unsafe { File::from_raw_fd(number) };
    let devices = hosts.iter().map(|host| Some(owned(host.device))).collect();
    let service: Box<dyn FileSystem> = match options.personality {
        Personality::Plain => Box::new(Service::new(options.capacity_bytes, options.cache_ms)),
        Personality::Hf3fs(kind) => Box::new(Standin::new(&options, kind, &hosts)),
    };
    let mut server = Server {
        devices,
        control: owned(control),
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
    semaphores::remove();
}

impl Server {
    /// Waits for an event and deals with it; false at the end.
    fn turn(&mut self) -> bool {
        let watch = |file: &File| libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let gone = libc::pollfd { fd: -1, events: 0, revents: 0 };
        let mut polled = vec![watch(&self.control)];
        polled.extend(self.devices.iter().map(|device| device.as_ref().map_or(gone, watch)));
        let next = self.held.iter().filter_map(|held| held.until).min();
        let wait = next.map_or(-1, |at| at.saturating_duration_since(Instant::now()).as_millis() as i32 + 1);
        // SAFETY: an array of valid pollfds.
        unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as u64, wait) };
        let now = Instant::now();
        self.answer_held(|held| held.until.is_some_and(|until| until <= now));
        if polled[0].revents != 0 && !self.obey() {
            return false;
        }
        for (mount, polled) in polled[1..].iter().enumerate() {
            if polled.revents != 0 && !self.take_request(mount) {
                self.devices[mount] = None;
            }
        }
        self.devices.iter().any(Option::is_some)
    }

    fn take_request(&mut self, mount: usize) -> bool {
        let Some(mut device) = self.devices[mount].as_ref() else { return false };
        match device.read(&mut self.buffer) {
            Ok(length) if length >= wire::IN_HEADER_BYTES => {
                self.meet(Request::parse(mount, &self.buffer[..length]));
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
            wire::INIT => self.reply(&request, Ok(self.greet(&request))),
            wire::FORGET => self.service.forget(request.node, fields.u64()),
            wire::BATCH_FORGET => {
                for _ in 0..fields.u64() as u32 {
                    let (node, lookups) = (fields.u64(), fields.u64());
                    self.service.forget(node, lookups);
                }
            }
            // A file system that hangs does not mind signals.
            wire::INTERRUPT => {}
            wire::DESTROY => self.reply(&request, Ok(Vec::new())),
            opcode => match Op::of(opcode) {
                Some(op) => self.decide(op, request),
                None => self.reply(&request, Err(libc::ENOSYS)),
            },
        }
    }

    fn decide(&mut self, op: Op, request: Request) {
        let is_lock = matches!(op, Op::GetLock | Op::SetLock | Op::SetLockWait);
        let (path, bytes) = file_system::scope(&*self.service, op, &request);
        match self.rules.decide(op, &path, &bytes) {
            _ if is_lock && self.options.lock_errno != 0 => {
                self.reply(&request, Err(self.options.lock_errno));
            }
            Fault::Die => {
                semaphores::remove();
                std::process::exit(0);
            }
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
        let answer = if self.is_powered || is_end {
            file_system::answer(&mut *self.service, op, request, fault)
        } else {
            Err(libc::EIO)
        };
        let notices = self.notices();
        if op == Op::Release && !notices.0.is_empty() {
            // Of a file that nobody has open any more: the kernel may be at its end, waiting for pages that are being read.
            std::thread::spawn(move || notices.pass());
        } else {
            notices.pass();
        }
        self.reply(request, answer);
    }

    /// Answers those of the held requests, in the order of their coming.
    fn answer_held(&mut self, is_due: impl Fn(&Held) -> bool) {
        let (due, held) = std::mem::take(&mut self.held).into_iter().partition(is_due);
        self.held = held;
        for Held { op, request, .. } in due {
            self.answer(op, &request, Fault::None);
        }
    }

    /// What the file system wants the kernel to forget: attributes (a negative offset), and no bytes.
    fn notices(&mut self) -> Notices {
        let notices = self.service.take_notices().into_iter().filter_map(|(mount, node)| {
            let device = self.devices[mount].as_ref()?.try_clone().ok()?;
            Some((device, invalidation(node, -1)))
        });
        Notices(notices.collect())
    }

    fn reply(&self, request: &Request, answer: Result<Vec<u8>, i32>) {
        let (errno, body) = match answer {
            Ok(body) => (0, body),
            Err(errno) => (errno, Vec::new()),
        };
        let length = 16 + body.len();
        let out = Out::default().u32(length as u32).u32((-errno) as u32).u64(request.unique).bytes(&body);
        // Who asked may be gone.
        self.send(request.mount, &out);
    }

    fn send(&self, mount: usize, out: &Out) {
        if let Some(mut device) = self.devices[mount].as_ref() {
            let _ = device.write_all(&out.0);
        }
    }

    /// `struct fuse_init_out`.
    fn greet(&self, request: &Request) -> Vec<u8> {
        let mut fields = request.fields();
        let (_major, minor, read_ahead) = (fields.u32(), fields.u32(), fields.u32());
        let locks = if self.options.lock_errno == 0 { 0 } else { wire::INIT_LOCKS };
        let flags = fields.u32() & (self.service.init_flags() | locks);
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
                self.service.lose_power(rest.parse().ok());
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
            other => {
                let answer = self.service.obey(other, rest);
                let notices = self.notices();
                let mut control = self.control.try_clone().unwrap();
                std::thread::spawn(move || {
                    notices.pass();
                    let _ = control.write_all(format!("ok {answer}").as_bytes());
                });
                return true;
            }
        };
        self.say(&format!("ok {answer}"));
        true
    }

    /// In a thread of its own: the kernel waits for pages that are being read, for which this one is needed.
    fn drop_caches(&self) {
        let devices: Vec<File> =
            self.devices.iter().flatten().map(|device| device.try_clone().unwrap()).collect();
        let control = self.control.try_clone().unwrap();
        let files = self.service.files();
        std::thread::spawn(move || {
            for (device, id) in devices.iter().flat_map(|device| files.iter().map(move |id| (device, *id))) {
                // ENOENT: the kernel does not know the file.
                let _ = (&*device).write_all(&invalidation(id, 0).0);
            }
            let _ = (&control).write_all(b"ok ");
        });
    }
}

/// Tells the kernel to forget what it knows of a file, and its bytes from an offset on.
fn invalidation(node: u64, offset: i64) -> Out {
    let out = Out::default().u32(40).u32(wire::NOTIFY_INVALIDATE as u32).u64(0);
    out.u64(node).u64(offset as u64).u64(0)
}

/// Messages to the kernel and where they go.
struct Notices(Vec<(File, Out)>);

impl Notices {
    fn pass(self) {
        for (mut device, notice) in self.0 {
            // ENOENT: the kernel does not know the file.
            let _ = device.write_all(&notice.0);
        }
    }
}
