//! Keeps a [`Cache`] up to date from a watch.
//!
//! Listing, watching and recovery are kube's `watcher`; here are the back-off between its errors (on
//! tokio's time), kinds that may not exist, the slow audit, and telling others what changed.

use super::{Cache, Change, ObjectKey, Slim, Stored, SyncState, compare_versions, watched::Watched};
use crate::queue::panic_text;
use futures::StreamExt;
use kube::{
    Api, Client, ResourceExt,
    api::ListParams,
    core::{ApiResource, GroupVersion, PartialObjectMeta},
    discovery,
    runtime::watcher::{self, Event},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError, atomic},
    time::Duration,
};
use tokio::time::{Instant, sleep, sleep_until};

/// The first delay after an error of the watch; it doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
/// The longest delay between two tries.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// After so long without an error, the next one is a first one again.
const BACKOFF_FORGOTTEN_AFTER: Duration = Duration::from_secs(90);
/// How often to look whether an optional kind has appeared.
const DISCOVERY_PERIOD: Duration = Duration::from_mins(1);
/// How far behind a watch may be before an audit calls it wrong.
const AUDIT_SETTLES_AFTER: Duration = Duration::from_mins(1);

/// What to watch, and how.
#[derive(Clone)]
pub struct Source {
    client: Client,
    resources: Vec<ApiResource>,
    namespace: Option<String>,
    labels: Option<String>,
    page_size: u32,
    optional: bool,
    audit_period: Option<Duration>,
    seed: u64,
}

impl Source {
    /// All objects of a kind that every cluster has, or that we cannot do without.
    pub fn new(client: Client, resource: ApiResource) -> Self {
        Self {
            client,
            resources: vec![resource],
            namespace: None,
            labels: None,
            page_size: 200,
            optional: false,
            audit_period: None,
            seed: 0,
        }
    }

    /// A kind that need not exist. The first of `resources` that the cluster serves is watched; while
    /// there is none, the cache is [`SyncState::Absent`] and asks again once a minute.
    pub fn optional(client: Client, resources: Vec<ApiResource>) -> Self {
        let empty = ApiResource {
            group: String::new(),
            version: String::new(),
            api_version: String::new(),
            kind: String::new(),
            plural: String::new(),
        };
        Self { resources, optional: true, ..Self::new(client, empty) }
    }

    /// Only this namespace; `None` is all of them.
    pub fn in_namespace(self, namespace: Option<String>) -> Self {
        Self { namespace, ..self }
    }

    /// Only objects with these labels.
    pub fn labelled(self, selector: impl Into<String>) -> Self {
        Self { labels: Some(selector.into()), ..self }
    }

    /// How many objects to list at a time; 200 unless said otherwise.
    pub fn page_size(self, page_size: u32) -> Self {
        Self { page_size, ..self }
    }

    /// Compares the cache with the cluster every so often (a tenth more or less), repairs what
    /// differs and counts it in [`Cache::repairs`]. Not done unless asked for.
    pub fn audited_every(self, period: Duration) -> Self {
        Self { audit_period: Some(period), ..self }
    }

