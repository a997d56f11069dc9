//! Who waits for whom, and which waits form a circle.
//!
//! A process that waits for nothing can go on. A process that is blocked can go on when all processes that
//! block it can. If it sleeps on jobs, it can go on when one of these jobs can: when one of the processes that
//! the jobs depend on can go on. A process that cannot go on, by these rules, is *stuck*. The stuck processes
//! are the largest set in which each waits only for others of the set.
//!
//! A process that is stuck and whose wait leads back to itself is in a [`Circle`]. If its wait only leads into
//! a circle of other processes, it goes on when that circle is broken. A wait leads to what cannot go on: not to the jobs
//! of a process that sleeps on others as well which can, and is stuck because of a lock.
//!
//! [`find_circle`] begins at one process and asks only for waits that it needs. It asks for none any more when that
//! process can go on: mostly after one, because the process that has the job waits for nothing.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "as many as there are processes that wait"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Number of a process.
pub type Pid = u32;

/// Limit on the number of processes that are followed. Any other counts as one that goes on. So it must be more than the
/// workers of a large pool.
const LIMIT: usize = 4000;

/// What a process needs that another one has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// A lock.
    Lock,
    /// The end of its transaction, as a command with CONCURRENTLY does.
    End,
    /// A safe snapshot, which the other's transaction holds up.
    SafeSnapshot,
    /// A page that the other has pinned.
    Page,
    /// The end of a job that the other runs.
    Job,
    /// A slot of the job table that the other's job has.
    Slot,
}

impl Needs {
    /// The part of the sentence before the name of that other process.
    fn words(self) -> &'static str {
        match self {
            Self::Lock => "a lock held by",
            Self::End => "the end of the transaction of",
            Self::SafeSnapshot => "a safe snapshot, which is held up by the transaction of",
            Self::Page => "a buffer pinned by",
            Self::Job => "the background job in",
            Self::Slot => "a slot of the job table, which is taken by a job of",
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Self::Lock | Self::Job => {
                "Commit the transaction that holds the lock before waiting for the job, or launch and wait in separate statements."
            }
            Self::End => {
                "Launch the job, then CALL pg_background_await(pid, cookie), which waits without a transaction that the job waits for. A CREATE INDEX CONCURRENTLY that was canceled leaves an invalid index, which has to be dropped."
            }
            Self::SafeSnapshot => {
                "Commit the serializable transaction before waiting for the job, or begin it READ ONLY."
            }
            Self::Page => "Close the cursors that read the table before waiting for the job.",
            Self::Slot => {
                "Commit the transaction that holds the lock before launching the job, or raise pg_background.role_max_jobs or pg_background.max_jobs."
            }
        }
    }
}

/// What a process sleeps on: one of these processes has to go on.
#[derive(Clone, Debug)]
pub struct Sleep {
    /// The processes on which its jobs depend. Kept once for all who sleep on the same.
    pub processes: Rc<Vec<Pid>>,
    /// Whether it waits for a worker slot.
    pub over_worker_slots: bool,
    /// Whether it has no job yet, and waits for a slot of the job table.
    pub over_slots: bool,
}

/// What one process waits for.
#[derive(Default, Debug)]
pub struct Wait {
    /// All of these have to go on.
    pub blocked_by: Vec<(Pid, Needs)>,
    /// `None`: it sleeps on no job, or on one that goes on.
    pub sleep: Option<Sleep>,
}

impl Wait {
    /// What it needs of that process, for which it waits.
    fn needs_of(&self, pid: Pid) -> Needs {
        let blocker = self.blocked_by.iter().find(|(blocker, _)| *blocker == pid);
        let sleeps_over_slots = || self.sleep.as_ref().is_some_and(|sleep| sleep.over_slots);
        match blocker {
            Some((_, needs)) => *needs,
            None if sleeps_over_slots() => Needs::Slot,
            None => Needs::Job,
        }
    }
}

/// The processes that somebody sleeps on, by their address: others may sleep on the same.
type SetId = *const Vec<Pid>;

/// A set of processes of which one has to go on.
struct Set {
    processes: Rc<Vec<Pid>>,
    /// Whether one goes on.
    goes_on: bool,
    /// Those who sleep on it.
    sleepers: Vec<Pid>,
}

/// What has to be looked at, unless it does not matter any more.
enum Open {
    Process(Pid),
    /// The processes of a set, from this position on.
    Members(SetId, usize),
}

