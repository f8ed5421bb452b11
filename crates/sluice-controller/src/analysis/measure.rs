//! Carries out one measurement: asks its provider until there is a value, or makes its Job.
//!
//! Decides nothing about outcomes: whoever measured says what was measured, and `sluice_engine::measure` says what
//! that means.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::api::GetParams;
use kube::core::Request as Builder;
use serde_json::Value;
use sluice_api::analysis::{AnalysisPhase, AnalysisRun, Measurement, Metric};
use sluice_api::meta::Time;
use sluice_api::providers::Provider;
use sluice_engine::measure::{Aside, Asides, Reading, Task, TaskKind, TaskResult, measured};
use sluice_integrations::circuit::{self, Circuits, Permission};
use sluice_integrations::{
    Context, HttpRequest, HttpResponse, InProgress, Measured, Memory, MetricProvider, Next, Outcome,
    ProviderError, Secret, Token, needed_secrets, provider,
};

use super::job::Jobs;
use super::sender::{self, Send};
use crate::clock::Clock;

/// How long one measurement may take in all.
const PATIENCE: Duration = Duration::from_mins(5);
/// How long a measurement may wait for a host that is left alone. More is an error of the measurement.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(5);
/// How many requests one measurement may take.
const MOST_ROUNDS: usize = 20;

/// Where metrics are asked for.
#[derive(Clone)]
pub struct Providers {
    /// How requests get out.
    pub send: Send,
    /// What comes from the environment.
    pub context: Arc<Context>,
    /// The namespace in which Jobs are made; `None`: that of their run.
    pub job_namespace: Option<String>,
    /// Tokens that are still good, by run and metric.
    tokens: Arc<Mutex<BTreeMap<(String, String), Token>>>,
    /// Hosts that are left alone for a while.
    circuits: Arc<Mutex<Circuits>>,
}

impl Default for Providers {
    fn default() -> Providers {
        Providers::new(sender::over_the_network(), Context::default())
    }
}

impl Providers {
    /// Providers that are asked this way.
    pub fn new(send: Send, context: Context) -> Providers {
        Providers {
            send,
            context: Arc::new(context),
            job_namespace: None,
            tokens: Arc::default(),
            circuits: Arc::default(),
        }
    }

    /// Forgets what is kept for a run.
    pub fn forget(&self, uid: &str) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|(run, _), _| run != uid);
    }
}

/// Carries out the measurements of a run.
pub struct Measurer<'a> {
    /// To whom requests about Jobs and Secrets go.
    pub client: &'a Client,
    /// What time it is.
    pub clock: &'a Clock,
    /// The run.
    pub run: &'a AnalysisRun,
    /// Where metrics are asked for.
    pub providers: &'a Providers,
}

