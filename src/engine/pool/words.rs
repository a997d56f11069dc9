//! The words of gates and usages, decoded.

use protocol_kit::table::State;

pub(super) const WITHIN: u32 = 1;
pub(super) const PURGES: u32 = 2;
pub(super) const WAITS: u32 = 4;
pub(super) const ASKED: u32 = 8;

/// A gate, as the table of its transitions shows it.
pub(crate) fn decode_gate(word: u64) -> State {
    let has = |flag: u32| word & u64::from(flag) != 0;
    let phase = match (has(PURGES), has(WITHIN)) {
        (true, _) => 2,
        (false, within) => u8::from(within),
    };
    State {
        phase,
        flags: u16::from(has(WAITS)) | u16::from(has(ASKED)) << 1,
        ..State::default()
    }
}

const SLOTS: u64 = u32::MAX as u64;

pub(super) fn role_in(word: u64) -> u32 {
    (word >> 32) as u32
}

/// A usage's word, as the table of its transitions shows it.
pub(crate) fn decode_usage(word: u64) -> State {
    let slots = slots_in(word);
    State {
        owner: role_in(word).into(),
        phase: u8::from(slots > 0),
        flags: 0,
        number: slots,
    }
}

pub(super) fn slots_in(word: u64) -> u32 {
    (word & SLOTS) as u32
}
