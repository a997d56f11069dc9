//! The output: the table on the terminal, the page and its pictures, the raw figures.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::Outcome;
use crate::conditions::Conditions;
use crate::markdown::table;
use crate::plot::Chart;
use crate::series::{Series, figure};

/// What the figures must be.
#[derive(Clone, Copy)]
pub enum Target {
    None,
    AtMost(f64),
    AtLeast(f64),
    AtMostTimesPeer(f64),
    AtLeastTimesPeer(f64),
}

impl Target {
    fn is_met(self, ours: f64, peer: f64) -> Option<bool> {
        match self {
            Self::None => None,
            Self::AtMost(limit) => Some(ours <= limit),
            Self::AtLeast(limit) => Some(ours >= limit),
            Self::AtMostTimesPeer(limit) => Some(ours / peer <= limit),
            Self::AtLeastTimesPeer(limit) => Some(ours / peer >= limit),
        }
    }

    fn text(self) -> String {
        match self {
            Self::None => String::new(),
            Self::AtMost(limit) => format!("≤ {limit}"),
            Self::AtLeast(limit) => format!("≥ {limit}"),
            Self::AtMostTimesPeer(limit) => format!("≤ {limit} × peer"),
            Self::AtLeastTimesPeer(limit) => format!("≥ {limit} × peer"),
        }
    }
}

/// One line of the main table.
pub struct Row {
    pub id: &'static str,
    pub what: String,
    pub ours: Series,
    pub peer: Option<Series>,
    pub target: Target,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        let ratio = self.ours.median() / self.peer.as_ref()?.median();
        ratio.is_finite().then_some(ratio)
    }

    fn cells(&self) -> Vec<String> {
        let peer = self.peer.as_ref();
        let met = self
            .target
            .is_met(self.ours.median(), peer.map_or(f64::NAN, Series::median));
        vec![
            self.id.to_owned(),
            self.what.clone(),
            self.ours.to_string(),
            peer.map(ToString::to_string).unwrap_or_default(),
            self.ratio().map_or_else(String::new, figure),
            self.target.text(),
            met.map_or("", |met| if met { "yes" } else { "no" })
                .to_owned(),
        ]
    }

    /// To the terminal, as soon as there is something to see.
    pub fn print(&self) {
        print_cells(&self.cells());
    }
}

/// Heads of the main table; `ours` and `peer` name the two sides.
pub fn heads(ours: &str, peer: &str) -> Vec<String> {
    ["", "measure", ours, peer, "ratio", "must reach", "met"]
        .map(str::to_owned)
        .to_vec()
}

pub fn print_cells(cells: &[String]) {
    const WIDTHS: [usize; 7] = [4, 44, 26, 26, 6, 14, 3];
    let line: Vec<String> = WIDTHS
        .iter()
        .zip(cells)
        .map(|(&width, cell)| format!("{cell:<width$}"))
        .collect();
    println!("{}", line.join(" ").trim_end());
}

/// The rows as a table in Markdown; without targets it needs no columns for them.
pub fn rows(heads: Vec<String>, rows: &[Row]) -> String {
    let has_targets = rows.iter().any(|row| !matches!(row.target, Target::None));
    let columns = if has_targets {
        heads.len()
    } else {
        heads.len() - 2
    };
    let lines = std::iter::once(heads).chain(rows.iter().map(Row::cells));
    table(lines.map(|cells| cells[..columns].to_vec()))
}

/// A picture of one question, with the figures that it shows.
pub struct Picture {
    /// Name of its file, and of its placeholder in the page.
    pub name: &'static str,
    pub chart: Chart,
    /// In Markdown.
    pub table: String,
    /// Every figure, with what it is of.
    pub raw: Vec<(String, Series)>,
}

/// File name of the page about another version.
pub const COMPARED: &str = "compared.md";

/// The page about another version of the extension.
pub fn compared(conditions: &Conditions, rows_: &[Row]) -> String {
    include_str!("compared.md")
        .replace("{{conditions}}", &conditions.table())
        .replace("{{rows}}", &rows(heads("ours", "other"), rows_))
}

