//! Who waits for whom, and which waits form a cycle.
//!
//! A process that waits for nothing can go on. A process that is blocked can go on when all processes that
//! block it can. If it sleeps on jobs, it can go on when one of these jobs can: when one of the processes that
//! the job depends on can go on. A process that cannot go on, by these rules, is *stuck*. The stuck processes
//! are the largest set in which each waits only for others of the set.
//!
//! A process that is stuck and whose wait leads back to itself is in a [`Circle`]. If its wait only leads into
//! a circle of other processes, it goes on when that circle is broken.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "as many as there are processes that wait"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Number of a process.
pub type Pid = u32;

/// What a process needs that another one has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// A lock.
    Lock,
    /// A safe snapshot, which the other's transaction holds up.
    SafeSnapshot,
    /// A page that the other has pinned.
    Page,
    /// The end of a job that the other runs.
    Job,
}

impl Needs {
    /// The part of the sentence before the name of that other process.
    fn words(self) -> &'static str {
        match self {
            Self::Lock => "a lock held by",
            Self::SafeSnapshot => "a safe snapshot, which is held up by the transaction of",
            Self::Page => "a buffer pinned by",
            Self::Job => "the background job in",
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Self::Lock | Self::Job => {
                "Commit the transaction that holds the lock before waiting for the job, or launch and wait in separate statements."
            }
            Self::SafeSnapshot => {
                "Commit the serializable transaction before waiting for the job, or begin it READ ONLY."
            }
            Self::Page => "Close the cursors that read the table before waiting for the job.",
        }
    }
}

/// What one process waits for.
#[derive(Default, Debug)]
pub struct Wait {
    /// All of these have to go on.
    pub blocked_by: Vec<(Pid, Needs)>,
    /// And one of these, of which each is a job: one of its processes has to go on. Empty: it sleeps on no job.
    /// Kept once for all jobs that wait for the same; there may be as many of them as the table has slots.
    pub jobs: BTreeSet<Rc<BTreeSet<Pid>>>,
    /// It sleeps on a job that will get a worker slot, or whose worker is starting.
    pub served: bool,
}

impl Wait {
    /// All processes that it waits for.
    pub fn all(&self) -> impl Iterator<Item = Pid> {
        let blockers = self.blocked_by.iter().map(|(pid, _)| *pid);
        blockers.chain(self.jobs.iter().flat_map(|pids| pids.iter().copied()))
    }

    /// What it needs of that process, for which it waits.
    fn needs_of(&self, pid: Pid) -> Needs {
        let blocker = self.blocked_by.iter().find(|(blocker, _)| *blocker == pid);
        blocker.map_or(Needs::Job, |(_, needs)| *needs)
    }

    fn can_go_on(&self, stuck: &BTreeSet<Pid>) -> bool {
        let goes_on = |pid: &Pid| !stuck.contains(pid);
        let one_goes_on = |pids: &Rc<BTreeSet<Pid>>| pids.iter().any(goes_on);
        let unblocked = self.blocked_by.iter().all(|(pid, _)| goes_on(pid));
        let has_a_job = self.jobs.is_empty() || self.served || self.jobs.iter().any(one_goes_on);
        unblocked && has_a_job
    }
}

/// Who waits for whom, as far as was looked at.
#[derive(Default, Debug)]
pub struct Graph {
    /// The waits of the processes that were looked at. The processes that these wait for must have been looked
    /// at as well, or be able to go on.
    pub waits: BTreeMap<Pid, Wait>,
    /// Whether a wait for a worker slot is part of it.
    pub over_worker_slots: bool,
}

impl Graph {
    /// The largest set of processes in which each waits only for others of the set.
    fn stuck(&self) -> BTreeSet<Pid> {
        let waits = |wait: &Wait| !wait.blocked_by.is_empty() || !wait.jobs.is_empty();
        let mut stuck: BTreeSet<Pid> = self
            .waits
            .iter()
            .filter(|(_, wait)| waits(wait))
            .map(|(&pid, _)| pid)
            .collect();
        loop {
            let before = stuck.len();
            let freed: Vec<Pid> = stuck
                .iter()
                .copied()
                .filter(|pid| self.waits[pid].can_go_on(&stuck))
                .collect();
            for pid in freed {
                stuck.remove(&pid);
            }
            if stuck.len() == before {
                return stuck;
            }
        }
    }

