//! The vectors of a blue-green update, one line each: intent, pods, active Service, answer.

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::moves::tests::{cast, destination, now, sets, setting};

/// Runs one row. `A` is the active Service, `P` the preview, which is left out where it leads to the new
/// version anyway. The gates that are open are given as the number in "v2 to 1": the first is before the
/// switch, the second after it.
fn answer(options: &str, who: &str, pods: &str, services: &str) -> String {
    let replicas = setting(options, "N", 4);
    let (stable, new, direction, gates) = cast(who);
    let seconds = |name, fallback| SignedDuration::from_secs(setting(options, name, fallback));
    let find = |letter: char| services.split(' ').find(|word| word.starts_with(letter)).map(destination);
    let state = BlueGreenState {
        corridor: Corridor { replicas, surge: 0, unavailable: setting(options, "unav", 1).min(replicas) },
        sets: sets(pods),
        stable,
        new,
        active: find('A'),
        preview: find('P'),
        is_asleep: replicas == 0 || options.contains("asleep"),
    };
    let intent = BlueGreenIntent {
        direction,
        is_halted: options.contains("halted"),
        may_switch: gates > 0,
        may_promote: gates > 1,
        preview_size: setting(options, "preview", replicas),
        scale_down_delay: seconds("delay", 30),
        delayed_revisions: setting(options, "revisions", i64::MAX),
        abort_scale_down_delay: (!options.contains("keep")).then(|| seconds("abort", 30)),
    };
    print(&state, &intent)
}

fn print(state: &BlueGreenState, intent: &BlueGreenIntent) -> String {
    let moves = plan_blue_green(state, intent, now());
    let name = |version: &Version| state.sets[*version].name.clone();
    let mut words: Vec<String> = moves
        .writes
        .iter()
        .map(|write| match write.kind() {
            MoveKind::Scale { version, to, .. } => format!("{}:={to}", name(version)),
            MoveKind::SelectStable(version) => format!("active:={}", name(version)),
            MoveKind::SelectCanary(version) => format!("preview:={}", name(version)),
            MoveKind::SetDeadline(version, _) => format!("dl {}", name(version)),
            MoveKind::ClearDeadline(version) => format!("clear {}", name(version)),
            other @ (MoveKind::Weight(_) | MoveKind::Managed(_) | MoveKind::WidenStable) => {
                format!("{other:?}")
            }
        })
        .collect();
    if moves.is_awake {
        words.push("awake".into());
    }
    if moves.may_promote {
        words.push("promote".into());
    }
    if words.is_empty() {
        words.push(moves.wait.map_or("nothing".into(), |wait| format!("wait {}", wait.reason.label())));
    }
    words.join("; ")
}

/// Asserts rows of options, intent, pods, Services and answer.
#[track_caller]
fn check(rows: &[(&str, &str, &str, &str, &str)]) {
    for (options, who, pods, services, expected) in rows {
        let found = answer(options, who, pods, services);
        assert_eq!(found, *expected, "{options} {who} | {pods} | {services}");
    }
}

