//! Broken planners: each breaks one rule, and the exploration has to find out, for the right reason.
//!
//! The planner itself is not touched: its answers are changed on their way into the model.

use super::explore::explore;
use super::*;

/// What the breakage is, where it is looked for, what must be said about it, and the breakage.
type Mutant = (&'static str, Config, &'static str, Mutation);

fn is_shrink(cluster: &Cluster, write: Write) -> bool {
    matches!(write, Write::Scale(version, to) if to < cluster.pods[version].size)
}

/// Adds a write in front of the plan, unless the plan has one of this kind.
fn prepend(plan: &mut Vec<Write>, write: Write) {
    let is_same_kind = |other: &Write| std::mem::discriminant(other) == std::mem::discriminant(&write);
    if !plan.iter().any(is_same_kind) {
        plan.insert(0, write);
    }
}

fn routed() -> Vec<Mutant> {
    let (fixed, dynamic) = (routed::basis("static", false), routed::basis("dss", true));
    let staged = Split::ByRouter { dynamic_stable: true, staged: true, ping_pong: false };
    let staged = Config { split: staged, steps: &[50], max_weight: 100, ..dynamic };
    let routes = Config { managed_from: Some(0), steps: &[0, 2], replicas_values: &[], versions: 2, ..fixed };
    let primary =
        Config { needs_live_primary: true, steps: &[4], replicas_values: &[], versions: 2, ..dynamic };
    vec![
        ("shrinks go all the way", dynamic, "I4", |cluster, plan| {
            for write in plan {
                match write {
                    Write::Scale(version, to) if *to < cluster.pods[*version].size => *to = 0,
                    _ => {}
                }
            }
        }),
        (
            "sizes come before weights",
            Config { replicas_values: &[0, 2], ..fixed },
            "I5: falls asleep",
            |cluster, plan| {
                if cluster.replicas == 0 {
                    plan.sort_by_key(|write| !is_shrink(cluster, *write));
                }
            },
        ),
        ("the weight rises before a pod is there", fixed, "I2", |cluster, plan| {
            let has_pods = cluster.pods[cluster.current as usize].stay() > 0;
            if cluster.is_going() && cluster.canary_service == Service::on(cluster.current) && !has_pods {
                prepend(plan, Write::Weight(2));
            }
        }),
        ("the weight rises before all pods are there", fixed, "I1", |cluster, plan| {
            let pods = cluster.pods[cluster.current as usize];
            if cluster.is_going()
                && cluster.canary_service == Service::on(cluster.current)
                && pods.stay() == 1
            {
                prepend(plan, Write::Weight(4));
            }
        }),
        ("weights are sent with no regard to abort", fixed, "I3", |cluster, plan| {
            if cluster.is_aborted && cluster.weight < 2 {
                prepend(plan, Write::Weight(2));
            }
        }),
        ("a new image takes the canary Service at once", fixed, "I5", |cluster, plan| {
            if cluster.is_going() && cluster.canary_service.selected != cluster.current {
                prepend(plan, Write::SelectCanary(cluster.current));
            }
        }),
        ("a new image takes the canary Service under live weight", fixed, "W09", |cluster, plan| {
            let has_pods = cluster.pods[cluster.current as usize].stay() > 0;
            if cluster.is_going() && has_pods && cluster.canary_service.selected != cluster.current {
                prepend(plan, Write::SelectCanary(cluster.current));
            }
        }),
        ("the stable Service moves before all weight does", fixed, "W09", |cluster, plan| {
            let is_saturated = cluster.pods[cluster.current as usize].stay() >= cluster.replicas;
            if cluster.is_going() && is_saturated && cluster.low < 4 && cluster.index == 1 {
                prepend(plan, Write::SelectStable(cluster.current));
            }
        }),
        ("deadlines are not waited for", fixed, "its deadline has not passed", |_, plan| {
            for write in plan {
                if let Write::SetDeadline(version) = *write {
                    *write = Write::Scale(version, 0);
                }
            }
        }),
        ("deadlines are taken away", fixed, "goes round for ever", |cluster, plan| {
            if let Some(version) = cluster.pods.iter().position(|pods| pods.deadline == Delay::Running) {
                prepend(plan, Write::ClearDeadline(version));
            }
        }),
        ("an aborted version still grows", fixed, "I3", |cluster, plan| {
            if cluster.is_aborted && cluster.pods[cluster.current as usize].size == 0 {
                prepend(plan, Write::Scale(cluster.current as usize, 1));
            }
        }),
        ("the weight never falls", fixed, "I11", |cluster, plan| {
            plan.retain(|write| !matches!(*write, Write::Weight(weight) if weight < cluster.weight));
        }),
        ("the stable Service never moves", fixed, "I11", |_, plan| {
            plan.retain(|write| !matches!(write, Write::SelectStable(_)));
        }),
        ("a step is done when its weight is asked for", fixed, "a step is done", |cluster, plan| {
            if cluster.is_going()
                && cluster.index == 0
                && cluster.weight == 2
                && !plan.contains(&Write::StepDone)
            {
                plan.push(Write::StepDone);
            }
        }),
        ("promotion comes with the last weight", fixed, "I5: promoted", |cluster, plan| {
            if cluster.is_going() && cluster.weight == 4 && !plan.contains(&Write::Promote) {
                plan.push(Write::Promote);
            }
        }),
        ("stable is trimmed at rest", Config { unavailable: 1, ..fixed }, "W23", |cluster, plan| {
            if cluster.is_promoted() && cluster.weight == 0 && cluster.stable_pods().stay() == 2 {
                prepend(plan, Write::Scale(cluster.stable as usize, 1));
            }
        }),
        (
            "the canary wakes first",
            Config { replicas_values: &[0, 2], ..fixed },
            "before stable is awake",
            |cluster, plan| {
                let has_pods = cluster.pods[cluster.current as usize].stay() > 0;
                if cluster.is_asleep && cluster.is_going() && has_pods && cluster.weight == 0 {
                    prepend(plan, Write::Weight(2));
                }
            },
        ),
        ("a route leads to a version that starts", routes, "I2: a route", |cluster, plan| {
            let has_pods = cluster.pods[cluster.current as usize].stay() > 0;
            if cluster.is_going() && cluster.canary_service == Service::on(cluster.current) && !has_pods {
                prepend(plan, Write::Managed(true));
            }
        }),
        ("a route leads where others may answer", routes, "I5: a route", |cluster, plan| {
            let has_pods = cluster.pods[cluster.current as usize].stay() > 0;
            let is_settled = cluster.canary_service.is_settled();
            if cluster.is_going() && has_pods && !is_settled && !cluster.managed.requested {
                prepend(plan, Write::Managed(true));
            }
        }),
        ("a route outlives the pods behind it", routes, "I2: a route", |_, plan| {
            plan.retain(|write| *write != Write::Managed(false));
        }),
        ("a route that was lost stays lost", routes, "W55: the route", |cluster, plan| {
            if cluster.index > 0 {
                plan.retain(|write| *write != Write::Managed(true));
            }
        }),
        ("a step does not wait for its route", routes, "W55: a step", |cluster, plan| {
            let is_settled = cluster.canary_service == Service::on(cluster.current);
            if cluster.is_going() && is_settled && cluster.index == 0 && !plan.contains(&Write::StepDone) {
                plan.push(Write::StepDone);
            }
        }),
        (
            "the canary Service moves under a route",
            routes,
            "W09: moves under a managed route",
            |cluster, plan| {
                let can_serve = cluster.stable_pods().stay() > 0 && cluster.high == 0;
                if cluster.managed.may_be_live && can_serve && !cluster.is_going() {
                    prepend(plan, Write::SelectCanary(cluster.stable));
                }
            },
        ),
        ("pods go before the route to them", routes, "W13", |cluster, plan| {
            let is_settled = cluster.weight == 0 && cluster.high == 0;
            if cluster.managed.may_be_live && is_settled && !cluster.is_going() {
                prepend(plan, Write::Scale(cluster.canary_service.selected as usize, 0));
            }
        }),
        ("the primary loses its last pod", primary, "W15", |cluster, plan| {
            let stands_idle = cluster.low == 4 && cluster.canary_service.is_settled();
            if cluster.is_going() && stands_idle && cluster.stable_pods().size > 0 {
                prepend(plan, Write::Scale(cluster.stable as usize, 0));
            }
        }),
        ("a staged walk forgets the surge", staged, "surge", |cluster, plan| {
            for write in plan {
                match write {
                    Write::Scale(version, to) if *to > cluster.pods[*version].size => *to += 1,
                    _ => {}
                }
            }
        }),
    ]
}

