//! The planner's vectors, one line each: intent, pods, routing, answer.

use jiff::{SignedDuration, Timestamp};

use super::*;

pub(super) fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("in range")
}

/// Pods as the tables write them: `v1 10/10 dl, v2 5/5`.
pub(super) fn sets(text: &str) -> Vec<Set> {
    text.split(", ")
        .map(|one| {
            let mut words = one.split(' ');
            let name = words.next().expect("a name").to_owned();
            let (size, available) = words.next().expect("counts").split_once('/').expect("size/available");
            let deadline = match words.next() {
                None => Deadline::None,
                Some("dl") => Deadline::Running(now() + SignedDuration::from_secs(30)),
                Some(_) => Deadline::Passed,
            };
            let available: i64 = available.parse().expect("a number");
            Set {
                name,
                size: size.parse().expect("a number"),
                available,
                ready: available,
                existing: available,
                deadline,
                trouble: None,
            }
        })
        .collect()
}

/// A Service as the tables write it: `S1`, `C2~1` (v1 may still be live), `S*` (all versions), `S*~`
/// (widened, not seen by everybody yet), `S1!` (not managed).
pub(super) fn destination(word: &str) -> Destination {
    let (word, is_managed) = word.strip_suffix('!').map_or((word, true), |word| (word, false));
    let (selected, live) = word[1..].split_once('~').map_or((&word[1..], None), |(s, l)| (s, Some(l)));
    let index = |digit: &str| digit.parse::<usize>().ok().map(|number| number - 1);
    let selected = index(selected);
    let mut versions: Vec<Version> = selected.map_or_else(|| (0..3).collect(), |version| vec![version]);
    versions.extend(live.and_then(index));
    versions.sort_unstable();
    let settles_at = live.map(|_| now() + SignedDuration::from_secs(5));
    Destination { name: word[..1].into(), selected, live: versions, settles_at, is_managed }
}

/// Routing as the tables write it: `S1 C2~1 20 [0–20]`, and `routes` or `routes~` (not settled) where managed
/// routes are asked for.
fn routing(text: &str) -> (Destination, Destination, LiveWeight) {
    let words: Vec<&str> = text.split(' ').collect();
    let requested = words[2].parse().expect("a weight");
    let mut weight = LiveWeight::settled(requested);
    if let Some(range) = words.get(3).filter(|word| word.starts_with('[')) {
        let (low, high) = range.trim_matches(['[', ']']).split_once('–').expect("a range");
        weight = LiveWeight::between(requested, low.parse().expect("low"), high.parse().expect("high"));
    }
    (destination(words[0]), destination(words[1]), weight)
}

pub(super) fn setting(options: &str, name: &str, fallback: i64) -> i64 {
    options
        .split([' ', ';'])
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        .unwrap_or(fallback)
}

/// Who is stable, who is new, which way it goes and to which weight: "v2 to 20", "abort v2", "v2 promoted",
/// and the first and last of these "alone", with no stable version.
pub(super) fn cast(who: &str) -> (Option<Version>, Version, Direction, i64) {
    let words: Vec<&str> = who.trim_end_matches(" alone").split(' ').collect();
    let index = |word: &str| word[1..].parse::<usize>().expect("a version") - 1;
    let (stable, new, direction, wanted) = match words[..] {
        ["abort", v] => (0, index(v), Direction::Back, 0),
        [v, "promoted"] => (index(v), index(v), Direction::Rest, 0),
        [v, "to", weight] => (0, index(v), Direction::Going, weight.parse().expect("a weight")),
        _ => panic!("who is {who}"),
    };
    ((!who.ends_with("alone")).then_some(stable), new, direction, wanted)
}

fn state(options: &str, who: &str, pods: &str, split: Split) -> (State, Intent) {
    let replicas = setting(options, "N", 10);
    let (unavailable, surge) = (setting(options, "unav", 2), setting(options, "surge", 3));
    let (stable, new, direction, weight) = cast(who);
    let state = State {
        corridor: Corridor { replicas, surge, unavailable: unavailable.min(replicas) },
        max_weight: setting(options, "M", 100),
        sets: sets(pods),
        stable,
        new: Some(new),
        split,
        stable_destination: None,
        canary_destination: None,
        weight: LiveWeight::default(),
        managed: ManagedRoutes::default(),
        needs_live_primary: options.contains("primary"),
        extra: 0,
        is_asleep: replicas == 0 || options.contains("asleep"),
        grace_is_over: options.contains("grace over"),
    };
    let intent = Intent {
        direction,
        is_halted: options.contains("halted"),
        promote_full: options.contains("promote full"),
        weight,
        at_end: weight == 100 && !options.contains("step"),
        canary_size: Some(setting(options, "pinned", -1)).filter(|size| *size >= 0),
        keeps_size: options.contains("keeps size"),
        managed: options.contains("header"),
        min_pods: setting(options, "min", 1),
        threshold: Threshold::All,
        scale_down_delay: SignedDuration::from_secs(setting(options, "delay", 30)),
        abort_scale_down_delay: (
            (!options.contains("stays")).then(|| SignedDuration::from_secs(setting(options, "delay", 30))),
            options.contains("stays"),
        ),
    };
    (state, intent)
}

