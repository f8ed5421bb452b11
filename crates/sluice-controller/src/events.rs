//! Writes Kubernetes Events, without anybody having to wait for it.
//!
//! Decides which Events become objects: the same thing said again within the hour only raises the
//! count of the Event that is there, and an object that has too much to say is cut short. What is to
//! be said, and logs and metrics of it, are the caller's. Events are a courtesy: when the queue is
//! full, the API server refuses or the leadership is lost, they are dropped and counted.
//!
//! The limits are client-go's (`tools/record/events_cache.go`): 4,096 remembered Events and objects,
//! and per object 25 at once, then one in five minutes. Its merging of *similar* Events is left out.

use crate::{clock::Clock, lease::Leadership};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

/// `source.component` of every Event.
const COMPONENT: &str = "rollouts-controller";
/// How many Events may wait to be written.
const QUEUE_LENGTH: usize = 1024;
/// How many Events, and how many objects, are remembered.
const REMEMBERED: usize = 4096;
/// Said again after so long, it is a new Event. The API server keeps Events for an hour, too.
const SAME_WITHIN: Duration = Duration::from_hours(1);
/// How many Events an object may have at once.
const BURST: f64 = 25.0;
/// How long it takes until an object may have one more.
const REFILL_SECONDS: f64 = 300.0;
/// How often an Event is tried; the delays between are one second, doubling.
const TRIES: u32 = 5;
/// How long a single request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer messages are cut, in bytes.
const LONGEST_MESSAGE: usize = 1024;
/// What is left of an object's name in the name of its Event, so that the latter stays under 253.
const LONGEST_NAME: usize = 230;

/// The object that an Event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Regarding {
    /// `argoproj.io/v1alpha1`.
    pub api_version: String,
    /// `Rollout`.
    pub kind: String,
    /// Empty for objects of the cluster; their Events are in `default`.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Uid of the object.
    pub uid: String,
}

/// `type` of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventType {
    /// Something that was to happen.
    Normal,
    /// Something to look at.
    Warning,
}

impl EventType {
    /// The word in the object.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Something to tell about an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NewEvent {
    /// About what.
    pub regarding: Regarding,
    /// How bad.
    pub event_type: EventType,
    /// One word.
    pub reason: String,
    /// One sentence.
    pub message: String,
}

/// How many Events have been written, and how many were dropped and why.
#[derive(Debug, Default)]
pub struct EventCounts {
    /// Created, or counted up.
    pub written: AtomicU64,
    /// Dropped because too many were waiting.
    pub queue_full: AtomicU64,
    /// Dropped because their object had too many.
    pub spam: AtomicU64,
    /// Dropped because the API server did not take them.
    pub failed: AtomicU64,
    /// Dropped because this process does not lead any more.
    pub not_leading: AtomicU64,
}

/// Where Events are handed in; clones lead to the same writer.
#[derive(Clone)]
pub struct Events {
    queue: mpsc::Sender<(NewEvent, Timestamp)>,
    counts: Arc<EventCounts>,
    clock: Clock,
}

impl Events {
    /// Makes the two ends: this one never waits, and [`EventWriter::run`] does the work.
    pub fn new(client: Client, clock: Clock, leadership: Leadership) -> (Self, EventWriter) {
        let (queue, waiting) = mpsc::channel(QUEUE_LENGTH);
        let counts = Arc::new(EventCounts::default());
        let writer = EventWriter {
            waiting,
            client,
            leadership,
            counts: Arc::clone(&counts),
            memory: Memory::default(),
        };
        (Self { queue, counts, clock }, writer)
    }

    /// Hands an Event in, or drops it.
    pub fn emit(&self, event: NewEvent) {
        let happened_at = self.clock.now();
        if self.queue.try_send((event, happened_at)).is_err() {
            self.counts.queue_full.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What has become of the Events so far.
    pub fn counts(&self) -> &EventCounts {
        &self.counts
    }
}

/// What to send for an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Todo {
    Create { name: String },
    CountUp { name: String, count: i32 },
    Nothing,
}

struct Said {
    name: String,
    count: i32,
    last: Timestamp,
    used: u64,
}

struct Allowance {
    tokens: f64,
    since: Timestamp,
    used: u64,
}

/// What was said about which object. No clock and no requests in here.
#[derive(Default)]
struct Memory {
    said: BTreeMap<NewEvent, Said>,
    allowances: BTreeMap<Regarding, Allowance>,
    /// Counts uses, to find what was used least recently.
    uses: u64,
    last_suffix: i128,
}

impl Memory {
    fn decide(&mut self, event: &NewEvent, now: Timestamp) -> Todo {
        self.uses += 1;
        if !self.may_speak(&event.regarding, now) {
            return Todo::Nothing;
        }
        if let Some(said) = self.said.get_mut(event)
            && now.duration_since(said.last).unsigned_abs() <= SAME_WITHIN
        {
            said.last = now;
            said.used = self.uses;
            return Todo::CountUp { name: said.name.clone(), count: said.count.saturating_add(1) };
        }
        Todo::Create { name: self.new_name(&event.regarding.name, now) }
    }

