//! The pool against a sequential model: lanes as queues, processes as states, any legal order of steps.
//!
//! The model knows what each queue must hold and what each process must do next. After every step the lists are
//! compared with the job and worker words ([`Memory::check`]) and with the model. Whenever jobs wait, some
//! process must be left that will look for them. At the end the processes run until nothing is left to do;
//! every job must then have run exactly once or have been canceled.
//!
//! The model calls [`Scheduler::spawn_decision`] only where the server does: after a dispatch that queued the
//! job, after a registration that failed, and after a process that the server will not start again. Nothing
//! else saves a job that no process looks for.

use super::*;
use crate::pool::handoff::Awake;
use proptest::prelude::*;
use std::collections::VecDeque;

const KEYS: [LaneKey; 3] = [A, B, C];
const JOBS: usize = 8;
const WORKER_SLOTS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A leader launches a job, and looks after its lane.
    Launch {
        leader: usize,
        limit: u32,
        bounded: bool,
        uncounted: bool,
        fresh_only: bool,
        lane_limit: u32,
        exclude: Option<usize>,
        can_register: bool,
    },
    /// A process does the next thing that its state allows.
    Go {
        process: usize,
        leaving: bool,
    },
    /// The same as `Go`, while the pool has one worker more than it may have.
    Shrink(usize),
    IdleLimit {
        process: usize,
        keep: u32,
    },
    /// Time passes at each look at the clock, so that every turn is over, or does not.
    Clock {
        stands: bool,
    },
    /// A process dies, and the server starts its registration again or not.
    Die {
        process: usize,
        restartable: bool,
    },
    /// The server never starts a process that was registered. Much later a session looks.
    Lose(usize),
    /// The process reports in and finds that it cannot connect to its lane's database.
    FailForGood(usize),
    Cancel {
        job: usize,
        terminate: bool,
    },
    Detach(usize),
    /// A session ends: it detaches its jobs.
    Depart(usize),
    Dismiss {
        key: Option<usize>,
        limit: u32,
    },
    Spawn {
        key: usize,
        can_register: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let process = 0..WORKER_SLOTS * 2;
    prop_oneof![
        8 => (
                (0..LEADERS, 1..3_u32, prop::bool::weighted(0.7), prop::bool::weighted(0.2)),
                (prop::bool::weighted(0.2), 0..3_u32),
                prop::option::weighted(0.2, 0..WORKER_SLOTS),
                prop::bool::weighted(0.9),
            )
            .prop_map(|((leader, limit, bounded, uncounted), (fresh_only, lane_limit), exclude, can_register)| {
                Step::Launch { leader, limit, bounded, uncounted, fresh_only, lane_limit, exclude, can_register }
            }),
        12 => (process.clone(), prop::bool::weighted(0.1))
            .prop_map(|(process, leaving)| Step::Go { process, leaving }),
        1 => process.clone().prop_map(Step::Shrink),
        1 => (process.clone(), 0..3_u32)
            .prop_map(|(process, keep)| Step::IdleLimit { process, keep }),
        1 => any::<bool>().prop_map(|stands| Step::Clock { stands }),
        2 => (process.clone(), prop::bool::weighted(0.7))
            .prop_map(|(process, restartable)| Step::Die { process, restartable }),
        1 => process.clone().prop_map(Step::Lose),
        1 => process.prop_map(Step::FailForGood),
        2 => (0..JOBS, any::<bool>()).prop_map(|(job, terminate)| Step::Cancel { job, terminate }),
        3 => (0..JOBS).prop_map(Step::Detach),
        1 => (0..LEADERS).prop_map(Step::Depart),
        1 => (prop::option::of(0..KEYS.len()), 0..3_u32)
            .prop_map(|(key, limit)| Step::Dismiss { key, limit }),
        1 => (0..KEYS.len(), any::<bool>())
            .prop_map(|(key, can_register)| Step::Spawn { key, can_register }),
    ]
}