    /// The circle from `own` along the waits of stuck processes back to `own`: the last process before it, and
    /// the leader that gives up first, of those on the circle or beside it.
    #[must_use]
    pub fn circle(&self, own: Pid) -> Option<Circle> {
        let stuck = self.stuck();
        if !stuck.contains(&own) {
            return None;
        }
        let mut seen = BTreeSet::new();
        let mut open = vec![own];
        let mut last = None;
        while let Some(pid) = open.pop() {
            for next in self.waits[&pid].all().filter(|pid| stuck.contains(pid)) {
                if next == own {
                    last = last.or(Some(pid));
                }
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        let leads = |pid: &&Pid| !self.waits[*pid].jobs.is_empty();
        let last = last?;
        Some(Circle {
            last,
            needs: self.waits[&last].needs_of(own),
            first_to_give_up: seen.iter().filter(leads).max().copied().unwrap_or(own),
            over_worker_slots: self.over_worker_slots,
        })
    }
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
    /// The detail of the error that the process `own` raises. `worker`: the process that has its job, if there
    /// is one.
    #[must_use]
    pub fn detail(&self, own: Pid, worker: Option<Pid>) -> String {
        let job = match worker {
            Some(pid) => format!("the background job in process {pid}"),
            None => String::from("a background job that is queued"),
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

    /// Sleeps on these jobs. One of the processes of each has to go on.
    fn sleeps(on: &[&[Pid]]) -> Wait {
        let job = |pids: &&[Pid]| Rc::new(pids.iter().copied().collect());
        Wait {
            jobs: on.iter().map(job).collect(),
            ..Wait::default()
        }
    }

    fn graph(waits: impl IntoIterator<Item = (Pid, Wait)>) -> Graph {
        Graph {
            waits: waits.into_iter().collect(),
            over_worker_slots: false,
        }
    }

    #[test]
    fn a_job_that_needs_its_leaders_lock_is_a_circle() {
        let circle = graph([(OWN, sleeps(&[&[2]])), (2, blocked(&[OWN]))]).circle(OWN);
        let circle = circle.expect("each waits for the other");
        assert_eq!((circle.last, circle.needs), (2, Needs::Lock));
        assert_eq!(circle.first_to_give_up, OWN, "the only leader");
        assert_eq!(
            circle.detail(OWN, Some(2)),
            "Process 1 waits for the background job in process 2; process 2 waits for a lock held by process 1."
        );
        assert!(circle.hint().starts_with("Commit the transaction"));
    }

    #[test]
    fn one_of_several_jobs_that_can_go_on_is_enough() {
        let waits = || [(OWN, sleeps(&[&[2], &[3]])), (2, blocked(&[OWN]))];
        let mut free = graph(waits());
        free.waits.insert(3, Wait::default());
        assert_eq!(free.circle(OWN), None);
        let mut both = graph(waits());
        both.waits.insert(3, blocked(&[2]));
        assert!(both.circle(OWN).is_some());
    }

    #[test]
    fn all_that_block_have_to_go_on() {
        let found = graph([
            (OWN, sleeps(&[&[2]])),
            (2, blocked(&[OWN, 3])),
            (3, Wait::default()),
        ]);
        assert!(found.circle(OWN).is_some());
    }

    #[test]
    fn a_wait_that_leads_into_a_circle_of_others_is_none() {
        let found = graph([(OWN, blocked(&[2])), (2, blocked(&[3])), (3, blocked(&[2]))]);
        assert!(found.stuck().contains(&OWN));
        assert_eq!(found.circle(OWN), None);
    }

    #[test]
    fn a_worker_on_its_way_breaks_it() {
        let served = Wait {
            served: true,
            ..sleeps(&[&[2]])
        };
        let found = graph([(OWN, served), (2, blocked(&[OWN]))]);
        assert_eq!(found.circle(OWN), None);
    }

    #[test]
    fn of_several_leaders_the_one_with_the_highest_pid_gives_up_first() {
        let found = graph([
            (OWN, sleeps(&[&[2]])),
            (2, blocked(&[7])),
            (7, sleeps(&[&[8]])),
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
    fn a_circle_over_places_says_so() {
        let mut found = graph([
            (OWN, sleeps(&[&[2, 3]])),
            (2, sleeps(&[&[2, 3]])),
            (3, sleeps(&[&[2, OWN]])),
        ]);
        found.over_worker_slots = true;
        let circle = found.circle(OWN).expect("nobody can go on");
        assert_eq!(
            circle.detail(OWN, None),
            "Process 1 waits for a background job that is queued; every worker that could take a queued job, such as process 3, waits for another queued job."
        );
        assert!(circle.hint().starts_with("Raise max_worker_processes"));
    }

    const PROCESSES: Pid = 5;

    fn wait() -> impl Strategy<Value = Wait> {
        let pids = || proptest::collection::vec(0..PROCESSES, 0..3);
        let jobs = proptest::collection::vec(pids(), 0..3);
        (pids(), jobs, proptest::bool::weighted(0.1)).prop_map(|(by, on, served)| {
            let on: Vec<&[Pid]> = on.iter().map(Vec::as_slice).collect();
            let Wait { blocked_by, .. } = blocked(&by);
            Wait {
                blocked_by,
                served,
                ..sleeps(&on)
            }
        })
    }

    proptest! {
        /// Compares with every set of processes: the sets in which each process waits only for others of the
        /// set have the stuck processes as their union.
        #[test]
        fn the_stuck_are_the_greatest_set_that_waits_for_itself(waits in proptest::collection::vec(wait(), PROCESSES as usize)) {
            let found = graph((0..).zip(waits));
            let mut greatest = BTreeSet::new();
            for bits in 0_u32..1 << PROCESSES {
                let set: BTreeSet<Pid> = (0..PROCESSES).filter(|pid| bits & 1 << pid != 0).collect();
                let keeps = |pid: &Pid| {
                    let wait = &found.waits[pid];
                    let waits = !wait.blocked_by.is_empty() || !wait.jobs.is_empty();
                    waits && !wait.can_go_on(&set)
                };
                if set.iter().all(keeps) {
                    greatest.extend(set);
                }
            }
            prop_assert_eq!(found.stuck(), greatest);
        }

        /// A process in a circle is stuck, and waits for itself by way of others.
        #[test]
        fn a_circle_leads_back(waits in proptest::collection::vec(wait(), PROCESSES as usize)) {
            let found = graph((0..).zip(waits));
            for own in 0..PROCESSES {
                if let Some(circle) = found.circle(own) {
                    let stuck = found.stuck();
                    prop_assert!(stuck.contains(&own) && stuck.contains(&circle.last));
                    prop_assert!(found.waits[&circle.last].all().any(|pid| pid == own));
                }
            }
        }
    }
}
