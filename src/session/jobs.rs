//! The jobs that this session tracks, and its statistics.
//!
//! A session starts to track a job when it claims the slot, before it can process an interrupt. It stops when the job
//! is detached or its result has been read to the end. While it tracks a job it holds LEADER. The exit callback gives
//! up the tracked jobs. A slot has one job at a time and the session holds it, so the slot's index identifies the job.
//! A cookie names the slot, which makes finding a job cheap however many there are.
//!
//! A job is **given** when the user has its handle. A launch that still waits for a worker has not given its handle,
//! and the jobs of a fan-out are never given. Such jobs are in no list, count against no limit and in no statistics,
//! and end with this session.
//!
//! A job can be detached while its result is being read ([`begin_read`]): by code that the read itself calls (a cast to
//! JSON, the check of a domain), by another statement while a cursor is open, or by the end of the session. Its memory
//! must outlive the read, so the hold is given up when the read ends ([`end_read`]). The exit callback gives up
//! everything; a read that ends after it finds that the job is gone.
//!
//! An administrator may purge a session's finished jobs. This never happens in the middle of a call: each call of one
//! of the extension's functions is a [`SessionCall`] and holds the session's gate ([`engine::pool::gate`]). The next
//! call forgets the purged jobs. The engine has the steps (`src/engine/pool/session_call.rs`); this module is the
//! session's side: what it tracks, what is being read, its statistics.
//!
//! The statistics count a job when this session observes that it has finished. If the session has detached the job
//! before, or may lose it to a purge at any moment, the last one out counts it ([`engine::pool::ends`]).

use crate::cluster::attach::{Cluster, PoolLwLock, attached, cluster};
use crate::cluster::job::Job;
use crate::cluster::latch::ProcessLatch;
use crate::cluster::{block, job_end, segment, spawn, trace};
use crate::pg::error::Error;
use crate::pg::local::Local;
use crate::pg::process;
use crate::pg::server;
use crate::settings;
use engine::cookie::Cookie;
use engine::job::{Phase, Snapshot};
use engine::memory;
use engine::pool::Pool;
use engine::pool::ends::Ends;
use engine::pool::session_call::{self, Notes};
use engine::process_ref::ProcRef;
use engine::sync::Ordering;
use engine::table::{JobId, Slot};
use engine::wait::{Latch, Micros};
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::{
    ERRCODE_AMBIGUOUS_ALIAS, ERRCODE_INSUFFICIENT_PRIVILEGE, ERRCODE_NULL_VALUE_NOT_ALLOWED,
    ERRCODE_OBJECT_IN_USE, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, ERRCODE_UNDEFINED_OBJECT,
};
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// A job that this session tracks.
#[derive(Clone, Copy, Debug)]
pub struct Tracked {
    /// The job itself.
    pub job: Job,
    /// Its cookie.
    pub cookie: Cookie,
    /// The pid in the handle that the user was given; 0 if the job was still queued then.
    pub pid: u32,
    /// Launched by a version 1 function.
    pub by_pid: bool,
    /// Submitted: it has no result.
    pub submit: bool,
    /// A row of the result or its error was taken.
    pub consumed: bool,
    /// Whether the user has its handle.
    given: bool,
    /// Its position in the order of launches.
    order: u64,
}

/// What this session has launched, and how it ended.
#[derive(Clone, Copy, Default, Debug)]
pub struct Statistics {
    /// Handles given out.
    pub launched: u64,
    /// How those jobs ended that have ended.
    pub ends: Ends,
    /// Jobs that a call gave up at its time limit.
    pub timed_out: u64,
}

impl Statistics {
    /// Jobs that have not ended.
    pub fn active(&self) -> u64 {
        self.launched.saturating_sub(self.ends.total())
    }

    /// Mean run time in milliseconds; 0 if none has ended.
    pub fn average_ms(&self) -> f64 {
        match self.ends.total() {
            0 => 0.0,
            count => self.ends.run_time as f64 / 1000.0 / count as f64,
        }
    }
}