    /// It was written under this name and stands at this count.
    fn wrote(&mut self, event: NewEvent, name: String, count: i32, now: Timestamp) {
        let said = Said { name, count, last: now, used: self.uses };
        self.said.insert(event, said);
        drop_oldest(&mut self.said, |said| said.used);
    }

    fn forget(&mut self, event: &NewEvent) {
        self.said.remove(event);
    }

    fn may_speak(&mut self, regarding: &Regarding, now: Timestamp) -> bool {
        let uses = self.uses;
        let new = || Allowance { tokens: BURST, since: now, used: uses };
        let allowance = self.allowances.entry(regarding.clone()).or_insert_with(new);
        let elapsed = now.duration_since(allowance.since).as_secs_f64().max(0.0);
        allowance.tokens = (allowance.tokens + elapsed / REFILL_SECONDS).min(BURST);
        allowance.since = now;
        allowance.used = uses;
        let may = allowance.tokens >= 1.0;
        if may {
            allowance.tokens -= 1.0;
        }
        drop_oldest(&mut self.allowances, |allowance| allowance.used);
        may
    }

    /// `<object>.<hexadecimal time>`, the time a little off if need be, so that no two are the same.
    fn new_name(&mut self, object: &str, now: Timestamp) -> String {
        self.last_suffix = now.as_nanosecond().max(self.last_suffix + 1);
        let mut end = object.len().min(LONGEST_NAME);
        while !object.is_char_boundary(end) {
            end -= 1;
        }
        let object = object[..end].trim_end_matches(['.', '-']);
        format!("{object}.{:x}", self.last_suffix)
    }
}

/// Keeps a map at its size. A tenth goes at once, so that looking for the oldest is rare.
fn drop_oldest<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, used: impl Fn(&V) -> u64) {
    if map.len() <= REMEMBERED {
        return;
    }
    let mut uses: Vec<u64> = map.values().map(&used).collect();
    uses.sort_unstable();
    let limit = uses[map.len() / 10];
    map.retain(|_, value| used(value) > limit);
}

/// Writes what is handed in, one after the other.
pub struct EventWriter {
    waiting: mpsc::Receiver<(NewEvent, Timestamp)>,
    client: Client,
    leadership: Leadership,
    counts: Arc<EventCounts>,
    memory: Memory,
}

/// What a request came to.
enum Sent {
    Done,
    /// The Event to be counted up is gone.
    Missing,
    /// There is an Event of that name.
    Taken,
    /// Trying again could help.
    Trouble(String),
    /// Trying again could not.
    Refused(String),
}

