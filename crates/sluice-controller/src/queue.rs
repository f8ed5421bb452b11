//! Which key is worked on next, and when.
//!
//! Decides the order: one worker per key at a time, round-robin between the lanes (namespaces),
//! first come first served within a lane; a timer per key; back-off per failing key, which new
//! events and timers pass by. It does not know what the keys mean, it does not decide what a failure
//! is, and it keeps no key that has nothing to wait for.
//!
//! The behaviour follows client-go's rate-limited work queue (1 ms doubling to 10 s) except for three
//! things: an event on a failing key is not held back by its back-off, a large lane does not delay
//! the others, and there is one timer per key, which a finished pass replaces.

use futures::FutureExt;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, task::JoinSet, time::Instant};

/// The first delay after a failure; it doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(1);
/// The longest delay after a failure.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// Upper bounds of the duration histograms in seconds, those of client-go.
pub const DURATION_BUCKETS_SECONDS: [f64; 10] = [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0];

/// What a queue can hold: anything small with an order.
pub trait Key: Ord + Clone + Send + 'static {}

impl<K: Ord + Clone + Send + 'static> Key for K {}

/// Names the lane of a key; keys of one lane wait for each other, lanes take turns.
pub type LaneOf<K> = fn(&K) -> &str;

/// What a pass over one key came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing more to do until something changes or, when given, until that instant.
    Done(Option<Instant>),
    /// To be tried again after the back-off of this key.
    Failed,
    /// To be tried again after a delay that somebody else named, for example an API server.
    FailedFor(Duration),
}

/// A work queue; clones are handles on the same queue.
pub struct Queue<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

struct Shared<K> {
    name: String,
    lane_of: LaneOf<K>,
    state: Mutex<State<K>>,
    /// Wakes one worker for each thing that could be done.
    wake: Notify,
}

struct State<K> {
    entries: BTreeMap<K, Entry>,
    /// The keys that are ready, lane by lane; a lane is here exactly while it has keys.
    lanes: BTreeMap<Box<str>, VecDeque<(K, Instant)>>,
    /// The order in which the lanes take their turns.
    turns: VecDeque<Box<str>>,
    /// The earliest thing each idle key waits for.
    timers: BTreeSet<(Instant, K)>,
    closed: bool,
    jitter: SmallRng,
    ready: usize,
    adds_total: u64,
    retries_total: u64,
    panics_total: u64,
    waited: Durations,
    worked: Durations,
}

#[derive(Default)]
struct Entry {
    phase: Phase,
    /// Added again while a worker had it.
    dirty: bool,
    /// When to look at this key with no event.
    timer: Option<Instant>,
    /// A timer asked for while a worker has the key; it outlives the end of that pass.
    timer_during_work: Option<Instant>,
    /// When to try again after a failure.
    retry: Option<Instant>,
    failures: u32,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Idle,
    Ready,
    Working(Instant),
}

impl Entry {
    fn due(&self) -> Option<Instant> {
        earliest(self.timer, self.retry)
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// How many durations fell under which bound of [`DURATION_BUCKETS_SECONDS`], and their sum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    /// Not cumulative: each duration is counted in one bucket, or in none if it is above the last.
    pub buckets: [u64; DURATION_BUCKETS_SECONDS.len()],
    /// How many durations there were.
    pub count: u64,
    /// Their sum.
    pub sum_seconds: f64,
}

impl Durations {
    fn observe(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        self.count += 1;
        self.sum_seconds += seconds;
        if let Some(bucket) = DURATION_BUCKETS_SECONDS.iter().position(|bound| seconds <= *bound) {
            self.buckets[bucket] += 1;
        }
    }
}

/// The numbers of a queue at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueStats {
    /// Keys that are ready and not yet worked on.
    pub depth: usize,
    /// Keys that wait for a timer or a retry.
    pub timers: usize,
    /// Keys that workers have now.
    pub working: usize,
    /// Times a key became ready.
    pub adds_total: u64,
    /// Failures.
    pub retries_total: u64,
    /// Failures that were panics.
    pub panics_total: u64,
    /// How long the longest waiting ready key has been ready.
    pub oldest_wait_seconds: f64,
    /// How long the workers have been at their present keys, added up.
    pub unfinished_work_seconds: f64,
    /// How long the slowest worker has been at its present key.
    pub longest_running_seconds: f64,
    /// From ready to worked on.
    pub waited: Durations,
    /// From worked on to finished.
    pub worked: Durations,
}

