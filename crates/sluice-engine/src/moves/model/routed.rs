//! What must hold while a router splits traffic, and where such a canary may come to rest.

use super::explore::Fair;
use super::*;

/// The version's share as it is asked for.
fn requested(config: &Config, cluster: &Cluster, version: usize) -> u32 {
    let (max, weight) = (u32::from(config.max_weight), u32::from(cluster.weight));
    let stable = if cluster.stable_service.selected as usize == version { max - weight } else { 0 };
    let canary = if cluster.canary_service.selected as usize == version { weight } else { 0 };
    stable + canary
}

/// The version's largest share over every weight and every pair of versions that the data plane may be
/// using.
fn live(config: &Config, cluster: &Cluster, version: usize) -> u32 {
    let mut worst = 0;
    for weight in cluster.low..=cluster.high {
        for stable in (0..VERSIONS).filter(|v| cluster.stable_service.may_use(*v)) {
            for canary in (0..VERSIONS).filter(|v| cluster.canary_service.may_use(*v)) {
                let from_stable = if stable == version { config.max_weight - weight } else { 0 };
                let from_canary = if canary == version { weight } else { 0 };
                worst = worst.max(from_stable + from_canary);
            }
        }
    }
    worst.into()
}

/// Checks one write: the cluster before and after it.
pub(super) fn check(config: &Config, before: &Cluster, after: &Cluster, write: Write) -> Result<(), String> {
    raises(config, before, after)?;
    abort_is_monotone(config, before, after, write)?;
    match write {
        Write::Scale(version, to) if to < before.pods[version].size => {
            shrink(config, before, after, version, to)
        }
        Write::Scale(..) if is_staged(config, before) && after.size() > before.replicas + config.surge => {
            Err(format!("surge: {} pods", after.size()))
        }
        Write::Weight(weight) if before.is_asleep && weight > before.weight => {
            Err("the canary gets weight before stable is awake".into())
        }
        Write::Managed(true) => lead_there(config, before),
        Write::SelectStable(version) => select_stable(config, before, version as usize),
        Write::SelectCanary(version) => select_canary(config, before, version as usize),
        Write::StepDone if config.wants_managed(before) && before.managed.may_be_absent => {
            Err("W55: a step is done while its route is not there".into())
        }
        Write::StepDone if !before.weight_is_settled() => {
            Err("a step is done while its weight is not settled".into())
        }
        Write::Promote
            if (0..VERSIONS).any(|v| v != before.current as usize && live(config, before, v) > 0) =>
        {
            Err("I5: promoted while another version may get traffic".into())
        }
        _ => Ok(()),
    }
}

/// What a whole pass leaves behind, as far as routes of their own are concerned.
pub(super) fn check_pass(config: &Config, before: &Cluster, after: &Cluster) -> Result<(), String> {
    let there = before.canary_service.selected;
    let ready = before.pods.get(there as usize).map_or(0, |pods| pods.available);
    if after.managed.requested && ready == 0 && before.available() > 0 {
        return Err("I2: a route leads where no pod is ready".into());
    }
    let can_lead = before.canary_service == Service::on(before.current) && ready > 0 && !before.is_asleep;
    if config.wants_managed(before) && can_lead && before.replicas > 0 && !after.managed.requested {
        return Err("W55: the route is not asked for although the canary has a pod".into());
    }
    if !before.is_going() && after.managed.requested {
        return Err("I3: a route still leads to a version that is not wanted".into());
    }
    Ok(())
}

/// I2, W55: a route leads to the new version only, and only where a pod is ready.
fn lead_there(config: &Config, before: &Cluster) -> Result<(), String> {
    let is_there = before.canary_service == Service::on(before.current);
    let has_pod = before.pods[before.current as usize].available > 0;
    match () {
        () if !config.wants_managed(before) => Err("I3: a route that nobody asks for".into()),
        () if !is_there => Err("I5: a route leads where another version may answer".into()),
        () if !has_pod => Err("I2: a route leads where no pod is ready".into()),
        () if before.is_asleep => Err("a route leads to a version that sleeps".into()),
        () => Ok(()),
    }
}

