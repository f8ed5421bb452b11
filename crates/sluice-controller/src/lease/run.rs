//! Carries out what a [`Candidate`] decides: requests, waiting, and the handle that others look at.

use super::{Action, Candidate, Record, Timings};
use crate::clock::Clock;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ObjectMeta, PostParams},
};
use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout, timeout_at},
};

/// The name of the Lease of Argo Rollouts v1.10 (`utils/defaults/defaults.go`), without suffix.
const LEASE_NAME: &str = "argo-rollouts-controller-lock";

/// Returns the name of the Lease: `argo-rollouts-controller-lock`, and `-<instance id>` if there is one.
pub fn lease_name(instance_id: &str) -> String {
    if instance_id.is_empty() { LEASE_NAME.to_owned() } else { format!("{LEASE_NAME}-{instance_id}") }
}

/// Returns `<host name>_<uuid>`, new for each process.
pub fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty());
    format!("{}_{}", host.as_deref().unwrap_or("localhost"), uuid::Uuid::new_v4())
}

/// Which Lease, signed how, and how often.
#[derive(Clone, Debug)]
pub struct LeaseOptions {
    /// Where the Lease is.
    pub namespace: String,
    /// See [`lease_name`].
    pub name: String,
    /// See [`identity`].
    pub identity: String,
    /// Checked with [`Timings::validate`].
    pub timings: Timings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fence {
    Closed,
    Until(Instant),
    /// Without leader election.
    Open,
}

/// Tells whether this process may write; clones are handles on the same leadership.
#[derive(Clone, Debug)]
pub struct Leadership {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    fence: Mutex<Fence>,
    leads: watch::Sender<bool>,
    holder: watch::Sender<Option<String>>,
}

impl Leadership {
    /// The leadership of a standby, for [`run`] to change.
    pub fn standby() -> Self {
        Self::new(Fence::Closed)
    }

    /// The leadership of a process that runs without leader election.
    pub fn always() -> Self {
        Self::new(Fence::Open)
    }

    fn new(fence: Fence) -> Self {
        let leads = watch::Sender::new(fence == Fence::Open);
        let shared = Shared { fence: Mutex::new(fence), leads, holder: watch::Sender::new(None) };
        Self { shared: Arc::new(shared) }
    }

    fn fence(&self) -> Fence {
        *self.shared.fence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a write may be sent at `now`. Turns false at the renew deadline by itself, whether or
    /// not any task gets to run.
    pub fn may_write(&self, now: Instant) -> bool {
        match self.fence() {
            Fence::Closed => false,
            Fence::Until(deadline) => now < deadline,
            Fence::Open => true,
        }
    }

    /// Whether a write may be sent now.
    pub fn is_leader(&self) -> bool {
        self.may_write(Instant::now())
    }

    /// The instant from which nothing may be sent, as it stands now; `None` while not leading, and
    /// without leader election.
    pub fn deadline(&self) -> Option<Instant> {
        match self.fence() {
            Fence::Until(deadline) => Some(deadline),
            Fence::Closed | Fence::Open => None,
        }
    }

    /// Follows whether this process leads. It may lag behind [`Leadership::may_write`], which is what
    /// counts before a write.
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.shared.leads.subscribe()
    }

    /// Identity of the holder as last seen.
    pub fn holder(&self) -> Option<String> {
        self.shared.holder.borrow().clone()
    }

    /// Runs `work` as long as this process leads: `None` when the leadership ended first, and `work`
    /// was dropped where it was.
    pub async fn while_leading<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut leads = self.subscribe();
        tokio::select! {
            biased;
            _ = leads.wait_for(|leads| !leads) => None,
            output = work => Some(output),
        }
    }

    fn publish(&self, fence: Fence, holder: Option<&str>) {
        *self.shared.fence.lock().unwrap_or_else(PoisonError::into_inner) = fence;
        let leads = fence != Fence::Closed;
        self.shared.leads.send_if_modified(|before| std::mem::replace(before, leads) != leads);
        self.shared.holder.send_if_modified(|before| {
            let changed = before.as_deref() != holder;
            if changed {
                *before = holder.map(str::to_owned);
            }
            changed
        });
    }
}

