//! Graphs of waits, against the definition: all sets of processes are looked at.

use arbitrary::{Arbitrary, Unstructured};
use engine::deadlock::{Graph, Needs, Pid, Wait};
use std::collections::BTreeSet;
use std::rc::Rc;

/// As many as there are sets that can be looked at quickly.
const PROCESSES: u32 = 6;

#[derive(Arbitrary)]
struct Input {
    over_worker_slots: bool,
    waits: [Waits; PROCESSES as usize],
}

#[derive(Arbitrary)]
struct Waits {
    /// Bit 0: it was looked at. Bit 1: it is served. Bits 2 and 3: how many jobs it sleeps on.
    bits: u8,
    blocked_by: u8,
    needs: u8,
    jobs: [u8; 3],
}

/// The processes whose bits are set.
fn set(bits: u8) -> impl Iterator<Item = Pid> {
    (0..PROCESSES).filter(move |pid| bits & (1 << pid) != 0)
}

impl Waits {
    fn jobs(&self) -> &[u8] {
        &self.jobs[..usize::from(self.bits >> 2 & 3)]
    }

    fn is_looked_at(&self) -> bool {
        self.bits & 1 != 0
    }

    fn waits(&self) -> bool {
        set(self.blocked_by).next().is_some() || !self.jobs().is_empty()
    }

    /// Whether it waits only for others of the set.
    fn is_stuck_in(&self, members: u8) -> bool {
        let blocked = self.blocked_by & members != 0;
        let all_jobs_are = self
            .jobs()
            .iter()
            .all(|job| set(*job & !members).next().is_none());
        let sleeps = !self.jobs().is_empty() && self.bits & 2 == 0 && all_jobs_are;
        self.is_looked_at() && self.waits() && (blocked || sleeps)
    }

    fn all(&self) -> u8 {
        self.jobs()
            .iter()
            .fold(self.blocked_by, |all, job| all | job)
    }
}

/// Any graph, seen from each of its processes.
pub fn run(bytes: &[u8]) {
    let Ok(input) = Input::arbitrary(&mut Unstructured::new(bytes)) else {
        return;
    };
    let needs = [Needs::Lock, Needs::SafeSnapshot, Needs::Page, Needs::Job];
    let looked_at = (0..)
        .zip(&input.waits)
        .filter(|(_, waits)| waits.is_looked_at());
    let graph = Graph {
        waits: looked_at
            .map(|(pid, waits)| {
                let needs = |pid: Pid| (pid, needs[(usize::from(waits.needs) + pid as usize) % 4]);
                let wait = Wait {
                    blocked_by: set(waits.blocked_by).map(needs).collect(),
                    jobs: waits
                        .jobs()
                        .iter()
                        .map(|job| Rc::new(set(*job).collect()))
                        .collect(),
                    served: waits.bits & 2 != 0,
                };
                (pid, wait)
            })
            .collect(),
        over_worker_slots: input.over_worker_slots,
    };
    // The union of all sets in which each waits only for others of the set.
    let mut stuck = 0;
    for members in 0..1_u8 << PROCESSES {
        if set(members).all(|pid| input.waits[pid as usize].is_stuck_in(members)) {
            stuck |= members;
        }
    }
    for own in 0..PROCESSES {
        // All that it leads to.
        let mut seen = 0;
        if stuck & (1 << own) != 0 {
            let mut before = 1 << own;
            loop {
                let next = set(before).fold(seen, |seen, pid| {
                    seen | input.waits[pid as usize].all() & stuck
                });
                if next == seen {
                    break;
                }
                (before, seen) = (before | next, next);
            }
        }
        let found = graph.circle(own);
        assert_eq!(found.is_some(), seen & (1 << own) != 0, "process {own}");
        let Some(circle) = found else { continue };
        let leaders: BTreeSet<Pid> = set(seen)
            .filter(|pid| !input.waits[*pid as usize].jobs().is_empty())
            .collect();
        assert_eq!(
            circle.first_to_give_up,
            leaders.last().copied().unwrap_or(own)
        );
        assert!(
            circle
                .detail(own, None)
                .starts_with(&format!("Process {own} waits for "))
        );
        assert!(!circle.hint().is_empty());
    }
}
