//! Every fault at every fault point, and what must hold after it.
//!
//! ```text
//! faults [POINT ...]     with a PG_CONFIG whose server has the build with fault points; see `ci/server-tests faults`
//! ```
//!
//! The points, the faults that each allows and the occasions in which it is passed are in the library's own list
//! (`src/pg/fault/points.rs`); a point that its occasion does not pass is a failure. A stall ends in every way
//! that it can: lifted, lifted after the process was asked to exit, and, where interrupts are processed, by a
//! cancel and by a termination. Meanwhile others go on.
//!
//! | part | does |
//! |---|---|
//! | [`world`] | the server, the roles, the ledger, the observers |
//! | [`occasion`] | the actions that pass the points |
//! | [`memory`] | every allocation of a call, and of a job, as the first that fails |
//! | [`story`] | what a session has seen of its jobs, and what must be in the ledger because of that |
//!
//! After each: the server was not restarted; every job that was accepted was done once, or was reported as
//! failed and left nothing; no slot, no byte of the arena, no segment, no file is left, and no worker is
//! counted that does not exist; the next job of the same session, if it lives, and of another one runs.

mod memory;
mod occasion;
mod story;
mod world;

use occasion::Occasion;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;
use std::time::Instant;
use story::Story;
use world::World;

/// Not a point, but a failure that must never happen.
const UNDER_LOCK: &str = "under-lock";

/// Not a point: every allocation of a call, and of a job, is the first that fails.
const NO_MEMORY: &str = "no-memory";

/// A line of the library's list.
#[derive(Clone, Debug)]
pub struct Point {
    name: String,
    side: String,
    section: String,
    faults: Vec<String>,
    occasions: Vec<String>,
}

/// How a stall ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Lifted,
    ToldToGo,
    Canceled,
    Terminated,
}

/// One case of the test.
#[derive(Clone, Debug)]
struct Case {
    point: Point,
    fault: String,
    /// Of a stall.
    end: Option<End>,
    occasion: String,
    /// The fault happens at this passing, counted from 1.
    passing: i32,
}

impl Case {
    fn title(&self) -> String {
        let Point { name, side, .. } = &self.point;
        let (fault, occasion, passing) = (&self.fault, &self.occasion, self.passing);
        let end = self.end.map_or(String::new(), |end| format!(", {end:?}"));
        format!("{name} ({side}) in {occasion}, passing {passing}: {fault}{end}")
    }

    fn all_of(point: &Point) -> Vec<Self> {
        let ends = |fault: &str| match (fault, point.section.as_str()) {
            ("stall", "open") => vec![
                Some(End::Lifted),
                Some(End::ToldToGo),
                Some(End::Canceled),
                Some(End::Terminated),
            ],
            ("stall", _) => vec![Some(End::Lifted), Some(End::ToldToGo)],
            _ => vec![None],
        };
        let mut cases = Vec::new();
        for occasion in &point.occasions {
            let (occasion, passing) = match occasion.split_once('@') {
                Some((name, passing)) => (name, passing.parse().expect("a number")),
                None => (occasion.as_str(), 1),
            };
            for fault in &point.faults {
                for end in ends(fault) {
                    cases.push(Self {
                        point: point.clone(),
                        fault: fault.clone(),
                        end,
                        occasion: String::from(occasion),
                        passing,
                    });
                }
            }
        }
        cases
    }
}

/// Points in the middle of a line of the log, which is not written when they fail.
const LOSES_LINES: [&str; 2] = ["event-written", "transitions-written"];

