//! Plays a scenario: does what it says, undoes what went wrong, and looks at where it ends.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use sluice_sim::controllers::Settings;
use sluice_sim::{Failure, When};

use super::bench::{Bench, CONTROLLERS};
use super::ending::{self, Ending};
use super::scenario::{Event, Finale, Scenario, image};

/// How long everything must have been quiet to count as at rest: longer than any deadline or pause.
const REST_SECONDS: i64 = 130;
/// How long a run may take to come to rest once everything is whole.
const LIMIT: SignedDuration = SignedDuration::from_mins(40);
/// The same where pods come and go for ever.
const RESTLESS_LIMIT: SignedDuration = SignedDuration::from_mins(3);
/// How long a run that is at rest is watched.
const WATCHED_SECONDS: u64 = 240;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Where it ended, or what was wrong.
    pub result: Result<Ending, String>,
    /// A print of everything that was written.
    pub print: u64,
    /// How often the controllers wrote.
    pub writes: u64,
    /// Every write, if asked for.
    pub timeline: Vec<String>,
}

/// Plays `scenario` to its end.
pub async fn play(scenario: Scenario, with_timeline: bool) -> Outcome {
    let settings = Settings {
        ready_after: SignedDuration::from_millis(scenario.ready_ms),
        ready_jitter: SignedDuration::from_millis(scenario.ready_ms),
        ..Settings::default()
    };
    let bench = Bench::new(scenario.seed, settings, scenario.has_lease);
    if with_timeline {
        bench.checker.keep_timeline();
    }
    let healed_at = jiff::Timestamp::MIN;
    let mut player = Player { bench, scenario, healings: Vec::new(), healed_at, tags: Vec::new() };
    let result = player.run().await;
    let checker = &player.bench.checker;
    let result = match (checker.violations().first(), result) {
        (Some(violation), _) => Err(violation.to_string()),
        (None, result) => result,
    };
    Outcome { result, print: checker.print(), writes: checker.own_writes(), timeline: checker.timeline() }
}

/// What ends a fault.
#[derive(Clone, Debug, PartialEq)]
enum Healing {
    Start,
    KillIfStopped(u64),
    Watches,
    Muted,
    Lists,
    Latency,
    Mend(usize),
    Service(&'static str),
}

struct Player {
    bench: Bench,
    scenario: Scenario,
    /// What is to be undone, and when.
    healings: Vec<(jiff::Timestamp, Healing)>,
    /// When the last of it was undone: whoever could not be reached is asked again up to half a minute later.
    healed_at: jiff::Timestamp,
    /// Tags that were applied, newest last.
    tags: Vec<String>,
}

impl Player {
    async fn run(&mut self) -> Result<Ending, String> {
        for name in self.scenario.services.clone() {
            self.bench.create(Scenario::service(name));
        }
        let rollout = self.scenario.rollout.clone();
        let first =
            rollout["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
        self.tags.push(first.rsplit_once(':').map_or("", |(_, tag)| tag).to_owned());
        self.bench.create(rollout);
        self.bench.start();
        for (gap, event) in self.scenario.events.clone() {
            self.wait_ms(gap).await;
            self.explained(gap)?;
            self.bench.checker.note(self.bench.now(), &format!("{event:?}"));
            self.happen(event);
        }
        self.wait_ms(100).await;
        self.heal_all();
        self.finale().await;
        let limit = if ending::is_never_still(&self.bench) { RESTLESS_LIMIT } else { LIMIT };
        let mut rests = self.bench.comes_to_rest(REST_SECONDS, limit).await;
        if !rests && !ending::is_never_still(&self.bench) {
            rests = self.bench.comes_to_rest(REST_SECONDS, LIMIT).await;
        }
        if self.bench.has_died() {
            return Err("the controller ended".into());
        }
        if self.bench.unexplained() > 0 {
            return Err(format!("{} decisions found neither goal, write nor wait", self.bench.unexplained()));
        }
        let ending = ending::judge(&self.bench).map_err(|problem| format!("end: {problem}"))?;
        if ending == Ending::Restless {
            return Ok(ending);
        }
        if !rests {
            return Err(format!("I6: not at rest within {LIMIT:#}"));
        }
        self.finale_is_reached(ending)?;
        self.quiet().await?;
        Ok(ending)
    }

    /// Lets time pass, and undoes what is due meanwhile.
    async fn wait_ms(&mut self, ms: u64) {
        let end = self.bench.now() + SignedDuration::from_millis(i64::try_from(ms).unwrap_or(0));
        loop {
            let now = self.bench.now();
            self.heal_due(now);
            if now >= end {
                return;
            }
            let next =
                self.healings.iter().map(|(at, _)| *at).filter(|at| *at > now).min().unwrap_or(end).min(end);
            let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
            // Timers have whole milliseconds.
            tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
        }
    }

    fn heal_due(&mut self, now: jiff::Timestamp) {
        let (due, later): (Vec<_>, Vec<_>) = self.healings.drain(..).partition(|(at, _)| *at <= now);
        self.healings = later;
        for (_, healing) in due {
            self.heal(healing);
        }
    }

    fn later(&mut self, ms: u64, healing: Healing) {
        let at = self.bench.now() + SignedDuration::from_millis(i64::try_from(ms).unwrap_or(0));
        self.healings.push((at, healing));
    }

    fn lag(&self, for_ms: u64, by_ms: u64) {
        let ms = |ms: u64| SignedDuration::from_millis(i64::try_from(ms).unwrap_or(0));
        self.bench.checker.expect_lag(self.bench.now() + ms(for_ms), ms(by_ms));
    }

    fn everybody(&self) -> &'static [&'static str] {
        if self.scenario.has_lease { &CONTROLLERS } else { &CONTROLLERS[..1] }
    }

