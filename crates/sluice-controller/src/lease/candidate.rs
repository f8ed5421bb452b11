//! The pure part of the election: what one candidate does next, given what it has seen.
//!
//! Time is a [`Duration`] on the candidate's own monotonic clock, counted from any fixed origin.

use jiff::Timestamp;
use std::time::Duration;

/// How long a lease lasts and how often it is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// How long others wait after the last renewal they saw.
    pub lease_duration: Duration,
    /// How long after a renewal the leader may write.
    pub renew_deadline: Duration,
    /// How often the leader renews and the others look.
    pub retry_period: Duration,
}

impl Default for Timings {
    /// The defaults of Argo Rollouts: 15 s, 10 s and 2 s.
    fn default() -> Self {
        let (lease, renew, retry) = (15, 10, 2);
        Self {
            lease_duration: Duration::from_secs(lease),
            renew_deadline: Duration::from_secs(renew),
            retry_period: Duration::from_secs(retry),
        }
    }
}

/// Timings under which two processes could lead at once, or none could lead for long.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingsError {
    /// Others could take the lease while its holder still writes.
    #[error("leader election: lease duration {lease:?} must be longer than renew deadline {renew:?}")]
    LeaseTooShort { lease: Duration, renew: Duration },
    /// One late renewal would end the leadership.
    #[error(
        "leader election: renew deadline {renew:?} must be longer than 1.2 times the retry period {retry:?}"
    )]
    DeadlineTooShort { renew: Duration, retry: Duration },
    /// The Lease counts whole seconds.
    #[error("leader election: lease duration {0:?} must be at least one second")]
    LessThanASecond(Duration),
    /// A period of nothing would never let go of the API server.
    #[error("leader election: the retry period must be greater than zero")]
    NoRetryPeriod,
}

impl Timings {
    /// Checks what client-go checks.
    ///
    /// # Errors
    /// [`TimingsError`] names the first pair of values that do not fit.
    pub fn validate(self) -> Result<Self, TimingsError> {
        let Self { lease_duration: lease, renew_deadline: renew, retry_period: retry } = self;
        if lease <= renew {
            return Err(TimingsError::LeaseTooShort { lease, renew });
        }
        if renew <= retry.mul_f64(1.2) {
            return Err(TimingsError::DeadlineTooShort { renew, retry });
        }
        if retry.is_zero() {
            return Err(TimingsError::NoRetryPeriod);
        }
        // What others read is the duration in whole seconds, rounded down.
        if Duration::from_secs(lease.as_secs()) <= renew {
            return Err(TimingsError::LessThanASecond(lease));
        }
        Ok(self)
    }
}

/// What a Lease says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Identity of the holder; empty when the lease was given up.
    pub holder: String,
    /// `leaseDurationSeconds`, as the holder wrote it.
    pub duration: Duration,
    /// When the holder became the holder, by its wall clock. Never compared with ours.
    pub acquired_at: Option<Timestamp>,
    /// When the holder renewed last, by its wall clock. Never compared with ours, except for being
    /// the same as before or not.
    pub renewed_at: Option<Timestamp>,
    /// How often the holder has changed.
    pub transitions: i32,
}

/// The lease as this candidate knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Observed {
    /// Not looked yet, or what we know is out of date.
    #[default]
    Unknown,
    /// There is no Lease object.
    Missing,
    /// There is one.
    Present {
        /// What it says.
        record: Record,
        /// Its resource version, for the next write.
        version: String,
        /// Since when, on our clock, it has said exactly that.
        since: Duration,
    },
}

impl Observed {
    /// Takes in what a read at `now` (the time of the answer) returned.
    pub fn see(
        &mut self,
        found: Option<(Record, String)>,
        last_record: Option<&(Record, Duration)>,
        now: Duration,
    ) {
        *self = match found {
            None => Self::Missing,
            Some((record, version)) => {
                let since = match last_record {
                    Some((last, since)) if *last == record => *since,
                    _ => now,
                };
                Self::Present { record, version, since }
            }
        };
    }
}