/// What a process does, as far as it knows without looking at shared memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    /// Registered with the server, not running yet.
    Registered,
    /// Running, with nothing to do; and what it was woken for, if it was.
    Idle(Option<Told>),
    /// Has this job, begun or not.
    Has { job: JobId, begun: bool },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Run(JobId),
    MakeRoom,
    GoHome,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Process {
    worker: u32,
    generation: u32,
    /// PID of the running process. A registration that is started again gets another one.
    proc: ProcRef,
    at: At,
    /// The permit of the job that it was bound to last, until it gives the permit back.
    permit: Option<Permit>,
    /// It is idle and has looked for a lane in need after the end of its turn.
    has_looked: bool,
}

/// A permit of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Permit {
    leader: usize,
    incarnation: u32,
}

/// A session, as the model knows it.
#[derive(Default)]
struct Session {
    incarnation: u32,
    limit: u32,
    admitted: u32,
    throttled: VecDeque<JobId>,
}

/// What became of a job, as the model knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Alive,
    Over,
}

#[derive(Clone, Copy, Debug)]
struct Job {
    id: JobId,
    key: usize,
    leader: usize,
    permit: Option<Permit>,
    attached: bool,
    runs: u32,
    canceled: bool,
    fate: Fate,
}

struct Model {
    memory: Memory,
    cap: u32,
    next_pid: u32,
    queues: [VecDeque<JobId>; 3],
    sessions: [Session; LEADERS],
    /// The lane in which a job of each key was dispatched last, as a leader remembers it.
    hints: [u32; 3],
    processes: Vec<Process>,
    jobs: Vec<Job>,
    /// The server refused to start a process when no other was left. Until the next call by any session, jobs
    /// may wait that no process looks for.
    refused: bool,
    /// A process that asks what to do next finds that the pool has one worker too many.
    shrinks: bool,
}

impl Model {
    fn new(cap: u32) -> Self {
        Self {
            memory: Memory::with_room(JOBS, KEYS.len(), WORKER_SLOTS),
            cap,
            next_pid: 100,
            queues: Default::default(),
            sessions: Default::default(),
            hints: [0; 3],
            processes: Vec::new(),
            jobs: Vec::new(),
            refused: false,
            shrinks: false,
        }
    }

    fn fresh_proc(&mut self) -> ProcRef {
        self.next_pid += 1;
        proc(self.next_pid)
    }

    fn job(&mut self, id: JobId) -> &mut Job {
        self.jobs
            .iter_mut()
            .find(|job| job.id == id)
            .expect("a job that was launched")
    }

    fn idle_process(&mut self, proc: ProcRef) -> &mut Process {
        let process = self
            .processes
            .iter_mut()
            .find(|process| process.proc == proc && process.at == At::Idle(None));
        process.expect("the process to wake is idle")
    }

    /// `release` was returned for this job: it ended, or the leader detached one that had ended.
    fn released(&mut self, id: JobId, release: Release) {
        let job = *self.job(id);
        match release {
            Release::LastOut => {
                assert!(!job.attached && job.fate == Fate::Over, "freed {job:?}");
                self.memory.pool().free(id);
                self.jobs.retain(|job| job.id != id);
            }
            Release::Held { .. } => assert!(job.attached || job.fate == Fate::Alive),
            Release::Stale => panic!("{job:?} was released twice"),
        }
    }

    fn ended(&mut self, id: JobId, release: Release) {
        let job = self.job(id);
        assert_eq!(job.fate, Fate::Alive, "it ended twice");
        job.fate = Fate::Over;
        self.released(id, release);
    }

    fn spawn_decision(&mut self, key: usize, can_register: bool) {
        let (first, cap) = (self.hints[key], self.cap);
        self.refused = false;
        let mut can_start = true;
        loop {
            let workers = |lane: &Lane| load(&lane.workers);
            let before: Vec<u32> = self.memory.lanes.iter().map(workers).collect();
            let decision = self
                .memory
                .locked(|scheduler| scheduler.spawn_decision(first, cap, can_start));
            match decision {
                SpawnDecision::Start { worker, generation } if can_register => {
                    self.within_limit(worker);
                    let proc = self.fresh_proc();
                    self.processes.push(Process {
                        worker,
                        generation,
                        proc,
                        at: At::Registered,
                        permit: None,
                        has_looked: false,
                    });
                }
                SpawnDecision::Start { worker, generation } => {
                    let lane = self
                        .memory
                        .locked(|scheduler| scheduler.start_failed(worker, generation));
                    assert!(lane.is_some());
                    self.refused = true;
                    can_start = false;
                    continue;
                }
                SpawnDecision::Recycle(proc) => {
                    let process = self.idle_process(proc);
                    process.at = At::Idle(Some(Told::MakeRoom));
                    let worker = process.worker;
                    self.no_more_over_limit(&before, worker);
                }
                SpawnDecision::Enough => {}
                // With no process at work, there is no worker slot only if the server refuses.
                SpawnDecision::Full => {
                    let counts = self.memory.locked(|scheduler| scheduler.worker_counts());
                    assert!(counts != WorkerCounts::default() || self.refused);
                }
            }
            return;
        }
    }