impl<K: Key> Queue<K> {
    /// Makes an empty queue. `name` is for metrics, `seed` for the jitter of the back-off.
    pub fn new(name: impl Into<String>, lane_of: LaneOf<K>, seed: u64) -> Self {
        let state = State {
            entries: BTreeMap::new(),
            lanes: BTreeMap::new(),
            turns: VecDeque::new(),
            timers: BTreeSet::new(),
            closed: false,
            jitter: SmallRng::seed_from_u64(seed),
            ready: 0,
            adds_total: 0,
            retries_total: 0,
            panics_total: 0,
            waited: Durations::default(),
            worked: Durations::default(),
        };
        let shared = Shared { name: name.into(), lane_of, state: Mutex::new(state), wake: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// The name given to [`Queue::new`].
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        // Nothing between lock and unlock panics half-way through a change.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `key` ready now, past any back-off; while a worker has it, it is worked on once more.
    pub fn add(&self, key: K) {
        let added = self.state().make_ready(key, self.shared.lane_of);
        if added {
            self.shared.wake.notify_one();
        }
    }

    /// Makes `key` ready at `at`, or earlier if it already waits for an earlier instant.
    pub fn add_at(&self, key: K, at: Instant) {
        self.state().keep_earliest_timer(key, at);
        self.shared.wake.notify_one();
    }

    /// Replaces the timer of `key`; `None` removes it.
    pub fn set_timer(&self, key: K, at: Option<Instant>) {
        self.state().set_timer(key, at);
        self.shared.wake.notify_one();
    }

    /// Ends a successful pass over `key`: its failures are forgotten and its timer becomes `next`,
    /// or an earlier one that was asked for during the pass.
    pub fn done(&self, key: &K, next: Option<Instant>) {
        self.finish(key, Outcome::Done(next));
    }

    /// Ends a failed pass over `key` and returns the delay until the next one.
    pub fn fail(&self, key: &K) -> Duration {
        self.finish(key, Outcome::Failed)
    }

    /// Forgets everything about `key`: failures, timer and a place in the queue. A worker that has it
    /// goes on with it.
    pub fn forget(&self, key: &K) {
        self.state().forget(key, self.shared.lane_of);
    }

    /// Ends a pass over `key` and returns the delay until the next try when it failed, else zero.
    pub fn finish(&self, key: &K, outcome: Outcome) -> Duration {
        let delay = self.state().finish(key, outcome, self.shared.lane_of);
        self.shared.wake.notify_one();
        delay
    }

    /// How many passes over `key` have failed since the last good one.
    pub fn failures(&self, key: &K) -> u32 {
        self.state().entries.get(key).map_or(0, |entry| entry.failures)
    }

    /// Takes no more keys and drops all timers; workers finish what is ready, and [`run`] returns.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.timers.clear();
        state.entries.retain(|_, entry| entry.phase != Phase::Idle);
        drop(state);
        self.shared.wake.notify_waiters();
        self.shared.wake.notify_one();
    }

    /// As [`Queue::close`], and what is ready is dropped too.
    pub fn close_now(&self) {
        self.clear();
        self.close();
    }

    /// Drops everything that waits; workers keep what they have.
    pub fn clear(&self) {
        let mut state = self.state();
        state.lanes.clear();
        state.turns.clear();
        state.timers.clear();
        state.ready = 0;
        state.entries.retain(|_, entry| {
            let working = matches!(entry.phase, Phase::Working(_));
            *entry = Entry { phase: entry.phase, ..Entry::default() };
            working
        });
    }

    /// Waits for a key to work on; `None` when the queue is closed and empty.
    ///
    /// Cancel safe: a dropped future takes no key.
    pub async fn take(&self) -> Option<Claim<K>> {
        loop {
            // Registered before looking, so that nothing added in between is missed.
            let mut woken = std::pin::pin!(self.shared.wake.notified());
            woken.as_mut().enable();
            let next_timer = {
                let mut state = self.state();
                let now = Instant::now();
                state.ready_timers(now, self.shared.lane_of);
                if let Some(key) = state.pop(now) {
                    let more = state.ready > 0 || state.closed;
                    drop(state);
                    if more {
                        self.shared.wake.notify_one();
                    }
                    return Some(Claim { queue: self.clone(), key: Some(key) });
                }
                if state.closed {
                    drop(state);
                    self.shared.wake.notify_one();
                    return None;
                }
                state.timers.first().map(|(at, _)| *at)
            };
            match next_timer {
                Some(at) => {
                    tokio::select! {
                        () = woken => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => woken.await,
            }
        }
    }

    /// Returns the numbers of now.
    pub fn stats(&self) -> QueueStats {
        let now = Instant::now();
        let state = self.state();
        let mut stats = QueueStats {
            depth: state.ready,
            timers: state.timers.len(),
            adds_total: state.adds_total,
            retries_total: state.retries_total,
            panics_total: state.panics_total,
            waited: state.waited.clone(),
            worked: state.worked.clone(),
            ..QueueStats::default()
        };
        for (_, since) in state.lanes.values().filter_map(VecDeque::front) {
            stats.oldest_wait_seconds = stats.oldest_wait_seconds.max((now - *since).as_secs_f64());
        }
        for entry in state.entries.values() {
            if let Phase::Working(since) = entry.phase {
                let seconds = (now - since).as_secs_f64();
                stats.working += 1;
                stats.unfinished_work_seconds += seconds;
                stats.longest_running_seconds = stats.longest_running_seconds.max(seconds);
            }
        }
        stats
    }
}

impl<K: Key> State<K> {
    /// Whether a worker has something to do that it did not have before.
    fn make_ready(&mut self, key: K, lane_of: LaneOf<K>) -> bool {
        if self.closed {
            return false;
        }
        let entry = self.entries.entry(key.clone()).or_default();
        match entry.phase {
            Phase::Ready => return false,
            Phase::Working(_) => {
                entry.dirty = true;
                return false;
            }
            Phase::Idle => {}
        }
        if let Some(due) = entry.due() {
            self.timers.remove(&(due, key.clone()));
        }
        // The pass that follows is the retry, and it sets the timer anew.
        entry.retry = None;
        entry.phase = Phase::Ready;
        self.push(key, lane_of);
        true
    }

    fn push(&mut self, key: K, lane_of: LaneOf<K>) {
        self.adds_total += 1;
        self.ready += 1;
        let now = Instant::now();
        let lane = lane_of(&key);
        if let Some(waiting) = self.lanes.get_mut(lane) {
            waiting.push_back((key, now));
        } else {
            let lane: Box<str> = lane.into();
            self.turns.push_back(lane.clone());
            self.lanes.insert(lane, VecDeque::from([(key, now)]));
        }
    }

    fn pop(&mut self, now: Instant) -> Option<K> {
        let lane = self.turns.pop_front()?;
        let waiting = self.lanes.get_mut(&lane)?;
        let (key, since) = waiting.pop_front()?;
        if waiting.is_empty() {
            self.lanes.remove(&lane);
        } else {
            self.turns.push_back(lane);
        }
        self.ready -= 1;
        self.waited.observe(now - since);
        self.entries.entry(key.clone()).or_default().phase = Phase::Working(now);
        Some(key)
    }

    fn ready_timers(&mut self, now: Instant, lane_of: LaneOf<K>) {
        while let Some((at, _)) = self.timers.first() {
            if *at > now {
                break;
            }
            let Some((at, key)) = self.timers.pop_first() else { break };
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.retry = entry.retry.filter(|retry| *retry > at);
                entry.timer = entry.timer.filter(|timer| *timer > at);
            }
            self.make_ready(key, lane_of);
        }
    }

    fn keep_earliest_timer(&mut self, key: K, at: Instant) {
        let current = self.entries.get(&key).map(|entry| match entry.phase {
            Phase::Working(_) => entry.timer_during_work,
            Phase::Idle | Phase::Ready => entry.timer,
        });
        self.set_timer(key, earliest(current.flatten(), Some(at)));
    }

    fn set_timer(&mut self, key: K, at: Option<Instant>) {
        if self.closed {
            return;
        }
        let entry = self.entries.entry(key.clone()).or_default();
        match entry.phase {
            Phase::Working(_) => entry.timer_during_work = at,
            Phase::Ready => entry.timer = at,
            Phase::Idle => {
                let before = entry.due();
                entry.timer = at;
                let after = entry.due();
                self.settle(key, before, after);
            }
        }
    }

    /// Brings the set of timers in line with an idle entry, and drops an entry that waits for nothing.
    fn settle(&mut self, key: K, before: Option<Instant>, after: Option<Instant>) {
        if let Some(before) = before {
            self.timers.remove(&(before, key.clone()));
        }
        match after {
            Some(after) if !self.closed => {
                self.timers.insert((after, key));
            }
            _ => {
                self.entries.remove(&key);
            }
        }
    }

    fn finish(&mut self, key: &K, outcome: Outcome, lane_of: LaneOf<K>) -> Duration {
        let now = Instant::now();
        let Some(entry) = self.entries.get_mut(key) else { return Duration::ZERO };
        let Phase::Working(since) = entry.phase else { return Duration::ZERO };
        self.worked.observe(now - since);
        entry.phase = Phase::Idle;
        let during = entry.timer_during_work.take();
        let mut delay = Duration::ZERO;
        match outcome {
            Outcome::Done(next) => {
                entry.failures = 0;
                entry.retry = None;
                entry.timer = earliest(during, next);
            }
            Outcome::Failed | Outcome::FailedFor(_) => {
                delay = match outcome {
                    Outcome::FailedFor(delay) => delay,
                    Outcome::Done(_) | Outcome::Failed => backoff(entry.failures, &mut self.jitter),
                };
                entry.failures = entry.failures.saturating_add(1);
                entry.retry = Some(now + delay);
                // What the last good pass asked for still stands.
                entry.timer = earliest(during, entry.timer);
                self.retries_total += 1;
            }
        }
        if std::mem::take(&mut entry.dirty) && !self.closed {
            entry.retry = None;
            entry.phase = Phase::Ready;
            self.push(key.clone(), lane_of);
        } else {
            let due = entry.due();
            self.settle(key.clone(), None, due);
        }
        delay
    }

    /// Gives back a key whose pass was broken off: it is ready again, as if nothing had been done.
    fn put_back(&mut self, key: K, lane_of: LaneOf<K>) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.phase = Phase::Idle;
        entry.dirty = false;
        entry.timer = earliest(entry.timer_during_work.take(), entry.timer);
        if self.closed {
            self.entries.remove(&key);
        } else {
            entry.phase = Phase::Ready;
            self.push(key, lane_of);
        }
    }

    fn forget(&mut self, key: &K, lane_of: LaneOf<K>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let (phase, due) = (entry.phase, entry.due());
        *entry = Entry { phase, ..Entry::default() };
        match phase {
            Phase::Working(_) => return,
            Phase::Idle => {
                if let Some(due) = due {
                    self.timers.remove(&(due, key.clone()));
                }
            }
            Phase::Ready => self.unqueue(key, lane_of),
        }
        self.entries.remove(key);
    }

    fn unqueue(&mut self, key: &K, lane_of: LaneOf<K>) {
        let lane = lane_of(key);
        let Some(waiting) = self.lanes.get_mut(lane) else { return };
        let before = waiting.len();
        waiting.retain(|(other, _)| other != key);
        self.ready -= before - waiting.len();
        if waiting.is_empty() {
            self.lanes.remove(lane);
            self.turns.retain(|other| other.as_ref() != lane);
        }
    }
}

/// The delay after a failure that follows `failures` others: 1 ms doubling to 10 s, less up to a
/// quarter so that keys that failed together are not retried together.
fn backoff(failures: u32, jitter: &mut SmallRng) -> Duration {
    let doubled = FIRST_BACKOFF.saturating_mul(1u32.checked_shl(failures).unwrap_or(u32::MAX));
    doubled.min(LONGEST_BACKOFF).mul_f64(jitter.random_range(0.75..=1.0))
}

/// A key that one worker has. Dropped without an outcome (the worker was cancelled), the key is
/// ready again.
pub struct Claim<K: Key> {
    queue: Queue<K>,
    key: Option<K>,
}

impl<K: Key> Claim<K> {
    /// The key to work on.
    pub fn key(&self) -> &K {
        self.key.as_ref().expect("a claim has its key until it is finished")
    }

