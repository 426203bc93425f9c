//! File systems of the tests' own: small ones, ones without O_DIRECT, ones whose power can be cut.
//!
//! They need root, and some need loop devices. Where those are not to be had, the test says so in one line and ends.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::sandbox::is_root;
use super::{Scratch, hf3fs};

/// How long the kernel may take to close the files of a process that was killed.
const RELEASE_TIME_MAX: Duration = Duration::from_secs(20);

/// Space that a device which can fail has beside its image.
const SPARE_BYTES: u64 = 1 << 20;

/// `_IOWR('X', 119, int)`, FIFREEZE.
const FREEZE: libc::c_ulong = 0xc004_5877;
/// `_IOWR('X', 120, int)`, FITHAW.
const THAW: libc::c_ulong = 0xc004_5878;

/// A file system that takes no writes for now.
pub struct Frozen {
    directory: Option<File>,
    guard: Child,
}

impl Frozen {
    pub fn thaw(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(directory) = self.directory.take() {
            Frozen::set(&directory, THAW).expect("what is frozen can be thawed");
            drop(self.guard.stdin.take());
            let _ = self.guard.wait();
        }
    }

    fn set(directory: &File, request: libc::c_ulong) -> std::io::Result<()> {
        let ignored = 0;
        // SAFETY: the number outlives the call.
        match unsafe { libc::ioctl(directory.as_raw_fd(), request, &raw const ignored) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.end();
    }
}

/// FS_IOC_GETFLAGS, FS_IOC_SETFLAGS and the flag of a file that nobody may change (`ioctl_iflags(2)`).
const FLAGS_GET: libc::c_ulong = 0x8008_6601;
const FLAGS_SET: libc::c_ulong = 0x4008_6602;
const IMMUTABLE: libc::c_long = 0x10;

/// A device that fails the writes to some files until this is dropped.
pub struct Punched {
    filler: PathBuf,
}

impl Drop for Punched {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.filler);
    }
}

/// A device that answers every write with an error until this is dropped. Reads go on.
pub struct Refusing {
    image: PathBuf,
}

impl Refusing {
    fn set(image: &Path, refuse: bool) -> std::io::Result<()> {
        let file = File::open(image)?;
        let mut flags: libc::c_long = 0;
        // SAFETY: the number outlives both calls.
        let (asked, answer) = unsafe {
            let asked = libc::ioctl(file.as_raw_fd(), FLAGS_GET, &raw mut flags);
            flags = if refuse { flags | IMMUTABLE } else { flags & !IMMUTABLE };
            (asked, libc::ioctl(file.as_raw_fd(), FLAGS_SET, &raw const flags))
        };
        if asked == 0 && answer == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    }
}

impl Drop for Refusing {
    fn drop(&mut self) {
        Refusing::set(&self.image, false).expect("what is refused can be allowed");
    }
}

/// A directory of a disk seen through an overlay, a file system of which the library does not know what `syncfs` does.
pub struct Overlay {
    mount: PathBuf,
}

impl Overlay {
    /// Mounts it over a directory of the disk's.
    pub fn on(disk: &Disk) -> Option<Overlay> {
        let directory = |name: &str| {
            let path = disk.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let (lower, upper, work) = (directory("lower"), directory("upper"), directory("work"));
        let options =
            format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        let mount = disk.path().with_file_name("overlay");
        std::fs::create_dir_all(&mount).unwrap();
        match run(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&mount)) {
            Ok(()) => Some(Overlay { mount }),
            Err(why) => skipped("overlay", &format!("no overlay can be mounted: {why}")),
        }
    }