    fn leader_proc(&self, leader: usize) -> ProcRef {
        ProcRef::new(leader as u32, 1 + self.sessions[leader].incarnation)
    }

    /// A job gives back this permit.
    fn return_permit(&mut self, permit: Option<Permit>) {
        let Some(Permit {
            leader,
            incarnation,
        }) = permit
        else {
            return;
        };
        let session = &mut self.sessions[leader];
        if session.incarnation == incarnation {
            session.admitted -= 1;
            self.admit(leader);
        }
    }

    fn admit(&mut self, leader: usize) {
        let session = &mut self.sessions[leader];
        while session.admitted < session.limit
            && let Some(job) = session.throttled.pop_front()
        {
            session.admitted += 1;
            self.queues[leader % KEYS.len()].push_back(job);
        }
    }

    /// Answers the wake-ups of the pool: idle processes were handed a queued job, or are to make room.
    fn answer(&mut self) {
        let woken = std::mem::take(&mut *self.memory.lock.woken.borrow_mut());
        for proc in woken {
            let worker = self.idle_process(proc).worker;
            match self.memory.activity(worker) {
                Activity::Busy(index) => {
                    let found = self
                        .queues
                        .iter_mut()
                        .find_map(|queue| {
                            let entry = queue.iter().position(|queued| queued.index == index)?;
                            queue.remove(entry)
                        })
                        .expect("the job was queued");
                    self.bound(proc, found);
                    self.may_take(worker, proc, found, false);
                }
                Activity::Starting => {
                    self.idle_process(proc).at = At::Idle(Some(Told::MakeRoom));
                }
                other => panic!("a process was woken that is {other:?}"),
            }
        }
    }

    /// The pool woke an idle process because it has too many workers: that process is dismissed.
    fn dismissed(&mut self) {
        let woken = std::mem::take(&mut *self.memory.lock.woken.borrow_mut());
        for proc in woken {
            let process = self.processes.iter().find(|process| process.proc == proc);
            let worker = process.expect("a process that is there").worker;
            if self.memory.activity(worker) == Activity::Exiting {
                self.idle_process(proc).at = At::Idle(Some(Told::GoHome));
            } else {
                self.memory.lock.woken.borrow_mut().push(proc);
            }
        }
    }

    /// An idle process was handed a job.
    fn bound(&mut self, proc: ProcRef, job: JobId) {
        let permit = self.job(job).permit;
        let process = self.idle_process(proc);
        process.at = At::Idle(Some(Told::Run(job)));
        process.permit = permit;
    }