    fn heal(&mut self, healing: Healing) {
        self.healed_at = self.bench.now();
        let faults = self.bench.cluster.faults();
        let version = self.bench.cluster.resource_version();
        match healing {
            Healing::Start => self.bench.start(),
            Healing::KillIfStopped(down) => {
                if self.everybody().iter().any(|who| faults.is_stopped(who)) {
                    self.restart_stopped();
                    self.later(down, Healing::Start);
                } else {
                    self.later(500, Healing::KillIfStopped(down));
                }
            }
            Healing::Watches => {
                for who in self.everybody() {
                    for kind in WATCHED {
                        faults.delay_watch(who, kind, Duration::ZERO);
                    }
                }
            }
            Healing::Muted => {
                for who in self.everybody() {
                    faults.expire_watches(who, version);
                }
            }
            Healing::Lists => {
                for who in self.everybody() {
                    faults.stale_lists(who, 0);
                }
            }
            Healing::Latency => {
                for who in self.everybody() {
                    faults.latency(who, Duration::ZERO, Duration::ZERO);
                }
            }
            Healing::Mend(number) => faults.mend(CONTROLLERS[number]),
            Healing::Service(name) => {
                if self.bench.cluster.get("Service", Some("default"), name).is_none() {
                    self.bench.create(Scenario::service(name));
                }
            }
        }
    }

    /// A controller that was stopped at a write is dead, and everybody else with it.
    fn restart_stopped(&mut self) {
        self.bench.kill();
        for who in self.everybody() {
            self.bench.cluster.faults().restart(who);
        }
    }

    fn heal_all(&mut self) {
        self.bench.checker.note(self.bench.now(), "everything is whole again");
        let faults = self.bench.cluster.faults();
        let is_stopped = self.everybody().iter().any(|who| faults.is_stopped(who));
        for (_, healing) in std::mem::take(&mut self.healings) {
            if !matches!(healing, Healing::KillIfStopped(_) | Healing::Start) {
                self.heal(healing);
            }
        }
        if is_stopped {
            self.restart_stopped();
        }
        for who in self.everybody() {
            self.bench.cluster.faults().clear(who);
        }
        self.bench.start();
        self.lag(60_000, 60_000);
    }

