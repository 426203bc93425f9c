//! What kind of file system it is, and how the server's process is told.

/// What kind of file system it is.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub capacity_bytes: u64,
    /// How long the kernel may believe names and attributes without asking; 0: it asks every time.
    pub cache_ms: u64,
    /// What locks of any kind are refused with; 0: the kernel keeps them, as on a local file system.
    pub lock_errno: i32,
    pub personality: Personality,
}

impl Default for Options {
    fn default() -> Options {
        Options { capacity_bytes: 1 << 30, cache_ms: 0, lock_errno: 0, personality: Personality::Plain }
    }
}

impl Options {
    /// The names of the hosts that have a mount of it; the first is this machine.
    pub fn hosts(&self) -> Vec<String> {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let mut hosts = vec![name.trim().to_owned()];
        if let Personality::Hf3fs(Hf3fs { other_host: Some(name), .. }) = self.personality {
            hosts.push(name.to_owned());
        }
        hosts
    }
}

/// Whose habits it has.
#[derive(Clone, Copy, Debug)]
pub enum Personality {
    /// A local file system's.
    Plain,
    /// Those of 3FS as its FUSE client shows it.
    Hf3fs(Hf3fs),
}

/// How the stand-in for 3FS is set up. `cache_ms` in [`Options`] is 30,000 there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hf3fs {
    /// How long the kernel may believe that a name is absent, and what a symbolic link is; 5,000 there.
    pub absent_ms: u64,
    /// Whether a question for attributes writes down what is kept behind on that host and tells what the host wrote so far, as
    /// the settings that come with 3FS have it. Without, a size is known after an fsync or a close alone.
    pub sync_on_stat: bool,
    /// The name of another host, which has a mount of its own of the same files.
    pub other_host: Option<&'static str>,
}

/// A mount, for the server.
#[derive(Debug)]
pub struct Host {
    pub device: i32,
    pub name: String,
    /// Ends of the names of its semaphores: for rings of high, normal and low priority.
    pub semaphores: [String; 3],
}

/// What the server's process begins with.
#[derive(Debug)]
pub struct Startup {
    pub control: i32,
    pub options: Options,
    pub hosts: Vec<Host>,
}

impl Startup {
    pub fn to_words(&self) -> String {
        let Options { capacity_bytes, cache_ms, lock_errno, personality } = self.options;
        let (kind, absent_ms, sync_on_stat) = match personality {
            Personality::Plain => ("plain", 0, false),
            Personality::Hf3fs(Hf3fs { absent_ms, sync_on_stat, .. }) => ("3fs", absent_ms, sync_on_stat),
        };
        let mut words = format!(
            "{} {capacity_bytes} {cache_ms} {lock_errno} {kind} {absent_ms} {sync_on_stat}",
            self.control
        );
        for Host { device, name, semaphores } in &self.hosts {
            words += &format!(" {device} {name} {}", semaphores.join(" "));
        }
        words
    }

    pub fn of_words(words: &str) -> Startup {
        let words: Vec<&str> = words.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        let personality = match words[4] {
            "plain" => Personality::Plain,
            "3fs" => Personality::Hf3fs(Hf3fs {
                absent_ms: number(5),
                sync_on_stat: words[6].parse().unwrap(),
                other_host: None,
            }),
            other => panic!("{other} is no personality"),
        };
        let options = Options {
            capacity_bytes: number(1),
            cache_ms: number(2),
            lock_errno: number(3) as i32,
            personality,
        };
        let host = |words: &[&str]| Host {
            device: words[0].parse().unwrap(),
            name: words[1].to_owned(),
            semaphores: [words[2], words[3], words[4]].map(str::to_owned),
        };
        Startup { control: number(0) as i32, options, hosts: words[7..].chunks(5).map(host).collect() }
    }
}
