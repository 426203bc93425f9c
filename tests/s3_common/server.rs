//! SeaweedFS: one server for all tests of a process, on free ports of loopback, gone with the process.
//!
//! The program `weed` is that of `$PATH`, else that of `.venv/bin`, where `scripts/setup.sh` puts it. Its files lie
//! below cargo's directory for tests. It is killed when the process ends, however that happens: by `atexit`, else by
//! the signal that the kernel sends to children of the thread that dies. What a process that was killed left on disk is
//! removed by the next one.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::Duration;

use super::client::Client;
use super::{ACCESS_KEY, BUCKET, EMPTY_BUCKET, SECRET_KEY, STRANGER_ACCESS_KEY, STRANGER_SECRET_KEY, wait};

/// Ports of the server: HTTP and gRPC of master, volume server, filer and S3.
const PORTS: usize = 8;
/// How often a server is started whose ports another process took in between.
const STARTS_MAX: usize = 5;
/// How long a start may take; it takes some 3 s.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// Names of the directories, with the process behind it.
const DIRECTORY: &str = "seaweedfs-";

/// In it, the ports: for whoever cleans up behind a process that was killed.
const PORTS_FILE: &str = "ports";

/// The running server.
pub struct Server {
    pub address: SocketAddr,
}

struct Running {
    child: Child,
    directory: PathBuf,
    ports: Vec<u16>,
}

static RUNNING: Mutex<Option<Running>> = Mutex::new(None);

impl Server {
    /// The server of this process, started by whoever asks first.
    pub fn of_this_process() -> &'static Server {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(|| {
            let (tell, told) = mpsc::channel();
            // The kernel kills the server when the *thread* dies that started it, so that one never ends.
            let start = move || {
                tell.send(start()).expect("the test waits");
                loop {
                    std::thread::park();
                }
            };
            std::thread::spawn(start);
            let server = Server { address: told.recv().expect("seaweedfs does not start; see above") };
            server.client().create_bucket(BUCKET);
            server.client().create_bucket(EMPTY_BUCKET);
            server
        })
    }

    /// A client that may do all.
    pub fn client(&self) -> Client {
        Client::new(self.address, ACCESS_KEY, SECRET_KEY)
    }

    /// What `endpoint_override` has to be.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn start() -> SocketAddr {
    remove_what_the_dead_left();
    // SAFETY: takes no memory; the function may be called at any time before the process ends.
    unsafe { libc::atexit(stop) };
    for _ in 0..STARTS_MAX {
        if let Some(address) = try_start() {
            return address;
        }
    }
    panic!("seaweedfs ended {STARTS_MAX} times before it answered");
}

/// Where the program is.
fn program() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<_> = std::env::split_paths(&path).collect();
    // Beside the crate, or beside the workspace that it is in.
    places.extend(root.ancestors().take(2).map(|root| root.join(".venv/bin")));
    let found = places.iter().map(|place| place.join("weed")).find(|program| program.is_file());
    found.expect("weed (SeaweedFS) is missing: scripts/setup.sh installs it")
}

fn try_start() -> Option<SocketAddr> {
    let directory = parent().join(format!("{DIRECTORY}{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("identities.json"), identities()).unwrap();
    let ports = free_ports();
    std::fs::write(directory.join(PORTS_FILE), format!("{ports:?}")).unwrap();
    let log = File::create(directory.join("log")).unwrap();
    let mut command = Command::new(program());
    command.arg("server").args(arguments(&ports)).current_dir(&directory);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    // SAFETY: one system call, which takes no memory and no lock.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let child = command.spawn().expect("weed starts");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports[6]));
    *RUNNING.lock().unwrap() = Some(Running { child, directory: directory.clone(), ports });
    let client = Client::new(address, ACCESS_KEY, SECRET_KEY);
    let answers = wait::until("seaweedfs answers", START_TIME_MAX, || {
        if let Some(running) = RUNNING.lock().unwrap().as_mut()
            && running.child.try_wait().unwrap().is_some()
        {
            return Some(false);
        }
        (TcpStream::connect(address).is_ok() && client.answers()).then_some(true)
    });
    if !answers {
        let log = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
        eprintln!("seaweedfs ended:\n{}", log.lines().rev().take(5).collect::<Vec<_>>().join("\n"));
        stop();
        return None;
    }
    Some(address)
}

fn arguments(ports: &[u16]) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-dir=.",
        // Volumes grow as they are filled; this many of this size are what the tests of a process may write.
        "-volume.max=60",
        "-master.volumeSizeLimitMB=256",
        "-master.telemetry=false",
        "-filer",
        "-filer.localSocket=filer.sock",
        "-s3",
        "-s3.localSocket=s3.sock",
        "-s3.port.lance=0",
        "-s3.port.iceberg=0",
        // A put into a bucket that is not there has to fail, as it does on other servers.
        "-s3.autoCreateBucket=false",
        "-s3.config=identities.json",
    ]
    .map(str::to_owned)
    .into();
    for (index, part) in ["master", "volume", "filer", "s3"].iter().enumerate() {
        arguments.push(format!("-{part}.port={}", ports[2 * index]));
        arguments.push(format!("-{part}.port.grpc={}", ports[2 * index + 1]));
    }
    arguments
}

fn identities() -> String {
    let identity = |name: &str, access: &str, secret: &str, actions: &str| {
        format!(
            r#"{{"name":"{name}","credentials":[{{"accessKey":"{access}","secretKey":"{secret}"}}],"actions":[{actions}]}}"#
        )
    };
    let all = identity("all", ACCESS_KEY, SECRET_KEY, r#""Admin","Read","List","Tagging","Write""#);
    let elsewhere = format!(r#""Read:{EMPTY_BUCKET}","List:{EMPTY_BUCKET}","Write:{EMPTY_BUCKET}""#);
    let stranger = identity("stranger", STRANGER_ACCESS_KEY, STRANGER_SECRET_KEY, &elsewhere);
    format!(r#"{{"identities":[{all},{stranger}]}}"#)
}

/// Ports that nobody has at the moment.
fn free_ports() -> Vec<u16> {
    let taken: Vec<_> =
        (0..PORTS).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")).collect();
    taken.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

fn parent() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

extern "C" fn stop() {
    let Ok(Some(mut running)) = RUNNING.lock().map(|mut running| running.take()) else { return };
    // SIGTERM can take half a minute, and nothing of it is to be kept.
    let _ = running.child.kill();
    let _ = running.child.wait();
    remove(&running.directory, &running.ports);
}

fn remove(directory: &Path, ports: &[u16]) {
    let _ = std::fs::remove_dir_all(directory);
    for (part, port) in ["master", "volume", "filer", "s3"].iter().zip(ports.iter().skip(1).step_by(2)) {
        // It cannot be told to put these elsewhere.
        let _ = std::fs::remove_file(format!("/tmp/seaweedfs-{part}-grpc-{port}.sock"));
    }
}

fn remove_what_the_dead_left() {
    for entry in std::fs::read_dir(parent()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(DIRECTORY)?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            let ports = std::fs::read_to_string(entry.path().join(PORTS_FILE)).unwrap_or_default();
            let ports = ports.trim_matches(['[', ']']).split(", ");
            remove(&entry.path(), &ports.filter_map(|port| port.parse().ok()).collect::<Vec<_>>());
        }
    }
}
