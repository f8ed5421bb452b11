//! The routes of Rollouts whose share a router carries: which objects they stand in, what is remembered of
//! them, and what a decision gets to see.
//!
//! Decides nothing about weights. What a router writes is the business of `sluice-traffic`; how long a
//! change takes to be live is that of `sluice_engine::traffic`.

mod memory;
mod objects;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use sluice_engine::traffic::{self, Sight, Times};
use sluice_engine::world::{Canary, Rollout, Settings, Strategy, Traffic, Verify};
use sluice_traffic::{
    By, Edit, Edits, Extra, ObjectKind, ObjectRef, Objects, PingPong, Routes, Scope, TrafficError,
    TrafficRouter, Verdict,
};

pub use self::memory::{RouteMemory, Trouble};
pub use self::objects::{RouteObject, RouteObjects, index_name, index_name_of_all, path};

/// The canary strategy of a Rollout that has a router.
fn routed(rollout: &Rollout) -> Option<&Canary> {
    match &rollout.spec.as_ref().ok()?.strategy {
        Strategy::Canary(canary) if canary.routing.is_some() => Some(canary),
        _ => None,
    }
}

/// The routers that a Rollout's spec names, and the first block of which there is none.
pub fn routers(rollout: &Rollout) -> (Vec<Box<dyn TrafficRouter>>, Option<String>) {
    let Some((canary, routing)) = routed(rollout).and_then(|canary| Some((canary, canary.routing.as_ref()?)))
    else {
        return (Vec::new(), None);
    };
    let scope = Scope {
        namespace: rollout.namespace.clone(),
        rollout: rollout.name.clone(),
        uid: rollout.uid.clone(),
        stable_service: canary.stable_service.clone(),
        canary_service: canary.canary_service.clone(),
        max_weight: routing.max_weight,
        has_max_weight: routing.block.max_traffic_weight.is_some(),
        managed_names: routing.managed_names.clone(),
    };
    let mut found = Vec::new();
    let mut missing = None;
    for router in sluice_traffic::routers(&routing.block, &scope) {
        match router {
            Ok(router) => found.push(router),
            Err(unsupported) => missing = missing.or(Some(unsupported.block)),
        }
    }
    (found, missing)
}

/// Notes in the spec which router there is none of, so that the Rollout is held.
pub fn mark_unsupported(rollout: &mut Rollout) {
    let (_, missing) = routers(rollout);
    if missing.is_some()
        && let Ok(spec) = &mut rollout.spec
        && let Strategy::Canary(canary) = &mut spec.strategy
        && canary.routing.as_ref().is_some_and(|routing| routing.is_retired)
    {
        canary.routing = None; // nobody here can take its share back
        return;
    }
    if let (Some(block), Ok(spec)) = (missing, &mut rollout.spec)
        && let Strategy::Canary(Canary { routing: Some(routing), .. }) = &mut spec.strategy
    {
        let block = format!("spec.strategy.canary.trafficRouting.{block}");
        routing.unsupported = routing.unsupported.take().or(Some(block));
    }
}

/// The index entries of a Rollout: the objects that its routes stand in.
pub fn index(rollout: &Rollout) -> Vec<String> {
    let (routers, _) = routers(rollout);
    let reads = routers.iter().flat_map(|router| router.reads());
    let named = reads.map(|object| index_name(object.kind, &object.namespace, &object.name));
    // What is picked by its owner is looked at with him; only labels may come to objects by themselves.
    let selects = routers.iter().flat_map(|router| router.selects());
    let by_label = selects.filter(|picked| matches!(picked.by, By::Labels(_)));
    named.chain(by_label.map(|picked| index_name_of_all(picked.kind, &picked.namespace))).collect()
}

/// One look at the routes of one Rollout.
#[derive(Debug)]
pub struct Look {
    routers: Vec<Box<dyn TrafficRouter>>,
    /// The objects as they were looked at.
    pub observed: Objects,
    /// The `apiVersion` in which the cluster serves each kind.
    served: BTreeMap<ObjectKind, String>,
    /// What a decision gets to see.
    pub traffic: Traffic,
    /// When a router that refused is to be asked again.
    pub retry_at: Option<Timestamp>,
}

/// What has to be known of the cluster before a Rollout's routes can be looked at.
#[derive(Debug)]
pub enum NotReady {
    /// The first list of a kind is not complete.
    Reading,
}