/// What was found out so far.
#[derive(Default)]
struct Search {
    waits: BTreeMap<Pid, Wait>,
    /// The processes that can go on.
    free: BTreeSet<Pid>,
    sets: BTreeMap<SetId, Set>,
    /// By process: those that it blocks.
    blocks: BTreeMap<Pid, Vec<Pid>>,
    /// By process: the sets in which it was looked at.
    is_in: BTreeMap<Pid, Vec<SetId>>,
    open: Vec<Open>,
}

impl Search {
    /// The next process whose wait has to be known. `None`: there is none, or `own` can go on.
    fn next(&mut self, own: Pid) -> Option<Pid> {
        while !self.free.contains(&own)
            && let Some(open) = self.open.pop()
        {
            let pid = match open {
                Open::Process(pid) => pid,
                Open::Members(id, at) => {
                    let set = &self.sets[&id];
                    let Some(&pid) = set.processes.get(at).filter(|_| !set.goes_on) else {
                        continue;
                    };
                    self.open.push(Open::Members(id, at + 1));
                    self.is_in.entry(pid).or_default().push(id);
                    if self.free.contains(&pid) {
                        self.let_go_on(id);
                    }
                    pid
                }
            };
            if !self.free.contains(&own) && !self.waits.contains_key(&pid) {
                return Some(pid);
            }
        }
        None
    }

    /// Notes what a process waits for.
    fn note(&mut self, pid: Pid, wait: Wait) {
        for &(blocker, _) in &wait.blocked_by {
            self.blocks.entry(blocker).or_default().push(pid);
            self.open.push(Open::Process(blocker));
        }
        if let Some(Sleep { processes, .. }) = &wait.sleep {
            let id = Rc::as_ptr(processes);
            let set = self.sets.entry(id).or_insert_with(|| {
                self.open.push(Open::Members(id, 0));
                Set {
                    processes: Rc::clone(processes),
                    goes_on: false,
                    sleepers: Vec::new(),
                }
            });
            set.sleepers.push(pid);
        }
        self.waits.insert(pid, wait);
        self.free_those_who_can(vec![pid]);
    }

    /// One of the set goes on.
    fn let_go_on(&mut self, id: SetId) {
        let set = self.sets.get_mut(&id).expect("noted with who sleeps on it");
        set.goes_on = true;
        let sleepers = set.sleepers.clone();
        self.free_those_who_can(sleepers);
    }

    /// Notes which of these processes can go on, and who therefore can.
    fn free_those_who_can(&mut self, mut asked: Vec<Pid>) {
        while let Some(pid) = asked.pop() {
            if self.free.contains(&pid) || !self.can_go_on(pid) {
                continue;
            }
            self.free.insert(pid);
            asked.extend(self.blocks.get(&pid).into_iter().flatten());
            for id in self.is_in.get(&pid).into_iter().flatten() {
                let set = self.sets.get_mut(id).expect("noted with who sleeps on it");
                if !std::mem::replace(&mut set.goes_on, true) {
                    asked.extend(&set.sleepers);
                }
            }
        }
    }

    /// By what is known. A process whose wait is not known cannot.
    fn can_go_on(&self, pid: Pid) -> bool {
        let Some(wait) = self.waits.get(&pid) else {
            return false;
        };
        let one_goes_on = |sleep: &Sleep| self.sets[&Rc::as_ptr(&sleep.processes)].goes_on;
        let mut blockers = wait.blocked_by.iter();
        blockers.all(|(blocker, _)| self.free.contains(blocker))
            && wait.sleep.as_ref().is_none_or(one_goes_on)
    }

