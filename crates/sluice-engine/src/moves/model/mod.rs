//! The planner under exhaustive exploration.
//!
//! A small cluster (ReplicaSets whose pods come and go, a data plane that follows late and in any order,
//! clocks, a user) and the production planner play against each other through every interleaving. Each
//! non-empty beginning of a plan is a transition of its own, because a crash may stop after any write.
//! The invariants are written without the planner's helpers. `SLUICE_MODEL=full cargo test --release`
//! runs the large configurations too.
//!
//! Not covered: pods lost between look and write, more than four replicas or three versions, several
//! routers, experiments, managed routes, fixed canary sizes, thresholds, real durations (settle times
//! and deadlines end in any order, the grace time is free at each pass).

mod explore;
mod mutants;
mod ratio;
mod routed;

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use self::explore::{Fair, Model, Transition, happens};
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
            Services::Both => settled_on_stable(self.stable_service) && settled_on_stable(self.canary_service),
            Services::RatioManaged | Services::RatioForeign => {
                self.stable_service.is_settled()
                    && (self.stable_service.selected == WIDE || settled_on_stable(self.stable_service))
                    && settled_on_stable(self.canary_service)
            }
            Services::None => true,
        };
        let others_gone = (0..VERSIONS).all(|v| v == self.stable as usize || self.pods[v].size == 0);
        routed && others_gone && self.weight == 0 && self.weight_is_settled() && self.stable_pods().size == self.replicas
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "N={} stable v{} current v{} index {}", self.replicas, self.stable + 1, self.current + 1, self.index)?;
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
            let selected = if service.selected == WIDE { "*".into() } else { (service.selected + 1).to_string() };
            write!(f, " | {name}{selected}{}", if service.is_settled() { "" } else { "~" })?;
        }
        write!(f, " | weight {} [{}-{}]", self.weight, self.low, self.high)
    }
}

/// One write, or one move of the step machine that follows from what the planner says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    Scale(usize, u8),
    Weight(u8),
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
    /// Pods that the cluster has room for, if that is limited.
    room: Option<u8>,
    mutation: Option<Mutation>,
}