/// Looks at the routes of `rollout`; `None` if it has no router.
///
/// # Errors
/// Not all objects are known yet.
pub fn look(
    rollout: &Rollout,
    objects: &RouteObjects,
    memory: &RouteMemory,
    settings: Settings,
    now: Timestamp,
) -> Result<Option<Look>, NotReady> {
    let Some((canary, routing)) = routed(rollout).and_then(|canary| Some((canary, canary.routing.as_ref()?)))
    else {
        return Ok(None);
    };
    if routing.unsupported.is_some() {
        return Ok(None);
    }
    let (mut routers, _) = routers(rollout);
    let mut observed = Objects::new();
    let mut served = BTreeMap::new();
    let mut trouble = None;
    for router in &routers {
        let (mut is_served, mut absent) = (false, None);
        for (reference, found) in found_of(&**router, objects)? {
            is_served |= !matches!(found, objects::Found::NoSuchKind(_));
            served.extend(objects.served(reference.kind).map(|version| (reference.kind, version)));
            let problem = match found {
                objects::Found::Object(object) => {
                    observed.insert(reference, object);
                    continue;
                }
                objects::Found::Nothing => continue,
                objects::Found::NoSuchKind(_) if routing.is_retired => continue,
                objects::Found::NoSuchKind(problem) if router.can_do_without(reference.kind) => {
                    absent = absent.or(Some((describe(&reference), problem)));
                    continue;
                }
                objects::Found::Broken(problem) | objects::Found::NoSuchKind(problem) => problem,
            };
            trouble = trouble.or(Some((describe(&reference), problem)));
        }
        // Of several groups one is enough.
        trouble = trouble.or(absent.filter(|_| !is_served));
    }
    let is_gone = routing.is_retired && observed.is_empty() && trouble.is_none();
    if is_gone {
        routers.clear(); // whatever they did is over
    }
    let roles = canary.ping_pong.as_ref().map(|pair| roles(rollout, pair));
    let mut sight = Sight { canary_role: roles.as_ref().map(|r| r.canary.clone()), ..Sight::default() };
    let last = memory.shown(rollout);
    let wanted = last.as_ref().map(to_router);
    sight.shows_last = trouble.is_none()
        && wanted.as_ref().is_some_and(|wanted| {
            routers.iter().all(|r| r.with_routes(&observed, wanted).is_ok_and(|edits| edits.is_empty()))
        });
    if is_gone {
        sight.weights.push(Some(0));
    }
    let mut verdicts = Vec::new();
    for router in &routers {
        match router.read(&observed, roles.as_ref()) {
            Ok(found) => {
                // An object may hold a nearby weight only; it shows what was asked for all the same.
                let shown = last.as_ref().filter(|_| sight.shows_last).map(|routes| routes.weight);
                sight.weights.push(shown.or(found.weight));
                sight.managed.extend(found.managed);
                let subsets = found.subsets.map(|s| traffic::Subsets { stable: s.stable, canary: s.canary });
                sight.subsets = sight.subsets.take().or(subsets);
            }
            Err(error) => {
                sight.is_partial = true;
                trouble = trouble.or_else(|| Some((format!("router {}", router.name()), error.to_string())));
            }
        }
        if let Some(wanted) = wanted.as_ref().filter(|_| sight.shows_last) {
            verdicts.push(router.verdict(&observed, wanted));
        }
    }
    sight.is_partial |= trouble.is_some();
    sight.verdict = combine(&verdicts);
    let times = Times {
        settle: match routing.verify {
            Verify::Auto => Some(settings.settle),
            Verify::Strict => None,
            Verify::Off => Some(SignedDuration::ZERO),
        },
        drain: routing.drain,
    };
    let (record, refused) = memory.see(rollout, &sight, routing.max_weight, times, now);
    let trouble =
        trouble.or(refused.as_ref().map(|refused| (refused.object.clone(), refused.problem.clone())));
    let retry_at = refused.as_ref().map(|refused| refused.retry_at);
    let traffic = Traffic {
        weight: record.weight(sight.verdict, times),
        managed: record.managed(&sight, times),
        subsets: record.subsets(times, now),
        shown: record.shown.clone(),
        asked: record.asked.clone().filter(|asked| {
            trouble.as_ref().is_some_and(|trouble| others_show(&routers, &observed, asked, trouble))
        }),
        is_guess: record.is_guess,
        verified: verified(&verdicts),
        needs_live_primary: routers.iter().any(|router| router.needs_live_primary()),
        trouble,
    };
    Ok(Some(Look { routers, observed, served, traffic, retry_at }))
}

