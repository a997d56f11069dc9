//! From a request to a handle.
//!
//! 1. The launch collects settings, users and SQL text. Nothing is shared yet.
//! 2. It claims and tracks a slot and writes the request into a block of the arena. If the login role is at its limit
//!    or the job table is full, it waits for a slot first ([`slot_queue`]).
//! 3. Under the pool lock it publishes the job, which goes to an idle worker or to the end of its lane. If the job has
//!    to wait, workers are spawned as far as there are vacant worker slots. With `on_exhaustion = queue` a job beyond
//!    its session's quota is throttled instead.
//! 4. It returns when the job is bound to a process, whose pid is part of the handle. It does not wait for that process
//!    to connect or to begin the job.
//!
//! Until the handle is given out, a [`Hold`] guards the job: an error, or an interrupt of the wait, withdraws it.
//!
//! A fan-out ([`crate::session::launch::fanout`]) launches the same way through [`launch_for_fanout`], but gives no
//! handle, does not wait for a worker and uses one [`LaunchContext`] for all its jobs. So does a call
//! ([`crate::session::launch::call`]) through [`launch_for_call`], which has one job.

use crate::cluster::attach::{Cluster, cluster};
use crate::cluster::block::{Block, Request, Returns};
use crate::cluster::job::Job;
use crate::cluster::latch::ProcessLatch;
use crate::cluster::trace::Event;
use crate::cluster::{job_end, spawn, trace};
use crate::pg::error::{Error, Failure};
use crate::pg::local::Local;
use crate::pg::process::own_proc;
use crate::pg::server;
use crate::pg::shim::Identity;
use crate::pg::{guc_state, library, process, text};
use crate::session::hold::Hold;
use crate::session::jobs;
use crate::session::jobs::JobName;
use crate::session::launch::slot_queue;
use crate::session::launch::slot_queue::{NoSlot, RoleLimits, SlotWait};
use crate::session::wait::until;
use crate::settings;
use crate::settings::OnExhaustion;
use arrayvec::ArrayVec;
use engine::cookie::Cookie;
use engine::job::{Phase, Snapshot};
use engine::pool::handoff::Awake;
use engine::pool::worker_start::{Placed, Spawned};
use engine::pool::{Dispatched, LaneKey, Limits};
use engine::sync::Ordering;
use engine::table::{LABEL_LIMIT, Options};
use engine::wait::{Micros, linger};
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::{
    ERRCODE_INSUFFICIENT_PRIVILEGE, ERRCODE_INSUFFICIENT_RESOURCES, ERRCODE_INTERNAL_ERROR,
    ERRCODE_INVALID_PARAMETER_VALUE, ERRCODE_INVALID_TRANSACTION_STATE,
    ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
};
use std::rc::Rc;

/// What to launch.
#[derive(Clone, Copy)]
pub struct Launch<'a> {
    /// SQL text.
    pub sql: &'a [u8],
    /// Its parameters as the shim serialized them; empty if there are none.
    pub params: &'a [u8],
    /// Size of the result ring in bytes; 0 or less for the default.
    pub queue_size: i32,
    /// Launched by a version 1 function: known by pid alone.
    pub by_pid: bool,
    /// Submitted: has no result.
    pub submit: bool,
    /// The label; `None`: `pg_background.label`.
    pub label: Option<&'a [u8]>,
    /// When the call of which this is a part has to end, and so the waits of the launch; `None`: they end after
    /// `pg_background.launch_timeout`.
    pub deadline: Option<Micros>,
}

/// What a job takes over from its session. Capturing some of it costs microseconds, so a fan-out does it once.
pub struct LaunchContext {
    identity: Identity,
    guc_state: Rc<Vec<u8>>,
    /// Milliseconds; -1 for none.
    time_limit: i32,
    limits: RoleLimits,
}

impl LaunchContext {
    /// Captures the session as it is now.
    ///
    /// Raises 42501 in a security-restricted operation.
    pub fn capture(cluster: &'static Cluster) -> Self {
        let identity = Identity::capture();
        Self {
            identity,
            limits: RoleLimits::capture(cluster, &identity),
            guc_state: guc_state::current(),
            time_limit: match settings::worker_timeout() {
                0 => -1,
                limit => limit,
            },
        }
    }

    /// Checks that the session's users are still those of the capture.
    ///
    /// # Errors
    /// 42501 if they are not, and in a security-restricted operation
    pub fn check_users(&self) -> Result<(), Error> {
        if Identity::capture() == self.identity {
            return Ok(());
        }
        Err(Error::new(
            ERRCODE_INSUFFICIENT_PRIVILEGE,
            "the fan-out was started by another user",
        )
        .detail("Its statements run as the user who fetched the first row, and only while that user is current.")
        .hint("Fetch all of its rows as one user."))
    }
}

