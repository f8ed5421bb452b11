//! What must hold while the ratio of pods is the split, and where such a canary may come to rest.

use super::explore::Fair;
use super::*;

/// Checks one write: the cluster before and after it.
pub(super) fn check(config: &Config, before: &Cluster, after: &Cluster, write: Write) -> Result<(), String> {
    match write {
        Write::Scale(version, to) if to < before.pods[version].size => {
            shrink(config, before, after, version, to)
        }
        Write::Scale(version, _) => grow(config, before, after, version),
        Write::SelectCanary(version) => {
            let is_empty = before.pods[version as usize].stay() == 0;
            let was_empty = before.pods[before.canary_service.selected as usize].stay() == 0;
            let loses_nothing = was_empty && version == before.stable;
            if is_empty && before.replicas > 0 && !loses_nothing {
                Err("I5: leads to a version without a ready pod".into())
            } else {
                Ok(())
            }
        }
        Write::SelectStable(version) if version != WIDE => {
            Err("W18: narrows the Service that everybody calls".into())
        }
        Write::SelectStable(_) | Write::Awake | Write::ClearDeadline(_) => Ok(()),
        Write::StepDone | Write::Promote => position(config, before, write),
        Write::Weight(_) | Write::Managed(_) | Write::SetDeadline(_) => {
            Err("there is no router and no delay".into())
        }
    }
}

/// Checks a whole plan: its writes together do not raise the canary's share while somebody holds it.
pub(super) fn check_pass(before: &Cluster, after: &Cluster) -> Result<(), String> {
    let counts = |cluster: &Cluster| {
        let new = u32::from(cluster.pods[before.current as usize].size);
        (new, new + u32::from(cluster.pods[before.stable as usize].size))
    };
    let ((was, was_total), (is, is_total)) = (counts(before), counts(after));
    let is_held = before.is_halted && before.is_going();
    if is_held && is > was && is * was_total > was * is_total.max(before.replicas.into()) {
        return Err("the canary's share rises while the rollout is halted".into());
    }
    Ok(())
}

fn grow(config: &Config, before: &Cluster, after: &Cluster, version: usize) -> Result<(), String> {
    if after.size() > before.replicas + config.surge {
        return Err(format!("surge: {} pods", after.size()));
    }
    if version == before.stable as usize {
        return Ok(());
    }
    if before.is_aborted {
        return Err("I3: an aborted version grows".into());
    }
    if version != before.current as usize {
        return Err("a version that leads nowhere grows".into());
    }
    if before.is_asleep {
        return Err("the canary grows before stable is awake".into());
    }
    Ok(())
}

fn shrink(config: &Config, before: &Cluster, after: &Cluster, version: usize, to: u8) -> Result<(), String> {
    if before.replicas == 0 {
        return Ok(());
    }
    let floor = config.floor(before);
    if after.stay() < before.stay().min(floor) {
        return Err(format!("floor: {} pods stay of {floor}", after.stay()));
    }
    let least = before.pods[version].size.min(before.replicas);
    let is_stable = version == before.stable as usize;
    if is_stable && !before.is_going() && to < least {
        return Err("W23: stable shrinks while nothing else is to serve".into());
    }
    if config.services == Services::None {
        return Ok(());
    }
    let is_narrowed =
        before.stable_service.live == 1 << version || before.stable_service.selected as usize == version;
    if is_narrowed && to < least {
        return Err("W18: everybody who calls the stable Service needs these pods".into());
    }
    let is_member = version == before.current as usize && before.is_going();
    if to == 0 && !is_member && before.canary_service.may_use(version) {
        return Err("I4: the canary Service may still lead there".into());
    }
    Ok(())
}

fn position(config: &Config, before: &Cluster, write: Write) -> Result<(), String> {
    let (new, stable) = (before.pods[before.current as usize], before.stable_pods());
    let leaves = |version: &usize| *version != before.current as usize && *version != before.stable as usize;
    if before.replicas == 0 || before.is_asleep {
        return Err("goes on while asleep".into());
    }
    let is_there = |version: usize| before.pods[version].size > 0 || before.pods[version].available > 0;
    let at_floor = before.stay() <= config.floor(before) && write == Write::StepDone;
    if (0..VERSIONS).filter(leaves).any(is_there) && !at_floor {
        return Err("goes on beside a version that leads nowhere".into());
    }
    if write == Write::Promote && new.stay() < before.replicas {
        return Err(format!("promoted with {} pods", new.stay()));
    }
    if config.services == Services::None && write == Write::Promote && stable.size > 0 {
        return Err("promoted while stable still serves".into());
    }
    // A weight above 0 gets a pod where two can be had.
    let weight = if config.at_end(before) { 100 } else { config.steps[before.index as usize] };
    if weight > 0 && new.size == 0 && before.replicas > 1 {
        return Err(format!("weight {weight} is not reached with {} pods", new.stay()));
    }
    Ok(())
}

