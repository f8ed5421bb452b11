//! What must hold of a blue-green update, and where one may come to rest.

use super::*;
use crate::moves::model::explore::Fair;

/// Checks one write: the cluster before and after it.
pub(super) fn check(config: &Config, before: &Fleet, after: &Fleet, write: Write) -> Result<(), String> {
    match write {
        Write::Scale(version, to) if to < before.pods[version].size => {
            shrink(config, before, after, version, to)
        }
        Write::Scale(version, to) => grow(config, before, version, to),
        Write::SelectStable(WIDE) => Err("the active Service is never widened".into()),
        Write::SelectStable(version) => select(config, before, version as usize),
        Write::SelectCanary(version) => match () {
            () if version != before.current => Err("the preview leads to another version".into()),
            () if before.is_held() => Err("the preview moves while halted".into()),
            () => Ok(()),
        },
        Write::SetDeadline(version) => {
            let pods = before.pods[version];
            let is_kept = config.keeps_aborted && before.is_aborted_version(version);
            let is_owed = before.is_leaving(version) && pods.deadline == Delay::None && pods.size > 0;
            if is_owed && !is_kept { Ok(()) } else { Err("W42: a deadline that is not owed".into()) }
        }
        Write::ClearDeadline(version) => {
            let is_needless = before.pods[version].deadline == Delay::None;
            if before.is_leaving(version) || is_needless {
                Err("W42: takes a deadline away that is owed".into())
            } else {
                Ok(())
            }
        }
        Write::Awake => {
            let is_up = before.pods[before.stable as usize].stay() > 0;
            if before.replicas > 0 && is_up { Ok(()) } else { Err("awake without a stable pod".into()) }
        }
        Write::Promote => promote(config, before),
        Write::Weight(_) | Write::Managed(_) | Write::StepDone => {
            Err("there is no router and no step".into())
        }
    }
}

/// Checks what a whole plan leaves behind.
pub(super) fn check_pass(config: &Config, after: &Fleet) -> Result<(), String> {
    if after.replicas == 0 {
        return Ok(());
    }
    let stable = after.stable as usize;
    if after.knows_stable() && after.pods[stable].size < after.replicas {
        return Err("stable is left short of replicas".into());
    }
    let is_aborted = after.is_aborted && !after.is_promoted();
    if let Some(selected) = after.selected().filter(|_| !is_aborted)
        && after.pods[selected].size < after.replicas
    {
        return Err("the version that has all the traffic is left short of replicas".into());
    }
    let waits = |version: &usize| {
        let pods = after.pods[*version];
        let is_held = pods.size == 0 || after.may_be_used(*version) || after.is_aborted_version(*version);
        after.is_leaving(*version) && pods.deadline == Delay::Running && !is_held
    };
    let waiting = (0..VERSIONS).filter(waits).count();
    let at_floor = after.is_promoted() && after.stay() <= config.floor(after);
    if waiting > config.delayed_revisions as usize && !at_floor {
        return Err(format!("{waiting} old versions wait out their delay"));
    }
    Ok(())
}

/// I1, I2, I3 and the gate of the active Service.
fn select(config: &Config, before: &Fleet, version: usize) -> Result<(), String> {
    let pods = before.pods[version];
    if !before.has_active {
        return Err("there is no such Service".into());
    }
    if before.replicas == 0 {
        let is_harmless = pods.stay() > 0 || before.available() == 0;
        return if is_harmless { Ok(()) } else { Err("I2: leads to a version without a pod".into()) };
    }
    if pods.stay() == 0 {
        return Err("I2: leads to a version without a ready pod".into());
    }
    let served_by = before.selected().map(|selected| before.pods[selected].available);
    match served_by {
        None if !before.is_managed && pods.stay() < before.replicas => {
            return Err(format!("I1: narrowed to {} pods of {}", pods.stay(), before.replicas));
        }
        _ if pods.stay() >= config.floor(before) => {}
        Some(ready) if pods.stay() > ready => {}
        _ => return Err(format!("I1: {} pods are to carry what {served_by:?} do", pods.stay())),
    }
    let nobody_serves = served_by.is_none_or(|ready| ready == 0);
    if before.is_stable(version) {
        return if before.is_going() && !nobody_serves {
            Err("taken from a version that serves".into())
        } else {
            Ok(())
        };
    }
    let has_no_way_back = !before.knows_stable() && nobody_serves;
    match () {
        () if before.is_aborted => Err("I3: away from stable after an abort".into()),
        () if version != before.current as usize => Err("leads to a version that nobody asked for".into()),
        () if before.is_held() => Err("goes on while halted".into()),
        () if has_no_way_back => Ok(()),
        () if !config.may_switch(before) => Err("I5: the gate before the switch is closed".into()),
        () if pods.size < before.replicas || pods.stay() < before.replicas => {
            Err(format!("I1: switched to {} pods of {}", pods.stay(), before.replicas))
        }
        () if before.is_asleep && before.knows_stable() => Err("goes on while asleep".into()),
        () => Ok(()),
    }
}

