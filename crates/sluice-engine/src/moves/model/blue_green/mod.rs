//! A blue-green update: one active Service whose selector is the whole switch.
//!
//! Beyond what the canary's model has, people and other tools take the selector away, point it elsewhere,
//! and delete the active Service or the stable ReplicaSet. The gates before and after the switch open at
//! any time once they may, and close again when the traffic goes back.

mod mutants;
mod play;
mod rules;

use std::fmt;

use super::*;

/// Everything that the model remembers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Fleet {
    replicas: u8,
    stable: u8,
    /// The ReplicaSet of the stable version has not been deleted.
    has_stable: bool,
    current: u8,
    is_aborted: bool,
    is_halted: bool,
    is_asleep: bool,
    /// Pause and analysis before the switch are done.
    may_switch: bool,
    /// The analysis after it is done.
    may_promote: bool,
    pods: [Pods; VERSIONS],
    active: Service,
    /// The active Service exists, and carries our mark.
    has_active: bool,
    is_managed: bool,
    preview: u8,
    actions_left: u8,
}

impl Fleet {
    fn is_promoted(&self) -> bool {
        self.stable == self.current
    }

    fn is_going(&self) -> bool {
        !self.is_promoted() && !self.is_aborted
    }

    /// There is a version to go back to, or will be as soon as it is made again.
    fn knows_stable(&self) -> bool {
        self.has_stable || self.is_promoted()
    }

    fn is_stable(&self, version: usize) -> bool {
        self.knows_stable() && version == self.stable as usize
    }

    fn is_held(&self) -> bool {
        self.is_halted || !self.has_active
    }

    /// The version that the active Service selects, if it selects one.
    fn selected(&self) -> Option<usize> {
        (self.has_active && self.active.selected != WIDE).then_some(self.active.selected as usize)
    }

    /// Somebody may still be sent to this version; with no Service to ask, anybody anywhere.
    fn may_be_used(&self, version: usize) -> bool {
        !self.has_active || self.active.may_use(version)
    }

    /// Neither stable, nor rolled out, nor selected.
    fn is_leaving(&self, version: usize) -> bool {
        let is_current = version == self.current as usize && (self.is_going() || !self.knows_stable());
        !self.is_stable(version) && !is_current && self.selected() != Some(version)
    }

    /// The version that an abort stands against.
    fn is_aborted_version(&self, version: usize) -> bool {
        self.is_aborted && !self.is_promoted() && version == self.current as usize
    }

    fn stay(&self) -> u8 {
        self.pods.iter().map(|pods| pods.stay()).sum()
    }

    fn available(&self) -> u8 {
        self.pods.iter().map(|pods| pods.available).sum()
    }

    fn forget_gates(&mut self) {
        (self.may_switch, self.may_promote) = (false, false);
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "N={} stable v{} current v{}", self.replicas, self.stable + 1, self.current + 1)?;
        for (holds, word) in [
            (!self.has_stable, " STABLE DELETED"),
            (self.is_aborted, " ABORTED"),
            (self.is_halted, " HALTED"),
            (self.is_asleep, " ASLEEP"),
            (self.may_switch, " pre"),
            (self.may_promote, " post"),
        ] {
            f.write_str(if holds { word } else { "" })?;
        }
        f.write_str(" |")?;
        for (version, pods) in self.pods.iter().enumerate() {
            let deadline = match pods.deadline {
                Delay::None => "",
                Delay::Running => " dl",
                Delay::Passed => " dl!",
            };
            write!(f, " v{} {}/{}{deadline}", version + 1, pods.size, pods.available)?;
        }
        let selected = match self.active.selected {
            _ if !self.has_active => "-".into(),
            WIDE => "*".into(),
            version => (version + 1).to_string(),
        };
        let mark = if self.is_managed { "" } else { "!" };
        let late = if self.active.is_settled() { "" } else { "~" };
        write!(f, " | active {selected}{late}{mark} preview {}", self.preview + 1)
    }
}

/// One set of numbers to explore.
#[derive(Clone, Copy)]
struct Config {
    name: &'static str,
    replicas: u8,
    /// The values that a user gives `replicas`.
    replicas_values: &'static [u8],
    unavailable: u8,
    /// The size of a preview, if it has its own.
    preview: Option<u8>,
    /// The switch and the promotion have to be allowed.
    is_gated: bool,
    /// How often a user may act.
    actions: u8,
    versions: u8,
    /// Old versions have a delay; none: they go at once.
    has_delay: bool,
    delayed_revisions: u8,
    keeps_aborted: bool,
    /// The Service has not been narrowed when it starts, and the first version is being deployed.
    is_adopted: bool,
    may_halt: bool,
    /// Somebody takes the selector away, or points it elsewhere.
    may_meddle: bool,
    /// Somebody deletes the active Service, or the stable ReplicaSet.
    may_delete: bool,
    /// The planner is told that every version may be live until the Service has settled.
    is_vague: bool,
    /// Pods that the cluster has room for, if that is limited.
    room: Option<u8>,
    mutation: Option<fn(&Fleet, &mut Vec<Write>)>,
}

