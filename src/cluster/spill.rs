//! Spill files: they take the rest of a result that nobody reads. The file of a job, and reading it.
//!
//! Spill files have names and directories of PostgreSQL's temporary files, so the server removes them when it starts.
//! They are not FileSets: the name of a FileSet contains the pid of its process and a counter, so a file that outlives
//! its process could collide with the file of a later process with that pid. The number in the name of a spill file
//! comes from shared memory and is never used twice.
//!
//! The worker writes its file in the job's transaction through the server's `fd.c` (`spill.c`), so `temp_file_limit`
//! applies. The reader uses `fd.c` too. When the job has ended, there is no transaction to close a file, and nothing
//! may throw, least of all at an exit. So the last part of a result is written, and files are deleted, with plain
//! system calls.
//!
//! A job has at most one spill file. The file's number and tablespace are in the job's block before the file exists, so
//! the process that frees the block can delete the file. The reader finds them there.
//!
//! The root counts files and bytes. Bytes are counted once, before they are written ([`SpillFile::claim`]). They are
//! subtracted once, when the file is emptied or deleted, by the file's own count, which goes with the job. So nothing
//! has to be corrected when a process ends between the two. Bytes that could not be written count until the job is
//! freed, because part of them may be in the file.

use crate::cluster::attach::Cluster;
use crate::cluster::job::Job;
use crate::pg::error::Error;
use crate::pg::memory::Assembly;
use crate::pg::server;
use crate::pg::shim::TEMP_FILE_PREFIX;
use crate::pg::{shim, text};
use engine::ring;
use engine::sync::{AtomicU32, AtomicU64, Ordering};
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED;
use std::ffi::{CStr, OsStr, c_char};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A path as the server has it: zero-terminated, relative to the data directory, which is the working directory of its
/// processes.
struct PathName([u8; pg_sys::MAXPGPATH as usize]);

impl PathName {
    /// The directory of a tablespace's temporary files.
    fn of_directory(tablespace: pg_sys::Oid) -> Self {
        let mut path = Self([0; _]);
        // SAFETY: there is room for as much as it writes.
        unsafe { server::TempTablespacePath(path.0.as_mut_ptr().cast(), tablespace) };
        path
    }

    fn of_file(directory: &Self, number: u64) -> Self {
        let mut path = Self([0; _]);
        let (last, mut room) = path.0.split_last_mut().expect("the zero byte");
        let directory = directory.as_c().to_bytes();
        // There is room: the server's directories have some 60 bytes.
        let _ = room
            .write_all(directory)
            .and_then(|()| write!(room, "/{TEMP_FILE_PREFIX}pgb.{number}"));
        *last = 0;
        path
    }

    fn as_c(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).expect("zero-terminated")
    }

    /// For Rust's standard library, which copies a short path to the stack.
    fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.as_c().to_bytes()))
    }
}

/// For C, in which null stands for no path.
fn pointer_to(path: Option<&PathName>) -> *const c_char {
    path.map_or(std::ptr::null(), |path| path.as_c().as_ptr())
}

/// Opens a file for writing. With `new_in`, makes the file in that directory.
fn open_for_rest(file: &PathName, new_in: Option<&PathName>) -> Option<File> {
    let (file, new_in) = (file.as_c().as_ptr(), pointer_to(new_in));
    // SAFETY: zero-terminated paths, or null; does not throw.
    let descriptor = unsafe { shim::pgb_spill_open_rest(file, new_in) };
    // SAFETY: just opened, and nobody else has it.
    (descriptor >= 0).then(|| unsafe { File::from_raw_fd(descriptor) })
}

/// A job's spill file, as the job's block describes it. The worker fills this in before the first bytes of the file are
/// published.
#[repr(C)]
#[derive(Default)]
pub struct SpillFile {
    /// 0: there is no file.
    number: AtomicU64,
    /// Bytes in the file, including those that are being written.
    bytes: AtomicU64,
    tablespace: AtomicU32,
}

impl SpillFile {
    /// How many bytes are in the file now.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The paths of the directory and of the file.
    fn paths(&self) -> (PathName, PathName) {
        let tablespace = pg_sys::Oid::from(self.tablespace.load(Ordering::Relaxed));
        let directory = PathName::of_directory(tablespace);
        let file = PathName::of_file(&directory, self.number.load(Ordering::Relaxed));
        (directory, file)
    }