/// What leads from one state to the next.
#[derive(Clone, Copy)]
enum Label {
    /// The first so many writes of a plan.
    Plan { grace_is_over: bool, writes: usize },
    Event(&'static str, usize),
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("in range")
}

fn later() -> Timestamp {
    now() + SignedDuration::from_secs(30)
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

    fn at_end(&self, cluster: &Cluster) -> bool {
        cluster.promote_full || cluster.index as usize >= self.steps.len()
    }

    fn state(&self, cluster: &Cluster, grace_is_over: bool) -> State {
        let sets = cluster.pods[..self.versions as usize].iter().enumerate().map(|(version, pods)| Set {
            name: ["v1", "v2", "v3"][version].to_owned(),
            size: pods.size.into(),
            available: pods.available.into(),
            ready: pods.available.into(),
            existing: pods.size.max(pods.available).into(),
            deadline: match pods.deadline {
                Delay::None => Deadline::None,
                Delay::Running => Deadline::Running(later()),
                Delay::Passed => Deadline::Passed,
            },
            trouble: None,
        });
        let destination = |name: &str, service: Service| {
            let is_wide = service.selected == WIDE;
            let live = (0..self.versions as usize).filter(|v| is_wide || service.may_use(*v)).collect();
            (self.services != Services::None).then(|| Destination {
                name: name.to_owned(),
                selected: (!is_wide).then_some(service.selected.into()),
                live,
                settles_at: (!service.is_settled()).then(later),
                is_managed: self.services != Services::RatioForeign,
            })
        };
        State {
            corridor: Corridor {
                replicas: cluster.replicas.into(),
                surge: self.surge.into(),
                unavailable: self.unavailable(cluster.replicas).into(),
            },
            max_weight: self.max_weight.into(),
            sets: sets.collect(),
            stable: Some(cluster.stable.into()),
            new: Some(cluster.current.into()),
            split: match self.split {
                Split::ByRatio => Split::ByRatio,
                Split::ByRouter { staged, ping_pong, .. } => {
                    Split::ByRouter { dynamic_stable: cluster.dynamic_stable, staged, ping_pong }
                }
            },
            stable_destination: destination("stable", cluster.stable_service),
            canary_destination: destination("canary", cluster.canary_service),
            weight: LiveWeight {
                requested: cluster.weight.into(),
                low: cluster.low.into(),
                high: cluster.high.into(),
                settles_at: None,
            },
            is_asleep: cluster.is_asleep,
            grace_is_over,
        }
    }

    fn intent(&self, cluster: &Cluster) -> Intent {
        Intent {
            direction: match () {
                () if cluster.is_promoted() => Direction::Rest,
                () if cluster.is_aborted => Direction::Back,
                () => Direction::Going,
            },
            is_halted: cluster.is_halted,
            promote_full: cluster.promote_full,
            weight: self.steps.get(cluster.index as usize).copied().unwrap_or(self.max_weight).into(),
            at_end: self.at_end(cluster),
            canary_size: None,
            min_pods: self.min_pods.into(),
            threshold: Threshold::All,
            scale_down_delay: SignedDuration::from_secs(if self.is_routed() { 30 } else { 0 }),
            abort_scale_down_delay: (Some(SignedDuration::from_secs(30)), self.keeps_aborted),
        }
    }

    /// Asks the planner, and says what its answer does to the cluster.
    fn plan(&self, cluster: &Cluster, grace_is_over: bool) -> (Vec<Write>, Option<Wait>) {
        let moves = plan_moves(&self.state(cluster, grace_is_over), &self.intent(cluster), now());
        let small = |number: i64| u8::try_from(number).expect("a small number");
        let mut writes: Vec<Write> = Vec::with_capacity(moves.writes.len() + 1);
        writes.extend(moves.writes.iter().map(|write| match *write.kind() {
            MoveKind::Scale { version, to, .. } => Write::Scale(version, small(to)),
            MoveKind::Weight(weight) => Write::Weight(small(weight)),
            MoveKind::SelectStable(version) => Write::SelectStable(version as u8),
            MoveKind::SelectCanary(version) => Write::SelectCanary(version as u8),
            MoveKind::WidenStable => Write::SelectStable(WIDE),
            MoveKind::SetDeadline(version, _) => Write::SetDeadline(version),
            MoveKind::ClearDeadline(version) => Write::ClearDeadline(version),
        }));
        if moves.is_awake && cluster.is_asleep {
            writes.push(Write::Awake);
        }
        if cluster.is_going() && !cluster.is_halted {
            if self.at_end(cluster) && moves.may_promote {
                writes.push(Write::Promote);
            } else if !self.at_end(cluster) && moves.arrived {
                writes.push(Write::StepDone);
            }
        }
        if let Some(mutate) = self.mutation {
            mutate(cluster, &mut writes);
        }
        (writes, moves.wait)
    }

    fn apply(&self, cluster: &mut Cluster, write: Write) {
        match write {
            Write::Scale(version, size) => {
                cluster.pods[version].size = size;
                if size == 0 {
                    cluster.pods[version].deadline = Delay::None;
                }
            }
            Write::Weight(weight) => {
                cluster.weight = weight;
                cluster.low = cluster.low.min(weight);
                cluster.high = cluster.high.max(weight);
            }
            Write::SelectStable(version) => cluster.stable_service.select(version),
            Write::SelectCanary(version) => cluster.canary_service.select(version),
            Write::SetDeadline(version) => cluster.pods[version].deadline = Delay::Running,
            Write::ClearDeadline(version) => cluster.pods[version].deadline = Delay::None,
            Write::Awake => cluster.is_asleep = false,
            Write::StepDone => cluster.index += 1,
            Write::Promote => {
                cluster.stable = cluster.current;
                cluster.index = self.steps.len() as u8;
                cluster.promote_full = false;
                if matches!(self.split, Split::ByRouter { ping_pong: true, .. }) {
                    // The Services swap their roles; what leads where stays as it is.
                    std::mem::swap(&mut cluster.stable_service, &mut cluster.canary_service);
                    let (low, high) = (self.max_weight - cluster.high, self.max_weight - cluster.low);
                    (cluster.weight, cluster.low, cluster.high) = (self.max_weight - cluster.weight, low, high);
                }
            }
        }
    }

    fn check(&self, before: &Cluster, after: &Cluster, write: Write) -> Result<(), String> {
        if self.is_routed() { routed::check(self, before, after, write) } else { ratio::check(self, before, after, write) }
    }

    fn planner(&self, cluster: &Cluster, out: &mut Vec<Transition<Cluster, Label>>) -> Result<(), String> {
        let mut can_begin_grace = true;
        for grace_is_over in [false, true] {
            let (plan, wait) = self.plan(cluster, grace_is_over);
            if !grace_is_over {
                // The grace time is measured from the instant at which this wait shows.
                can_begin_grace = !plan.is_empty() || wait.as_ref().is_some_and(|w| w.reason == WaitReason::Carry);
            } else if !plan.is_empty() && !can_begin_grace {
                return Err(format!("{plan:?} is for after a grace time that never begins\n  at {cluster:?}"));
            }
            if plan.is_empty() {
                let goal = !cluster.is_going() && cluster.is_at_goal(self.services);
                let stands = goal && cluster.pods.iter().all(|pods| pods.size == pods.available);
                if wait.is_none() && !stands {
                    return Err(format!("I11: nothing to do and no wait\n  at {cluster:?}"));
                }
                if let Some(wait) = wait.filter(|_| stands && cluster.replicas > 0) {
                    return Err(format!("all is done, yet it waits: {wait}\n  at {cluster:?}"));
                }
            }
            let mut next = *cluster;
            for (index, write) in plan.iter().enumerate() {
                let before = next;
                self.apply(&mut next, *write);
                self.check(&before, &next, *write)
                    .map_err(|error| format!("{error}\n  by {write:?} of {plan:?}\n  at {cluster:?}"))?;
                let label = Label::Plan { grace_is_over, writes: index + 1 };
                if next != *cluster {
                    out.push(Transition { to: next, label, happens: happens::ALWAYS });
                }
            }
            if !self.is_routed() {
                ratio::check_pass(cluster, &next).map_err(|error| format!("{error}\n  by {plan:?}\n  at {cluster:?}"))?;
            }
        }
        Ok(())
    }

    /// What pods, clocks and the data plane do.
    fn environment(&self, cluster: &Cluster, out: &mut Vec<Transition<Cluster, Label>>) {
        let mut event = |name, version: usize, happens, change: &dyn Fn(&mut Cluster)| {
            let mut to = *cluster;
            change(&mut to);
            if to != *cluster {
                out.push(Transition { to, label: Label::Event(name, version), happens });
            }
        };
        let has_room = self.room.is_none_or(|room| cluster.available() < room);
        for (version, pods) in cluster.pods.iter().enumerate() {
            if pods.available < pods.size && has_room {
                let of_stable = version == cluster.stable as usize;
                let happens = if of_stable { happens::FOR_STABLE } else { happens::FOR_OTHERS };
                event("pod ready", version, happens, &|to| to.pods[version].available += 1);
            }
            if pods.available > pods.size {
                event("pod deleted", version, happens::ALWAYS, &|to| to.pods[version].available -= 1);
            } else if pods.available > 0 {
                event("pod LOST", version, happens::NEVER, &|to| to.pods[version].available -= 1);
            }
            if pods.deadline == Delay::Running {
                event("deadline passes", version, happens::ALWAYS, &|to| to.pods[version].deadline = Delay::Passed);
            }
        }
        event("weight settles", 0, happens::ALWAYS, &|to| (to.low, to.high) = (to.weight, to.weight));
        let settle = |service: &mut Service| *service = Service::on(service.selected);
        event("stable Service settles", 0, happens::ALWAYS, &|to| settle(&mut to.stable_service));
        event("canary Service settles", 0, happens::ALWAYS, &|to| settle(&mut to.canary_service));
    }

    /// What a person may do.
    fn user(&self, cluster: &Cluster, out: &mut Vec<Transition<Cluster, Label>>) {
        if cluster.actions_left == 0 {
            return;
        }
        let mut action = |name, number: usize, change: &dyn Fn(&mut Cluster)| {
            let mut to = *cluster;
            to.actions_left -= 1;
            change(&mut to);
            out.push(Transition { to, label: Label::Event(name, number), happens: happens::NEVER });
        };
        let start_over = |to: &mut Cluster| {
            (to.is_aborted, to.promote_full, to.index) = (false, false, 0);
        };
        if cluster.is_going() {
            action("USER aborts", 0, &|to| {
                start_over(to);
                (to.is_aborted, to.is_halted) = (true, false);
            });
        }
        if !cluster.is_promoted() {
            if cluster.is_aborted {
                action("USER retries", 0, &|to| to.is_aborted = false);
            } else if !cluster.promote_full {
                action("USER promotes in full", 0, &|to| to.promote_full = true);
            }
            action("USER goes back to stable", 0, &|to| {
                start_over(to);
                (to.current, to.index) = (to.stable, self.steps.len() as u8);
            });
        }
        if cluster.current + 1 < self.versions {
            action("USER sets a new image", 0, &|to| {
                start_over(to);
                to.current += 1;
            });
        }
        if self.may_halt {
            action("USER halts or resumes", 0, &|to| to.is_halted = !to.is_halted);
        }
        if self.may_toggle {
            action("USER toggles dynamicStableScale", 0, &|to| to.dynamic_stable = !to.dynamic_stable);
        }
        for replicas in self.replicas_values.iter().filter(|replicas| **replicas != cluster.replicas) {
            action("USER sets replicas", *replicas as usize, &|to| {
                to.replicas = *replicas;
                to.is_asleep |= *replicas == 0;
            });
        }
    }
}

impl Model for Config {
    type State = Cluster;
    type Label = Label;