/// Prints the planner's answer as the tables write it; a wait with its reason.
fn print(state: &State, intent: &Intent) -> String {
    let moves = plan_moves(state, intent, now());
    let name = |version: &Version| state.sets[*version].name.clone();
    let mut words: Vec<String> = moves
        .writes
        .iter()
        .map(|write| match write.kind() {
            MoveKind::Scale { version, to, .. } => format!("{}:={to}", name(version)),
            MoveKind::Weight(weight) => format!("weight {weight}"),
            MoveKind::Managed(true) => "routes".into(),
            MoveKind::Managed(false) => "no routes".into(),
            MoveKind::SelectStable(version) => format!("S:={}", name(version)),
            MoveKind::SelectCanary(version) => format!("C:={}", name(version)),
            MoveKind::WidenStable => "widen S".into(),
            MoveKind::SetDeadline(version, _) => format!("dl {}", name(version)),
            MoveKind::ClearDeadline(version) => format!("clear {}", name(version)),
        })
        .collect();
    if moves.is_awake {
        words.push("awake".into());
    }
    if moves.may_promote {
        words.push("promote".into());
    } else if moves.arrived {
        words.push("index".into());
    }
    if words.is_empty() {
        let reason = moves.wait.map_or("nothing", |wait| wait.reason.label());
        words.push(format!("wait {reason}"));
    }
    words.join("; ")
}

/// Runs one row of a table with a router.
fn routed(options: &str, who: &str, pods: &str, routes: &str) -> String {
    let split = Split::ByRouter {
        dynamic_stable: options.contains("DSS"),
        staged: options.contains("staged"),
        ping_pong: options.contains("ping-pong"),
    };
    let (mut state, intent) = state(options, who, pods, split);
    let (stable, canary, weight) = routing(routes);
    (state.stable_destination, state.canary_destination, state.weight) = (Some(stable), Some(canary), weight);
    state.managed = managed(routes);
    print(&state, &intent)
}

fn managed(routes: &str) -> ManagedRoutes {
    let Some(word) = routes.split(' ').find(|word| word.starts_with("routes")) else {
        return ManagedRoutes::default();
    };
    let is_late = word.ends_with('~');
    let settles_at = is_late.then(|| now() + SignedDuration::from_secs(5));
    ManagedRoutes { requested: true, may_be_live: true, may_be_absent: is_late, settles_at }
}

/// Carries out what the planner says, with pods that start at once and a data plane that follows at once, until
/// it has nothing more to say. Returns the sizes of new and stable.
fn at_rest(options: &str, who: &str, pods: &str, routes: &str) -> (i64, i64) {
    let is_dynamic = options.contains("dyn");
    let split = Split::ByRouter { dynamic_stable: is_dynamic, staged: false, ping_pong: false };
    let (mut state, intent) = state(options, who, pods, split);
    let (stable, canary, weight) = routing(routes);
    (state.stable_destination, state.canary_destination, state.weight) = (Some(stable), Some(canary), weight);
    for _ in 0..20 {
        let moves = plan_moves(&state, &intent, now());
        for write in &moves.writes {
            let settled = |destination: &mut Option<Destination>, version: Version| {
                if let Some(destination) = destination {
                    (destination.selected, destination.live) = (Some(version), vec![version]);
                }
            };
            match *write.kind() {
                MoveKind::Scale { version, to, .. } => {
                    let set = &mut state.sets[version];
                    (set.size, set.available, set.ready, set.existing) = (to, to, to, to);
                }
                MoveKind::Weight(weight) => state.weight = LiveWeight::settled(weight),
                MoveKind::SelectStable(version) => settled(&mut state.stable_destination, version),
                MoveKind::SelectCanary(version) => settled(&mut state.canary_destination, version),
                MoveKind::SetDeadline(version, _) => state.sets[version].deadline = Deadline::Passed,
                MoveKind::ClearDeadline(version) => state.sets[version].deadline = Deadline::None,
                MoveKind::Managed(_) | MoveKind::WidenStable => {}
            }
        }
        if moves.is_empty() {
            return (state.sets[1].size, state.sets[0].size);
        }
    }
    panic!("never comes to rest: {options} {who} | {pods} | {routes}");
}

