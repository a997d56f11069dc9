//! Lines of transitions: read, written, and put in order; and whole logs of them.

use arbitrary::{Arbitrary, Unstructured};
use engine::transitions::TABLES;
use protocol_kit::line::Line;
use protocol_kit::replay::{self, Fault, Step};
use protocol_kit::table::{State, Table};

fn parts(line: &Line<'_>) -> (&'static str, u32, usize, State, State) {
    (
        line.table.word,
        line.index,
        line.transition,
        line.before,
        line.after,
    )
}

/// Any text as a line; and any transition as a line, written and read.
pub fn line(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(Ok(read)) = Line::read(&TABLES, text)
    {
        let again = Line::read(&TABLES, &read.to_string()).expect("a word of the tables");
        assert_eq!(parts(&again.expect("a transition")), parts(&read), "{text}");
    }
    let mut input = Unstructured::new(bytes);
    let Ok((table, index, transition)) = <(u8, u32, u8)>::arbitrary(&mut input) else {
        return;
    };
    let table = TABLES[usize::from(table) % TABLES.len()];
    let (Ok(before), Ok(after)) = (state(table, &mut input), state(table, &mut input)) else {
        return;
    };
    let transition = usize::from(transition) % table.transitions.len();
    let line = Line {
        table,
        index,
        transition,
        before,
        after,
    };
    let read = Line::read(&TABLES, &line.to_string()).expect("a word of the tables");
    assert_eq!(parts(&read.expect("a transition")), parts(&line), "{line}");
}

/// A state that the word can have.
fn state(table: &Table, input: &mut Unstructured<'_>) -> arbitrary::Result<State> {
    let (owner, phase, flags, number) = <(u64, u8, u16, u32)>::arbitrary(input)?;
    let phase = phase % table.phases.len() as u8;
    Ok(State {
        owner: if table.owner.is_empty() { 0 } else { owner },
        phase,
        flags: flags & ((1 << table.flags.len()) - 1),
        number: if table.is_numbered(phase) { number } else { 0 },
    })
}

/// So many steps can be ordered in every way.
const STEPS: usize = 7;

/// Any steps of a few processes, between a few states. The order is compared with all orders.
pub fn replay(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let Ok((table, wide)) = <(u8, bool)>::arbitrary(&mut input) else {
        return;
    };
    let table = TABLES[usize::from(table) % TABLES.len()];
    let mut states = vec![table.initial];
    for _ in 0..3 {
        states.extend(state(table, &mut input));
    }
    let mut steps = Vec::new();
    let most = if wide { 40 } else { STEPS };
    // Bytes that are missing count as zero, so the end of the input has to be looked for.
    while steps.len() < most
        && !input.is_empty()
        && let Ok((process, transition, ends)) = <(u8, u8, u8)>::arbitrary(&mut input)
    {
        steps.push(Step {
            process: u32::from(process % 4),
            transition: usize::from(transition) % table.transitions.len(),
            before: states[usize::from(ends) % states.len()],
            after: states[usize::from(ends >> 4) % states.len()],
        });
    }
    let arcs = replay::arcs(table, &steps);
    let order = match replay::order(table.initial, &steps) {
        Ok(order) => order,
        Err(Fault::Stuck { next, last, .. }) => {
            assert!(next.iter().chain(&last).all(|step| *step < steps.len()));
            let mut taken = vec![false; steps.len()];
            assert!(
                wide || !can_be_ordered(table.initial, &steps, &mut taken),
                "an order was overlooked"
            );
            return;
        }
        Err(other) => panic!("{other:?} is no fault of an order"),
    };
    let mut state = table.initial;
    for &step in &order {
        assert_eq!(
            steps[step].before, state,
            "each begins where the one before it ended"
        );
        state = steps[step].after;
    }
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..steps.len()), "each step once");
    for process in 0..4 {
        let own = order.iter().filter(|step| steps[**step].process == process);
        assert!(own.is_sorted(), "each process in its own order");
    }
    if let Ok(arcs) = arcs {
        let _ = replay::check_sides(table, &steps, &order, &arcs);
    }
}

/// Whether there is an order of the steps that are not taken.
fn can_be_ordered(state: State, steps: &[Step], taken: &mut [bool]) -> bool {
    if taken.iter().all(|taken| *taken) {
        return true;
    }
    (0..steps.len()).any(|step| {
        let is_next =
            |earlier: usize| taken[earlier] || steps[earlier].process != steps[step].process;
        if taken[step] || steps[step].before != state || !(0..step).all(is_next) {
            return false;
        }
        taken[step] = true;
        let found = can_be_ordered(steps[step].after, steps, taken);
        taken[step] = false;
        found
    })
}

/// Any text as the log of a server.
pub fn log(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let report = trace::check("log", &text);
    assert!(report.steps <= text.lines().count());
    let _ = report.to_string();
}