impl Measurer<'_> {
    /// Carries a task out. Whatever goes wrong is an error of this measurement.
    pub async fn measure(&self, task: &Task) -> TaskResult {
        let begun = self.clock.now();
        let all = async {
            if let [Provider::Job(_)] = task.metric.provider.providers().as_slice() {
                return (self.by_job(task).await, BTreeMap::new());
            }
            self.by_requests(task).await
        };
        let (measurement, metadata) = match tokio::time::timeout(PATIENCE, all).await {
            Ok((Ok(measurement), metadata)) => (measurement, metadata),
            Ok((Err(message), metadata)) => (self.error(task, begun, message), metadata),
            Err(_) => {
                let message = format!("not done within {} s", PATIENCE.as_secs());
                (self.error(task, begun, message), BTreeMap::new())
            }
        };
        task.result(measurement, metadata)
    }

    /// The result of a task whose provider failed in a way that nobody foresaw.
    pub fn broken(&self, task: &Task, message: &str) -> TaskResult {
        task.result(self.error(task, self.clock.now(), message.into()), BTreeMap::new())
    }

    fn error(&self, task: &Task, begun: Timestamp, message: String) -> Measurement {
        let in_flight = task.measurement.clone().unwrap_or_default();
        Measurement {
            phase: AnalysisPhase::Error,
            message,
            started_at: in_flight.started_at.or(Some(Time::new(begun))),
            finished_at: Some(Time::new(self.clock.now())),
            resume_at: None,
            ..in_flight
        }
    }

    async fn by_job(&self, task: &Task) -> Result<Measurement, String> {
        let [Provider::Job(job)] = task.metric.provider.providers()[..] else {
            return Err("the metric is not measured by a Job".into());
        };
        let namespace = self.providers.job_namespace.as_deref();
        let jobs = Jobs { client: self.client, run: self.run, metric: &task.metric.name, namespace };
        let now = self.clock.now();
        match (task.kind, &task.measurement) {
            (TaskKind::Run, _) => jobs.begin(job, task.number, now).await,
            (TaskKind::Resume, Some(measurement)) => jobs.resume(measurement, now).await,
            (TaskKind::Terminate, Some(measurement)) => jobs.terminate(measurement, now).await,
            (TaskKind::Resume | TaskKind::Terminate, None) => Err("job metadata reference missing".into()),
        }
    }

    async fn by_requests(&self, task: &Task) -> (Result<Measurement, String>, BTreeMap<String, String>) {
        let in_flight = task.measurement.clone().unwrap_or_default();
        let started_at = in_flight.started_at.map_or_else(|| self.clock.now(), Time::timestamp);
        let main = match self.prepare(task, &task.metric).await {
            Ok(main) => main,
            Err(problem) => return (Err(problem), BTreeMap::new()),
        };
        let metadata = main.metadata();
        if task.kind == TaskKind::Terminate {
            // A question that was asked cannot be taken back, and nobody waits for the answer.
            return (Ok(in_flight), metadata);
        }
        // What is read beside the metric comes first: a metric that goes on asks for all of it anew, so that all
        // is of the same window. Only what is asked at once is asked about the same instant.
        let instant = (!task.asides.is_empty()).then(|| self.clock.now());
        let mut asides = Asides::new();
        for (aside, metric) in &task.asides {
            let provider = match self.prepare(task, metric).await {
                Ok(provider) => provider,
                Err(problem) => return (Err(format!("{}: {problem}", name(*aside))), metadata),
            };
            let place = format!("{}/{}", metric.name, name(*aside));
            let begun = InProgress { started_at, memory: Memory::default() };
            match self.ask_all(provider.as_ref(), &place, begun, instant).await {
                Err(problem) => return (Err(format!("{}: {problem}", name(*aside))), metadata),
                Ok(Talk::Later(at, _)) => {
                    return (Ok(waiting(in_flight.clone(), started_at, at, in_flight.metadata)), metadata);
                }
                Ok(Talk::Done(done)) => match done.outcome {
                    Outcome::Result(value) => {
                        asides.insert(*aside, value);
                    }
                    Outcome::Judged { .. } => {
                        return (Err(format!("{}: the provider gives no number", name(*aside))), metadata);
                    }
                },
            }
        }
        let memory = Memory { metadata: in_flight.metadata.clone(), ..Memory::default() };
        let begun = InProgress { started_at, memory };
        let measurement = match self.ask_all(main.as_ref(), &task.metric.name, begun, instant).await {
            Err(problem) => Err(problem),
            Ok(Talk::Later(at, metadata)) => Ok(waiting(in_flight, started_at, at, metadata)),
            Ok(Talk::Done(done)) => Ok(self.finished(task, &asides, started_at, done)),
        };
        (measurement, metadata)
    }

    /// The provider of a metric, ready to be asked.
    async fn prepare(&self, task: &Task, metric: &Metric) -> Result<Box<dyn MetricProvider>, String> {
        let context = self.context(task, metric).await?;
        provider(metric, &context).map_err(|error| error.to_string())
    }

    /// Asks a provider until there is a value, or something to wait for. `place` is whose tokens are used;
    /// `instant`, if there is one, is the time that all questions are about.
    async fn ask_all(
        &self,
        provider: &dyn MetricProvider,
        place: &str,
        mut measurement: InProgress,
        instant: Option<Timestamp>,
    ) -> Result<Talk, String> {
        let place = (self.uid().to_owned(), place.to_owned());
        measurement.memory.token = self.tokens().get(&place).cloned();
        let started_at = measurement.started_at;
        let mut answer = None;
        for _ in 0..MOST_ROUNDS {
            let now = instant.unwrap_or_else(|| self.clock.now());
            match provider.next(&measurement, answer.as_ref(), now) {
                Err(error) => return Err(error.to_string()),
                Ok(Next::Send(request, memory)) => {
                    if let Some(until) = self.left_alone(&request) {
                        let waited = self.clock.now().duration_since(started_at);
                        if waited > LONGEST_WAIT {
                            return Err(format!(
                                "{} is left alone until {until:.0} after it failed",
                                request.origin()
                            ));
                        }
                        return Ok(Talk::Later(until, memory.metadata));
                    }
                    measurement.memory = memory;
                    answer = match self.ask(request).await {
                        Ok(answer) => Some(answer),
                        Err(problem) => {
                            let error = ProviderError::NoAnswer { provider: "the provider", problem };
                            return Err(error.to_string());
                        }
                    };
                }
                Ok(Next::WaitUntil(at, memory)) => return Ok(Talk::Later(at, memory.metadata)),
                Ok(Next::Done(done)) => {
                    if let Some(token) = done.token.clone() {
                        self.tokens().insert(place, token);
                    }
                    return Ok(Talk::Done(done));
                }
            }
        }
        Err(format!("no result after {MOST_ROUNDS} requests"))
    }

    /// Until when the host of a request is left alone, because it did not work or wants fewer requests.
    fn left_alone(&self, request: &HttpRequest) -> Option<Timestamp> {
        match self.circuits().ask(&request.origin(), self.clock.now()) {
            Permission::Send => None,
            Permission::NotBefore(at) => Some(at),
        }
    }

    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, String> {
        let origin = request.origin();
        let answer = (self.providers.send)(request).await;
        let now = self.clock.now();
        let outcome = match &answer {
            Ok(answer) => circuit::Outcome::of(answer, now),
            Err(_) => circuit::Outcome::NoAnswer,
        };
        self.circuits().record(&origin, outcome, now);
        answer
    }

    fn circuits(&self) -> std::sync::MutexGuard<'_, Circuits> {
        self.providers.circuits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finished(&self, task: &Task, asides: &Asides, started_at: Timestamp, done: Measured) -> Measurement {
        let now = self.clock.now();
        match done.outcome {
            Outcome::Result(value) => {
                let mut reading = Reading::new(value, done.value.unwrap_or_default());
                reading.metadata = done.metadata;
                reading.is_shown_on_error = done.keeps_value;
                measured(task, Ok(reading), asides, started_at, now)
            }
            Outcome::Judged { phase, message } => Measurement {
                phase,
                message,
                value: done.value.unwrap_or_default(),
                metadata: done.metadata,
                started_at: Some(Time::new(started_at)),
                finished_at: Some(Time::new(now)),
                resume_at: None,
            },
        }
    }

    /// What a provider needs beside the metric, its Secrets read.
    async fn context(&self, task: &Task, metric: &Metric) -> Result<Context, String> {
        let mut context = Context::clone(&self.providers.context);
        context.run_namespace = self.run.metadata.namespace.clone().unwrap_or_default();
        context.run_started_at =
            self.run.status.as_ref().and_then(|status| status.started_at).map(Time::timestamp);
        context.secret_arguments = task.secrets.iter().map(|secret| Secret::new(secret.reveal())).collect();
        for (namespace, name) in needed_secrets(metric, &context) {
            let secret = match self::secret(self.client, &namespace, &name).await {
                Ok(secret) => secret,
                // The provider says what is missing, and what else would do.
                Err(problem) => {
                    tracing::debug!(%namespace, secret = %name, "{problem}");
                    continue;
                }
            };
            let keys = secret["data"].as_object().into_iter().flatten().map(|(key, _)| key);
            let content = keys.filter_map(|key| Some((key.clone(), Secret::new(secret_text(&secret, key)?))));
            context.secrets.insert((namespace, name), content.collect());
        }
        Ok(context)
    }

    fn uid(&self) -> &str {
        self.run.metadata.uid.as_deref().unwrap_or_default()
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, String), Token>> {
        self.providers.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of asking a provider.
enum Talk {
    /// This is what it says.
    Done(Measured),
    /// It is to be asked again at this instant, and wants to remember this.
    Later(Timestamp, BTreeMap<String, String>),
}

/// The field that asks for something beside the metric.
fn name(aside: Aside) -> &'static str {
    match aside {
        Aside::Samples => "samples",
        Aside::Baseline => "baseline",
    }
}