    fn happen(&mut self, event: Event) {
        let bench = &self.bench;
        let status = bench.rollout()["status"].clone();
        let index = crate::simulation::number(&status, "/currentStepIndex");
        let steps =
            bench.rollout()["spec"]["strategy"]["canary"]["steps"].as_array().map_or(0, Vec::len) as i64;
        let is_promoted = status["stableRS"] == status["currentPodHash"];
        let is_paused = status["pauseConditions"].as_array().is_some_and(|list| !list.is_empty());
        match event {
            Event::Image(tag) => {
                bench.image(&tag);
                self.tags.push(tag);
            }
            Event::OldImage(back) => {
                let tag = self.tags[self.tags.len().saturating_sub(1 + back)].clone();
                bench.image(&tag);
                self.tags.push(tag);
            }
            Event::Scale(replicas) => bench.apply(json!({"spec": {"replicas": replicas}})),
            Event::ImageAndScale(tag, replicas) => {
                let mut template = bench.rollout()["spec"]["template"].clone();
                template["spec"]["containers"][0]["image"] = image(&tag).into();
                bench.apply(json!({"spec": {"replicas": replicas, "template": template}}));
                self.tags.push(tag);
            }
            Event::SpecPaused(paused) => bench.apply(json!({"spec": {"paused": paused}})),
            Event::Resume => bench.status(json!({"pauseConditions": null})),
            Event::Promote if is_paused => {
                bench.apply(json!({"spec": {"paused": false}}));
                bench.status(json!({"pauseConditions": null}));
            }
            Event::Promote | Event::SkipStep if steps > 0 && !is_promoted => {
                bench.status(json!({"pauseConditions": null, "currentStepIndex": (index + 1).min(steps)}));
            }
            Event::SkipAllSteps if steps > 0 && !is_promoted => {
                bench.status(json!({"currentStepIndex": steps}));
            }
            Event::PromoteFull => {
                bench.apply(json!({"spec": {"paused": false}}));
                if !is_promoted {
                    bench.status(json!({"promoteFull": true}));
                }
            }
            Event::Abort => bench.status(json!({"abort": true})),
            Event::Retry => bench.status(json!({"abort": false})),
            Event::Promote | Event::SkipStep | Event::SkipAllSteps => {}
            Event::Steps(steps) => bench.apply(json!({"spec": {"strategy": {"canary": {"steps": steps}}}})),
            Event::Bounds(surge, unavailable) => {
                bench.apply(json!({"spec": {"strategy": {"canary": {"maxSurge": surge, "maxUnavailable": unavailable}}}}));
            }
            Event::Annotate(number) => bench
                .apply(json!({"metadata": {"annotations": {"example.com/owner": format!("team-{number}")}}})),
            Event::LosePods(count) => {
                let pods = bench.cluster.list("Pod", Some("default"));
                let step = (pods.len() / count.max(1)).max(1);
                for pod in pods.iter().step_by(step).take(count) {
                    bench.delete("Pod", pod["metadata"]["name"].as_str().unwrap_or_default());
                }
            }
            Event::ResizeSet(back, size) => {
                let sets = bench.sets();
                if let Some(set) = sets.iter().rev().nth(back) {
                    let name = set["metadata"]["name"].as_str().unwrap_or_default();
                    bench.patch("ReplicaSet", name, None, json!({"spec": {"replicas": size}}));
                }
            }
            Event::LoseService(number, ms) => {
                let name = self.scenario.services[number];
                bench.delete("Service", name);
                self.later(ms, Healing::Service(name));
            }
            Event::LoseSelector(number, with_mark) => {
                let key = "argo-rollouts.argoproj.io/managed-by-rollouts";
                let mark = if with_mark { json!({key: null}) } else { json!({}) };
                let patch = json!({
                    "metadata": {"annotations": mark},
                    "spec": {"selector": {"rollouts-pod-template-hash": null}},
                });
                bench.patch("Service", self.scenario.services[number], None, patch);
            }
            Event::BlueGreen(settings) => bench.apply(json!({"spec": {"strategy": {"blueGreen": settings}}})),
            other => self.go_wrong(other),
        }
    }

    fn go_wrong(&mut self, event: Event) {
        let cluster = self.bench.cluster.clone();
        let faults = cluster.faults();
        let everybody = self.everybody();
        match event {
            Event::Kill(down) => {
                self.bench.kill();
                self.later(down, Healing::Start);
            }
            Event::KillAtWrite(k, down) => {
                if everybody.iter().any(|who| faults.is_stopped(who)) {
                    self.restart_stopped();
                    self.bench.start();
                }
                for who in everybody {
                    faults.stop_after_writes(who, k);
                }
                self.later(500, Healing::KillIfStopped(down));
            }
            Event::Conflict(n) => everybody.iter().for_each(|who| faults.conflict_update(who, n)),
            Event::FailWrite(n, is_stored, how) => {
                let when = if is_stored { When::After } else { When::Before };
                let failure =
                    [Failure::Internal, Failure::Unavailable, Failure::Timeout, Failure::Connection]
                        [usize::from(how)];
                everybody.iter().for_each(|who| faults.fail_write(who, n, when, failure));
            }
            Event::LateWatch(kind, by, ms) => {
                let kind = WATCHED[usize::from(kind)];
                for who in everybody {
                    faults.delay_watch(who, kind, Duration::from_millis(by));
                }
                self.lag(ms + by + 500, by + 500);
                self.later(ms, Healing::Watches);
            }
            Event::MuteWatches(ms) => {
                let version = self.bench.cluster.resource_version();
                everybody.iter().for_each(|who| faults.mute_watches(who, version));
                self.lag(ms + 15_000, ms + 15_000);
                self.later(ms, Healing::Muted);
            }
            Event::DropWatches => {
                everybody.iter().for_each(|who| faults.drop_watches(who));
                self.lag(5_000, 5_000);
            }
            Event::ExpireWatches => {
                let version = self.bench.cluster.resource_version();
                everybody.iter().for_each(|who| faults.expire_watches(who, version));
                self.lag(15_000, 15_000);
            }
            Event::StaleLists(ms) => {
                everybody.iter().for_each(|who| faults.stale_lists(who, 30));
                self.later(ms, Healing::Lists);
            }
            Event::Throttle(count) => everybody.iter().for_each(|who| faults.throttle(who, count, 2)),
            Event::Slow(ms) => {
                for who in everybody {
                    faults.latency(who, Duration::from_millis(5), Duration::from_millis(700));
                }
                self.lag(ms + 5_000, 8_000);
                self.later(ms, Healing::Latency);
            }
            Event::Cut(ms) => {
                faults.cut(CONTROLLERS[0]);
                self.lag(ms + 20_000, ms + 20_000);
                self.later(ms, Healing::Mend(0));
            }
            _ => {}
        }
    }