    /// Appends bytes. Only for the worker that runs the job. Throws if it cannot.
    pub fn append(&self, job: Job, offset: u64, bytes: &[u8]) {
        if !self.claim(job, bytes.len()) {
            over_limit(job).raise();
        }
        let fresh = self.number.load(Ordering::Relaxed) == 0;
        if fresh {
            // SAFETY: reads a setting.
            let tablespace = unsafe { shim::pgb_spill_tablespace() };
            self.assign_number(job.cluster, tablespace);
        }
        fault!("spill-numbered");
        let (directory, file) = self.paths();
        let file = file.as_c().as_ptr();
        let new_in = pointer_to(fresh.then_some(&directory));
        let (start, len) = (bytes.as_ptr().cast(), bytes.len() as i32);
        let offset = offset.cast_signed();
        // SAFETY: the paths and the bytes outlive the call.
        unsafe {
            shim::pgb_spill_write(file, new_in, offset, start, len);
        }
        fault!("spill-written");
    }

    /// Appends the last part of a result when its job has ended. Outside a transaction; does not throw. `false`: the
    /// bytes could not be written.
    pub fn append_rest(&self, job: Job, offset: u64, bytes: &[u8]) -> bool {
        if !self.claim(job, bytes.len()) {
            return false;
        }
        let fresh = self.number.load(Ordering::Relaxed) == 0;
        if fresh {
            // SAFETY: a plain global of this process.
            self.assign_number(job.cluster, unsafe { pg_sys::MyDatabaseTableSpace });
        }
        let end = offset + bytes.len() as u64;
        // SAFETY: a plain setting.
        let limit = unsafe { pg_sys::temp_file_limit };
        // Negative: there is no limit.
        if u64::try_from(limit).is_ok_and(|limit| end > limit * 1024) {
            return false;
        }
        let (directory, file) = self.paths();
        open_for_rest(&file, fresh.then_some(&directory))
            .is_some_and(|file| file.write_all_at(bytes, offset).is_ok())
    }