    fn launch(
        &mut self,
        leader: usize,
        limits: Limits,
        options: Options,
        exclude: Option<usize>,
        can_register: bool,
    ) {
        let key = leader % KEYS.len();
        let excluded: Vec<u32> = exclude
            .and_then(|index| self.processes.get(index))
            .map(|process| process.proc.pid())
            .into_iter()
            .collect();
        let own = self.leader_proc(leader);
        let Some(id) = self.memory.claim_for(own, options, &excluded) else {
            assert_eq!(self.jobs.len(), JOBS);
            return;
        };
        let session = &mut self.sessions[leader];
        let permit = (!options.uncounted).then_some(Permit {
            leader,
            incarnation: session.incarnation,
        });
        self.jobs.push(Job {
            id,
            key,
            leader,
            permit,
            attached: true,
            runs: 0,
            canceled: false,
            fate: Fate::Alive,
        });
        let mut throttled = false;
        if permit.is_some() {
            session.limit = limits.session_jobs;
            self.admit(leader);
            let session = &mut self.sessions[leader];
            throttled = options.bounded && session.admitted >= limits.session_jobs;
            if throttled {
                session.throttled.push_back(id);
            } else {
                session.admitted += 1;
            }
        }
        let hint = self.hints[key];
        // Every other process is awake.
        let is_awake = |proc: ProcRef| proc.pid().is_multiple_of(2);
        let awake = self
            .memory
            .locked(|scheduler| scheduler.dispatch_awake(id, KEYS[key], hint, limits, is_awake));
        let (dispatched, lane) = match awake {
            Awake::Handed(proc, lane) => {
                assert!(is_awake(proc));
                (Dispatched::Handed(proc), lane)
            }
            Awake::Wait(_) | Awake::None => {
                assert_eq!(self.memory.phase(id), Some(Phase::Reserved));
                self.memory
                    .locked(|scheduler| scheduler.dispatch(id, KEYS[key], hint, limits))
            }
        };
        self.hints[key] = lane;
        self.answer();
        match dispatched {
            Dispatched::Handed(proc) => {
                assert!(!throttled);
                self.bound(proc, id);
                let process = self
                    .processes
                    .iter()
                    .find(|process| process.proc == proc)
                    .expect("a process that is there");
                let worker = process.worker;
                self.may_take(worker, proc, id, false);
                let lane = self.memory.locked(|scheduler| scheduler.lane_key(worker));
                assert_eq!(lane, KEYS[key], "handed to a process of another role");
            }
            Dispatched::Queued => {
                if !throttled {
                    self.queues[key].push_back(id);
                }
                self.spawn_decision(key, can_register);
            }
            Dispatched::NoLane | Dispatched::Refused => {
                panic!("there are as many lanes as keys, and nobody is refused")
            }
        }
    }

    fn may_take(&self, worker: u32, proc: ProcRef, id: JobId, fresh: bool) {
        let slot = &self.memory.slots[id.index as usize];
        assert!(slot.may_run_on(proc.pid(), fresh));
        assert_eq!(slot.worker(), worker);
        assert_eq!(load(&slot.pid), proc.pid());
        assert_eq!(self.memory.phase(id), Some(Phase::Starting));
    }

    /// A running process asks what to do next.
    fn next(&mut self, index: usize, leaving: bool, fresh: bool) {
        let Process { worker, proc, .. } = self.processes[index];
        let lane = self.memory.locked(|scheduler| scheduler.lane_key(worker));
        let key = KEYS
            .iter()
            .position(|&key| key == lane)
            .expect("a known key");
        let permit = self.processes[index].permit.take();
        self.return_permit(permit);
        let cap = match self.shrinks {
            true => load(&self.memory.totals.live) - 1,
            false => self.cap,
        };
        let next = self.memory.locked(|scheduler| {
            scheduler.note_run_time(worker, 1);
            let shrunk = scheduler.shrink(worker, cap);
            shrunk.unwrap_or_else(|| scheduler.next(worker, leaving))
        });
        self.dismissed();
        match next {
            NextStep::Run { job, .. } => {
                assert!(!leaving);
                let slots = &self.memory.slots;
                let first = self.queues[key]
                    .iter()
                    .position(|queued| slots[queued.index as usize].may_run_on(proc.pid(), fresh));
                let expected = first.and_then(|first| self.queues[key].remove(first));
                assert_eq!(Some(job), expected, "the first of its lane that it may run");
                self.may_take(worker, proc, job, fresh);
                self.processes[index].permit = self.job(job).permit;
                self.processes[index].at = At::Has { job, begun: false };
            }
            NextStep::Idle => {
                assert!(!leaving);
                self.processes[index].at = At::Idle(None);
                self.processes[index].has_looked =
                    self.memory.workers[worker as usize].look_at().is_none();
            }
            NextStep::Restart => {
                self.within_limit(worker);
                self.restart(index);
            }
            NextStep::Retire => self.retire(index),
        }
        self.answer();
    }

    /// A lane was given a worker: it has no more than its limit.
    fn within_limit(&self, worker: u32) {
        let lane = &self.memory.lanes[load(&self.memory.workers[worker as usize].lane) as usize];
        assert!(!lane.is_over_limit(), "a lane was given too many workers");
    }

