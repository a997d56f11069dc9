//! Whether psql printed what a page shows.
//!
//! Blank lines, and how wide a column is, do not matter. `…` in a line stands for anything, also for
//! nothing; a line that is `…` alone stands for any number of lines.

const ANYTHING: char = '…';

/// A line as it is compared: blanks and the dashes under a heading have no width.
fn normal(line: &str) -> String {
    let mut out = String::new();
    for c in line.trim().chars() {
        let same = |of: char| c == of && out.ends_with(of);
        if same('-') || (c.is_whitespace() && out.ends_with(' ')) {
            continue;
        }
        out.push(if c.is_whitespace() { ' ' } else { c });
    }
    out
}

fn lines(text: &str) -> Vec<String> {
    text.lines()
        .map(normal)
        .filter(|line| !line.is_empty())
        .collect()
}

fn line_fits(shown: &str, printed: &str) -> bool {
    let mut parts = shown.split(ANYTHING);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = printed.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn lines_fit(shown: &[String], printed: &[String]) -> bool {
    let Some((first, rest)) = shown.split_first() else {
        return printed.is_empty();
    };
    if first.chars().eq([ANYTHING]) {
        return (0..=printed.len()).any(|skipped| lines_fit(rest, &printed[skipped..]));
    }
    match printed.split_first() {
        Some((line, others)) => line_fits(first, line) && lines_fit(rest, others),
        None => false,
    }
}

/// Whether what was printed is what is shown.
pub fn fits(shown: &str, printed: &str) -> bool {
    lines_fit(&lines(shown), &lines(printed))
}
