//! An error in the format of the wire protocol, cut to fit.
//!
//! PostgreSQL hands over an error as the body of an `ErrorResponse` message (protocol version 3, section
//! "Error and Notice Message Fields"): fields of one type byte and a zero-terminated text, then a zero
//! byte. The outcome record keeps that body, because the reader's server can parse it back into an error
//! with every field.

#![allow(
    clippy::disallowed_methods,
    reason = "what is put together here is short, or cut to a limit of the caller's"
)]

/// Field type of the SQLSTATE.
pub const SQLSTATE: u8 = b'C';
/// Field type of the primary message.
pub const PRIMARY: u8 = b'M';
/// Field type of the severity, not translated.
const SEVERITY: u8 = b'V';

/// An SQLSTATE.
pub type Sqlstate = [u8; 5];

/// `connection_failure`.
pub const CONNECTION_FAILURE: Sqlstate = *b"08006";
/// `query_canceled`.
pub const QUERY_CANCELED: Sqlstate = *b"57014";
/// `admin_shutdown`.
pub const ADMIN_SHUTDOWN: Sqlstate = *b"57P01";

/// Fields of any length; all others are short.
const LONG: &[u8] = b"MDHWq";

/// The fields of `body`: type and text.
fn fields(body: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let (&kind, text) = rest.split_first().filter(|(kind, _)| **kind != 0)?;
        let end = text.iter().position(|&byte| byte == 0)?;
        rest = &text[end + 1..];
        Some((kind, &text[..end]))
    })
}

/// The text of the field `kind`.
#[must_use]
pub fn field(body: &[u8], kind: u8) -> Option<&[u8]> {
    fields(body)
        .find(|(found, _)| *found == kind)
        .map(|(_, text)| text)
}

/// Whether the message is an error (or worse), by its severity.
#[must_use]
pub fn is_fatal(body: &[u8]) -> bool {
    field(body, SEVERITY).is_some_and(|severity| severity == b"FATAL" || severity == b"PANIC")
}

/// `body`, if it has at most `limit` bytes. Otherwise with its long texts cut until it fits. `clip(text,
/// limit)` returns how many bytes of a text, at most `limit`, are whole characters.
#[must_use]
pub fn fit(body: &[u8], limit: usize, clip: impl Fn(&[u8], usize) -> usize) -> Vec<u8> {
    if body.len() <= limit {
        return body.to_vec();
    }
    let long = |kind: u8| LONG.contains(&kind);
    let short: usize = fields(body)
        .filter(|(kind, _)| !long(*kind))
        .map(|(_, text)| text.len() + 2)
        .sum();
    let count = fields(body).filter(|(kind, _)| long(*kind)).count();
    let each = (limit.saturating_sub(short + 1) / count.max(1)).saturating_sub(2);
    let mut out = Vec::with_capacity(limit);
    for (kind, text) in fields(body) {
        let kept = if long(kind) && text.len() > each {
            clip(text, each)
        } else {
            text.len()
        };
        if out.len() + kept + 3 > limit {
            continue;
        }
        out.push(kind);
        out.extend_from_slice(&text[..kept]);
        out.push(0);
    }
    out.push(0);
    out
}

/// Composes a message of severity ERROR.
#[must_use]
pub fn compose(sqlstate: Sqlstate, primary: &str, detail: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    let parts = [
        (b'S', Some(&b"ERROR"[..])),
        (SEVERITY, Some(b"ERROR")),
        (SQLSTATE, Some(&sqlstate)),
        (PRIMARY, Some(primary.as_bytes())),
        (b'D', detail.map(str::as_bytes)),
    ];
    for (kind, text) in parts {
        if let Some(text) = text {
            out.push(kind);
            out.extend_from_slice(text);
            out.push(0);
        }
    }
    out.push(0);
    out
}

/// The SQLSTATE of a message.
#[must_use]
pub fn sqlstate(body: &[u8]) -> Option<Sqlstate> {
    field(body, SQLSTATE)?.try_into().ok()
}