#[test]
fn the_switch() {
    check(&[
        ("", "v2 to 1", "v1 4/4, v2 0/0", "A1", "v2:=4"),
        ("", "v2 to 1", "v1 4/4, v2 4/3", "A1", "wait Pods"),
        ("", "v2 to 1", "v1 4/4, v2 4/4", "A1", "active:=v2"),
        ("", "v2 to 0", "v1 4/4, v2 4/4", "A1", "nothing"), // the gate has its own words
        ("halted", "v2 to 1", "v1 4/4, v2 4/4", "A1", "wait Pause"),
        ("", "v2 to 2", "v1 4/4, v2 4/4", "A2~1", "wait Endpoints"),
        ("", "v2 to 1", "v1 4/4, v2 4/4", "A2", "nothing"),
        ("", "v2 to 2", "v1 4/4, v2 4/4", "A2", "promote"),
        ("", "v2 to 2", "v1 4/4, v2 4/3", "A2", "wait Pods"),
        ("", "v2 promoted", "v1 4/4, v2 4/4", "A2", "dl v1"),
        ("", "v2 promoted", "v1 4/4 dl, v2 4/4", "A2", "wait Deadline"),
        ("", "v2 promoted", "v1 4/4 dl!, v2 4/4", "A2", "v1:=0"),
        ("delay=0", "v2 promoted", "v1 4/4, v2 4/4", "A2", "v1:=0"),
        ("", "v2 promoted", "v1 4/4 dl!, v2 4/4", "A2~1", "wait Endpoints"),
        // Late proxies are awaited only by what depends on them.
        ("", "v2 promoted", "v1 0/0, v2 4/4", "A2~1", "nothing"),
        ("", "v2 promoted", "v1 4/4 dl, v2 4/4", "A2~1", "wait Deadline"),
        // It died after the switch.
        ("", "v2 to 1", "v1 4/4, v2 4/0", "A2", "active:=v1"),
        ("", "v2 to 1", "v1 4/4, v2 4/1", "A2", "wait Pods"),
        ("", "v2 to 1", "v1 4/0, v2 4/0", "A2", "wait Carry"),
        // Superseded while it has the traffic.
        ("", "v3 to 1", "v1 4/4, v2 4/4, v3 0/0", "A2", "v3:=4"),
        ("N=6", "v3 to 1", "v1 4/4, v2 4/4, v3 4/4", "A2", "v1:=6; v2:=6; v3:=6"),
        ("", "v3 to 1", "v1 4/4, v2 4/4, v3 4/4", "A2", "active:=v3; dl v2"),
        ("", "v3 to 1", "v1 4/4, v2 4/0, v3 4/3", "A2", "active:=v1; dl v2"),
    ]);
}

#[test]
fn the_way_back() {
    check(&[
        ("", "abort v2", "v1 4/4, v2 4/1", "A2", "active:=v1; dl v2"), // failing pods
        ("", "abort v2", "v1 4/2, v2 4/1", "A2", "active:=v1; dl v2"), // stable short, new shorter
        ("", "abort v2", "v1 4/1, v2 4/3", "A2", "wait Carry"),        // stable shorter
        ("", "abort v2", "v1 4/3, v2 4/4", "A2", "active:=v1; dl v2"), // short by what may be missing
        ("", "abort v2", "v1 4/4, v2 4/4 dl!", "A1~2", "wait Endpoints"),
        ("", "abort v2", "v1 4/4, v2 4/4", "A1", "dl v2"),
        ("keep", "abort v2", "v1 4/4, v2 4/4", "A1", "nothing"),
        ("N=6", "abort v2", "v1 4/4, v2 4/4 dl", "A1", "v1:=6"),
        ("N=3", "abort v2", "v1 4/4, v2 4/4 dl", "A1", "v2:=3; v1:=3"),
        ("halted", "abort v2", "v1 4/4, v2 4/4", "A2", "active:=v1; dl v2"),
        ("", "v1 promoted", "v1 4/4, v2 4/4", "A2", "active:=v1; dl v2"), // the old template
        ("", "v2 to 0", "v1 4/4, v2 4/4 dl", "A1", "clear v2"),           // retry
        ("", "v2 to 0 alone", "v1 0/0, v2 4/4", "A1", "active:=v2"),
    ]);
}

#[test]
fn preview_and_its_size() {
    check(&[
        ("preview=1", "v2 to 0", "v1 4/4, v2 0/0", "A1 P1", "v2:=1; preview:=v2"),
        ("preview=1", "v2 to 0", "v1 4/4, v2 1/1", "A1 P2", "nothing"),
        ("preview=1", "v2 to 1", "v1 4/4, v2 1/1", "A1 P2", "v2:=4"),
        ("preview=9", "v2 to 0", "v1 4/4, v2 0/0", "A1 P2", "v2:=4"),
        ("preview=1 halted", "v2 to 0", "v1 4/4, v2 0/0", "A1 P1", "v2:=1"),
        ("preview=1", "v2 to 0", "v1 4/4, v2 1/1", "A2", "v2:=4"),
        // Aborted, the preview stays where it is.
        ("", "abort v2", "v1 4/4, v2 0/0", "A1 P2", "nothing"),
    ]);
}