    /// Seeds the jitter of delays.
    pub fn seeded(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    fn api<T: Slim>(&self, resource: &ApiResource) -> Api<Watched<T>> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
            None => Api::all_with(self.client.clone(), resource),
        }
    }

    fn watcher_config(&self) -> watcher::Config {
        watcher::Config {
            label_selector: self.labels.clone(),
            page_size: Some(self.page_size),
            ..watcher::Config::default()
        }
    }

    /// Which of the resources the cluster serves.
    async fn served(&self) -> kube::Result<Option<ApiResource>> {
        for resource in &self.resources {
            let version = GroupVersion::gv(&resource.group, &resource.version);
            match discovery::pinned_kind(&self.client, &version.with_kind(&resource.kind)).await {
                Ok((served, _)) => return Ok(Some(served)),
                Err(kube::Error::Discovery(_)) => {}
                Err(error) if has_code(&error, 404) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

fn has_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

impl<T: Slim> Cache<T> {
    /// Watches `source` and keeps the cache up to date for as long as the future is polled.
    ///
    /// An object that has no slim form is [`Body::Broken`](super::Body::Broken). `on_change` is called
    /// after each change, one at a time, and must not wait; the objects of a first list come as changes
    /// too.
    pub async fn feed<C>(self, source: Source, on_change: C)
    where
        C: Fn(&Change<'_, T>) + Send,
    {
        let mut feed = Feed { jitter: SmallRng::seed_from_u64(source.seed), cache: self, source, on_change };
        loop {
            let resource = feed.resource().await;
            let served = Some(resource.api_version.clone());
            *feed.cache.shared.served.write().unwrap_or_else(PoisonError::into_inner) = served;
            feed.follow(&resource).await;
            // An optional kind has gone away.
            feed.clear();
            sleep(DISCOVERY_PERIOD / 10).await;
        }
    }
}

struct Feed<T, C> {
    cache: Cache<T>,
    source: Source,
    on_change: C,
    jitter: SmallRng,
}

/// Delays between errors.
#[derive(Default)]
struct Backoff {
    errors: u32,
    last: Option<Instant>,
}

impl Backoff {
    fn next(&mut self, jitter: &mut SmallRng) -> Duration {
        let now = Instant::now();
        if self.last.is_some_and(|last| now.duration_since(last) > BACKOFF_FORGOTTEN_AFTER) {
            self.errors = 0;
        }
        let doubled = FIRST_BACKOFF.saturating_mul(1u32.checked_shl(self.errors).unwrap_or(u32::MAX));
        let delay = doubled.min(LONGEST_BACKOFF).mul_f64(jitter.random_range(0.75..=1.0));
        self.errors = self.errors.saturating_add(1);
        self.last = Some(now + delay);
        delay
    }
}

/// Differences between cluster and cache that may only be a lag of the watch.
struct Doubts {
    due: Instant,
    /// What the cluster had: newer than cached, or not cached at all.
    newer: BTreeMap<ObjectKey, String>,
    /// What was cached and is not in the cluster, at this version.
    ghosts: BTreeMap<ObjectKey, Arc<str>>,
}

impl<T, C> Feed<T, C>
where
    T: Slim,
    C: Fn(&Change<'_, T>) + Send,
{
    fn trouble(&self, problem: Option<String>) {
        let mut trouble = self.cache.shared.trouble.write().unwrap_or_else(PoisonError::into_inner);
        match (&problem, &*trouble) {
            // Said once, not at every try.
            (Some(problem), None) => tracing::warn!(kind = self.cache.name(), "watch: {problem}"),
            (None, Some(_)) => tracing::info!(kind = self.cache.name(), "watch: works again"),
            _ => {}
        }
        *trouble = problem;
    }

    fn set_sync(&self, sync: SyncState) {
        self.cache.shared.sync.send_if_modified(|before| std::mem::replace(before, sync) != sync);
    }

    /// Returns what to watch, when there is something to watch.
    async fn resource(&mut self) -> ApiResource {
        if !self.source.optional
            && let Some(resource) = self.source.resources.first()
        {
            return resource.clone();
        }
        let mut backoff = Backoff::default();
        loop {
            match self.source.served().await {
                Ok(Some(resource)) => {
                    self.trouble(None);
                    return resource;
                }
                Ok(None) => {
                    self.trouble(None);
                    self.set_sync(SyncState::Absent);
                    let period = DISCOVERY_PERIOD.mul_f64(self.jitter.random_range(0.9..=1.1));
                    sleep(period).await;
                }
                Err(error) => {
                    if has_code(&error, 403) {
                        self.set_sync(SyncState::Absent);
                    }
                    self.trouble(Some(error.to_string()));
                    sleep(backoff.next(&mut self.jitter)).await;
                }
            }
        }
    }

    /// Forgets everything, because the kind is gone.
    fn clear(&self) {
        for key in self.cache.keys() {
            self.put(&key, None);
        }
        self.set_sync(SyncState::Absent);
    }

    /// Follows the watch; returns when an optional kind has disappeared.
    async fn follow(&mut self, resource: &ApiResource) {
        let mut backoff = Backoff::default();
        let mut doubts: Option<Doubts> = None;
        let mut next_audit = self.next_audit();
        let mut missing_since = None;
        // Each round is one watcher: it is replaced when it cannot recover or is no longer trusted.
        loop {
            let api = self.source.api::<T>(resource);
            let mut events = std::pin::pin!(watcher::watcher(api, self.source.watcher_config()));
            let mut listed = None;
            loop {
                let audit_at = doubts.as_ref().map(|doubts| doubts.due).or(next_audit);
                let cache = self.cache.clone();
                let event = tokio::select! {
                    event = events.next() => event,
                    () = cache.shared.relist.notified() => break,
                    () = sleep_until(audit_at.unwrap_or_else(Instant::now)), if audit_at.is_some() => {
                        if let Some(doubts) = doubts.take() {
                            next_audit = self.next_audit();
                            if self.settle(&doubts) {
                                break;
                            }
                        } else if listed.is_none() && self.cache.sync() == SyncState::Synced {
                            doubts = self.audit(resource).await;
                            next_audit = self.next_audit();
                        } else {
                            next_audit = self.next_audit();
                        }
                        continue;
                    }
                };
                match event {
                    Some(Ok(event)) => {
                        if let Event::Delete(object) = &event
                            && let (Some(doubts), Some(key)) = (&mut doubts, key_of(object))
                        {
                            doubts.newer.remove(&key);
                        }
                        if !matches!(event, Event::Init) {
                            missing_since = None;
                        }
                        self.take_in(event, &mut listed);
                    }
                    Some(Err(error)) => {
                        let problem = kube_error(&error);
                        if self.has_vanished(problem, &mut missing_since).await {
                            self.trouble(Some(error.to_string()));
                            return;
                        }
                        let gone = problem.is_some_and(|error| has_code(error, 410))
                            || matches!(&error, watcher::Error::WatchError(status) if status.code == 410);
                        if !gone {
                            self.trouble(Some(error.to_string()));
                        }
                        sleep(backoff.next(&mut self.jitter)).await;
                        if gone {
                            // kube starts over only when this came as an event, not as the answer.
                            break;
                        }
                    }
                    None => break,
                }
            }
        }
    }

    /// Whether an optional kind is gone. A server that is starting answers 404, and even 403, for
    /// kinds that it has, so what is cached is given up only when discovery agrees after a while.
    async fn has_vanished(&self, problem: Option<&kube::Error>, since: &mut Option<Instant>) -> bool {
        let Some(problem) = problem.filter(|_| self.source.optional) else { return false };
        if has_code(problem, 403) && self.cache.sync() == SyncState::Starting {
            // Roles written for an older version need not mention this kind: go on without it.
            self.set_sync(SyncState::Absent);
        }
        if !has_code(problem, 404) {
            return false;
        }
        if self.cache.sync() != SyncState::Synced {
            return true;
        }
        let since = since.get_or_insert_with(Instant::now);
        since.elapsed() >= DISCOVERY_PERIOD && matches!(self.source.served().await, Ok(None))
    }

    fn next_audit(&mut self) -> Option<Instant> {
        let period = self.source.audit_period?.mul_f64(self.jitter.random_range(0.9..=1.1));
        Some(Instant::now() + period)
    }

    fn take_in(&self, event: Event<Watched<T>>, listed: &mut Option<BTreeSet<ObjectKey>>) {
        match event {
            Event::Init => *listed = Some(BTreeSet::new()),
            // A list is taken in as it comes; what it does not mention goes at its end.
            Event::InitApply(object) => {
                if let (Some(key), Some(listed)) = (self.apply(object), listed.as_mut()) {
                    listed.insert(key);
                }
            }
            Event::InitDone => {
                if let Some(listed) = listed.take() {
                    for key in self.cache.keys().iter().filter(|key| !listed.contains(key)) {
                        self.put(key, None);
                    }
                }
                self.trouble(None);
                self.set_sync(SyncState::Synced);
            }
            Event::Apply(object) => {
                self.apply(object);
                self.trouble(None);
            }
            Event::Delete(object) => {
                if let Some(key) = key_of(&object) {
                    self.put(&key, None);
                }
            }
        }
    }

    fn apply(&self, object: Watched<T>) -> Option<ObjectKey> {
        let Some(key) = key_of(&object) else {
            tracing::warn!(kind = self.cache.name(), "an object without a name was left out");
            return None;
        };
        let version: Arc<str> = object.version().into();
        self.put(&key, Some(Stored { version, owners: object.owners, body: object.body }));
        Some(key)
    }

    fn put(&self, key: &ObjectKey, new: Option<Stored<T>>) {
        let body = new.as_ref().map(|stored| stored.body.clone());
        let mut owners: Vec<Arc<str>> = new.as_ref().map(|stored| stored.owners.to_vec()).unwrap_or_default();
        let Ok(old) = self.cache.store(key, new) else { return };
        for owner in old.iter().flat_map(|stored| stored.owners.iter()) {
            if !owners.contains(owner) {
                owners.push(Arc::clone(owner));
            }
        }
        let old = old.map(|stored| stored.body);
        let change = Change { key, old: old.as_ref(), new: body.as_ref(), owners: &owners };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.on_change)(&change))) {
            let text = panic_text(panic.as_ref());
            tracing::error!(kind = self.cache.name(), %key, "panic while a change was announced: {text}");
        }
    }

    /// Lists names and versions, and returns what differs from the cache.
    async fn audit(&self, resource: &ApiResource) -> Option<Doubts> {
        let api = self.source.api::<T>(resource);
        let mut ghosts: BTreeMap<ObjectKey, Arc<str>> = BTreeMap::new();
        for key in self.cache.keys() {
            if let Some(version) = self.cache.version(&key) {
                ghosts.insert(key, version);
            }
        }
        let mut newer = BTreeMap::new();
        let mut page = ListParams {
            label_selector: self.source.labels.clone(),
            limit: Some(self.source.page_size),
            ..ListParams::default()
        };
        loop {
            let list = match api.list_metadata(&page).await {
                Ok(list) => list,
                Err(error) => {
                    tracing::debug!(kind = self.cache.name(), "no audit: {error}");
                    return None;
                }
            };
            for object in &list.items {
                let Some((key, version)) = listed_version(object) else { continue };
                ghosts.remove(&key);
                if self.cache.version(&key).is_none_or(|cached| is_older(&cached, &version)) {
                    newer.insert(key, version);
                }
            }
            page.continue_token = list.metadata.continue_.filter(|token| !token.is_empty());
            if page.continue_token.is_none() {
                break;
            }
        }
        if newer.is_empty() && ghosts.is_empty() {
            return None;
        }
        Some(Doubts { due: Instant::now() + AUDIT_SETTLES_AFTER, newer, ghosts })
    }

    /// Whether something is really wrong, so that everything has to be listed anew.
    fn settle(&self, doubts: &Doubts) -> bool {
        let behind = doubts
            .newer
            .iter()
            .filter(|(key, version)| self.cache.version(key).is_none_or(|cached| is_older(&cached, version)));
        let ghosts =
            doubts.ghosts.iter().filter(|(key, version)| self.cache.version(key).as_ref() == Some(version));
        let wrong = behind.count() + ghosts.count();
        if wrong > 0 {
            tracing::warn!(
                kind = self.cache.name(),
                objects = wrong,
                "the watch has lost changes; listing anew"
            );
            self.cache.shared.repairs.fetch_add(wrong as u64, atomic::Ordering::Relaxed);
        }
        wrong > 0
    }
}

fn key_of<K>(object: &Watched<K>) -> Option<ObjectKey> {
    object.name().map(|name| ObjectKey::new(object.namespace(), name))
}

fn listed_version<K>(object: &PartialObjectMeta<Watched<K>>) -> Option<(ObjectKey, String)> {
    let name = object.metadata.name.as_deref()?;
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    Some((ObjectKey::new(namespace, name), object.resource_version()?))
}

fn is_older(cached: &str, listed: &str) -> bool {
    compare_versions(cached, listed).map_or(cached != listed, |order| order == Ordering::Less)
}

fn kube_error(error: &watcher::Error) -> Option<&kube::Error> {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => Some(error),
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Body, *};
    use axum::{
        Router,
        body::{Body as HttpBody, Bytes},
        extract::Request,
        response::Response,
    };
    use serde::Deserialize;
    use serde_json::{Value, json};
    use std::sync::Mutex;
    use tokio::{sync::mpsc, time::timeout};

    /// One kind behind `kube::Client`; its watch says only what a test makes it say.
    #[derive(Clone, Default)]
    struct Server(Arc<Mutex<Cluster>>);

    #[derive(Default)]
    struct Cluster {
        objects: BTreeMap<String, Value>,
        version: u64,
        is_served: bool,
        /// Answers to the next requests, instead of the true ones.
        refusals: Vec<u16>,
        requests: Vec<String>,
        watch: Option<mpsc::UnboundedSender<Result<Bytes, std::io::Error>>>,
        /// Changes are stored, but the watch does not tell.
        is_mute: bool,
    }

    impl Server {
        fn new() -> Self {
            let server = Self::default();
            server.with(|cluster| cluster.is_served = true);
            server
        }

        fn client(&self) -> Client {
            let server = self.clone();
            let answer = move |request: Request| {
                let server = server.clone();
                async move { server.with(|cluster| cluster.answer(&request)) }
            };
            Client::new(Router::new().fallback(answer), "default")
        }

        fn with<R>(&self, look: impl FnOnce(&mut Cluster) -> R) -> R {
            look(&mut self.0.lock().unwrap())
        }

        fn put(&self, name: &str, spec: &Value) {
            self.with(|cluster| {
                cluster.version += 1;
                let object = json!({
                    "apiVersion": "test.dev/v1", "kind": "Thing", "spec": spec,
                    "metadata": {"name": name, "namespace": "a", "uid": format!("uid-{name}"),
                                 "resourceVersion": cluster.version.to_string(),
                                 "ownerReferences": [{"uid": format!("owner-{}", &name[..1])}]},
                });
                let kind = if cluster.objects.contains_key(name) { "MODIFIED" } else { "ADDED" };
                cluster.objects.insert(name.to_owned(), object.clone());
                cluster.tell(&json!({"type": kind, "object": object}));
            });
        }

        fn delete(&self, name: &str) {
            self.with(|cluster| {
                cluster.version += 1;
                let mut object = cluster.objects.remove(name).expect("an object");
                object["metadata"]["resourceVersion"] = json!(cluster.version.to_string());
                cluster.tell(&json!({"type": "DELETED", "object": object}));
            });
        }

        fn cut_watch(&self) {
            self.with(|cluster| cluster.watch = None);
        }

        fn lists(&self) -> usize {
            self.with(|cluster| cluster.requests.iter().filter(|what| *what == "list").count())
        }
    }

    impl Cluster {
        fn tell(&self, event: &Value) {
            if let (Some(watch), false) = (&self.watch, self.is_mute) {
                let _ = watch.send(Ok(format!("{event}\n").into()));
            }
        }

        fn answer(&mut self, request: &Request) -> Response {
            let query = request.uri().query().unwrap_or_default();
            let parameter = |name: &str| {
                let found = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
                found.map(str::to_owned)
            };
            let what = match request.uri().path() {
                "/apis/test.dev/v1" => "discovery",
                "/apis/test.dev/v1/things" if parameter("watch").is_some() => "watch",
                "/apis/test.dev/v1/things" => "list",
                path => panic!("nobody asks for {path}"),
            };
            self.requests.push(what.to_owned());
            let refused = if what == "discovery" || self.refusals.is_empty() {
                (!self.is_served).then_some(404)
            } else {
                Some(self.refusals.remove(0))
            };
            if let Some(code) = refused {
                let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                                    "code": code, "reason": "Refused", "message": format!("refused: {code}")});
                return Response::builder().status(code).body(status.to_string().into()).unwrap();
            }
            match what {
                "discovery" => Response::new(
                    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "test.dev/v1",
                           "resources": [{"name": "things", "singularName": "thing", "namespaced": true,
                                          "kind": "Thing", "verbs": ["list", "watch"]}]})
                    .to_string()
                    .into(),
                ),
                "watch" => {
                    let (sender, mut receiver) = mpsc::unbounded_channel();
                    let since: u64 = parameter("resourceVersion").unwrap().parse().unwrap();
                    for object in self.objects.values() {
                        let version: u64 =
                            object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
                        if version > since {
                            let event = json!({"type": "MODIFIED", "object": object});
                            sender.send(Ok(format!("{event}\n").into())).unwrap();
                        }
                    }
                    self.watch = Some(sender);
                    let events = futures::stream::poll_fn(move |context| receiver.poll_recv(context));
                    Response::new(HttpBody::from_stream(events))
                }
                _ => {
                    let limit: usize = parameter("limit").unwrap().parse().unwrap();
                    let skip: usize = parameter("continue").map_or(0, |token| token.parse().unwrap());
                    let items: Vec<&Value> = self.objects.values().skip(skip).take(limit).collect();
                    let next = skip + items.len();
                    let more = (next < self.objects.len()).then(|| next.to_string());
                    let metadata = json!({"resourceVersion": self.version.to_string(), "continue": more});
                    let list = json!({"apiVersion": "test.dev/v1", "kind": "ThingList",
                                      "metadata": metadata, "items": items});
                    Response::new(list.to_string().into())
                }
            }
        }
    }

    #[derive(Clone, Debug, Deserialize)]
    struct Thing {
        spec: Spec,
    }

    #[derive(Clone, Debug, Deserialize)]
    struct Spec {
        size: u32,
        #[serde(default)]
        uses: Vec<String>,
    }

    impl Slim for Thing {
        fn from_object(object: Value) -> Result<Self, String> {
            let thing: Self = serde_json::from_value(object).map_err(|error| error.to_string())?;
            match thing.spec.size {
                13 => panic!("unlucky"),
                14 => Err("size 14 is taken".to_owned()),
                _ => Ok(thing),
            }
        }
    }

    struct Rig {
        cache: Cache<Thing>,
        log: Arc<Mutex<Vec<String>>>,
    }

    fn things() -> ApiResource {
        ApiResource {
            group: "test.dev".to_owned(),
            version: "v1".to_owned(),
            api_version: "test.dev/v1".to_owned(),
            kind: "Thing".to_owned(),
            plural: "things".to_owned(),
        }
    }

    fn start(source: Source) -> Rig {
        let cache = Cache::with_index("things", |thing: &Thing| thing.spec.uses.clone());
        let log = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&log);
        let on_change = move |change: &Change<'_, Thing>| {
            let show = |body: Option<&Body<Thing>>| match body {
                None => "-".to_owned(),
                Some(Body::Good(thing)) => thing.spec.size.to_string(),
                Some(Body::Broken(message)) => message.split(" at ").next().unwrap_or_default().to_owned(),
            };
            seen.lock().unwrap().push(format!("{} {} {}", change.key, show(change.old), show(change.new)));
            assert!(change.key.name.as_ref() != "panics", "a mistake of the caller");
        };
        tokio::spawn(cache.clone().feed(source, on_change));
        Rig { cache, log }
    }

    impl Rig {
        async fn changes(&self) -> Vec<String> {
            sleep(Duration::from_millis(10)).await;
            std::mem::take(&mut *self.log.lock().unwrap())
        }

        fn size(&self, name: &str) -> Option<u32> {
            self.cache.get(&ObjectKey::new("a", name)).map(|thing| thing.spec.size)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lists_in_pages_and_follows() {
        let server = Server::new();
        for number in 0..25 {
            server.put(&format!("x{number:02}"), &json!({"size": number + 100}));
        }
        let rig = start(Source::new(server.client(), things()).page_size(10));
        assert!(!rig.cache.ready());
        timeout(Duration::from_secs(1), rig.cache.wait_ready()).await.expect("ready");
        assert_eq!((rig.cache.len(), server.lists(), rig.changes().await.len()), (25, 3, 25));
        server.put("x00", &json!({"size": 1, "uses": ["svc"]}));
        server.put("y", &json!({"size": 2, "uses": ["svc", "other"]}));
        server.delete("x24");
        assert_eq!(rig.changes().await, ["a/x00 100 1", "a/y - 2", "a/x24 124 -"]);
        let names = |found: Vec<(ObjectKey, Body<Thing>)>| {
            found.into_iter().map(|(key, _)| key.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(rig.cache.indexed("svc")), ["x00", "y"]);
        assert_eq!(names(rig.cache.owned_by("owner-y")), ["y"]);
        assert_eq!(names(rig.cache.owned_by("owner-x")).len(), 24);
        server.put("y", &json!({"size": 3}));
        assert_eq!(rig.changes().await, ["a/y 2 3"]);
        assert!(rig.cache.indexed("other").is_empty() && rig.cache.read().indexed_as.len() == 1);
        server.delete("y");
        rig.changes().await;
        assert!(!rig.cache.read().owned.contains_key("owner-y"));
        assert_eq!(rig.cache.version(&ObjectKey::new("a", "x00")).as_deref(), Some("26"));
        assert_eq!((server.lists(), rig.cache.trouble()), (3, None), "no list after the first");
    }

    #[tokio::test(start_paused = true)]
    async fn one_broken_object_is_reported_and_the_rest_goes_on() {
        let server = Server::new();
        server.put("bad", &json!({"size": "x"}));
        server.put("good", &json!({"size": 1}));
        let rig = start(Source::new(server.client(), things()));
        let invalid = "invalid type: string \"x\", expected u32";
        assert_eq!(rig.changes().await, [format!("a/bad - {invalid}"), "a/good - 1".to_owned()]);
        let key = ObjectKey::new("a", "bad");
        assert!(rig.cache.get(&key).is_none());
        assert_eq!(rig.cache.body(&key).as_ref().and_then(Body::broken), Some(invalid));
        assert_eq!(rig.cache.owned_by("owner-b").len(), 1, "a broken object has owners all the same");
        server.put("bad", &json!({"size": 2}));
        server.put("good", &json!({"size": 13}));
        server.put("good2", &json!({"size": 14}));
        server.put("panics", &json!({"size": 4}));
        server.put("last", &json!({"size": 5}));
        let expected = [
            format!("a/bad {invalid} 2"),
            "a/good 1 panic while reading it: unlucky".to_owned(),
            "a/good2 - size 14 is taken".to_owned(),
            "a/panics - 4".to_owned(),
            "a/last - 5".to_owned(),
        ];
        assert_eq!(rig.changes().await, expected);
        server.delete("good");
        assert_eq!(rig.changes().await, ["a/good panic while reading it: unlucky -"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_watch_goes_on_and_an_expired_one_lists_again() {
        let server = Server::new();
        server.put("x", &json!({"size": 1}));
        server.put("y", &json!({"size": 1}));
        let rig = start(Source::new(server.client(), things()));
        rig.changes().await;
        server.cut_watch();
        server.put("x", &json!({"size": 2}));
        sleep(Duration::from_secs(2)).await;
        assert_eq!(rig.changes().await, ["a/x 1 2"]);
        assert_eq!(server.lists(), 1, "resumed from where it was");
        // The resource version is too old, which some servers say as an event and some as the answer.
        for as_event in [true, false] {
            let (lists, size) = (server.lists(), rig.size("x").unwrap());
            server.with(|cluster| {
                if as_event {
                    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "code": 410,
                                        "status": "Failure", "reason": "Expired", "message": "too old"});
                    cluster.tell(&json!({"type": "ERROR", "object": status}));
                } else {
                    cluster.refusals = vec![410];
                }
            });
            server.with(|cluster| cluster.is_mute = true);
            server.put("x", &json!({"size": size + 1}));
            server.put(&format!("new{as_event}"), &json!({"size": 7}));
            server.cut_watch();
            server.with(|cluster| cluster.is_mute = false);
            sleep(Duration::from_secs(5)).await;
            assert_eq!(server.lists(), lists + 1, "as event: {as_event}");
            let mut expected = vec![format!("a/new{as_event} - 7"), format!("a/x {size} {}", size + 1)];
            let mut changes = rig.changes().await;
            expected.sort();
            changes.sort();
            assert_eq!(changes, expected, "what did not change is not announced");
        }
        assert!(rig.cache.ready() && rig.cache.trouble().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_went_while_nobody_watched_is_announced() {
        let server = Server::new();
        server.put("x", &json!({"size": 1}));
        server.put("y", &json!({"size": 1}));
        let rig = start(Source::new(server.client(), things()));
        rig.changes().await;
        server.with(|cluster| cluster.is_mute = true);
        server.delete("y");
        assert_eq!(rig.changes().await.len(), 0);
        rig.cache.relist();
        assert_eq!(rig.changes().await, ["a/y 1 -"]);
    }

    #[tokio::test(start_paused = true)]
    async fn errors_are_spaced_out_and_told() {
        let server = Server::new();
        server.with(|cluster| cluster.refusals = vec![500; 10]);
        let rig = start(Source::new(server.client(), things()));
        let begin = Instant::now();
        sleep(Duration::from_secs(1)).await;
        assert!((3..=5).contains(&server.lists()), "{}", server.lists());
        assert!(rig.cache.trouble().is_some_and(|trouble| trouble.contains("refused: 500")));
        rig.cache.wait_ready().await;
        // 0.2 s doubling to 30 s: at most 0.2 * (2^8 - 1) + 2 * 30, and three quarters of it at least.
        let took = begin.elapsed().as_secs_f64();
        assert!((82.0..112.0).contains(&took), "{took}");
        assert_eq!((server.lists(), rig.cache.trouble()), (11, None));
    }

    #[tokio::test(start_paused = true)]
    async fn an_optional_kind_comes_and_goes() {
        let server = Server::default();
        server.put("x", &json!({"size": 1}));
        let rig = start(Source::optional(server.client(), vec![things()]));
        rig.cache.wait_ready().await;
        assert_eq!((rig.cache.sync(), rig.cache.trouble()), (SyncState::Absent, None));
        server.with(|cluster| cluster.is_served = true);
        sleep(Duration::from_secs(70)).await;
        assert_eq!((rig.cache.sync(), rig.changes().await), (SyncState::Synced, vec!["a/x - 1".to_owned()]));
        // A server that is starting denies everything for a moment; nothing is forgotten for that.
        server.with(|cluster| cluster.refusals = vec![404, 403, 404]);
        server.cut_watch();
        sleep(Duration::from_secs(20)).await;
        assert_eq!((rig.cache.sync(), rig.changes().await.len()), (SyncState::Synced, 0));
        // The definition is removed, and comes again.
        server.with(|cluster| cluster.is_served = false);
        server.cut_watch();
        sleep(Duration::from_secs(200)).await;
        assert_eq!((rig.cache.sync(), rig.changes().await), (SyncState::Absent, vec!["a/x 1 -".to_owned()]));
        server.with(|cluster| cluster.is_served = true);
        sleep(Duration::from_secs(70)).await;
        assert_eq!((rig.cache.sync(), rig.size("x")), (SyncState::Synced, Some(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_optional_kind_that_we_may_not_read_is_absent() {
        let server = Server::new();
        server.put("x", &json!({"size": 1}));
        server.with(|cluster| cluster.refusals = vec![403; 5]);
        let rig = start(Source::optional(server.client(), vec![things()]));
        rig.cache.wait_ready().await;
        assert_eq!(rig.cache.sync(), SyncState::Absent);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(
            (rig.cache.sync(), rig.size("x")),
            (SyncState::Synced, Some(1)),
            "the roles were extended"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_audit_repairs_a_watch_that_lost_changes_and_leaves_a_sound_one_alone() {
        let server = Server::new();
        for name in ["x", "y", "z"] {
            server.put(name, &json!({"size": 1}));
        }
        let source =
            Source::new(server.client(), things()).page_size(2).audited_every(Duration::from_mins(15));
        let rig = start(source);
        rig.changes().await;
        server.with(|cluster| cluster.requests.clear());
        sleep(Duration::from_hours(1)).await;
        assert!(
            (3..=4).contains(&(server.lists() / 2)),
            "one audit of two pages each time: {}",
            server.lists()
        );
        assert_eq!((rig.cache.repairs(), rig.changes().await.len()), (0, 0));
        server.with(|cluster| cluster.is_mute = true);
        server.put("x", &json!({"size": 2}));
        server.put("new", &json!({"size": 3}));
        server.delete("z");
        server.with(|cluster| cluster.is_mute = false);
        // A later change arrives, so that a watch that resumes is not told of the lost ones either.
        server.put("y", &json!({"size": 4}));
        sleep(Duration::from_secs(1_100)).await;
        assert_eq!(rig.cache.repairs(), 3);
        assert_eq!((rig.size("x"), rig.size("new"), rig.size("z")), (Some(2), Some(3), None));
        server.put("y", &json!({"size": 9}));
        sleep(Duration::from_secs(4_000)).await;
        assert_eq!((rig.cache.repairs(), rig.size("y")), (3, Some(9)));
    }
}
