//! Markdown for the pages.

use std::fmt::Write as _;

/// A table in Markdown: the first line is the head.
pub fn table(lines: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = String::new();
    for (index, cells) in lines.into_iter().enumerate() {
        let _ = writeln!(text, "| {} |", cells.join(" | ").replace('\n', " "));
        if index == 0 {
            let _ = writeln!(text, "|{}", "---|".repeat(cells.len()));
        }
    }
    text.trim_end().to_owned()
}
