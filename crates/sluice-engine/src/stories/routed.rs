//! Stories of a canary whose share a router carries: what must come about, and what must never happen on the way.

use super::*;
use crate::moves::WaitReason;
use crate::spec::ROUTED_BY;

/// A routed canary of 10 whose first version runs.
fn ten(steps: &[Value]) -> Story {
    Story::routed(10, steps)
}

fn dynamic(mut story: Story) -> Story {
    story.routing(|routing| routing.dynamic_stable = true);
    story
}

fn weight(weight: i64) -> Value {
    json!({"setWeight": weight})
}

fn pause() -> Value {
    json!({"pause": {}})
}

fn header() -> Value {
    json!({"setHeaderRoute": {"name": "beta", "match": [{"headerName": "x-beta", "headerValue": {"exact": "yes"}}]}})
}

impl Story {
    fn routing(&mut self, change: impl FnOnce(&mut Routing)) {
        change(self.canary().routing.as_mut().expect("a router"));
    }

    fn status(&mut self) -> &mut sluice_api::rollout::RolloutStatus {
        &mut self.rollout().status
    }

    /// Lets seconds pass, one by one, and checks after each look and after each round of the kubelet.
    #[track_caller]
    fn run(&mut self, seconds: i64, check: impl Fn(&Story)) {
        for _ in 0..seconds {
            self.look();
            check(self);
            self.pods();
            check(self);
            self.after(1);
        }
    }

    fn size_of(&self, revision: i64) -> i64 {
        self.set_of(revision).size
    }

    /// The canary's weight alone.
    fn share(&self) -> i64 {
        self.router.as_ref().expect("a router").routes.weight
    }

    fn lines(&self, what: &str) -> Vec<&str> {
        self.log.iter().map(String::as_str).filter(|line| line.contains(what)).collect()
    }

    fn told(&self, reason: &str) -> Vec<&str> {
        self.events.iter().map(String::as_str).filter(|event| event.starts_with(reason)).collect()
    }
}

#[test]
fn a_header_step_stays_where_it_is_while_its_pod_comes_and_goes() {
    // H1.
    let mut story = ten(&[json!({"setCanaryScale": {"replicas": 1}}), header(), pause(), weight(20)]);
    story.rest();
    story.image("2");
    story.pods_per_round = 0;
    let plan = story.look();
    assert_eq!(plan.wait.map(|wait| wait.reason), None, "the ReplicaSet is made");
    story.after(1);
    let wait = story.look().wait.expect("a wait");
    assert_eq!((wait.reason, story.weight().as_str()), (WaitReason::Pods, "0"));
    story.pods_per_round = i64::MAX;
    story.rest();
    let index = story.status().current_step_index;
    assert_eq!((story.weight().as_str(), index), ("0 beta", Some(2)));
    for _ in 0..3 {
        story.set_available(2, 0);
        story.look();
        assert_eq!(story.weight(), "0", "nobody is led to nobody");
        story.rest();
        assert_eq!((story.weight().as_str(), story.status().current_step_index), ("0 beta", index));
    }
}

#[test]
fn a_pinned_size_is_kept_and_warned_about() {
    // H3.
    let mut story = Story::routed(
        4,
        &[json!({"setCanaryScale": {"replicas": 1}}), weight(50), pause(), weight(60), pause()],
    );
    story.image("2");
    story.rest();
    assert_eq!((story.weight().as_str(), story.sizes().as_str()), ("50", "1:4/4 2:1/1"));
    let wanted = "CanaryScaleTooSmall: Weight 50 of 100 needs 2 canary pods, setCanaryScale keeps 1";
    assert_eq!(story.told("CanaryScaleTooSmall"), [wanted]);
}