/// A job whose result is being read.
struct BeingRead {
    job: Job,
    /// Whether it was detached meanwhile.
    detached: bool,
}

struct Session {
    /// By the slot's index.
    jobs: BTreeMap<u32, Tracked>,
    /// How many of them are given.
    given: usize,
    /// Launches so far, including failed ones.
    launches: u64,
    being_read: Vec<BeingRead>,
    statistics: Statistics,
}

static SESSION: Local<Session> = Local::new(Session {
    jobs: BTreeMap::new(),
    given: 0,
    launches: 0,
    being_read: Vec::new(),
    statistics: Statistics {
        launched: 0,
        ends: Ends {
            completed: 0,
            failed: 0,
            canceled: 0,
            run_time: 0,
        },
        timed_out: 0,
    },
});

/// How many calls of the extension's functions are active, one inside another.
static CALLS: Local<u32> = Local::new(0);

/// What the session knows of its gate.
static NOTES: Local<Notes> = Local::new(Notes::NONE);

/// A call of one of the extension's functions, until dropped. Nobody else purges this session's jobs meanwhile.
pub struct SessionCall(());

impl SessionCall {
    /// Begins the call. Waits for a purge in progress, which is short.
    pub fn begin() -> Self {
        CALLS.set(CALLS.get() + 1);
        let call = Self(());
        if let Some(cluster) = attached() {
            session_call::enter(&Caller::new(cluster));
        }
        call
    }
}

impl Drop for SessionCall {
    fn drop(&mut self) {
        CALLS.set(CALLS.get() - 1);
        if CALLS.get() == 0 {
            leave();
        }
        trace::write_transitions();
    }
}

/// This session, as the engine's steps see it.
struct Caller {
    cluster: &'static Cluster,
    latch: ProcessLatch<'static>,
}

impl Caller {
    fn new(cluster: &'static Cluster) -> Self {
        Self {
            cluster,
            latch: ProcessLatch::new(cluster),
        }
    }

    /// What it tracks of a job.
    fn tracked(&self, id: JobId) -> Option<Tracked> {
        SESSION.with(|session| session.find(self.cluster.job(id)).copied())
    }
}

impl session_call::Session for Caller {
    type Lock = PoolLwLock;

    fn proc(&self) -> ProcRef {
        process::own_proc()
    }

    fn pool(&self) -> Pool<'_, PoolLwLock> {
        *self.cluster.pool()
    }

    fn latch(&self) -> &impl Latch {
        &self.latch
    }

    fn slot(&self, id: JobId) -> &Slot {
        self.cluster.slot(id)
    }

    fn notes(&self) -> Notes {
        NOTES.get()
    }

    fn set_notes(&self, notes: Notes) {
        NOTES.set(notes);
    }

    fn next_tracked(&self, from: u32) -> Option<JobId> {
        SESSION.with(|session| {
            session
                .jobs
                .range(from..)
                .next()
                .map(|(_, tracked)| tracked.job.id)
        })
    }

    fn is_given(&self, id: JobId) -> bool {
        self.tracked(id).is_some_and(|tracked| tracked.given)
    }

    fn is_being_read(&self, id: JobId) -> bool {
        is_being_read(self.cluster.job(id))
    }

    fn count(&self, phase: Phase, run_time: Micros) {
        SESSION.with(|session| session.statistics.ends.count(phase, run_time));
    }

    fn unmap(&self, id: JobId) {
        block::unmap(self.cluster.job(id));
    }

    fn forget(&self, id: JobId) {
        forget(self.cluster.job(id));
    }

    fn give_up_hold(&self, id: JobId) {
        let job = self.cluster.job(id);
        fault!("job-forgotten");
        let is_read = SESSION.with(|session| {
            let reading = session.being_read.iter_mut().find(|read| read.job == job);
            reading.map(|read| read.detached = true).is_some()
        });
        if !is_read {
            drop_hold(job);
        }
    }

    fn end_statistics(&self) {
        SESSION.with(|session| session.statistics = Statistics::default());
    }

    fn start_workers(&self, lane: u32) {
        let _ = spawn::spawn_workers(self.cluster, lane);
    }
}

