//! When a host is left alone for a while.
//!
//! It decides whether a request may go to a host now, from how the last ones went. It neither waits nor sends,
//! and it knows no provider: rate limits and outages belong to a host, whoever asks it. A request that has to
//! wait is late and no error; only what a provider makes of an answer is one.
//!
//! A circuit is closed while all is well. It opens when requests fail in a row, or at once when the host says
//! when to come back. Then one request may try; as it ends, so goes the circuit.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp, fmt::rfc2822};

use crate::HttpResponse;

/// Failures in a row that open a circuit.
const FAILURES: u32 = 3;
/// How long it is open the first time; twice as long each time after.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(5);
/// How long it is open at most by our own choice.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(5);
/// How long it is open at most because the host asks for it: an hour may be meant, a year is a mistake.
const LONGEST_RETRY_AFTER: SignedDuration = SignedDuration::from_hours(1);
/// After this time a try is taken as lost, and another may begin.
const LOST_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// How long others wait for the outcome of a try before they ask again.
const TRY_AGAIN: SignedDuration = SignedDuration::from_secs(1);
/// Hosts that are known at most.
const MAX_HOSTS: usize = 10_000;
/// How much of a refusal is looked at.
const MAX_READ_BYTES: usize = 1_024;

/// How a request went, as far as the host is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The host works; it may well have refused what was asked.
    Answered,
    /// The host wants fewer requests, or does not work.
    Refused {
        /// How long it wants to be left alone.
        retry_after: Option<SignedDuration>,
        /// Whether it is too many requests and not a fault: then it is heeded at once.
        is_limit: bool,
    },
    /// Nothing came in time, or there was no connection.
    NoAnswer,
}

impl Outcome {
    /// What an answer says about its host.
    pub fn of(answer: &HttpResponse, now: Timestamp) -> Outcome {
        // AWS says with code 400 that there are too many requests.
        let start = &answer.body[..answer.body.len().min(MAX_READ_BYTES)];
        let is_throttled = answer.status == 400 && String::from_utf8_lossy(start).contains("Throttl");
        let is_limit = answer.status == 429 || is_throttled;
        if !is_limit && answer.status < 500 {
            return Outcome::Answered;
        }
        let retry_after = answer.headers.get("retry-after").and_then(|text| retry_after(text, now));
        Outcome::Refused { retry_after, is_limit }
    }
}

/// Reads `Retry-After`: seconds, or an instant. What is past is no wait.
fn retry_after(text: &str, now: Timestamp) -> Option<SignedDuration> {
    let text = text.trim();
    let wanted = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a long time as well.
        SignedDuration::from_secs(text.parse().unwrap_or(i64::MAX))
    } else {
        rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok()?.duration_since(now)
    };
    (wanted > SignedDuration::ZERO).then(|| wanted.min(LONGEST_RETRY_AFTER))
}

/// Whether a request may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Now.
    Send,
    /// Not before this instant; then ask again.
    NotBefore(Timestamp),
}

/// How a host stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// Requests go out.
    Closed {
        /// The last ones that failed in a row.
        failures: u32,
    },
    /// None goes out.
    Open {
        /// Until when.
        until: Timestamp,
        /// How many times it opened without having closed.
        times: u32,
    },
    /// One is on its way, to see.
    HalfOpen {
        /// Since when.
        since: Timestamp,
        /// How many times it opened without having closed.
        times: u32,
    },
}

impl Default for Circuit {
    fn default() -> Self {
        Circuit::Closed { failures: 0 }
    }
}

impl Circuit {
    /// Asks whether a request may be sent, and says how the circuit stands when it is.
    pub fn ask(self, now: Timestamp) -> (Permission, Circuit) {
        match self {
            Circuit::Closed { .. } => (Permission::Send, self),
            Circuit::Open { until, .. } if now < until => (Permission::NotBefore(until), self),
            Circuit::HalfOpen { since, .. } if now.duration_since(since) < LOST_AFTER => {
                (Permission::NotBefore(after(now, TRY_AGAIN)), self)
            }
            Circuit::Open { times, .. } | Circuit::HalfOpen { times, .. } => {
                (Permission::Send, Circuit::HalfOpen { since: now, times })
            }
        }
    }

