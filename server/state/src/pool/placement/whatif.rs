//! What would happen if: a plan for a pool that does not exist yet.

use super::Plan;
use super::draft::{Bounds, Draft};
use crate::ids::SessionId;
use crate::pool::{MemberInfo, MemberState, PoolState, Primary};
use bytes::Bytes;

/// A change of a pool that is only thought of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhatIf {
    /// Somebody takes part; one who does already is changed, and is there again if it was away.
    Add {
        /// Its name.
        instance: Bytes,
        /// Its failure domain.
        zone: String,
        /// Its share.
        capacity: u32,
    },
    /// A member is gone for good. Unknown ones are passed over.
    Remove {
        /// Its name.
        instance: Bytes,
    },
    /// A member may be given something else. Unknown ones are passed over.
    SetState {
        /// Its name.
        instance: Bytes,
        /// From now on.
        state: MemberState,
    },
    /// A shard has another weight; its reported load is forgotten. Unknown ones are passed over.
    SetWeight {
        /// The shard.
        shard: Bytes,
        /// Its weight.
        weight: u32,
    },
    /// A shard has to be somewhere, or need not. Unknown ones are passed over.
    Pin {
        /// The shard.
        shard: Bytes,
        /// The member.
        to: Option<Bytes>,
    },
}

/// Everything that would be done to a pool after some changes, as if neither a pause, nor the budget, nor
/// the size of a plan stood against it. [`Plan::before`] is after the changes and before the steps.
pub fn simulate(state: &PoolState, changes: &[WhatIf]) -> Plan {
    let mut state = state.clone();
    for change in changes {
        apply(&mut state, change);
    }
    Draft::new(&state, Bounds::none()).into_plan()
}

fn apply(state: &mut PoolState, change: &WhatIf) {
    let shard = |state: &mut PoolState, name: &Bytes| state.shards.iter().position(|of| of.shard == *name);
    match change {
        WhatIf::Add { instance, zone, capacity } => add(state, instance, zone, *capacity),
        WhatIf::Remove { instance } => remove(state, instance),
        WhatIf::SetState { instance, state: of } => {
            if let Ok(at) = place(state, instance) {
                state.members[at].state = *of;
            }
        }
        WhatIf::SetWeight { shard: name, weight } => {
            if let Some(at) = shard(state, name) {
                (state.shards[at].weight, state.shards[at].load) = (*weight, 0);
            }
        }
        WhatIf::Pin { shard: name, to } => {
            if let Some(at) = shard(state, name) {
                state.shards[at].pin.clone_from(to);
            }
        }
    }
}

fn place(state: &PoolState, instance: &Bytes) -> Result<usize, usize> {
    state.members.binary_search_by(|member| member.instance.cmp(instance))
}

fn add(state: &mut PoolState, instance: &Bytes, zone: &str, capacity: u32) {
    // Only that it is not zero matters to placement: it is there.
    let session = SessionId(u64::MAX);
    match place(state, instance) {
        Ok(at) => {
            let member = &mut state.members[at];
            (member.zone, member.capacity) = (zone.to_owned(), capacity);
            if member.session.0 == 0 {
                (member.session, member.away_until_ms) = (session, 0);
            }
        }
        Err(at) => {
            let member = MemberInfo {
                instance: instance.clone(),
                session,
                zone: zone.to_owned(),
                capacity,
                address: String::new(),
                metadata: Bytes::new(),
                state: MemberState::Active,
                joined: state.changed,
                away_until_ms: 0,
            };
            state.members.insert(at, member);
        }
    }
}

fn remove(state: &mut PoolState, instance: &Bytes) {
    let Ok(at) = place(state, instance) else { return };
    state.members.remove(at);
    let since_ms = state.stamp_ms;
    for shard in &mut state.shards {
        shard.secondaries.retain(|secondary| secondary.instance != *instance);
        let bereft = match &shard.primary {
            Primary::Unassigned { .. } => false,
            Primary::Owned(owner) => owner.instance == *instance,
            Primary::Withheld { instance: of, .. } => of == instance,
            Primary::Moving { from, to, .. } => {
                if to == instance {
                    shard.primary = Primary::Owned(from.clone());
                    continue;
                }
                from.instance == *instance
            }
        };
        if bereft {
            shard.primary = Primary::Unassigned { since_ms };
        }
    }
}