    /// The same as `within_limit`, unless the lane has exchanged one of its own.
    fn no_more_over_limit(&self, before: &[u32], worker: u32) {
        let lane = load(&self.memory.workers[worker as usize].lane) as usize;
        if load(&self.memory.lanes[lane].workers) > before[lane] {
            self.within_limit(worker);
        }
    }

    /// The process exits and the server starts the registration again.
    fn restart(&mut self, index: usize) {
        let proc = self.fresh_proc();
        let process = &mut self.processes[index];
        process.proc = proc;
        process.at = At::Registered;
        process.permit = None;
    }

    fn retire(&mut self, index: usize) {
        self.processes.remove(index);
    }

    fn report_in(&mut self, index: usize) -> bool {
        let Process {
            worker,
            generation,
            proc,
            ..
        } = self.processes[index];
        let ours = self
            .memory
            .locked(|scheduler| scheduler.report_in(worker, generation, proc));
        if !ours {
            self.retire(index);
        }
        ours
    }

    fn go(&mut self, index: usize, leaving: bool) {
        let Process {
            worker,
            generation,
            at,
            proc,
            ..
        } = self.processes[index];
        match at {
            At::Registered => {
                if self.report_in(index) {
                    self.memory
                        .locked(|scheduler| scheduler.note_connected(worker, proc));
                    self.next(index, leaving, true);
                }
            }
            At::Idle(told) => {
                let does = self.memory.locked(|scheduler| {
                    let awakened = scheduler.awakened(worker, generation);
                    awakened.or_else(|| scheduler.end_turn(worker, generation))
                });
                self.processes[index].has_looked =
                    self.memory.workers[worker as usize].look_at().is_none();
                self.follow(index, told, does);
            }
            At::Has { job, begun: false } => match self.memory.word(job).begin(job.generation) {
                Begin::Running { .. } => {
                    let launched = self.job(job);
                    assert!(!launched.canceled, "it began although it was canceled");
                    launched.runs += 1;
                    assert_eq!(launched.runs, 1, "it ran twice");
                    self.processes[index].at = At::Has { job, begun: true };
                }
                Begin::Refused => {
                    assert!(self.job(job).canceled);
                    self.finish(job, End::Canceled);
                    self.next(index, leaving, false);
                }
            },
            At::Has { job, begun: true } => {
                self.memory.pool().note_finishing(worker);
                self.finish(job, End::Completed);
                self.next(index, leaving, false);
            }
        }
    }

    fn finish(&mut self, job: JobId, end: End) {
        let release = self.memory.word(job).finish(job.generation, end);
        self.ended(job, release);
    }

    /// An idle process does what the word of its worker slot says.
    fn follow(&mut self, index: usize, told: Option<Told>, does: Option<NextStep>) {
        match (told, does) {
            (None, None) => {}
            // Its turn was over, and another lane in need.
            (None, Some(NextStep::Restart)) => {
                self.within_limit(self.processes[index].worker);
                self.restart(index);
            }
            (Some(Told::Run(expected)), Some(NextStep::Run { job, .. })) => {
                assert_eq!(job, expected);
                self.processes[index].at = At::Has { job, begun: false };
            }
            (Some(Told::MakeRoom | Told::GoHome), Some(NextStep::Restart)) => self.restart(index),
            (Some(Told::MakeRoom | Told::GoHome), Some(NextStep::Retire)) => self.retire(index),
            (told, does) => panic!("told {told:?}, does {does:?}"),
        }
    }

    fn idle_limit(&mut self, index: usize, keep: u32) {
        let Process {
            worker,
            generation,
            at,
            ..
        } = self.processes[index];
        let At::Idle(told) = at else { return };
        let limit = self
            .memory
            .locked(|scheduler| scheduler.idle_limit(worker, generation, keep));
        match limit {
            None => {
                assert!(told.is_some(), "an idle process was not dismissed");
                self.go(index, false);
            }
            Some(next) => {
                assert_eq!(told, None);
                match next {
                    NextStep::Restart => self.restart(index),
                    NextStep::Retire => self.retire(index),
                    NextStep::Idle => {
                        let lane = self.memory.locked(|scheduler| scheduler.lane_of(worker));
                        assert!(lane.idle.len() <= keep, "more are kept than that");
                        assert!(!lane.is_over_limit(), "a lane keeps more than it may have");
                    }
                    NextStep::Run { .. } => panic!("{next:?} at the idle limit"),
                }
            }
        }
    }