#[test]
fn without_a_word_of_the_data_plane_a_strict_rollout_keeps_its_pods() {
    // H5.
    let mut story = dynamic(ten(&[weight(50), pause()]));
    story.routing(|routing| routing.verify = Verify::Strict);
    story.image("2");
    for _ in 0..20 {
        story.look();
        story.pods();
        story.after(30);
    }
    let wait = story.look().wait.expect("a wait");
    assert_eq!(wait.reason, WaitReason::Verify, "{wait}");
    assert_eq!((story.weight().as_str(), story.sizes().as_str()), ("50", "1:10/10 2:5/5"));
    assert_eq!(story.status().current_step_index, Some(0));
    story.router.as_mut().expect("a router").verdict = Verdict::Live;
    story.rest();
    assert_eq!((story.sizes().as_str(), story.status().current_step_index), ("1:5/5 2:5/5", Some(1)));
}

#[test]
fn a_router_that_the_spec_drops_gives_its_share_back_first() {
    // H6.
    let mut story = ten(&[weight(50), pause()]);
    story.image("2");
    story.rest();
    assert_eq!((story.weight().as_str(), story.sizes().as_str()), ("50", "1:10/10 2:5/5"));
    let block = story.world.rollout.annotations[ROUTED_BY].clone();
    let recorded = story.log.iter().position(|line| line.contains(ROUTED_BY)).expect("it is on record");
    assert!(recorded < story.log.iter().position(|line| line == "weight 50").expect("a weight"));
    assert!(block.contains("beta"), "{block}");

    // What a spec without a router is read as, as long as the record stands.
    story.routing(|routing| routing.is_retired = true);
    story.log.clear();
    for second in 0.. {
        story.look();
        assert_eq!(
            (story.weight().as_str(), story.size_of(1), story.size_of(2)),
            ("0", 10, 5),
            "nothing goes before"
        );
        if !story.lines(ROUTED_BY).is_empty() {
            assert_eq!(second, 5, "forgotten when every proxy has seen the weight");
            break;
        }
        story.after(1);
    }
    assert_eq!(story.status().canary.weights, None);
    assert_eq!(story.status().current_step_index, Some(1), "the pause stands");

    story.canary().routing = None;
    story.router = None;
    story.world.traffic = Traffic::default();
    story.run(120, |_| {});
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("1:5/5 2:5/5", "Paused CanaryPauseStep"));
    assert_eq!(story.leads("stable"), 0, "it leads to everybody now");
}

#[test]
fn an_abort_wins_over_promote_full_behind_a_router() {
    // H7.
    let mut story = ten(&[weight(50), pause()]);
    story.image("2");
    story.rest();
    story.status().promote_full = true;
    story.look();
    story.status().abort = true;
    story.look();
    assert_eq!(story.weight(), "0");
    story.rest();
    assert!(story.phase().starts_with("Degraded RolloutAborted"), "{}", story.phase());
}

#[test]
fn a_lost_record_costs_one_settle_time_and_no_write() {
    // H8.
    let mut story = ten(&[weight(20), pause(), weight(50), pause()]);
    story.image("2");
    story.look();
    story.pods();
    for _ in 0..7 {
        story.look();
        story.after(1);
    }
    assert_eq!((story.share(), story.status().current_step_index), (20, Some(0)));
    let now = story.now;
    story.router.as_mut().expect("a router").record = Record::unknown(100, now);
    story.log.clear();
    let plan = story.look();
    assert_eq!(plan.wait.map(|wait| wait.reason), Some(WaitReason::Weight));
    story.after(4);
    story.look();
    assert_eq!(story.status().current_step_index, Some(0));
    story.after(1);
    story.look();
    assert_eq!(story.status().current_step_index, Some(1));
    assert_eq!((story.sizes().as_str(), story.log.len()), ("1:10/10 2:2/2", 0), "{:?}", story.log);
}

#[test]
fn w23_an_abort_at_rest_writes_nothing() {
    // H9.
    for mut story in [ten(&[weight(20)]), dynamic(ten(&[weight(20)]))] {
        story.rest();
        story.log.clear();
        story.status().abort = true;
        story.rest();
        assert_eq!(
            (story.log.len(), story.sizes().as_str(), story.phase().as_str()),
            (0, "1:10/10", "Healthy")
        );
        assert_eq!(story.told("RolloutNotAborted").len(), 1);
    }
}

