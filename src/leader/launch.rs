//! From a request to a handle.
//!
//! 1. The settings, the users and the text are put together; nothing is shared yet.
//! 2. A slot is claimed and tracked; the request goes into an arena block. An error until here gives both
//!    back ([`Reservation`]).
//! 3. Under the pool lock the job is published, and handed to an idle worker or put at the end of its
//!    lane. If it has to wait, workers are started as far as there are places.
//! 4. The launch returns when the job is bound to a process, whose pid is then in the handle. It does not
//!    wait for the process to connect or begin. Whoever interrupts this wait has no handle, so the job is
//!    taken back ([`Accepted`]).

use crate::engine::handle::Cookie;
use crate::engine::job::{Phase, Snapshot};
use crate::engine::pool::soon::Awake;
use crate::engine::pool::{LaneKey, Placement, Staffing};
use crate::engine::sync::Ordering;
use crate::engine::table::{JobId, Options, Slot};
use crate::engine::wait::linger;
use crate::leader::{control, session, wait};
use crate::pg::block::{Block, Request};
use crate::pg::cluster::{Cluster, cluster, no_slot};
use crate::pg::error::{Error, Failure};
use crate::pg::latch::{self, ProcessLatch, own_party, ring, shared_now};
use crate::pg::local::Local;
use crate::pg::registration::{self, Staffed};
use crate::pg::settings::{self, OnExhaustion};
use crate::pg::shim::{self, Identity, guarded};
use crate::pg::{guc_state, text};
use arrayvec::ArrayVec;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::{
    ERRCODE_INSUFFICIENT_RESOURCES, ERRCODE_INTERNAL_ERROR, ERRCODE_INVALID_PARAMETER_VALUE,
    ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
};

/// What is to be launched.
pub struct Launch<'a> {
    /// SQL text.
    pub sql: &'a [u8],
    /// Bytes of result ring; 0 or less: the default.
    pub queue_size: i32,
    /// Through version 1: known by pid alone.
    pub by_pid: bool,
    /// Fire and forget: no result.
    pub submit: bool,
}

/// The lane this session launched in last: looked at first.
static LANE_HINT: Local<u32> = Local::new(0);

/// Random bits at hand; a call of the server's generator costs as much for many as for few.
static RANDOM: Local<ArrayVec<u32, 32>> = Local::new(ArrayVec::new_const());

fn random() -> Result<u32, Error> {
    if let Some(bits) = RANDOM.with(ArrayVec::pop) {
        return Ok(bits);
    }
    let mut fresh = [0_u32; 32];
    // SAFETY: the buffer has the size that is named.
    if !unsafe { pg_sys::pg_strong_random(fresh.as_mut_ptr().cast(), size_of_val(&fresh)) } {
        return Err(Error::new(
            ERRCODE_INTERNAL_ERROR,
            "could not generate random values for a handle",
        ));
    }
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
            format!("queue size must be at least {least} bytes"),
        )
        .hint("0 means pg_background.default_queue_size.")),
        size if size > settings::MAX_QUEUE_SIZE => Err(Error::new(
            ERRCODE_INVALID_PARAMETER_VALUE,
            format!(
                "queue size must be at most {} bytes",
                settings::MAX_QUEUE_SIZE
            ),
        )),
        size => Ok(size),
    }
}

/// The users of this session.
pub fn own_identity() -> Identity {
    let mut identity = std::mem::MaybeUninit::uninit();
    // SAFETY: the shim fills in every field.
    unsafe {
        guarded(|| shim::pgb_capture_identity(identity.as_mut_ptr()));
        identity.assume_init()
    }
}

/// The lane of this session.
pub fn own_lane(identity: &Identity) -> LaneKey {
    // SAFETY: a plain global of this process.
    let database = unsafe { pg_sys::MyDatabaseId };
    LaneKey {
        database: database.to_u32(),
        role: identity.authenticated.to_u32(),
    }
}

/// A claimed slot that is being filled in; given back when dropped.
struct Reservation {
    cluster: &'static Cluster,
    job: JobId,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        session::abandon(self.cluster, self.job);
    }
}

/// A job in the pool whose handle was not given out; taken back when dropped.
struct Accepted {
    cluster: &'static Cluster,
    job: JobId,
}

impl Drop for Accepted {
    fn drop(&mut self) {
        control::withdraw(self.cluster, self.job);
    }
}

/// Launches a job. Returns its pid (0 while it is queued) and cookie.
///
/// # Errors
/// 55000 launches are disabled; 22023 bad queue size; 53400 too many jobs in this session; 53000 no worker
/// or no slot to be had; 53200 shared memory exhausted.
pub fn launch(launch: &Launch<'_>) -> Result<(u32, Cookie), Failure> {
    if !settings::enabled() {
        return Err(Error::new(
            ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "background jobs are disabled",
        )
        .hint("Set pg_background.enabled to on and reload the configuration.")
        .into());
    }
    let queue_size = checked_queue_size(launch.queue_size)?;
    let on_exhaustion = match settings::on_exhaustion() {
        OnExhaustion::Queue if launch.by_pid => OnExhaustion::Wait,
        mode => mode,
    };
    if on_exhaustion != OnExhaustion::Queue && session::count() >= settings::max_workers() {
        return Err(session::too_many().into());
    }
    let cluster = cluster()?;
    let identity = own_identity();
    let guc_state = guc_state::serialize();
    let request = Request {
        identity,
        statement_timeout: match settings::worker_timeout() {
            0 => -1,
            limit => limit,
        },
        sql: launch.sql,
        guc_state: &guc_state,
        queue_size: if launch.submit {
            0
        } else {
            queue_size as usize
        },
    };
    let (job, cookie) = reserve(cluster, launch, &request, queue_size)?;
    place(cluster, job, cookie, own_lane(&identity), on_exhaustion)
}

