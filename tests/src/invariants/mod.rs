//! What must hold after every write, whoever made it and whatever went wrong before.
//!
//! The checker is told of each committed write and judges those of the controller by what was there and
//! by what the controller could have seen: a watch that is known to lag gives it that much excuse about
//! what others did, and none about what it did itself. It shares no code with the planner.
//!
//! `capacity` has sizes and Services (I1–I5), `blue_green` what is different where one Service has all the
//! traffic, `identity` what belongs to whom and which revision is
//! which (I9, I10), `position` steps, pauses, aborts and the status (I3, I11, I12).

mod blue_green;
mod capacity;
mod identity;
mod position;
pub mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sluice_sim::{Cluster, Write};

use self::view::{Print, RolloutView, SetView};

/// How old what the controller looks at may be when nothing is wrong.
const ORDINARY_LAG: SignedDuration = SignedDuration::from_millis(50);
/// How many writes a report shows.
const SHOWN: usize = 40;

/// Something that must not be.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Of which invariant.
    pub id: &'static str,
    /// When.
    pub at: Timestamp,
    /// Which write, what was seen and what is wanted.
    pub text: String,
    /// The writes that led to it.
    pub recent: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} at {}: {}", self.id, self.at, self.text)?;
        for write in &self.recent {
            writeln!(f, "    {write}")?;
        }
        Ok(())
    }
}

/// What one moment looked like.
#[derive(Clone, Debug, Default)]
struct Moment {
    at: Timestamp,
    rollout: RolloutView,
    sets: BTreeMap<Arc<str>, SetView>,
    /// The version that each Service selects.
    selected: BTreeMap<String, Option<String>>,
    /// When that last changed.
    selected_at: BTreeMap<String, Timestamp>,
}

/// A stretch of time in which watches are known to lag.
#[derive(Clone, Copy, Debug)]
struct Lag {
    until: Timestamp,
    by: SignedDuration,
}

#[derive(Default)]
struct State {
    controllers: BTreeSet<String>,
    objects: BTreeMap<(Arc<str>, String), Arc<Value>>,
    now: Moment,
    past: VecDeque<Moment>,
    lags: Vec<Lag>,
    /// A print of the steps that the status is about.
    plan: u64,
    /// Prints of the templates, by version.
    templates: BTreeMap<Arc<str>, u64>,
    /// When somebody else last changed the size of a ReplicaSet, and what it was before.
    resized: BTreeMap<Arc<str>, (Timestamp, i64)>,
    identity: identity::Memory,
    position: position::Memory,
    violations: Vec<Violation>,
    recent: VecDeque<Write>,
    timeline: Option<Vec<String>>,
    start: Option<Timestamp>,
    print: Print,
    last_write: Timestamp,
    last_own_write: Timestamp,
    own_writes: u64,
    /// The instant of the last own write, and how many there were at it.
    burst: (Timestamp, u64),
    lease: Option<(String, Timestamp)>,
}

/// So many writes at one instant are no rollout.
const ENDLESS: u64 = 500;

/// Checks every write of a cluster in which one Rollout lives. Clones are handles to the same checker.
#[derive(Clone)]
pub struct Checker(Arc<Mutex<State>>);

