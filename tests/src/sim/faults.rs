//! Which faults a run knows, and how often they come.
//!
//! Swarm testing: each seed enables a random subset, of faults, of clients and of what they write. All
//! at once hide bugs, because nothing gets far enough (Groce et al., "Swarm testing", 2012).

use super::chance::Chance;
use super::client::Kind;
use super::limits::Limits;
use super::node::Tuning;
use super::queue::{MS, SECOND, Time};
use super::workload::Menu;
use std::fmt;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Fault {
    /// A process is killed; its machine goes on.
    Kill,
    /// A machine loses power.
    PowerCut,
    /// A machine loses power in the middle of a later write to its disk.
    PowerCutInWrite,
    /// All machines lose power at once.
    Blackout,
    /// Members die again and again, each soon after it started.
    RestartStorm,
    /// The sender or the receiver of a snapshot dies while it is under way or being installed.
    SnapshotCrash,
    /// A process gets no processor for a while.
    Freeze,
    /// A process gets no ticks for a while, and everything else: its timers are starved.
    TickStall,
    /// Some links between members are cut.
    Partition,
    /// Who leads is cut off from the other members.
    IsolateLeader,
    /// Members are cut off one after the other, and come back in another order.
    Swizzle,
    /// A link holds its messages back.
    Clog,
    /// A client's link to a member is cut.
    ClientCut,
    /// The links are slow.
    SlowLinks,
    /// Messages between members get lost.
    Drop,
    /// Messages between members come twice.
    Duplicate,
    /// Messages between members overtake each other.
    Reorder,
    /// A disk takes long to sync.
    SlowSync,
    /// A sync fails.
    SyncFails,
    /// A disk is full for a while.
    DiskFull,
    /// A bit of a stopped member's log flips.
    Rot,
    /// A disk acknowledges a write that never reaches it.
    LostWrite,
    /// A disk writes something to the wrong place, and says that it is done.
    MisplacedWrite,
    /// A machine's disks are gone; later an operator puts a new member in the lost one's place.
    LostDisk,
    /// A wall clock jumps.
    ClockJump,
    /// Clocks run at different rates.
    ClockSkew,
    /// Leadership is handed over.
    MoveLeader,
    /// Members are added and removed.
    Membership,
    /// History is compacted.
    Compaction,
    /// Clients fall silent, so that their sessions end.
    Silence,
    /// A client gets no processor for a while.
    ClientFreeze,
    /// A client dies, and another one takes its place.
    ClientDeath,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 32] = [
        Self::Kill,
        Self::PowerCut,
        Self::PowerCutInWrite,
        Self::Blackout,
        Self::RestartStorm,
        Self::SnapshotCrash,
        Self::Freeze,
        Self::TickStall,
        Self::Partition,
        Self::IsolateLeader,
        Self::Swizzle,
        Self::Clog,
        Self::ClientCut,
        Self::SlowLinks,
        Self::Drop,
        Self::Duplicate,
        Self::Reorder,
        Self::SlowSync,
        Self::SyncFails,
        Self::DiskFull,
        Self::Rot,
        Self::LostWrite,
        Self::MisplacedWrite,
        Self::LostDisk,
        Self::ClockJump,
        Self::ClockSkew,
        Self::MoveLeader,
        Self::Membership,
        Self::Compaction,
        Self::Silence,
        Self::ClientFreeze,
        Self::ClientDeath,
    ];

    /// Its name on the command line.
    pub fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self).expect("no fault is hidden");
        value.get_name().to_owned()
    }

    /// Whether it strikes now and then, rather than being a property of the whole run.
    fn strikes(self) -> bool {
        !matches!(self, Self::SlowLinks | Self::Drop | Self::Duplicate | Self::Reorder | Self::ClockSkew)
    }
}

/// What a run is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// Everything.
    #[default]
    Everything,
    /// Locks and elections alone, in short runs: many schedules in little time.
    Locks,
}

impl Profile {
    /// How many clients there are of each kind, at most.
    pub(super) fn clients(self) -> Vec<(Kind, usize)> {
        match self {
            Self::Everything => {
                vec![(Kind::Session, 5), (Kind::Raw, 2), (Kind::Watcher, 2), (Kind::Claimant, 4)]
            }
            Self::Locks => vec![(Kind::Claimant, 5)],
        }
    }
}

/// What one run is like.
#[derive(Clone, Debug)]
pub struct Mix {
    /// What it is about.
    pub profile: Profile,
    /// The faults that it knows.
    pub enabled: Vec<Fault>,
    /// Mean time between strikes, in microseconds.
    pub pause: Time,
    /// Mean time until a strike is undone, in microseconds.
    pub stability: Time,
    /// Founding members.
    pub members: u64,
    /// Length of the phase with faults.
    pub length: Time,
    /// Mean pause of a client between two operations, in microseconds.
    pub think: Time,
    /// How many clients there are of each kind.
    pub clients: Vec<(Kind, usize)>,
    /// What they write.
    pub menu: Menu,
    /// Thresholds.
    pub tuning: Tuning,
    /// What each strike draws comes from this and its number.
    pub strikes_seed: u64,
    /// What is left out.
    pub limits: Limits,
}

