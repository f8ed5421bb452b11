//! Broken planners: each goes without one guard, and the exploration has to find out, for the right reason.
//!
//! The planner itself is not touched: its answers are changed on their way into the model.

use super::*;
use crate::moves::model::explore::explore;

/// What the breakage is, where it is looked for, what must be said about it, and the breakage.
type Mutant = (&'static str, Config, &'static str, fn(&Fleet, &mut Vec<Write>));

fn is_select(write: &Write) -> bool {
    matches!(write, Write::SelectStable(_))
}

/// Puts a move of the active Service first, unless the plan has one.
fn select(plan: &mut Vec<Write>, version: u8) {
    if !plan.iter().any(is_select) {
        plan.insert(0, Write::SelectStable(version));
    }
}

/// Does nothing where the plan would move the active Service.
fn hold(plan: &mut Vec<Write>) {
    if plan.iter().any(is_select) {
        plan.clear();
    }
}

/// Resizes a version, whatever the plan says of its size.
fn resize(plan: &mut Vec<Write>, version: usize, size: u8) {
    plan.retain(|write| !matches!(*write, Write::Scale(v, _) if v == version));
    plan.push(Write::Scale(version, size));
}

fn current(fleet: &Fleet) -> Pods {
    fleet.pods[fleet.current as usize]
}

fn is_before_switch(fleet: &Fleet) -> bool {
    fleet.is_going() && fleet.has_active && fleet.active.selected != fleet.current
}

fn of_the_switch() -> Vec<Mutant> {
    let gated = basis("bg");
    let open = Config { is_gated: false, ..gated };
    vec![
        ("the switch does not wait for its gate", gated, "I5: the gate", |fleet, plan| {
            if is_before_switch(fleet) && current(fleet).stay() >= fleet.replicas && fleet.replicas > 0 {
                select(plan, fleet.current);
            }
        }),
        ("the switch waits for one pod only", open, "I1: switched", |fleet, plan| {
            if is_before_switch(fleet) && current(fleet).stay() == 1 && fleet.pods[0].stay() == 0 {
                select(plan, fleet.current);
            }
        }),
        (
            "the switch waits for what must not be missing only",
            Config { unavailable: 1, ..open },
            "I1: switched",
            |fleet, plan| {
                if is_before_switch(fleet) && current(fleet).stay() == 1 && fleet.replicas == 2 {
                    select(plan, fleet.current);
                }
            },
        ),
        ("the switch waits for no pod", open, "I2", |fleet, plan| {
            if is_before_switch(fleet) && current(fleet).size > 0 {
                select(plan, fleet.current);
            }
        }),
        ("the switch is made while halted", Config { may_halt: true, ..open }, "halted", |fleet, plan| {
            if is_before_switch(fleet) && fleet.is_halted && fleet.replicas > 0 && current(fleet).stay() == 2
            {
                select(plan, fleet.current);
            }
        }),
        (
            "the switch is made while asleep",
            Config { replicas: 1, replicas_values: &[0, 1], ..open },
            "asleep",
            |fleet, plan| {
                if is_before_switch(fleet)
                    && fleet.is_asleep
                    && current(fleet).stay() > 0
                    && fleet.replicas > 0
                {
                    select(plan, fleet.current);
                }
            },
        ),
        ("a dead version keeps the traffic", open, "I11", |fleet, plan| {
            if fleet.is_going() && fleet.selected() == Some(fleet.current as usize) {
                plan.retain(|write| !is_select(write));
            }
        }),
        ("a dead version that was superseded keeps the traffic", open, "I11", |fleet, plan| {
            let is_superseded = fleet.selected().is_some_and(|s| s != fleet.current as usize);
            if fleet.is_going() && is_superseded && current(fleet).stay() < fleet.replicas {
                hold(plan);
            }
        }),
        ("traffic goes back though the new version serves", gated, "taken from", |fleet, plan| {
            if fleet.is_going() && fleet.active.selected == fleet.current && fleet.stable == 0 {
                select(plan, fleet.stable);
            }
        }),
        ("an abort asks for the health of the new version", open, "I11", |fleet, plan| {
            if fleet.is_aborted && current(fleet).stay() < fleet.replicas {
                hold(plan);
            }
        }),
        ("an abort goes to fewer pods", open, "I1", |fleet, plan| {
            if fleet.is_aborted && fleet.active.selected == fleet.current && fleet.pods[0].stay() == 1 {
                select(plan, fleet.stable);
            }
        }),
        ("an aborted version is switched to", open, "I3", |fleet, plan| {
            if fleet.is_aborted && current(fleet).stay() == 2 && fleet.active.selected != fleet.current {
                select(plan, fleet.current);
            }
        }),
        (
            "a lost selector goes to the new version",
            Config { may_meddle: true, ..gated },
            "I5: the gate",
            |fleet, plan| {
                let is_up = current(fleet).stay() >= fleet.replicas && fleet.replicas > 0;
                if fleet.is_going() && fleet.active.selected == WIDE && is_up {
                    plan.retain(|write| !is_select(write));
                    select(plan, fleet.current);
                }
            },
        ),
        ("a lost selector stays lost", Config { may_meddle: true, ..open }, "I11", |fleet, plan| {
            if fleet.active.selected == WIDE {
                plan.retain(|write| !is_select(write));
            }
        }),
        (
            "the first narrowing does not wait for every pod",
            Config { is_adopted: true, unavailable: 1, ..open },
            "I1: narrowed",
            |fleet, plan| {
                if fleet.active.selected == WIDE && fleet.pods[0].stay() == 1 && fleet.is_promoted() {
                    select(plan, fleet.stable);
                }
            },
        ),
        (
            "a missing stable version opens the gate",
            Config { may_delete: true, may_meddle: true, ..gated },
            "I5: the gate",
            |fleet, plan| {
                if is_before_switch(fleet) && !fleet.has_stable && current(fleet).stay() == 2 {
                    select(plan, fleet.current);
                }
            },
        ),
        ("promotion does not wait until everybody knows", gated, "I5: promoted", |fleet, plan| {
            if fleet.is_going() && fleet.active.selected == fleet.current {
                *plan = vec![Write::Promote];
            }
        }),
        ("promotion does not wait for its gate", gated, "I5: promoted before its gate", |fleet, plan| {
            if fleet.is_going() && fleet.active == Service::on(fleet.current) {
                *plan = vec![Write::Promote];
            }
        }),
        ("promotion does not wait for pods", open, "promoted with", |fleet, plan| {
            if fleet.is_going() && fleet.active == Service::on(fleet.current) && !fleet.is_asleep {
                *plan = vec![Write::Promote];
            }
        }),
        ("the preview stays behind", open, "I11", |_, plan| {
            plan.retain(|write| !matches!(write, Write::SelectCanary(_)));
        }),
    ]
}

