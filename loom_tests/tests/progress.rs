//! Progress of a running job: the sequence lock.
#![cfg(loom)]

use engine::progress::Progress;
use loom::sync::Arc;
use loom::thread;
use loom_tests::bound::unbounded;

/// Makes a report whose two parts name each other, which shows a mixture.
fn report(progress: &Progress, number: u8) {
    progress.report(u32::from(number), Some(&[number; 2]));
}

fn assert_whole(progress: &Progress) -> Option<u32> {
    let seen = progress.read()?;
    let number = seen.percent as u8;
    assert_eq!(seen.message.as_deref(), Some(&[number; 2][..]));
    Some(seen.percent)
}

/// A worker reports while a session reads. The odd sequence is visible before any part of the report, and
/// nothing is read after the second look at the sequence. So a reader that saw a part of the new report sees
/// another sequence, and reads again. A reader never sees a report older than the one before.
///
/// Two threads, unbounded but for the reader's retry, which yields. A job has one process that reports, and readers
/// write nothing: a second one changes nothing for the first.
#[test]
fn a_report_is_never_torn() {
    unbounded(|| {
        let progress = Arc::new(Progress::default());
        report(&progress, 1);
        let reader = {
            let progress = progress.clone();
            thread::spawn(move || {
                let first = assert_whole(&progress).expect("one was reported before");
                let second = assert_whole(&progress).expect("one was reported before");
                assert!(first <= second, "{second} came after {first}");
            })
        };
        report(&progress, 2);
        reader.join().unwrap();
        assert_eq!(assert_whole(&progress), Some(2));
    });
}

/// Before the first report there is none. It is never seen half.
///
/// Two threads, unbounded but for the reader's retry, which yields. As above.
#[test]
fn the_first_report_is_seen_whole_or_not_at_all() {
    unbounded(|| {
        let progress = Arc::new(Progress::default());
        let reader = {
            let progress = progress.clone();
            thread::spawn(move || {
                let seen = assert_whole(&progress);
                assert!(matches!(seen, None | Some(7)));
            })
        };
        report(&progress, 7);
        reader.join().unwrap();
    });
}