/// Enters the gate when the session is about to have its first job.
pub fn enter_first(cluster: &'static Cluster) {
    session_call::enter_first(&Caller::new(cluster));
}

fn leave() {
    segment::unmap_where(|job| holds(job) && !is_being_read(job));
    if let Some(cluster) = attached() {
        let _ = session_call::leave(&Caller::new(cluster));
    }
}

/// Detaches the finished jobs of this session that are not being read. Returns their number. Does not throw.
pub fn purge_own(cluster: &'static Cluster) -> i32 {
    session_call::purge_own(&Caller::new(cluster)).cast_signed()
}

/// The session ends: gives up every job that it tracks, and the gate. `withdraw` asks for the cancel of a job whose
/// handle nobody has. Does not throw.
pub fn end(cluster: &'static Cluster, withdraw: impl Fn(Job)) {
    session_call::end(&Caller::new(cluster), |id| withdraw(cluster.job(id)));
}

/// The kind of function that a handle was given to. A wrong cookie is a different error for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// The functions of 1.8 that read a result: 42704
    ForResult,
    /// All others: 55000 with a hint
    ForControl,
}

/// How a user names a job.
#[derive(Clone, Copy, Debug)]
pub enum JobName {
    /// As version 1 does.
    Pid(i32),
    /// As version 2 does.
    Handle(i32, Cookie),
}

/// The jobs whose handles the user has, in the order of their launch. Raises 53200, because there may be as many as the
/// job table has slots.
pub fn tracked() -> Vec<Tracked> {
    let jobs = SESSION.with(|session| {
        let given = session.jobs.values().filter(|tracked| tracked.given);
        memory::try_collect(given.copied())
    });
    let mut jobs = jobs.unwrap_or_else(|_| Error::out_of_memory().raise());
    jobs.sort_unstable_by_key(|tracked| tracked.order);
    jobs
}

/// The jobs that this session holds, one after another. They may be detached meanwhile. Needs no memory.
pub fn each_held() -> impl Iterator<Item = Tracked> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let next =
            SESSION.with(|session| session.jobs.range(from..).next().map(|(_, job)| *job))?;
        from = next.job.id.index + 1;
        Some(next)
    })
}

/// Whether this session still holds the job.
pub fn holds(job: Job) -> bool {
    SESSION.with(|session| session.find(job).is_some())
}

/// How many handles the user has.
pub fn count() -> usize {
    SESSION.with(|session| session.given)
}

/// Starts to track a job. Called when its slot was claimed, before the session can process an interrupt.
pub fn track(job: Job, cookie: Cookie, by_pid: bool, submit: bool) {
    SESSION.with(|session| {
        session.launches += 1;
        let tracked = Tracked {
            job,
            cookie,
            pid: 0,
            by_pid,
            submit,
            consumed: false,
            given: false,
            order: session.launches,
        };
        #[allow(
            clippy::disallowed_methods,
            reason = "a node at a time, for which the allocator has a reserve"
        )]
        session.jobs.insert(job.id.index, tracked);
    });
}

impl Session {
    fn find(&mut self, job: Job) -> Option<&mut Tracked> {
        let tracked = self.jobs.get_mut(&job.id.index);
        tracked.filter(|tracked| tracked.job == job)
    }
}

/// Called before the handle is given to the user.
pub fn note_launched(job: Job, pid: u32) {
    let own = process::own_proc();
    let entry = job.cluster.pool().leader(own);
    if let Some(entry) = entry.filter(|entry| entry.is_of(own)) {
        job.slot().set_account(entry);
    }
    SESSION.with(|session| {
        if let Some(tracked) = session.find(job) {
            tracked.pid = pid;
            tracked.given = true;
            session.given += 1;
            session.statistics.launched += 1;
        }
    });
}