    pub fn path(&self) -> &Path {
        &self.mount
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        let target = CString::new(self.mount.as_os_str().as_bytes()).unwrap();
        // The kernel closes a killed process's files in its own time; until then the disk below would stay busy.
        let deadline = Instant::now() + RELEASE_TIME_MAX;
        // SAFETY: a string that lives during the call.
        while unsafe { libc::umount2(target.as_ptr(), 0) } != 0 && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

/// A mounted file system; unmounted when dropped.
pub struct Disk {
    mount: PathBuf,
    image: Option<PathBuf>,
    /// What the image is, as `mount` names it.
    kind: &'static str,
    options: &'static str,
    mounted: bool,
    /// What the image lies on, where that is a file system of its own.
    backing: Option<Box<Disk>>,
    // Last, so that the directory goes when nothing is mounted in it.
    _scratch: Scratch,
}

impl Disk {
    /// A file system in memory of `bytes`.
    pub fn tmpfs(name: &str, bytes: u64) -> Option<Disk> {
        Disk::nodev(name, "tmpfs", &format!("size={bytes}"))
    }

    /// A file system in memory that has neither O_DIRECT nor reservation of space.
    pub fn ramfs(name: &str) -> Option<Disk> {
        Disk::nodev(name, "ramfs", "")
    }

    /// ext4 of `bytes` on a loop device.
    pub fn ext4(name: &str, bytes: u64, options: &'static str) -> Option<Disk> {
        Disk::ext4_made_with(name, bytes, options, &[])
    }

    /// ext4 whose device may refuse writes for a while and then take them again: without a journal, which would make the
    /// file system read-only at the first of them. `None` too where the image lies on a file system that cannot refuse.
    pub fn ext4_that_may_refuse(name: &str, bytes: u64) -> Option<Disk> {
        Disk::ext4_made_with(name, bytes, "", &["-O", "^has_journal"])?.if_it_may_refuse(name)
    }

    /// XFS whose device may refuse writes. It shuts down when its log is refused, until it is mounted anew.
    pub fn xfs_that_may_refuse(name: &str) -> Option<Disk> {
        // It does not get smaller; the image is mostly a hole.
        const BYTES: u64 = 320 << 20;
        Disk::on_loop(None, name, BYTES, "xfs", "", &["mkfs.xfs", "-q"])?.if_it_may_refuse(name)
    }

    fn if_it_may_refuse(self, name: &str) -> Option<Disk> {
        match Refusing::set(self.image.as_deref()?, true) {
            Ok(()) => {
                Refusing::set(self.image.as_deref()?, false).expect("what is refused can be allowed");
                Some(self)
            }
            Err(why) => skipped(name, &format!("the image cannot be made immutable: {why}")),
        }
    }

    /// Has the device answer writes with errors until what this gives is dropped.
    pub fn refuse_writes(&self) -> Refusing {
        let image = self.image.clone().expect("a disk with an image");
        Refusing::set(&image, true).expect("it could when the disk was made");
        Refusing { image }
    }

    /// Drops what the page cache holds of the files in a directory, as a machine short of memory would: what is not on
    /// the device, and not waiting to be written there, is gone.
    pub fn drop_cached(directory: &Path) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let file = File::open(entry.unwrap().path()).unwrap();
            // SAFETY: takes no memory.
            let answer = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
            assert_eq!(answer, 0);
        }
    }

    /// ext4 that cannot reserve space, as ext3 cannot.
    pub fn ext4_without_extents(name: &str, bytes: u64) -> Option<Disk> {
        Disk::ext4_made_with(name, bytes, "", &["-O", "^extent,^64bit"])
    }

    /// ext4 of `bytes` whose device can be made to fail, see [`Disk::refuse_writes_to`].
    pub fn ext4_that_fails(name: &str, bytes: u64) -> Option<Disk> {
        let backing = Disk::tmpfs(&format!("{name}_backing"), bytes + SPARE_BYTES)?;
        // A discard would take away what must be there for writes to succeed. Blocks are whole pages, as a loop device
        // takes a write for a success of which a part succeeded.
        Disk::ext4_on(
            Some(backing),
            name,
            bytes,
            "",
            &["-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", "-b", "4096"],
        )
    }

    fn ext4_made_with(name: &str, bytes: u64, options: &'static str, made_with: &[&str]) -> Option<Disk> {
        Disk::ext4_on(None, name, bytes, options, made_with)
    }

    fn ext4_on(
        backing: Option<Disk>,
        name: &str,
        bytes: u64,
        options: &'static str,
        made_with: &[&str],
    ) -> Option<Disk> {
        let make = [&["mkfs.ext4", "-q", "-m", "0"], made_with].concat();
        Disk::on_loop(backing, name, bytes, "ext4", options, &make)
    }