fn reserve(
    cluster: &'static Cluster,
    launch: &Launch<'_>,
    request: &Request<'_>,
    queue_size: i32,
) -> Result<(JobId, Cookie), Error> {
    let random = random()?;
    let job = cluster.jobs().claim().ok_or_else(no_slot)?;
    let cookie = Cookie::new(job.index, job.generation, random);
    session::track(job, cookie, launch.by_pid, launch.submit);
    let reservation = Reservation { cluster, job };
    let slot = cluster.slot(job);
    let options = Options {
        by_pid: launch.by_pid,
        submit: launch.submit,
        fresh_only: false,
    };
    let excluded = if launch.by_pid {
        session::pids_in_use()
    } else {
        smallvec::SmallVec::new()
    };
    slot.prepare(cookie, own_party(), options, &excluded);
    let block = Block::allocate(cluster, request)?;
    slot.block.store(block, Ordering::Relaxed);
    slot.queue_size
        .store(queue_size.cast_unsigned(), Ordering::Relaxed);
    slot.user
        .store(request.identity.current.to_u32(), Ordering::Relaxed);
    slot.launched_at.store(shared_now(), Ordering::Relaxed);
    slot.preview
        .store(&text::cut_marked::<{ crate::engine::table::PREVIEW_LIMIT }>(launch.sql));
    std::mem::forget(reservation);
    Ok((job, cookie))
}

fn place(
    cluster: &'static Cluster,
    job: JobId,
    cookie: Cookie,
    key: LaneKey,
    on_exhaustion: OnExhaustion,
) -> Result<(u32, Cookie), Failure> {
    let (placement, lane, staffing) = place_soon(cluster, job, key);
    LANE_HINT.set(lane);
    let slot = cluster.slot(job);
    match placement {
        Placement::NoLane => {
            session::abandon(cluster, job);
            return Err(Error::new(
                ERRCODE_INSUFFICIENT_RESOURCES,
                "too many combinations of database and role have background jobs",
            )
            .into());
        }
        Placement::Handed(worker) => ring(worker),
        Placement::Queued => {
            let accepted = Accepted { cluster, job };
            let staffed = registration::staff(cluster, lane, staffing);
            await_worker(&accepted, on_exhaustion, staffed)?;
            std::mem::forget(accepted);
        }
    }
    let pid = slot.pid.load(Ordering::Relaxed);
    session::launched(job, pid);
    Ok((pid, cookie))
}

/// Places a job, with an idle worker that is awake if there is one or will be in a moment
/// ([`crate::engine::pool::soon`]). The wait for that is a spin, in which nothing can be thrown.
fn place_soon(
    cluster: &'static Cluster,
    job: JobId,
    key: LaneKey,
) -> (Placement, u32, Option<Staffing>) {
    let (pool, hint, now) = (cluster.pool(), LANE_HINT.get(), shared_now());
    let mut may_linger = true;
    loop {
        let placed =
            pool.locked(
                |scheduler| match scheduler.place_awake(job, key, hint, latch::is_awake) {
                    Awake::Handed(worker, lane) => Ok((Placement::Handed(worker), lane, None)),
                    Awake::Soon(soon) if may_linger => Err(soon),
                    Awake::Soon(_) | Awake::None => {
                        Ok(registration::place(scheduler, cluster, job, key, hint, now))
                    }
                },
            );
        match placed {
            Ok(placed) => return placed,
            Err(soon) => {
                let word = &pool.worker(soon.worker).word;
                let is_free = || (word.load().activity() != soon.busy).then_some(());
                may_linger = false;
                let _ = linger(&ProcessLatch::new(cluster), soon.within, is_free);
            }
        }
    }
}

fn is_bound(slot: &Slot, now: Snapshot) -> bool {
    now.phase().is_finished()
        || (now.phase() != Phase::Queued && slot.pid.load(Ordering::Relaxed) != 0)
}

fn await_worker(
    accepted: &Accepted,
    on_exhaustion: OnExhaustion,
    staffed: Staffed,
) -> Result<(), Error> {
    let &Accepted { cluster, job } = accepted;
    let slot = cluster.slot(job);
    let timeout = match on_exhaustion {
        OnExhaustion::Queue => return Ok(()),
        OnExhaustion::Error if staffed == Staffed::Full => 0,
        OnExhaustion::Error | OnExhaustion::Wait => settings::launch_timeout(),
    };
    let bound = wait::until(
        cluster,
        job,
        Some(timeout),
        || {},
        || {
            // The postmaster rings when a process starts or ends.
            let _ = registration::settle(cluster);
            Some(slot.word.load()).filter(|now| is_bound(slot, *now))
        },
    );
    match bound {
        Some(now) if now.phase() == Phase::Failed && slot.pid.load(Ordering::Relaxed) == 0 => {
            Err(registration::not_started())
        }
        Some(_) => Ok(()),
        None => Err(Error::new(
            ERRCODE_INSUFFICIENT_RESOURCES,
            "no background worker is available",
        )
        .detail(if timeout == 0 {
            String::from("All places for background workers are taken.")
        } else {
            format!("None became free within {timeout} ms.")
        })
        .hint("Raise max_worker_processes or pg_background.launch_timeout, or set pg_background.on_exhaustion to queue.")),
    }
}