    /// I11: after a while without a write, the status says what is awaited.
    fn explained(&self, gap_ms: u64) -> Result<(), String> {
        let idle = self.bench.now().duration_since(self.bench.checker.last_write());
        let is_asked_again = self.healed_at + SignedDuration::from_secs(30) > self.bench.now();
        let is_early = idle < SignedDuration::from_secs(15) || is_asked_again;
        if gap_ms < 20_000 || is_early || !self.healings.is_empty() {
            return Ok(());
        }
        let rollout = self.bench.rollout();
        let status = &rollout["status"];
        let text = |field: &str| status[field].as_str().unwrap_or_default();
        let is_said = match text("phase") {
            "Healthy" => text("stableRS") == text("currentPodHash"),
            "Paused" | "Degraded" => !text("message").is_empty(),
            _ => {
                let conditions = status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
                let is_wait = |condition: &Value| {
                    condition["type"] == "Waiting"
                        && condition["message"].as_str().is_some_and(|text| text.contains(", wanted "))
                };
                !text("message").is_empty() && conditions.iter().any(is_wait)
            }
        };
        if is_said {
            Ok(())
        } else {
            Err(format!("I11: at rest for {idle:#}, and nothing says why: {status}"))
        }
    }

    async fn finale(&mut self) {
        let finale = self.scenario.finale;
        self.bench.checker.note(self.bench.now(), &format!("finale: {finale:?}"));
        if finale == Finale::Rest {
            return;
        }
        self.bench.image("last-good");
        if finale == Finale::Promoted {
            self.bench.apply(json!({"spec": {"paused": false}}));
            // A person promotes what they see.
            for _ in 0..60 {
                self.bench.pass_ms(1_000).await;
                let rollout = self.bench.rollout();
                let is_seen = rollout["status"]["observedGeneration"].as_str()
                    == Some(rollout["metadata"]["generation"].to_string().as_str());
                if is_seen {
                    if rollout["status"]["stableRS"] != rollout["status"]["currentPodHash"] {
                        self.bench.status(json!({"promoteFull": true}));
                    }
                    return;
                }
            }
        }
    }

    fn finale_is_reached(&self, ending: Ending) -> Result<(), String> {
        let fits = match self.scenario.finale {
            Finale::Rest => true,
            Finale::GoodImage => {
                ending != Ending::Aborted || self.scenario.rollout["spec"]["progressDeadlineAbort"] == true
            }
            Finale::Promoted => matches!(ending, Ending::Healthy | Ending::Asleep),
        };
        if fits {
            Ok(())
        } else {
            Err(format!(
                "end: {ending:?} after {:?}: {}",
                self.scenario.finale,
                self.bench.rollout()["status"]
            ))
        }
    }

    /// I6: at rest nothing is written and nothing is asked.
    async fn quiet(&self) -> Result<(), String> {
        let before = (self.bench.checker.last_write(), self.bench.checker.own_writes());
        self.bench.cluster.clear_audit();
        self.bench.pass_ms(WATCHED_SECONDS * 1_000).await;
        let is_still = self.bench.checker.last_write() == before.0;
        let mut asked: Vec<String> = (self.bench.cluster.audit().iter())
            .filter(|request| {
                CONTROLLERS.contains(&&*request.identity)
                    && request.verb != "watch"
                    && request.resource != "leases"
            })
            .map(|request| {
                format!("{} {} {} of {}", request.verb, request.resource, request.name, request.identity)
            })
            .collect();
        // The audit lists each kind once in a quarter of an hour.
        let kinds =
            ["rollouts", "replicasets", "services", "analysisruns", "analysistemplates", "experiments"];
        for audit in
            self.everybody().iter().flat_map(|who| kinds.map(|kind| format!("list {kind}  of {who}")))
        {
            if let Some(at) = asked.iter().position(|line| *line == audit) {
                asked.swap_remove(at);
            }
        }
        if is_still && !asked.is_empty() {
            return Err(format!("I6: asked at rest: {asked:?}"));
        }
        Ok(())
    }
}

const WATCHED: [&str; 4] = ["*", "Rollout", "ReplicaSet", "Service"];
