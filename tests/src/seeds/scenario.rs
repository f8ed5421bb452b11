//! What happens in one seed: the Rollout that it begins with, and who does what when.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

/// All that a seed determines.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// The Rollout to begin with.
    pub rollout: Value,
    /// The Services that it names, by name.
    pub services: Vec<&'static str>,
    /// Two controllers with a lease instead of one without.
    pub has_lease: bool,
    /// From the start of a container to its readiness, in ms; up to twice as much.
    pub ready_ms: i64,
    /// What happens, after how many ms since what happened before.
    pub events: Vec<(u64, Event)>,
    /// How it ends.
    pub finale: Finale,
}

/// What is done once everything is whole again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finale {
    /// Nothing: what is there has to come to rest.
    Rest,
    /// A good image, and nothing more.
    GoodImage,
    /// A good image that a person promotes in full.
    Promoted,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A new image, whose tag says how it behaves.
    Image(String),
    /// An image that was applied before, counted back.
    OldImage(usize),
    /// `spec.replicas`.
    Scale(i64),
    /// Image and replicas in one write.
    ImageAndScale(String, i64),
    /// `spec.paused`.
    SpecPaused(bool),
    /// Pause conditions removed.
    Resume,
    /// What `promote` does.
    Promote,
    /// What `promote --full` does.
    PromoteFull,
    /// What `abort` does.
    Abort,
    /// What `retry` does.
    Retry,
    /// What `promote --skip-current-step` does.
    SkipStep,
    /// What `promote --skip-all-steps` does.
    SkipAllSteps,
    /// Other steps.
    Steps(Value),
    /// Another corridor.
    Bounds(Value, Value),
    /// An annotation on the Rollout.
    Annotate(u32),
    /// Pods vanish.
    LosePods(usize),
    /// Somebody sets the size of a ReplicaSet, counted back.
    ResizeSet(usize, i64),
    /// A Service is deleted; the flag says for how many ms.
    LoseService(usize, u64),
    /// Somebody takes the selector of a Service away; the flag says whether with the controller's mark.
    LoseSelector(usize, bool),
    /// Other settings of blue-green.
    BlueGreen(Value),
    /// The controller is killed, for so many ms.
    Kill(u64),
    /// The controller dies with the k-th write from now on, for so many ms.
    KillAtWrite(u64, u64),
    /// The n-th update from now on meets a conflict.
    Conflict(u64),
    /// The n-th write from now on fails; the flag says whether it was stored.
    FailWrite(u64, bool, u8),
    /// Watches of one kind (all: 0) are late by so many ms, for so many ms.
    LateWatch(u8, u64, u64),
    /// Watches deliver nothing for so many ms, and what they should have is lost.
    MuteWatches(u64),
    /// Watches end.
    DropWatches,
    /// Watches end, and cannot go on where they were.
    ExpireWatches,
    /// Lists that allow it are old for so many ms.
    StaleLists(u64),
    /// The next requests are throttled.
    Throttle(u32),
    /// Requests take a while, for so many ms.
    Slow(u64),
    /// The controller is cut off for so many ms.
    Cut(u64),
}

const MOODS: [&str; 10] =
    ["good", "good", "good", "good", "slow", "bad", "unready", "flap", "pending", "dies-20s"];

const WEIGHTS: [i64; 10] = [0, 10, 20, 25, 33, 50, 60, 75, 90, 100];

impl Scenario {
    /// What `seed` stands for.
    pub fn new(seed: u64) -> Scenario {
        let mut rng = SmallRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x51_u64);
        let rng = &mut rng;
        // Every fourth one is blue-green.
        let is_blue_green = seed % 4 == 3;
        let services: Vec<&'static str> = if is_blue_green {
            ["web-active", "web-preview"].into_iter().take(1 + usize::from(rng.random_bool(0.7))).collect()
        } else {
            ["web-stable", "web-canary"].into_iter().filter(|_| rng.random_bool(0.35)).collect()
        };
        let strategy = if is_blue_green { blue_green(rng, &services) } else { canary(rng, &services) };
        let rollout = rollout(rng, strategy);
        let count = rng.random_range(3..=12);
        let mut tags = 1;
        let events = (0..count)
            .map(|_| {
                let gap = gap(rng);
                let event = event(rng, &mut tags, &services);
                (gap, if is_blue_green { of_blue_green(rng, event, &services) } else { event })
            })
            .collect();
        let finale = match rng.random_range(0..4) {
            0 | 1 => Finale::Rest,
            2 => Finale::GoodImage,
            _ => Finale::Promoted,
        };
        Scenario {
            seed,
            rollout,
            services,
            has_lease: rng.random_bool(0.15),
            ready_ms: *[0, 300, 1000, 4000].choose(rng).unwrap_or(&1000),
            events,
            finale,
        }
    }

    /// A Service in front of every version.
    pub fn service(name: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "default", "annotations": {"team": "shop"}, "labels": {"app": "web"}},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        })
    }
}