impl Mix {
    /// Draws what a run is like.
    pub fn draw(profile: Profile, chance: &mut Chance) -> Self {
        let mut enabled: Vec<Fault> = Fault::ALL.into_iter().filter(|_| chance.permille(300)).collect();
        if chance.one_in(16) {
            enabled.clear(); // a run without faults must be fine, too
        }
        let (members, length, think) = match profile {
            Profile::Everything => {
                (*chance.pick(&[1, 2, 3, 3, 3, 3, 3, 3, 4, 5, 5]), chance.between(10, 30) * SECOND, 200)
            }
            Profile::Locks => (*chance.pick(&[1, 1, 3]), chance.between(3, 8) * SECOND, 60),
        };
        Self {
            profile,
            enabled,
            pause: chance.between(300, 4_000) * MS,
            stability: chance.between(200, 5_000) * MS,
            members,
            length,
            think: chance.between(20, think) * MS,
            tuning: draw_tuning(chance),
            clients: draw_clients(profile, chance),
            menu: Menu::draw(chance),
            strikes_seed: chance.number(),
            limits: Limits::default(),
        }
    }

    /// Whether the run knows a fault, and it is not left out.
    pub fn knows(&self, fault: Fault) -> bool {
        self.enabled.contains(&fault) && self.limits.allow(fault)
    }

    /// Length of the phase with faults, unless a shorter one is asked for.
    pub fn length(&self) -> Time {
        self.limits.length.unwrap_or(self.length)
    }

    /// The numbers that the strike of this number draws, whatever came before it.
    pub fn chance_of(&self, strike: u64) -> Chance {
        Chance::new(self.strikes_seed.wrapping_add(strike.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// The fault of a strike, left out or not.
    pub fn next_strike(&self, chance: &mut Chance) -> Option<Fault> {
        let striking: Vec<Fault> = self.enabled.iter().copied().filter(|fault| fault.strikes()).collect();
        (!striking.is_empty()).then(|| *chance.pick(&striking))
    }
}

/// Some kinds of clients, and some of each. Somebody writes, unless it is all about locks.
fn draw_clients(profile: Profile, chance: &mut Chance) -> Vec<(Kind, usize)> {
    let most = profile.clients();
    if profile == Profile::Locks {
        return most;
    }
    let drawn = |(kind, most): (Kind, usize)| {
        let some = chance.between(1, most as u64) as usize;
        (kind, if chance.permille(800) { some } else { 0 })
    };
    let mut clients: Vec<(Kind, usize)> = most.into_iter().map(drawn).collect();
    if clients.iter().all(|(kind, count)| *count == 0 || *kind == Kind::Watcher) {
        clients[0].1 = 2;
    }
    clients
}

fn draw_tuning(chance: &mut Chance) -> Tuning {
    Tuning {
        segment_bytes: *chance.pick(&[4096, 16 << 10, 64 << 10]),
        window_bytes: *chance.pick(&[0, 1024, 64 << 10]),
        freeze_records: *chance.pick(&[20, 100, 1000]),
        catch_up_entries: *chance.pick(&[0, 5, 50, 1000]),
        watch_recent_bytes: *chance.pick(&[0, 500, 10_000, 1 << 20]),
        watch_page_bytes: *chance.pick(&[200, 2_000, 1 << 20]),
        reclaim_events: *chance.pick(&[1, 10, 1000]),
        request_timeout_ms: *chance.pick(&[1_000, 3_000, 5_000]),
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?}, {} members, {} s, clients {:?}, {:?}, faults {:?} about every {} ms for {} ms, {:?}",
            self.profile,
            self.members,
            self.length() / SECOND,
            self.clients,
            self.menu,
            self.enabled,
            self.pause / MS,
            self.stability / MS,
            self.tuning
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_drawn_now_and_then_and_never_all() {
        let draw = |seed| Mix::draw(Profile::Everything, &mut Chance::new(seed));
        let mixes: Vec<Mix> = (0..200).map(draw).collect();
        for fault in Fault::ALL {
            let with = mixes.iter().filter(|mix| mix.knows(fault)).count();
            assert!((20..120).contains(&with), "{fault:?}: {with}");
        }
        assert!(mixes.iter().all(|mix| mix.enabled.len() < Fault::ALL.len()));
        for (kind, most) in Profile::Everything.clients() {
            let counts: Vec<usize> = mixes
                .iter()
                .flat_map(|mix| &mix.clients)
                .filter(|(of, _)| *of == kind)
                .map(|(_, n)| *n)
                .collect();
            assert!(counts.contains(&0) && counts.contains(&most), "{kind:?}: {counts:?}");
        }
    }
}