fn is_staged(config: &Config, cluster: &Cluster) -> bool {
    matches!(config.split, Split::ByRouter { staged: true, .. }) && cluster.dynamic_stable
}

fn stay(cluster: &Cluster, version: usize) -> u32 {
    cluster.pods[version].stay().into()
}

/// I1, I2: whoever gains has the pods for it, or more of them than whoever loses.
fn raises(config: &Config, before: &Cluster, after: &Cluster) -> Result<(), String> {
    if before.replicas == 0 {
        return Ok(());
    }
    let (max, floor) = (u32::from(config.max_weight), u32::from(config.floor(before)));
    let others = |version: usize| (0..VERSIONS).filter(move |other| *other != version);
    for version in 0..VERSIONS {
        let (was, is) = (requested(config, before, version), requested(config, after, version));
        if is <= was {
            continue;
        }
        let pods = stay(before, version);
        if pods == 0 && others(version).any(|v| requested(config, before, v) > 0 && stay(before, v) > 0) {
            return Err(format!("I2: raises v{} which has no ready pod", version + 1));
        }
        let loses = |v: &usize| requested(config, after, *v) < requested(config, before, *v);
        if pods * max < is * floor && others(version).filter(loses).any(|v| stay(before, v) >= pods) {
            return Err(format!("I1: raises v{} from {was} to {is} of {max} with {pods} pods", version + 1));
        }
    }
    Ok(())
}

/// I3.
fn abort_is_monotone(config: &Config, before: &Cluster, after: &Cluster, write: Write) -> Result<(), String> {
    if !before.is_aborted || before.is_promoted() {
        return Ok(());
    }
    let stable = before.stable as usize;
    let away = |cluster: &Cluster| -> u32 {
        (0..VERSIONS).filter(|v| *v != stable).map(|v| requested(config, cluster, v)).sum()
    };
    if away(after) > away(before) {
        return Err("I3: raises the share of another version after an abort".into());
    }
    match write {
        Write::Scale(version, to) if version != stable && to > before.pods[version].size => {
            Err(format!("I3: grows v{} after an abort", version + 1))
        }
        _ => Ok(()),
    }
}

/// I4, the floor, and stable at rest.
fn shrink(config: &Config, before: &Cluster, after: &Cluster, version: usize, to: u8) -> Result<(), String> {
    if before.replicas == 0 {
        let has_weight = before.canary_service.selected as usize == version && before.weight > 0;
        let could_lower =
            before.stable_service == Service::on(before.stable) && version != before.stable as usize;
        return if has_weight && could_lower {
            Err("I5: falls asleep before its weight is gone".into())
        } else {
            Ok(())
        };
    }
    let floor = config.floor(before);
    // A version that leaves may be one unit of a fine weight ahead.
    let rounding = u32::from(config.max_weight == 100);
    let share = live(config, after, version).saturating_sub(rounding);
    if u32::from(to) * u32::from(config.max_weight) < share * u32::from(floor) {
        return Err(format!("I4: the data plane may give v{} {share} of {}", version + 1, config.max_weight));
    }
    let is_stable = version == before.stable as usize;
    let is_current = version == before.current as usize;
    let is_member = is_stable || is_current && !before.is_aborted;
    if to == 0 {
        if after.managed.may_be_live && after.canary_service.may_use(version) {
            return Err("W13: a route may still lead to it".into());
        }
        if config.needs_live_primary && after.stable_service.may_use(version) {
            return Err("W15: the primary is left without a pod".into());
        }
        if live(config, after, version) > 0 {
            return Err("I4: the data plane may still use it".into());
        }
        let is_selected =
            [before.stable_service, before.canary_service].iter().any(|s| s.selected as usize == version);
        if !is_member && is_selected {
            return Err("I4: a Service selects it".into());
        }
        let deadline = before.pods[version].deadline;
        let owes = !before.dynamic_stable && (before.is_promoted() || before.is_aborted && is_current);
        if !is_member && (owes || deadline == Delay::Running) && deadline != Delay::Passed {
            return Err("I4: its deadline has not passed".into());
        }
    }
    if (is_member || before.is_promoted()) && after.stay() < before.stay().min(floor) {
        return Err(format!("floor: {} pods stay of {floor}", after.stay()));
    }
    let at_rest =
        before.is_promoted() && before.weight == 0 && before.high == 0 && before.stable_service.is_settled();
    if at_rest && is_stable && to < before.pods[version].size.min(before.replicas) {
        return Err("W23: stable shrinks at rest".into());
    }
    Ok(())
}

