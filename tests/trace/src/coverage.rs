//! Which arcs of the tables were reached, and by what: the matrix in `docs/models.md`.

use crate::all_arcs;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

/// What reaches arcs: the name of its file in `target/coverage`, and the title of its column.
pub const COLUMNS: [(&str, &str); 6] = [
    ("unit", "unit and property tests"),
    ("models", "models"),
    ("schedules", "schedules"),
    ("suite", "tests on a server"),
    ("chaos", "chaos"),
    ("faults", "faults"),
];

/// What was reached.
pub struct Coverage {
    /// For each column that has run: its index in [`COLUMNS`], and its arcs.
    columns: Vec<(usize, BTreeSet<String>)>,
}

impl Coverage {
    /// Reads the files in this directory. A column without a file has not run.
    ///
    /// # Errors
    /// A file names an arc that no table has: it is older than the tables.
    pub fn read(directory: &Path) -> Result<Self, String> {
        let known: BTreeSet<String> = all_arcs().collect();
        let mut columns = Vec::new();
        for (index, (name, _)) in COLUMNS.iter().enumerate() {
            let Ok(text) = std::fs::read_to_string(directory.join(name)) else {
                continue;
            };
            let arcs: BTreeSet<String> = text.lines().map(String::from).collect();
            if let Some(unknown) = arcs.difference(&known).next() {
                return Err(format!("{name}: no table has the arc `{unknown}`"));
            }
            columns.push((index, arcs));
        }
        Ok(Self { columns })
    }

    /// The titles of the columns that have not run.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        let has_run = |index| self.columns.iter().any(|(column, _)| *column == index);
        let titles = COLUMNS.iter().enumerate();
        titles
            .filter(move |(index, _)| !has_run(*index))
            .map(|(_, (_, title))| *title)
    }

    /// The arcs that nothing has reached.
    #[must_use]
    pub fn gaps(&self) -> Vec<String> {
        let is_gap = |arc: &String| !self.columns.iter().any(|(_, arcs)| arcs.contains(arc));
        all_arcs().filter(is_gap).collect()
    }

    /// How many arcs each column has reached.
    #[must_use]
    pub fn summary(&self) -> String {
        let all = all_arcs().count();
        let mut text = String::new();
        for (index, arcs) in &self.columns {
            writeln!(text, "{}: {} of {all} arcs", COLUMNS[*index].1, arcs.len())
                .expect("a string takes everything");
        }
        text
    }

    /// The matrix in Markdown.
    #[must_use]
    pub fn matrix(&self) -> String {
        let titles = self.columns.iter().map(|(index, _)| COLUMNS[*index].1);
        let titles: Vec<_> = titles.collect();
        let mut text = format!("| arc | {} |\n|---|", titles.join(" | "));
        text.push_str(&"---|".repeat(titles.len()));
        text.push('\n');
        for arc in all_arcs() {
            write!(text, "| {arc} |").expect("a string takes everything");
            for (_, arcs) in &self.columns {
                text.push_str(if arcs.contains(&arc) { " ● |" } else { " |" });
            }
            text.push('\n');
        }
        text
    }
}

const BEGIN: &str = "<!-- coverage: printed by ci/engine coverage publish -->\n";
const END: &str = "<!-- end of coverage -->\n";

/// What the page says between the marks.
///
/// # Errors
/// A mark is missing.
pub fn published(page: &str) -> Result<&str, String> {
    let (_, rest) = page
        .split_once(BEGIN)
        .ok_or_else(|| format!("no line {BEGIN}"))?;
    let (matrix, _) = rest
        .split_once(END)
        .ok_or_else(|| format!("no line {END}"))?;
    Ok(matrix)
}

/// The page with another matrix.
///
/// # Errors
/// A mark is missing.
pub fn publish(page: &str, matrix: &str) -> Result<String, String> {
    let old = published(page)?;
    Ok(page.replacen(
        &format!("{BEGIN}{old}{END}"),
        &format!("{BEGIN}{matrix}{END}"),
        1,
    ))
}