/// What is known of each object that a router asks for.
fn found_of(
    router: &dyn TrafficRouter,
    objects: &RouteObjects,
) -> Result<Vec<(ObjectRef, objects::Found)>, NotReady> {
    let mut found = Vec::new();
    for reference in router.reads() {
        let one = objects.get(&reference)?;
        found.push((reference, one));
    }
    for selection in router.selects() {
        found.extend(objects.select(&selection)?);
    }
    Ok(found)
}

/// Whether every object that is not in trouble shows these routes: one that cannot be read or written does not
/// hold the others.
fn others_show(
    routers: &[Box<dyn TrafficRouter>],
    observed: &Objects,
    asked: &traffic::Routes,
    (in_trouble, _): &(String, String),
) -> bool {
    let asked = to_router(asked);
    routers.iter().all(|router| {
        let Ok(edits) = router.with_routes(observed, &asked) else { return true };
        edits.keys().all(|object| *in_trouble == describe(object))
    })
}

impl Look {
    /// The routers, in the order in which they are served.
    pub fn routers(&self) -> &[Box<dyn TrafficRouter>] {
        &self.routers
    }

    /// What has to change so that the objects of this router ask for these routes.
    ///
    /// # Errors
    /// An object that is missing or has not the needed shape.
    pub fn edits(&self, router: &dyn TrafficRouter, routes: &Routes) -> Result<Edits, TrafficError> {
        let mut edits = router.with_routes(&self.observed, routes)?;
        for (reference, edit) in &mut edits {
            if let (Edit::Put(object), Some(version)) = (edit, self.served.get(&reference.kind))
                && !self.observed.contains_key(reference)
            {
                *object = router.in_version(object.take(), version);
            }
        }
        Ok(edits)
    }
}

/// What the data plane is known to do, of what each router says.
fn combine(verdicts: &[Verdict]) -> traffic::Verdict {
    match () {
        () if verdicts.contains(&Verdict::Pending) => traffic::Verdict::Pending,
        () if verdicts.is_empty() || verdicts.contains(&Verdict::Unknown) => traffic::Verdict::Unknown,
        () => traffic::Verdict::Live,
    }
}

fn verified(verdicts: &[Verdict]) -> Option<bool> {
    match () {
        () if verdicts.contains(&Verdict::Pending) => Some(false),
        () if verdicts.contains(&Verdict::Live) => Some(true),
        () => None,
    }
}

/// The two Services that take turns, in the parts that they play now: without a record, pong is stable's.
fn roles(rollout: &Rollout, (ping, pong): &(String, String)) -> PingPong {
    use sluice_api::canary::PingPongSide::{Ping, Pong};
    let (stable, canary) = match rollout.status.canary.stable_ping_pong {
        Some(Ping) => (ping, pong),
        Some(Pong) | None => (pong, ping),
    };
    PingPong { stable: stable.clone(), canary: canary.clone() }
}

/// Routes in the words of routers.
pub fn to_router(routes: &traffic::Routes) -> Routes {
    Routes {
        canary_weight: routes.weight,
        stable_hash: routes.stable_hash.clone(),
        canary_hash: routes.canary_hash.clone(),
        ping_pong: routes.ping_pong.clone().map(|(stable, canary)| PingPong { stable, canary }),
        extra: routes
            .extra
            .iter()
            .map(|extra| Extra {
                service: extra.service.clone(),
                hash: extra.hash.clone(),
                weight: extra.weight,
            })
            .collect(),
        managed: routes
            .managed
            .iter()
            .map(|route| match route {
                traffic::ManagedRoute::Header(route) => sluice_traffic::ManagedRoute::Header(route.clone()),
                traffic::ManagedRoute::Mirror(route) => sluice_traffic::ManagedRoute::Mirror(route.clone()),
            })
            .collect(),
    }
}

/// A text that names an object in messages.
pub fn describe(reference: &ObjectRef) -> String {
    format!("{} {}/{}", reference.kind.kind, reference.namespace, reference.name)
}