    /// A file system of that kind, which the command `make` makes of an image.
    fn on_loop(
        backing: Option<Disk>,
        name: &str,
        bytes: u64,
        kind: &'static str,
        options: &'static str,
        make: &[&str],
    ) -> Option<Disk> {
        if !is_root() {
            return skipped(name, "it takes root to mount a file system");
        }
        if !Path::new("/dev/loop-control").exists() {
            return skipped(name, "there are no loop devices");
        }
        let scratch = Scratch::new(name);
        let image = backing.as_ref().map_or(scratch.path(), |disk| disk.path()).join("image");
        let file = File::create(&image).unwrap();
        file.set_len(bytes).unwrap();
        if backing.is_some() {
            change_space(&file, 0, 0, bytes).unwrap();
        }
        if let Err(why) = run(Command::new(make[0]).args(&make[1..]).arg(&image)) {
            return skipped(name, &format!("{} cannot be run: {why}", make[0]));
        }
        let mount = scratch.join("mount");
        std::fs::create_dir(&mount).unwrap();
        let mut disk = Disk {
            mount,
            image: Some(image),
            kind,
            options,
            mounted: false,
            backing: backing.map(Box::new),
            _scratch: scratch,
        };
        match disk.mount_image() {
            Ok(()) => Some(disk.into_mount()),
            Err(why) => skipped(name, &format!("no loop device can be mounted: {why}")),
        }
    }

    fn nodev(name: &str, kind: &str, options: &str) -> Option<Disk> {
        if !is_root() {
            return skipped(name, "it takes root to mount a file system");
        }
        let scratch = Scratch::new(name);
        let mount = scratch.join("mount");
        std::fs::create_dir(&mount).unwrap();
        let text = |text: &str| CString::new(text).unwrap();
        let (source, target) = (text("none"), CString::new(mount.as_os_str().as_bytes()).unwrap());
        let (kind, options) = (text(kind), text(options));
        // SAFETY: four strings that live during the call.
        let answer = unsafe {
            libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast())
        };
        if answer != 0 {
            let why = std::io::Error::last_os_error();
            return skipped(name, &format!("{} cannot be mounted: {why}", kind.to_string_lossy()));
        }
        let disk = Disk {
            mount,
            image: None,
            kind: "",
            options: "",
            mounted: true,
            backing: None,
            _scratch: scratch,
        };
        Some(disk.into_mount())
    }

    /// What stores over HF3FS need of it.
    fn into_mount(self) -> Disk {
        if hf3fs::is_once_more() {
            hf3fs::make_mount(&self.mount);
        }
        self
    }

    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Makes what is mounted read-only, or writable again.
    pub fn remount(&self, read_only: bool) {
        let target = CString::new(self.mount.as_os_str().as_bytes()).unwrap();
        let flags = libc::MS_REMOUNT | if read_only { libc::MS_RDONLY } else { 0 };
        // SAFETY: the target lives during the call; a remount needs no other argument.
        let answer = unsafe {
            libc::mount(std::ptr::null(), target.as_ptr(), std::ptr::null(), flags, std::ptr::null())
        };
        assert_eq!(answer, 0, "remount: {}", std::io::Error::last_os_error());
    }

    /// Mounts the image anew, as after a loss of power.
    pub fn power_up(&mut self) {
        // Not detached: the image must have no other mount. The kernel closes a killed process's files in its own time.
        let deadline = Instant::now() + RELEASE_TIME_MAX;
        while let Err(error) = self.try_unmount(0) {
            assert!(Instant::now() < deadline, "the disk stays busy: {error}");
            std::thread::yield_now();
        }
        self.mount_image().unwrap();
    }

    /// Holds back every write to it until what this gives is dropped. Reads go on.
    pub fn freeze(&self) -> Frozen {
        let directory = File::open(&self.mount).unwrap();
        // Should this process be killed while nothing can be written, that one thaws.
        let guard = Command::new("sh")
            .args(["-c", "cat >/dev/null; fsfreeze -u \"$1\" 2>/dev/null", "guard"])
            .arg(&self.mount)
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        Frozen::set(&directory, FREEZE).expect("ext4 can be frozen");
        Frozen { directory: Some(directory), guard }
    }

    /// From now on the device fails every write to what these files have of it, until what this gives is dropped. Reads
    /// of them come from memory, or find zeros.
    pub fn refuse_writes_to(&self, files: &[PathBuf]) -> Punched {
        let backing = self.backing.as_ref().expect("a disk that can fail");
        let image = File::options().write(true).open(self.image.as_ref().unwrap()).unwrap();
        // The kernel takes away what it zeroes.
        change_space(&image, 0, 0, image.metadata().unwrap().len()).unwrap();
        for path in files {
            for (offset, length) in extents(&File::open(path).unwrap()) {
                change_space(&image, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, offset, length)
                    .unwrap();
            }
        }
        // With no room left, what was punched out cannot be written to.
        let filler = backing.path().join("filler");
        let file = File::create(&filler).unwrap();
        let mut block = SPARE_BYTES;
        let mut end = 0;
        while block >= 4096 {
            match change_space(&file, 0, end, block) {
                Ok(()) => end += block,
                Err(_) => block /= 2,
            }
        }
        Punched { filler }
    }

    /// Bytes that are left on it.
    pub fn free_bytes(&self) -> u64 {
        let target = CString::new(self.mount.as_os_str().as_bytes()).unwrap();
        // SAFETY: plain old data, for which all zeros is valid.
        let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: a string and a writable struct.
        assert_eq!(unsafe { libc::statvfs(target.as_ptr(), &raw mut stat) }, 0);
        stat.f_bavail * stat.f_frsize
    }

    fn mount_image(&mut self) -> Result<(), String> {
        let image = self.image.as_ref().expect("a disk with an image");
        let options =
            if self.options.is_empty() { "loop".to_owned() } else { format!("loop,{}", self.options) };
        run(Command::new("mount").args(["-t", self.kind, "-o", &options]).arg(image).arg(&self.mount))?;
        self.mounted = true;
        Ok(())
    }

    fn try_unmount(&mut self, flags: libc::c_int) -> std::io::Result<()> {
        let target = CString::new(self.mount.as_os_str().as_bytes()).unwrap();
        // SAFETY: a string that lives during the call.
        if unsafe { libc::umount2(target.as_ptr(), flags) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        self.mounted = false;
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            // Detached: it goes when the last file in it is closed.
            let _ = self.try_unmount(libc::MNT_DETACH);
        }
    }
}

