//! The planner under exhaustive exploration.
//!
//! A small cluster (ReplicaSets whose pods come and go, a data plane that follows late and in any order,
//! clocks, a user) and the production planner play against each other through every interleaving. Each
//! non-empty beginning of a plan is a transition of its own, because a crash may stop after any write.
//! The invariants are written without the planner's helpers. `SLUICE_MODEL=full cargo test --release`
//! runs the large configurations too.
//!
//! Not covered: pods lost between look and write, more than four replicas or three versions, several
//! routers, experiments, fixed canary sizes, thresholds, real durations (settle times and deadlines end in
//! any order, the grace time is free at each pass).

mod blue_green;
mod explore;
mod mutants;
mod play;
mod ratio;
mod routed;

use std::fmt;

use super::*;

/// The most versions in a model.
const VERSIONS: usize = 3;
/// A Service that is not narrowed to one version.
const WIDE: u8 = u8::MAX;
/// All versions, as a set of bits.
const ANY: u8 = (1 << VERSIONS) - 1;

/// One ReplicaSet: wanted and available pods, and how its deadline stands.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Pods {
    size: u8,
    available: u8,
    deadline: Delay,
}

impl Pods {
    /// Available pods that no pending shrink condemns.
    fn stay(self) -> u8 {
        self.size.min(self.available)
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Delay {
    #[default]
    None,
    Running,
    Passed,
}

/// A Service: the version that its selector names, and the versions that the data plane may still use
/// for it, as bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Service {
    selected: u8,
    live: u8,
}

impl Service {
    fn on(version: u8) -> Service {
        let live = if version == WIDE { ANY } else { 1 << version };
        Service { selected: version, live }
    }

    fn is_settled(self) -> bool {
        self == Service::on(self.selected)
    }

    fn may_use(self, version: usize) -> bool {
        self.live >> version & 1 == 1
    }

    fn select(&mut self, version: u8) {
        self.selected = version;
        if version != WIDE {
            self.live |= 1 << version;
        }
    }
}

/// The managed routes: whether they are asked for, may be followed already, and may be unknown still.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Managed {
    requested: bool,
    may_be_live: bool,
    may_be_absent: bool,
}

impl Managed {
    const GONE: Managed = Managed { requested: false, may_be_live: false, may_be_absent: true };

    fn ask(&mut self, wanted: bool) {
        self.requested = wanted;
        self.may_be_live |= wanted;
        self.may_be_absent |= !wanted;
    }

    fn settle(&mut self) {
        (self.may_be_live, self.may_be_absent) = (self.requested, !self.requested);
    }
}

/// Everything that a model remembers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Cluster {
    replicas: u8,
    stable: u8,
    current: u8,
    index: u8,
    is_aborted: bool,
    promote_full: bool,
    is_halted: bool,
    is_asleep: bool,
    dynamic_stable: bool,
    pods: [Pods; VERSIONS],
    stable_service: Service,
    canary_service: Service,
    weight: u8,
    low: u8,
    high: u8,
    managed: Managed,
    actions_left: u8,
}

impl Cluster {
    fn is_promoted(&self) -> bool {
        self.stable == self.current
    }

    fn is_going(&self) -> bool {
        !self.is_promoted() && !self.is_aborted
    }

    fn stable_pods(&self) -> Pods {
        self.pods[self.stable as usize]
    }

    fn weight_is_settled(&self) -> bool {
        self.low == self.high && self.high == self.weight
    }

    fn available(&self) -> u8 {
        self.pods.iter().map(|pods| pods.available).sum()
    }

    fn stay(&self) -> u8 {
        self.pods.iter().map(|pods| pods.stay()).sum()
    }

    fn size(&self) -> u8 {
        self.pods.iter().map(|pods| pods.size).sum()
    }

