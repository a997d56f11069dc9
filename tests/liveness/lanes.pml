/*
 * A queued job is run, in whichever lane; one that has begun ends; one that nobody holds is freed.
 *
 * Two lanes with a session each, which launches again and again or ends, and one worker slot: the fewest at which a lane can
 * starve. Each session has a job slot of its own. It detaches its job at once, or waits for its end. The worker slot goes
 * from lane to lane as in engine/pool/turns.rs: a process whose turn is over leaves it, after a job, to a lane that has
 * jobs and no worker; a fresh process runs a job first; one that rests in its turn looks when that is over; one whose turn
 * is over is dismissed for a launch of the other lane. A turn ends at any time after it began. The pool's lock is an
 * `atomic`. A start does not fail, and neither a periodic check nor the idle limit helps: what holds here needs none.
 */
#include "words.pml"

#define LANES 2
#define NOBODY LANES

job_word job[LANES];           /* the job of the session of each lane */
worker_word worker;
byte lane;                     /* the lane of the worker slot */
bool fresh;                    /* its process has not run a job */
bool turn_over;                /* its turn is over */
bool looks_later;              /* it is idle, and has not looked for the other lane since its turn was over */
bool queued[LANES];            /* the lane's queue: its job is in it */
bool latch[LANES];             /* the sessions' */
bool worker_latch;

#define is_active(w) (w.phase == JOB_QUEUED || w.phase == JOB_STARTING || w.phase == JOB_RUNNING)
#define is_finished(w) (w.phase == JOB_COMPLETED || w.phase == JOB_FAILED || w.phase == JOB_CANCELED)

inline wake_watcher(l) {
    if
    :: job[l].leader && (job[l].watched || job[l].awaited) -> latch[l] = true
    :: else -> skip
    fi
}

proctype session(byte l) {
    do
    ::  /* It has the slot again when its former job is freed. */
        atomic { job[l].phase == JOB_FREE -> job_reserve(job[l]) };
        /* Under the lock: to the idle worker of the lane, or into the queue, and then to a worker slot. */
        atomic {
            job_publish(job[l]);
            if
            :: worker.phase == WORKER_IDLE && lane == l ->
                job_bind(job[l]);
                worker_assign(worker);
                worker.number = l;
                worker_latch = true
            :: worker.phase == WORKER_VACANT ->
                queued[l] = true;
                worker_claim(worker);
                lane = l;
                fresh = true;
                turn_over = false
            :: worker.phase == WORKER_IDLE && lane != l && turn_over ->
                queued[l] = true;
                worker_restart(worker);
                lane = l;
                fresh = true;
                turn_over = false;
                worker_latch = true
            :: else -> queued[l] = true
            fi
        };
        if
        :: skip                                     /* it detaches the job as it is */
        ::  do
            :: atomic { is_active(job[l]) && !job[l].awaited -> job_await_end(job[l]) }
            :: atomic { is_active(job[l]) && job[l].awaited -> skip };
               if
               :: is_finished(job[l]) -> skip
               :: atomic { latch[l] -> latch[l] = false }
               fi
            :: is_finished(job[l]) -> break
            od
        fi;
        atomic {
            job_detach(job[l]);
            if
#ifndef MUTANT_last_out_frees_nothing
            :: is_finished(job[l]) -> job_free(job[l])
#endif
            :: else -> skip
            fi
        }
    :: break                                        /* it ends */
    od
}

/* The worker slot is passed on to the lane `to`, or is vacant. */
inline leave(to) {
    if
    :: to != NOBODY ->
        worker_restart(worker);
        lane = to;
        fresh = true;
        turn_over = false
    :: else ->
        worker_vacate(worker);
        fresh = false
    fi
}

/* The processes of the worker slot, one after the other. */
proctype worker_slot() {
    byte other, mine;
    do
    ::  /* Under the lock: what it does next. */
        atomic {
            (worker.phase == WORKER_STARTING || worker.phase == WORKER_BUSY) ->
            other = 1 - lane;
            if
#ifndef MUTANT_nobody_looks_at_other_lanes
            :: !fresh && turn_over && queued[other] -> leave(other)
#endif
            :: else ->
                if
#ifdef MUTANT_worker_rests_without_looking
                :: queued[lane] && fresh ->
#else
                :: queued[lane] ->
#endif
                    mine = lane;
                    queued[mine] = false;
                    job_bind(job[mine]);
                    worker_assign(worker);
                    worker.number = mine
#ifndef MUTANT_nobody_looks_at_other_lanes
                :: !queued[lane] && queued[other] && !fresh && turn_over -> leave(other)
                :: !queued[lane] && queued[other] && fresh -> lane = other
#endif
                :: else ->
                    looks_later = fresh || !turn_over;
                    worker_rest(worker)
                fi
            fi
        };
        /* What was decided, by it or by others. */
        do
        :: worker.phase == WORKER_STARTING || worker.phase == WORKER_VACANT -> break
        :: atomic { worker.phase == WORKER_BUSY -> mine = worker.number };
            atomic { job_begin(job[mine]); fresh = false };
#ifdef MUTANT_worker_dies_with_its_job
            if
            :: skip
            :: atomic { worker_vacate(worker); break }
            fi;
#endif
            atomic {
                wake_watcher(mine);
                job_finish(job[mine]);
                if
                :: !job[mine].leader -> job_free(job[mine])
                :: else -> skip
                fi
            };
            break
        :: worker.phase == WORKER_IDLE ->
            if
            :: atomic { worker_latch -> worker_latch = false }
#ifndef MUTANT_turn_end_forgotten
            :: atomic { worker.phase == WORKER_IDLE && turn_over && looks_later ->
                looks_later = false;
                other = 1 - lane;
                if
                :: queued[other] -> leave(other)
                :: else -> skip
                fi
            }
#endif
            :: atomic { worker.phase == WORKER_IDLE && !looks_later && !queued[1 - lane] -> leave(NOBODY) } /* its idle limit */
            fi
        od
    od
}

/* The latches' clock. */
proctype clock() {
    do
#ifndef MUTANT_turns_do_not_end
    :: atomic { !turn_over && worker.phase != WORKER_VACANT -> turn_over = true }
#endif
    :: false
    od
}

init { atomic { worker.phase = WORKER_VACANT; run session(0);
#ifndef ONE_LANE
    run session(1);
#endif
    run worker_slot(); run clock() } }

ltl first_lane_is_served { [] (job[0].phase == JOB_QUEUED -> <> (job[0].phase != JOB_QUEUED)) }
ltl second_lane_is_served { [] (job[1].phase == JOB_QUEUED -> <> (job[1].phase != JOB_QUEUED)) }
ltl what_has_a_worker_ends { [] (job[0].phase == JOB_STARTING -> <> (job[0].phase != JOB_STARTING && job[0].phase != JOB_RUNNING)) }
ltl what_nobody_holds_is_freed { [] ((is_finished(job[0]) && !job[0].leader) -> <> (job[0].phase == JOB_FREE)) }