/// Rows 37 to 53 of the table of sizes that Argo Rollouts reaches with a router.
#[test]
fn sizes_at_rest_with_a_router() {
    let ten = "v1 10/10, v2 0/0";
    let rows: &[(u8, &str, &str, &str, &str, (i64, i64))] = &[
        // row, options, intent, pods and routing at the beginning, sizes of new and stable
        (37, "N=10", "v2 to 10", ten, "S1 C1 0", (1, 10)),
        (38, "N=10", "v2 to 25", ten, "S1 C1 0", (3, 10)),
        (38, "N=10", "v2 to 33", ten, "S1 C1 0", (4, 10)),
        (38, "N=10", "v2 to 99", ten, "S1 C1 0", (10, 10)),
        (39, "N=10 min=2", "v2 to 5", ten, "S1 C1 0", (2, 10)),
        (40, "N=1 min=2 step promote full", "v2 to 5", "v1 1/1, v2 0/0", "S1 C1 0", (1, 1)),
        (41, "N=23 M=100000000 step", "v2 to 100000000", "v1 23/23, v2 0/0", "S1 C1 0", (23, 23)),
        (42, "N=10 M=1000", "v2 to 200", ten, "S1 C1 0", (2, 10)),
        (43, "N=1 pinned=9", "v2 to 0", "v1 1/1, v2 0/0", "S1 C1 0", (9, 1)),
        (44, "N=4 pinned=8", "v2 to 0", "v1 4/4, v2 0/0", "S1 C1 0", (8, 4)),
        (45, "N=10", "v2 to 20", "v1 10/10, v2 5/5", "S1 C2 0", (2, 10)),
        (46, "N=4 pinned=1", "v2 to 50", "v1 4/4, v2 1/1", "S1 C2 0", (1, 4)),
        (47, "N=1 pinned=1 stays", "abort v2", "v1 1/1, v2 1/1", "S1 C2 0", (1, 1)),
        (47, "N=1 pinned=1", "abort v2", "v1 1/1, v2 1/1", "S1 C2 0", (0, 1)),
        (48, "N=10 dyn", "v2 to 10", "v1 9/9, v2 1/1", "S1 C2 10", (1, 9)),
        (50, "N=10 dyn step", "v2 to 100", "v1 5/5, v2 5/5", "S1 C2 50", (10, 0)),
        (51, "N=5 dyn", "v2 to 25", "v1 5/5, v2 2/2", "S1 C2 25", (2, 4)),
        (52, "N=10 dyn min=2", "v2 to 5", ten, "S1 C1 0", (2, 10)),
        (53, "N=10 dyn min=2", "v2 to 95", ten, "S1 C1 0", (10, 2)),
    ];
    for (row, options, who, pods, routes, expected) in rows {
        assert_eq!(at_rest(options, who, pods, routes), *expected, "row {row}: {options} {who}");
    }
    // On the way, stable follows one look behind the weight.
    for (row, pods, routes, who, expected) in [
        (49, "v1 9/9, v2 1/1", "S1 C2 10", "v2 to 20", "v2:=2"),
        (50, "v1 5/5, v2 5/5", "S1 C2 50", "v2 to 100", "v2:=10"),
        (50, "v1 5/5, v2 10/10", "S1 C2 50", "v2 to 100", "weight 100"),
        (50, "v1 5/5, v2 10/10", "S1 C2 100", "v2 to 100", "v1:=0; index"),
    ] {
        assert_eq!(routed("N=10 DSS step", who, pods, routes), expected, "row {row}: {who}");
    }
}

/// What the model of the planner does not hold.
#[test]
fn routed_vectors_beside_the_model() {
    let rows: &[(&str, &str, &str, &str, &str, &str)] = &[
        // A route follows the pods, and its step ends with the route.
        ("H1", "header", "v2 to 0", "v1 10/10, v2 1/0", "S1 C2 0", "wait Pods"),
        ("H1", "header", "v2 to 0", "v1 10/10, v2 1/1", "S1 C2 0", "routes"),
        ("H1", "header", "v2 to 0", "v1 10/10, v2 1/1", "S1 C2 0 routes~", "wait Weight"),
        ("H1", "header", "v2 to 0", "v1 10/10, v2 1/1", "S1 C2 0 routes", "index"),
        ("H1", "header", "v2 to 0", "v1 10/10, v2 1/0", "S1 C2 0 routes", "no routes"),
        ("H1", "header halted", "v2 to 0", "v1 10/10, v2 1/1", "S1 C2 0", "routes"),
        ("H1", "header", "v2 to 20", "v1 10/10, v2 2/2", "S1 C2 0", "weight 20; routes"),
        ("H1", "header", "v2 to 20", "v1 10/4, v2 2/2", "S1 C2 20", "routes"),
        ("H1", "", "abort v2", "v1 10/10, v2 2/2", "S1 C2 20 routes", "weight 0; no routes; dl v2"),
        ("H1", "", "abort v2", "v1 10/10, v2 2/2 dl", "S1 C2 0 routes", "no routes"),
        ("H2", "keeps size", "v2 to 0", "v1 10/10, v2 1/1", "S1 C2 0", "index"),
        ("H2", "keeps size header", "v2 to 0", "v1 10/10, v2 1/1", "S1 C2 0 routes", "index"),
        ("H2", "", "v2 to 20", "v1 10/10, v2 5/5", "S1 C2 20", "v2:=2; index"),
        ("H3", "N=4 pinned=1", "v2 to 50", "v1 4/4, v2 1/1", "S1 C2 0", "weight 50"),
        ("H3", "N=4 pinned=1", "v2 to 50", "v1 4/4, v2 1/0", "S1 C2 0", "wait Pods"),
        ("H5", "DSS", "v2 to 50", "v1 10/10, v2 5/5", "S1 C2 50 [0–50]", "wait Weight"),
        ("H7", "promote full", "abort v2", "v1 10/10, v2 5/5", "S1 C2 50", "weight 0; dl v2"),
        ("H8", "", "v2 to 20", "v1 10/10, v2 2/2", "S1 C2 20 [0–100]", "wait Weight"),
        ("H8", "", "v2 to 20", "v1 10/10, v2 2/2", "S1 C2 20", "index"),
        ("H9", "", "v1 promoted", "v1 10/10, v2 0/0", "S1 C1 0", "wait nothing"),
        // A router that fails without a primary keeps one pod of stable until the primary leads elsewhere.
        ("W15", "DSS step primary", "v2 to 100", "v1 5/5, v2 10/10", "S1 C2 100", "v1:=1; index"),
        ("W15", "DSS primary", "v2 to 100", "v1 1/1, v2 10/10", "S1 C2 100", "S:=v2"),
        ("W15", "DSS primary", "v2 promoted", "v1 1/1, v2 10/10", "S2 C2 100", "weight 0; v1:=0"),
    ];
    for (id, options, who, pods, routes, expected) in rows {
        assert_eq!(
            routed(options, who, pods, routes),
            *expected,
            "{id}: {options} {who} | {pods} | {routes}"
        );
    }
}