/// Called before the first row of the result, or its error, is taken.
pub fn note_consumed(job: Job) {
    SESSION.with(|session| {
        if let Some(tracked) = session.find(job) {
            tracked.consumed = true;
        }
    });
}

/// Counts a job that a call gave up at its time limit.
pub fn note_timeout() {
    SESSION.with(|session| session.statistics.timed_out += 1);
}

/// Stops tracking a job without giving up the hold.
fn forget(job: Job) {
    SESSION.with(|session| {
        if session.find(job).is_some()
            && let Some(tracked) = session.jobs.remove(&job.id.index)
            && tracked.given
        {
            session.given -= 1;
        }
    });
}

/// Stops tracking a reservation that could not be filled in, and frees the slot.
pub fn abandon(job: Job) {
    forget(job);
    job_end::release_reserved(job);
    job.cluster.pool().abandon(job.id);
    trace::write_transitions();
}

/// Detaches a job: counts it if it has finished, stops tracking it, and frees it if nobody else holds it. A worker that
/// waits for room in the ring learns that nobody will read.
pub fn detach(job: Job) {
    session_call::give_up(&Caller::new(job.cluster), job.id);
}

/// Starts to read the result of a job that this session holds.
///
/// # Errors
/// 55006 if it is already being read.
pub fn begin_read(job: Job) -> Result<(), Error> {
    SESSION.with(|session| {
        if session.being_read.iter().any(|read| read.job == job) {
            return Err(Error::new(
                ERRCODE_OBJECT_IN_USE,
                "the result of this background job is already being read",
            ));
        }
        let read = BeingRead {
            job,
            detached: false,
        };
        memory::try_push(&mut session.being_read, read).map_err(Error::from)
    })?;
    job.slot().set_being_read(true);
    Ok(())
}

/// Whether a job was detached while it was being read.
pub fn was_detached(job: Job) -> bool {
    SESSION.with(|session| {
        let reading = session.being_read.iter().find(|read| read.job == job);
        reading.is_none_or(|read| read.detached)
    })
}

/// Whether a read may still access its job's memory. It may not once the end of the session has detached the job.
pub fn is_being_read(job: Job) -> bool {
    SESSION.with(|session| session.being_read.iter().any(|read| read.job == job))
}

/// Ends the read of a job. Gives up the hold if the job was detached meanwhile.
pub fn end_read(job: Job) {
    let detached = SESSION.with(|session| {
        let index = session.being_read.iter().position(|read| read.job == job)?;
        Some(session.being_read.swap_remove(index).detached)
    });
    if detached.is_some() {
        job.slot().set_being_read(false);
    }
    if detached == Some(true) {
        drop_hold(job);
    }
}

/// Ends every read and gives up the jobs that were detached meanwhile. A read that finds itself ended no longer
/// accesses the job.
pub fn end_all_reads() {
    while let Some(read) = SESSION.with(|session| session.being_read.pop()) {
        read.job.slot().set_being_read(false);
        if read.detached {
            drop_hold(read.job);
        }
    }
}

/// The part of [`detach`] that changes shared memory.
pub fn drop_hold(job: Job) {
    let slot = job.slot();
    let now = slot.word.load();
    // The generation is compared too: a job that was detached before may have left its slot to another reservation.
    if now.phase() == Phase::Reserved && now.generation() == job.id.generation {
        abandon(job);
        return;
    }
    block::unmap(job);
    job_end::detach(job);
}

/// Counts a finished job in the statistics unless it was counted before. Returns the job's word.
pub fn count_if_finished(job: Job) -> Snapshot {
    session_call::count_if_finished(&Caller::new(job.cluster), job.id)
}

impl Tracked {
    /// The cookie as SQL shows it. Version 1 jobs have none; it shows 0.
    pub fn shown_cookie(&self) -> i64 {
        if self.by_pid { 0 } else { self.cookie.to_sql() }
    }