#[test]
fn w10_pods_stay_for_the_drain_time_after_their_share_is_gone() {
    let mut story = dynamic(ten(&[weight(50), pause(), weight(80), pause()]));
    story.routing(|routing| routing.drain = SignedDuration::from_secs(30));
    story.image("2");
    story.run(14, |_| {});
    assert_eq!((story.weight().as_str(), story.phase().as_str()), ("50", "Paused CanaryPauseStep"));
    // A second step within the time: what the first one freed is not kept longer for it.
    resume(&mut story);
    story.run(15, |story| assert_eq!(story.size_of(1), 10));
    assert_eq!(story.share(), 80);
    story.run(60, |_| {});
    assert_eq!(story.sizes(), "1:2/2 2:8/8");
    // An abort within the time costs no pod.
    let mut story = dynamic(ten(&[weight(50), pause()]));
    story.routing(|routing| routing.drain = SignedDuration::from_secs(30));
    story.image("2");
    story.run(20, |_| {});
    story.status().abort = true;
    story.run(120, |story| assert_eq!(story.size_of(1), 10));
    assert_eq!((story.share(), story.sizes().as_str()), (0, "1:10/10"));
}

#[test]
fn w12_a_staged_walk_keeps_to_max_surge() {
    let mut story = dynamic(Story::routed(40, &[weight(100)]));
    let quarter = Some(IntOrString::Text("25%".into()));
    (story.canary().max_surge, story.canary().max_unavailable) = (quarter.clone(), quarter);
    story.routing(|routing| routing.staged = true);
    story.rest();
    story.image("2");
    story.run(300, |story| {
        let (size, available): (Vec<i64>, Vec<i64>) =
            story.world.replica_sets.iter().map(|set| (set.size, set.available)).unzip();
        let (size, available): (i64, i64) = (size.iter().sum(), available.iter().sum());
        assert!(size <= 50 && available >= 30, "{size} pods, {available} available");
    });
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("2:40/40", "Healthy"));
    assert_eq!(story.told("MaxSurgeExceeded"), Vec::<&str>::new());
}

#[test]
fn w12_more_than_max_surge_in_one_write_is_warned_about() {
    let mut story = ten(&[weight(10), pause(), weight(50), pause()]);
    story.image("2");
    story.rest();
    assert_eq!(story.told("MaxSurgeExceeded"), Vec::<&str>::new(), "one pod is maxSurge");
    resume(&mut story);
    story.rest();
    let told = story.told("MaxSurgeExceeded");
    assert!(
        told.len() == 1 && told[0].contains("grows by 4 pods in one write, more than maxSurge (1)"),
        "{told:?}"
    );
    // What `replicas` asks for is no surprise.
    story.spec().replicas = Some(40);
    story.rest();
    assert_eq!((story.told("MaxSurgeExceeded").len(), story.sizes().as_str()), (1, "1:40/40 2:20/20"));
}

#[test]
fn w13_a_change_of_mode_takes_no_pod_from_a_header_route() {
    let steps = [
        json!({"setCanaryScale": {"replicas": 3}}),
        header(),
        pause(),
        json!({"setCanaryScale": {"matchTrafficWeight": true}}),
        pause(),
        weight(10),
        pause(),
    ];
    for mut story in [ten(&steps), dynamic(ten(&steps))] {
        story.image("2");
        story.rest();
        assert_eq!((story.weight().as_str(), story.size_of(2)), ("0 beta", 3));
        resume(&mut story);
        story.run(30, |story| assert_eq!(story.size_of(2), 3, "the mode alone changes no size"));
        assert_eq!(story.phase(), "Paused CanaryPauseStep");
        resume(&mut story);
        story.run(30, |story| assert!(story.size_of(2) >= 1 && story.weight().ends_with("beta")));
        assert_eq!((story.weight().as_str(), story.size_of(2)), ("10 beta", 1));
    }
}

