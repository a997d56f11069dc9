//! One transition as a line of a log.
//!
//! ```text
//! job 3/17: finish: running leader worker -> completed leader
//! job 3/17: free: completed -> free, generation 18
//! gate 12: enter: open -> within
//! ```
//!
//! The word and its index, with its owner if it has one; the transition; the states before and after, each a phase, the
//! number, and the flags that are set. The owner is repeated at the end if it has changed.

use crate::table::{State, Table};
use std::fmt;

/// A transition of the word with this index.
pub struct Line<'a> {
    /// The word's table.
    pub table: &'a Table,
    /// Which of the words with this table.
    pub index: u32,
    /// Index into the table's transitions.
    pub transition: usize,
    /// The state before it.
    pub before: State,
    /// The state after it.
    pub after: State,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            table,
            index,
            transition,
            before,
            after,
        } = self;
        write!(f, "{} {index}", table.word)?;
        if !table.owner.is_empty() {
            write!(f, "/{}", before.owner)?;
        }
        let name = table.transitions[*transition].name;
        write!(
            f,
            ": {name}: {} -> {}",
            table.describe(before),
            table.describe(after)
        )?;
        if before.owner != after.owner {
            write!(f, ", {} {}", table.owner, after.owner)?;
        }
        Ok(())
    }
}

#[cfg(feature = "tools")]
impl<'a> Line<'a> {
    /// Reads a line. `None`: it is about none of the words of these tables.
    ///
    /// # Errors
    /// It is about one of them, and cannot be read; says why.
    pub fn read(tables: &[&'a Table], text: &str) -> Option<Result<Self, String>> {
        let (word, rest) = text.split_once(' ')?;
        let table = tables.iter().find(|table| table.word == word)?;
        if !rest.starts_with(|first: char| first.is_ascii_digit()) || !rest.contains(" -> ") {
            return None;
        }
        Some(Self::read_rest(table, rest).ok_or_else(|| format!("not a transition: {text}")))
    }

    fn read_rest(table: &'a Table, rest: &str) -> Option<Self> {
        let (name, rest) = rest.split_once(": ")?;
        let (index, owner) = match name.split_once('/') {
            Some((index, owner)) if !table.owner.is_empty() => (index, owner.parse().ok()?),
            None if table.owner.is_empty() => (name, 0),
            _ => return None,
        };
        let (transition, states) = rest.split_once(": ")?;
        let (before, after) = states.split_once(" -> ")?;
        let (after, next_owner) = match after.split_once(", ") {
            Some((after, next)) if !table.owner.is_empty() => {
                let next = next.strip_prefix(table.owner)?.strip_prefix(' ')?;
                (after, next.parse().ok()?)
            }
            None => (after, owner),
            Some(_) => return None,
        };
        Some(Self {
            table,
            index: index.parse().ok()?,
            transition: table.transition(transition)?,
            before: read_state(table, before, owner)?,
            after: read_state(table, after, next_owner)?,
        })
    }
}

#[cfg(feature = "tools")]
fn read_state(table: &Table, text: &str, owner: u64) -> Option<State> {
    let mut words = text.split(' ');
    let phase = words.next()?;
    let phase = table.phases.iter().position(|name| *name == phase)? as u8;
    let number = if table.is_numbered(phase) {
        let number = words
            .next()?
            .strip_prefix(table.number)?
            .strip_prefix('=')?;
        number.parse().ok()?
    } else {
        0
    };
    let mut flags = 0;
    for word in words {
        flags |= 1 << table.flags.iter().position(|name| *name == word)?;
    }
    Some(State {
        owner,
        phase,
        flags,
        number,
    })
}