/// Where nothing happens any more: the goal, or a wait for what this fair world withholds.
pub(super) fn may_end(config: &Config, cluster: &Cluster, fair: Fair) -> Result<(), String> {
    let is_going = cluster.is_going();
    let stable = cluster.stable_pods();
    if cluster.replicas == 0 {
        return if cluster.size() == 0 { Ok(()) } else { Err("asleep, but not at zero".into()) };
    }
    let is_short = cluster.stable_pods().available < cluster.replicas;
    if is_going && cluster.is_halted {
        let kept = cluster.pods.iter().map(|pods| pods.size).sum::<u8>();
        return if kept >= cluster.replicas {
            Ok(())
        } else {
            Err("replicas are not followed while halted".into())
        };
    }
    match fair {
        Fair::OnlyStable if is_going => return Ok(()),
        Fair::OnlyOthers if is_short && (!is_going || cluster.is_asleep) => return Ok(()),
        // Broken stable pods may hold every place.
        Fair::OnlyOthers
            if stable.available < stable.size && cluster.size() >= cluster.replicas + config.surge =>
        {
            return Ok(());
        }
        _ => {}
    }
    if is_going {
        // Narrowed by hand, stable keeps all its pods, and the canary only gets what is beyond them.
        let is_foreign = config.services == Services::RatioForeign;
        return if is_foreign {
            Ok(())
        } else {
            Err("under way, nothing to do and nothing to wait for".into())
        };
    }
    let is_foreign =
        config.services == Services::RatioForeign && cluster.stable_service.selected != cluster.stable;
    if cluster.is_at_goal(config.services) || is_foreign {
        Ok(())
    } else {
        Err("ends short of its goal".into())
    }
}

/// Four replicas, one more allowed, a step at a quarter.
pub(super) fn basis(name: &'static str) -> Config {
    Config {
        name,
        split: Split::ByRatio,
        services: Services::None,
        replicas: 4,
        replicas_values: &[0, 2, 4],
        steps: &[25, 50],
        max_weight: 100,
        surge: 1,
        unavailable: 0,
        actions: 2,
        versions: 3,
        may_halt: false,
        may_toggle: false,
        min_pods: 1,
        keeps_aborted: false,
        managed_from: None,
        needs_live_primary: false,
        room: None,
        mutation: None,
    }
}

fn small() -> Vec<Config> {
    let basis = basis("ratio-s1u0");
    vec![
        basis,
        Config { name: "ratio-s0u1", surge: 0, unavailable: 1, ..basis },
        Config { name: "ratio-s1u1", steps: &[50], unavailable: 1, ..basis },
        Config { name: "ratio-s2u0", steps: &[50], surge: 2, versions: 2, ..basis },
        Config {
            name: "ratio-s0u2",
            steps: &[34],
            surge: 0,
            unavailable: 2,
            replicas: 3,
            replicas_values: &[1, 3],
            ..basis
        },
        Config { name: "ratio-zero", steps: &[0, 50, 0, 75], replicas: 3, replicas_values: &[], ..basis },
        Config { name: "ratio-nosteps", steps: &[], replicas: 3, replicas_values: &[0, 1, 3], ..basis },
        Config {
            name: "ratio-n1",
            steps: &[50],
            replicas: 1,
            replicas_values: &[0, 1, 2],
            actions: 3,
            ..basis
        },
        Config {
            name: "ratio-n1-s0u1",
            steps: &[40],
            replicas: 1,
            replicas_values: &[0, 1, 2],
            surge: 0,
            unavailable: 1,
            ..basis
        },
        Config {
            name: "ratio-halt",
            may_halt: true,
            versions: 2,
            actions: 3,
            replicas: 3,
            replicas_values: &[0, 2, 4],
            ..basis
        },
        Config { name: "ratio-halt-s0u1", may_halt: true, versions: 2, surge: 0, unavailable: 1, ..basis },
        Config { name: "ratio-full", room: Some(4), replicas: 3, replicas_values: &[3], ..basis },
        Config {
            name: "ratio-services",
            services: Services::RatioManaged,
            steps: &[50],
            replicas: 3,
            replicas_values: &[0, 3],
            versions: 2,
            ..basis
        },
        Config {
            name: "ratio-foreign",
            services: Services::RatioForeign,
            steps: &[50],
            replicas: 3,
            replicas_values: &[2],
            versions: 2,
            ..basis
        },
    ]
}

fn large() -> Vec<Config> {
    let basis = basis("ratio-n4-s1u0");
    let many = Config { replicas_values: &[0, 1, 2, 3, 4], may_halt: true, actions: 3, ..basis };
    vec![
        many,
        Config { name: "ratio-n4-s0u1", surge: 0, unavailable: 1, ..many },
        Config { name: "ratio-n4-s1u1", unavailable: 1, ..many },
        Config { name: "ratio-n4-s2u1", surge: 2, unavailable: 1, steps: &[0, 34, 75], ..many },
        Config { name: "ratio-n4-s0u4", surge: 0, unavailable: 4, ..many },
        Config {
            name: "ratio-services-n3",
            services: Services::RatioManaged,
            replicas: 3,
            replicas_values: &[0, 2, 3],
            actions: 2,
            ..many
        },
        Config {
            name: "ratio-foreign-n3",
            services: Services::RatioForeign,
            replicas: 3,
            replicas_values: &[0, 2, 3],
            actions: 2,
            ..many
        },
    ]
}

#[test]
fn every_interleaving_of_a_canary_without_a_router() {
    explore_all(&small());
}

#[test]
fn every_interleaving_of_a_large_canary_without_a_router() {
    if is_full() {
        explore_all(&large());
    }
}