/// The lane of this session's last launch, which the next one tries first.
static LANE_HINT: Local<u32> = Local::new(0);

/// Unused random bits. One call of the server's generator costs about the same for many bits as for few.
static RANDOM: Local<ArrayVec<u32, 32>> = Local::new(ArrayVec::new_const());

fn random() -> Result<u32, Error> {
    if let Some(bits) = RANDOM.with(ArrayVec::pop) {
        return Ok(bits);
    }
    let mut fresh = [0_u32; 32];
    // SAFETY: the buffer has the size that is passed.
    if !unsafe { server::pg_strong_random(fresh.as_mut_ptr().cast(), size_of_val(&fresh)) } {
        return Err(Error::new(
            ERRCODE_INTERNAL_ERROR,
            "could not generate random values for a handle",
        ));
    }
    #[allow(clippy::disallowed_methods, reason = "an array of its own size")]
    Ok(RANDOM.with(|random| {
        random.extend(fresh[1..].iter().copied());
        fresh[0]
    }))
}

fn checked_queue_size(asked: i32) -> Result<i32, Error> {
    let least = settings::min_queue_size();
    match asked {
        ..=0 => Ok(settings::default_queue_size()),
        size if size < least => Err(Error::new(
            ERRCODE_INVALID_PARAMETER_VALUE,
            format_args!("queue size must be at least {least} bytes"),
        )
        .hint("0 means pg_background.default_queue_size.")),
        size if size > settings::MAX_QUEUE_SIZE => Err(Error::new(
            ERRCODE_INVALID_PARAMETER_VALUE,
            format_args!(
                "queue size must be at most {} bytes",
                settings::MAX_QUEUE_SIZE
            ),
        )),
        size => Ok(size),
    }
}

fn check_label(label: Option<&[u8]>) -> Result<(), Error> {
    let len = label.map_or(0, <[u8]>::len);
    if len <= LABEL_LIMIT {
        return Ok(());
    }
    Err(Error::new(
        ERRCODE_STRING_DATA_RIGHT_TRUNCATION,
        "the label is too long",
    )
    .detail(format_args!(
        "It has {len} bytes, of at most {LABEL_LIMIT}."
    )))
}

/// The lane of this session.
fn own_lane(identity: &Identity) -> LaneKey {
    // SAFETY: a plain global of this process.
    let database = unsafe { pg_sys::MyDatabaseId };
    LaneKey {
        database: database.to_u32(),
        role: identity.authenticated.to_u32(),
    }
}

/// Checks that launches are allowed.
///
/// # Errors
/// 55000 otherwise
pub fn check_enabled() -> Result<(), Error> {
    if settings::is_enabled() {
        return Ok(());
    }
    Err(Error::new(
        ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "background jobs are disabled",
    )
    .hint("Set pg_background.enabled to on and reload the configuration."))
}

/// Checks that a call may launch jobs and wait for them without a limit: not in a parallel operation. The processes of
/// one wait for each other, which the deadlock check does not see.
///
/// # Errors
/// 25000 otherwise
pub fn check_not_parallel() -> Result<(), Error> {
    // SAFETY: reads the state of the transaction.
    if !unsafe { server::IsInParallelMode() } {
        return Ok(());
    }
    Err(Error::new(
        ERRCODE_INVALID_TRANSACTION_STATE,
        "cannot run background jobs in one call during a parallel operation",
    )
    .detail("A function that is wrongly said to be parallel safe or restricted makes the call.")
    .hint("Mark the function as PARALLEL UNSAFE."))
}

/// An accepted job whose handle the user does not have yet. It is given, or ends when this is dropped.
pub struct Launched {
    hold: Hold,
    /// Pid of its worker; 0 while queued.
    pid: u32,
    cookie: Cookie,
}

impl Launched {
    /// Gives the job to the user. Returns its pid (0 while queued) and cookie.
    pub fn give(self) -> (u32, Cookie) {
        let Self { hold, pid, cookie } = self;
        note_given(hold.keep(), pid);
        (pid, cookie)
    }

    /// As [`give`](Self::give), but only for as long as the hold lives.
    pub fn lend(self) -> (Hold, JobName) {
        let Self { hold, pid, cookie } = self;
        note_given(hold.job(), pid);
        (hold, JobName::Handle(pid.cast_signed(), cookie))
    }
}