impl EventWriter {
    /// Works until all handles are gone and everything that was handed in has been written.
    pub async fn run(mut self) {
        while let Some((mut event, at)) = self.waiting.recv().await {
            shorten(&mut event.message);
            let counts = Arc::clone(&self.counts);
            let counter = self.write(event, at).await;
            let counter = counter(&counts);
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn write(&mut self, event: NewEvent, at: Timestamp) -> fn(&EventCounts) -> &AtomicU64 {
        let mut todo = self.memory.decide(&event, at);
        let mut delay = Duration::from_secs(1);
        for tried in 1..=TRIES {
            if !self.leadership.may_write(Instant::now()) {
                return |counts| &counts.not_leading;
            }
            let sent = match &todo {
                Todo::Nothing => return |counts| &counts.spam,
                Todo::Create { name } => self.create(&event, name, at).await,
                Todo::CountUp { name, count } => self.count_up(&event, name, *count, at).await,
            };
            match sent {
                Sent::Done => {
                    let (name, count) = match todo {
                        Todo::Create { name } => (name, 1),
                        Todo::CountUp { name, count } => (name, count),
                        Todo::Nothing => return |counts| &counts.spam,
                    };
                    self.memory.wrote(event, name, count, at);
                    return |counts| &counts.written;
                }
                Sent::Missing | Sent::Taken => {
                    self.memory.forget(&event);
                    todo = Todo::Create { name: self.memory.new_name(&event.regarding.name, at) };
                }
                Sent::Trouble(problem) if tried < TRIES => {
                    tracing::debug!(reason = event.reason, "an event could not be written yet: {problem}");
                    sleep(delay).await;
                    delay *= 2;
                }
                Sent::Trouble(problem) | Sent::Refused(problem) => {
                    let Regarding { kind, namespace, name, .. } = &event.regarding;
                    tracing::warn!(
                        kind,
                        namespace,
                        name,
                        reason = event.reason,
                        "an event was lost: {problem}"
                    );
                    return |counts| &counts.failed;
                }
            }
        }
        |counts| &counts.failed
    }

    fn api(&self, event: &NewEvent) -> Api<Event> {
        Api::namespaced(self.client.clone(), namespace_of(event))
    }

    async fn create(&self, event: &NewEvent, name: &str, at: Timestamp) -> Sent {
        let object = object(event, name, at);
        let parameters = PostParams { field_manager: Some(COMPONENT.to_owned()), dry_run: false };
        outcome(timeout(PATIENCE, self.api(event).create(&parameters, &object)).await)
    }

    async fn count_up(&self, event: &NewEvent, name: &str, count: i32, at: Timestamp) -> Sent {
        let patch = Patch::Merge(json!({"count": count, "lastTimestamp": Time(whole_second(at))}));
        let parameters = PatchParams { field_manager: Some(COMPONENT.to_owned()), ..PatchParams::default() };
        outcome(timeout(PATIENCE, self.api(event).patch(name, &parameters, &patch)).await)
    }
}

fn outcome(answer: Result<kube::Result<Event>, tokio::time::error::Elapsed>) -> Sent {
    match answer {
        Ok(Ok(_)) => Sent::Done,
        Ok(Err(kube::Error::Api(status))) => match status.code {
            // A namespace that is gone or going says 404 and 403.
            404 if status.details.as_ref().is_none_or(|details| details.kind != "namespaces") => {
                Sent::Missing
            }
            409 => Sent::Taken,
            408 | 429 | 500.. => Sent::Trouble(status.message),
            _ => Sent::Refused(status.message),
        },
        Ok(Err(error)) => Sent::Trouble(error.to_string()),
        Err(_) => Sent::Trouble("no answer in time".to_owned()),
    }
}

fn namespace_of(event: &NewEvent) -> &str {
    if event.regarding.namespace.is_empty() { "default" } else { &event.regarding.namespace }
}

fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn object(event: &NewEvent, name: &str, at: Timestamp) -> Event {
    let Regarding { api_version, kind, namespace, name: object, uid } = event.regarding.clone();
    let time = Time(whole_second(at));
    Event {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace_of(event).to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(api_version),
            kind: Some(kind),
            namespace: Some(namespace).filter(|namespace| !namespace.is_empty()),
            name: Some(object),
            uid: Some(uid).filter(|uid| !uid.is_empty()),
            ..ObjectReference::default()
        },
        type_: Some(event.event_type.as_str().to_owned()),
        reason: Some(event.reason.clone()),
        message: Some(event.message.clone()),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: None }),
        reporting_component: Some(COMPONENT.to_owned()),
        count: Some(1),
        first_timestamp: Some(time.clone()),
        last_timestamp: Some(time),
        ..Event::default()
    }
}

