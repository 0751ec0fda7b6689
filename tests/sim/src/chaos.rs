//! Faults: what is done to the swarm while it may be.

use crate::rng::Rng;

/// A fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The leader loses its leadership; it may be killed with that.
    Depose { kill: bool },
    /// Some manager is killed, whatever it does.
    KillManager,
    /// A daemon is killed. Its disk may be lost, and the machine may go down with it, containers and all.
    KillAgent { node: String, lose_disk: bool, reboot: bool },
    /// Managers are cut off from one another for a while: the leader alone, or some of them.
    Split { leader: bool },
    /// A link is cut for a while.
    Cut { node: String },
    /// The leader's machine stands still for a while, and goes on as if nothing had been.
    Freeze,
    /// A manager's clock jumps, and is set right after a while.
    Clock,
}

/// How many runs in a thousand have a very big service.
const BIG: u64 = 15;

/// What kind of trouble a run is in: no two runs have the same.
#[derive(Debug, Clone)]
pub(crate) struct Temper {
    /// How often something happens at all: at most so many milliseconds apart.
    pub(crate) pace: u64,
    /// How often it is a user, in a thousand.
    pub(crate) users: u64,
    /// Of the faults, how many in a thousand hit the leader…
    leaders: u64,
    /// …of those, how many cut it off…
    splits: u64,
    /// …and how many of the others cut a link.
    cuts: u64,
    /// How many messages in a thousand are lost.
    pub(crate) loss: u64,
    /// How many proposals in a thousand wait for longer than whoever made them.
    pub(crate) delays: u64,
    /// How many of the faults in a thousand are machines that stand still, and clocks that jump.
    oddities: u64,
    /// How many containers in a thousand do not end for long after they were told to.
    pub(crate) stubborn: u64,
    /// Whether there is a service whose plans are cut into several entries.
    pub(crate) big: bool,
    /// How many containers in a thousand end by themselves.
    pub(crate) exits: u64,
    /// Whether users have jobs…
    pub(crate) jobs: bool,
    /// …whether they have services spread anew…
    pub(crate) moves: bool,
    /// …and whether they make managers of workers, and workers of managers.
    pub(crate) roles: bool,
}

impl Temper {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let big = rng.chance(BIG);
        let mut any_of = |choices: &[u64]| rng.pick(choices).copied().unwrap_or_default();
        Self {
            pace: any_of(&[300, 700, 2000]),
            users: any_of(&[200, 500, 800]),
            leaders: any_of(&[50, 200, 500]),
            splits: any_of(&[0, 200, 600]),
            cuts: any_of(&[100, 300, 600]),
            loss: any_of(&[0, 5, 20, 80]),
            delays: any_of(&[0, 10, 100]),
            oddities: any_of(&[0, 100, 400]),
            stubborn: any_of(&[0, 0, 50]),
            big,
            exits: any_of(&[0, 200, 600]),
            jobs: any_of(&[0, 0, 1]) == 1,
            moves: any_of(&[0, 0, 1]) == 1,
            roles: any_of(&[0, 0, 1]) == 1,
        }
    }
}

/// A fault for a swarm of these nodes.
pub(crate) fn fault(rng: &mut Rng, temper: &Temper, nodes: &[String]) -> Option<Fault> {
    let node = rng.pick(nodes)?.clone();
    if rng.chance(temper.oddities) {
        return Some(if rng.chance(500) { Fault::Freeze } else { Fault::Clock });
    }
    Some(if rng.chance(temper.leaders) {
        if rng.chance(temper.splits) {
            Fault::Split { leader: rng.chance(600) }
        } else {
            match rng.below(10) {
                0..3 => Fault::KillManager,
                3..5 => Fault::Depose { kill: true },
                _ => Fault::Depose { kill: false },
            }
        }
    } else if rng.chance(temper.cuts) {
        Fault::Cut { node }
    } else {
        Fault::KillAgent { node, lose_disk: rng.chance(300), reboot: rng.chance(200) }
    })
}