/// Runs one row of a table without a router; `services` is empty, `C1`, or `S* C1`.
fn by_ratio(options: &str, who: &str, pods: &str, services: &str) -> String {
    let (mut state, intent) = state(options, who, pods, Split::ByRatio);
    let find = |letter: char| services.split(' ').find(|word| word.starts_with(letter)).map(destination);
    (state.stable_destination, state.canary_destination) = (find('S'), find('C'));
    print(&state, &intent)
}

#[test]
fn routed_vectors() {
    let rows: &[(&str, &str, &str, &str, &str, &str)] = &[
        ("C1", "", "v2 to 20", "v1 10/10, v2 0/0", "S1 C1 0", "v2:=2"),
        ("C2", "", "v2 to 20", "v1 10/10, v2 2/1", "S1 C1 0", "C:=v2"),
        ("C4", "", "v2 to 20", "v1 10/10, v2 2/2", "S1 C2~1 0", "wait"),
        ("C5", "", "v2 to 20", "v1 10/10, v2 2/2", "S1 C2 0", "weight 20"),
        ("C6", "", "v2 to 20", "v1 10/10, v2 2/2", "S1 C2 20 [0–20]", "wait"),
        ("C9", "", "v2 to 50", "v1 10/10, v2 5/4", "S1 C2 20", "wait"),
        ("C10", "", "v2 to 50", "v1 10/6, v2 5/5", "S1 C2 20", "weight 50"),
        ("C11", "", "v2 to 50", "v1 10/10, v2 5/2", "S1 C2 50", "wait"),
        ("C12", "", "v2 to 50", "v1 10/10, v2 5/0", "S1 C2 50", "weight 0"),
        ("C13", "", "v2 to 20", "v1 10/0, v2 2/2", "S1 C2 20", "weight 100"),
        ("C14", "", "v2 to 20", "v1 10/1, v2 2/2", "S1 C2 100", "weight 88"),
        ("C15", "", "v2 to 20", "v1 10/10, v2 5/5", "S1 C2 50", "weight 20"),
        ("C16", "", "v2 to 20", "v1 10/10, v2 5/5", "S1 C2 20", "v2:=2; index"),
        ("P2", "", "v2 to 100", "v1 10/10, v2 10/10", "S1 C2 100", "S:=v2"),
        ("P4", "", "v2 to 100", "v1 10/10, v2 10/10", "S2 C2 100", "promote"),
        ("P5", "", "v2 promoted", "v1 10/10, v2 10/10", "S2 C2 100", "weight 0; dl v1"),
        ("P6", "", "v2 promoted", "v1 10/10 dl!, v2 10/10", "S2 C2 0", "v1:=0"),
        ("P7", "", "v2 promoted", "v1 10/10 dl!, v2 10/7", "S2 C2 0", "v1:=1"),
        ("A1", "", "abort v2", "v1 10/10, v2 5/5", "S1 C2 50", "weight 0; dl v2"),
        ("A2", "", "abort v2", "v1 10/8, v2 5/5", "S1 C2 50", "weight 0; dl v2"),
        ("A3", "", "abort v2", "v1 10/7, v2 5/5", "S1 C2 50", "weight 13"),
        ("A4", "", "abort v2", "v1 10/2, v2 5/1", "S1 C2 50", "weight 34"),
        ("A5", "", "abort v2", "v1 10/1, v2 5/2", "S1 C2 50", "wait"),
        ("A6", "", "abort v2", "v1 10/0, v2 5/5", "S1 C2 50", "wait"),
        ("A7", "", "abort v2", "v1 10/10, v2 5/5 dl", "S1 C2 0 [0–50]", "wait"),
        ("A8", "", "abort v2", "v1 10/10, v2 5/5 dl", "S1 C2 0", "C:=v1"),
        ("A9", "", "abort v2", "v1 10/10, v2 5/5 dl!", "S1 C1~2 0", "wait"),
        ("A11", "N=15 unav=3 surge=4", "abort v2", "v1 10/10, v2 5/5 dl", "S1 C1 0", "v1:=15"),
        ("A12", "", "abort v2", "v1 10/10, v2 10/10", "S2 C2 100", "S:=v1"),
        ("D1", "DSS", "v2 to 20", "v1 10/10, v2 2/2", "S1 C2 0", "weight 20"),
        ("D2", "DSS", "v2 to 20", "v1 10/10, v2 2/2", "S1 C2 20", "v1:=8; index"),
        ("D3", "DSS", "abort v2", "v1 4/4, v2 6/6", "S1 C2 60", "v1:=10"),
        ("D4", "DSS", "abort v2", "v1 10/7, v2 6/6", "S1 C2 60", "weight 30"),
        ("D5", "DSS", "abort v2", "v1 10/7, v2 6/6", "S1 C2 30", "v2:=3"),
        ("D6", "DSS N=4 unav=1 surge=1", "v1 promoted", "v1 4/3, v2 1/1", "S1 C2 25", "wait"),
        ("D7", "DSS N=4 unav=1 surge=1 grace over", "v1 promoted", "v1 4/3, v2 1/1", "S1 C2 25", "weight 0"),
        ("D8", "DSS N=3 unav=0 surge=1", "abort v2", "v1 3/2, v2 2/2", "S1 C2 34", "v2:=1"),
        ("D9", "DSS", "v2 to 50", "v1 5/5, v2 5/0", "S1 C2 50", "v1:=10; weight 0"),
        ("D10", "DSS", "abort v2", "v1 0/3, v2 10/10", "S1 C2 100", "v1:=10"),
        ("D11", "DSS", "v2 to 100", "v1 5/5, v2 10/6", "S1 C2 100", "v1:=2"),
        ("N1", "", "v3 to 20", "v1 10/10, v2 5/5, v3 0/0", "S1 C2 50", "v3:=2; weight 0"),
        ("N2", "", "v3 to 20", "v1 10/10, v2 5/5 dl, v3 2/2", "S1 C2 0", "C:=v3"),
        ("N3", "DSS N=4 unav=1 surge=1", "v3 to 20", "v1 1/1, v2 3/3, v3 0/0", "S1 C2 75", "v1:=4; v3:=1"),
        ("N4", "N=2 unav=0 surge=1", "v3 to 50", "v1 2/1, v2 1/1, v3 1/1", "S1 C2 50", "wait"),
        ("N5", "N=2 unav=0 surge=1 grace over", "v3 to 50", "v1 2/1, v2 1/1, v3 1/1", "S1 C2 50", "C:=v3"),
        ("N6", "", "v3 to 20", "v1 10/10, v2 10/10, v3 0/0", "S2 C2 100", "v3:=2; S:=v1"),
        ("S1", "N=20 unav=5 surge=5", "v2 to 25", "v1 10/10, v2 3/3", "S1 C2 25", "v1:=20; v2:=5"),
        ("S2", "N=2 unav=0 surge=1", "v2 to 25", "v1 10/10, v2 3/3", "S1 C2 25", "v1:=2; v2:=1; index"),
        ("Z1", "N=0", "v2 to 50", "v1 10/10, v2 5/5", "S1 C2 50", "weight 0; v1:=0; v2:=0"),
        ("Z3", "asleep N=2 unav=0 surge=1", "v2 to 50", "v1 0/0, v2 0/0", "S1 C2 0", "v1:=2"),
        ("Z4", "asleep N=2 unav=0 surge=1", "v2 to 50", "v1 2/1, v2 0/0", "S1 C2 0", "awake"),
        ("W2", "DSS staged N=40 unav=10 surge=10", "v2 to 100", "v1 40/40, v2 10/10", "S1 C2 0", "weight 25"),
        ("W3", "DSS staged N=40 unav=10 surge=10", "v2 to 100", "v1 40/40, v2 10/10", "S1 C2 25", "v1:=30"),
        ("W5", "DSS staged N=4 unav=1 surge=0", "v2 to 100", "v1 4/4, v2 0/0", "S1 C1 0", "v1:=3"),
        ("W6", "DSS staged N=4 unav=1 surge=0", "v2 to 100", "v1 3/3, v2 1/1", "S1 C2 0", "weight 33"),
        ("W7", "DSS staged N=3 unav=0 surge=1", "v2 to 50", "v1 3/3, v2 1/1", "S1 C2 33", "v1:=2"),
        ("W8", "DSS staged N=3 unav=0 surge=1", "v3 to 50", "v1 3/3, v2 1/1, v3 0/0", "S1 C2 0", "C:=v1"),
    ];
    for (id, options, who, pods, routes, expected) in rows {
        let found = routed(options, who, pods, routes);
        let found = if found.starts_with("wait ") && *expected == "wait" { "wait" } else { &found };
        assert_eq!(found, *expected, "{id}: {who} | {pods} | {routes}");
    }
}