    fn has_pid(&self, pid: i32) -> bool {
        let pid = pid.cast_unsigned();
        pid == self.pid || pid == self.job.pid()
    }

    /// Superusers and members of the role that launched the job may.
    pub fn may_manage(&self) -> bool {
        let owner = pg_sys::Oid::from(self.job.slot().user.load(Ordering::Relaxed));
        // SAFETY: catalog lookups, in the transaction of the calling function.
        unsafe { server::superuser() || server::has_privs_of_role(server::GetUserId(), owner) }
    }

    /// A session's jobs are its own, as its cursors and prepared statements are. It can detach them under any current
    /// role; that reveals and stops nothing. Code in a security-restricted operation may not.
    pub fn may_detach(&self) -> bool {
        // SAFETY: looks at a flag of this process.
        !unsafe { server::InSecurityRestrictedOperation() } || self.may_manage()
    }
}

/// The statistics, including everything that has ended by now.
pub fn statistics() -> Statistics {
    let mut statistics = SESSION.with(|session| session.statistics);
    if let Some(cluster) = attached() {
        for tracked in each_held() {
            count_if_finished(tracked.job);
        }
        let own = process::own_proc();
        let unseen = cluster.pool().locked(|scheduler| scheduler.ends_of(own));
        statistics = SESSION.with(|session| session.statistics);
        statistics.ends = statistics.ends.and(unseen);
    }
    statistics
}

/// This session tracks no job with this handle, or with this pid.
pub fn no_such_job(pid: i32) -> Error {
    Error::new(
        ERRCODE_UNDEFINED_OBJECT,
        format_args!("PID {pid} is not attached to this session"),
    )
    .hint("Only the session that launched a job knows it, until its result has been read to the end or it is detached. A connection pool may have handed out another session.")
}

/// Finds the job that `name` means among those that this session tracks, and checks that the current user may manage
/// it.
///
/// # Errors
/// 42704 no such job (for a result, also a wrong cookie); 55000 wrong cookie; 42P09 several jobs with one pid; 42501
/// missing privileges.
pub fn find(name: JobName, purpose: Purpose) -> Result<Tracked, Error> {
    let found = find_held(name, purpose)?;
    if found.may_manage() {
        return Ok(found);
    }
    Err(permission_denied(&found))
}

/// Finds a job for what a session may do to each of its jobs: detach it, or wait for its end.
///
/// # Errors
/// As [`find`]; 42501 only in a security-restricted operation.
pub fn find_in_session(name: JobName) -> Result<Tracked, Error> {
    let found = find_held(name, Purpose::ForControl)?;
    if found.may_detach() {
        return Ok(found);
    }
    Err(permission_denied(&found))
}

fn find_held(name: JobName, purpose: Purpose) -> Result<Tracked, Error> {
    // Attaches to shared memory if possible. If that fails, its error says more than that there is no such job.
    let _ = cluster()?;
    match name {
        JobName::Pid(pid) => find_by_pid(pid),
        JobName::Handle(pid, cookie) => {
            with_handle(pid, cookie).ok_or_else(|| no_such_handle(pid, purpose))
        }
    }
}

/// As [`find`]; `None`, without a reason, if the handle names no job of this session. Costs the same however many jobs
/// the session tracks.
///
/// # Errors
/// 42501 missing privileges
pub fn find_tracked(pid: i32, cookie: Cookie) -> Result<Option<Tracked>, Error> {
    match with_handle(pid, cookie) {
        Some(found) if !found.may_manage() => Err(permission_denied(&found)),
        found => Ok(found),
    }
}

fn find_by_pid(pid: i32) -> Result<Tracked, Error> {
    let jobs = tracked();
    let of_pid = |tracked: &&Tracked| tracked.has_pid(pid);
    if let Some(found) = jobs.iter().filter(of_pid).find(|tracked| tracked.by_pid) {
        return Ok(*found);
    }
    let mut others = jobs.iter().filter(of_pid);
    match (others.next(), others.next()) {
        (Some(found), None) => Ok(*found),
        (Some(_), Some(_)) => Err(Error::new(
            ERRCODE_AMBIGUOUS_ALIAS,
            format_args!("several jobs of this session ran in the process with PID {pid}"),
        )
        .hint("Use the version 2 functions, which also take the cookie.")),
        (None, _) => Err(no_such_job(pid)),
    }
}

