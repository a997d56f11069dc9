//! Memory of a job that its worker cannot map.

use session_tests::*;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// The file of a segment that nobody may open any more.
struct Closed(PathBuf);

impl Closed {
    fn new(file: PathBuf) -> Self {
        std::fs::set_permissions(&file, Permissions::from_mode(0o0)).expect("the owner may");
        Self(file)
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        let _ = std::fs::set_permissions(&self.0, Permissions::from_mode(0o600));
    }
}

/// Another process may be able to map what the first one could not; but the number of tries is limited.
#[test]
fn a_job_whose_memory_no_process_can_map_fails() {
    let server = Server::start(
        "unmapped",
        &[
            "dynamic_shared_memory_type=mmap",
            "pg_background.max_pool_workers=1",
            "pg_background.on_exhaustion=queue",
            "log_min_messages=debug1",
        ],
    );
    let mut leader = server.session();
    let mut other = server.session();
    let files = |client: &mut postgres::Client| -> Vec<String> {
        value(
            client,
            "SELECT array_agg(f ORDER BY f) FROM pg_ls_dir('pg_dynshmem') f",
        )
    };
    let directory: String = value(&mut leader, "SHOW data_directory");
    other
        .batch_execute("SELECT pg_advisory_lock(1)")
        .expect("locked");
    let first = launch(&mut leader, "SELECT pg_advisory_lock(1)");
    eventually(
        &mut other,
        "EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'advisory')",
    );
    // It has a segment of its own, which its leader maps, and its worker will have to.
    let before = files(&mut leader);
    let large = format!("SELECT length('{}')", "x".repeat(8 << 20));
    let job = launch(&mut leader, &large);
    let next = launch(&mut leader, "SELECT 'next'");
    let new: Vec<String> = files(&mut leader)
        .into_iter()
        .filter(|file| !before.contains(file))
        .collect();
    assert_eq!(new.len(), 1, "{new:?}");
    let closed = Closed::new(PathBuf::from(directory).join("pg_dynshmem").join(&new[0]));
    other
        .batch_execute("SELECT pg_advisory_unlock(1)")
        .expect("unlocked");
    assert!(
        value::<bool>(
            &mut leader,
            &format!(
                "SELECT pg_background_wait_v2_timeout({}, {}, 20000)",
                job.pid, job.cookie
            )
        ),
        "it goes from process to process"
    );
    drop(closed);
    // The error is that of mapping it.
    assert_eq!(sqlstate(try_result(&mut leader, job)), "42501");
    assert_eq!(
        try_result(&mut leader, next).expect("it runs"),
        [Some(String::from("next"))]
    );
    call(&mut leader, "pg_background_detach_v2", first).expect("detached");
    nothing_is_left(&mut leader);
    // One that had run a job, one that had not; and one for the next job.
    let returned = server
        .log()
        .matches("is returned by a worker that had not begun it")
        .count();
    assert_eq!(returned, 1);
}