    fn die(&mut self, index: usize, restartable: bool) {
        let Process {
            worker,
            generation,
            proc,
            at,
            ..
        } = self.processes[index];
        match at {
            At::Registered if !self.report_in(index) => return,
            At::Has { job, begun: true } => {
                self.memory.pool().note_finishing(worker);
                self.finish(job, End::Failed);
            }
            At::Has { job, begun: false } | At::Idle(Some(Told::Run(job))) => self.give_back(job),
            At::Registered | At::Idle(_) => {}
        }
        let permit = self
            .processes
            .iter_mut()
            .find(|process| process.proc == proc)
            .and_then(|process| process.permit.take());
        self.return_permit(permit);
        let heir = if restartable {
            Heir::Anyone
        } else {
            Heir::Nobody
        };
        let left = self
            .memory
            .locked(|scheduler| scheduler.exit(worker, generation, proc, heir));
        self.answer();
        match left {
            Some(NextStep::Restart) => self.restart(index),
            Some(NextStep::Retire) => {
                self.retire(index);
                if !restartable {
                    self.spawn_decision(0, true);
                }
            }
            // It had been told to make room. An ordinary death has exit code 1 as well.
            None => {
                assert!(matches!(at, At::Idle(Some(Told::MakeRoom))));
                self.restart(index);
            }
            Some(other) => panic!("{other:?} at the exit"),
        }
    }

    fn give_back(&mut self, id: JobId) {
        let key = self.job(id).key;
        let permit = self
            .processes
            .iter_mut()
            .find(|process| {
                matches!(process.at, At::Has { job, .. } | At::Idle(Some(Told::Run(job))) if job == id)
            })
            .and_then(|process| process.permit.take());
        if self.job(id).canceled {
            self.return_permit(permit);
        }
        let returned = self.memory.locked(|scheduler| scheduler.give_back(id));
        self.answer();
        match returned {
            Returned::Requeued => {
                assert!(!self.job(id).canceled);
                self.queues[key].push_front(id);
            }
            Returned::Handed(proc) => {
                assert!(!self.job(id).canceled);
                self.bound(proc, id);
            }
            Returned::Canceled(release) => {
                assert!(self.job(id).canceled);
                self.ended(id, release);
            }
        }
    }

    /// The server loses a process. Much later a leader that waits looks.
    fn lose(&mut self, index: usize) {
        if self.processes[index].at != At::Registered {
            return;
        }
        let Process {
            worker, generation, ..
        } = self.processes.remove(index);
        self.memory.pass(START_LIMIT + 1);
        self.spawn_decision(0, true);
        let late = self.fresh_proc();
        let ours = self
            .memory
            .locked(|scheduler| scheduler.report_in(worker, generation, late));
        if ours {
            // Nothing was queued, or no lane was short: the worker slot was not needed, and the process serves.
            self.processes.push(Process {
                worker,
                generation,
                proc: late,
                at: At::Idle(None),
                permit: None,
                has_looked: false,
            });
            self.next(self.processes.len() - 1, false, true);
        }
    }

    fn fail_for_good(&mut self, index: usize) {
        if self.processes[index].at != At::Registered || !self.report_in(index) {
            return;
        }
        let Process {
            worker,
            generation,
            proc,
            ..
        } = self.processes[index];
        let lane = self.memory.locked(|scheduler| scheduler.lane_key(worker));
        let key = KEYS
            .iter()
            .position(|&key| key == lane)
            .expect("a known key");
        let lane_works = self
            .memory
            .locked(|scheduler| scheduler.lane_works(scheduler.lane_index(worker)));
        if !lane_works {
            while let Some(job) = self
                .memory
                .locked(|scheduler| scheduler.take_to_fail(scheduler.lane_index(worker), lane, 1))
            {
                assert_eq!(self.queues[key].pop_front(), Some(job));
                let permit = self.job(job).permit;
                self.return_permit(permit);
                self.finish(job, End::Failed);
                self.memory.check();
            }
            assert!(self.queues[key].is_empty());
        }
        let heir = if lane_works {
            Heir::NotStalled
        } else {
            Heir::Anyone
        };
        let left = self
            .memory
            .locked(|scheduler| scheduler.exit(worker, generation, proc, heir));
        self.answer();
        match left {
            Some(NextStep::Restart) => self.restart(index),
            Some(NextStep::Retire) => {
                self.retire(index);
                self.spawn_decision(key, true);
            }
            other => panic!("{other:?} at the exit"),
        }
    }