fn with_handle(pid: i32, cookie: Cookie) -> Option<Tracked> {
    if cookie.to_sql() == 0 {
        // The cookie that a version 1 job is listed with does not name its slot.
        return launched_by_pid(pid);
    }
    let named = SESSION.with(|session| session.jobs.get(&cookie.index()).copied());
    named.filter(|tracked| tracked.given && tracked.has_pid(pid) && tracked.cookie == cookie)
}

fn launched_by_pid(pid: i32) -> Option<Tracked> {
    let is_it = |tracked: &Tracked| tracked.given && tracked.by_pid && tracked.has_pid(pid);
    SESSION.with(|session| session.jobs.values().copied().find(is_it))
}

/// The cookie of the version 1 job with this pid, which no later job has.
///
/// # Errors
/// 42704 there is none; 42501 missing privileges
pub fn cookie_of(pid: i32) -> Result<Cookie, Error> {
    match launched_by_pid(pid) {
        Some(found) if !found.may_manage() => Err(permission_denied(&found)),
        Some(found) => Ok(found.cookie),
        None => Err(no_such_job(pid)),
    }
}

/// Checks a handle without a cookie: its author expected one from a version 1 function.
///
/// # Errors
/// 22004 a version 1 function has launched a job with this pid
pub fn check_no_cookie(pid: Option<i32>) -> Result<(), Error> {
    if pid.and_then(launched_by_pid).is_none() {
        return Ok(());
    }
    Err(Error::new(
        ERRCODE_NULL_VALUE_NOT_ALLOWED,
        "the cookie of a background job must not be null",
    )
    .detail("The job was launched by pg_background_launch, which returns only a pid in this database.")
    .hint("Assign its result to a variable of type pg_background_handle with := or launch with pg_background_launch_v2, or create the extension with pg_background.forms set to 2.0."))
}

fn no_such_handle(pid: i32, purpose: Purpose) -> Error {
    if !tracked().iter().any(|tracked| tracked.has_pid(pid)) {
        return no_such_job(pid);
    }
    match purpose {
        Purpose::ForResult => no_such_job(pid).detail("The cookie does not belong to that job."),
        Purpose::ForControl => Error::new(
            ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format_args!("cookie mismatch for PID {pid}"),
        )
        .hint("The job of this handle has ended and its process runs another job, or the handle belongs to another session, as behind a connection pool."),
    }
}

fn permission_denied(tracked: &Tracked) -> Error {
    Error::new(
        ERRCODE_INSUFFICIENT_PRIVILEGE,
        format_args!(
            "permission denied for background job with PID {}",
            tracked.pid
        ),
    )
    .detail("Only a superuser or a member of the role that launched the job may manage it.")
}

/// The pids of the tracked version 1 jobs. The next such job must have another pid.
#[allow(
    clippy::disallowed_methods,
    reason = "at most `pg_background.max_workers`"
)]
pub fn pids_in_use() -> SmallVec<[u32; 16]> {
    SESSION.with(|session| {
        session
            .jobs
            .values()
            .filter(|tracked| tracked.by_pid && tracked.pid != 0)
            .map(|tracked| tracked.pid)
            .collect()
    })
}

/// The session tracks `pg_background.max_workers` jobs.
pub fn too_many_jobs() -> Error {
    Error::new(
        pg_sys::errcodes::PgSqlErrorCode::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
        format_args!(
            "too many background jobs in this session: {} of {}",
            count(),
            settings::max_workers()
        ),
    )
    .hint("Read the results of finished jobs, detach them, or raise pg_background.max_workers.")
}
