//! The dynamic shared memory segments of a server, from the outside.
//!
//! The server lists them in a control segment, which each of its processes maps; the segments are files. (The files
//! alone do not show to whom they belong.)

use postgres::Client;
use session_tests::value;

/// First word of the server's control segment for dynamic shared memory.
const MAGIC: u32 = 0x9a50_3d32;
/// Bytes before its first entry, and of each: handle, reference count, two numbers of pages, a pointer, a flag.
const HEADER: usize = 16;
const ENTRY: usize = 40;

/// The segments at a moment without other jobs and parallel queries.
#[derive(Debug)]
pub struct Segments {
    /// Their number.
    pub count: usize,
    /// Bytes of their files.
    pub bytes: u64,
    /// Of these what the extension says it has, less its job table.
    pub allocated: u64,
}

impl Segments {
    /// # Panics
    /// When the control segment is not found.
    pub fn look(admin: &mut Client) -> Self {
        let pid: i32 = value(admin, "SELECT pg_backend_pid()");
        let allocated: i64 = value(
            admin,
            "SELECT memory_allocated FROM pg_background_resources()",
        );
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("a process");
        let mut files = maps
            .lines()
            .filter_map(|line| line.split_whitespace().nth(5))
            .filter(|file| file.starts_with("/dev/shm/PostgreSQL."));
        let control = files
            .find_map(|file| std::fs::read(file).ok().filter(|it| word(it, 0) == MAGIC))
            .expect("the server has a control segment");
        let used = word(&control, 4) as usize;
        let mut this = Self {
            count: 0,
            bytes: 0,
            allocated: allocated as u64,
        };
        for entry in control[HEADER..].chunks_exact(ENTRY).take(used) {
            // 0: unused; 1: being destroyed.
            if word(entry, 4) > 1 {
                let file = format!("/dev/shm/PostgreSQL.{}", word(entry, 0));
                this.count += 1;
                this.bytes += std::fs::metadata(file).map_or(0, |file| file.len());
            }
        }
        this
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
    word.map_or(0, u32::from_ne_bytes)
}