/// A measurement that goes on at an instant.
fn waiting(
    in_flight: Measurement,
    started_at: Timestamp,
    until: Timestamp,
    metadata: BTreeMap<String, String>,
) -> Measurement {
    Measurement {
        phase: AnalysisPhase::Running,
        started_at: Some(Time::new(started_at)),
        resume_at: Some(Time::new(until)),
        metadata,
        ..in_flight
    }
}

/// Reads a Secret.
///
/// # Errors
/// Why it cannot be read.
pub async fn secret(client: &Client, namespace: &str, name: &str) -> Result<Value, String> {
    let path = format!("/api/v1/namespaces/{namespace}/secrets");
    let request = Builder::new(path).get(name, &GetParams::default()).map_err(|error| error.to_string())?;
    client.request::<Value>(request).await.map_err(|error| match error {
        kube::Error::Api(status) => status.message,
        error => format!("cannot read secret {namespace}/{name}: {error}"),
    })
}

/// The text of one key of a Secret.
pub fn secret_text(secret: &Value, key: &str) -> Option<String> {
    let data = secret["data"][key].as_str()?;
    let bytes: k8s_openapi::ByteString = serde_json::from_value(Value::from(data)).ok()?;
    Some(String::from_utf8_lossy(&bytes.0).into_owned())
}
