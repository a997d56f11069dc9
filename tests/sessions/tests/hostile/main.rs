//! A hostile user can do nothing that its privileges do not allow.

mod altered;
mod attacks;
mod contexts;
mod detaching;
mod matrix;
mod statements;
mod transactions;

use postgres::Client;

/// A function of `owner` that runs any statement with the owner's privileges.
fn create_as_owner(admin: &mut Client, owner: &str) {
    admin
        .batch_execute(&format!(
            "GRANT CREATE ON SCHEMA public TO {owner};
             CREATE FUNCTION as_{owner}(sql text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
             BEGIN
                 EXECUTE sql;
             END $$;
             ALTER FUNCTION as_{owner}(text) OWNER TO {owner};
             CREATE FUNCTION job_of_{owner}(sql text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
             DECLARE
                 h public.pg_background_handle := public.pg_background_launch_v2(sql);
                 tag text;
             BEGIN
                 SELECT r.t INTO tag FROM public.pg_background_result_v2(h.pid, h.cookie) AS r (t text);
                 RETURN tag;
             END $$;
             ALTER FUNCTION job_of_{owner}(text) OWNER TO {owner}"
        ))
        .expect("functions");
}

/// The tag of a job that a function with the owner's privileges launches.
fn job_of(client: &mut Client, owner: &str, sql: &str) -> Result<String, postgres::Error> {
    client
        .query_one(&format!("SELECT job_of_{owner}($1)"), &[&sql])
        .map(|row| row.get(0))
}

/// The superusers that were created; they are dropped again.
fn gained(admin: &mut Client) -> Vec<String> {
    let made: Vec<String> = admin
        .query(
            "SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'pwned%'",
            &[],
        )
        .expect("roles")
        .iter()
        .map(|row| row.get(0))
        .collect();
    for role in &made {
        admin
            .batch_execute(&format!("DROP ROLE {role}"))
            .expect("dropped");
    }
    made
}

/// # Panics
/// When a user has become a superuser.
fn nobody_has_gained(admin: &mut Client) {
    assert_eq!(gained(admin), Vec::<String>::new());
}