    fn initial(&self) -> Cluster {
        let mut pods = [Pods::default(); VERSIONS];
        pods[0] = Pods { size: self.replicas, available: self.replicas, deadline: Delay::None };
        Cluster {
            replicas: self.replicas,
            stable: 0,
            current: 1,
            index: 0,
            is_aborted: false,
            promote_full: false,
            is_halted: false,
            is_asleep: false,
            dynamic_stable: matches!(self.split, Split::ByRouter { dynamic_stable: true, .. }),
            pods,
            stable_service: Service::on(if self.services == Services::None { WIDE } else { 0 }),
            canary_service: Service::on(0),
            weight: 0,
            low: 0,
            high: 0,
            actions_left: self.actions,
        }
    }

    fn transitions(&self, cluster: &Cluster, out: &mut Vec<Transition<Cluster, Label>>) -> Result<(), String> {
        self.planner(cluster, out)?;
        self.environment(cluster, out);
        self.user(cluster, out);
        Ok(())
    }

    fn may_end(&self, cluster: &Cluster, fair: Fair) -> Result<(), String> {
        let verdict =
            if self.is_routed() { routed::may_end(self, cluster, fair) } else { ratio::may_end(self, cluster, fair) };
        verdict.map_err(|error| {
            let wait = self.plan(cluster, false).1.map_or_else(|| "nothing".into(), |wait| wait.to_string());
            format!("{error}; waits for {wait}\n  at {cluster:?}")
        })
    }

    fn describe(&self, from: &Cluster, label: Label) -> String {
        match label {
            Label::Plan { grace_is_over, writes } => {
                let grace = if grace_is_over { "grace over, " } else { "" };
                format!("{grace}{:?}", &self.plan(from, grace_is_over).0[..writes])
            }
            Label::Event(name, number) => format!("{name} ({number})"),
        }
    }
}

/// Whether the large configurations run too.
fn is_full() -> bool {
    std::env::var("SLUICE_MODEL").is_ok_and(|value| value == "full")
}

/// Explores configurations, and tells the figures of each.
#[track_caller]
fn explore_all(configs: &[Config]) {
    let max_states = if is_full() { 30_000_000 } else { 300_000 };
    let only = std::env::var("SLUICE_MODEL_ONLY").unwrap_or_default();
    let mut failures = Vec::new();
    for config in configs.iter().filter(|config| config.name.starts_with(&only)) {
        let begin = std::time::Instant::now();
        match explore::explore(config, max_states) {
            Ok(figures) => println!("{:<22} {figures:?} {:.1} s", config.name, begin.elapsed().as_secs_f64()),
            Err(error) => failures.push(format!("{}: {error}", config.name)),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
