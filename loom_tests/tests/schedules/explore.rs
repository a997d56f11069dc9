//! Runs of a world under random schedules, and the smallest run that fails.
//!
//! A **seed** stands for [`RUNS_OF_A_SEED`] runs, which are the same each time. When one fails, three things are made
//! smaller, as long as a run still fails at the same place: the scale of the world; then the random numbers that its
//! threads draw (each that is left out is the plain one: nothing special happens); then the moments at which another
//! thread goes on than the plain one ([`protocol_kit::choices`]). The last failing run is reported: its scale and seed,
//! and the transitions that it made. With that scale and seed it is found and made smaller again.

#![allow(
    clippy::result_large_err,
    reason = "a run that fails is the last one, or one of a few hundred"
)]

use crate::scale::Scale;
use crate::trace;
use protocol_kit::choices::{Choices, Guided, Recorder, Recording, Run, simplify};
use shuttle::current::TaskId;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Schedule, Scheduler, Task};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};
use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// How many preemptions a run of the second kind has at most, at points chosen beforehand.
const DEPTH: usize = 3;

/// The first one of the second kind has no preemptions: it only shows how many steps there are to choose from.
const RUNS_OF_A_SEED: usize = 8;

/// Steps after which a run is taken to go on forever. The longest have some ten thousand.
const STEPS: usize = 1_000_000;

/// The transitions that are reported, the last ones.
const LINES: usize = 60;

/// A world of this scale, from its beginning to its end.
pub type World = Arc<dyn Fn(Scale) + Send + Sync>;

/// A run that failed.
#[derive(Clone)]
pub struct Failure {
    /// Where the panic was: the file, and the line.
    place: String,
    message: String,
    run: Run,
}

/// What was found after a failure.
pub struct Smallest {
    pub scale: Scale,
    pub seed: u64,
    pub failure: Box<Failure>,
    /// Its transitions.
    lines: Vec<String>,
}

impl Smallest {
    /// How many choices are left.
    pub fn choices(&self) -> usize {
        self.failure.run.choices.count()
    }

    /// How often another thread went on.
    pub fn changes(&self) -> usize {
        self.failure.run.changes
    }
}

thread_local! {
    /// While a run is going on: its first panic, the place and the message.
    static PANIC: RefCell<Option<Option<(String, String)>>> = const { RefCell::new(None) };
}

/// Panics of runs are kept, not printed: thousands of them are tried.
fn keep_panics() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        let print = std::panic::take_hook();
        // shuttle sets its hook before its first run, and prints for each panic.
        Runner::new(RandomScheduler::new_from_seed(0, 1), config()).run(|| {});
        std::panic::set_hook(Box::new(move |panic| {
            let is_kept = PANIC.with_borrow_mut(|kept| {
                let Some(first) = kept else { return false };
                first.get_or_insert_with(|| {
                    let place = panic.location().map_or_else(String::new, |location| {
                        format!("{}:{}", location.file(), location.line())
                    });
                    let message = panic
                        .payload_as_str()
                        .unwrap_or("a panic without a message");
                    (place, String::from(message))
                });
                true
            });
            if !is_kept {
                print(panic);
            }
        }));
    });
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    config.max_steps = MaxSteps::FailAfter(STEPS);
    config.failure_persistence = FailurePersistence::None;
    config.silence_warnings = true;
    config
}

/// shuttle's random scheduler prints a seed when it is dropped after a failure: that of the schedule alone, which
/// repeats nothing here.
struct Silent(ManuallyDrop<RandomScheduler>);

impl Scheduler for Silent {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.0.new_execution()
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        self.0.next_task(runnable, current, is_yielding)
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}

/// Half of the seeds change threads at any moment. The other half does so rarely, at moments that matter more.
fn random(seed: u64) -> Box<dyn Scheduler + Send> {
    if seed.is_multiple_of(2) {
        let random = RandomScheduler::new_from_seed(seed, RUNS_OF_A_SEED);
        Box::new(Silent(ManuallyDrop::new(random)))
    } else {
        Box::new(PctScheduler::new_from_seed(seed, DEPTH, RUNS_OF_A_SEED))
    }
}

/// Runs of a world, one after the other.
pub struct Explorer {
    world: World,
    runs: u64,
}

impl Explorer {
    pub fn new(world: impl Fn(Scale) + Send + Sync + 'static) -> Self {
        keep_panics();
        Self {
            world: Arc::new(world),
            runs: 0,
        }
    }

