//! A failing run is made smaller: shown with a world whose smallest failure is known.

use crate::explore::Explorer;
use crate::scale::Scale;
use crate::world::{below, once_in};
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread;
use std::time::Duration;

/// Leaders that count in two steps, of whom two at once lose a count; and others who do nothing of importance.
fn lost_update(scale: Scale) {
    let counter = Arc::new(AtomicUsize::new(0));
    let mut threads = Vec::new();
    for _ in 0..scale.leaders {
        let counter = counter.clone();
        threads.push(thread::spawn(move || {
            for _ in 0..scale.jobs_each {
                let seen = counter.load(Ordering::SeqCst);
                counter.store(seen + 1, Ordering::SeqCst);
                if once_in(2) {
                    thread::yield_now();
                }
            }
        }));
    }
    for _ in 0..scale.cancelers {
        threads.push(thread::spawn(|| {
            for _ in 0..below(5) {
                thread::yield_now();
            }
        }));
    }
    for thread in threads {
        thread.join().expect("it does not fail");
    }
    let counted = counter.load(Ordering::SeqCst);
    assert_eq!(counted, scale.leaders * scale.jobs_each, "counts were lost");
}

/// Two leaders with one count each, and nobody else. One of them is interrupted between its two steps; the one that is
/// not the first may need another choice for that. No random number matters.
#[test]
fn a_failing_run_is_made_as_small_as_it_can_be() {
    let scale = Scale {
        leaders: 4,
        jobs_each: 3,
        cancelers: 2,
        lanes: 3,
        places: 1,
        slots: 1,
        role_limit: 1,
        lane_limit: 0,
        administrators: 0,
        times_out: 0,
    };
    for first in [0, 1] {
        let mut explorer = Explorer::new(lost_update);
        let seeds = (first..1000).step_by(2);
        let failed = seeds.filter_map(|seed| Some((seed, explorer.try_seed(scale, seed).err()?)));
        let (seed, failure) = { failed }.next().expect("an update is lost now and then");
        let limit = Duration::from_secs(10);
        let smallest = explorer.shrink((scale, seed, failure), true, limit);
        let least = Scale {
            leaders: 2,
            jobs_each: 1,
            cancelers: 0,
            lanes: 1,
            ..scale
        };
        assert_eq!(smallest.scale, least);
        assert!(smallest.choices() <= 2, "{} choices", smallest.choices());
        assert!(smallest.changes() < 8, "{} changes", smallest.changes());
        // The scale and the seed that are reported fail again, and lead to the same run.
        let again = explorer.try_seed(smallest.scale, smallest.seed).err();
        let again = again.expect("the seed fails");
        let again = explorer.shrink((smallest.scale, smallest.seed, again), false, limit);
        assert_eq!(again.scale, least);
        assert_eq!(again.choices(), smallest.choices());
        assert_eq!(again.changes(), smallest.changes());
    }
}
