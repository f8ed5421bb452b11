//! The planner's vectors, one line each: intent, pods, routing, answer.

use jiff::{SignedDuration, Timestamp};

use super::*;

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("in range")
}

/// Pods as the tables write them: `v1 10/10 dl, v2 5/5`.
fn sets(text: &str) -> Vec<Set> {
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
            Set { name, size: size.parse().expect("a number"), available, ready: available, existing: available, deadline, trouble: None }
        })
        .collect()
}

/// Routing as the tables write it: `S1 C2~1 20 [0–20]`.
fn routing(text: &str) -> (Destination, Destination, LiveWeight) {
    let destination = |word: &str| {
        let (selected, live) = word[1..].split_once('~').map_or((&word[1..], None), |(s, l)| (s, Some(l)));
        let index = |digit: &str| digit.parse::<usize>().expect("a version") - 1;
        let mut versions = vec![index(selected)];
        versions.extend(live.map(index));
        versions.sort_unstable();
        Destination { name: word[..1].into(), selected: Some(index(selected)), live: versions, settles_at: None, is_managed: true }
    };
    let words: Vec<&str> = text.split(' ').collect();
    let requested = words[2].parse().expect("a weight");
    let mut weight = LiveWeight::settled(requested);
    if let Some(range) = words.get(3) {
        let (low, high) = range.trim_matches(['[', ']']).split_once('–').expect("a range");
        (weight.low, weight.high) = (low.parse().expect("low"), high.parse().expect("high"));
    }
    (destination(words[0]), destination(words[1]), weight)
}

fn setting(options: &str, name: &str, fallback: i64) -> i64 {
    options
        .split([' ', ';'])
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        .unwrap_or(fallback)
}

/// Runs one row of the table: `who` is "v2 to 20", "abort v2", "v2 promoted" or "asleep".
fn answer(options: &str, who: &str, pods: &str, routes: &str) -> String {
    let replicas = setting(options, "N", 10);
    let (unavailable, surge) = (setting(options, "unav", 2), setting(options, "surge", 3));
    let sets = sets(pods);
    let (stable_destination, canary_destination, weight) = routing(routes);
    let dynamic_stable = options.contains("DSS");
    let words: Vec<&str> = who.split(' ').collect();
    let index = |word: &str| word[1..].parse::<usize>().expect("a version") - 1;
    let (stable, new, direction, wanted) = match words[..] {
        ["abort", v] => (0, index(v), Direction::Back, 0),
        [v, "promoted"] => (index(v), index(v), Direction::Rest, 0),
        [v, "to", weight] => (0, index(v), Direction::Going, weight.parse().expect("a weight")),
        _ => panic!("who is {who}"),
    };
    let state = State {
        corridor: Corridor { replicas, surge, unavailable: unavailable.min(replicas) },
        max_weight: 100,
        sets,
        stable: Some(stable),
        new: Some(new),
        split: Split::ByRouter { dynamic_stable, staged: options.contains("staged"), ping_pong: false },
        stable_destination: Some(stable_destination),
        canary_destination: Some(canary_destination),
        weight,
        is_asleep: replicas == 0 || options.contains("asleep"),
        grace_is_over: options.contains("grace over"),
    };
    let intent = Intent {
        direction,
        is_halted: false,
        promote_full: false,
        weight: wanted,
        at_end: wanted == 100,
        canary_size: None,
        min_pods: 1,
        threshold: Threshold::All,
        scale_down_delay: SignedDuration::from_secs(30),
        abort_scale_down_delay: (Some(SignedDuration::from_secs(30)), false),
    };
    let moves = plan_moves(&state, &intent, now());
    let name = |version: &Version| state.sets[*version].name.clone();
    let mut words: Vec<String> = moves
        .writes
        .iter()
        .map(|write| match write.kind() {
            MoveKind::Scale { version, to, .. } => format!("{}:={to}", name(version)),
            MoveKind::Weight(weight) => format!("weight {weight}"),
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
        assert!(moves.wait.is_some(), "nothing to do and no wait: {options} {who} | {pods} | {routes}");
        words.push("wait".into());
    }
    words.join("; ")
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
        assert_eq!(answer(options, who, pods, routes), *expected, "{id}: {who} | {pods} | {routes}");
    }
}
