//! The tables as documentation: Markdown, and the life of a word as a graph for Graphviz.

use crate::table::{Edge, Number, Owner, Phases, Table};
use std::fmt::Write;

/// A table in Markdown: a row for each edge.
#[must_use]
pub fn markdown(table: &Table) -> String {
    let mut text = String::from(
        "| transition | who | from → to | changes | publishes |\n|---|---|---|---|---|\n",
    );
    for row in table.transitions {
        for (number, edge) in row.edges.iter().enumerate() {
            let (name, who, publishes) = if number == 0 {
                (format!("`{}`", row.name), row.who, row.publishes)
            } else {
                (String::new(), "", "")
            };
            let (ways, changes) = (ways(table, edge), changes(table, edge));
            writeln!(
                text,
                "| {name} | {who} | {ways} | {changes} | {publishes} |"
            )
            .expect("a string takes everything");
        }
    }
    text
}

/// `starting, running → failed, with cancel: last out`.
fn ways(table: &Table, edge: &Edge) -> String {
    let mut text = names(table, edge.from);
    if let Some(to) = destination(table, edge) {
        write!(text, " → {to}").expect("a string takes everything");
    }
    let with: Vec<_> = table.flag_names(edge.needs).collect();
    if !with.is_empty() {
        write!(text, ", with {}", with.join(", ")).expect("a string takes everything");
    }
    let without: Vec<_> = table.flag_names(edge.lacks).collect();
    if !without.is_empty() {
        write!(text, ", without {}", without.join(", ")).expect("a string takes everything");
    }
    if !edge.case.is_empty() {
        write!(text, " ({})", edge.case).expect("a string takes everything");
    }
    text
}

/// The phase that it leads to, if it leads to another.
fn destination<'a>(table: &'a Table, edge: &Edge) -> Option<&'a str> {
    let phase = match edge.owner {
        Owner::Next => Some(edge.to.unwrap_or(table.initial.phase)),
        Owner::Same | Owner::Other => edge.to,
    };
    phase.map(|phase| table.phases[usize::from(phase)])
}

fn names(table: &Table, phases: Phases) -> String {
    let all = table.phases.iter().enumerate();
    let names = all.filter(|(phase, _)| phases & (1 << phase) != 0);
    let names: Vec<_> = names.map(|(_, name)| *name).collect();
    names.join(", ")
}

fn changes(table: &Table, edge: &Edge) -> String {
    let set = table.flag_names(edge.sets).map(|name| format!("+{name}"));
    let cleared = table.flag_names(edge.clears).map(|name| format!("−{name}"));
    let mut changes: Vec<_> = set.chain(cleared).collect();
    let number = table.number;
    match edge.number {
        Number::Any => changes.push(format!("{number} is set")),
        Number::Up => changes.push(format!("{number} + 1")),
        Number::Down => changes.push(format!("{number} − 1")),
        Number::Same | Number::Zero => {}
    }
    match edge.owner {
        Owner::Same => {}
        Owner::Next => changes.push(format!("{} + 1, no flags", table.owner)),
        Owner::Other => changes.push(format!("another {}", table.owner)),
    }
    changes.join(", ")
}

/// The edges that lead from one phase to another, as a graph in Graphviz's language.
#[must_use]
pub fn graph(table: &Table) -> String {
    let mut text = format!(
        "digraph {} {{\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=10];\n",
        table.word
    );
    for phase in table.phases {
        writeln!(text, "  {phase};").expect("a string takes everything");
    }
    let mut drawn = Vec::new();
    for row in table.transitions {
        for edge in row.edges {
            let Some(to) = destination(table, edge) else {
                continue;
            };
            let all = table.phases.iter().enumerate();
            for (_, from) in all.filter(|(phase, _)| edge.from & (1 << phase) != 0) {
                let arrow = (*from, to, row.name);
                if *from != to && !drawn.contains(&arrow) {
                    writeln!(text, "  {from} -> {to} [label=\"{}\"];", row.name)
                        .expect("a string takes everything");
                    drawn.push(arrow);
                }
            }
        }
    }
    text.push_str("}\n");
    text
}