    /// The circle from `own`, which is stuck, back to it.
    fn circle(&self, own: Pid) -> Option<Circle> {
        let mut seen = BTreeSet::new();
        let mut sets_seen = BTreeSet::new();
        let mut open = vec![own];
        let mut last = None;
        while let Some(pid) = open.pop() {
            let wait = &self.waits[&pid];
            let set = wait
                .sleep
                .as_ref()
                .map(|sleep| Rc::as_ptr(&sleep.processes));
            let new_set = set
                .filter(|id| sets_seen.insert(*id))
                .map(|id| &self.sets[&id])
                .filter(|set| !set.goes_on);
            let blockers = wait.blocked_by.iter().map(|(blocker, _)| *blocker);
            let sleeps_on = new_set
                .into_iter()
                .flat_map(|set| set.processes.iter().copied());
            for next in blockers
                .chain(sleeps_on)
                .filter(|next| !self.free.contains(next))
            {
                if next == own {
                    last = last.or(Some(pid));
                }
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        let last = last?;
        let sleeps = |pid: &&Pid| self.waits[*pid].sleep.is_some();
        let is_over_worker_slots = |pid: &Pid| {
            let sleep = self.waits[pid].sleep.as_ref();
            sleep.is_some_and(|sleep| sleep.over_worker_slots)
        };
        Some(Circle {
            last,
            needs: self.waits[&last].needs_of(own),
            first_to_give_up: seen.iter().filter(sleeps).max().copied().unwrap_or(own),
            over_worker_slots: seen.iter().any(is_over_worker_slots),
        })
    }
}

/// The circle from `own` along the waits of stuck processes back to `own`: the last process before it, and the leader
/// that gives up first, of those on the circle or beside it. `wait_of` tells what a process waits for, and is asked
/// once for each.
pub fn find_circle(own: Pid, mut wait_of: impl FnMut(Pid) -> Wait) -> Option<Circle> {
    let mut search = Search::default();
    search.note(own, wait_of(own));
    while let Some(pid) = search.next(own) {
        let is_followed = search.waits.len() < LIMIT;
        let wait = if is_followed {
            wait_of(pid)
        } else {
            Wait::default()
        };
        search.note(pid, wait);
    }
    let is_stuck = !search.free.contains(&own);
    is_stuck.then(|| search.circle(own)).flatten()
}

/// What the process that has found a circle waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Awaited {
    /// A job that this process runs.
    JobIn(Pid),
    /// A job that has no worker.
    QueuedJob,
    /// A slot for a job that it is about to launch.
    Slot,
}

/// A wait that leads back to the waiter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Circle {
    /// The last process before the waiter.
    last: Pid,
    /// What the last needs of the first.
    needs: Needs,
    /// Of the leaders on the circle or beside it, the one that gives up at once.
    pub first_to_give_up: Pid,
    /// Whether a wait for a worker slot is part of it.
    over_worker_slots: bool,
}

impl Circle {
    /// The detail of the error that the process `own` raises.
    #[must_use]
    pub fn detail(&self, own: Pid, awaited: Awaited) -> String {
        let job = match awaited {
            Awaited::JobIn(pid) => format!("the background job in process {pid}"),
            Awaited::QueuedJob => String::from("a background job that is queued"),
            Awaited::Slot => String::from("a slot of the job table"),
        };
        let Self { last, needs, .. } = *self;
        if self.over_worker_slots {
            format!(
                "Process {own} waits for {job}; every worker that could take a queued job, such as process {last}, waits for another queued job."
            )
        } else {
            format!(
                "Process {own} waits for {job}; process {last} waits for {} process {own}.",
                needs.words()
            )
        }
    }