/// A Service that led to every version is narrowed to one that has the pods.
fn adopt(before: &Cluster, version: usize, wanted: u8) -> Result<(), String> {
    let pods = before.pods[version].stay();
    let is_enough = pods >= wanted.max(1) || before.replicas == 0;
    if is_enough { Ok(()) } else { Err(format!("G5: adopted with {pods} of {wanted} pods")) }
}

/// I5 and W09 for the stable Service.
fn select_stable(config: &Config, before: &Cluster, version: usize) -> Result<(), String> {
    if before.stable_service.selected == WIDE && before.low < config.max_weight {
        return adopt(before, version, before.replicas);
    }
    if before.low < config.max_weight {
        return Err(format!("W09: moves under live weight {}", config.max_weight - before.low));
    }
    let is_return = version == before.stable as usize;
    if before.replicas > 0 && stay(before, version) == 0 && !is_return {
        return Err("I5: leads to a version without a ready pod".into());
    }
    Ok(())
}

/// I5 and W09 for the canary Service.
fn select_canary(config: &Config, before: &Cluster, version: usize) -> Result<(), String> {
    if before.canary_service.selected == WIDE {
        return adopt(before, version, 1);
    }
    if before.managed.may_be_live {
        return Err("W09: moves under a managed route".into());
    }
    let pods = stay(before, version);
    let is_idle_return = version == before.stable as usize && before.high == 0;
    if before.replicas > 0 && pods == 0 && !is_idle_return {
        return Err("I5: leads to a version without a ready pod".into());
    }
    if before.high == 0 {
        return Ok(());
    }
    // A share is handed over only if stable cannot take it back and the new version carries all of it.
    let stable_carries = stay(before, before.stable as usize) >= u32::from(config.floor(before).max(1));
    let carries = pods * u32::from(config.max_weight) >= u32::from(before.high) * u32::from(before.replicas);
    if stable_carries || !carries {
        return Err(format!("W09: moves under live weight {}", before.high));
    }
    Ok(())
}

/// Where nothing happens any more: the goal, or a wait for what this fair world withholds.
pub(super) fn may_end(config: &Config, cluster: &Cluster, fair: Fair) -> Result<(), String> {
    let stable = cluster.stable_pods();
    let is_going = cluster.is_going();
    if cluster.replicas == 0 {
        let is_down = cluster.weight == 0 && cluster.size() == 0 && !cluster.managed.may_be_live;
        return if is_down { Ok(()) } else { Err("asleep, but not at zero".into()) };
    }
    let behind_canary = cluster.pods.get(cluster.canary_service.selected as usize).map(|pods| pods.available);
    let is_stranded = cluster.weight > 0 && behind_canary == Some(0) && stable.available > 0;
    if is_going && (cluster.is_halted || fair == Fair::OnlyStable) {
        return if is_stranded { Err("a share is left on an empty canary".into()) } else { Ok(()) };
    }
    // A full cluster may hold an update back, but not an abort.
    if is_going && config.room.is_some_and(|room| cluster.available() >= room) {
        return Ok(());
    }
    if fair == Fair::OnlyOthers && stable.available < cluster.replicas {
        if is_going && !cluster.is_asleep {
            // The first narrowing of the stable Service waits for all stable pods.
            if cluster.stable_service.selected == WIDE {
                return Ok(());
            }
            let is_full = is_staged(config, cluster) && cluster.size() >= cluster.replicas + config.surge;
            return if is_full { Ok(()) } else { Err("a broken stable version blocks the fix".into()) };
        }
        let could_return = stable.available >= config.floor(cluster).max(1);
        let is_away = cluster.weight > 0 && cluster.canary_service.selected != cluster.stable;
        return if !is_going && is_away && could_return {
            Err("a share stays away although stable can carry all of it".into())
        } else {
            Ok(())
        };
    }
    if is_going {
        return Err("under way, nothing to do and nothing to wait for".into());
    }
    if cluster.is_at_goal(config.services) { Ok(()) } else { Err("ends short of its goal".into()) }
}

