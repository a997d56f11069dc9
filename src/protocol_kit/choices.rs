//! The choices of one run under shuttle, and fewer of them that still make it fail.
//!
//! # Words
//!
//! * A **choice** is something that the explorer decided and that could have been otherwise: which thread goes on at
//!   some moment, or a random number that a thread asked for.
//! * The **plain** choice is the same at all times: the thread goes on until it blocks or yields, then the next one
//!   does; a random number is the highest.
//! * [`Choices`] are those of a run that were not the plain ones. Each belongs to a thread and to a moment of that
//!   thread alone (after so many of its steps, its so many-th number). So the others keep their meaning when one is
//!   taken out.
//!
//! [`Recorder`] notes the choices of any scheduler, [`Guided`] makes them again, and [`simplify`] takes out what is not
//! needed for the failure. What is left is short enough to be read.

use shuttle::current::TaskId;
use shuttle::scheduler::{Schedule, Scheduler, Task};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A thread, and how many steps it has made or how many numbers it has been given.
type Moment = (usize, usize);

/// What a thread is given that asks for a random number and is not to have a certain one.
const PLAIN_NUMBER: u64 = u64::MAX;

/// See the module documentation.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Choices {
    /// Which thread goes on instead of the plain one.
    threads: BTreeMap<Moment, usize>,
    /// Random numbers.
    numbers: BTreeMap<Moment, u64>,
}

impl Choices {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.threads.len() + self.numbers.len()
    }

    fn without(&self, which: Which, moments: &[Moment]) -> Self {
        let mut rest = self.clone();
        for moment in moments {
            match which {
                Which::Threads => rest.threads.remove(moment).map(drop),
                Which::Numbers => rest.numbers.remove(moment).map(drop),
            };
        }
        rest
    }

    fn moments(&self, which: Which) -> Vec<Moment> {
        match which {
            Which::Threads => self.threads.keys().copied().collect(),
            Which::Numbers => self.numbers.keys().copied().collect(),
        }
    }
}

#[derive(Clone, Copy)]
enum Which {
    Threads,
    Numbers,
}

/// One run.
#[derive(Clone, Default, Debug)]
pub struct Run {
    /// The choices that were not the plain ones.
    pub choices: Choices,
    /// Steps of all threads.
    pub steps: usize,
    /// How often another thread went on than the one before.
    pub changes: usize,
    /// The thread that goes on now.
    now: Option<usize>,
    /// By thread: its steps, and the numbers that it was given.
    made: BTreeMap<usize, (usize, usize)>,
}

impl Run {
    /// The thread that goes on makes a step, then another choice is due.
    fn moment(&mut self) -> Moment {
        let Some(now) = self.now else {
            return (0, 0);
        };
        let (steps, _) = self.made.entry(now).or_default();
        *steps += 1;
        (now, *steps)
    }

    /// The thread that goes on asks for a number.
    fn number_moment(&mut self) -> Moment {
        let now = self.now.unwrap_or(0);
        let (_, numbers) = self.made.entry(now).or_default();
        *numbers += 1;
        (now, *numbers)
    }

    fn goes_on(&mut self, next: usize) {
        self.steps += 1;
        if self.now.replace(next).is_some_and(|before| before != next) {
            self.changes += 1;
        }
    }
}

/// The thread that goes on when nothing else is chosen.
fn plain(runnable: &[&Task], now: Option<usize>, is_yielding: bool) -> usize {
    let mut ids = runnable.iter().map(|task| usize::from(task.id()));
    let Some(now) = now else {
        return ids.min().expect("one can go on");
    };
    if !is_yielding && ids.clone().any(|id| id == now) {
        return now;
    }
    let next = ids.clone().filter(|id| *id > now).min();
    next.unwrap_or_else(|| ids.by_ref().min().expect("one can go on"))
}

/// The run that is going on, or the last one.
#[derive(Clone, Default)]
pub struct Recording(Arc<Mutex<Run>>);

impl Recording {
    fn run(&self) -> MutexGuard<'_, Run> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it has so far.
    #[must_use]
    pub fn get(&self) -> Run {
        self.run().clone()
    }
}

/// Notes the choices of another scheduler.
pub struct Recorder<S> {
    inner: S,
    recording: Recording,
}

impl<S> Recorder<S> {
    /// Of this one.
    #[must_use]
    pub fn new(inner: S, recording: Recording) -> Self {
        Self { inner, recording }
    }
}

impl<S: Scheduler> Scheduler for Recorder<S> {
    fn new_execution(&mut self) -> Option<Schedule> {
        let next = self.inner.new_execution()?;
        *self.recording.run() = Run::default();
        Some(next)
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let next = self.inner.next_task(runnable, current, is_yielding)?;
        let (chosen, mut run) = (usize::from(next), self.recording.run());
        let moment = run.moment();
        if chosen != plain(runnable, current.map(usize::from), is_yielding) {
            run.choices.threads.insert(moment, chosen);
        }
        run.goes_on(chosen);
        Some(next)
    }

    fn next_u64(&mut self) -> u64 {
        let number = self.inner.next_u64();
        let mut run = self.recording.run();
        let moment = run.number_moment();
        if number != PLAIN_NUMBER {
            run.choices.numbers.insert(moment, number);
        }
        number
    }
}

/// One run with these choices, as far as they are possible.
pub struct Guided {
    choices: Choices,
    run: Option<Run>,
}

impl Guided {
    /// With these.
    #[must_use]
    pub fn new(choices: Choices) -> Self {
        Self { choices, run: None }
    }
}

impl Scheduler for Guided {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.run.is_none().then(|| {
            self.run = Some(Run::default());
            Schedule::new(0)
        })
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let run = self.run.as_mut()?;
        let chosen = self.choices.threads.get(&run.moment()).copied();
        let possible =
            chosen.filter(|id| runnable.iter().any(|task| usize::from(task.id()) == *id));
        let next =
            possible.unwrap_or_else(|| plain(runnable, current.map(usize::from), is_yielding));
        run.goes_on(next);
        Some(TaskId::from(next))
    }

    fn next_u64(&mut self) -> u64 {
        let run = self.run.as_mut().expect("a run is going on");
        let moment = run.number_moment();
        let chosen = self.choices.numbers.get(&moment).copied();
        chosen.unwrap_or(PLAIN_NUMBER)
    }
}

/// Takes out choices, many at once and then single ones, as long as the run still fails. `fails` runs with choices and
/// returns the run if it failed in the same way. `may_go_on` is asked between two runs.
pub fn simplify(
    failed: Run,
    mut fails: impl FnMut(&Choices) -> Option<Run>,
    mut may_go_on: impl FnMut() -> bool,
) -> Run {
    let mut least = failed;
    loop {
        let before = least.choices.count();
        for which in [Which::Numbers, Which::Threads] {
            let mut size = least.choices.moments(which).len();
            while size > 0 {
                let mut at = 0;
                loop {
                    let moments = least.choices.moments(which);
                    let Some(part) = moments.get(at..(at + size).min(moments.len())) else {
                        break;
                    };
                    if part.is_empty() {
                        break;
                    }
                    if !may_go_on() {
                        return least;
                    }
                    match fails(&least.choices.without(which, part)) {
                        Some(run) if run.choices.count() < least.choices.count() => least = run,
                        _ => at += size,
                    }
                }
                size /= 2;
            }
        }
        if least.choices.count() == before {
            return least;
        }
    }
}