fn note_given(job: Job, pid: u32) {
    jobs::note_launched(job, pid);
    fault!("handle-given");
}

/// Launches a job. The caller must not fail before it has given the job, or made sure that the job ends with the call.
///
/// # Errors
/// 42501 in a security-restricted operation; 55000 launches are disabled; 22023 bad queue size; 22001 label too long; 53400 too many jobs in
/// this session; 53000 no worker or no slot; 53200 shared memory exhausted
pub fn launch(launch: &Launch<'_>) -> Result<Launched, Failure> {
    check_enabled()?;
    let queue_size = checked_queue_size(launch.queue_size)?;
    check_label(launch.label)?;
    let on_exhaustion = match settings::on_exhaustion() {
        OnExhaustion::Queue if launch.by_pid => OnExhaustion::Wait,
        mode => mode,
    };
    let queues = on_exhaustion == OnExhaustion::Queue;
    if !queues && jobs::count() >= settings::max_workers() {
        return Err(jobs::too_many_jobs().into());
    }
    let cluster = cluster()?;
    let context = LaunchContext::capture(cluster);
    let options = Options {
        by_pid: launch.by_pid,
        submit: launch.submit,
        bounded: queues,
        fresh_only: !settings::worker_reuse(),
        ..Options::default()
    };
    let slot_wait = match on_exhaustion {
        OnExhaustion::Error => SlotWait::No,
        _ => SlotWait::until_or_launch_timeout(launch.deadline),
    };
    let returns = if launch.submit {
        Returns::Nothing
    } else {
        Returns::Rows
    };
    let reserved = reserve(
        cluster,
        &context,
        launch,
        options,
        (queue_size, returns),
        slot_wait,
    )?;
    let (hold, cookie) = reserved.map_err(NoSlot::error)?;
    let pid = dispatch(hold.job(), &context, on_exhaustion, launch.deadline)?;
    Ok(Launched { hold, pid, cookie })
}

/// Launches a job of a fan-out: a text and its parameters. Nobody is given its handle, and it counts against no limit
/// of the session. `None`: there is no free slot and `may_wait` is false, or there was none before the deadline of the
/// call.
///
/// # Errors
/// 55000 launches are disabled by now; 53000 no slot; 53200 shared memory exhausted
pub fn launch_for_fanout(
    cluster: &'static Cluster,
    context: &LaunchContext,
    (sql, params): (&[u8], &[u8]),
    may_wait: bool,
    deadline: Option<Micros>,
) -> Result<Option<Hold>, Error> {
    check_enabled()?;
    let slot_wait = if may_wait && settings::on_exhaustion() != OnExhaustion::Error {
        SlotWait::until_or_launch_timeout(deadline)
    } else {
        SlotWait::No
    };
    let is_late = || deadline.is_some_and(|deadline| deadline <= process::now());
    match reserve_uncounted(cluster, context, sql, params, Returns::Rows, slot_wait)? {
        Ok(hold) => start(hold, context, false).map(Some),
        Err(why) if may_wait && !is_late() => Err(why.error()),
        Err(_) => Ok(None),
    }
}

/// Launches the job of a call. Nobody is given its handle, and it counts against no limit of the session. Waits as long
/// as it takes for a slot, unless the slot that it waits for may be one of its own: then `pg_background.launch_timeout`
/// applies. It may be if this session has jobs, or is a job's itself.
///
/// # Errors
/// 25000 in a parallel operation; 42501 in a security-restricted one; 55000 launches are disabled; 53000, 53400 no slot
/// within the time; 40P01 the slot waits for this session; 53200 shared memory exhausted
pub fn launch_for_call(sql: &[u8], params: &[u8], returns: Returns) -> Result<Hold, Error> {
    check_not_parallel()?;
    check_enabled()?;
    let cluster = cluster()?;
    let context = LaunchContext::capture(cluster);
    let slot_wait = if jobs::count() > 0 || library::is_own_worker() {
        SlotWait::until_or_launch_timeout(None)
    } else {
        SlotWait::Forever
    };
    let reserved = reserve_uncounted(cluster, &context, sql, params, returns, slot_wait)?;
    start(reserved.map_err(NoSlot::error)?, &context, true)
}

/// Reserves a job that counts against no limit of the session.
fn reserve_uncounted(
    cluster: &'static Cluster,
    context: &LaunchContext,
    sql: &[u8],
    params: &[u8],
    returns: Returns,
    slot_wait: SlotWait,
) -> Result<Result<Hold, NoSlot>, Error> {
    let launch = Launch {
        sql,
        params,
        queue_size: 0,
        by_pid: false,
        submit: false,
        label: None,
        deadline: None,
    };
    let options = Options {
        uncounted: true,
        fresh_only: !settings::worker_reuse(),
        ..Options::default()
    };
    let queue_size = settings::default_queue_size();
    let reserved = reserve(
        cluster,
        context,
        &launch,
        options,
        (queue_size, returns),
        slot_wait,
    )?;
    Ok(reserved.map(|(hold, _)| hold))
}