/// The page is a text with a placeholder `{{name}}` for each of these.
const PAGE: &str = include_str!("page.md");
const PLACEHOLDERS: [&str; 6] = ["latency", "parallel", "clients", "width", "queue", "steps"];

/// Writes page and pictures into `pages`, the raw figures into `raw`.
pub fn write(
    pages: &Path,
    raw: &Path,
    conditions: &Conditions,
    rows_: &[Row],
    pictures: &[Picture],
) -> Outcome<()> {
    fs::create_dir_all(pages)?;
    fs::create_dir_all(raw)?;
    let mut page = PAGE.replace("{{conditions}}", &conditions.table()).replace(
        "{{targets}}",
        &rows(heads("pg_background", "dblink"), rows_),
    );
    for name in PLACEHOLDERS {
        let content = match pictures.iter().find(|picture| picture.name == name) {
            None => "Not measured in this run.".to_owned(),
            Some(picture) => {
                fs::write(pages.join(format!("{name}.svg")), picture.chart.to_svg()?)?;
                let alt = picture.chart.title;
                format!("![{alt}]({name}.svg)\n\n{}", picture.table)
            }
        };
        page = page.replace(&format!("{{{{{name}}}}}"), &content);
    }
    let compared = match pages.join(COMPARED).exists() {
        true => "The C extension: [beside another version](compared.md).",
        false => "`ci/bench compare` measures the same beside another version of the extension.",
    };
    let page = page.replace("{{compared}}", compared);
    fs::write(pages.join("README.md"), page)?;
    fs::write(raw.join("rounds.csv"), raw_figures(rows_, pictures))?;
    Ok(())
}

fn raw_figures(rows: &[Row], pictures: &[Picture]) -> String {
    let mut text = String::from("measure,side,batch,value\n");
    let mut add = |measure: &str, side: &str, series: &Series| {
        for (batch, value) in series.rounds() {
            let _ = writeln!(text, "\"{measure}\",\"{side}\",{batch},{value}");
        }
    };
    for row in rows {
        let measure = format!("{} {}", row.id, row.what);
        add(&measure, "ours", &row.ours);
        if let Some(peer) = &row.peer {
            add(&measure, "peer", peer);
        }
    }
    for picture in pictures {
        for (side, series) in &picture.raw {
            add(picture.name, side, series);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(target: Target) -> Row {
        let series = |value| {
            let mut series = Series::default();
            series.push(vec![value]);
            series
        };
        Row {
            id: "T0",
            what: "nothing".into(),
            ours: series(3.0),
            peer: Some(series(4.0)),
            target,
        }
    }

    #[test]
    fn a_target_is_met_or_not() {
        let met = |target| row(target).cells().pop().unwrap();
        assert_eq!(met(Target::AtMost(3.0)), "yes");
        assert_eq!(met(Target::AtMost(2.9)), "no");
        assert_eq!(met(Target::AtLeast(3.1)), "no");
        assert_eq!(met(Target::AtMostTimesPeer(0.75)), "yes");
        assert_eq!(met(Target::AtLeastTimesPeer(0.8)), "no");
        assert_eq!(met(Target::None), "");
    }

    #[test]
    fn a_table_has_a_line_under_its_head() {
        let text = rows(heads("a", "b"), &[row(Target::None)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "|---|---|---|---|---|");
        assert_eq!(lines[2], "| T0 | nothing | 3 | 4 | 0.75 |");
        let text = rows(heads("a", "b"), &[row(Target::AtMost(5.0))]);
        assert!(text.ends_with("| T0 | nothing | 3 | 4 | 0.75 | ≤ 5 | yes |"));
    }

    #[test]
    fn the_page_has_a_placeholder_for_everything() {
        for name in PLACEHOLDERS
            .iter()
            .chain(&["conditions", "targets", "compared"])
        {
            assert!(PAGE.contains(&format!("{{{{{name}}}}}")), "{name}");
        }
        assert_eq!(PAGE.matches("{{").count(), PLACEHOLDERS.len() + 3);
    }
}