#[test]
fn waits_have_their_reason() {
    let rows: &[(&str, &str, &str, &str, &str)] = &[
        // options, intent, pods, routing, wait
        ("", "v2 to 20", "v1 10/10, v2 2/1", "S1 C2 0", "Pods"),
        ("", "v2 to 20", "v1 10/10, v2 2/2", "S1 C2~1 0", "Endpoints"),
        ("", "v2 to 20", "v1 10/10, v2 2/2", "S1 C2 20 [0–20]", "Weight"),
        ("halted", "v2 to 50", "v1 10/10, v2 5/5", "S1 C2 20", "Pause"),
        ("N=0", "v2 to 50", "v1 0/0, v2 0/0", "S1 C2 0", "Asleep"),
        ("", "abort v2", "v1 10/1, v2 5/2", "S1 C2 50", "Carry"),
        ("", "abort v2", "v1 10/10, v2 5/5 dl", "S1 C1 0", "Deadline"),
        ("", "abort v2", "v1 10/10, v2 0/3", "S1 C1 0", "Termination"),
        ("", "v2 promoted", "v1 1/1 dl!, v2 10/7", "S2 C2 0", "Pods"),
        // The grace time counts from the moment at which this wait shows, whatever else is missing.
        ("N=2 unav=0 surge=1", "v3 to 50", "v1 2/1, v2 1/1 dl, v3 1/0", "S1 C2 50", "Carry"),
        ("DSS", "v2 to 20", "v1 8/5, v2 6/6", "S1 C2 50 [50–60]", "Carry"),
    ];
    for (options, who, pods, routes, wait) in rows {
        let found = routed(options, who, pods, routes);
        assert_eq!(found, format!("wait {wait}"), "{options} {who} | {pods} | {routes}");
    }
}