/// Takes part in the election until `shutdown` completes, then gives the lease up.
///
/// When this returns, `leadership` is closed. Whoever has writes under way lets them end before
/// completing `shutdown`, because another process may lead right afterwards.
pub async fn run(
    client: Client,
    options: LeaseOptions,
    leadership: Leadership,
    clock: Clock,
    shutdown: impl Future<Output = ()>,
) {
    let LeaseOptions { namespace, name, identity, timings } = options;
    let mut elector = Elector {
        api: Api::namespaced(client, &namespace),
        name,
        namespace,
        clock,
        timings,
        origin: Instant::now(),
        candidate: Candidate::new(identity, timings),
        stored: None,
        leadership,
        failing: false,
    };
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let action = elector.next();
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            () = elector.perform(action) => {}
        }
    }
    elector.release().await;
}

struct Elector {
    api: Api<Lease>,
    name: String,
    namespace: String,
    clock: Clock,
    timings: Timings,
    /// Where the candidate's clock starts.
    origin: Instant,
    candidate: Candidate,
    /// The Lease as last read or written, so that a replace keeps what is not ours.
    stored: Option<Lease>,
    leadership: Leadership,
    failing: bool,
}

/// What a request came to, when it was answered at all.
enum Answer {
    Found(Option<Lease>),
    Written(Lease),
    Conflict,
}

impl Elector {
    fn next(&mut self) -> Action {
        let led = self.candidate.state().renewed.is_some();
        let action = self.candidate.next(self.origin.elapsed());
        if led && action == Action::Lost {
            tracing::warn!(identity = self.candidate.state().identity, "no longer the leader");
        }
        self.publish();
        action
    }

    fn publish(&self) {
        let fence = match self.candidate.state().deadline() {
            Some(deadline) => Fence::Until(self.origin + deadline),
            None => Fence::Closed,
        };
        let before = self.leadership.holder();
        let holder = self.candidate.holder();
        if before.as_deref() != holder
            && let Some(holder) = holder
        {
            if self.candidate.is_holder() {
                tracing::info!("I am the new leader: {holder}");
            } else {
                tracing::info!("New leader elected: {holder}");
            }
        }
        self.leadership.publish(fence, holder);
    }

    async fn perform(&mut self, action: Action) {
        let sent = self.origin.elapsed();
        let request = match action {
            Action::Wait(until) => return sleep_until(self.origin + until).await,
            Action::Lost => return,
            Action::Look => None,
            Action::Create => Some(self.lease(None)),
            Action::Acquire | Action::Renew => Some(self.lease(self.candidate.version())),
        };
        // Half of the deadline, so that a request that hangs leaves time for a second one.
        let patience = Instant::now() + self.timings.renew_deadline / 2;
        let until = self.leadership.deadline().map_or(patience, |deadline| deadline.min(patience));
        let answer = match timeout_at(until, self.send(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return self.failed(&error.to_string()),
            Err(_) => return self.failed("no answer in time"),
        };
        self.failing = false;
        let now = self.origin.elapsed();
        match answer {
            Answer::Found(found) => {
                let seen = found.as_ref().map(|lease| (record_of(lease), version_of(lease)));
                self.candidate.on_read(seen, now);
                self.stored = found;
            }
            Answer::Written(lease) => {
                self.candidate.on_written(record_of(&lease), version_of(&lease), sent, now);
                self.stored = Some(lease);
            }
            Answer::Conflict => self.candidate.on_conflict(now),
        }
    }

    fn failed(&mut self, problem: &str) {
        // Once per series: a server that is away is asked every two seconds.
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(lease = self.name, namespace = self.namespace, "leader election: {problem}");
        }
        self.candidate.on_error(self.origin.elapsed());
    }