fn of_sizes() -> Vec<Mutant> {
    let gated = basis("bg");
    let open = Config { is_gated: false, ..gated };
    vec![
        (
            "old versions go though they are all that serves",
            Config { may_meddle: true, ..open },
            "pods stay for all callers",
            |fleet, plan| {
                let is_over = |v: &usize| fleet.is_leaving(*v) && fleet.pods[*v].deadline == Delay::Passed;
                let is_wide = fleet.active.selected == WIDE && fleet.replicas > 0;
                if let Some(version) =
                    (0..VERSIONS).find(is_over).filter(|_| is_wide && !plan.iter().any(is_select))
                {
                    resize(plan, version, 0);
                }
            },
        ),
        ("what late proxies use is not kept", open, "I4: somebody", |fleet, plan| {
            let is_late = |v: &usize| fleet.is_leaving(*v) && fleet.active.may_use(*v);
            let is_over = |v: &usize| fleet.pods[*v].deadline == Delay::Passed && fleet.pods[*v].size > 0;
            for version in (0..VERSIONS).filter(is_late).filter(is_over) {
                resize(plan, version, 0);
            }
        }),
        ("deadlines are not waited for", open, "deadline has not passed", |_, plan| {
            for write in plan {
                if let Write::SetDeadline(version) = *write {
                    *write = Write::Scale(version, 0);
                }
            }
        }),
        ("deadlines follow the data plane", open, "W42", |fleet, plan| {
            let late = (0..VERSIONS).find(|v| {
                fleet.is_leaving(*v) && fleet.active.may_use(*v) && fleet.pods[*v].deadline != Delay::None
            });
            plan.extend(late.map(Write::ClearDeadline));
        }),
        ("a version that serves keeps its deadline", open, "I11", |_, plan| {
            plan.retain(|write| !matches!(write, Write::ClearDeadline(_)));
        }),
        (
            "every old version may wait",
            Config { delayed_revisions: 1, ..open },
            "wait out their delay",
            |fleet, plan| {
                plan.retain(
                    |write| !matches!(*write, Write::Scale(v, 0) if fleet.pods[v].deadline == Delay::Running),
                );
            },
        ),
        (
            "pods of an aborted version that are to stay go",
            Config { keeps_aborted: true, ..open },
            "are to stay",
            |fleet, plan| {
                if fleet.is_aborted && fleet.active == Service::on(fleet.stable) && current(fleet).size > 0 {
                    plan.push(Write::Scale(fleet.current as usize, 0));
                }
            },
        ),
        ("an aborted version grows", Config { replicas_values: &[1], ..open }, "I3: grows", |fleet, plan| {
            if fleet.is_aborted && current(fleet).size < fleet.replicas {
                plan.push(Write::Scale(fleet.current as usize, fleet.replicas));
            }
        }),
        (
            "an aborted version that is selected grows",
            Config { replicas: 1, replicas_values: &[2], ..open },
            "I3: grows",
            |fleet, plan| {
                let is_selected = fleet.active.selected == fleet.current;
                if fleet.is_aborted && is_selected && current(fleet).size < fleet.replicas {
                    plan.push(Write::Scale(fleet.current as usize, fleet.replicas));
                }
            },
        ),
        (
            "what active selects does not grow",
            Config { replicas: 1, replicas_values: &[2], ..open },
            "left short",
            |fleet, plan| {
                plan.retain(|write| {
                    !matches!(*write, Write::Scale(v, to)
                if fleet.selected() == Some(v) && v as u8 != fleet.stable && v as u8 != fleet.current
                    && to > fleet.pods[v].size)
                });
            },
        ),
        (
            "what only late proxies use grows",
            Config { replicas: 1, replicas_values: &[2], ..open },
            "nobody is sent there",
            |fleet, plan| {
                let is_late = |v: &usize| fleet.is_leaving(*v) && fleet.active.may_use(*v);
                if let Some(version) = (0..VERSIONS).find(is_late).filter(|_| !fleet.is_aborted) {
                    plan.push(Write::Scale(version, fleet.replicas));
                    plan.retain(|write| *write != Write::Scale(version, fleet.pods[version].size));
                }
            },
        ),
        ("the new version wakes first", open, "before stable is awake", |fleet, plan| {
            if fleet.is_asleep && fleet.is_going() && fleet.replicas > 0 && current(fleet).size == 0 {
                plan.insert(0, Write::Scale(fleet.current as usize, 1));
            }
        }),
        ("awake before stable is", open, "awake without", |fleet, plan| {
            if fleet.is_asleep && fleet.replicas > 0 && !plan.contains(&Write::Awake) {
                plan.push(Write::Awake);
            }
        }),
        ("never awake", open, "under way", |_, plan| plan.retain(|write| *write != Write::Awake)),
        ("a preview has all pods", Config { preview: Some(1), ..gated }, "a preview of", |fleet, plan| {
            for write in plan {
                match write {
                    Write::Scale(v, to) if *v as u8 == fleet.current && *to == 1 => *to = fleet.replicas,
                    _ => {}
                }
            }
        }),
        ("a preview never grows", Config { preview: Some(1), ..gated }, "I11", |fleet, plan| {
            plan.retain(
                |write| !matches!(*write, Write::Scale(v, 2) if v as u8 == fleet.current && fleet.is_going()),
            );
        }),
        ("nothing shrinks", open, "I11", |fleet, plan| {
            plan.retain(|write| !matches!(*write, Write::Scale(v, to) if to < fleet.pods[v].size));
        }),
        (
            "stable does not grow while aborted",
            Config { replicas: 1, replicas_values: &[2], ..open },
            "stable is left short",
            |fleet, plan| {
                if fleet.is_aborted {
                    plan.retain(|write| !matches!(*write, Write::Scale(0, _)));
                }
            },
        ),
        ("stable shrinks once the traffic is elsewhere", open, "W23", |fleet, plan| {
            let stable = fleet.pods[fleet.stable as usize];
            if fleet.is_going() && fleet.active == Service::on(fleet.current) && stable.size == 2 {
                *plan = vec![Write::Scale(fleet.stable as usize, 1)];
            }
        }),
        ("old versions go though the new one is short", open, "floor", |fleet, plan| {
            let is_over = |v: &usize| fleet.pods[*v].deadline == Delay::Passed && fleet.pods[*v].size > 0;
            let is_left = |v: &usize| fleet.is_leaving(*v) && !fleet.active.may_use(*v);
            if fleet.is_promoted() && fleet.replicas > 0 {
                for version in (0..VERSIONS).filter(is_left).filter(is_over) {
                    resize(plan, version, 0);
                }
            }
        }),
        (
            "old versions go all or none",
            Config { room: Some(4), replicas: 3, replicas_values: &[1, 2], ..open },
            "I11",
            |fleet, plan| {
                plan.retain(|write| !matches!(*write, Write::Scale(v, to) if to > 0 && fleet.is_leaving(v)));
            },
        ),
        ("pods outlive replicas: 0", open, "I11", |fleet, plan| {
            if fleet.replicas == 0 {
                plan.retain(|write| !matches!(write, Write::Scale(2, 0)));
            }
        }),
    ]
}

#[test]
fn every_broken_planner_of_blue_green_is_caught() {
    let mut unnoticed = Vec::new();
    for (what, config, complaint, mutation) in of_the_switch().into_iter().chain(of_sizes()) {
        let mutant = Config { mutation: Some(mutation), ..config };
        match explore(&mutant, 300_000) {
            Ok(_) => unnoticed.push(format!("{what}: nobody noticed")),
            Err(error) if !error.contains(complaint) => {
                unnoticed.push(format!("{what}: not {complaint:?} but {error}"));
            }
            Err(_) => {}
        }
    }
    assert!(unnoticed.is_empty(), "{}", unnoticed.join("\n"));
}