fn by_router(dynamic_stable: bool) -> Split {
    Split::ByRouter { dynamic_stable, staged: false, ping_pong: false }
}

/// Two replicas, one step at half of the weight, two user actions.
pub(super) fn basis(name: &'static str, dynamic_stable: bool) -> Config {
    Config {
        name,
        split: by_router(dynamic_stable),
        services: Services::Both,
        replicas: 2,
        replicas_values: &[1, 2],
        steps: &[2],
        max_weight: 4,
        surge: 1,
        unavailable: 0,
        actions: 2,
        versions: 3,
        may_halt: false,
        may_toggle: false,
        min_pods: 0,
        keeps_aborted: false,
        managed_from: None,
        needs_live_primary: false,
        room: None,
        mutation: None,
    }
}

fn staged(config: Config) -> Config {
    Config {
        split: Split::ByRouter { dynamic_stable: true, staged: true, ping_pong: false },
        max_weight: 100,
        ..config
    }
}

fn ping_pong(config: Config) -> Config {
    let Split::ByRouter { dynamic_stable, .. } = config.split else { return config };
    Config { split: Split::ByRouter { dynamic_stable, staged: false, ping_pong: true }, ..config }
}

/// Small ones, for every run.
fn small() -> Vec<Config> {
    let (fixed, dynamic) = (basis("static", false), basis("dss", true));
    vec![
        Config { replicas_values: &[0, 2], ..fixed },
        Config { replicas_values: &[0, 2], ..dynamic },
        Config { name: "static-zero", versions: 2, replicas_values: &[], steps: &[0, 2, 0, 3], ..fixed },
        Config { name: "dss-zero", replicas_values: &[], steps: &[0, 2, 0, 3], ..dynamic },
        Config { name: "static-nosteps", steps: &[], unavailable: 1, ..fixed },
        Config { name: "dss-nosteps", steps: &[], unavailable: 1, ..dynamic },
        Config { name: "static-pause", may_halt: true, versions: 2, ..fixed },
        Config { name: "dss-pause", may_halt: true, versions: 2, ..dynamic },
        Config {
            name: "static-pct",
            versions: 2,
            steps: &[20, 50],
            max_weight: 100,
            actions: 1,
            replicas: 3,
            ..fixed
        },
        Config {
            name: "dss-pct",
            versions: 2,
            steps: &[20, 50],
            max_weight: 100,
            actions: 1,
            replicas: 3,
            ..dynamic
        },
        Config {
            name: "dss-down",
            replicas: 4,
            replicas_values: &[],
            steps: &[3, 1],
            versions: 2,
            ..dynamic
        },
        Config {
            name: "adopted",
            services: Services::Adopted,
            replicas_values: &[0, 2],
            versions: 2,
            ..fixed
        },
        Config { name: "adopted-dss", services: Services::Adopted, unavailable: 1, actions: 1, ..dynamic },
        Config { name: "toggle", may_toggle: true, versions: 2, ..fixed },
        Config {
            name: "minpods-static",
            min_pods: 3,
            replicas: 3,
            replicas_values: &[],
            versions: 2,
            ..fixed
        },
        Config {
            name: "minpods-keep-dss",
            min_pods: 2,
            keeps_aborted: true,
            replicas: 3,
            versions: 2,
            ..dynamic
        },
        Config { name: "keep-dss", keeps_aborted: true, replicas_values: &[0], versions: 2, ..dynamic },
        ping_pong(Config { name: "pingpong", replicas_values: &[0, 2], ..fixed }),
        ping_pong(Config { name: "pingpong-dss", ..dynamic }),
        Config { name: "full-static", room: Some(4), replicas_values: &[], ..fixed },
        Config {
            name: "full-dss",
            room: Some(4),
            replicas: 3,
            replicas_values: &[],
            steps: &[25, 66],
            max_weight: 100,
            versions: 2,
            ..dynamic
        },
        Config {
            name: "managed",
            managed_from: Some(0),
            steps: &[0, 2],
            replicas_values: &[],
            actions: 1,
            ..fixed
        },
        Config {
            name: "managed-asleep",
            managed_from: Some(0),
            replicas_values: &[0, 2],
            versions: 2,
            ..fixed
        },
        Config {
            name: "managed-dss",
            managed_from: Some(0),
            steps: &[0, 4],
            replicas_values: &[],
            actions: 1,
            ..dynamic
        },
        Config { name: "managed-later", managed_from: Some(1), may_halt: true, versions: 2, ..fixed },
        ping_pong(Config { name: "managed-pingpong", managed_from: Some(0), versions: 2, ..fixed }),
        Config {
            name: "primary-dss",
            needs_live_primary: true,
            steps: &[2, 4],
            replicas_values: &[0, 1],
            versions: 2,
            ..dynamic
        },
        Config {
            name: "primary-managed-dss",
            needs_live_primary: true,
            managed_from: Some(0),
            steps: &[4, 2],
            replicas_values: &[],
            unavailable: 1,
            versions: 2,
            ..dynamic
        },
        staged(Config {
            name: "staged-s1u0",
            replicas: 3,
            replicas_values: &[],
            steps: &[50],
            actions: 1,
            ..dynamic
        }),
        staged(Config {
            name: "staged-s0u1",
            replicas: 4,
            replicas_values: &[],
            steps: &[],
            surge: 0,
            unavailable: 1,
            versions: 2,
            ..dynamic
        }),
        staged(Config {
            name: "staged-full",
            room: Some(4),
            replicas: 3,
            replicas_values: &[],
            steps: &[50],
            versions: 2,
            ..dynamic
        }),
    ]
}

