//! A file system without a store: what the kernel's FUSE path allows, for benchmarks.
//!
//! Usage: `null_fs DIRECTORY`. Every name that ends in `.bin` is a file of 100 GiB of zeros, which takes
//! what is written to it and forgets it, every other name a directory. Mounted with the settings of the
//! command.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, MountOption, OpenAccMode, OpenFlags, ReplyAttr, ReplyData, ReplyEntry,
    ReplyOpen, ReplyWrite, Request, WriteFlags,
};

fn main() -> ExitCode {
    let Some(directory) = env::args_os().nth(1) else {
        eprintln!("usage: null_fs DIRECTORY");
        return ExitCode::FAILURE;
    };
    match serve(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("null_fs: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(directory: &OsStr) -> io::Result<()> {
    let mut config = fuser::Config::default();
    config.mount_options = vec![
        MountOption::FSName("null".into()),
        MountOption::DefaultPermissions,
        MountOption::NoAtime,
    ];
    config.n_threads = Some(16);
    config.clone_fd = true;
    let zeros = vec![0; MAX_REQUEST_BYTES as usize];
    let session = fuser::Session::new(NullFs { zeros }, directory, &config)?;
    let session = thread::spawn(move || session.run());
    let device = fs::metadata(directory)?.dev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    let setting = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    if let Err(error) = fs::write(&setting, READ_AHEAD_KIB) {
        eprintln!("null_fs: the kernel's read-ahead stays at its default: {error}");
    }
    session
        .join()
        .map_err(|_| io::Error::other("a thread panicked"))?
}

#[derive(Debug)]
struct NullFs {
    zeros: Vec<u8>,
}

impl Filesystem for NullFs {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // What the kernel lacks is not asked for again: it does without.
        let _refused = config.add_capabilities(
            InitFlags::FUSE_ASYNC_READ
                | InitFlags::FUSE_ASYNC_DIO
                | InitFlags::FUSE_MAX_PAGES
                | InitFlags::FUSE_ATOMIC_O_TRUNC,
        );
        let _capped = config.set_max_background(64);
        let _capped = config.set_max_write(MAX_REQUEST_BYTES);
        Ok(())
    }

    fn lookup(&self, _req: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        // Even numbers are files; 0 and 1 are taken.
        let even = (hasher.finish() & !1).max(2);
        let is_file = name.as_encoded_bytes().ends_with(b".bin");
        let ino = if is_file { even } else { even + 1 };
        reply.entry(&FOREVER, &attr(ino), Generation(0));
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _file: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOREVER, &attr(ino.0));
    }

    fn open(&self, _req: &Request, _ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let how = match flags.acc_mode() {
            OpenAccMode::O_RDONLY => FopenFlags::FOPEN_KEEP_CACHE,
            OpenAccMode::O_WRONLY | OpenAccMode::O_RDWR => FopenFlags::FOPEN_DIRECT_IO,
        };
        reply.opened(FileHandle(0), how);
    }

    fn write(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _file: FileHandle,
        _offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match u32::try_from(data.len()) {
            Ok(size) => reply.written(size),
            Err(_) => reply.error(Errno::EINVAL),
        }
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _file: FileHandle,
        _offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.zeros.get(..size as usize) {
            Some(zeros) => reply.data(zeros),
            None => reply.error(Errno::EINVAL),
        }
    }
}

fn attr(ino: u64) -> FileAttr {
    let is_file = ino.is_multiple_of(2);
    FileAttr {
        ino: INodeNo(ino),
        size: if is_file { FILE_BYTES } else { 0 },
        blocks: 0,
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind: if is_file {
            FileType::RegularFile
        } else {
            FileType::Directory
        },
        perm: if is_file { 0o644 } else { 0o755 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

const FILE_BYTES: u64 = 100 << 30;
const FOREVER: Duration = Duration::from_secs(1 << 30);
const MAX_REQUEST_BYTES: u32 = 1 << 20;
const READ_AHEAD_KIB: &str = "768";