#[test]
fn w14_a_router_in_trouble_stops_no_abort_and_no_route() {
    let mut story = dynamic(ten(&[weight(50), pause()]));
    story.image("2");
    story.rest();
    story.status().abort = true;
    story.world.traffic.trouble = Some(("VirtualService prod/web".into(), "refused".into()));
    story.look();
    story.pods();
    story.look();
    assert_eq!(
        (story.share(), story.size_of(1)),
        (0, 10),
        "those that can be reached follow, and stable grows"
    );
    let asked = story.log.len();
    story.run(60, |story| assert_eq!(story.size_of(2), 5, "somebody may still be sent there"));
    assert_eq!(story.log.len(), asked, "asked once: {:?}", story.log);
    let wait = story.look().wait.expect("a wait");
    assert_eq!(wait.reason, WaitReason::Router);
    story.world.traffic.trouble = None;
    story.rest();
    assert_eq!(story.sizes(), "1:10/10");
}

#[test]
fn w15_a_router_that_needs_a_primary_gets_one() {
    let mut story = dynamic(ten(&[weight(100), pause()]));
    story.router.as_mut().expect("a router").needs_live_primary = true;
    story.image("2");
    story.rest();
    assert_eq!((story.share(), story.sizes().as_str()), (100, "1:1/1 2:10/10"));
    resume(&mut story);
    story.run(60, |story| {
        let primary = story.leads("stable");
        assert!(story.set_of(primary).available > 0, "the primary Service leads to nobody");
    });
    assert_eq!((story.share(), story.sizes().as_str(), story.phase().as_str()), (0, "2:10/10", "Healthy"));
}

#[test]
fn w17_pods_that_the_canary_loses_stop_the_shrink_of_stable() {
    let mut story = dynamic(Story::routed(110, &[weight(90), pause()]));
    story.canary().max_unavailable = Some(IntOrString::Int(5));
    story.image("2");
    story.rest();
    assert_eq!(story.sizes(), "1:11/11 2:99/99");
    resume(&mut story);
    while story.share() < 100 {
        story.look();
        story.pods();
        story.after(1);
    }
    // All traffic is asked for, and stable is about to go.
    assert_eq!(story.sizes(), "1:11/11 2:110/110");
    story.set_available(2, 80);
    story.pods_per_round = 0;
    for _ in 0..60 {
        story.look();
        let kept: i64 = story.world.replica_sets.iter().map(|set| set.available.min(set.size)).sum();
        assert_eq!(kept, 91, "our own writes take none of what is left");
        story.after(1);
    }
    story.pods_per_round = i64::MAX;
    story.rest();
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("2:110/110", "Healthy"));
}

#[test]
fn w20_an_abort_wins_at_every_step_whatever_the_canary_does() {
    let steps = [header(), weight(20), pause(), weight(60), pause()];
    let states: [(&str, fn(&mut Story)); 4] = [
        ("its pods crash", |story| {
            story.broken.insert("2".into());
            story.pods();
        }),
        ("it is about to be promoted in full", |story| story.status().promote_full = true),
        ("a person has paused it", |story| story.spec().is_paused = true),
        ("its pods are fine", |_| {}),
    ];
    for resumes in 0..2 {
        for (state, enter) in states {
            let mut story = ten(&steps);
            story.image("2");
            story.rest();
            for _ in 0..resumes {
                resume(&mut story);
                story.rest();
            }
            enter(&mut story);
            story.status().abort = true;
            story.look();
            assert_eq!(story.weight(), "0", "in one look, although {state}");
            story.run(60, |story| assert_eq!(story.weight(), "0", "{state}"));
            assert_eq!((story.leads("stable"), story.leads("canary")), (1, 1), "{state}");
            assert_eq!(story.sizes(), "1:10/10", "{state}");
        }
    }
}

#[test]
fn w21_after_an_abort_the_canary_service_moves_once() {
    for is_dynamic in [false, true] {
        let mut story = ten(&[weight(50), pause()]);
        story.routing(|routing| routing.dynamic_stable = is_dynamic);
        story.canary().abort_scale_down_delay = (None, true);
        story.image("2");
        story.rest();
        story.log.clear();
        story.pods_per_round = 1;
        story.status().abort = true;
        story.run(10, |_| {});
        story.spec().replicas = Some(15);
        let size = story.size_of(2);
        story.run(60, |story| assert!(story.size_of(2) <= size, "an aborted version never grows"));
        let moved = story.lines("SelectService");
        assert_eq!(moved.len(), 1, "{moved:?}");
        assert_eq!((story.leads("canary"), story.size_of(1)), (1, 15));
        story.log.clear();
        story.run(60, |_| {});
        assert_eq!(story.log, Vec::<String>::new());
    }
}

