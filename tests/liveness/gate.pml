/*
 * A session enters its gate, however often others purge its jobs.
 *
 * One session that calls a function again and again, and two administrators who purge twice each (as long as a purge
 * begins whenever the session looks, the session waits: purges come to an end). As in engine/pool/gate.rs and the wait
 * loop: look, arm, look, sleep. The transitions are those of the engine's table (words.pml).
 */
#include "words.pml"

gate_word gate;
bool latch;            /* the session's */
bool wants, inside;

proctype session() {
    do
    ::  wants = true;
        do
        :: atomic { gate.phase != GATE_CLOSED -> gate_enter(gate); break }
        :: atomic { gate.phase == GATE_CLOSED ->
               if
               :: gate.waits -> skip
               :: else -> gate_await_entry(gate)
               fi };
           /* It has armed, and looks again before it sleeps. */
           if
           :: gate.phase != GATE_CLOSED -> skip
           :: else -> atomic { latch -> latch = false }
           fi
        od;
        wants = false;
        inside = true;
        /* It leaves when nobody has asked it to purge; otherwise it purges and tries again. */
        do
        :: atomic { gate.asked -> gate_leave(gate) }
#ifndef MUTANT_session_stays_within
        :: atomic { !gate.asked -> inside = false; gate_leave(gate); break }
#endif
        od
    od
}

proctype administrator() {
    byte purges = 0;
    bool wake;
    do
    :: purges == 2 -> break
    :: purges < 2 ->
        purges++;
        /* Under the pool lock, so no two purges at once. */
        if
        :: atomic { gate.phase == GATE_OPEN -> gate_begin_purge(gate) };
           atomic {
               wake = gate.waits;
               gate_end_purge(gate);
               if
#ifndef MUTANT_purge_wakes_nobody
               :: wake -> latch = true
#endif
               :: else -> skip
               fi
           }
        :: atomic { gate.phase == GATE_WITHIN ->
               if
               :: gate.asked -> skip
               :: else -> gate_begin_purge(gate)
               fi }
        :: atomic { gate.phase == GATE_CLOSED -> skip }
        fi
    od
}

init { atomic { run session(); run administrator(); run administrator() } }

ltl enters { [] (wants -> <> inside) }
ltl leaves { [] (inside -> <> !inside) }