fn canary(rng: &mut SmallRng, services: &[&str]) -> Value {
    let (surge, unavailable) = corridor(rng);
    let steps = steps(rng, services);
    let mut canary = json!({"maxSurge": surge, "maxUnavailable": unavailable, "steps": steps});
    for service in services {
        let role = if *service == "web-stable" { "stableService" } else { "canaryService" };
        canary[role] = json!(service);
    }
    json!({"canary": canary})
}

fn blue_green(rng: &mut SmallRng, services: &[&str]) -> Value {
    let mut strategy = blue_green_settings(rng);
    strategy["activeService"] = json!(services[0]);
    if let Some(preview) = services.get(1) {
        strategy["previewService"] = json!(preview);
    }
    if rng.random_bool(0.4) {
        strategy["maxUnavailable"] = json!(["0", "1", "50%"].choose(rng));
    }
    json!({"blueGreen": strategy})
}

/// What people change while it runs. `null` in a patch takes a field away.
fn blue_green_settings(rng: &mut SmallRng) -> Value {
    let mut strategy = json!({});
    if rng.random_bool(0.4) {
        strategy["previewReplicaCount"] = json!(rng.random_range(1..4));
    }
    if rng.random_bool(0.5) {
        strategy["autoPromotionEnabled"] = json!(rng.random_bool(0.3));
    }
    if rng.random_bool(0.3) {
        strategy["autoPromotionSeconds"] = json!(rng.random_range(1..40));
    }
    if rng.random_bool(0.5) {
        strategy["scaleDownDelaySeconds"] = json!([0, 2, 15, 60].choose(rng));
    }
    if rng.random_bool(0.4) {
        strategy["abortScaleDownDelaySeconds"] = json!([0, 3, 40].choose(rng));
    }
    if rng.random_bool(0.25) {
        strategy["scaleDownDelayRevisionLimit"] = json!(rng.random_range(0..3));
    }
    strategy
}

/// What there is instead of events that only a canary knows.
fn of_blue_green(rng: &mut SmallRng, event: Event, services: &[&str]) -> Event {
    match event {
        Event::Steps(_) | Event::Bounds(..) => Event::BlueGreen(blue_green_settings(rng)),
        Event::SkipStep | Event::SkipAllSteps => {
            Event::LoseSelector(rng.random_range(0..services.len()), rng.random_bool(0.5))
        }
        other => other,
    }
}

fn rollout(rng: &mut SmallRng, strategy: Value) -> Value {
    let tag = if rng.random_bool(0.12) { "0-bad" } else { "0-good" };
    let mut spec = json!({
        "replicas": rng.random_range(0..=8),
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}, "annotations": {"example.com/note": "kept"}},
            "spec": {"containers": [{"name": "app", "image": image(tag), "resources": {}}]},
        },
        "strategy": strategy,
    });
    if rng.random_bool(0.4) {
        spec["progressDeadlineSeconds"] = json!(rng.random_range(20..120));
        spec["progressDeadlineAbort"] = json!(rng.random_bool(0.5));
    }
    if rng.random_bool(0.4) {
        // As many as may wait out their delay have to be kept.
        let least = if spec["strategy"].get("blueGreen").is_some() { 2 } else { 0 };
        spec["revisionHistoryLimit"] = json!(rng.random_range(0..3).max(least));
    }
    if rng.random_bool(0.15) {
        spec["minReadySeconds"] = json!(rng.random_range(1..8));
    }
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "default", "annotations": {"example.com/owner": "shop"}},
        "spec": spec,
    })
}

/// The image of a tag.
pub fn image(tag: &str) -> String {
    format!("registry.example/web:{tag}")
}

fn corridor(rng: &mut SmallRng) -> (Value, Value) {
    let values = [json!(0), json!(1), json!(1), json!(2), json!("25%"), json!("50%"), json!("10%"), json!(9)];
    let pick = |rng: &mut SmallRng| values.choose(rng).cloned().unwrap_or_default();
    loop {
        let (surge, unavailable) = (pick(rng), pick(rng));
        // Both 0 is invalid.
        if surge != json!(0) || unavailable != json!(0) {
            return (surge, unavailable);
        }
    }
}

