/*
 * A launch that waits for a slot gets one, or gives up.
 *
 * As in engine/pool/slot_waiters.rs and slot_claim.rs: three sessions that launch twice and one slot, so that two wait; or
 * four sessions that launch once and two slots, which can be freed at once.
 * A slot that is freed calls the first waiter; a newcomer may be faster, so a waiter that launches forever could starve
 * another one, and the property is about launches that come to an end. A launch with a deadline may give up at any
 * moment, and nothing else ends the wait of one that has none.
 */
#include "words.pml"

#ifndef SESSIONS
#define SESSIONS 3
#define SLOTS 1
#define LAUNCHES 2
#endif

usage_word usage;              /* the slots in use */
bool latch[SESSIONS];
bool waits[SESSIONS];
bool patient[SESSIONS];        /* its launch has no deadline */
byte queue[SESSIONS];          /* sessions, the first to be called first */
byte queued;

inline is_listed(found) {
    found = false;
    i = 0;
    do
    :: i < queued -> found = found || queue[i] == me; i++
    :: else -> break
    od
}

/* Takes the first waiter off the queue and wakes it, if a slot is free. Under the pool lock. */
inline call_next() {
    if
    :: queued > 0 && usage.number < SLOTS ->
        latch[queue[0]] = true;
        i = 0;
        do
        :: i + 1 < queued -> queue[i] = queue[i + 1]; i++
        :: else -> break
        od;
        queued--;
        queue[queued] = 0
    :: else -> skip
    fi
}

inline join(at_front) {
    is_listed(listed);
    if
    :: listed -> skip
    :: !listed && at_front ->
        i = queued;
        do
        :: i > 0 -> queue[i] = queue[i - 1]; i--
        :: else -> break
        od;
        queue[0] = me;
        queued++
    :: !listed && !at_front -> queue[queued] = me; queued++
    fi
}

/* Off the queue, with a slot or without; the call that it may have had goes to the next. */
inline leave() {
    is_listed(listed);
    if
    :: listed ->
        i = 0;
        do
        :: queue[i] != me -> i++
        :: else -> break
        od;
        do
        :: i + 1 < queued -> queue[i] = queue[i + 1]; i++
        :: else -> break
        od;
        queued--;
        queue[queued] = 0
    :: else -> skip
    fi;
#ifndef MUTANT_waiter_calls_nobody
    call_next()
#endif
}

proctype session(byte me) {
    byte i, launches = 0;
    bool listed, claimed, was_waiting;
    do
    :: launches == LAUNCHES -> break
    :: launches < LAUNCHES ->
        launches++;
        if
        :: patient[me] = true
        :: patient[me] = false
        fi;
        was_waiting = false;
        claimed = false;
        do
        :: atomic { usage.number < SLOTS -> usage_claim_slot(usage); claimed = true; break }
        :: usage.number == SLOTS ->
           atomic {
               waits[me] = true;
               join(was_waiting);
               was_waiting = true };
#ifndef MUTANT_wait_without_second_look
           if
           :: atomic { usage.number < SLOTS -> usage_claim_slot(usage); claimed = true; break }
           :: usage.number == SLOTS -> skip
           fi;
#endif
           if
           :: atomic { latch[me] -> latch[me] = false }
           :: !patient[me] -> break                     /* its time is up */
           fi
        od;
        atomic {
            if
            :: was_waiting -> leave()
            :: else -> skip
            fi;
            waits[me] = false
        };
        if
        :: claimed ->
            /* The job ends, and its slot is freed. */
            atomic { usage_release_role_slot(usage) };
            atomic { call_next() }
        :: else -> skip
        fi
    od
}

init {
    atomic {
        byte number = 0;
        do
        :: number < SESSIONS -> run session(number); number++
        :: else -> break
        od
    }
}

/* A session that waits without a deadline does not wait forever. */
ltl first_is_served { [] ((waits[0] && patient[0]) -> <> !waits[0]) }
ltl last_is_served { [] ((waits[SESSIONS - 1] && patient[SESSIONS - 1]) -> <> !waits[SESSIONS - 1]) }
