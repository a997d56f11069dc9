//! Finding a lane by its key.

use super::*;
use crate::list::Link;

#[test]
fn the_lanes_of_a_database_are_spread_over_the_chains() {
    let memory = Memory::with_room(64, 64, 1);
    for role in 1..=64 {
        memory.queue(LaneKey { database: 5, role });
    }
    let has_keys = |lane: &&Lane| Link::load(&lane.chain).index().is_some();
    let chains = memory.lanes.iter().filter(has_keys).count();
    assert!(chains > 32, "{chains} chains for 64 lanes");
}