/// What this candidate knows about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// How it signs.
    pub identity: String,
    /// How it counts.
    pub timings: Timings,
    /// When, on its own clock, it *sent* the last write that made or kept it the holder; `None`
    /// while it does not lead.
    pub renewed: Option<Duration>,
}

impl State {
    /// The instant from which this candidate must not write any more.
    pub fn deadline(&self) -> Option<Duration> {
        self.renewed.map(|renewed| renewed + self.timings.renew_deadline)
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read the Lease.
    Look,
    /// Create the Lease, with us as the holder.
    Create,
    /// Replace a Lease that is free or has run out by one with us as the holder.
    Acquire,
    /// Replace our own Lease by a newer one.
    Renew,
    /// Stop leading: the deadline has passed or the Lease is another's.
    Lost,
    /// Do nothing until the given time.
    Wait(Duration),
}

/// Decides what a candidate does at `now`.
pub fn decide(observed: &Observed, state: &State, now: Duration) -> Action {
    if state.deadline().is_some_and(|deadline| deadline <= now) {
        return Action::Lost;
    }
    let (record, since) = match observed {
        Observed::Unknown => return Action::Look,
        Observed::Missing if state.renewed.is_some() => return Action::Lost,
        Observed::Missing => return Action::Create,
        Observed::Present { record, since, .. } => (record, *since),
    };
    if record.holder == state.identity {
        return match state.renewed {
            Some(renewed) if now < renewed + state.timings.retry_period => {
                Action::Wait(renewed + state.timings.retry_period)
            }
            Some(_) => Action::Renew,
            // Ours, from before we stopped leading: nobody else can have had it since.
            None => Action::Acquire,
        };
    }
    if state.renewed.is_some() {
        return Action::Lost;
    }
    let runs_out = since + record.duration;
    if record.holder.is_empty() || runs_out <= now { Action::Acquire } else { Action::Wait(runs_out) }
}

/// One candidate: the decision, and the bookkeeping between decisions.
///
/// The caller carries out [`Candidate::next`] and reports back with one of the `on_…` functions.
#[derive(Clone, Debug)]
pub struct Candidate {
    state: State,
    observed: Observed,
    /// The last record seen and since when, which outlives `Observed::Unknown`.
    last_record: Option<(Record, Duration)>,
    /// No request before this time, after one that failed.
    not_before: Duration,
    /// When a standby looks again at a lease that is another's.
    next_look: Duration,
}

impl Candidate {
    /// A candidate that has seen nothing yet.
    pub fn new(identity: String, timings: Timings) -> Self {
        Self {
            state: State { identity, timings, renewed: None },
            observed: Observed::Unknown,
            last_record: None,
            not_before: Duration::ZERO,
            next_look: Duration::ZERO,
        }
    }

    /// What it knows about itself.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Identity of the holder as last seen.
    pub fn holder(&self) -> Option<&str> {
        self.last_record
            .as_ref()
            .map(|(record, _)| record.holder.as_str())
            .filter(|holder| !holder.is_empty())
    }

    /// The resource version to put into the next write.
    pub fn version(&self) -> Option<&str> {
        match &self.observed {
            Observed::Present { version, .. } => Some(version),
            Observed::Unknown | Observed::Missing => None,
        }
    }

    /// Whether a write may be sent at `now`.
    pub fn may_write(&self, now: Duration) -> bool {
        self.state.deadline().is_some_and(|deadline| now < deadline)
    }

    /// What to do at `now`: [`decide`], paced. [`Action::Lost`] has taken effect when it is returned.
    pub fn next(&mut self, now: Duration) -> Action {
        let action = decide(&self.observed, &self.state, now);
        match action {
            Action::Lost => {
                self.state.renewed = None;
                self.observed = Observed::Unknown;
                action
            }
            // Nobody tells us when the record changes, so look again now and then.
            Action::Wait(until) if self.state.renewed.is_none() => {
                if self.next_look <= now {
                    Action::Look
                } else {
                    Action::Wait(until.min(self.next_look))
                }
            }
            Action::Wait(until) => Action::Wait(until.max(self.not_before).min(self.deadline_or(until))),
            Action::Look | Action::Create | Action::Acquire | Action::Renew => {
                if self.not_before <= now {
                    action
                } else {
                    Action::Wait(self.not_before.min(self.deadline_or(self.not_before)))
                }
            }
        }
    }