#[test]
fn no_replicas() {
    check(&[
        ("N=0", "v2 to 1", "v1 4/4, v2 4/4", "A1", "v2:=0; v1:=0"),
        ("N=0", "v2 to 1", "v1 0/0, v2 0/0", "A1", "wait Asleep"),
        ("N=0", "v1 promoted", "v1 0/0, v2 2/2 dl", "A1", "v2:=0"),
        ("N=4 asleep", "v2 to 1", "v1 0/0, v2 0/0", "A1", "v1:=4"),
        ("N=4 asleep", "v2 to 1", "v1 4/0, v2 0/0", "A1", "wait Pods"),
        ("N=4 asleep", "v2 to 1", "v1 4/1, v2 0/0", "A1", "awake"),
        // Whom nobody serves, everybody may take.
        ("N=0", "abort v2", "v1 0/0, v2 0/0", "A2", "active:=v1"),
    ]);
}

#[test]
fn a_service_that_leads_to_every_version() {
    check(&[
        // The first narrowing waits for every pod: until now all of them served.
        ("", "v1 promoted", "v1 0/0", "A*!", "v1:=4"),
        ("", "v1 promoted", "v1 4/3", "A*!", "wait Carry"),
        ("", "v1 promoted", "v1 4/4", "A*!", "active:=v1"),
        // Somebody took the selector away: it comes back to stable, and pods stay until it has.
        ("", "v2 to 1", "v1 4/4, v2 4/0", "A*", "active:=v1"),
        ("halted", "v2 to 1", "v1 4/4, v2 4/0", "A*", "active:=v1"),
        ("", "v2 promoted", "v1 4/4 dl!, v2 4/2", "A*", "wait Carry"),
    ]);
}

#[test]
fn old_versions_that_wait() {
    let both = "v1 4/4 dl, v2 4/4, v3 4/4";
    check(&[
        ("revisions=1", "v3 promoted", "v1 4/4 dl, v2 4/4 dl, v3 4/4", "A3", "v1:=0"),
        ("revisions=1", "v3 promoted", both, "A3", "dl v2; v1:=0"), // the newest waits
        ("revisions=0", "v3 promoted", both, "A3", "v2:=0; v1:=0"),
        ("revisions=2", "v3 promoted", both, "A3", "dl v2"),
        // One that was aborted does not count.
        ("revisions=1", "abort v3", "v1 4/4, v2 4/4 dl, v3 4/4", "A1", "dl v3"),
        // While the new version is short, the old one keeps what must not be missing.
        ("", "v2 promoted", "v1 4/4 dl!, v2 4/2", "A2", "v1:=1"),
        ("", "v2 promoted", "v1 1/1 dl!, v2 4/2", "A2", "wait Pods"),
        ("", "v2 promoted", "v1 4/4 dl!, v2 4/3", "A2", "v1:=0"),
    ]);
}

#[test]
fn a_lost_or_unknown_time_is_no_reason_to_panic() {
    let at = Timestamp::MAX;
    let state = BlueGreenState {
        corridor: Corridor { replicas: i64::MAX, surge: 0, unavailable: 0 },
        sets: sets("v1 4/4, v2 4/4"),
        stable: Some(1),
        new: 1,
        active: Some(destination("A2")),
        preview: None,
        is_asleep: false,
    };
    let intent = BlueGreenIntent {
        direction: Direction::Rest,
        is_halted: false,
        may_switch: true,
        may_promote: true,
        preview_size: i64::MAX,
        scale_down_delay: SignedDuration::MAX,
        delayed_revisions: i64::MAX,
        abort_scale_down_delay: Some(SignedDuration::MAX),
    };
    let moves = plan_blue_green(&state, &intent, at);
    assert!(moves.writes.iter().any(|write| *write.kind() == MoveKind::SetDeadline(0, at)), "{moves:?}");
}