    /// How the circuit stands after a request went so.
    #[must_use]
    pub fn after(self, outcome: Outcome, now: Timestamp) -> Circuit {
        let (retry_after, is_limit) = match outcome {
            Outcome::Answered => {
                return match self {
                    // One that was sent before the circuit opened says nothing about now.
                    Circuit::Open { .. } => self,
                    Circuit::Closed { .. } | Circuit::HalfOpen { .. } => Circuit::default(),
                };
            }
            Outcome::Refused { retry_after, is_limit } => (retry_after, is_limit),
            Outcome::NoAnswer => (None, false),
        };
        match self {
            Circuit::Closed { failures } => {
                let failures = failures.saturating_add(1);
                if is_limit || retry_after.is_some() || failures >= FAILURES {
                    open(0, retry_after, now)
                } else {
                    Circuit::Closed { failures }
                }
            }
            Circuit::HalfOpen { times, .. } => open(times, retry_after, now),
            // Late failures are of the same trouble; only a longer wish of the host counts.
            Circuit::Open { until, times } => {
                let wished = retry_after.map_or(until, |wait| after(now, wait));
                Circuit::Open { until: until.max(wished), times }
            }
        }
    }
}

/// Opens a circuit that has opened so many times already.
fn open(times: u32, retry_after: Option<SignedDuration>, now: Timestamp) -> Circuit {
    let own =
        FIRST_PAUSE.saturating_mul(1_i32.checked_shl(times.min(16)).unwrap_or(i32::MAX)).min(LONGEST_PAUSE);
    // The host knows better than we do, also when it wants to be asked sooner.
    let pause = retry_after.unwrap_or(own);
    Circuit::Open { until: after(now, pause), times: times.saturating_add(1) }
}

fn after(now: Timestamp, wait: SignedDuration) -> Timestamp {
    now.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

/// The circuits of all hosts; a host without one works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circuits {
    hosts: BTreeMap<String, Circuit>,
}

impl Circuits {
    /// Asks whether a request may be sent to a host ([`crate::HttpRequest::origin`]). Who is told so and
    /// sends has to tell how it went.
    pub fn ask(&mut self, host: &str, now: Timestamp) -> Permission {
        let Some(circuit) = self.hosts.get_mut(host) else { return Permission::Send };
        let (permission, next) = circuit.ask(now);
        *circuit = next;
        permission
    }

    /// Takes note of how a request went.
    pub fn record(&mut self, host: &str, outcome: Outcome, now: Timestamp) {
        let circuit = self.hosts.get(host).copied().unwrap_or_default().after(outcome, now);
        if circuit == Circuit::default() {
            self.hosts.remove(host);
        } else if self.hosts.len() < MAX_HOSTS || self.hosts.contains_key(host) {
            self.hosts.insert(host.to_owned(), circuit);
        }
    }