    fn cancel(&mut self, index: usize, terminate: bool) {
        let Some(&Job { id, key, fate, .. }) = self.jobs.get(index) else {
            return;
        };
        let signaled = std::cell::Cell::new(None);
        let demand = if terminate {
            Demand::Terminate
        } else {
            Demand::Cancel
        };
        let canceling = self
            .memory
            .pool()
            .cancel(id, demand, |proc| signaled.set(Some(proc)));
        match canceling {
            Canceling::Asked => {
                self.job(id).canceled = true;
                let proc = signaled.get().expect("the worker was signaled");
                let has = self.processes.iter().any(|process| {
                    process.proc == proc
                        && match process.at {
                            At::Has { job, .. } | At::Idle(Some(Told::Run(job))) => job == id,
                            _ => false,
                        }
                });
                assert!(has, "the process that was signaled does not have the job");
            }
            Canceling::Finished(release) => {
                let of_leader = self.job(id).leader;
                let throttled = &mut self.sessions[of_leader].throttled;
                if let Some(entry) = throttled.iter().position(|&queued| queued == id) {
                    throttled.remove(entry);
                } else {
                    let entry = self.queues[key].iter().position(|&queued| queued == id);
                    self.queues[key].remove(entry.expect("it was queued"));
                    let permit = self.job(id).permit;
                    self.return_permit(permit);
                }
                self.answer();
                self.job(id).canceled = true;
                self.ended(id, release);
            }
            Canceling::TooLate => assert_eq!(fate, Fate::Over),
        }
    }

    fn detach(&mut self, index: usize) {
        let Some(job) = self.jobs.get_mut(index) else {
            return;
        };
        let id = job.id;
        if !job.attached {
            assert_eq!(
                self.memory.word(id).detach(id.generation),
                Release::Stale,
                "a second detach"
            );
            return;
        }
        job.attached = false;
        let over = job.fate == Fate::Over;
        let release = self.memory.word(id).detach(id.generation);
        assert_eq!(release == Release::LastOut, over);
        self.released(id, release);
    }

    fn depart(&mut self, leader: usize) {
        for index in (0..self.jobs.len()).rev() {
            if self.jobs[index].leader == leader && self.jobs[index].attached {
                self.detach(index);
            }
        }
        let own = self.leader_proc(leader);
        let session = &mut self.sessions[leader];
        let throttled = std::mem::take(&mut session.throttled);
        session.incarnation += 1;
        session.admitted = 0;
        self.queues[leader % KEYS.len()].extend(throttled);
        let lane = self.memory.locked(|scheduler| scheduler.depart(own));
        self.answer();
        if lane.is_some() {
            self.spawn_decision(leader % KEYS.len(), true);
        }
    }

    fn dismiss(&mut self, key: Option<usize>, limit: u32) {
        let woken = std::cell::RefCell::new(Vec::new());
        let sent = self.memory.locked(|scheduler| {
            scheduler.dismiss_idle(key.map(|key| KEYS[key]), limit, |proc| {
                woken.borrow_mut().push(proc);
            })
        });
        let woken = woken.into_inner();
        assert_eq!(woken.len(), sent as usize);
        for proc in woken {
            self.idle_process(proc).at = At::Idle(Some(Told::GoHome));
        }
    }

