//! A table in Promela, the language of the model checker Spin.
//!
//! A word is a `typedef`: its phase (a constant such as `JOB_QUEUED`), a number, and a `bool` for each flag. The owner is left out. Each transition is an
//! `inline` that takes a word. It takes any of the transition's edges whose guard holds, and fails an assertion if none
//! does, so a specification cannot make a step that the table does not have. A transition with several edges also has an
//! `inline` for each of them: `job_cancel_until_it_ends`.

use crate::table::{Edge, Number, Owner, Table};
use std::fmt::Write;

/// The words of this table.
#[must_use]
pub fn words(table: &Table) -> String {
    let word = table.word;
    let mut text = format!("/* The table of the word `{word}`. */\n");
    for (number, phase) in table.phases.iter().enumerate() {
        let name = constant(word, phase);
        line(&mut text, format_args!("#define {name} {number}"));
    }
    line(
        &mut text,
        format_args!("typedef {word}_word {{ byte phase; byte number;"),
    );
    for flag in table.flags {
        line(&mut text, format_args!("    bool {flag};"));
    }
    line(&mut text, format_args!("}}"));
    for row in table.transitions {
        let edges: Vec<_> = row.edges.iter().collect();
        inline(&mut text, table, row.name, &edges);
        for edge in row.edges.iter().filter(|edge| !edge.case.is_empty()) {
            let case = edge
                .case
                .replace(|letter: char| !letter.is_alphanumeric(), "_");
            let phases: Vec<_> = (0..table.phases.len())
                .filter(|phase| edge.from & (1 << phase) != 0)
                .map(|phase| table.phases[phase])
                .collect();
            let from = phases.join("_or_");
            inline(
                &mut text,
                table,
                &format!("{}_{from}_{case}", row.name),
                &[edge],
            );
        }
    }
    text
}

/// The constant of a phase.
fn constant(word: &str, phase: &str) -> String {
    format!("{word}_{phase}").to_uppercase()
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    writeln!(text, "{words}").expect("a string takes everything");
}

fn inline(text: &mut String, table: &Table, name: &str, edges: &[&Edge]) {
    let word = table.word;
    line(text, format_args!("inline {word}_{name}(w) {{\n    if"));
    for edge in edges {
        let (guard, effect) = (guard(table, edge), effect(table, edge));
        line(
            text,
            format_args!("    :: atomic {{ {guard} -> {effect} }}"),
        );
    }
    line(
        text,
        format_args!("    :: else -> assert(false)\n    fi\n}}"),
    );
}

fn guard(table: &Table, edge: &Edge) -> String {
    let phases: Vec<_> = (0..table.phases.len())
        .filter(|phase| edge.from & (1 << phase) != 0)
        .map(|phase| format!("w.phase == {}", constant(table.word, table.phases[phase])))
        .collect();
    let mut guard = format!("({})", phases.join(" || "));
    for flag in table.flag_names(edge.needs) {
        write!(guard, " && w.{flag}").expect("a string takes everything");
    }
    for flag in table.flag_names(edge.lacks) {
        write!(guard, " && !w.{flag}").expect("a string takes everything");
    }
    // A count that goes down to 0 or not is in another phase then.
    if edge.number == Number::Down {
        let last = if edge.to.is_some() { "==" } else { ">" };
        write!(guard, " && w.number {last} 1").expect("a string takes everything");
    }
    guard
}

fn effect(table: &Table, edge: &Edge) -> String {
    let mut effect = Vec::new();
    if edge.owner == Owner::Next {
        let initial = table.initial.phase;
        effect.push(format!("w.phase = {initial}; w.number = 0"));
        effect.extend(table.flags.iter().map(|flag| format!("w.{flag} = false")));
    }
    if let Some(phase) = edge.to {
        let phase = table.phases[usize::from(phase)];
        effect.push(format!("w.phase = {}", constant(table.word, phase)));
    }
    effect.extend(
        table
            .flag_names(edge.clears)
            .map(|flag| format!("w.{flag} = false")),
    );
    effect.extend(
        table
            .flag_names(edge.sets)
            .map(|flag| format!("w.{flag} = true")),
    );
    match edge.number {
        Number::Same | Number::Any => {}
        Number::Zero => effect.push(String::from("w.number = 0")),
        Number::Up => effect.push(String::from("w.number++")),
        Number::Down => effect.push(String::from("w.number--")),
    }
    if effect.is_empty() {
        effect.push(String::from("skip"));
    }
    effect.join("; ")
}