impl Checker {
    /// Starts checking; `controllers` are the identities that the controller writes under.
    pub fn watch(cluster: &Cluster, controllers: &[&str]) -> Checker {
        let state = State {
            controllers: controllers.iter().map(|&name| name.to_owned()).collect(),
            ..State::default()
        };
        let checker = Checker(Arc::new(Mutex::new(state)));
        let own = checker.clone();
        cluster.on_write(move |cluster, write| {
            let mut state = own.state();
            state.take_in(write);
            // Time would stand still for ever.
            if state.burst.1 == ENDLESS {
                state.report("endless", write, format!("{ENDLESS} writes at one instant"));
                let controllers = state.controllers.clone();
                drop(state);
                for controller in &controllers {
                    cluster.faults().stop_after_writes(controller, 0);
                }
            }
        });
        checker
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now until `until` the controller may see others' changes late by `by`.
    pub fn expect_lag(&self, until: Timestamp, by: SignedDuration) {
        self.state().lags.push(Lag { until, by });
    }

    /// Keeps a line for every write, for printing.
    pub fn keep_timeline(&self) {
        self.state().timeline.get_or_insert_default();
    }

    /// Adds a line of the test's own to the timeline.
    pub fn note(&self, at: Timestamp, text: &str) {
        let mut state = self.state();
        let line = state.line(at, &format!("--- {text}"));
        if let Some(timeline) = &mut state.timeline {
            timeline.push(line);
        }
        state.print.add(text);
    }

    /// The lines kept so far.
    pub fn timeline(&self) -> Vec<String> {
        self.state().timeline.clone().unwrap_or_default()
    }

    /// What was found.
    pub fn violations(&self) -> Vec<Violation> {
        self.state().violations.clone()
    }

    /// Panics with the first violation, if there is one.
    #[track_caller]
    pub fn assert_clean(&self) {
        if let Some(violation) = self.violations().first() {
            panic!("{violation}");
        }
    }

    /// A print of all writes so far: two runs with the same print made the same writes.
    pub fn print(&self) -> u64 {
        self.state().print.0
    }

    /// When anybody last wrote to an object that matters.
    pub fn last_write(&self) -> Timestamp {
        self.state().last_write
    }

    /// When the controller last wrote to an object that matters.
    pub fn last_own_write(&self) -> Timestamp {
        self.state().last_own_write
    }

    /// How many writes the controller has made to objects that matter.
    pub fn own_writes(&self) -> u64 {
        self.state().own_writes
    }

    /// The most recent writes, for messages.
    pub fn recent(&self) -> Vec<String> {
        self.state().recent_lines()
    }
}

impl State {
    fn take_in(&mut self, write: &Write) {
        self.start.get_or_insert(write.at);
        let is_own = self.controllers.contains(&*write.identity);
        match &*write.kind {
            "Event" | "EndpointSlice" => return,
            "Lease" => {
                if let Some(after) = &write.after {
                    self.lease = Some((view::text(after, "/spec/holderIdentity").to_owned(), write.at));
                }
                return;
            }
            _ => {}
        }
        self.print.add(&write.at.to_string());
        self.print.add(&write.identity);
        self.print.add(&write.kind);
        self.print.add(&write.name);
        self.print.add(write.subresource.unwrap_or_default());
        self.last_write = write.at;
        if self.timeline.is_some() && write.kind.as_ref() != "CustomResourceDefinition" {
            let line = self.describe(write);
            if let Some(timeline) = &mut self.timeline {
                timeline.push(line);
            }
        }
        self.recent.push_back(write.clone());
        if self.recent.len() > SHOWN {
            self.recent.pop_front();
        }
        let key = (Arc::clone(&write.kind), write.name.clone());
        match &write.after {
            Some(after) => self.objects.insert(key, Arc::clone(after)),
            None => self.objects.remove(&key),
        };
        if matches!(&*write.kind, "Rollout" | "ReplicaSet" | "Service") {
            let before = self.now.clone();
            self.look(write, is_own);
            if is_own {
                self.last_own_write = write.at;
                self.own_writes += 1;
                self.burst = (write.at, if self.burst.0 == write.at { self.burst.1 + 1 } else { 1 });
                self.only_the_leader_writes(write);
                capacity::check(self, write, &before);
                identity::check(self, write);
            }
            identity::remember(self, write, is_own);
            position::check(self, write, is_own);
        }
    }