fn main() -> ExitCode {
    let wanted: BTreeSet<String> = std::env::args().skip(1).collect();
    let start = Instant::now();
    let mut world = World::new();
    let points = world.points();
    let unknown = wanted.iter().find(|name| {
        ![UNDER_LOCK, NO_MEMORY].contains(&name.as_str())
            && !points.iter().any(|point| point.name == **name)
    });
    assert!(unknown.is_none(), "no fault point is called {unknown:?}");

    // Every occasion first without a fault: what follows starts from an arena that has grown as far as it will.
    for occasion in occasion::ALL {
        println!("without a fault: {}", occasion.name);
        let story = undisturbed(&mut world, occasion);
        world.check(&story, false);
        assert!(story.is_plain(), "{}: {story:?}", occasion.name);
    }
    world.note_segments();

    let (mut passed, mut failed) = (0, Vec::new());
    for point in points {
        if !wanted.is_empty() && !wanted.contains(&point.name) {
            continue;
        }
        if LOSES_LINES.contains(&point.name.as_str()) {
            // The transitions in the log of the former world are checked.
            world = World::new();
            world.log_lacks_lines();
        }
        for case in Case::all_of(&point) {
            println!("{}", case.title());
            if catch_unwind(AssertUnwindSafe(|| try_case(&mut world, &case))).is_ok() {
                passed += 1;
            } else {
                failed.push(case.title());
                // What it has left would fail the next ones too.
                world = World::new();
            }
        }
    }
    drop(world);
    if wanted.is_empty() || wanted.contains(UNDER_LOCK) {
        println!("an assertion that fails under the lock of the pool");
        world::an_assertion_that_fails_under_the_lock_restarts_the_server();
        passed += 1;
    }
    if wanted.is_empty() || wanted.contains(NO_MEMORY) {
        println!("no memory from each allocation on");
        match catch_unwind(memory::from_each_allocation_on) {
            Ok(()) => passed += 1,
            Err(_) => failed.push(String::from(NO_MEMORY)),
        }
    }
    for title in &failed {
        println!("FAILED: {title}");
    }
    println!(
        "faults: {passed} passed, {} failed, in {} s",
        failed.len(),
        start.elapsed().as_secs()
    );
    ExitCode::from(u8::from(!failed.is_empty()))
}

fn undisturbed(world: &mut World, occasion: &Occasion) -> Story {
    world.all_workers_leave();
    let mut scene = world.scene(occasion);
    (occasion.prepare)(&mut scene);
    (occasion.act)(&mut scene);
    scene.end()
}

/// While somebody stalls: others go on, and the stall ends unless it is to be lifted.
fn during_stall(world: &mut World, case: &Case, end: End) {
    let stalled = world.await_stall(&case.point);
    let occasion = occasion::named(&case.occasion);
    let others_wait = occasion.needs_fresh_server
        || occasion.others_wait
        || matches!(case.point.section.as_str(), "failing" | "locked");
    if !others_wait {
        world.others_go_on();
    }
    match end {
        End::Lifted => {}
        End::ToldToGo => world.signal("pg_terminate_backend", stalled),
        End::Canceled => {
            world.signal("pg_cancel_backend", stalled);
            world.await_end_of_stall(stalled);
        }
        End::Terminated => {
            world.signal("pg_terminate_backend", stalled);
            world.await_end_of_process(stalled);
        }
    }
}

/// # Panics
/// When something does not hold.
fn try_case(world: &mut World, case: &Case) {
    let occasion = occasion::named(&case.occasion);
    if occasion.needs_fresh_server {
        *world = World::new();
    } else {
        world.all_workers_leave();
    }
    let mut scene = world.scene(occasion);
    (occasion.prepare)(&mut scene);
    world.arm(&case.point, &case.fault, case.passing);
    let story = match case.end {
        None => {
            (occasion.act)(&mut scene);
            scene.end()
        }
        Some(end) => std::thread::scope(|scope| {
            let acting = scope.spawn(move || {
                (occasion.act)(&mut scene);
                scene.end()
            });
            let during = catch_unwind(AssertUnwindSafe(|| during_stall(world, case, end)));
            world.lift(&case.point);
            let story = acting.join().expect("the occasion does not panic");
            during.unwrap_or_else(|panic| resume_unwind(panic));
            story
        }),
    };
    world.assert_passed(&case.point);
    let unharmed_worker = case.point.side == "leader" && occasion.lets_jobs_run;
    world.check(&story, unharmed_worker);
}