/// Dispatches a reserved job, and does not wait for its worker.
fn start(hold: Hold, context: &LaunchContext, prefer_awake: bool) -> Result<Hold, Error> {
    let cluster = hold.job().cluster;
    let placed = publish(hold.job(), context, prefer_awake)?;
    fault!("job-enqueued");
    if spawn::serve(cluster, placed).is_some() {
        fault!("job-spawned");
    }
    Ok(hold)
}

fn reserve(
    cluster: &'static Cluster,
    context: &LaunchContext,
    launch: &Launch<'_>,
    options: Options,
    (queue_size, returns): (i32, Returns),
    slot_wait: SlotWait,
) -> Result<Result<(Hold, Cookie), NoSlot>, Error> {
    jobs::enter_first(cluster);
    job_end::release_deferred(cluster);
    let random = random()?;
    let cookie = |job: Job| Cookie::new(job.id.index, job.id.generation, random);
    let track = |job| {
        fault!("slot-claimed");
        jobs::track(job, cookie(job), launch.by_pid, launch.submit);
    };
    let job = match slot_queue::claim(cluster, &context.limits, slot_wait, track) {
        Ok(job) => job,
        Err(why) => return Ok(Err(why)),
    };
    let cookie = cookie(job);
    let hold = Hold::new(job);
    fault!("slot-tracked");
    trace::write_transitions();
    let slot = job.slot();
    let excluded = if launch.by_pid {
        jobs::pids_in_use()
    } else {
        smallvec::SmallVec::new()
    };
    let session_label = settings::label();
    // As in version 2.0, an empty label is none.
    let label = Some(launch.label.unwrap_or(&session_label)).filter(|label| !label.is_empty());
    let options = Options {
        labeled: label.is_some(),
        ..options
    };
    slot.prepare(own_proc(), options, &excluded);
    context.limits.note(slot);
    slot.database
        .store(own_lane(&context.identity).database, Ordering::Relaxed);
    if let Some(label) = label {
        slot.set_label(label);
    }
    let request = Request {
        identity: context.identity,
        time_limit: context.time_limit,
        sql: launch.sql,
        params: launch.params,
        guc_state: &context.guc_state,
        queue_size: if launch.submit {
            0
        } else {
            queue_size as usize
        },
        returns,
    };
    let block = Block::allocate(job, &request)?;
    fault!("block-allocated");
    slot.block.store(block, Ordering::Relaxed);
    slot.queue_size
        .store(queue_size.cast_unsigned(), Ordering::Relaxed);
    slot.user
        .store(context.identity.current.to_u32(), Ordering::Relaxed);
    slot.launched_at
        .store(process::timestamp().cast_unsigned(), Ordering::Relaxed);
    slot.preview
        .store(&text::cut_marked::<{ engine::table::PREVIEW_LIMIT }>(
            launch.sql,
        ));
    Ok(Ok((hold, cookie)))
}

/// Publishes a reserved job in its lane. `prefer_awake`: to a worker that need not be woken, if that is worth a moment.
fn publish(job: Job, context: &LaunchContext, prefer_awake: bool) -> Result<Placed, Error> {
    let cluster = job.cluster;
    fault!("request-filled");
    let key = own_lane(&context.identity);
    let limit = Limits {
        session_jobs: settings::max_workers() as u32,
        lane_workers: context.limits.lane_workers,
    };
    let pool = cluster.pool();
    let (dispatched, placed) = pool.publish(job.id, || {
        let placed = if prefer_awake {
            dispatch_to_awake(job, key, limit)
        } else {
            let hint = LANE_HINT.get();
            pool.locked(|scheduler| spawn::dispatch(scheduler, job, key, hint, limit))
        };
        (placed.dispatched, placed)
    });
    LANE_HINT.set(placed.lane);
    match dispatched {
        Dispatched::Handed(worker) => trace::event(job, Event::Dispatched(worker.pid())),
        Dispatched::Queued => trace::event(job, Event::Queued),
        Dispatched::NoLane => {
            return Err(Error::new(
                ERRCODE_INSUFFICIENT_RESOURCES,
                "too many combinations of database and role have background jobs",
            ));
        }
        Dispatched::Refused => return Err(refused()),
    }
    Ok(placed)
}

