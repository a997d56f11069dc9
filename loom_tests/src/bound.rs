//! How far a model goes.

use loom::model::Builder;

/// Accesses to shared memory in one execution, after which loom takes it to go on forever. Its own limit of a thousand
/// is too low for three processes that use the pool.
const BRANCHES: usize = 10_000;

/// Explores a model, every interleaving with at most this many preemptions: how often a thread is interrupted that
/// could go on. With `PGB_PREEMPTIONS=more` (`ci/engine models thorough`) one more.
///
/// # Panics
/// When the model fails, or the variable has another value.
pub fn checked(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let more = match std::env::var("PGB_PREEMPTIONS").as_deref() {
        Err(_) => 0,
        Ok("more") => 1,
        Ok(other) => panic!("PGB_PREEMPTIONS is `more`, not `{other}`"),
    };
    let mut model = builder();
    model.preemption_bound = Some(preemptions + more);
    model.check(body);
}

/// Explores a model, every interleaving.
///
/// # Panics
/// When the model fails.
pub fn unbounded(body: impl Fn() + Sync + Send + 'static) {
    builder().check(body);
}

fn builder() -> Builder {
    let mut model = Builder::new();
    model.max_branches = BRANCHES;
    model
}