    /// Brings `now` up to date and keeps the past that an excuse may need.
    fn look(&mut self, write: &Write, is_own: bool) {
        let longest = self.lags.iter().map(|lag| lag.by).max().unwrap_or(ORDINARY_LAG).max(ORDINARY_LAG);
        while self.past.len() > 1 && self.past[1].at + longest < write.at {
            self.past.pop_front();
        }
        self.past.push_back(self.now.clone());
        self.now.at = write.at;
        match &*write.kind {
            "Rollout" => {
                self.now.rollout = write.after.as_deref().map(RolloutView::read).unwrap_or_default();
                if self.now.rollout.is_observed {
                    self.plan = self.now.rollout.plan;
                }
            }
            "Service" => match &write.after {
                Some(after) => {
                    let hash = after["spec"]["selector"][view::HASH].as_str().map(str::to_owned);
                    if self.now.selected.get(&write.name) != Some(&hash) {
                        self.now.selected_at.insert(write.name.clone(), write.at);
                    }
                    self.now.selected.insert(write.name.clone(), hash);
                }
                None => {
                    self.now.selected.remove(&write.name);
                }
            },
            _ => match write.after.as_deref().and_then(SetView::read) {
                Some(set) => {
                    if let Some(after) = write.after.as_deref().filter(|_| write.before.is_none()) {
                        self.templates.insert(Arc::clone(&set.hash), view::print(&after["spec"]["template"]));
                    }
                    let old = self.now.sets.insert(Arc::clone(&set.name), set.clone());
                    if !is_own && let Some(old) = old.filter(|old| old.size != set.size) {
                        self.resized.insert(set.name, (write.at, old.size));
                    }
                }
                None => {
                    self.now.sets.remove(write.name.as_str());
                }
            },
        }
    }

    /// How late the controller may be at `at`.
    fn lag(&self, at: Timestamp) -> SignedDuration {
        let known = self.lags.iter().filter(|lag| lag.until >= at).map(|lag| lag.by).max();
        known.unwrap_or(ORDINARY_LAG).max(ORDINARY_LAG)
    }

    /// The moments that the controller may have decided on, the present one included.
    fn seen(&self) -> impl Iterator<Item = &Moment> {
        let since = self.now.at.checked_sub(self.lag(self.now.at)).unwrap_or(Timestamp::MIN);
        // A moment lasts until the next one.
        let ends = self.past.iter().skip(1).map(|moment| moment.at).chain([self.now.at]);
        let past = self.past.iter().zip(ends).filter(move |(_, end)| *end >= since).map(|(moment, _)| moment);
        past.chain([&self.now])
    }

    fn only_the_leader_writes(&mut self, write: &Write) {
        if let Some((holder, _)) = &self.lease
            && !holder.is_empty()
            && **holder != *write.identity
        {
            let text = format!("{} writes while {holder} holds the lease", write.identity);
            self.report("W36", write, text);
        }
    }

    fn report(&mut self, id: &'static str, write: &Write, text: String) {
        let text = format!("{}: {text}", self.describe(write));
        let recent = self.recent_lines();
        self.violations.push(Violation { id, at: write.at, text, recent });
    }

    fn recent_lines(&self) -> Vec<String> {
        self.recent.iter().map(|write| self.describe(write)).collect()
    }

    fn line(&self, at: Timestamp, text: &str) -> String {
        let elapsed = self.start.map_or(SignedDuration::ZERO, |start| at.duration_since(start));
        format!("+{:.3}s {text}", elapsed.as_secs_f64())
    }

    fn describe(&self, write: &Write) -> String {
        let subresource = write.subresource.map(|name| format!("/{name}")).unwrap_or_default();
        let what = match (&write.before, &write.after) {
            (None, Some(after)) if &*write.kind == "ReplicaSet" => {
                format!("created with {} pods", view::number(after, "/spec/replicas"))
            }
            (None, _) => "created".into(),
            (_, None) => "gone".into(),
            (Some(before), Some(after)) => {
                let ignored = [
                    "metadata/resourceVersion",
                    "metadata/managedFields",
                    "metadata/generation",
                    "status/observedGeneration",
                ];
                view::differences(before, after, &ignored).join("; ")
            }
        };
        self.line(
            write.at,
            &format!("{} {} {}{subresource} {}: {what}", write.identity, write.verb, write.kind, write.name),
        )
    }
}