    /// The hosts that are not as they should be.
    pub fn troubled(&self) -> impl Iterator<Item = (&str, Circuit)> {
        self.hosts.iter().map(|(host, circuit)| (host.as_str(), *circuit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn answer(status: u16, retry_after: &str, body: &str) -> HttpResponse {
        let headers = [("retry-after".to_owned(), retry_after.to_owned())];
        HttpResponse {
            status,
            headers: headers.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
            body: body.into(),
            cut_at_bytes: None,
        }
    }

    #[test]
    fn outcomes() {
        let limit = |seconds: Option<i64>| Outcome::Refused {
            retry_after: seconds.map(SignedDuration::from_secs),
            is_limit: true,
        };
        let fault = |seconds: Option<i64>| Outcome::Refused {
            retry_after: seconds.map(SignedDuration::from_secs),
            is_limit: false,
        };
        for (status, header, body, wanted) in [
            (200, "", "", Outcome::Answered),
            (404, "", "", Outcome::Answered),
            (301, "", "", Outcome::Answered),
            (400, "", "bad query", Outcome::Answered),
            (400, "", r#"{"__type":"ThrottlingException"}"#, limit(None)),
            (429, "", "", limit(None)),
            (429, "30", "", limit(Some(30))),
            (429, " 30 ", "", limit(Some(30))),
            (429, "0", "", limit(None)),
            (429, "-5", "", limit(None)),
            (429, "soon", "", limit(None)),
            (429, "99999999999999999999", "", limit(Some(3_600))),
            (500, "", "", fault(None)),
            (503, "7", "", fault(Some(7))),
            (503, "Thu, 01 Jan 1970 00:02:00 GMT", "", fault(Some(20))),
            (503, "Thu, 01 Jan 1970 00:00:00 GMT", "", fault(None)),
            (503, "Thu, 01 Jan 2970 00:00:00 GMT", "", fault(Some(3_600))),
        ] {
            assert_eq!(
                Outcome::of(&answer(status, header, body), at(100)),
                wanted,
                "{status} {header} {body}"
            );
        }
    }

    /// Plays a story of `second event`: `ok`, `5xx`, `none`, `429`, `429/30`, `503/30` are outcomes, and
    /// `?` asks. Answers to questions are `go` and `until <second>`.
    #[test]
    fn stories() {
        for (story, wanted) in [
            // Single failures do nothing; a success forgets them.
            ("0 5xx, 0 none, 0 ?, 1 ok, 2 5xx, 2 5xx, 2 ?", "go, go"),
            // The third in a row opens.
            ("0 5xx, 0 none, 0 5xx, 0 ?, 4 ?, 5 ?", "until 5, until 5, go"),
            // One tries, the others wait for it.
            ("0 429, 5 ?, 5 ?, 6 ?, 7 ok, 7 ?, 7 ?", "go, until 6, until 7, go, go"),
            // A try that fails opens for twice as long.
            ("0 429, 5 ?, 5 429, 6 ?, 15 ?, 15 none, 16 ?", "go, until 15, go, until 35"),
            // After it closed, it begins anew.
            ("0 429, 5 ?, 5 429, 15 ?, 15 ok, 15 429, 16 ?", "go, go, until 20"),
            // The host's own wish counts, shorter or longer.
            ("0 429/30, 1 ?, 30 ?", "until 30, go"),
            ("0 429/2, 1 ?, 2 ?, 2 429/1, 2 ?", "until 2, go, until 3"),
            ("0 503/30, 1 ?", "until 30"),
            // Late answers: failures do not add up, successes do not close, a longer wish counts.
            ("0 429, 1 5xx, 1 none, 1 5xx, 1 ?", "until 5"),
            ("0 429, 1 ok, 1 ?", "until 5"),
            ("0 429, 1 429/60, 1 429/2, 1 ?", "until 61"),
            // A try that is lost does not close the door for good.
            ("0 429, 5 ?, 64 ?, 65 ?, 65 ?", "go, until 65, go, until 66"),
        ] {
            let mut circuits = Circuits::default();
            let mut got = Vec::new();
            for step in story.split(", ") {
                let (second, event) = step.split_once(' ').unwrap();
                let now = at(second.parse().unwrap());
                if event == "?" {
                    got.push(match circuits.ask("h", now) {
                        Permission::Send => "go".to_owned(),
                        Permission::NotBefore(instant) => format!("until {}", instant.as_second()),
                    });
                    assert_eq!(circuits.ask("other", now), Permission::Send);
                    continue;
                }
                let outcome = match event.split_once('/').unwrap_or((event, "")) {
                    ("ok", _) => Outcome::Answered,
                    ("none", _) => Outcome::NoAnswer,
                    ("5xx", _) => Outcome::of(&answer(502, "", ""), now),
                    (status, wait) => Outcome::of(&answer(status.parse().unwrap(), wait, ""), now),
                };
                circuits.record("h", outcome, now);
            }
            assert_eq!(got.join(", "), wanted, "{story}");
        }
    }

    #[test]
    fn a_pause_has_an_end() {
        let mut circuit = Circuit::default();
        let mut now = at(0);
        for _ in 0..100 {
            circuit = circuit.after(Outcome::Refused { retry_after: None, is_limit: true }, now);
            let Circuit::Open { until, .. } = circuit else { panic!("open") };
            assert!(until.duration_since(now) <= LONGEST_PAUSE);
            now = until;
            circuit = circuit.ask(now).1;
        }
    }

    #[test]
    fn hosts_that_work_cost_nothing() {
        let mut circuits = Circuits::default();
        circuits.record("a", Outcome::NoAnswer, at(0));
        assert_eq!(circuits.troubled().count(), 1);
        circuits.record("a", Outcome::Answered, at(0));
        assert_eq!(circuits, Circuits::default());
    }

    #[test]
    fn hosts_are_bounded() {
        let mut circuits = Circuits::default();
        for host in 0..=MAX_HOSTS {
            circuits.record(&host.to_string(), Outcome::NoAnswer, at(0));
        }
        assert_eq!(circuits.troubled().count(), MAX_HOSTS);
    }

    /// A server that lets `limit` requests through per minute, and tells when the next minute begins or not.
    /// Fifty metrics ask it every five minutes; each asks until it is answered.
    #[test]
    fn a_crowd_at_a_narrow_door_is_served() {
        const METRICS: usize = 50;
        const INTERVAL: i64 = 300;
        for (limit, tells) in [(10, true), (10, false), (20, false), (100, false)] {
            let mut circuits = Circuits::default();
            let mut waiting: Vec<i64> = vec![0; METRICS];
            let mut served: Vec<i64> = Vec::new();
            let (mut minute, mut used) = (0, 0);
            let mut refused = 0;
            for second in 0..INTERVAL * 3 {
                if second / 60 != minute {
                    (minute, used) = (second / 60, 0);
                }
                let due = waiting.iter().filter(|next| **next <= second).count();
                waiting.retain(|next| *next > second);
                for _ in 0..due {
                    match circuits.ask("h", at(second)) {
                        Permission::NotBefore(instant) => waiting.push(instant.as_second()),
                        Permission::Send if used < limit => {
                            used += 1;
                            served.push(second);
                            circuits.record("h", Outcome::Answered, at(second));
                        }
                        Permission::Send => {
                            refused += 1;
                            let wait = if tells { (60 - second % 60).to_string() } else { String::new() };
                            let outcome = Outcome::of(&answer(429, &wait, ""), at(second));
                            circuits.record("h", outcome, at(second));
                            waiting.push(second + 1);
                        }
                    }
                }
            }
            assert_eq!(served.len(), METRICS, "limit {limit}, tells {tells}: {served:?}");
            assert!(served.iter().all(|second| *second < INTERVAL * 3));
            // The server is not bothered: hardly more refusals than it takes to know.
            assert!(refused <= METRICS / 2, "limit {limit}, tells {tells}: {refused} refusals");
        }
    }

    proptest! {
        /// Whatever happens, a request can be sent within the longest pause that there is.
        #[test]
        fn nobody_waits_for_ever(events in prop::collection::vec((0_i64..100, 0_u8..5, 0_i64..10_000), 0..50)) {
            let mut circuit = Circuit::default();
            let mut now = at(0);
            for (wait, event, seconds) in events {
                now = after(now, SignedDuration::from_secs(wait));
                let retry_after = Some(SignedDuration::from_secs(seconds).min(LONGEST_RETRY_AFTER));
                circuit = match event {
                    0 => circuit.after(Outcome::Answered, now),
                    1 => circuit.after(Outcome::NoAnswer, now),
                    2 => circuit.after(Outcome::Refused { retry_after: None, is_limit: true }, now),
                    3 => circuit.after(Outcome::Refused { retry_after, is_limit: false }, now),
                    _ => circuit.ask(now).1,
                };
            }
            let (permission, _) = circuit.ask(after(now, LONGEST_RETRY_AFTER));
            prop_assert_eq!(permission, Permission::Send);
        }

        /// Of a crowd that asks at once, one may try.
        #[test]
        fn one_tries(crowd in 1_usize..50) {
            let mut circuits = Circuits::default();
            circuits.record("h", Outcome::Refused { retry_after: None, is_limit: true }, at(0));
            let sent = (0..crowd).filter(|_| circuits.ask("h", at(5)) == Permission::Send).count();
            prop_assert_eq!(sent, 1);
        }
    }
}