#[test]
fn first_narrowing_of_services() {
    let rows: &[(&str, &str, &str, &str, &str)] = &[
        ("N=3", "v1 promoted", "v1 3/2", "S*! C*! 0", "wait Pods"),
        ("N=3", "v1 promoted", "v1 3/3", "S*! C*! 0", "S:=v1; C:=v1"),
        ("N=3", "v2 to 50", "v1 3/3, v2 2/1", "S1 C*! 0", "wait Pods"),
        ("N=3", "v2 to 50", "v1 3/3, v2 2/2", "S1 C*! 0", "C:=v2"),
        // Asleep, the canary Service stays where it is.
        ("N=3 asleep", "v2 to 50", "v1 3/0, v2 1/1", "S1 C1 0", "wait Pods"),
    ];
    for (options, who, pods, routes, expected) in rows {
        assert_eq!(routed(options, who, pods, routes), *expected, "{options} {who} | {pods} | {routes}");
    }
}

#[test]
fn ratio_vectors() {
    let small = "N=4 surge=1 unav=0";
    let rows: &[(&str, &str, &str, &str, &str)] = &[
        // options, intent, pods, Services, answer
        (small, "abort v3", "v1 3/3, v2 1/1, v3 1/0", "", "v3:=0"), // X1
        (small, "abort v2", "v1 3/4, v2 2/0", "", "v2:=1"),         // X2
        ("N=2 surge=1 unav=0", "v2 to 100", "v1 1/4, v2 1/2", "", "v2:=2"), // X3
        // Up and down.
        (small, "v2 to 25", "v1 4/4, v2 0/0", "", "v2:=1"),
        (small, "v2 to 25", "v1 4/4, v2 1/0", "", "wait Pods"),
        (small, "v2 to 25", "v1 4/4, v2 1/1", "", "v1:=3"),
        (small, "v2 to 25", "v1 3/4, v2 1/1", "", "wait Termination"),
        (small, "v2 to 25", "v1 3/3, v2 1/1", "", "index"),
        (small, "v2 to 100", "v1 0/0, v2 4/4", "", "promote"),
        ("N=4 surge=0 unav=1", "v2 to 25", "v1 4/4, v2 0/0", "", "v1:=3"),
        ("N=4 surge=0 unav=0", "v2 to 25", "v1 4/4, v2 0/0", "", "wait Place"),
        (small, "abort v2", "v1 2/2, v2 2/2", "", "v1:=3"),
        (small, "abort v2", "v1 4/4, v2 0/1", "", "wait Termination"),
        (small, "abort v2", "v1 4/3, v2 1/1", "", "wait Pods"),
        // Halted: the share that is live stands, `replicas` is followed.
        ("N=8 surge=1 unav=0 halted", "v2 to 75", "v1 3/3, v2 1/1", "", "v1:=6; v2:=2"),
        ("N=2 surge=1 unav=0 halted", "v2 to 75", "v1 3/3, v2 1/1", "", "v1:=1"),
        ("N=8 surge=1 unav=0 halted", "v2 to 100", "v1 0/0, v2 4/4", "", "v2:=8"),
        ("N=8 surge=1 unav=0 halted", "v2 to 75", "v1 4/4, v2 0/0", "", "v1:=8"),
        ("N=4 surge=1 unav=0 halted", "v2 to 75", "v1 3/3, v2 1/1", "", "wait Pause"),
        ("N=4 surge=1 unav=0 halted", "v2 to 75", "v1 3/3, v2 2/1", "", "wait Pause"),
        ("N=0 surge=1 unav=0 halted", "v2 to 75", "v1 3/3, v2 1/1", "", "v1:=0; v2:=0"),
        // An abort goes on though somebody holds the rollout.
        ("N=4 surge=1 unav=0 halted", "abort v2", "v1 3/3, v2 1/1", "", "v1:=4"),
        // No replicas, and back.
        ("N=0", "v2 to 50", "v1 2/2, v2 2/2", "", "v1:=0; v2:=0"),
        ("N=0", "v2 to 50", "v1 0/0, v2 0/0", "", "wait Asleep"),
        ("N=0", "v1 promoted", "v1 4/4, v2 1/1", "", "v1:=0; v2:=0"),
        ("N=4 surge=1 unav=0 asleep", "v2 to 50", "v1 0/0, v2 0/0", "", "v1:=4"),
        ("N=4 surge=1 unav=0 asleep", "v2 to 50", "v1 4/1, v2 0/0", "", "awake"),
        // First deploy: it is the stable version from the start.
        (small, "v1 promoted", "v1 0/0", "", "v1:=4"),
        (small, "v1 promoted", "v1 4/3", "C*!", "wait Pods"),
        (small, "v1 promoted", "v1 4/4", "S*! C*!", "C:=v1"),
        // Leftover versions.
        (small, "v2 promoted", "v1 2/2, v2 2/2", "", "v2:=3"),
        (small, "v2 promoted", "v1 1/1, v2 4/4", "", "v1:=0"),
        (small, "v2 promoted", "v1 1/1 dl, v2 4/4", "", "wait Deadline"),
        (small, "v3 to 25", "v1 3/3, v2 1/1, v3 0/0", "", "v3:=1"),
        (small, "v3 to 25", "v1 3/3, v2 1/1, v3 1/1", "", "v2:=0"),
        (small, "v3 to 25", "v1 3/2, v2 1/1, v3 1/1", "", "index"), // only the floor keeps v2
        // The canary Service.
        (small, "v2 to 25", "v1 3/3, v2 1/1", "S* C1", "C:=v2"),
        (small, "v2 to 25", "v1 3/3, v2 1/1", "S* C2~1", "wait Endpoints"),
        (small, "v2 to 25", "v1 3/3, v2 1/1", "S* C2", "index"),
        (small, "abort v2", "v1 4/4, v2 1/1", "S* C2", "C:=v1"),
        (small, "abort v2", "v1 4/4, v2 1/1", "S* C1~2", "wait Endpoints"),
        (small, "abort v2", "v1 4/4, v2 1/1", "S* C1", "v2:=0"),
        (small, "v3 to 25", "v1 4/4, v2 1/1, v3 0/0", "S* C2", "C:=v1"), // v2 holds the only place
        ("N=4 surge=1 unav=0 halted", "v2 to 25", "v1 3/3, v2 1/1", "S* C1", "wait Pause"),
        // The stable Service, found narrowed.
        ("N=5 surge=2 unav=0", "v2 to 50", "v1 5/5, v2 0/0", "S1 C1", "widen S; v2:=2"),
        ("N=5 surge=2 unav=0", "v2 to 50", "v1 5/5, v2 2/2", "S*~ C2", "wait Place"),
        ("N=5 surge=2 unav=0", "v2 to 50", "v1 5/5, v2 2/2", "S* C2", "v1:=3"),
        ("N=5 surge=2 unav=0", "v2 to 50", "v1 5/5, v2 2/2", "S1! C2", "wait Endpoints"),
        (small, "v1 promoted", "v1 4/4", "S1 C1", "wait nothing"),
    ];
    for (options, who, pods, services, expected) in rows {
        assert_eq!(
            by_ratio(options, who, pods, services),
            *expected,
            "{options} {who} | {pods} | {services}"
        );
    }
}