fn shorten(message: &mut String) {
    if message.len() <= LONGEST_MESSAGE {
        return;
    }
    let mut end = LONGEST_MESSAGE - '…'.len_utf8();
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.truncate(end);
    message.push('…');
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, extract::Request, response::Response};
    use jiff::SignedDuration;
    use serde_json::Value;
    use std::sync::Mutex;

    fn start() -> Timestamp {
        Timestamp::from_second(1_800_000_000).expect("in range")
    }

    fn event(name: &str, message: &str) -> NewEvent {
        let regarding = Regarding {
            api_version: "argoproj.io/v1alpha1".to_owned(),
            kind: "Rollout".to_owned(),
            namespace: "prod".to_owned(),
            name: name.to_owned(),
            uid: format!("uid-{name}"),
        };
        let (reason, message) = ("RolloutPaused".to_owned(), message.to_owned());
        NewEvent { regarding, event_type: EventType::Normal, reason, message }
    }

    #[test]
    fn what_is_created_and_what_is_counted_up() {
        let mut memory = Memory::default();
        let first = "web.18fae27693b40000".to_owned();
        // (after so many seconds, message) => what to do; all succeed
        for (seconds, message, expected) in [
            (0, "paused", Todo::Create { name: first.clone() }),
            (0, "other", Todo::Create { name: "web.18fae27693b40001".to_owned() }),
            (10, "paused", Todo::CountUp { name: first.clone(), count: 2 }),
            (3_610, "paused", Todo::CountUp { name: first.clone(), count: 3 }),
            (7_211, "paused", Todo::Create { name: "web.18fae90584cbee00".to_owned() }),
        ] {
            let now = start() + SignedDuration::from_secs(seconds);
            let todo = memory.decide(&event("web", message), now);
            assert_eq!(todo, expected, "{message} at {seconds}");
            let (name, count) = match todo {
                Todo::Create { name } => (name, 1),
                Todo::CountUp { name, count } => (name, count),
                Todo::Nothing => panic!("nothing"),
            };
            memory.wrote(event("web", message), name, count, now);
        }
    }

    #[test]
    fn an_object_that_says_too_much_is_cut_short() {
        let mut memory = Memory::default();
        let mut said = |name: &str, seconds: i64| {
            let now = start() + SignedDuration::from_secs(seconds);
            memory.decide(&event(name, &seconds.to_string()), now) != Todo::Nothing
        };
        assert_eq!((0..100).filter(|_| said("web", 0)).count(), 25);
        assert!(said("api", 0), "others may speak");
        assert!(!said("web", 299) && said("web", 300) && !said("web", 301) && said("web", 600));
        assert_eq!((0..100).filter(|_| said("web", 1_000_000)).count(), 25);
    }

    #[test]
    fn memory_is_bounded_and_keeps_what_is_used() {
        let mut memory = Memory::default();
        for number in 0..20_000 {
            let event = event(&format!("x{number}"), "paused");
            let Todo::Create { name } = memory.decide(&event, start()) else { panic!("new") };
            memory.wrote(event, name, 1, start());
            if number % 100 == 0 {
                memory
                    .decide(&self::event("x0", "paused"), start() + SignedDuration::from_hours(number / 10));
            }
        }
        assert!(memory.said.len() <= REMEMBERED && memory.allowances.len() <= REMEMBERED);
        assert!(memory.said.contains_key(&event("x19999", "paused")));
        assert!(memory.allowances.contains_key(&event("x0", "").regarding), "used again and again");
        assert!(!memory.allowances.contains_key(&event("x1", "").regarding));
    }

    #[test]
    fn names_and_messages_fit() {
        let mut memory = Memory::default();
        for (object, expected_start) in [
            ("web".to_owned(), "web."),
            ("a".repeat(253), "aaaa"),
            (format!("{}.{}", "a".repeat(229), "b".repeat(9)), "aaaa"),
        ] {
            let name = memory.new_name(&object, start());
            assert!(name.len() <= 253 && name.starts_with(expected_start) && !name.contains(".."), "{name}");
        }
        for (length, expected) in [(10, 10), (1024, 1024), (1025, 1024), (5_000, 1024)] {
            let mut message = "m".repeat(length);
            shorten(&mut message);
            assert_eq!(message.len(), expected);
        }
        let mut message = "ü".repeat(1_000);
        shorten(&mut message);
        assert!(message.len() <= LONGEST_MESSAGE && message.ends_with("ü…"));
    }

    /// An API server that keeps Events, refuses the next requests with the given codes, and can be
    /// made not to answer.
    #[derive(Clone, Default)]
    struct Server(Arc<Mutex<Kept>>);

    #[derive(Default)]
    struct Kept {
        events: BTreeMap<String, Value>,
        refusals: Vec<u16>,
        requests: Vec<String>,
        hangs: bool,
    }

    impl Server {
        fn with<R>(&self, look: impl FnOnce(&mut Kept) -> R) -> R {
            look(&mut self.0.lock().unwrap())
        }

        async fn answer(self, request: Request) -> Response {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let sent: Value = serde_json::from_slice(&body).unwrap();
            if self.with(|kept| kept.hangs) {
                std::future::pending::<()>().await;
            }
            let (code, answer) = self.with(|kept| {
                let name = match sent["metadata"]["name"].as_str() {
                    Some(name) => name.to_owned(),
                    None => parts.uri.path().rsplit('/').next().unwrap().to_owned(),
                };
                kept.requests.push(format!("{} {name}", parts.method));
                if !kept.refusals.is_empty() {
                    return (kept.refusals.remove(0), Value::Null);
                }
                match (parts.method.as_str(), kept.events.get_mut(&name)) {
                    ("POST", None) => {
                        kept.events.insert(name, sent.clone());
                        (201, sent)
                    }
                    ("POST", Some(_)) => (409, Value::Null),
                    (_, None) => (404, Value::Null),
                    (_, Some(event)) => {
                        for (field, value) in sent.as_object().unwrap() {
                            event[field] = value.clone();
                        }
                        (200, event.clone())
                    }
                }
            });
            let status =
                json!({"kind": "Status", "status": "Failure", "code": code, "message": "no", "reason": "x"});
            let answer = if code < 300 { answer } else { status };
            Response::builder().status(code).body(answer.to_string().into()).unwrap()
        }
    }

    fn rig(leadership: Leadership) -> (Server, Events) {
        let server = Server::default();
        let answering = server.clone();
        let router = Router::new().fallback(move |request: Request| answering.clone().answer(request));
        let clock = Clock::virtual_from(start());
        let (events, writer) = Events::new(Client::new(router, "default"), clock, leadership);
        tokio::spawn(writer.run());
        (server, events)
    }

    fn count(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn the_object_that_is_written() {
        let (server, events) = rig(Leadership::always());
        events.emit(event("web", "Rollout is paused (CanaryPauseStep)"));
        sleep(Duration::from_mins(1)).await;
        events.emit(event("web", "Rollout is paused (CanaryPauseStep)"));
        sleep(Duration::from_secs(1)).await;
        let written = server.with(|kept| kept.events.clone());
        insta::assert_json_snapshot!(written, @r#"
        {
          "web.18fae27693b40000": {
            "apiVersion": "v1",
            "count": 2,
            "firstTimestamp": "2027-01-15T08:00:00Z",
            "involvedObject": {
              "apiVersion": "argoproj.io/v1alpha1",
              "kind": "Rollout",
              "name": "web",
              "namespace": "prod",
              "uid": "uid-web"
            },
            "kind": "Event",
            "lastTimestamp": "2027-01-15T08:01:00Z",
            "message": "Rollout is paused (CanaryPauseStep)",
            "metadata": {
              "name": "web.18fae27693b40000",
              "namespace": "prod"
            },
            "reason": "RolloutPaused",
            "reportingComponent": "rollouts-controller",
            "source": {
              "component": "rollouts-controller"
            },
            "type": "Normal"
          }
        }
        "#);
        assert_eq!(count(&events.counts().written), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_is_tried_again_and_refusals_are_not() {
        let (server, events) = rig(Leadership::always());
        server.with(|kept| kept.refusals = vec![503, 429, 500]);
        events.emit(event("web", "a"));
        sleep(Duration::from_secs(8)).await;
        assert_eq!((count(&events.counts().written), server.with(|kept| kept.requests.len())), (1, 4));
        // Somebody deleted the Event that was to be counted up.
        server.with(|kept| kept.events.clear());
        events.emit(event("web", "a"));
        sleep(Duration::from_secs(1)).await;
        assert_eq!((count(&events.counts().written), server.with(|kept| kept.events.len())), (2, 1));
        server.with(|kept| kept.refusals = vec![403]);
        events.emit(event("web", "b"));
        server.with(|kept| kept.refusals.extend([503; 9]));
        events.emit(event("web", "c"));
        sleep(Duration::from_mins(1)).await;
        assert_eq!((count(&events.counts().failed), server.with(|kept| kept.refusals.len())), (2, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_and_nothing_grows() {
        let (server, events) = rig(Leadership::always());
        server.with(|kept| kept.hangs = true);
        for number in 0..3_000 {
            events.emit(event(&format!("x{number}"), "a"));
        }
        sleep(Duration::from_secs(1)).await;
        assert_eq!(count(&events.counts().queue_full), 3_000 - QUEUE_LENGTH as u64);
        server.with(|kept| kept.hangs = false);
        sleep(Duration::from_mins(2)).await;
        assert_eq!(count(&events.counts().written), QUEUE_LENGTH as u64);
    }

    #[tokio::test(start_paused = true)]
    async fn a_standby_writes_nothing() {
        let (server, events) = rig(Leadership::standby());
        events.emit(event("web", "a"));
        sleep(Duration::from_secs(1)).await;
        assert_eq!((count(&events.counts().not_leading), server.with(|kept| kept.requests.len())), (1, 0));
    }
}