fn grow(config: &Config, before: &Fleet, version: usize, to: u8) -> Result<(), String> {
    if to > before.replicas {
        return Err(format!("grows to {to} of {}", before.replicas));
    }
    if before.is_stable(version) {
        return Ok(());
    }
    if before.is_aborted && !before.is_promoted() {
        return Err("I3: grows after an abort".into());
    }
    if before.selected() == Some(version) {
        return Ok(());
    }
    match () {
        () if version != before.current as usize => Err("grows though nobody is sent there".into()),
        () if before.is_asleep && before.knows_stable() => {
            Err("the new version grows before stable is awake".into())
        }
        () if !config.may_switch(before) && before.knows_stable() && to > config.preview_size(before) => {
            Err(format!("a preview of {to} pods"))
        }
        () => Ok(()),
    }
}

fn shrink(config: &Config, before: &Fleet, after: &Fleet, version: usize, to: u8) -> Result<(), String> {
    if before.replicas == 0 {
        return Ok(());
    }
    let pods = before.pods[version];
    let all = pods.size.min(before.replicas);
    let is_wide = after.has_active && after.active.selected == WIDE;
    if is_wide {
        // Everybody may be sent anywhere: enough have to stay in all.
        let least = config.floor(before).max(1);
        if after.stay() < before.stay().min(least) {
            return Err(format!("I1: {} pods stay for all callers", after.stay()));
        }
        if to < all && !before.is_leaving(version) {
            return Err("I4: a version that belongs here shrinks".into());
        }
    } else if to < all && after.may_be_used(version) {
        return Err("I4: somebody may still be sent there".into());
    }
    if to < all && before.is_stable(version) {
        return Err("W23: stable shrinks".into());
    }
    if before.is_promoted() && after.stay() < before.stay().min(config.floor(before)) {
        return Err(format!("floor: {} pods stay", after.stay()));
    }
    if !before.is_leaving(version) {
        let wanted = match () {
            () if before.is_asleep && before.knows_stable() => 0,
            () if config.may_switch(before) || !before.knows_stable() => before.replicas,
            () => config.preview_size(before),
        };
        let is_aborted = before.is_aborted && !before.is_promoted();
        return if to < wanted.min(all) && !is_aborted {
            Err("the new version shrinks".into())
        } else {
            Ok(())
        };
    }
    // A deadline from before the abort is honoured by anybody.
    let has_deadline = pods.deadline != Delay::None;
    if to < all && before.is_aborted_version(version) && config.keeps_aborted && !has_deadline {
        return Err("I4: its pods are to stay".into());
    }
    let newer_waiting = (version + 1..VERSIONS).filter(|newer| {
        let pods = before.pods[*newer];
        pods.size > 0 && before.is_leaving(*newer) && !before.is_aborted_version(*newer)
    });
    let is_over_limit = newer_waiting.count() >= config.delayed_revisions as usize;
    let may_skip = !before.is_aborted_version(version) && (!config.has_delay || is_over_limit);
    if to < all && pods.deadline != Delay::Passed && !may_skip {
        return Err("I4: its deadline has not passed".into());
    }
    Ok(())
}

/// I5 and W09 for the promotion.
fn promote(config: &Config, before: &Fleet) -> Result<(), String> {
    let pods = before.pods[before.current as usize];
    match () {
        () if !before.is_going() || before.is_held() => Err("promoted while aborted or halted".into()),
        () if before.replicas == 0 || before.is_asleep && before.knows_stable() => {
            Err("promoted while asleep".into())
        }
        () if !before.has_active || before.active != Service::on(before.current) => {
            Err("I5: promoted before the switch is live everywhere".into())
        }
        () if !config.may_promote(before) => Err("I5: promoted before its gate is open".into()),
        () if pods.stay() < before.replicas => Err(format!("promoted with {} pods", pods.stay())),
        () => Ok(()),
    }
}