/// Dispatches a reserved job and waits for its worker as the session's settings say. Returns the worker's pid; 0:
/// queued, also if no worker came before `deadline`.
fn dispatch(
    job: Job,
    context: &LaunchContext,
    on_exhaustion: OnExhaustion,
    deadline: Option<Micros>,
) -> Result<u32, Failure> {
    let placed = publish(job, context, true)?;
    fault!("job-enqueued");
    if let Some(spawned) = spawn::serve(job.cluster, placed) {
        fault!("job-spawned");
        await_worker(job, on_exhaustion, spawned, deadline)?;
        fault!("job-bound");
    }
    Ok(job.pid())
}

/// Spawns workers of this session's lane until `wanted` are idle or starting, as far as allowed. Returns how many are.
pub fn prewarm(cluster: &'static Cluster, wanted: u32) -> u32 {
    let identity = Identity::capture();
    let limits = RoleLimits::capture(cluster, &identity);
    spawn::prewarm(cluster, own_lane(&identity), wanted, limits.lane_workers)
}

/// Dispatches a job, preferably to an idle worker that is awake or will be in a moment ([`engine::pool::handoff`]).
/// Waiting for that moment is a spin, which throws nothing.
fn dispatch_to_awake(job: Job, key: LaneKey, limit: Limits) -> Placed {
    let (cluster, hint) = (job.cluster, LANE_HINT.get());
    let pool = cluster.pool();
    let mut may_linger = true;
    loop {
        let dispatched = pool.locked(|scheduler| {
            match scheduler.dispatch_awake(job.id, key, hint, limit, process::is_awake) {
                Awake::Handed(worker, lane) => {
                    fault!("job-dispatched");
                    Ok(Placed::handed(worker, lane))
                }
                Awake::Wait(expected) if may_linger => Err(expected),
                Awake::Wait(_) | Awake::None => {
                    Ok(spawn::dispatch(scheduler, job, key, hint, limit))
                }
            }
        });
        match dispatched {
            Ok(dispatched) => return dispatched,
            Err(expected) => {
                let word = &pool.worker(expected.worker).word;
                let is_free = || (word.load().activity() != expected.busy).then_some(());
                may_linger = false;
                let _ = linger(&ProcessLatch::new(cluster), expected.within, is_free);
            }
        }
    }
}

fn is_bound(job: Job, now: Snapshot) -> bool {
    now.phase().is_finished() || (now.phase() != Phase::Queued && job.pid() != 0)
}

/// Waits for the job's worker. At the call's own `deadline` it returns like a launch that queues its job: what the call
/// does next ends at that moment, and it cancels the job.
fn await_worker(
    job: Job,
    on_exhaustion: OnExhaustion,
    spawned: Spawned,
    deadline: Option<Micros>,
) -> Result<(), Error> {
    let (timeout, deadline) = match on_exhaustion {
        OnExhaustion::Queue => return Ok(()),
        OnExhaustion::Error if spawned == Spawned::Full => (0, None),
        OnExhaustion::Error | OnExhaustion::Wait => (settings::launch_timeout(), deadline),
    };
    let limit = deadline.unwrap_or_else(|| process::in_ms(timeout));
    let bound = until::found(job, limit, || {
        // The postmaster sets the latch when a process starts or ends.
        let _ = spawn::check_own_registrations(job.cluster);
        Some(job.word().load()).filter(|now| is_bound(job, *now))
    });
    match bound {
        Some(now) if now.phase() == Phase::Failed && job.pid() == 0 => Err(job_end::not_started()),
        Some(_) => Ok(()),
        None if deadline.is_some() => Ok(()),
        None => Err(no_worker(timeout)),
    }
}

/// An administrator is ending the jobs of this session's login role.
fn refused() -> Error {
    Error::new(
        ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "background jobs of this role are refused",
    )
    .detail("An administrator is ending the jobs of the login role.")
    .hint("Launch again when they have ended.")
}

/// No worker became free within `timeout` milliseconds.
pub fn no_worker(timeout: i32) -> Error {
    let error = Error::new(
        ERRCODE_INSUFFICIENT_RESOURCES,
        "no background worker is available",
    );
    let error = match timeout {
        0 => error.detail("All background worker slots are taken, or the role has as many workers in this database as it may have."),
        _ => error.detail(format_args!("No worker became free within {timeout} ms.")),
    };
    error.hint("Raise max_worker_processes, pg_background.max_pool_workers, pg_background.lane_max_workers or pg_background.launch_timeout, or set pg_background.on_exhaustion to queue.")
}