fn change_space(file: &File, mode: libc::c_int, offset: u64, length: u64) -> std::io::Result<()> {
    // SAFETY: the descriptor is open; no memory of ours is touched.
    match unsafe { libc::fallocate(file.as_raw_fd(), mode, offset as libc::off_t, length as libc::off_t) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Where a file's bytes are on its device: offset and length of each stretch.
fn extents(file: &File) -> Vec<(u64, u64)> {
    /// `_IOWR('f', 11, struct fiemap)`.
    const FIEMAP: libc::c_ulong = 0xc020_660b;
    const EXTENTS_MAX: usize = 64;
    /// `struct fiemap` and its extents, in words of eight bytes.
    const HEAD_WORDS: usize = 4;
    const EXTENT_WORDS: usize = 7;
    let mut words = [0u64; HEAD_WORDS + EXTENTS_MAX * EXTENT_WORDS];
    words[1] = u64::MAX;
    words[3] = EXTENTS_MAX as u64;
    // SAFETY: the struct with its extents is writable and as long as its count says.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), FIEMAP, words.as_mut_ptr()) };
    assert_eq!(answer, 0, "FIEMAP: {}", std::io::Error::last_os_error());
    let mapped = (words[2] >> 32) as usize;
    assert!(mapped > 0 && mapped < EXTENTS_MAX);
    words[HEAD_WORDS..].chunks(EXTENT_WORDS).take(mapped).map(|extent| (extent[1], extent[2])).collect()
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

fn skipped<T>(name: &str, why: &str) -> Option<T> {
    // Past the test runner's capture: a test that did not run must be seen not to have run.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("SKIPPED {name}: {why}\n").as_bytes());
    None
}