/// The planner has nothing to say: somebody else decides about the gate, or has to name what is missing.
pub(super) fn is_for_others(config: &Config, fleet: &Fleet) -> bool {
    let is_before = !config.may_switch(fleet) && fleet.selected() != Some(fleet.current as usize);
    let is_after = fleet.active == Service::on(fleet.current) && !config.may_promote(fleet);
    let wanted = if is_before { config.preview_size(fleet) } else { fleet.replicas };
    let is_at_gate = fleet.is_going()
        && !fleet.is_held()
        && (is_before || is_after)
        && fleet.pods[fleet.current as usize].stay() >= wanted;
    let stands_aborted = fleet.is_aborted && !fleet.knows_stable();
    is_at_gate || stands_aborted || !fleet.has_active
}

/// Only the stable version is left, at its size, and everybody is sent there.
pub(super) fn is_at_goal(config: &Config, fleet: &Fleet) -> bool {
    if fleet.is_going() {
        return false;
    }
    if !fleet.knows_stable() {
        // Aborted, and there is nothing to go back to.
        let is_left = |version| fleet.is_leaving(version) && fleet.pods[version].size > 0;
        return fleet.active.is_settled() && !(0..VERSIONS).any(is_left);
    }
    let is_gone = |version: usize| {
        let pods = fleet.pods[version];
        let is_kept =
            config.keeps_aborted && fleet.is_aborted_version(version) && pods.deadline == Delay::None;
        fleet.is_stable(version) || pods.size == 0 || is_kept
    };
    let leads = !fleet.has_active || fleet.active.selected == fleet.stable;
    (0..VERSIONS).all(is_gone)
        && leads
        && fleet.pods[fleet.stable as usize].size == fleet.replicas
        && (fleet.preview == fleet.current || fleet.is_held())
}

/// Where nothing happens any more: the goal, or a wait for what this fair world withholds.
pub(super) fn may_end(config: &Config, fleet: &Fleet, fair: Fair) -> Result<(), String> {
    if fleet.replicas == 0 {
        let is_down = fleet.pods.iter().all(|pods| pods.size == 0);
        return if is_down { Ok(()) } else { Err("asleep, but not at zero".into()) };
    }
    let stable = fleet.pods[fleet.stable as usize];
    let knows_stable = fleet.knows_stable();
    let is_stranded = fleet.selected().is_some_and(|selected| fleet.pods[selected].available == 0);
    if is_stranded && knows_stable && stable.available > 0 {
        return Err("I2: everybody is sent to a version without a pod".into());
    }
    let is_wide = fleet.has_active && fleet.active.selected == WIDE;
    if is_wide && knows_stable && stable.available >= fleet.replicas {
        return Err("the selector is not brought back".into());
    }
    if !fleet.has_active || !knows_stable && fleet.is_aborted {
        return Ok(());
    }
    if fleet.is_going() {
        let is_full = config.room.is_some_and(|room| fleet.available() >= room);
        let is_held = fleet.is_held() || fair == Fair::OnlyStable || is_full;
        let sleeps_on = fleet.is_asleep && knows_stable && stable.available == 0;
        return if is_held || sleeps_on {
            Ok(())
        } else {
            Err("under way, nothing to do and nothing to wait for".into())
        };
    }
    if fair == Fair::OnlyOthers && stable.available < fleet.replicas {
        let could_return = stable.available >= config.floor(fleet).max(1) && !is_wide;
        return if could_return && fleet.selected() != Some(fleet.stable as usize) {
            Err("traffic stays away although stable can carry it".into())
        } else {
            Ok(())
        };
    }
    let is_crowded = config.room.is_some_and(|room| fleet.available() >= room);
    if is_crowded && fleet.selected() != Some(fleet.stable as usize) {
        return Ok(()); // what serves holds the room that stable needs
    }
    if is_at_goal(config, fleet) { Ok(()) } else { Err("ends short of its goal".into()) }
}
