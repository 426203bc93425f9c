//! Where a measurement works: a fresh directory below `nixl_path`, or a prefix of its own in the bucket. It is gone at the end,
//! with all that is in it, and nothing else is touched.

use std::fs::{DirBuilder, DirEntry, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nixl_store::config::{CachePolicy, Config};
use nixl_store::sys::file::available_bytes;
use nixl_store::sys::random_u128;

use crate::output::{Failure, Output, bytes};

/// What the directory's name begins with.
const NAME: &str = "nixl_store_bench-";
/// Room that is left free, at least one part in so many of what is there.
const ROOM_LEFT_PART: u64 = 20;

/// The place.
pub struct Ground<'a> {
    output: &'a Output,
    /// The directory, if the store is in files.
    directory: Option<PathBuf>,
    /// Directories above it that were made for it, the deepest first.
    made: Vec<PathBuf>,
    #[cfg(feature = "obj")]
    bucket: Option<bucket::Prefix>,
}

impl<'a> Ground<'a> {
    /// Makes it, where the configuration has its store, and turns the configuration to it.
    ///
    /// # Errors
    /// What the system answers.
    pub fn new(
        config: &mut Config,
        path: Option<&Path>,
        worker: u32,
        output: &'a Output,
    ) -> Result<Ground<'a>, Failure> {
        let random = random_u128().map_err(|error| Failure::os("a random name", &error))?;
        let name = format!("{NAME}{:016x}", random as u64);
        // The engine's own bounds and order are for its own keys: here every put is to be stored.
        config.cache_policy = CachePolicy::Lru;
        config.store.capacity_bytes = None;
        #[cfg(feature = "obj")]
        let bucket = bucket::Prefix::new(config, worker, &name)?;
        #[cfg(not(feature = "obj"))]
        let _ = worker;
        let mut ground = Ground {
            output,
            directory: None,
            made: Vec::new(),
            #[cfg(feature = "obj")]
            bucket,
        };
        if let Some(path) = path.filter(|_| config.backend.uses_paths()) {
            let path = std::path::absolute(path)
                .map_err(|error| Failure::os(&path.display().to_string(), &error))?;
            for missing in missing_above(&path).into_iter().rev() {
                make(&missing)?;
                ground.made.insert(0, missing);
            }
            for other in others(&path) {
                output.remark(format_args!(
                    "nixl-store: {} is there from another measurement; remove it, unless that one is still at work",
                    other.display()
                ));
            }
            let directory = path.join(name);
            make(&directory)?;
            config.paths = vec![directory.clone()];
            ground.directory = Some(directory);
        }
        Ok(ground)
    }

    /// The directory, if the store is in files.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Refuses to go on where so many bytes would fill the file system.
    ///
    /// # Errors
    /// There is too little room.
    pub fn check_room(&self, needed: u64) -> Result<(), Failure> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let Some(free) = File::open(directory).ok().and_then(|file| available_bytes(&file)) else {
            return Ok(());
        };
        let usable = free - free / ROOM_LEFT_PART;
        if needed <= usable {
            return Ok(());
        }
        Err(Failure::new(format!(
            "{}: {} are needed, {} are free, of which a part is left alone; lower --bytes",
            directory.display(),
            bytes(needed),
            bytes(free)
        )))
    }
}

impl Drop for Ground<'_> {
    fn drop(&mut self) {
        let removed = self.directory.as_ref().map_or(Ok(()), std::fs::remove_dir_all);
        if let (Err(error), Some(directory)) = (removed, &self.directory) {
            self.output.remark(format_args!(
                "nixl-store: {} is left behind: {error}; remove it",
                directory.display()
            ));
        }
        for made in &self.made {
            // One that another process uses by now is not empty, and stays.
            let _ = std::fs::remove_dir(made);
        }
        #[cfg(feature = "obj")]
        if let Some(failure) = self.bucket.as_ref().and_then(|bucket| bucket.remove_all().err()) {
            self.output.remark(format_args!("nixl-store: objects are left behind: {failure}"));
        }
    }
}

fn make(path: &Path) -> Result<(), Failure> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Failure::os(&format!("making the directory {}", path.display()), &error)),
        Ok(()) => Ok(()),
    }
}

/// What other measurements have there, or left there when they were killed.
fn others(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return Vec::new() };
    let is_one = |entry: &DirEntry| entry.file_name().as_encoded_bytes().starts_with(NAME.as_bytes());
    entries.flatten().filter(is_one).map(|entry| entry.path()).collect()
}

/// The path and what is above it, as far as it is not there; the path first.
fn missing_above(path: &Path) -> Vec<PathBuf> {
    path.ancestors().take_while(|path| !path.exists()).map(Path::to_owned).collect()
}

#[cfg(feature = "obj")]
mod bucket {
    use std::time::{Duration, Instant};

    use nixl_store::backend::obj;
    use nixl_store::config::{BackendKind, Config};
    use nixl_store::log::Logger;
    use nixl_store::s3::Client;
    use nixl_store::s3::client::LISTED_MAX;

    use crate::output::Failure;

    /// Longest time of removing what is left.
    const REMOVE_TIME_MAX: Duration = Duration::from_secs(60);

    /// A prefix of its own.
    pub struct Prefix {
        client: Client,
        prefix: String,
    }

    impl Prefix {
        /// Turns the configuration to a prefix of its own, if the store is in a bucket.
        pub fn new(config: &mut Config, worker: u32, name: &str) -> Result<Option<Prefix>, Failure> {
            if config.backend != BackendKind::Obj {
                return Ok(None);
            }
            let logger = Logger::silent();
            let (client, _) = obj::client(config, worker, &logger)?;
            config.store.prefix = format!("{}{name}/", config.store.prefix);
            Ok(Some(Prefix { client, prefix: config.store.prefix.clone() }))
        }

        /// Removes all objects under it.
        pub fn remove_all(&self) -> Result<(), Failure> {
            let (client, prefix) = (self.client.clone(), self.prefix.clone());
            let deadline = Instant::now().checked_add(REMOVE_TIME_MAX);
            self.client.block_on(async move {
                let failed = |failure: nixl_store::s3::Failure| Failure::new(failure.message());
                loop {
                    let listed = client.list(&prefix, None, LISTED_MAX, deadline).await.map_err(failed)?;
                    if listed.objects.is_empty() {
                        return Ok(());
                    }
                    for object in listed.objects {
                        client.delete(&object.name, None, deadline).await.map_err(failed)?;
                    }
                }
            })
        }
    }
}