#[test]
fn without_a_stable_version() {
    let small = "N=4 surge=1 unav=0";
    let rows: &[(&str, &str, &str, &str, &str)] = &[
        // options, intent, pods, routing (or Services only: no router), answer
        (small, "v2 to 25 alone", "v1 0/0, v2 1/1", "", "v2:=4"),
        (small, "v2 to 25 alone", "v1 0/0, v2 4/3", "", "wait Pods"),
        (small, "v2 to 25 alone", "v1 0/0, v2 4/4", "", "index"),
        (small, "v2 to 100 alone", "v1 0/0, v2 4/4", "", "promote"),
        ("N=4 halted", "v2 to 100 alone", "v1 0/0, v2 1/1", "", "v2:=4"),
        ("N=4 halted", "v2 to 100 alone", "v1 0/0, v2 4/4", "", "wait Pause"),
        ("N=0", "v2 to 25 alone", "v1 0/0, v2 4/4", "", "v2:=0"),
        ("N=0", "v2 to 25 alone", "v1 0/0, v2 0/0", "", "wait Asleep"),
        // An aborted version is all there is: it neither grows nor goes, except with `replicas`.
        (small, "abort v2 alone", "v1 0/0, v2 1/1", "", "wait Aborted"),
        ("N=1", "abort v2 alone", "v1 0/0, v2 3/3", "", "v2:=1"),
        ("N=0", "abort v2 alone", "v1 0/0, v2 3/3", "", "v2:=0"),
        // Leftovers serve until the new version does.
        (small, "v2 to 25 alone", "v1 4/4, v2 1/1", "S1 C2 20", "v2:=4"),
        (small, "v2 to 25 alone", "v1 4/4, v2 4/3", "S1 C2 20", "wait Pods"),
        (small, "v2 to 25 alone", "v1 4/4, v2 4/4", "S1 C2 20", "S:=v2"),
        (small, "v2 to 25 alone", "v1 4/4, v2 4/4", "S2~1 C2 20", "wait Endpoints"),
        (small, "v2 to 25 alone", "v1 4/4, v2 4/4", "S2 C2 20", "v1:=0"),
        (small, "v2 to 25 alone", "v1 4/4, v2 4/2", "S2 C2 20", "v1:=2"),
        // Whom the Service led to is gone: one pod is better than none.
        (small, "v2 to 25 alone", "v1 0/0, v2 4/1", "S* C2 20", "S:=v2"),
        (small, "v2 to 25 alone", "v1 0/0, v2 4/1", "S*! C2 20", "wait Pods"),
        (small, "v2 to 25 alone", "v1 0/0, v2 4/4", "S1 C1", "C:=v2; widen S"),
        // A first version that never came up is replaced within `replicas + surge`.
        (small, "v2 to 25 alone", "v1 4/0, v2 0/0", "", "v2:=1; v1:=0"),
        (small, "v2 to 25 alone", "v1 0/0, v2 1/0", "", "v2:=4"),
        ("N=4 surge=0 unav=1", "v2 to 25 alone", "v1 4/0, v2 0/0", "S* C1", "v1:=0"),
        ("N=4 surge=0 unav=1", "v2 to 25 alone", "v1 4/4, v2 0/0", "S* C1", "v1:=3"),
        ("N=4 surge=0 unav=1", "v2 to 25 alone", "v1 1/1, v2 3/3", "S* C1", "C:=v2"),
        ("N=4 surge=0 unav=1", "v2 to 25 alone", "v1 1/1, v2 3/3", "S* C2~1", "wait Endpoints"),
        ("N=4 surge=0 unav=1", "v2 to 25 alone", "v1 1/1, v2 3/3", "S* C2", "v1:=0"),
        ("N=1 surge=0 unav=1", "v2 to 25 alone", "v1 1/1, v2 0/0", "S* C1", "v1:=0"),
        (small, "v2 to 25 alone", "v1 5/0 dl, v2 0/0", "", "wait Deadline"),
    ];
    for (options, who, pods, routes, expected) in rows {
        let has_weight = routes.split(' ').count() > 2;
        let found = if has_weight {
            routed(options, who, pods, routes)
        } else {
            by_ratio(options, who, pods, routes)
        };
        assert_eq!(found, *expected, "{options} {who} | {pods} | {routes}");
    }
}