    /// Reads the Lease, or writes the given one.
    async fn send(&self, lease: Option<Lease>) -> kube::Result<Answer> {
        let parameters = PostParams { field_manager: Some("rollouts-controller".to_owned()), dry_run: false };
        let Some(lease) = lease else { return self.api.get_opt(&self.name).await.map(Answer::Found) };
        let is_new = lease.resource_version().is_none();
        let written = if is_new {
            self.api.create(&parameters, &lease).await
        } else {
            self.api.replace(&self.name, &parameters, &lease).await
        };
        match written {
            Ok(lease) => Ok(Answer::Written(lease)),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Answer::Conflict),
            // It was deleted in between. Of a new one, its namespace is missing.
            Err(kube::Error::Api(status)) if status.code == 404 && !is_new => Ok(Answer::Conflict),
            Err(error) => Err(error),
        }
    }

    fn lease(&self, version: Option<&str>) -> Lease {
        self.lease_saying(self.candidate.record_to_write(self.clock.now()), version)
    }

    fn lease_saying(&self, record: Record, version: Option<&str>) -> Lease {
        let mut lease = version.and(self.stored.clone()).unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        lease.metadata.resource_version = version.map(str::to_owned);
        lease.metadata.managed_fields = None;
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(record.holder),
            lease_duration_seconds: Some(i32::try_from(record.duration.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: record.acquired_at.map(MicroTime),
            renew_time: record.renewed_at.map(MicroTime),
            lease_transitions: Some(record.transitions),
            ..lease.spec.unwrap_or_default()
        });
        lease
    }

    /// Stops leading, then says so in the Lease if it still names us.
    async fn release(mut self) {
        self.candidate.resign();
        self.leadership.publish(Fence::Closed, None);
        if !self.candidate.is_holder() {
            return;
        }
        let patience = self.timings.retry_period.max(Duration::from_secs(1));
        let name = self.name.clone();
        let release = async {
            // Read again: a renewal that was under way may or may not have been carried out.
            let found = self.api.get_opt(&self.name).await?;
            let Some(lease) =
                found.filter(|lease| record_of(lease).holder == self.candidate.state().identity)
            else {
                return Ok(());
            };
            let version = version_of(&lease);
            self.stored = Some(lease);
            let released = self.candidate.record_to_release(self.clock.now());
            self.send(Some(self.lease_saying(released, Some(&version)))).await.map(|_| ())
        };
        match timeout(patience, release).await {
            Ok(Ok(())) => tracing::info!(lease = name, "gave the lease up"),
            Ok(Err(error)) => tracing::warn!(lease = name, "could not give the lease up: {error}"),
            Err(_) => tracing::warn!(lease = name, "could not give the lease up: no answer in time"),
        }
    }
}

fn record_of(lease: &Lease) -> Record {
    let Some(spec) = &lease.spec else { return Record::default() };
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        holder: spec.holder_identity.clone().unwrap_or_default(),
        duration: Duration::from_secs(seconds.unwrap_or(0)),
        acquired_at: spec.acquire_time.as_ref().map(|time| time.0),
        renewed_at: spec.renew_time.as_ref().map(|time| time.0),
        transitions: spec.lease_transitions.unwrap_or(0),
    }
}

