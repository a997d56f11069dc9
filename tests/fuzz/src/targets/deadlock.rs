//! Graphs of waits, against the definition: all sets of processes are looked at.

use arbitrary::{Arbitrary, Unstructured};
use engine::deadlock::{Awaited, Needs, Pid, Sleep, Wait, find_circle};
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
    /// Bit 0: it sleeps on jobs.
    bits: u8,
    blocked_by: u8,
    needs: u8,
    jobs: u8,
}

/// The processes whose bits are set.
fn set(bits: u8) -> impl Iterator<Item = Pid> {
    (0..PROCESSES).filter(move |pid| bits & (1 << pid) != 0)
}

impl Waits {
    /// The processes on which its jobs depend.
    fn jobs(&self) -> Option<u8> {
        (self.bits & 1 != 0).then_some(self.jobs)
    }

    /// Whether it waits only for others of the set.
    fn is_stuck_in(&self, members: u8) -> bool {
        let goes_on = |jobs| set(jobs & !members).next().is_some();
        self.blocked_by & members != 0 || self.jobs().is_some_and(|jobs| !goes_on(jobs))
    }

    /// All that it waits for and that cannot go on.
    fn all(&self, stuck: u8) -> u8 {
        let jobs = self
            .jobs()
            .filter(|jobs| set(jobs & !stuck).next().is_none());
        self.blocked_by & stuck | jobs.unwrap_or(0) & stuck
    }
}

/// Any graph, seen from each of its processes.
pub fn run(bytes: &[u8]) {
    let Ok(input) = Input::arbitrary(&mut Unstructured::new(bytes)) else {
        return;
    };
    let needs = [
        Needs::Lock,
        Needs::End,
        Needs::SafeSnapshot,
        Needs::Page,
        Needs::Job,
    ];
    let wait_of = |pid: Pid| {
        let waits = &input.waits[pid as usize];
        let needs = |pid: Pid| {
            (
                pid,
                needs[(usize::from(waits.needs) + pid as usize) % needs.len()],
            )
        };
        Wait {
            blocked_by: set(waits.blocked_by).map(needs).collect(),
            sleep: waits.jobs().map(|jobs| Sleep {
                processes: Rc::new(set(jobs).collect()),
                over_worker_slots: input.over_worker_slots,
                over_slots: false,
            }),
        }
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
                    seen | input.waits[pid as usize].all(stuck)
                });
                if next == seen {
                    break;
                }
                (before, seen) = (before | next, next);
            }
        }
        let found = find_circle(own, wait_of);
        assert_eq!(found.is_some(), seen & (1 << own) != 0, "process {own}");
        let Some(circle) = found else { continue };
        let leaders: BTreeSet<Pid> = set(seen)
            .filter(|pid| input.waits[*pid as usize].jobs().is_some())
            .collect();
        assert_eq!(
            circle.first_to_give_up,
            leaders.last().copied().unwrap_or(own)
        );
        assert!(
            circle
                .detail(own, Awaited::QueuedJob)
                .starts_with(&format!("Process {own} waits for "))
        );
        assert!(!circle.hint().is_empty());
    }
}