#[test]
fn w22_an_abort_always_reaches_weight_0() {
    for replicas in 1..=12 {
        for min_pods in 1..=4 {
            for delay in [None, Some(0), Some(30)] {
                for resumes in 0..2 {
                    let mut story =
                        dynamic(Story::routed(replicas, &[weight(20), pause(), weight(60), pause()]));
                    story.canary().min_pods = min_pods;
                    if let Some(seconds) = delay {
                        let delay = Some(SignedDuration::from_secs(seconds)).filter(|_| seconds > 0);
                        story.canary().abort_scale_down_delay = (delay, true);
                    }
                    story.image("2");
                    story.rest();
                    for _ in 0..resumes {
                        resume(&mut story);
                        story.rest();
                    }
                    story.pods_per_round = 1;
                    story.status().abort = true;
                    let mut share = story.share();
                    for _ in 0..replicas + 6 {
                        story.look();
                        assert!(story.share() <= share, "the share rises after an abort");
                        share = story.share();
                        story.pods();
                        story.after(1);
                    }
                    assert_eq!(
                        share, 0,
                        "{replicas} replicas, at least {min_pods}, {delay:?}, step {resumes}"
                    );
                }
            }
        }
    }
}

#[test]
fn w28_a_third_version_supersedes_the_second_at_every_step() {
    for is_dynamic in [false, true] {
        for resumes in 0..3 {
            for replicas in [7, 10, 13] {
                let mut story = ten(&[weight(20), pause(), weight(60), pause(), weight(80), pause()]);
                story.routing(|routing| routing.dynamic_stable = is_dynamic);
                story.image("2");
                story.rest();
                for _ in 0..resumes {
                    resume(&mut story);
                    story.rest();
                }
                // Both in one write, while it is paused.
                story.image("3");
                story.spec().replicas = Some(replicas);
                story.run(120, |story| {
                    let available: i64 = story.world.replica_sets.iter().map(|set| set.available).sum();
                    assert!(available >= replicas.min(10), "{available} available");
                });
                let canary = crate::replicas::need(20, replicas, 100);
                let stable = if is_dynamic { crate::replicas::need(80, replicas, 100) } else { replicas };
                assert_eq!(
                    story.sizes(),
                    format!("1:{stable}/{stable} 3:{canary}/{canary}"),
                    "step {resumes}"
                );
                assert_eq!((story.share(), story.phase().as_str()), (20, "Paused CanaryPauseStep"));
                assert_eq!(story.leads("canary"), 3);
            }
        }
    }
}

#[test]
fn w32_a_broken_stable_version_does_not_block_the_fix() {
    for is_dynamic in [false, true] {
        let mut story = ten(&[weight(20), json!({"pause": {"duration": 10}}), weight(60)]);
        story.routing(|routing| routing.dynamic_stable = is_dynamic);
        story.broken.insert("1".into());
        story.pods();
        story.image("2");
        story.run(20, |_| {});
        assert_eq!((story.set_of(1).available, story.set_of(2).available), (0, 2));
        assert_eq!(story.share(), 100, "nobody else can answer");
        story.run(200, |_| {});
        assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("2:10/10", "Healthy"));
    }
}