impl Config {
    fn floor(&self, fleet: &Fleet) -> u8 {
        fleet.replicas.saturating_sub(self.unavailable)
    }

    fn preview_size(&self, fleet: &Fleet) -> u8 {
        self.preview.map_or(fleet.replicas, |preview| preview.min(fleet.replicas))
    }

    /// Whether the gate before the switch is open.
    fn may_switch(&self, fleet: &Fleet) -> bool {
        !self.is_gated || fleet.may_switch || fleet.selected() == Some(fleet.current as usize)
    }

    fn may_promote(&self, fleet: &Fleet) -> bool {
        !self.is_gated || fleet.may_promote
    }
}

/// Two replicas, none may be missing, gates before and after the switch, two user actions.
fn basis(name: &'static str) -> Config {
    Config {
        name,
        replicas: 2,
        replicas_values: &[0, 1],
        unavailable: 0,
        preview: None,
        is_gated: true,
        actions: 2,
        versions: 3,
        has_delay: true,
        delayed_revisions: u8::MAX,
        keeps_aborted: false,
        is_adopted: false,
        may_halt: false,
        may_meddle: false,
        may_delete: false,
        is_vague: false,
        room: None,
        mutation: None,
    }
}

fn small() -> Vec<Config> {
    let basis = basis("bg-n2");
    let open = Config { is_gated: false, ..basis };
    vec![
        basis,
        Config { name: "bg-n2-u1", unavailable: 1, ..open },
        Config { name: "bg-n3", replicas: 3, replicas_values: &[], unavailable: 1, actions: 1, ..basis },
        Config { name: "bg-n1", replicas: 1, replicas_values: &[0, 2], actions: 3, versions: 2, ..basis },
        Config {
            name: "bg-preview",
            replicas: 3,
            replicas_values: &[0],
            preview: Some(1),
            versions: 2,
            ..basis
        },
        Config { name: "bg-halt", may_halt: true, preview: Some(1), versions: 2, actions: 3, ..basis },
        Config { name: "bg-adopted", is_adopted: true, versions: 2, ..open },
        Config { name: "bg-meddle", may_meddle: true, replicas_values: &[0], ..open },
        Config { name: "bg-meddle-u1", may_meddle: true, unavailable: 1, versions: 2, ..basis },
        Config { name: "bg-delete", may_delete: true, replicas_values: &[0], versions: 2, ..basis },
        Config { name: "bg-nodelay", has_delay: false, replicas_values: &[0], ..open },
        Config { name: "bg-revisions", delayed_revisions: 1, replicas_values: &[], ..open },
        Config { name: "bg-keep", keeps_aborted: true, replicas_values: &[0, 1], versions: 2, ..open },
        Config { name: "bg-vague", is_vague: true, replicas_values: &[1], ..open },
        Config { name: "bg-full", room: Some(4), replicas_values: &[1, 3], ..open },
    ]
}

fn large() -> Vec<Config> {
    let basis = Config { actions: 3, ..basis("bg-n2-3") };
    let n3 = Config { replicas: 3, replicas_values: &[0, 1, 2, 3], ..basis };
    let n4 = Config { replicas: 4, replicas_values: &[0, 2, 4], unavailable: 1, actions: 2, ..basis };
    let open = |config: Config| Config { is_gated: false, ..config };
    vec![
        Config { replicas_values: &[0, 1, 2], may_halt: true, preview: Some(1), ..basis },
        Config { name: "bg-n3-3", ..open(n3) },
        Config { name: "bg-n3-gated", actions: 2, ..n3 },
        Config { name: "bg-n4", ..n4 },
        Config { name: "bg-n4-preview", preview: Some(2), may_halt: true, ..n4 },
        Config { name: "bg-n3-meddle", may_meddle: true, actions: 2, ..open(n3) },
        Config { name: "bg-n2-meddle", may_meddle: true, may_delete: true, may_halt: true, ..basis },
        Config { name: "bg-n3-delete", may_delete: true, actions: 2, unavailable: 1, ..open(n3) },
        Config { name: "bg-n3-revisions", delayed_revisions: 1, actions: 2, ..open(n3) },
        Config { name: "bg-n2-no-revision", delayed_revisions: 0, may_meddle: true, ..open(basis) },
        Config { name: "bg-n3-full", room: Some(6), unavailable: 1, actions: 2, ..open(n3) },
        Config { name: "bg-n3-adopted", is_adopted: true, unavailable: 1, actions: 2, ..n3 },
        Config { name: "bg-n3-keep", keeps_aborted: true, preview: Some(1), actions: 2, ..n3 },
        Config { name: "bg-n3-vague", is_vague: true, actions: 2, ..open(n3) },
    ]
}

#[test]
fn every_interleaving_of_a_blue_green_update() {
    explore_all(&small());
}

#[test]
fn every_interleaving_of_a_large_blue_green_update() {
    if is_full() {
        explore_all(&large());
    }
}
