//! Log lines in the form that Argo Rollouts writes, and a type for what must never be in one.
//!
//! Decides how a line looks and which lines are written. It does not rotate, send or buffer anything,
//! and a log that cannot be written is lost without further ado.
//!
//! The form is logrus': text `time="…" level=info msg="…" key=value` with the keys in order, or one
//! JSON object per line with `level`, `msg` and `time` besides the fields. The fields of the spans
//! around an event are part of its line.

use crate::clock::Clock;
use serde_json::{Map, Value};
use std::{
    fmt::{self, Write as _},
    io::Write as _,
    str::FromStr,
    sync::Arc,
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer, filter::Targets, layer::Context, layer::SubscriberExt, registry::LookupSpan,
};

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `key=value` pairs.
    #[default]
    Text,
    /// One object per line.
    Json,
}

/// A value of `--loglevel` or `--logformat` that does not exist.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoggingError {
    /// Not one of logrus' levels.
    #[error("log level is {0:?}, must be debug, info, warn or error")]
    UnknownLevel(String),
    /// Neither text nor JSON.
    #[error("log format is {0:?}, must be text or json")]
    UnknownFormat(String),
    /// Somebody else got there first.
    #[error("logging is set up already")]
    AlreadySetUp,
}

impl FromStr for Format {
    type Err = LoggingError;

    fn from_str(text: &str) -> Result<Self, LoggingError> {
        match text.to_ascii_lowercase().as_str() {
            "" | "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LoggingError::UnknownFormat(text.to_owned())),
        }
    }
}

/// Reads a level by the names that logrus knows.
///
/// # Errors
/// [`LoggingError::UnknownLevel`] for any other name.
pub fn parse_level(text: &str) -> Result<LevelFilter, LoggingError> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "info" => LevelFilter::INFO,
        "warn" | "warning" => LevelFilter::WARN,
        "error" | "fatal" | "panic" => LevelFilter::ERROR,
        _ => return Err(LoggingError::UnknownLevel(text.to_owned())),
    })
}

/// Libraries that talk about requests and connections: `--kloglevel` is for them.
const CHATTY: [&str; 9] =
    ["kube", "kube_client", "kube_runtime", "hyper", "hyper_util", "tower", "rustls", "h2", "reqwest"];

/// Which lines are written: ours at `level`, those of the Kubernetes client by klog's numbers.
pub fn filter(level: LevelFilter, klog_level: u8) -> Targets {
    let chatty = match klog_level {
        0..=3 => LevelFilter::WARN,
        4 | 5 => LevelFilter::INFO,
        6..=8 => LevelFilter::DEBUG,
        9.. => LevelFilter::TRACE,
    };
    let chatty = if klog_level == 0 { chatty.min(level) } else { chatty };
    Targets::new().with_default(level).with_targets(CHATTY.map(|target| (target, chatty)))
}

/// Sends all log lines of the process to standard error.
///
/// # Errors
/// [`LoggingError::AlreadySetUp`] the second time.
pub fn init(format: Format, level: LevelFilter, klog_level: u8, clock: Clock) -> Result<(), LoggingError> {
    let lines = Lines::new(format, clock, |line: &[u8]| {
        // Nobody can be told that standard error is closed.
        let _ = std::io::stderr().write_all(line);
    });
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(filter(level, klog_level)));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::AlreadySetUp)
}

type Sink = dyn Fn(&[u8]) + Send + Sync;

/// Writes a line for each event.
#[derive(Clone)]
pub struct Lines {
    format: Format,
    clock: Clock,
    sink: Arc<Sink>,
}

impl Lines {
    /// Gives each finished line, with its line break, to `sink`.
    pub fn new(format: Format, clock: Clock, sink: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        Self { format, clock, sink: Arc::new(sink) }
    }
}

/// The fields of a span or an event.
#[derive(Clone, Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string().into());
    }
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        let name = match field.name() {
            "message" => "msg",
            // Names that a line has of its own are set apart as logrus does.
            "level" => "fields.level",
            "time" => "fields.time",
            "msg" => "fields.msg",
            name => name.strip_prefix("r#").unwrap_or(name),
        };
        self.0.insert(name.to_owned(), value);
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flatten().collect::<Vec<_>>().iter().rev() {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.0.extend(of_span.0.clone());
            }
        }
        event.record(&mut fields);
        let message = fields.0.remove("msg").unwrap_or_default();
        let level = match *event.metadata().level() {
            Level::TRACE => "trace",
            Level::DEBUG => "debug",
            Level::INFO => "info",
            Level::WARN => "warning",
            Level::ERROR => "error",
        };
        // Whole seconds, as logrus prints them.
        let second = self.clock.now().as_second();
        let time = jiff::Timestamp::from_second(second).unwrap_or_default().to_string();
        let line = match self.format {
            Format::Text => text_line(&time, level, &message, &fields.0),
            Format::Json => {
                fields.0.insert("time".to_owned(), time.into());
                fields.0.insert("level".to_owned(), level.into());
                fields.0.insert("msg".to_owned(), message);
                format!("{}\n", Value::Object(fields.0))
            }
        };
        (self.sink)(line.as_bytes());
    }
}

fn text_line(time: &str, level: &str, message: &Value, fields: &Map<String, Value>) -> String {
    let mut line = format!("time=\"{time}\" level={level} msg=");
    push_value(&mut line, message, true);
    for (name, value) in fields {
        // Writing to a string cannot fail.
        let _ = write!(line, " {name}=");
        push_value(&mut line, value, false);
    }
    line.push('\n');
    line
}