fn version_of(lease: &Lease) -> String {
    lease.resource_version().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, body::Body, extract::Request, response::Response};
    use http::{Method, StatusCode};
    use jiff::Timestamp;
    use serde_json::{Value, json};
    use tokio::{sync::oneshot, task::JoinHandle, time::sleep};

    /// One Lease behind `kube::Client`, with a cable that can be pulled per client.
    #[derive(Clone, Default)]
    struct Server(Arc<Mutex<Stored>>);

    #[derive(Default)]
    struct Stored {
        lease: Option<Value>,
        version: u64,
        requests: Vec<String>,
        cut: Vec<&'static str>,
        loses_answers: Vec<&'static str>,
    }

    impl Server {
        fn client(&self, who: &'static str) -> Client {
            let server = self.clone();
            let answer = move |request: Request| {
                let server = server.clone();
                async move { server.answer(who, request).await }
            };
            Client::new(Router::new().fallback(answer), "argo-rollouts")
        }

        fn stored<T>(&self, look: impl FnOnce(&mut Stored) -> T) -> T {
            look(&mut self.0.lock().unwrap())
        }

        fn holder(&self) -> String {
            self.stored(|stored| stored.lease.as_ref().map(|lease| lease["spec"]["holderIdentity"].clone()))
                .and_then(|holder| holder.as_str().map(str::to_owned))
                .unwrap_or_default()
        }

        async fn answer(self, who: &'static str, request: Request) -> Response {
            let (parts, body) = request.into_parts();
            let sent: Option<Value> = axum::body::to_bytes(body, 1 << 20)
                .await
                .ok()
                .and_then(|body| serde_json::from_slice(&body).ok());
            if self.stored(|stored| stored.cut.contains(&who)) {
                std::future::pending::<()>().await;
            }
            sleep(Duration::from_millis(5)).await;
            let (status, answer) = self.stored(|stored| {
                stored.requests.push(format!("{who} {}", parts.method));
                stored.handle(&parts.method, sent)
            });
            if self.stored(|stored| stored.loses_answers.contains(&who)) {
                std::future::pending::<()>().await;
            }
            let answer = if status.is_success() {
                answer
            } else {
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                       "code": status.as_u16(), "reason": answer, "message": answer})
            };
            Response::builder().status(status).body(Body::from(answer.to_string())).unwrap()
        }
    }

    impl Stored {
        fn handle(&mut self, method: &Method, sent: Option<Value>) -> (StatusCode, Value) {
            match (method.as_str(), sent, &self.lease) {
                ("GET", _, Some(lease)) => return (StatusCode::OK, lease.clone()),
                ("GET" | "PUT", _, None) => return (StatusCode::NOT_FOUND, json!("NotFound")),
                ("POST", Some(_), Some(_)) => return (StatusCode::CONFLICT, json!("AlreadyExists")),
                ("PUT", Some(sent), Some(lease))
                    if sent["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"] =>
                {
                    return (StatusCode::CONFLICT, json!("Conflict"));
                }
                ("POST" | "PUT", Some(sent), _) => self.lease = Some(sent),
                (method, ..) => panic!("{method} is not allowed by the roles in use"),
            }
            self.version += 1;
            let version = self.version.to_string();
            let lease = self.lease.as_mut().unwrap();
            lease["metadata"]["resourceVersion"] = json!(version);
            (StatusCode::OK, lease.clone())
        }
    }

    struct Process {
        leadership: Leadership,
        stop: oneshot::Sender<()>,
        task: JoinHandle<()>,
    }

    fn start(server: &Server, who: &'static str) -> Process {
        let leadership = Leadership::standby();
        let options = LeaseOptions {
            namespace: "argo-rollouts".to_owned(),
            name: lease_name(""),
            identity: who.to_owned(),
            timings: Timings::default(),
        };
        let (stop, stopped) = oneshot::channel();
        let clock = Clock::virtual_from(Timestamp::from_second(1_800_000_000).unwrap());
        let running = run(server.client(who), options, leadership.clone(), clock, async {
            stopped.await.ok();
        });
        Process { leadership, stop, task: tokio::spawn(running) }
    }

    async fn at(start: Instant, seconds: u64) {
        sleep_until(start + Duration::from_secs(seconds)).await;
    }

    #[test]
    fn names() {
        assert_eq!(lease_name(""), "argo-rollouts-controller-lock");
        assert_eq!(lease_name("blue"), "argo-rollouts-controller-lock-blue");
        let one = identity();
        assert!(
            one.rsplit_once('_').is_some_and(|(host, uuid)| !host.is_empty() && uuid.len() == 36),
            "{one}"
        );
        assert_ne!(one, identity());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_leads_and_gives_up_on_shutdown() {
        let server = Server::default();
        let begin = Instant::now();
        let a = start(&server, "a");
        at(begin, 1).await;
        let b = start(&server, "b");
        at(begin, 60).await;
        assert!(a.leadership.is_leader() && !b.leadership.is_leader());
        assert_eq!(b.leadership.holder().as_deref(), Some("a"));
        let lease = server.stored(|stored| stored.lease.clone().unwrap());
        assert_eq!(lease["spec"]["leaseDurationSeconds"], 15);
        let acquired = lease["spec"]["acquireTime"].as_str().unwrap();
        assert!(acquired.starts_with("2027-01-15T08:00:00.0") && acquired.len() == 27, "{acquired}");
        assert_eq!(lease["spec"]["leaseTransitions"], 0);
        a.stop.send(()).unwrap();
        a.task.await.unwrap();
        assert!(!a.leadership.is_leader());
        assert_eq!(server.holder(), "", "given up");
        at(begin, 63).await;
        assert!(b.leadership.is_leader(), "taken within one retry period");
        assert_eq!(server.stored(|stored| stored.lease.clone().unwrap())["spec"]["leaseTransitions"], 1);
        drop(b.stop);
        b.task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_is_cut_off_stops_before_another_begins_and_rejoins() {
        let server = Server::default();
        let begin = Instant::now();
        let a = start(&server, "a");
        at(begin, 1).await;
        let b = start(&server, "b");
        at(begin, 20).await;
        server.stored(|stored| stored.cut.push("a"));
        let (mut a_stopped, mut b_began) = (None, None);
        let mut told = a.leadership.subscribe();
        told.mark_unchanged();
        while begin.elapsed() < Duration::from_secs(50) {
            let (may_a, may_b) = (a.leadership.is_leader(), b.leadership.is_leader());
            assert!(!(may_a && may_b), "two leaders");
            if !may_a && a_stopped.is_none() {
                a_stopped = Some(begin.elapsed());
                sleep(Duration::from_millis(1)).await;
                assert!(
                    told.has_changed().unwrap() && !*told.borrow_and_update(),
                    "subscribers are told at once"
                );
            }
            if may_b && b_began.is_none() {
                b_began = Some(begin.elapsed());
            }
            sleep(Duration::from_millis(10)).await;
        }
        let (a_stopped, b_began) = (a_stopped.expect("a stopped"), b_began.expect("b began"));
        assert!(a_stopped <= Duration::from_secs(30), "{a_stopped:?}");
        assert!(b_began >= a_stopped + Duration::from_secs(4), "{a_stopped:?} {b_began:?}");
        assert!(b_began <= Duration::from_secs(20 + 15 + 2), "{b_began:?}");
        // The cable is plugged in again: the old leader is a standby, and leads after the new one.
        server.stored(|stored| stored.cut.clear());
        at(begin, 70).await;
        assert!(!a.leadership.is_leader() && b.leadership.is_leader());
        drop(b.stop);
        b.task.await.unwrap();
        at(begin, 75).await;
        assert!(a.leadership.is_leader());
    }

    #[tokio::test(start_paused = true)]
    async fn short_cuts_and_lost_answers_do_not_end_a_leadership() {
        let server = Server::default();
        let begin = Instant::now();
        let a = start(&server, "a");
        let _b = start(&server, "b");
        at(begin, 10).await;
        assert!(a.leadership.is_leader());
        let mut changes = a.leadership.subscribe();
        changes.mark_unchanged();
        for second in [10, 30, 50] {
            at(begin, second).await;
            server.stored(|stored| stored.cut.push("a"));
            sleep(Duration::from_secs(3)).await;
            server.stored(|stored| stored.cut.clear());
            at(begin, second + 10).await;
            server.stored(|stored| stored.loses_answers.push("a"));
            sleep(Duration::from_secs(3)).await;
            server.stored(|stored| stored.loses_answers.clear());
        }
        at(begin, 80).await;
        assert!(!changes.has_changed().unwrap() && a.leadership.is_leader());
        assert_eq!(server.stored(|stored| stored.lease.clone().unwrap())["spec"]["leaseTransitions"], 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_put_into_the_lease_stays() {
        let server = Server::default();
        let begin = Instant::now();
        server.stored(|stored| {
            let meta = json!({"name": "argo-rollouts-controller-lock", "namespace": "argo-rollouts",
                              "labels": {"team": "x"}});
            let spec = json!({"holderIdentity": "gone", "leaseDurationSeconds": 15, "leaseTransitions": 4,
                              "renewTime": "2020-01-01T00:00:00.000000Z", "preferredHolder": "nobody"});
            let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                               "metadata": meta, "spec": spec});
            assert_eq!(stored.handle(&Method::POST, Some(lease)).0, StatusCode::OK);
        });
        let a = start(&server, "a");
        at(begin, 14).await;
        assert!(!a.leadership.is_leader(), "however old it looks, it is timed from when we saw it");
        at(begin, 16).await;
        assert!(a.leadership.is_leader());
        at(begin, 20).await;
        let lease = server.stored(|stored| stored.lease.clone().unwrap());
        assert_eq!(lease["metadata"]["labels"]["team"], "x");
        assert_eq!(lease["spec"]["preferredHolder"], "nobody");
        assert_eq!(lease["spec"]["leaseTransitions"], 5);
    }

    #[tokio::test(start_paused = true)]
    async fn work_ends_with_the_leadership() {
        let server = Server::default();
        let a = start(&server, "a");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(a.leadership.while_leading(async { 5 }).await, Some(5));
        server.stored(|stored| stored.cut.push("a"));
        assert_eq!(a.leadership.while_leading(std::future::pending::<()>()).await, None);
        assert!(!a.leadership.is_leader());
        assert!(Leadership::always().is_leader());
        assert_eq!(Leadership::always().while_leading(async { 6 }).await, Some(6));
    }
}