    /// Before the file exists: an error in between leaves only an unused number.
    fn assign_number(&self, cluster: &'static Cluster, tablespace: pg_sys::Oid) {
        self.tablespace
            .store(tablespace.to_u32(), Ordering::Relaxed);
        self.number
            .store(cluster.next_spill_number(), Ordering::Relaxed);
        cluster.spill_files().fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes that are about to be written. A file's count grows here only. Does not throw. `false`: the files of
    /// the job's role would exceed their limit.
    fn claim(&self, job: Job, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let slot = job.slot();
        let limit = slot.file_limit.load(Ordering::Relaxed);
        let usage = job.cluster.pool().usage(slot.usage());
        if !usage.claim_file_bytes(bytes, limit) {
            return false;
        }
        slot.file_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        true
    }

    /// Takes back what was claimed. A file's count shrinks here only.
    fn release_claim(&self, job: Job) {
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        let slot = job.slot();
        let usage = job.cluster.pool().usage(slot.usage());
        usage.release_file_bytes(bytes);
        slot.file_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Empties the file. Only for the worker that runs the job. Throws if it cannot.
    pub fn empty(&self, job: Job) {
        let (_, file) = self.paths();
        let file = file.as_c().as_ptr();
        // SAFETY: the path outlives the call.
        unsafe { shim::pgb_spill_empty(file) };
        fault!("spill-emptied");
        self.release_claim(job);
    }

    /// Deletes the file, if there is one. Only for the last process that knows the job. Does not throw.
    pub fn delete(&self, job: Job) {
        self.release_claim(job);
        if self.number.load(Ordering::Relaxed) == 0 {
            return;
        }
        // An error is ignored: the file may have a number and not exist.
        let (_, file) = self.paths();
        let _ = fs::remove_file(file.as_path());
        self.number.store(0, Ordering::Relaxed);
        job.cluster.spill_files().fetch_sub(1, Ordering::Relaxed);
    }
}

fn over_limit(job: Job) -> Error {
    let slot = job.slot();
    let role = text::role_name(job.cluster.pool().usage(slot.usage()).role());
    let limit = slot.file_limit.load(Ordering::Relaxed) / 1024;
    Error::new(
        ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
        format_args!("results of background jobs of role {role} take up too much disk space"),
    )
    .detail(format_args!(
        "The limit for all files of unread results of a role is {limit} kB."
    ))
    .hint(format_args!(
        "Read or detach finished jobs, or have a superuser raise pg_background.role_max_disk (ALTER ROLE {role} SET ...), or temp_file_limit."
    ))
}

/// How many bytes are read from a file at a time, unless a chunk is longer.
const READ_SIZE: u64 = 256 * 1024;

/// A chunk of a file, in the reader's memory.
#[derive(Clone, Copy)]
pub struct FileChunk {
    /// The kind of the frame.
    pub kind: u8,
    /// Whether another chunk of the frame follows.
    pub more: bool,
    /// The payload. Valid until this chunk is consumed and the next is requested.
    pub start: *const u8,
    /// Size of the payload.
    pub len: usize,
    /// Size of the chunk in the file.
    pub size: u64,
}

/// The reader's end of a file.
pub struct FileReader {
    file: &'static SpillFile,
    opened: Option<i32>,
    buffer: Assembly,
    /// How many bytes of the buffer are consumed.
    consumed: u64,
}

impl Drop for FileReader {
    fn drop(&mut self) {
        if let Some(opened) = self.opened {
            // SAFETY: opened by `fill`; does not throw.
            unsafe { shim::pgb_spill_close(opened) };
        }
    }
}

impl FileReader {
    /// For a job's file, which need not exist yet. Memory comes from `context`, which must live as long as the reader.
    pub fn new(file: &'static SpillFile, context: pg_sys::MemoryContext) -> Self {
        Self {
            file,
            opened: None,
            buffer: Assembly::new(context),
            consumed: 0,
        }
    }

    /// Whether the buffer holds nothing unread.
    pub fn is_drained(&self) -> bool {
        self.consumed == self.buffer.len() as u64
    }

    /// The chunk at `offset`, where `len` bytes can be read. All chunks before it are consumed.
    pub fn chunk(&mut self, offset: u64, len: u64) -> FileChunk {
        if let Some(chunk) = self.buffered() {
            return chunk;
        }
        // The rest of the buffer is the beginning of the chunk.
        self.buffer.drop_front(self.consumed as usize);
        self.consumed = 0;
        let mut wanted = READ_SIZE;
        loop {
            self.fill(offset, wanted.min(len));
            if let Some(chunk) = self.buffered() {
                return chunk;
            }
            let header = self.header().expect("a whole header was read");
            wanted = ring::size_of_chunk(header.0) as u64;
        }
    }

    fn header(&self) -> Option<(usize, u8, bool)> {
        let rest = &self.buffer.bytes()[self.consumed as usize..];
        rest.first_chunk().map(ring::read_header)
    }

    fn buffered(&self) -> Option<FileChunk> {
        let (len, kind, more) = self.header()?;
        let size = ring::size_of_chunk(len);
        let rest = &self.buffer.bytes()[self.consumed as usize..];
        (rest.len() >= size).then(|| FileChunk {
            kind,
            more,
            start: rest[ring::HEADER..].as_ptr(),
            len,
            size: size as u64,
        })
    }

    /// Reads until the buffer, which begins at `offset`, holds `wanted` bytes.
    fn fill(&mut self, offset: u64, wanted: u64) {
        let buffered = self.buffer.len() as u64;
        let missing = wanted.saturating_sub(buffered) as usize;
        let file = match self.opened {
            Some(file) => file,
            None => {
                let (_, path) = self.file.paths();
                let path = path.as_c().as_ptr();
                // SAFETY: the path outlives the call; the file was published before the bytes in it.
                let file = unsafe { shim::pgb_spill_open(path) };
                self.opened = Some(file);
                file
            }
        };
        let room = self.buffer.room(missing).cast();
        let from = (offset + buffered).cast_signed();
        // SAFETY: there is room for so many bytes.
        unsafe { shim::pgb_spill_read(file, from, room, missing as i32) };
        self.buffer.add_filled(missing);
    }

    /// Consumes the chunk that was returned last.
    pub fn consume(&mut self, chunk: FileChunk) {
        self.consumed += chunk.size;
    }
}
