//! The worker word, decoded.

use protocol_kit::table;
use std::fmt;

/// What a worker is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activity {
    /// The worker slot is empty.
    Vacant,
    /// A process is starting.
    Starting,
    /// It has nothing to do. A fresh process looks for its first job before it connects, so it may not have connected.
    Idle,
    /// Bound to the job in this slot.
    Busy(u32),
    /// Told to exit, or exiting.
    Exiting,
}

const VACANT: u64 = 0;
const STARTING: u64 = 1;
const IDLE: u64 = 2;
const BUSY: u64 = 3;
const EXITING: u64 = 4;
const PHASE_MASK: u64 = 7;
const JOB_SHIFT: u32 = 3;
const JOB_BITS: u32 = 29;
pub(super) const GENERATION_SHIFT: u32 = JOB_SHIFT + JOB_BITS;

static_assertions::const_assert_eq!(GENERATION_SHIFT, 32);
static_assertions::const_assert!(crate::cookie::INDEX_BITS <= JOB_BITS);

/// The word at one moment, decoded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct State(pub(super) u64);

impl State {
    /// What the worker is doing.
    #[must_use]
    pub fn activity(self) -> Activity {
        match self.0 & PHASE_MASK {
            VACANT => Activity::Vacant,
            STARTING => Activity::Starting,
            IDLE => Activity::Idle,
            BUSY => Activity::Busy((self.0 as u32) >> JOB_SHIFT),
            EXITING => Activity::Exiting,
            other => unreachable!("worker word holds phase {other}"),
        }
    }

    /// The generation of the worker slot.
    #[must_use]
    pub fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32
    }

    /// The word as the table of its transitions shows it.
    pub(crate) fn decode(word: u64) -> table::State {
        let now = Self(word);
        let number = match now.activity() {
            Activity::Busy(job) => job,
            _ => 0,
        };
        table::State {
            owner: now.generation().into(),
            phase: (word & PHASE_MASK) as u8,
            flags: 0,
            number,
        }
    }

    pub(super) fn to(self, activity: Activity) -> Self {
        let bits = match activity {
            Activity::Vacant => VACANT,
            Activity::Starting => STARTING,
            Activity::Idle => IDLE,
            Activity::Busy(job) => BUSY | u64::from(job) << JOB_SHIFT,
            Activity::Exiting => EXITING,
        };
        Self((self.0 >> GENERATION_SHIFT) << GENERATION_SHIFT | bits)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Worker({:?}, generation {})",
            self.activity(),
            self.generation()
        )
    }
}