fn by_ratio() -> Vec<Mutant> {
    let basis = Config { replicas: 3, replicas_values: &[0, 3], ..ratio::basis("ratio") };
    let managed = Config { services: Services::RatioManaged, ..basis };
    vec![
        ("shrinks go all the way", basis, "floor", |cluster, plan| {
            for write in plan {
                match write {
                    Write::Scale(version, to) if *to < cluster.pods[*version].size => *to = 0,
                    _ => {}
                }
            }
        }),
        ("growth forgets the surge", basis, "surge", |cluster, plan| {
            for write in plan {
                match write {
                    Write::Scale(version, to) if *to > cluster.pods[*version].size => *to += 1,
                    _ => {}
                }
            }
        }),
        ("an aborted version still grows", basis, "I3", |cluster, plan| {
            if cluster.is_aborted && cluster.pods[cluster.current as usize].size == 0 && cluster.size() == 3 {
                prepend(plan, Write::Scale(cluster.current as usize, 1));
            }
        }),
        ("nothing shrinks", basis, "I11", |cluster, plan| plan.retain(|write| !is_shrink(cluster, *write))),
        ("promotion does not wait for pods", basis, "promoted with", |cluster, plan| {
            if cluster.is_going() && cluster.promote_full && !plan.contains(&Write::Promote) {
                plan.push(Write::Promote);
            }
        }),
        ("the canary wakes first", basis, "before stable is awake", |cluster, plan| {
            if cluster.is_asleep && cluster.is_going() && cluster.replicas > 0 && cluster.size() == 0 {
                plan.insert(0, Write::Scale(cluster.current as usize, 1));
            }
        }),
        ("a halted canary goes on", Config { may_halt: true, ..basis }, "halted", |cluster, plan| {
            let new = cluster.current as usize;
            if cluster.is_halted && cluster.is_going() && cluster.size() == 3 && cluster.replicas == 3 {
                prepend(plan, Write::Scale(new, cluster.pods[new].size + 1));
            }
        }),
        ("stable shrinks behind its narrowed Service", managed, "W18", |cluster, plan| {
            let is_narrowed = cluster.stable_service.live == 1;
            if is_narrowed && cluster.is_going() && cluster.replicas == 3 && cluster.stay() > 3 {
                prepend(plan, Write::Scale(cluster.stable as usize, 2));
            }
        }),
        ("the canary Service leads to nobody", managed, "I5", |cluster, plan| {
            if cluster.is_going() && cluster.canary_service.selected != cluster.current {
                prepend(plan, Write::SelectCanary(cluster.current));
            }
        }),
    ]
}

#[test]
fn every_broken_planner_is_caught() {
    let mut unnoticed = Vec::new();
    for (what, config, complaint, mutation) in routed().into_iter().chain(by_ratio()) {
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