    /// Its hint.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        if self.over_worker_slots {
            "Raise max_worker_processes, pg_background.max_pool_workers or pg_background.lane_max_workers, or do not wait for jobs from within jobs."
        } else {
            self.needs.hint()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWN: Pid = 1;

    fn blocked(by: &[Pid]) -> Wait {
        Wait {
            blocked_by: by.iter().map(|&pid| (pid, Needs::Lock)).collect(),
            ..Wait::default()
        }
    }

    /// Sleeps until one of these processes goes on.
    fn sleeps(on: &[Pid]) -> Wait {
        Wait {
            sleep: Some(Sleep {
                processes: Rc::new(on.to_vec()),
                over_worker_slots: false,
                over_slots: false,
            }),
            ..Wait::default()
        }
    }

    #[test]
    fn what_is_needed_is_a_lock_an_end_a_job_or_a_slot() {
        let end = Wait {
            blocked_by: vec![(OWN, Needs::End)],
            ..Wait::default()
        };
        let slots = Wait {
            sleep: sleeps(&[OWN]).sleep.map(|sleep| Sleep {
                over_slots: true,
                ..sleep
            }),
            ..Wait::default()
        };
        for (wait, needs) in [
            (blocked(&[OWN]), Needs::Lock),
            (end, Needs::End),
            (sleeps(&[OWN]), Needs::Job),
            (slots, Needs::Slot),
        ] {
            let waits = graph([(OWN, blocked(&[2])), (2, wait)]);
            let circle = waits.circle(OWN).expect("each waits for the other");
            assert_eq!((circle.last, circle.needs), (2, needs));
        }
    }

    /// What each process waits for; any other one waits for nothing.
    #[derive(Debug)]
    struct Graph(BTreeMap<Pid, Wait>);

    fn graph(waits: impl IntoIterator<Item = (Pid, Wait)>) -> Graph {
        Graph(waits.into_iter().collect())
    }

    impl Graph {
        fn wait_of(&self, pid: Pid) -> Wait {
            self.0.get(&pid).map_or_else(Wait::default, |wait| Wait {
                blocked_by: wait.blocked_by.clone(),
                sleep: wait.sleep.clone(),
            })
        }

        /// The circle, and whose waits were asked for.
        fn search(&self, own: Pid) -> (Option<Circle>, Vec<Pid>) {
            let mut asked = Vec::new();
            let found = find_circle(own, |pid| {
                assert!(!asked.contains(&pid), "asked twice for {pid}");
                asked.push(pid);
                self.wait_of(pid)
            });
            (found, asked)
        }

        fn circle(&self, own: Pid) -> Option<Circle> {
            self.search(own).0
        }

        /// By the definition: whether it can go on when these cannot.
        fn can_go_on(&self, pid: Pid, stuck: &BTreeSet<Pid>) -> bool {
            let wait = self.wait_of(pid);
            let one_goes_on =
                |sleep: &Sleep| sleep.processes.iter().any(|pid| !stuck.contains(pid));
            let mut blockers = wait.blocked_by.iter();
            blockers.all(|(pid, _)| !stuck.contains(pid))
                && wait.sleep.as_ref().is_none_or(one_goes_on)
        }

        /// All that `pid` waits for and that cannot go on.
        fn all(&self, pid: Pid, stuck: &BTreeSet<Pid>) -> BTreeSet<Pid> {
            let wait = self.wait_of(pid);
            let is_stuck = |pid: &Pid| stuck.contains(pid);
            let sleep = wait.sleep.map(|sleep| (*sleep.processes).clone());
            let sleep = sleep.filter(|sleep| sleep.iter().all(is_stuck));
            let blockers = wait.blocked_by.iter().map(|(pid, _)| *pid);
            blockers
                .filter(is_stuck)
                .chain(sleep.into_iter().flatten())
                .collect()
        }

        /// The union of all sets in which each process waits only for others of the set.
        fn stuck(&self) -> BTreeSet<Pid> {
            let mut stuck = BTreeSet::new();
            for bits in 0_u32..1 << PROCESSES {
                let set: BTreeSet<Pid> =
                    (0..PROCESSES).filter(|pid| bits & 1 << pid != 0).collect();
                if !set.iter().any(|&pid| self.can_go_on(pid, &set)) {
                    stuck.extend(set);
                }
            }
            stuck
        }
    }

    #[test]
    fn a_job_that_needs_its_leaders_lock_is_a_circle() {
        let circle = graph([(OWN, sleeps(&[2])), (2, blocked(&[OWN]))]).circle(OWN);
        let circle = circle.expect("each waits for the other");
        assert_eq!((circle.last, circle.needs), (2, Needs::Lock));
        assert_eq!(circle.first_to_give_up, OWN, "the only leader");
        assert_eq!(
            circle.detail(OWN, Awaited::JobIn(2)),
            "Process 1 waits for the background job in process 2; process 2 waits for a lock held by process 1."
        );
        assert!(circle.hint().starts_with("Commit the transaction"));
    }

    #[test]
    fn one_of_several_jobs_that_can_go_on_is_enough() {
        let waits = || [(OWN, sleeps(&[2, 3])), (2, blocked(&[OWN]))];
        assert_eq!(graph(waits()).circle(OWN), None);
        let mut both = graph(waits());
        both.0.insert(3, blocked(&[2]));
        assert!(both.circle(OWN).is_some());
    }

    #[test]
    fn all_that_block_have_to_go_on() {
        let found = graph([(OWN, sleeps(&[2])), (2, blocked(&[OWN, 3]))]);
        assert!(found.circle(OWN).is_some());
    }

    #[test]
    fn a_wait_that_leads_into_a_circle_of_others_is_none() {
        let found = graph([(OWN, blocked(&[2])), (2, blocked(&[3])), (3, blocked(&[2]))]);
        assert!(found.stuck().contains(&OWN));
        assert_eq!(found.circle(OWN), None);
    }

    #[test]
    fn nobody_is_asked_who_does_not_matter() {
        let everybody: Vec<Pid> = (2..500).collect();
        let busy = graph([(OWN, sleeps(&everybody))]);
        assert_eq!(
            busy.search(OWN),
            (None, vec![OWN, 2]),
            "one that goes on is enough"
        );
        let leader = graph([
            (OWN, sleeps(&[2])),
            (2, blocked(&[OWN, 3])),
            (3, sleeps(&everybody[2..])),
            (4, Wait::default()),
        ]);
        let (circle, asked) = leader.search(OWN);
        assert!(circle.is_some());
        assert_eq!(asked, [OWN, 2, 3, 4], "what 3 sleeps on goes on");
    }

    #[test]
    fn processes_that_sleep_on_the_same_are_followed_once() {
        let others: Rc<Vec<Pid>> = Rc::new((1..=900).collect());
        let sleep = Sleep {
            processes: others,
            over_worker_slots: true,
            over_slots: false,
        };
        let wait = |pid| {
            (
                pid,
                Wait {
                    blocked_by: Vec::new(),
                    sleep: Some(sleep.clone()),
                },
            )
        };
        let (circle, asked) = graph((1..=900).map(wait)).search(OWN);
        assert_eq!(circle.map(|circle| circle.first_to_give_up), Some(900));
        assert_eq!(asked.len(), 900);
    }

    #[test]
    fn who_is_too_many_counts_as_one_that_goes_on() {
        let line = |length: Pid| graph((1..=length).map(|pid| (pid, blocked(&[pid % length + 1]))));
        let longest = LIMIT as Pid;
        assert!(line(longest).circle(OWN).is_some());
        let (circle, asked) = line(longest + 1).search(OWN);
        assert_eq!((circle, asked.len()), (None, LIMIT));
    }

    #[test]
    fn of_several_leaders_the_one_with_the_highest_pid_gives_up_first() {
        let found = graph([
            (OWN, sleeps(&[2])),
            (2, blocked(&[7])),
            (7, sleeps(&[8])),
            (8, blocked(&[OWN])),
        ]);
        for own in [OWN, 7] {
            assert_eq!(
                found.circle(own).map(|circle| circle.first_to_give_up),
                Some(7)
            );
        }
    }

    #[test]
    fn a_circle_over_worker_slots_says_so() {
        let mut found = graph([
            (OWN, sleeps(&[2, 3])),
            (2, sleeps(&[2, 3])),
            (3, sleeps(&[2, OWN])),
        ]);
        let sleep = found.0.get_mut(&3).and_then(|wait| wait.sleep.as_mut());
        sleep.expect("it sleeps").over_worker_slots = true;
        let circle = found.circle(OWN).expect("nobody can go on");
        assert_eq!(
            circle.detail(OWN, Awaited::QueuedJob),
            "Process 1 waits for a background job that is queued; every worker that could take a queued job, such as process 3, waits for another queued job."
        );
        assert!(circle.hint().starts_with("Raise max_worker_processes"));
    }

    const PROCESSES: Pid = 6;

    prop_compose! {
        fn wait()(
            by in proptest::collection::vec(0..PROCESSES, 0..3),
            on in proptest::option::of(proptest::collection::vec(0..PROCESSES, 0..4)),
            over_worker_slots in any::<bool>(),
        ) -> Wait {
            let sleep = on.map(|on| Sleep {
                processes: Rc::new(on.into_iter().collect()),
                over_worker_slots,
                over_slots: false,
            });
            Wait { sleep, ..blocked(&by) }
        }
    }

    proptest! {
        /// Compares with the whole graph: a process is in a circle if it is stuck, and is reached from itself through
        /// processes that are.
        #[test]
        fn a_circle_is_found_exactly_where_the_whole_graph_has_one(waits in proptest::collection::vec(wait(), PROCESSES as usize)) {
            let found = graph((0..).zip(waits));
            let stuck = found.stuck();
            for own in 0..PROCESSES {
                let mut reached = BTreeSet::new();
                let mut open: Vec<Pid> = Vec::from_iter(stuck.get(&own).copied());
                while let Some(pid) = open.pop() {
                    let next = found.all(pid, &stuck).into_iter();
                    open.extend(next.filter(|next| reached.insert(*next)));
                }
                let circle = found.circle(own);
                prop_assert_eq!(circle.is_some(), reached.contains(&own));
                let Some(circle) = circle else { continue };
                prop_assert!(reached.contains(&circle.last) && found.all(circle.last, &stuck).contains(&own));
                let sleep_of = |pid: &Pid| found.0[pid].sleep.as_ref();
                let leaders = reached.iter().filter(|pid| sleep_of(pid).is_some());
                prop_assert_eq!(circle.first_to_give_up, leaders.max().copied().unwrap_or(own));
                let over_worker_slots = reached.iter().filter_map(sleep_of).any(|sleep| sleep.over_worker_slots);
                prop_assert_eq!(circle.over_worker_slots, over_worker_slots);
            }
        }
    }
}
