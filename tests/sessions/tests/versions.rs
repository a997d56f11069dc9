//! Features of newer servers that jobs must respect.

use session_tests::*;

#[test]
fn a_role_that_may_not_be_set_any_more_is_not_set_for_a_job() {
    let database = Database::new();
    let mut admin = database.session();
    if major_version(&mut admin) < 16 {
        return; // every membership has that right
    }
    let (user, other) = (Role::new(), Role::new());
    admin
        .batch_execute(&format!("GRANT {} TO {}", other.name, user.name))
        .expect("a member");
    let mut leader = database.session_as(&user.name);
    leader
        .batch_execute(&format!("SET ROLE {}", other.name))
        .expect("it may");
    let as_whom = "SELECT current_user::text";
    assert_eq!(
        run(&mut leader, as_whom).as_deref(),
        Some(other.name.as_str())
    );
    admin
        .batch_execute(&format!(
            "GRANT {} TO {} WITH SET FALSE",
            other.name, user.name
        ))
        .expect("still a member");
    assert_eq!(sqlstate(try_run(&mut leader, as_whom)), "42501");
    leader.batch_execute("RESET ROLE").expect("its own");
    assert_eq!(
        run(&mut leader, as_whom).as_deref(),
        Some(user.name.as_str())
    );
}

#[test]
fn transaction_timeout_ends_the_job_and_its_lane_goes_on() {
    let database = Database::new();
    let witness = Witness::new();
    let mut leader = database.session();
    if major_version(&mut leader) < 17 {
        return; // no such setting
    }
    leader
        .batch_execute("SET transaction_timeout = '1s'")
        .expect("a setting");
    // The session's own transactions are short.
    let slow = launch(&mut leader, "SELECT pg_sleep(60)::text");
    leader
        .batch_execute("SET transaction_timeout = 0")
        .expect("a setting");
    assert_eq!(sqlstate(try_result(&mut leader, slow)), "25P04");
    assert_eq!(run(&mut leader, "SELECT 'next'").as_deref(), Some("next"));
    nothing_is_left(&mut leader);
    witness.check();
}

#[test]
fn waits_have_names() {
    let database = Database::new();
    let mut observer = database.session();
    if major_version(&mut observer) < 17 {
        return; // all extensions' waits are called Extension
    }
    let mut leader = database.session();
    let pid: i32 = value(&mut leader, "SELECT pg_backend_pid()");
    let job = launch(&mut leader, "SELECT pg_sleep(60)");
    let waiting = std::thread::spawn(move || {
        let _ = try_result(&mut leader, job);
    });
    let sleeps_in = |what: &str, who: &str| {
        format!(
            "(SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND {who}
                AND wait_event_type = 'Extension' AND wait_event = '{what}')"
        )
    };
    eventually(
        &mut observer,
        &sleeps_in("PgBackgroundWait", &format!("pid = {pid}")),
    );
    observer
        .batch_execute(&format!("SELECT pg_cancel_backend({pid})"))
        .expect("canceled");
    waiting.join().expect("the wait ends");
    run(&mut observer, "SELECT 1");
    eventually(
        &mut observer,
        &sleeps_in("PgBackgroundIdle", "backend_type = 'pg_background'"),
    );
}