    fn take(&mut self, step: Step) {
        let known = |process: usize| process < self.processes.len();
        match step {
            Step::Launch {
                leader,
                limit,
                bounded,
                uncounted,
                fresh_only,
                lane_limit,
                exclude,
                can_register,
            } => {
                let options = Options {
                    fresh_only,
                    bounded,
                    uncounted,
                    ..Options::default()
                };
                let limits = Limits {
                    session_jobs: limit,
                    lane_workers: lane_limit,
                };
                self.launch(leader, limits, options, exclude, can_register);
            }
            Step::Go { process, leaving } if known(process) => self.go(process, leaving),
            Step::Shrink(process) if known(process) => {
                self.shrinks = load(&self.memory.totals.live) > 1;
                self.go(process, false);
                self.shrinks = false;
            }
            Step::IdleLimit { process, keep } if known(process) => self.idle_limit(process, keep),
            Step::Clock { stands } => {
                let tick = if stands { 0 } else { turns::LONGEST_TURN };
                self.memory.lock.tick.0.set(tick);
            }
            Step::Die {
                process,
                restartable,
            } if known(process) => self.die(process, restartable),
            Step::Lose(process) if known(process) => self.lose(process),
            Step::FailForGood(process) if known(process) => self.fail_for_good(process),
            Step::Cancel { job, terminate } => self.cancel(job, terminate),
            Step::Detach(job) => self.detach(job),
            Step::Depart(leader) => self.depart(leader),
            Step::Dismiss { key, limit } => self.dismiss(key, limit),
            Step::Spawn { key, can_register } => self.spawn_decision(key, can_register),
            _ => {}
        }
    }

    /// Everything that must hold between two steps.
    fn check(&self) {
        self.memory.check();
        let mut queued = 0;
        for (key, queue) in self.queues.iter().enumerate() {
            let lane = self
                .memory
                .lanes
                .iter()
                .find(|lane| lane.key.load(Ordering::Relaxed) == KEYS[key].to_bits());
            let jobs = lane.map_or(Vec::new(), |lane| self.memory.queued_in(&lane.queue));
            let expected: Vec<_> = queue.iter().map(|job| job.index).collect();
            assert_eq!(jobs, expected, "the queue of {:?}", KEYS[key]);
            queued += jobs.len();
        }
        let mut throttled = 0;
        for (session, leader) in self.sessions.iter().zip(&self.memory.leaders) {
            let expected: Vec<_> = session.throttled.iter().map(|job| job.index).collect();
            assert_eq!(
                self.memory.queued_in(&leader.throttled),
                expected,
                "throttled"
            );
            throttled += expected.len();
        }
        assert_eq!(self.memory.pool().queued() as usize, queued + throttled);
        assert!(self.memory.lock.woken.borrow().is_empty());
        assert_eq!(self.memory.jobs().used() as usize, self.jobs.len());
        let looks_at_turns_end = |process: &Process| {
            let is_idle = self.memory.activity(process.worker) == Activity::Idle;
            is_idle && process.at == At::Idle(None) && !process.has_looked
        };
        assert!(
            queued == 0
                || self.refused
                || self.memory.some_process_will_look()
                || self.processes.iter().any(looks_at_turns_end),
            "{queued} jobs wait, and no process will look for them"
        );
        let live = load(&self.memory.totals.live);
        assert!(live <= self.cap);
        // A process that slept while its worker slot was taken back still exists, but has no worker slot.
        let with_place = self.processes.iter().filter(|process| {
            let word = self.memory.workers[process.worker as usize].word.load();
            word.generation() == process.generation
        });
        assert_eq!(live as usize, with_place.count());
    }

    /// Lets the processes run until nothing is left to do.
    fn drain(&mut self) {
        self.take(Step::Clock { stands: false });
        if self.refused {
            self.spawn_decision(0, true);
        }
        // In each round every process takes a step. A job takes two, a fresh process one more. Between two jobs
        // a worker slot passes through all lanes at most once.
        let rounds = JOBS * (KEYS.len() + 1) * 4;
        for _ in 0..rounds {
            for index in (0..self.processes.len()).rev() {
                self.go(index, false);
                self.check();
            }
        }
        for index in (0..self.jobs.len()).rev() {
            let job = self.jobs[index];
            assert_eq!(job.fate, Fate::Over, "{job:?} never ended");
            if job.attached {
                self.detach(index);
            }
        }
        assert!(self.jobs.is_empty());
        self.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(1024), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_pool_does_what_the_model_does(cap in 1..=WORKER_SLOTS as u32, steps in prop::collection::vec(step(), 1..120)) {
        let mut model = Model::new(cap);
        for step in steps {
            model.take(step);
            model.check();
        }
        model.drain();
    }
}