    /// Only the stable version is left, at its size, and everything leads to it.
    fn is_at_goal(&self, services: Services) -> bool {
        let settled_on_stable = |service: Service| service == Service::on(self.stable);
        let routed = match services {
            Services::Both | Services::Adopted => {
                settled_on_stable(self.stable_service) && settled_on_stable(self.canary_service)
            }
            Services::RatioManaged | Services::RatioForeign => {
                self.stable_service.is_settled()
                    && (self.stable_service.selected == WIDE || settled_on_stable(self.stable_service))
                    && settled_on_stable(self.canary_service)
            }
            Services::None => true,
        };
        let others_gone = (0..VERSIONS).all(|v| v == self.stable as usize || self.pods[v].size == 0);
        routed
            && others_gone
            && self.weight == 0
            && self.weight_is_settled()
            && self.managed == Managed::GONE
            && self.stable_pods().size == self.replicas
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "N={} stable v{} current v{} index {}",
            self.replicas,
            self.stable + 1,
            self.current + 1,
            self.index
        )?;
        for (holds, word) in [
            (self.is_aborted, " ABORTED"),
            (self.promote_full, " FULL"),
            (self.is_halted, " HALTED"),
            (self.is_asleep, " ASLEEP"),
            (self.dynamic_stable, " DSS"),
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
        for (name, service) in [("S", self.stable_service), ("C", self.canary_service)] {
            let selected =
                if service.selected == WIDE { "*".into() } else { (service.selected + 1).to_string() };
            write!(f, " | {name}{selected}{}", if service.is_settled() { "" } else { "~" })?;
        }
        write!(f, " | weight {} [{}-{}]", self.weight, self.low, self.high)?;
        let late = if self.managed.may_be_live == self.managed.may_be_absent { "~" } else { "" };
        match (self.managed.requested, late) {
            (false, "") => Ok(()),
            (false, late) => write!(f, " | no routes{late}"),
            (true, late) => write!(f, " | routes{late}"),
        }
    }
}

/// One write, or one move of the step machine that follows from what the planner says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    Scale(usize, u8),
    Weight(u8),
    Managed(bool),
    SelectStable(u8),
    SelectCanary(u8),
    SetDeadline(usize),
    ClearDeadline(usize),
    Awake,
    StepDone,
    Promote,
}

/// The Services of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Services {
    None,
    /// Of a canary with a router.
    Both,
    /// The same, not narrowed yet: the first rollout with a router.
    Adopted,
    /// Of a canary without one, both narrowed to the stable version by an earlier controller.
    RatioManaged,
    /// The same, narrowed by hand: not ours to widen.
    RatioForeign,
}

/// Changes a plan for the worse, to see that somebody notices.
type Mutation = fn(&Cluster, &mut Vec<Write>);

/// One set of numbers to explore.
#[derive(Clone, Copy)]
struct Config {
    name: &'static str,
    split: Split,
    services: Services,
    replicas: u8,
    /// The values that a user gives `replicas`.
    replicas_values: &'static [u8],
    steps: &'static [u8],
    max_weight: u8,
    surge: u8,
    unavailable: u8,
    /// How often a user may act.
    actions: u8,
    versions: u8,
    may_halt: bool,
    may_toggle: bool,
    min_pods: u8,
    keeps_aborted: bool,
    /// The step from which managed routes are wanted, if any.
    managed_from: Option<u8>,
    /// The router fails when the stable destination has no pods.
    needs_live_primary: bool,
    /// Pods that the cluster has room for, if that is limited.
    room: Option<u8>,
    mutation: Option<Mutation>,
}

/// What leads from one state to the next.
#[derive(Clone, Copy)]
enum Label {
    /// The first so many writes of a plan.
    Plan {
        grace_is_over: bool,
        writes: usize,
    },
    Event(&'static str, usize),
}

impl Config {
    fn is_routed(&self) -> bool {
        self.split != Split::ByRatio
    }

    fn unavailable(&self, replicas: u8) -> u8 {
        self.unavailable.min(replicas)
    }

    /// Available pods that no write may take away.
    fn floor(&self, cluster: &Cluster) -> u8 {
        cluster.replicas - self.unavailable(cluster.replicas)
    }

    /// Whether the steps so far ask for managed routes.
    fn wants_managed(&self, cluster: &Cluster) -> bool {
        cluster.is_going()
            && !cluster.promote_full
            && self.managed_from.is_some_and(|from| cluster.index >= from)
    }

    fn at_end(&self, cluster: &Cluster) -> bool {
        cluster.promote_full || cluster.index as usize >= self.steps.len()
    }
}

/// Whether the large configurations run too.
fn is_full() -> bool {
    std::env::var("SLUICE_MODEL").is_ok_and(|value| value == "full")
}

/// Explores configurations, and tells the figures of each.
#[track_caller]
fn explore_all<M: explore::Model>(models: &[M]) {
    let max_states = if is_full() { 30_000_000 } else { 300_000 };
    let only = std::env::var("SLUICE_MODEL_ONLY").unwrap_or_default();
    let mut failures = Vec::new();
    for model in models.iter().filter(|model| model.name().starts_with(&only)) {
        match explore::explore(model, max_states) {
            Ok(figures) => println!("{:<22} {figures:?}", model.name()),
            Err(error) => failures.push(format!("{}: {error}", model.name())),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
