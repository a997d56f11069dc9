//! The transitions of a word, as data.
//!
//! # Words
//!
//! * A **word** is an atomic integer that holds the whole state of something. It is changed by read-modify-writes only.
//! * Its **state** is the word decoded: a *phase*, *flags*, a *number* (an index or a count), and the *owner*: what it
//!   belongs to at the moment, of which there is a new one each time (a generation, a role).
//! * A **transition** is what a function does to the word. It has one or more **edges**: a transition that ends a job
//!   has one for each way to end. An edge says from which phases it leads, which flags it needs and which must be
//!   clear, and what it changes. What an edge does not mention stays as it is.
//! * An edge from one phase is an **arc**: the unit of coverage.
//!
//! A table is checked against every transition that is made (`coverage`), against the log of a server (`replay`),
//! and printed as documentation. So it cannot say anything else than the code does.

use std::fmt;

/// A word, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct State {
    /// What the word belongs to at the moment.
    pub owner: u64,
    /// Index into [`Table::phases`].
    pub phase: u8,
    /// Bit i stands for `Table::flags[i]`.
    pub flags: u16,
    /// The index or count in the word; 0 if it has none.
    pub number: u32,
}

/// Phases, as a set of bits.
pub type Phases = u16;

/// The transitions of one kind of word.
pub struct Table {
    /// What the word is called: `job`.
    pub word: &'static str,
    /// What the owner is called: `generation`.
    pub owner: &'static str,
    /// What the number is called; empty: the word has none.
    pub number: &'static str,
    /// The phases in which the word has it. In the others it is 0, and is not shown.
    pub numbered: Phases,
    /// The names of the phases.
    pub phases: &'static [&'static str],
    /// The names of the flags.
    pub flags: &'static [&'static str],
    /// The state of a word that nothing has happened to.
    pub initial: State,
    /// Decodes the word.
    pub decode: fn(u64) -> State,
    /// The transitions. Code names one by its index.
    pub transitions: &'static [Transition],
}

/// What a function does to the word.
pub struct Transition {
    /// The function's name.
    pub name: &'static str,
    /// Who calls it, for people.
    pub who: &'static str,
    /// What others can see after it, for people.
    pub publishes: &'static str,
    /// What it may do.
    pub edges: &'static [Edge],
}

/// Who takes an edge, as long as the owner is the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The process that was the first to take an edge of this side.
    A,
    /// The same, for another side.
    B,
    /// Any process.
    Any,
}

/// What becomes of the owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The same.
    Same,
    /// The next one. Phase, flags and number are then the initial ones, but for what the edge says.
    Next,
    /// Another one, whichever.
    Other,
}

/// What becomes of the number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Number {
    /// The same.
    Same,
    /// Any.
    Any,
    /// 0.
    Zero,
    /// One more.
    Up,
    /// One less.
    Down,
}

/// One way in which a transition may change the word.
pub struct Edge {
    /// In which case, for people: `last out`. Empty: there is one case.
    pub case: &'static str,
    /// The phases that it leads from.
    pub from: Phases,
    /// Flags that have to be set.
    pub needs: u16,
    /// Flags that have to be clear.
    pub lacks: u16,
    /// The phase that it leads to; `None`: the same.
    pub to: Option<u8>,
    /// Flags that it sets.
    pub sets: u16,
    /// Flags that it clears.
    pub clears: u16,
    /// What becomes of the number.
    pub number: Number,
    /// What becomes of the owner.
    pub owner: Owner,
    /// Which side takes it.
    pub side: Side,
}

impl Edge {
    /// An edge from these phases that changes nothing yet.
    #[must_use]
    pub const fn from(from: Phases) -> Self {
        Self {
            case: "",
            from,
            needs: 0,
            lacks: 0,
            to: None,
            sets: 0,
            clears: 0,
            number: Number::Same,
            owner: Owner::Same,
            side: Side::Any,
        }
    }

    /// In this case.
    #[must_use]
    pub const fn case(mut self, case: &'static str) -> Self {
        self.case = case;
        self
    }

    /// These flags have to be set.
    #[must_use]
    pub const fn needs(mut self, flags: u16) -> Self {
        self.needs = flags;
        self
    }

    /// These flags have to be clear.
    #[must_use]
    pub const fn lacks(mut self, flags: u16) -> Self {
        self.lacks = flags;
        self
    }

    /// It leads to this phase.
    #[must_use]
    pub const fn to(mut self, phase: u8) -> Self {
        self.to = Some(phase);
        self
    }

    /// It sets these flags.
    #[must_use]
    pub const fn sets(mut self, flags: u16) -> Self {
        self.sets = flags;
        self
    }

    /// It clears these flags.
    #[must_use]
    pub const fn clears(mut self, flags: u16) -> Self {
        self.clears = flags;
        self
    }

    /// It changes the number.
    #[must_use]
    pub const fn number(mut self, number: Number) -> Self {
        self.number = number;
        self
    }