/// The error of a job whose process has ended without reporting one.
#[must_use]
#[allow(clippy::disallowed_macros, reason = "a number")]
pub fn lost_connection(pid: i32) -> Vec<u8> {
    compose(
        CONNECTION_FAILURE,
        &format!("lost connection to worker process with PID {pid}"),
        None,
    )
}

/// The error of a job that was canceled before it began.
#[must_use]
pub fn canceled_before_it_began() -> Vec<u8> {
    compose(
        QUERY_CANCELED,
        "canceling statement due to user request",
        Some("The job was canceled before it began."),
    )
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clip(_text: &[u8], limit: usize) -> usize {
        limit
    }

    #[test]
    fn a_composed_message_has_its_fields() {
        let body = compose(CONNECTION_FAILURE, "lost", Some("why"));
        assert_eq!(sqlstate(&body), Some(CONNECTION_FAILURE));
        assert_eq!(field(&body, PRIMARY), Some(&b"lost"[..]));
        assert_eq!(field(&body, b'D'), Some(&b"why"[..]));
        assert_eq!(field(&body, b'H'), None);
        assert!(!is_fatal(&body));
    }

    #[test]
    fn the_short_fields_survive_a_cut() {
        let body = compose(*b"22012", &"x".repeat(5000), Some(&"y".repeat(5000)));
        let cut = fit(&body, 1000, clip);
        assert!(cut.len() <= 1000 && cut.len() > 900);
        assert_eq!(sqlstate(&cut), Some(*b"22012"));
        assert!(field(&cut, PRIMARY).unwrap().len() > 400);
        assert!(field(&cut, b'D').unwrap().len() > 400);
    }

    #[test]
    fn a_cut_uses_the_room_that_there_is() {
        let body = compose(*b"22012", &"x".repeat(5000), Some(&"y".repeat(5000)));
        // Of an odd number of bytes, one cannot be shared.
        for limit in [1000, 1001] {
            let cut = fit(&body, limit, clip);
            assert_eq!(cut.len(), 1000);
            assert_eq!(field(&cut, PRIMARY).map(<[u8]>::len), Some(487));
            assert_eq!(field(&cut, b'D').map(<[u8]>::len), Some(487));
        }
        let whole = fit(&body, body.len(), |_, _| unreachable!("it fits"));
        assert_eq!(whole, body);
    }

    #[test]
    fn the_severity_says_whether_the_process_ends() {
        for (severity, fatal) in [
            ("ERROR", false),
            ("FATAL", true),
            ("PANIC", true),
            ("LOG", false),
        ] {
            let body = format!("SFEHLER\0V{severity}\0C57P01\0\0");
            assert_eq!(is_fatal(body.as_bytes()), fatal, "{severity}");
        }
        assert!(!is_fatal(b"\0"));
    }

    #[test]
    fn a_job_without_an_error_of_its_own_gets_one() {
        let lost = lost_connection(42);
        assert_eq!(sqlstate(&lost), Some(CONNECTION_FAILURE));
        let primary = field(&lost, PRIMARY);
        assert_eq!(
            primary,
            Some(&b"lost connection to worker process with PID 42"[..])
        );
        let canceled = canceled_before_it_began();
        assert_eq!(sqlstate(&canceled), Some(QUERY_CANCELED));
        assert!(field(&canceled, b'D').is_some());
    }

    proptest! {
        #[test]
        fn whatever_is_cut_can_be_parsed(
            texts in proptest::collection::vec((prop::sample::select(b"SVCMDHPWqstcdnFLR".to_vec()), "[a-z]{0,300}"), 0..17),
            limit in 100..2000_usize,
        ) {
            let mut body = Vec::new();
            for (kind, text) in &texts {
                body.push(*kind);
                body.extend_from_slice(text.as_bytes());
                body.push(0);
            }
            body.push(0);
            let cut = fit(&body, limit, clip);
            prop_assert!(cut.len() <= limit);
            prop_assert_eq!(cut.last(), Some(&0));
            let bytes: usize = fields(&cut).map(|(_, text)| text.len() + 2).sum();
            prop_assert_eq!(bytes + 1, cut.len());
        }
    }
}