fn push_value(line: &mut String, value: &Value, always_quoted: bool) {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/@^+".contains(&byte);
    if !always_quoted && !text.is_empty() && text.bytes().all(is_plain) {
        line.push_str(&text);
    } else {
        // JSON's escapes are a subset of what Go's %q can be read back from.
        line.push_str(&Value::String(text).to_string());
    }
}

/// A value that appears in no log, message or dump; only [`Secret::expose`] gives it out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Each use is a place to look at twice.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

impl FromStr for Secret<String> {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use std::sync::Mutex;
    use tracing::{debug, error, info, info_span, trace, warn};

    fn logged(format: Format, work: impl FnOnce()) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let clock = {
            let runtime = runtime.expect("a runtime");
            let _inside = runtime.enter();
            Clock::virtual_from(Timestamp::from_millisecond(1_800_000_000_250).expect("in range"))
        };
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&written);
        let lines = Lines::new(format, clock, move |line| sink.lock().unwrap().extend_from_slice(line));
        let subscriber =
            tracing_subscriber::registry().with(lines.with_filter(filter(LevelFilter::DEBUG, 0)));
        tracing::subscriber::with_default(subscriber, work);
        String::from_utf8(written.lock().unwrap().clone()).expect("UTF-8")
    }

    fn some_events() {
        info!("Argo Rollouts controller starting");
        let span =
            info_span!("reconcile", rollout = "web", namespace = "prod", generation = tracing::field::Empty);
        span.record("generation", 7);
        let _inside = span.enter();
        info!(time_ms = 1.5, "Reconciliation completed");
        warn!(namespace = "other", level = 3, empty = "", path = "/a/b", "a \"quoted\"\nline");
        error!(error = &std::io::Error::other("no luck") as &dyn std::error::Error, ok = false, "done");
        debug!("Patched: {{\"status\":{{}}}}");
        trace!("not written");
        info!(target: "kube_client::client", "not written");
        warn!(target: "kube_client::client", "written");
    }

    #[test]
    fn text() {
        insta::assert_snapshot!(logged(Format::Text, some_events), @r#"
        time="2027-01-15T08:00:00Z" level=info msg="Argo Rollouts controller starting"
        time="2027-01-15T08:00:00Z" level=info msg="Reconciliation completed" generation=7 namespace=prod rollout=web time_ms=1.5
        time="2027-01-15T08:00:00Z" level=warning msg="a \"quoted\"\nline" empty="" fields.level=3 generation=7 namespace=other path=/a/b rollout=web
        time="2027-01-15T08:00:00Z" level=error msg="done" error="no luck" generation=7 namespace=prod ok=false rollout=web
        time="2027-01-15T08:00:00Z" level=debug msg="Patched: {\"status\":{}}" generation=7 namespace=prod rollout=web
        time="2027-01-15T08:00:00Z" level=warning msg="written" generation=7 namespace=prod rollout=web
        "#);
    }

    #[test]
    fn json() {
        insta::assert_snapshot!(logged(Format::Json, some_events), @r#"
        {"level":"info","msg":"Argo Rollouts controller starting","time":"2027-01-15T08:00:00Z"}
        {"generation":7,"level":"info","msg":"Reconciliation completed","namespace":"prod","rollout":"web","time":"2027-01-15T08:00:00Z","time_ms":1.5}
        {"empty":"","fields.level":3,"generation":7,"level":"warning","msg":"a \"quoted\"\nline","namespace":"other","path":"/a/b","rollout":"web","time":"2027-01-15T08:00:00Z"}
        {"error":"no luck","generation":7,"level":"error","msg":"done","namespace":"prod","ok":false,"rollout":"web","time":"2027-01-15T08:00:00Z"}
        {"generation":7,"level":"debug","msg":"Patched: {\"status\":{}}","namespace":"prod","rollout":"web","time":"2027-01-15T08:00:00Z"}
        {"generation":7,"level":"warning","msg":"written","namespace":"prod","rollout":"web","time":"2027-01-15T08:00:00Z"}
        "#);
    }

    #[test]
    fn names_of_levels_and_formats() {
        for (text, expected) in [
            ("debug", Ok(LevelFilter::DEBUG)),
            ("INFO", Ok(LevelFilter::INFO)),
            ("warning", Ok(LevelFilter::WARN)),
            ("fatal", Ok(LevelFilter::ERROR)),
            ("loud", Err(LoggingError::UnknownLevel("loud".to_owned()))),
        ] {
            assert_eq!(parse_level(text), expected, "{text}");
        }
        assert_eq!(
            ("".parse(), "text".parse(), "JSON".parse()),
            (Ok(Format::Text), Ok(Format::Text), Ok(Format::Json))
        );
        let error = "xml".parse::<Format>().expect_err("unknown").to_string();
        assert_eq!(error, "log format is \"xml\", must be text or json");
    }

    #[test]
    fn secrets_do_not_show() {
        #[derive(Debug)]
        struct Holder {
            #[expect(dead_code, reason = "only printed")]
            token: Secret<String>,
        }
        let token = Secret::new("hunter2".to_owned());
        let dump = format!("{token} {token:?} {:#?}", Holder { token: token.clone() });
        assert!(!dump.contains("hunter2"), "{dump}");
        assert_eq!(token.expose(), "hunter2");
        let line = logged(Format::Text, || info!(?token, %token, "Authorization: {token}"));
        assert!(!line.contains("hunter2") && line.contains("(secret)"), "{line}");
    }
}