#[test]
fn w42_a_deadline_is_owed_from_the_last_share_on_and_read_when_it_can_be() {
    let deadline = |story: &Story| {
        let text = story.set_of(2).annotation(keys::SCALE_DOWN_DEADLINE).map(str::to_owned);
        text.map(|text| text.parse::<Timestamp>().expect("a time"))
    };
    let mut story = ten(&[weight(50), pause()]);
    story.image("2");
    story.rest();
    story.status().abort = true;
    story.look();
    let until = story.now + SignedDuration::from_secs(30);
    assert_eq!(deadline(&story), Some(until), "in the look that takes the share");
    // A retry takes it away, the next abort sets it anew.
    story.run(20, |_| {});
    story.status().abort = false;
    story.run(20, |_| {});
    assert_eq!((deadline(&story), story.share()), (None, 50));
    story.status().abort = true;
    story.look();
    let until = story.now + SignedDuration::from_secs(30);
    assert_eq!(deadline(&story), Some(until));
    // Somebody garbles it: it counts from when that was seen, and the pods neither stay for ever nor go at once.
    story.run(10, |_| {});
    let name = story.set_of(2).name.clone();
    story.find(&name).annotations.insert(keys::SCALE_DOWN_DEADLINE.into(), String::new());
    story.look();
    let until = story.now + SignedDuration::from_secs(30);
    assert_eq!(deadline(&story), Some(until));
    story.run(30, |story| assert_eq!(story.size_of(2), 5));
    story.run(3, |_| {});
    assert_eq!(story.size_of(2), 0);
}

#[test]
fn w43_no_delay_is_none_and_an_abort_delay_of_0_is_for_ever() {
    let mut story = ten(&[weight(50), pause()]);
    story.canary().scale_down_delay = SignedDuration::ZERO;
    story.canary().abort_scale_down_delay = (None, true);
    story.image("2");
    story.rest();
    story.status().abort = true;
    story.run(7200, |story| assert_eq!(story.size_of(2), 5));
    story.status().abort = false;
    story.status().promote_full = true;
    // Old pods go once nothing may lead there, which takes a settle time.
    let mut gone = None;
    for second in 0..60 {
        story.look();
        story.pods();
        story.after(1);
        if story.phase() == "Healthy" && story.size_of(1) == 0 {
            gone = gone.or(Some(second));
        }
    }
    assert!(gone.is_some(), "{} {}", story.sizes(), story.phase());
    assert_eq!((story.sizes().as_str(), story.lines(keys::SCALE_DOWN_DEADLINE).len()), ("2:10/10", 0));
}

#[test]
fn w44_a_version_within_its_delay_keeps_its_size() {
    let mut story = ten(&[weight(50), pause()]);
    story.image("2");
    story.rest();
    story.image("1");
    let mut sizes = Vec::new();
    for _ in 0..60 {
        story.look();
        story.pods();
        story.after(1);
        let set =
            story.world.replica_sets.iter().find(|set| set.hash != story.world.rollout.status.stable_rs);
        sizes.push(set.expect("the second version").size);
    }
    let kept = sizes.iter().take_while(|size| **size == 5).count();
    assert!((30..36).contains(&kept), "for its delay: {sizes:?}");
    assert!(sizes[kept..].iter().all(|size| *size == 0), "it never flips: {sizes:?}");
    assert_eq!(story.phase(), "Healthy");
}

#[test]
fn a_routed_canary_sends_traffic_where_pods_are() {
    let mut story = Story::routed(5, &four_steps());
    story.image("2");
    story.look();
    assert_eq!((story.sizes().as_str(), story.weight().as_str()), ("1:5/5 2:1/0", "0"));
    story.rest();
    assert_eq!((story.sizes().as_str(), story.weight().as_str()), ("1:5/5 2:1/1", "20"));
    assert_eq!((story.phase().as_str(), story.leads("canary")), ("Paused CanaryPauseStep", 2));
    resume(&mut story);
    story.rest();
    assert_eq!((story.sizes().as_str(), story.weight().as_str()), ("1:5/5 2:3/3", "60"));
    story.after(3600);
    story.rest();
    assert_eq!((story.weight().as_str(), story.leads("stable"), story.leads("canary")), ("0", 2, 2));
    assert_eq!((story.sizes().as_str(), story.phase().as_str()), ("1:5/5 2:5/5", "Healthy"));
    let weights = story.world.rollout.status.canary.weights.clone().expect("recorded");
    assert_eq!((weights.canary.weight, weights.stable.weight), (0, 100));
    story.after(31);
    story.rest();
    assert_eq!(story.sizes(), "2:5/5");
    let order: Vec<&str> =
        story.log.iter().map(String::as_str).filter(|line| line.starts_with("weight")).collect();
    assert_eq!(order, ["weight 20", "weight 60", "weight 100", "weight 0"]);
    assert!(story.look().is_empty(), "quiet when still");
}