    /// Ends the pass and returns the delay until the next try when it failed, else zero.
    pub fn finish(mut self, outcome: Outcome) -> Duration {
        self.key.take().map_or(Duration::ZERO, |key| self.queue.finish(&key, outcome))
    }
}

impl<K: Key> Drop for Claim<K> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.queue.state().put_back(key, self.queue.shared.lane_of);
            self.queue.shared.wake.notify_one();
        }
    }
}

/// Works on the keys of `queue` with `workers` tasks until the queue is closed and empty.
///
/// A panic in `work` is a failure of that key and of nothing else. Dropping the returned future
/// stops all workers where they are, and the keys they had are ready again.
pub async fn run<K, W, F>(queue: Queue<K>, workers: usize, work: W)
where
    K: Key + Sync + std::fmt::Debug,
    W: Fn(K) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for _ in 0..workers.max(1) {
        tasks.spawn(work_on(queue.clone(), work.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(problem) = ended {
            // Panics of `work` are caught below, so this is a mistake in the queue itself.
            tracing::error!(queue = queue.name(), "a worker ended: {problem}");
            tasks.spawn(work_on(queue.clone(), work.clone()));
        }
    }
}

async fn work_on<K, W, F>(queue: Queue<K>, work: W)
where
    K: Key + Sync + std::fmt::Debug,
    W: Fn(K) -> F,
    F: Future<Output = Outcome>,
{
    while let Some(claim) = queue.take().await {
        let key = claim.key().clone();
        // Calling `work` can panic as well as what it returns, so both happen inside.
        let pass = async { work(key).await };
        let outcome = match AssertUnwindSafe(pass).catch_unwind().await {
            Ok(outcome) => outcome,
            Err(panic) => {
                let text = panic_text(panic.as_ref());
                tracing::error!(queue = queue.name(), key = ?claim.key(), "panic in a pass: {text}");
                queue.state().panics_total += 1;
                Outcome::Failed
            }
        };
        claim.finish(outcome);
    }
}

/// What a panic said, when it said anything.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "(no message)"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::time::{advance, sleep, timeout};

    type Name = (String, String);

    fn namespace(key: &Name) -> &str {
        &key.0
    }

    fn key(namespace: &str, name: impl std::fmt::Display + Copy) -> Name {
        (namespace.to_owned(), name.to_string())
    }

    fn queue() -> Queue<Name> {
        Queue::new("Rollouts", namespace, 7)
    }

    fn after(millis: u64) -> Instant {
        Instant::now() + Duration::from_millis(millis)
    }

    async fn next(queue: &Queue<Name>) -> Option<String> {
        timeout(Duration::from_nanos(1), queue.take()).await.ok().flatten().map(|claim| {
            let name = claim.key().1.clone();
            claim.finish(Outcome::Done(None));
            name
        })
    }

    #[tokio::test(start_paused = true)]
    async fn adding_twice_is_adding_once() {
        let queue = queue();
        queue.add(key("a", 1));
        queue.add(key("a", 1));
        queue.add(key("a", 2));
        assert_eq!(queue.stats().depth, 2);
        assert_eq!(next(&queue).await.as_deref(), Some("1"));
        assert_eq!(next(&queue).await.as_deref(), Some("2"));
        assert_eq!(next(&queue).await, None);
        assert!(queue.state().entries.is_empty(), "nothing is remembered of an idle key");
    }

    #[tokio::test(start_paused = true)]
    async fn one_worker_per_key() {
        let queue = queue();
        queue.add(key("a", 1));
        let claim = queue.take().await.expect("a key");
        queue.add(key("a", 1));
        assert_eq!(next(&queue).await, None, "the key is being worked on");
        claim.finish(Outcome::Done(None));
        assert_eq!(next(&queue).await.as_deref(), Some("1"), "it was dirty");
        assert_eq!(next(&queue).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn timers() {
        let queue = queue();
        queue.add_at(key("a", 1), after(500));
        queue.add_at(key("a", 1), after(300));
        queue.add_at(key("a", 1), after(400));
        queue.add_at(key("a", 2), after(350));
        let start = Instant::now();
        for (name, at) in [("1", 300), ("2", 350)] {
            let claim = queue.take().await.expect("a key");
            assert_eq!((claim.key().1.as_str(), start.elapsed()), (name, Duration::from_millis(at)));
            claim.finish(Outcome::Done(None));
        }
        assert_eq!(queue.stats().timers, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_finished_pass_replaces_the_timer() {
        let queue = queue();
        let start = Instant::now();
        queue.add_at(key("a", 1), after(1_000));
        queue.add(key("a", 1));
        let claim = queue.take().await.expect("ready at once");
        claim.finish(Outcome::Done(Some(after(5_000))));
        // A later timer than the one before stands, an earlier one asked for in between wins.
        let claim = queue.take().await.expect("the timer");
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        queue.add_at(key("a", 1), after(2_000));
        claim.finish(Outcome::Done(Some(after(9_000))));
        let claim = queue.take().await.expect("the timer");
        assert_eq!(start.elapsed(), Duration::from_secs(7));
        claim.finish(Outcome::Done(Some(after(1_000))));
        queue.set_timer(key("a", 1), None);
        assert!(timeout(Duration::from_mins(1), queue.take()).await.is_err(), "the timer was removed");
        assert!(queue.state().entries.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn back_off_doubles_up_to_ten_seconds_and_is_forgotten() {
        let queue = queue();
        queue.add(key("a", 1));
        let mut delays = Vec::new();
        for failures in 0..20 {
            let claim = queue.take().await.expect("a key");
            assert_eq!(queue.failures(claim.key()), failures);
            let failed_at = Instant::now();
            let delay = claim.finish(Outcome::Failed);
            let full = Duration::from_millis(1 << failures).min(LONGEST_BACKOFF);
            assert!(delay <= full && delay >= full.mul_f64(0.74), "{failures}: {delay:?}");
            delays.push(delay);
            let claim = queue.take().await.expect("the retry");
            assert!(failed_at.elapsed() >= delay && failed_at.elapsed() <= delay + Duration::from_millis(2));
            drop(claim); // Cancelled: ready again at once, and no failure.
        }
        let (low, high) = (LONGEST_BACKOFF.mul_f64(0.75), LONGEST_BACKOFF);
        assert!(delays[14..].iter().all(|delay| (low..=high).contains(delay)));
        assert!(delays[15] != delays[16], "jitter");
        let claim = queue.take().await.expect("ready");
        claim.finish(Outcome::Done(None));
        assert_eq!(queue.failures(&key("a", 1)), 0);
        assert_eq!(queue.stats().retries_total, 20);
    }

    #[tokio::test(start_paused = true)]
    async fn events_and_timers_pass_the_back_off() {
        let queue = queue();
        queue.add(key("a", 1));
        for _ in 0..20 {
            queue.take().await.expect("a key").finish(Outcome::Failed);
        }
        let start = Instant::now();
        queue.add(key("a", 1));
        let claim = queue.take().await.expect("the event");
        assert_eq!(start.elapsed(), Duration::ZERO);
        queue.add(key("a", 1));
        claim.finish(Outcome::Failed);
        let claim = queue.take().await.expect("the event during the pass");
        assert_eq!(start.elapsed(), Duration::ZERO);
        queue.add_at(key("a", 1), after(1_000));
        claim.finish(Outcome::Failed);
        queue.take().await.expect("the timer").finish(Outcome::FailedFor(Duration::from_secs(3)));
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        queue.take().await.expect("the named delay").finish(Outcome::Failed);
        assert_eq!(start.elapsed(), Duration::from_secs(4));
        // The back-off itself has not been reset by any of this.
        let claim = queue.take().await.expect("the retry");
        assert!(start.elapsed() >= Duration::from_millis(4_000 + 7_500));
        claim.finish(Outcome::Done(None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_keeps_the_timer_that_was_set_before() {
        let queue = queue();
        let start = Instant::now();
        queue.add_at(key("a", 1), after(2_000));
        for _ in 0..15 {
            queue.add(key("a", 1));
            queue.take().await.expect("a key").finish(Outcome::Failed);
        }
        queue.take().await.expect("the timer").finish(Outcome::Done(None));
        assert_eq!(start.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_lane_delays_the_others_by_one_key_each() {
        let queue = queue();
        for name in 0..5_000 {
            queue.add(key("busy", name));
        }
        for lane in ["b", "c"] {
            for name in 0..3 {
                queue.add(key(lane, name));
            }
        }
        let mut order = Vec::new();
        for _ in 0..12 {
            let claim = queue.take().await.expect("a key");
            order.push(claim.key().0.clone());
            claim.finish(Outcome::Done(None));
        }
        let expected =
            ["busy", "b", "c", "busy", "b", "c", "busy", "b", "c", "busy", "busy", "busy"].map(String::from);
        assert_eq!(order, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn workers_share_the_keys_and_drain_on_close() {
        let queue = queue();
        let (at_once, most, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let counts = Arc::new((at_once, most, done));
        for name in 0..100 {
            queue.add(key("a", name));
        }
        let seen = Arc::clone(&counts);
        let start = Instant::now();
        let running = tokio::spawn(run(queue.clone(), 10, move |_: Name| {
            let counts = Arc::clone(&seen);
            async move {
                let now = counts.0.fetch_add(1, Ordering::SeqCst) + 1;
                counts.1.fetch_max(now, Ordering::SeqCst);
                sleep(Duration::from_secs(1)).await;
                counts.0.fetch_sub(1, Ordering::SeqCst);
                counts.2.fetch_add(1, Ordering::SeqCst);
                Outcome::Done(Some(Instant::now() + Duration::from_hours(1)))
            }
        }));
        sleep(Duration::from_millis(2_500)).await;
        let stats = queue.stats();
        assert_eq!((stats.depth, stats.working, stats.timers), (70, 10, 20));
        assert!((stats.longest_running_seconds - 0.5).abs() < 0.01, "{stats:?}");
        assert!((stats.unfinished_work_seconds - 5.0).abs() < 0.1, "{stats:?}");
        assert!((stats.oldest_wait_seconds - 2.5).abs() < 0.01, "{stats:?}");
        queue.close();
        queue.add(key("a", "late"));
        running.await.expect("the workers ended");
        assert_eq!(counts.1.load(Ordering::SeqCst), 10);
        assert_eq!(counts.2.load(Ordering::SeqCst), 100);
        assert_eq!(start.elapsed().as_secs(), 10, "drained, without waiting for timers");
        assert!(queue.state().entries.is_empty());
        let stats = queue.stats();
        assert_eq!((stats.waited.count, stats.worked.count), (100, 100));
        assert_eq!(stats.worked.buckets[8] + stats.worked.buckets[9], 100, "about a second each: {stats:?}");
        assert!((stats.worked.sum_seconds - 100.0).abs() < 1.0, "{stats:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_a_failure_of_that_key_alone() {
        let queue = queue();
        queue.add(key("a", "bad"));
        queue.add(key("a", "good"));
        let passes = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&passes);
        let running = tokio::spawn(run(queue.clone(), 1, move |key: Name| {
            seen.lock().unwrap().push(key.1.clone());
            let before_the_future = seen.lock().unwrap().len() == 1;
            assert!(!before_the_future, "outside of the future");
            async move {
                assert!(key.1 != "bad", "poison");
                Outcome::Done(None)
            }
        }));
        sleep(Duration::from_millis(100)).await;
        let bad = passes.lock().unwrap().iter().filter(|name| *name == "bad").count();
        assert!((5..10).contains(&bad), "retried with back-off: {bad}");
        assert_eq!(passes.lock().unwrap().iter().filter(|name| *name == "good").count(), 1);
        assert_eq!(queue.stats().panics_total, bad as u64);
        queue.close();
        running.await.expect("the worker survived");
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_workers_give_their_keys_back() {
        let queue = queue();
        queue.add(key("a", 1));
        let hang = |_: Name| std::future::pending::<Outcome>();
        assert!(timeout(Duration::from_secs(1), run(queue.clone(), 3, hang)).await.is_err());
        tokio::task::yield_now().await;
        assert_eq!(next(&queue).await.as_deref(), Some("1"));
        queue.add(key("a", 2));
        queue.clear();
        assert_eq!(next(&queue).await, None);
        queue.add(key("a", 3));
        queue.close_now();
        assert!(queue.take().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn forgetting_leaves_nothing() {
        let queue = queue();
        queue.add(key("a", 1));
        queue.add_at(key("b", 2), after(10));
        queue.forget(&key("a", 1));
        queue.forget(&key("b", 2));
        assert!(queue.state().entries.is_empty() && queue.state().turns.is_empty());
        assert!(timeout(Duration::from_mins(1), queue.take()).await.is_err());
        advance(Duration::from_secs(1)).await;
        queue.add(key("a", 1));
        assert_eq!(next(&queue).await.as_deref(), Some("1"));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

        /// Whatever happens in whatever order: never two workers on a key, every key that was added
        /// is worked on afterwards, and at the end nothing is remembered.
        #[test]
        fn nothing_is_lost_and_nothing_is_doubled(
            script in proptest::collection::vec((0..6u8, 0..4u8, 0..50u64), 1..120),
        ) {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
            runtime.block_on(async move {
                let queue = queue();
                let mut claims: Vec<Claim<Name>> = Vec::new();
                let mut owed: BTreeSet<Name> = BTreeSet::new();
                for (what, which, number) in script {
                    let name = key(["a", "b"][usize::from(which % 2)], which);
                    match what {
                        0 => {
                            queue.add(name.clone());
                            owed.insert(name);
                        }
                        1 => {
                            queue.add_at(name.clone(), after(number));
                            owed.insert(name);
                        }
                        2 | 3 => {
                            if let Ok(Some(claim)) = timeout(Duration::from_nanos(1), queue.take()).await {
                                assert!(claims.iter().all(|other| other.key() != claim.key()), "two workers");
                                owed.remove(claim.key());
                                claims.push(claim);
                            }
                        }
                        4 => {
                            if let Some(claim) = claims.pop() {
                                match number % 3 {
                                    0 => {
                                        claim.finish(Outcome::Done(None));
                                    }
                                    1 => {
                                        owed.insert(claim.key().clone());
                                        claim.finish(Outcome::Failed);
                                    }
                                    _ => {
                                        owed.insert(claim.key().clone());
                                        drop(claim);
                                    }
                                }
                            }
                        }
                        _ => advance(Duration::from_millis(number)).await,
                    }
                    let state = queue.state();
                    let ready = state.lanes.values().map(VecDeque::len).sum::<usize>();
                    assert_eq!(ready, state.ready);
                    assert_eq!(state.turns.len(), state.lanes.len());
                    assert!(state.timers.len() + ready + claims.len() <= 4);
                }
                for claim in claims {
                    claim.finish(Outcome::Done(None));
                }
                while let Ok(Some(claim)) = timeout(Duration::from_mins(1), queue.take()).await {
                    owed.remove(claim.key());
                    claim.finish(Outcome::Done(None));
                }
                assert!(owed.is_empty(), "never worked on: {owed:?}");
                assert!(queue.state().entries.is_empty() && queue.state().timers.is_empty());
            });
        }
    }
}