/// Every weight that may be asked for, over all small numbers and the largest resolution: it is one of those that
/// exist, it never exceeds what pods carry when it rises, and nothing panics.
#[test]
fn w11_weights_are_whole_shares_that_pods_carry() {
    for max in [1, 3, 100, 1000, 100_000_000] {
        for replicas in 0..=6i64 {
            for (stable, new) in (0..=8i64).flat_map(|stable| (0..=8i64).map(move |new| (stable, new))) {
                for (current, wanted) in
                    [(0, max), (0, max / 2), (max / 2, max), (max, 0), (max, max / 3), (max / 3, max / 3)]
                {
                    check_weight(max, replicas, (stable, new), (current, wanted));
                }
            }
        }
    }
}

fn check_weight(max: i64, replicas: i64, (stable, new): (i64, i64), (current, wanted): (i64, i64)) {
    for options in ["", "DSS", "DSS promote full", "DSS staged", "abort"] {
        let who = if options == "abort" { "abort v2".into() } else { format!("v2 to {wanted}") };
        let pods = format!("v1 {stable}/{stable}, v2 {new}/{new}");
        let split = Split::ByRouter {
            dynamic_stable: options.contains("DSS"),
            staged: options.contains("staged"),
            ping_pong: false,
        };
        let options = format!("{options} N={replicas} M={max} unav=0");
        let (mut state, intent) = state(&options, &who, &pods, split);
        let (stable_service, canary_service, weight) = routing(&format!("S1 C2 {current}"));
        (state.stable_destination, state.canary_destination) = (Some(stable_service), Some(canary_service));
        state.weight = weight;
        let moves = plan_moves(&state, &intent, now());
        for write in &moves.writes {
            if let MoveKind::Weight(asked) = *write.kind() {
                let case = format!("{options} {who} | {pods} | {current} -> {asked}");
                assert!((0..=max).contains(&asked), "{case}");
                let carried = i128::from(new) * i128::from(max) >= i128::from(asked) * i128::from(replicas);
                assert!(asked < current || carried || stable == 0, "{case}");
            }
            if let MoveKind::Scale { to, .. } = *write.kind() {
                assert!(
                    (0..=replicas.max(8)).contains(&to),
                    "{options} {who} | {pods} | {current}: {to} pods"
                );
            }
        }
    }
}