#[test]
fn an_abort_takes_the_traffic_back_before_anything_else() {
    let mut story = Story::routed(5, &four_steps());
    story.image("2");
    story.rest();
    story.broken.insert("2".into());
    story.pods();
    story.rollout().status.abort = true;
    story.look();
    assert_eq!(story.weight(), "0", "in the first look, whatever the canary's pods do");
    story.rest();
    assert_eq!((story.sizes().as_str(), story.leads("canary")), ("1:5/5 2:1/0", 1));
    story.after(31);
    story.rest();
    assert_eq!(story.sizes(), "1:5/5");
}

#[test]
fn a_header_route_follows_the_canary_s_pods() {
    let steps = [
        json!({"setCanaryScale": {"replicas": 1}}),
        json!({"setHeaderRoute": {"name": "beta", "match": [{"headerName": "x-beta", "headerValue": {"exact": "yes"}}]}}),
        json!({"pause": {}}),
        json!({"setCanaryScale": {"matchTrafficWeight": true}}),
        json!({"setWeight": 60}),
        json!({"pause": {}}),
    ];
    let mut story = Story::routed(5, &steps);
    story.image("2");
    story.rest();
    assert_eq!((story.weight().as_str(), story.phase().as_str()), ("0 beta", "Paused CanaryPauseStep"));
    // The only pod restarts: nobody is sent there, and the route comes back by itself.
    story.set_available(2, 0);
    story.look();
    assert_eq!(story.weight(), "0");
    story.rest();
    assert_eq!(story.weight(), "0 beta");
    resume(&mut story);
    story.rest();
    assert_eq!((story.weight().as_str(), story.sizes().as_str()), ("60 beta", "1:5/5 2:3/3"));
    let sizes: Vec<&String> =
        story.log.iter().filter(|line| line.contains("scale") || line.contains("create")).collect();
    assert!(!sizes.iter().any(|line| line.ends_with(" 0")), "{sizes:?}");
    resume(&mut story);
    story.rest();
    assert_eq!((story.weight().as_str(), story.phase().as_str()), ("0", "Healthy"));
}

#[test]
fn two_services_take_turns() {
    let mut story = Story::new(4, &[json!({"setWeight": 50}), json!({"pause": {}})]);
    {
        let routed = Story::routed(1, &[]);
        let Ok(Spec { strategy: Strategy::Canary(canary), .. }) = &routed.world.rollout.spec else {
            panic!()
        };
        let routing = canary.routing.clone();
        let canary = story.canary();
        canary.routing = routing;
        canary.ping_pong = Some(("ping".into(), "pong".into()));
    }
    story.service("ping");
    story.service("pong");
    let record = Record::unknown(100, story.now);
    story.router = Some(Router {
        routes: Routes::default(),
        record,
        subsets: None,
        verdict: Verdict::Unknown,
        needs_live_primary: false,
    });
    story.rest();
    assert_eq!((story.leads("pong"), story.phase().as_str()), (1, "Healthy"));
    story.image("2");
    story.rest();
    assert_eq!((story.leads("pong"), story.leads("ping"), story.weight().as_str()), (1, 2, "50"));
    resume(&mut story);
    story.rest();
    assert_eq!(story.world.rollout.status.canary.stable_ping_pong, Some(PingPongSide::Ping));
    assert_eq!((story.leads("ping"), story.phase().as_str()), (2, "Healthy"));
    let routes = &story.router.as_ref().expect("a router").routes;
    assert_eq!((routes.weight, routes.ping_pong.clone()), (0, Some(("ping".into(), "pong".into()))));
    let weights: Vec<&String> = story.log.iter().filter(|line| line.starts_with("weight")).collect();
    let wanted = ["weight 0", "weight 50", "weight 100", "weight 0"];
    assert_eq!(weights, wanted, "the first and the last one only name the parts");
}