    fn deadline_or(&self, otherwise: Duration) -> Duration {
        self.state.deadline().unwrap_or(otherwise)
    }

    /// The record that [`Action::Create`], [`Action::Acquire`] and [`Action::Renew`] write.
    pub fn record_to_write(&self, wall_clock: Timestamp) -> Record {
        let previous = self.last_record.as_ref().map(|(record, _)| record);
        let ours = previous.filter(|record| record.holder == self.state.identity);
        Record {
            holder: self.state.identity.clone(),
            duration: Duration::from_secs(self.state.timings.lease_duration.as_secs()),
            acquired_at: ours.and_then(|record| record.acquired_at).or(Some(wall_clock)),
            renewed_at: Some(wall_clock),
            transitions: match (ours, previous) {
                (Some(ours), _) => ours.transitions,
                (None, Some(previous)) => previous.transitions.saturating_add(1),
                (None, None) => 0,
            },
        }
    }

    /// The record that gives the lease up, which asks others to wait for one second at most.
    pub fn record_to_release(&self, wall_clock: Timestamp) -> Record {
        Record {
            holder: String::new(),
            duration: Duration::from_secs(1),
            acquired_at: Some(wall_clock),
            renewed_at: Some(wall_clock),
            transitions: self.last_record.as_ref().map_or(0, |(record, _)| record.transitions),
        }
    }

    /// A read was answered at `now`.
    pub fn on_read(&mut self, found: Option<(Record, String)>, now: Duration) {
        self.observed.see(found, self.last_record.as_ref(), now);
        self.not_before = now;
        self.remember();
        self.next_look = now + self.state.timings.retry_period;
    }

    /// A write sent at `sent` was answered at `now` with the record and version now stored.
    pub fn on_written(&mut self, stored: Record, version: String, sent: Duration, now: Duration) {
        if stored.holder == self.state.identity {
            self.state.renewed = Some(sent);
        }
        self.observed = Observed::Present { record: stored, version, since: now };
        self.not_before = now;
        self.remember();
    }

    /// A write was refused because the Lease had changed, appeared or disappeared since we looked.
    pub fn on_conflict(&mut self, now: Duration) {
        self.observed = Observed::Unknown;
        // A leader looks at once. The others have been overtaken, and let the winner be.
        let pause =
            if self.state.renewed.is_some() { Duration::ZERO } else { self.state.timings.retry_period };
        self.not_before = now + pause;
    }

    /// A request failed, or its outcome is unknown: the write may have taken place.
    pub fn on_error(&mut self, now: Duration) {
        self.observed = Observed::Unknown;
        self.not_before = now + self.state.timings.retry_period;
    }

    /// Stops leading. The candidate can still be asked what to release.
    pub fn resign(&mut self) {
        self.state.renewed = None;
    }

    /// Whether the Lease names us, as far as we know.
    pub fn is_holder(&self) -> bool {
        self.holder() == Some(self.state.identity.as_str())
    }