/// A few steps. With a canary Service the first one sends it somewhere: at weight 0 it would stay on a
/// version that leads nowhere.
fn steps(rng: &mut SmallRng, services: &[&str]) -> Value {
    let count = rng.random_range(0..=5);
    let step = |rng: &mut SmallRng| match rng.random_range(0..10) {
        0..=5 => json!({"setWeight": WEIGHTS.choose(rng)}),
        6..=7 => json!({"pause": {}}),
        _ => json!({"pause": {"duration": rng.random_range(1..40)}}),
    };
    let mut steps: Vec<Value> = (0..count).map(|_| step(rng)).collect();
    if services.contains(&"web-canary") {
        for step in &mut steps {
            if step["setWeight"] == 0 {
                *step = json!({"setWeight": 5});
            }
        }
        if steps.first().is_some_and(|step| step.get("pause").is_some()) {
            steps.insert(0, json!({"setWeight": 30}));
        }
    }
    steps.into()
}

/// How long after the event before, in ms.
fn gap(rng: &mut SmallRng) -> u64 {
    match rng.random_range(0..10) {
        0 => 0,
        1 => rng.random_range(1..30),
        2..=3 => rng.random_range(30..2_000),
        4..=6 => rng.random_range(2_000..12_000),
        7..=8 => rng.random_range(10_000..50_000),
        _ => rng.random_range(50_000..150_000),
    }
}

fn span(rng: &mut SmallRng) -> u64 {
    match rng.random_range(0..4) {
        0 => rng.random_range(1..500),
        1 | 2 => rng.random_range(500..8_000),
        _ => rng.random_range(8_000..40_000),
    }
}

fn tag(rng: &mut SmallRng, tags: &mut u32) -> String {
    *tags += 1;
    format!("{tags}-{}", MOODS.choose(rng).unwrap_or(&"good"))
}

fn event(rng: &mut SmallRng, tags: &mut u32, services: &[&str]) -> Event {
    match rng.random_range(0..100) {
        0..=21 => Event::Image(tag(rng, tags)),
        22..=27 => Event::OldImage(rng.random_range(1..4)),
        28..=35 => Event::Scale(if rng.random_bool(0.25) { 0 } else { rng.random_range(1..=10) }),
        36..=37 => Event::ImageAndScale(tag(rng, tags), rng.random_range(0..=8)),
        38..=40 => Event::SpecPaused(rng.random_bool(0.5)),
        41..=42 => Event::Resume,
        43..=46 => Event::Promote,
        47..=49 => Event::PromoteFull,
        50..=55 => Event::Abort,
        56..=59 => Event::Retry,
        60..=61 => Event::SkipStep,
        62 => Event::SkipAllSteps,
        63..=64 => Event::Steps(steps(rng, services)),
        65 => {
            let (surge, unavailable) = corridor(rng);
            Event::Bounds(surge, unavailable)
        }
        66..=67 => Event::Annotate(rng.random_range(0..3)),
        68..=71 => Event::LosePods(rng.random_range(1..5)),
        72..=74 => Event::ResizeSet(rng.random_range(0..2), rng.random_range(0..9)),
        75..=76 if !services.is_empty() => Event::LoseService(rng.random_range(0..services.len()), span(rng)),
        75..=79 => Event::Kill(span(rng)),
        80..=84 => Event::KillAtWrite(rng.random_range(1..8), span(rng)),
        85..=86 => Event::Conflict(rng.random_range(1..5)),
        87..=90 => Event::FailWrite(rng.random_range(1..6), rng.random_bool(0.5), rng.random_range(0..4)),
        91..=93 => Event::LateWatch(
            rng.random_range(0..4),
            rng.random_range(50..9_000),
            rng.random_range(5_000..40_000),
        ),
        94 => Event::MuteWatches(span(rng)),
        95 => Event::DropWatches,
        96 => Event::ExpireWatches,
        97 => match rng.random_range(0..2) {
            0 => Event::StaleLists(span(rng)),
            _ => Event::Throttle(rng.random_range(1..6)),
        },
        98 => Event::Slow(span(rng)),
        _ => Event::Cut(span(rng)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_comes_up() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..400 {
            for (_, event) in Scenario::new(seed).events {
                let name = format!("{event:?}");
                seen.insert(name.split('(').next().unwrap_or_default().to_owned());
            }
        }
        assert_eq!(seen.len(), 32, "{seen:?}");
    }

    #[test]
    fn a_seed_says_the_same_twice() {
        assert_eq!(format!("{:?}", Scenario::new(7)), format!("{:?}", Scenario::new(7)));
        assert_ne!(format!("{:?}", Scenario::new(7)), format!("{:?}", Scenario::new(8)));
    }
}