    /// How many runs there were.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    fn attempt(
        &mut self,
        scale: Scale,
        scheduler: impl Scheduler + 'static,
    ) -> Result<(), Box<Failure>> {
        let recording = Recording::default();
        let recorder = Recorder::new(scheduler, recording.clone());
        let world = self.world.clone();
        let runs = Arc::new(Mutex::new(0));
        let counted = runs.clone();
        PANIC.set(Some(None));
        let result = catch_unwind(AssertUnwindSafe(|| {
            Runner::new(recorder, config()).run(move || {
                *counted.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                world(scale);
            })
        }));
        let panic = PANIC.take().flatten();
        self.runs += *runs.lock().unwrap_or_else(PoisonError::into_inner);
        if result.is_ok() {
            return Ok(());
        }
        let (place, message) = panic.expect("a run fails with a panic");
        let run = recording.get();
        Err(Box::new(Failure {
            place,
            message,
            run,
        }))
    }

    /// The runs of a seed.
    pub fn try_seed(&mut self, scale: Scale, seed: u64) -> Result<(), Box<Failure>> {
        self.attempt(scale, random(seed))
    }

    fn try_choices(&mut self, scale: Scale, choices: &Choices) -> Result<(), Box<Failure>> {
        self.attempt(scale, Guided::new(choices.clone()))
    }

    /// The smallest failure that is found until then. `may_scale`: also in a smaller world.
    pub fn shrink(
        &mut self,
        (mut scale, mut seed, mut failure): (Scale, u64, Box<Failure>),
        may_scale: bool,
        limit: Duration,
    ) -> Smallest {
        let began = Instant::now();
        let (half, end) = (began + limit / 2, began + limit);
        if may_scale {
            while let Some(found) = self.in_smaller_world(scale, seed, &failure, limit / 32, half) {
                (scale, seed, failure) = found;
            }
        }
        let place = failure.place.clone();
        let fails = |choices: &Choices| {
            let failed = self.try_choices(scale, choices).err()?;
            (failed.place == place).then_some(failed.run)
        };
        let run = simplify(failure.run.clone(), fails, || Instant::now() < end);
        // Once more, to see what it does.
        trace::begin();
        let last = self.try_choices(scale, &run.choices).err();
        let lines = trace::end();
        let failure = last.expect("the same choices have failed before");
        Smallest {
            scale,
            seed,
            failure,
            lines,
        }
    }

    /// A seed that fails at the same place in a world that has less of something. `each`: how long one such world is
    /// tried.
    fn in_smaller_world(
        &mut self,
        scale: Scale,
        seed: u64,
        failure: &Failure,
        each: Duration,
        end: Instant,
    ) -> Option<(Scale, u64, Box<Failure>)> {
        for smaller in scale.smaller() {
            let until = end.min(Instant::now() + each);
            let mut next = seed;
            while Instant::now() < until {
                match self.try_seed(smaller, next) {
                    Err(found) if found.place == failure.place => {
                        return Some((smaller, next, found));
                    }
                    _ => next = next.wrapping_add(1),
                }
            }
        }
        None
    }
}

fn number(variable: &str) -> Option<u64> {
    let given = std::env::var(variable).ok()?;
    let number = given.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// Explores a world of this scale for the time that was asked for, or with the seed that was given.
pub fn explore(name: &str, scale: Scale, world: impl Fn(Scale) + Send + Sync + 'static) {
    let limit = Duration::from_secs(number("PGB_SHRINK_SECONDS").unwrap_or(30));
    let given_scale = std::env::var("PGB_SCALE").ok();
    let is_given = given_scale.is_some();
    let scale = given_scale.map_or(scale, |text| {
        text.parse()
            .unwrap_or_else(|why| panic!("PGB_SCALE: {why}"))
    });
    let mut explorer = Explorer::new(world);
    let given = number("PGB_SEED");
    let first = given.unwrap_or_else(|| {
        let now = std::time::UNIX_EPOCH.elapsed();
        now.map_or(0, |now| now.as_nanos()) as u64
    });
    let until = Instant::now() + Duration::from_secs(number("PGB_SECONDS").unwrap_or(10));
    let mut seed = first;
    loop {
        if let Err(failure) = explorer.try_seed(scale, seed) {
            report(
                &mut explorer,
                name,
                (scale, seed, failure),
                !is_given,
                limit,
            );
        }
        seed = seed.wrapping_add(1);
        if given.is_some() || Instant::now() >= until {
            break;
        }
    }
    let runs = explorer.runs();
    println!("{name}: {runs} runs, seeds from {first}");
}

/// Says what failed at once, and then what the smallest failure is.
fn report(
    explorer: &mut Explorer,
    name: &str,
    failed: (Scale, u64, Box<Failure>),
    may_scale: bool,
    limit: Duration,
) -> ! {
    let (scale, seed, failure) = &failed;
    let Failure {
        place,
        message,
        run,
    } = &**failure;
    eprintln!("\n{name}: failed with PGB_SEED={seed}\n  {place}: {message}");
    if limit.is_zero() {
        panic!("{name}: failed with PGB_SEED={seed}");
    }
    let before = (*scale, run.clone());
    let (began, runs) = (Instant::now(), explorer.runs());
    let smallest = explorer.shrink(failed.clone(), may_scale, limit);
    let (scale, seed) = (smallest.scale, smallest.seed);
    let Failure {
        place,
        message,
        run,
    } = &*smallest.failure;
    let (now, then) = (run, &before.1);
    eprintln!(
        "made smaller in {} s and {} runs:\n  \
         scale    {scale}\n  before   {}\n  \
         choices  {} that matter, of {}\n  \
         changes  {} from one thread to another, of {}\n  \
         steps    {}, of {}\n  \
         again    PGB_SCALE={scale} PGB_SEED={seed}",
        began.elapsed().as_secs(),
        explorer.runs() - runs,
        before.0,
        now.choices.count(),
        then.choices.count(),
        now.changes,
        then.changes,
        now.steps,
        then.steps,
    );
    let all = smallest.lines.len();
    eprintln!("the last {} of its {all} transitions:", all.min(LINES));
    for line in &smallest.lines[all.saturating_sub(LINES)..] {
        eprintln!("  {line}");
    }
    eprintln!("  {place}: {message}");
    panic!("{name}: failed with PGB_SCALE={scale} PGB_SEED={seed}");
}