    fn remember(&mut self) {
        if let Observed::Present { record, since, .. } = &self.observed {
            self.last_record = Some((record.clone(), *since));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn record(holder: &str) -> Record {
        Record { holder: holder.to_owned(), duration: secs(15), transitions: 3, ..Record::default() }
    }

    fn present(holder: &str, since: u64) -> Observed {
        Observed::Present { record: record(holder), version: "7".to_owned(), since: secs(since) }
    }

    #[test]
    fn decisions() {
        let another_second = Observed::Present {
            record: Record { duration: secs(1), ..record("") },
            version: "7".to_owned(),
            since: secs(100),
        };
        // (what we see, when we last renewed, now) => what to do
        for (observed, renewed, now, expected) in [
            (Observed::Unknown, None, 100, Action::Look),
            (Observed::Missing, None, 100, Action::Create),
            (present("other", 100), None, 100, Action::Wait(secs(115))),
            (present("other", 100), None, 114, Action::Wait(secs(115))),
            (present("other", 100), None, 115, Action::Acquire),
            (another_second, None, 100, Action::Acquire), // given up
            (present("me", 100), Some(100), 101, Action::Wait(secs(102))),
            (present("me", 100), Some(100), 102, Action::Renew),
            (present("me", 100), Some(100), 109, Action::Renew),
            (present("me", 100), Some(100), 110, Action::Lost), // the deadline
            (present("me", 100), None, 110, Action::Acquire),   // still ours, so no need to wait
            (present("other", 101), Some(100), 102, Action::Lost), // taken by force
            (Observed::Missing, Some(100), 102, Action::Lost),  // deleted
            (Observed::Unknown, Some(100), 102, Action::Look),
            (Observed::Unknown, Some(100), 110, Action::Lost),
        ] {
            let state =
                State { identity: "me".to_owned(), timings: Timings::default(), renewed: renewed.map(secs) };
            assert_eq!(decide(&observed, &state, secs(now)), expected, "{observed:?} {renewed:?} at {now}");
        }
    }

    #[test]
    fn timings_that_do_not_fit_are_refused() {
        let timings = |lease, renew, retry| Timings {
            lease_duration: Duration::from_millis(lease),
            renew_deadline: Duration::from_millis(renew),
            retry_period: Duration::from_millis(retry),
        };
        assert_eq!(Timings::default().validate(), Ok(Timings::default()));
        for (lease, renew, retry, message) in [
            (10_000, 10_000, 2_000, "lease duration 10s must be longer than renew deadline 10s"),
            (15_000, 2_400, 2_000, "renew deadline 2.4s must be longer than 1.2 times the retry period 2s"),
            (15_000, 10_000, 0, "the retry period must be greater than zero"),
            (900, 800, 100, "lease duration 900ms must be at least one second"),
            (10_500, 10_200, 100, "lease duration 10.5s must be at least one second"),
        ] {
            let error = timings(lease, renew, retry).validate().expect_err("refused").to_string();
            assert!(error.ends_with(message), "{error}");
        }
    }

    #[test]
    fn what_is_written() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let mut candidate = Candidate::new("me".to_owned(), Timings::default());
        assert_eq!(candidate.record_to_write(at(50)).transitions, 0, "the first holder");
        candidate.on_read(Some((record("other"), "7".to_owned())), secs(1));
        let written = candidate.record_to_write(at(60));
        assert_eq!((written.transitions, written.acquired_at, written.duration), (4, Some(at(60)), secs(15)));
        candidate.on_written(written, "8".to_owned(), secs(2), secs(3));
        let renewed = candidate.record_to_write(at(70));
        assert_eq!(
            (renewed.transitions, renewed.acquired_at, renewed.renewed_at),
            (4, Some(at(60)), Some(at(70)))
        );
        let released = candidate.record_to_release(at(80));
        assert_eq!((released.holder.as_str(), released.duration, released.transitions), ("", secs(1), 4));
        assert!(candidate.may_write(secs(11)) && !candidate.may_write(secs(12)), "counted from the sending");
    }

    /// The Lease as the API server keeps it.
    #[derive(Default)]
    struct Server {
        record: Option<Record>,
        version: u64,
    }

    impl Server {
        fn read(&self) -> Option<(Record, String)> {
            self.record.clone().map(|record| (record, self.version.to_string()))
        }

        /// A create (`None`) or a replace of the given version; `false` is a conflict.
        fn write(&mut self, record: Record, expected: Option<&str>) -> bool {
            let matches = match (&self.record, expected) {
                (None, None) => true,
                (Some(_), Some(expected)) => self.version.to_string() == expected,
                (None, Some(_)) | (Some(_), None) => false,
            };
            if matches {
                self.record = Some(record);
                self.version += 1;
            }
            matches
        }
    }

    /// A request that has not been answered, or not even arrived.
    #[derive(Clone, Debug)]
    struct InFlight {
        write: Option<(Record, Option<String>)>,
        sent: Duration,
    }

    struct Player {
        candidate: Candidate,
        /// Its clock: `offset + rate * true time`, and a wall clock that is off by hours.
        offset: Duration,
        rate: f64,
        wall: i64,
        in_flight: Option<InFlight>,
    }

    impl Player {
        fn new(identity: &str, offset: Duration, rate: f64, wall: i64) -> Self {
            let candidate = Candidate::new(identity.to_owned(), Timings::default());
            Self { candidate, offset, rate, wall, in_flight: None }
        }

        fn clock(&self, time: Duration) -> Duration {
            self.offset + time.mul_f64(self.rate)
        }

        /// Sends what it wants to send, if anything.
        fn act(&mut self, time: Duration) {
            let now = self.clock(time);
            let wall = Timestamp::from_millisecond(self.wall + time.as_millis() as i64).expect("in range");
            let action = self.candidate.next(now);
            let write = match action {
                Action::Wait(_) | Action::Lost => return,
                Action::Look => None,
                Action::Create => Some((self.candidate.record_to_write(wall), None)),
                Action::Acquire | Action::Renew => {
                    Some((self.candidate.record_to_write(wall), self.candidate.version().map(str::to_owned)))
                }
            };
            self.in_flight.get_or_insert(InFlight { write, sent: now });
        }

        /// The network carries the request there and back, or only there.
        fn deliver(&mut self, server: &mut Server, time: Duration, answer_arrives: bool) {
            let Some(request) = self.in_flight.take() else { return };
            let now = self.clock(time);
            match request.write {
                None if answer_arrives => self.candidate.on_read(server.read(), now),
                None => self.candidate.on_error(now),
                Some((record, expected)) => {
                    let written = server.write(record.clone(), expected.as_deref());
                    match (answer_arrives, written) {
                        (true, true) => {
                            let version = server.version.to_string();
                            self.candidate.on_written(record, version, request.sent, now);
                        }
                        (true, false) => self.candidate.on_conflict(now),
                        (false, _) => self.candidate.on_error(now),
                    }
                }
            }
        }

        /// The sender gives up, but the request may still arrive: it is returned.
        fn give_up(&mut self, time: Duration) -> Option<InFlight> {
            let request = self.in_flight.take()?;
            self.candidate.on_error(self.clock(time));
            Some(request)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]

        /// Clocks with other origins and other speeds, a network that delays, cuts and answers to
        /// nobody, pauses of a process at any place: never two that may write.
        #[test]
        fn never_two_writers(
            steps in prop::collection::vec((0..2usize, 0..10u8, 0..4_000u64), 50..400),
            offsets in (0..100_000u64, 0..100_000u64),
            rates in (0.95..1.05f64, 0.95..1.05f64),
            walls in (0..10_000_000_000i64, 0..10_000_000_000i64),
        ) {
            let mut server = Server::default();
            let mut players = [
                Player::new("a", Duration::from_millis(offsets.0), rates.0, walls.0),
                Player::new("b", Duration::from_millis(offsets.1), rates.1, walls.1),
            ];
            let mut late: Vec<InFlight> = Vec::new();
            let mut time = Duration::ZERO;
            let mut led = [false; 2];
            for (who, what, millis) in steps {
                match what {
                    0..=3 => {
                        players[who].act(time);
                        players[who].deliver(&mut server, time, true);
                    }
                    4 => players[who].act(time),
                    5 => players[who].deliver(&mut server, time, true),
                    6 => players[who].deliver(&mut server, time, false),
                    7 => late.extend(players[who].give_up(time)),
                    // A request given up long ago arrives after all.
                    8 => {
                        if let Some((record, expected)) = late.pop().and_then(|request| request.write) {
                            server.write(record, expected.as_deref());
                        }
                    }
                    _ => {}
                }
                // Checked at once and all along the way to the next step.
                for part in 0..=4u32 {
                    let at = time + Duration::from_millis(millis) * part / 4;
                    let may = players.each_ref().map(|player| player.candidate.may_write(player.clock(at)));
                    prop_assert!(!(may[0] && may[1]), "both may write at {at:?}");
                    led = [led[0] || may[0], led[1] || may[1]];
                }
                time += Duration::from_millis(millis);
            }
            prop_assume!(led[0] || led[1]);
        }

        /// The leader vanishes at any moment; the other, undisturbed, leads within the lease
        /// duration and one retry period after the last renewal.
        #[test]
        fn takeover_is_prompt(
            vanishes_ms in 0..40_000u64,
            start_b_ms in 0..10_000u64,
            offset in 0..100_000u64,
            step_ms in 1..50u64,
        ) {
            let mut server = Server::default();
            let mut a = Player::new("a", Duration::ZERO, 1.0, 0);
            let mut b = Player::new("b", Duration::from_millis(offset), 1.0, 9_000_000);
            let mut last_renewal = Duration::ZERO;
            let start_b = Duration::from_millis(start_b_ms);
            let vanishes = start_b + Duration::from_millis(3_000 + vanishes_ms);
            for step in 0.. {
                let time = Duration::from_millis(step * step_ms);
                let version = server.version;
                if time < vanishes {
                    a.act(time);
                    a.deliver(&mut server, time, true);
                    if version != server.version {
                        last_renewal = time;
                    }
                }
                if time >= start_b {
                    b.act(time);
                    b.deliver(&mut server, time, true);
                }
                if b.candidate.may_write(b.clock(time)) {
                    let timings = Timings::default();
                    let took = time.checked_sub(last_renewal).unwrap();
                    // Look and acquire are two steps here, the clock moves in steps, and b acts after a.
                    let slack = Duration::from_millis(4 * step_ms);
                    prop_assert!(took >= timings.lease_duration, "too early: {took:?}");
                    prop_assert!(took <= timings.lease_duration + timings.retry_period + slack, "{took:?}");
                    break;
                }
                prop_assert!(time < vanishes + secs(60), "nobody leads");
            }
        }
    }

    #[test]
    fn a_leader_stays_and_a_standby_stays_quiet() {
        let mut server = Server::default();
        let mut a = Player::new("a", Duration::ZERO, 1.0, 0);
        let mut b = Player::new("b", secs(77), 1.0, 0);
        let mut looks = 0;
        for step in 0..6_000u64 {
            let time = Duration::from_millis(step * 100);
            a.act(time);
            a.deliver(&mut server, time, true);
            assert!(a.candidate.may_write(a.clock(time)) || step == 0, "at {time:?}");
            b.act(time);
            looks += u32::from(b.in_flight.is_some());
            b.deliver(&mut server, time, true);
            assert!(!b.candidate.may_write(b.clock(time)));
        }
        assert_eq!(server.record.as_ref().map(|record| record.transitions), Some(0));
        assert!((290..=301).contains(&server.version), "one renewal every two seconds: {}", server.version);
        assert!((290..=301).contains(&looks), "one look every two seconds: {looks}");
        assert_eq!(b.candidate.holder(), Some("a"));
    }

    #[test]
    fn a_released_lease_is_taken_at_the_next_look() {
        let mut server = Server::default();
        let mut a = Player::new("a", Duration::ZERO, 1.0, 0);
        let mut b = Player::new("b", Duration::ZERO, 1.0, 0);
        for player in [&mut a, &mut b] {
            for _ in 0..2 {
                player.act(Duration::ZERO);
                player.deliver(&mut server, Duration::ZERO, true);
            }
        }
        assert!(a.candidate.is_holder() && !b.candidate.is_holder());
        a.candidate.resign();
        assert!(!a.candidate.may_write(secs(1)), "before the release is sent");
        let release = a.candidate.record_to_release(Timestamp::UNIX_EPOCH);
        assert!(server.write(release, a.candidate.version()));
        for _ in 0..2 {
            b.act(secs(2));
            b.deliver(&mut server, secs(2), true);
        }
        assert!(b.candidate.may_write(secs(2)));
        assert_eq!(server.record.map(|record| record.transitions), Some(1));
    }
}