    /// It changes the owner.
    #[must_use]
    pub const fn owner(mut self, owner: Owner) -> Self {
        self.owner = owner;
        self
    }

    /// This side takes it.
    #[must_use]
    pub const fn side(mut self, side: Side) -> Self {
        self.side = side;
        self
    }

    /// Whether it leads from one state to the other.
    #[must_use]
    pub fn leads(&self, initial: &State, before: &State, after: &State) -> bool {
        let may_begin = self.from & (1 << before.phase) != 0
            && before.flags & self.needs == self.needs
            && before.flags & self.lacks == 0;
        let base = match self.owner {
            Owner::Same | Owner::Other => before,
            Owner::Next => initial,
        };
        let owner_fits = match self.owner {
            Owner::Same => after.owner == before.owner,
            Owner::Next | Owner::Other => after.owner != before.owner,
        };
        let number_fits = match self.number {
            Number::Same => after.number == base.number,
            Number::Any => true,
            Number::Zero => after.number == 0,
            Number::Up => before.number.checked_add(1) == Some(after.number),
            Number::Down => before.number.checked_sub(1) == Some(after.number),
        };
        may_begin
            && owner_fits
            && number_fits
            && after.phase == self.to.unwrap_or(base.phase)
            && after.flags == (base.flags & !self.clears) | self.sets
    }
}

/// An edge from one of its phases.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Arc {
    /// Index into [`Table::transitions`].
    pub transition: usize,
    /// Index into [`Transition::edges`].
    pub edge: usize,
    /// Index into [`Table::phases`].
    pub from: u8,
}

impl Table {
    /// The arc from one state to the other, of this transition.
    #[must_use]
    pub fn find(&self, transition: usize, before: &State, after: &State) -> Option<Arc> {
        let edges = self.transitions[transition].edges.iter();
        let edge = edges
            .enumerate()
            .find(|(_, edge)| edge.leads(&self.initial, before, after))?
            .0;
        let from = before.phase;
        Some(Arc {
            transition,
            edge,
            from,
        })
    }

    /// All arcs.
    pub fn arcs(&self) -> impl Iterator<Item = Arc> {
        let edges = self
            .transitions
            .iter()
            .enumerate()
            .flat_map(|(transition, row)| {
                let edges = row.edges.iter().enumerate();
                edges.map(move |(edge, row)| (transition, edge, row.from))
            });
        edges.flat_map(|(transition, edge, phases)| {
            let phases = (0..Phases::BITS as u8).filter(move |from| phases & (1 << from) != 0);
            phases.map(move |from| Arc {
                transition,
                edge,
                from,
            })
        })
    }

    /// The name of an arc: `detach running`, or with its case `finish running, last out`.
    #[cfg(any(feature = "tools", feature = "check"))]
    #[must_use]
    pub fn arc_name(&self, arc: Arc) -> String {
        let transition = &self.transitions[arc.transition];
        let phase = self.phases[usize::from(arc.from)];
        match transition.edges[arc.edge].case {
            "" => format!("{} {phase}", transition.name),
            case => format!("{} {phase}, {case}", transition.name),
        }
    }

    /// The transition of this name.
    #[must_use]
    pub fn transition(&self, name: &str) -> Option<usize> {
        self.transitions.iter().position(|row| row.name == name)
    }

    /// Whether the word has a number in this phase.
    #[must_use]
    pub fn is_numbered(&self, phase: u8) -> bool {
        self.numbered & (1 << phase) != 0
    }

    /// The names of these flags.
    pub fn flag_names(&self, flags: u16) -> impl Iterator<Item = &'static str> {
        let named = self.flags.iter().enumerate();
        named
            .filter(move |(bit, _)| flags & (1 << bit) != 0)
            .map(|(_, name)| *name)
    }

    /// A state in words: the phase, the number if there is one, the flags.
    #[must_use]
    pub fn describe<'a>(&'a self, state: &'a State) -> impl fmt::Display + 'a {
        Described { table: self, state }
    }
}

struct Described<'a> {
    table: &'a Table,
    state: &'a State,
}

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.table.phases[usize::from(self.state.phase)])?;
        if self.table.is_numbered(self.state.phase) {
            write!(f, " {}={}", self.table.number, self.state.number)?;
        }
        for name in self.table.flag_names(self.state.flags) {
            write!(f, " {name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of a log can have any number.
    #[test]
    fn no_number_is_one_more_than_the_largest_or_one_less_than_zero() {
        let state = |number| State {
            number,
            ..State::default()
        };
        let leads = |number, before, after| {
            let edge = Edge::from(1).number(number);
            edge.leads(&State::default(), &state(before), &state(after))
        };
        assert!(leads(Number::Up, 0, 1) && leads(Number::Down, u32::MAX, u32::MAX - 1));
        assert!(!leads(Number::Up, u32::MAX, 0) && !leads(Number::Down, 0, u32::MAX));
    }
}