/// The large ones.
fn large() -> Vec<Config> {
    let (fixed, dynamic) = (basis("static-n2", false), basis("dss-n2", true));
    let n2 = |config: Config| Config { replicas_values: &[0, 1, 2], surge: 0, actions: 3, ..config };
    let n3 = |name, config: Config| Config { name, replicas: 3, replicas_values: &[1, 3], ..config };
    let n4 = |name, config: Config| Config { name, replicas: 4, unavailable: 1, ..config };
    let percent = |config: Config| Config { max_weight: 100, ..config };
    vec![
        n2(fixed),
        n2(dynamic),
        Config { replicas_values: &[0, 2, 3], steps: &[1, 3], ..n3("static-n3-u0", fixed) },
        Config { replicas_values: &[0, 2, 3], steps: &[1, 3], ..n3("dss-n3-u0", dynamic) },
        Config { replicas_values: &[0, 2, 4], steps: &[1, 2], ..n4("static-n4", fixed) },
        Config { replicas_values: &[0, 2, 4], steps: &[1, 3], ..n4("dss-n4", dynamic) },
        Config { replicas_values: &[2, 4], steps: &[3, 1], versions: 2, ..n4("static-down-n4", fixed) },
        Config { replicas_values: &[2, 4], steps: &[3, 1], versions: 2, ..n4("dss-down-n4", dynamic) },
        Config { steps: &[0, 2, 0, 3], ..n3("static-zero-n3", fixed) },
        Config { steps: &[0, 2, 0, 3], unavailable: 1, ..n3("dss-zero-n3", dynamic) },
        Config { steps: &[], surge: 0, unavailable: 1, ..n3("static-nosteps-n3", fixed) },
        Config { steps: &[], surge: 0, unavailable: 1, ..n3("dss-nosteps-n3", dynamic) },
        Config {
            replicas_values: &[0, 1, 3],
            steps: &[1, 2],
            may_halt: true,
            ..n3("pause-static-n3", fixed)
        },
        Config {
            replicas_values: &[0, 1, 3],
            steps: &[1, 2],
            may_halt: true,
            unavailable: 1,
            ..n3("pause-dss-n3", dynamic)
        },
        percent(Config { steps: &[20, 50], unavailable: 1, ..n3("static-pct-n3", fixed) }),
        percent(Config { steps: &[20, 50], unavailable: 1, ..n3("dss-pct-n3", dynamic) }),
        Config { steps: &[1, 2], may_toggle: true, ..n3("toggle-n3", fixed) },
        Config { steps: &[1, 2], may_toggle: true, ..n3("toggle-dss-n3", dynamic) },
        Config {
            replicas_values: &[1, 4],
            steps: &[1, 2],
            min_pods: 2,
            versions: 2,
            ..n4("minpods-dss-n4", dynamic)
        },
        Config {
            replicas_values: &[1, 4],
            steps: &[1, 2],
            min_pods: 2,
            versions: 2,
            keeps_aborted: true,
            ..n4("minpods-keep-dss-n4", dynamic)
        },
        Config { steps: &[1, 2], min_pods: 3, versions: 2, ..n3("minpods-static-n3", fixed) },
        Config { replicas_values: &[0, 3], keeps_aborted: true, ..n3("keep-dss-n3", dynamic) },
        ping_pong(Config { replicas_values: &[0, 1, 3], steps: &[1, 2], ..n3("pingpong-n3", fixed) }),
        ping_pong(Config {
            replicas_values: &[0, 1, 3],
            steps: &[1, 2],
            unavailable: 1,
            ..n3("pingpong-dss-n3", dynamic)
        }),
        Config { steps: &[0, 2], managed_from: Some(0), ..n3("managed-static-n3", fixed) },
        Config {
            steps: &[0, 2, 4],
            managed_from: Some(1),
            replicas_values: &[0, 3],
            ..n3("managed-dss-n3", dynamic)
        },
        ping_pong(Config {
            steps: &[2],
            managed_from: Some(0),
            versions: 2,
            ..n3("managed-pingpong-n3", fixed)
        }),
        Config { steps: &[2, 4], needs_live_primary: true, ..n3("primary-dss-n3", dynamic) },
        staged(Config {
            steps: &[100],
            needs_live_primary: true,
            versions: 2,
            ..n3("staged-primary-n3", dynamic)
        }),
        percent(Config { steps: &[25, 66], room: Some(4), ..n3("full-dss-n3", dynamic) }),
        percent(Config { steps: &[25, 50], room: Some(4), unavailable: 1, ..n3("full-dss-n3-u1", dynamic) }),
        Config { name: "full-static-n2", room: Some(5), ..fixed },
        staged(Config { steps: &[50], room: Some(4), ..n3("staged-full-n3", dynamic) }),
        staged(Config {
            replicas_values: &[2, 4],
            steps: &[],
            unavailable: 0,
            versions: 2,
            ..n4("staged-n4-s1u0", dynamic)
        }),
        staged(Config {
            replicas_values: &[2, 4],
            steps: &[50],
            versions: 2,
            ..n4("staged-n4-s1u1", dynamic)
        }),
        staged(Config {
            replicas_values: &[4],
            steps: &[],
            surge: 0,
            versions: 2,
            ..n4("staged-n4-s0u1", dynamic)
        }),
        staged(Config { replicas_values: &[3], steps: &[50], ..n3("staged-n3-3rev", dynamic) }),
        staged(Config { steps: &[50], surge: 2, unavailable: 1, ..n3("staged-n3-s2", dynamic) }),
    ]
}

#[test]
fn every_interleaving_of_a_routed_canary() {
    explore_all(&small());
}

#[test]
fn every_interleaving_of_a_large_routed_canary() {
    if is_full() {
        explore_all(&large());
    }
}
