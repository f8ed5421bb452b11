//! What the demo shows of a Rollout: a picture that is redrawn in place on a terminal, one line per
//! change elsewhere.

use std::io::Write as _;

use serde_json::Value;
use sluice_sim::Cluster;

/// Where the demo is shown.
pub struct Screen {
    is_terminal: bool,
    drawn: usize,
    last: Vec<String>,
    is_coloured: bool,
}

impl Screen {
    /// A screen; `is_terminal` redraws in place.
    pub fn new(is_terminal: bool) -> Screen {
        let is_coloured = is_terminal && std::env::var_os("NO_COLOR").is_none();
        Screen { is_terminal, drawn: 0, last: Vec::new(), is_coloured }
    }

    /// Prints text that stays.
    pub fn say(&mut self, text: &str) {
        self.put(&format!("{text}\n"));
        self.drawn = 0;
        self.last.clear();
    }

    /// Prints the heading of a part of the story.
    pub fn chapter(&mut self, text: &str) {
        let text = if self.is_coloured { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() };
        let gap = if self.is_terminal { "\n" } else { "" };
        self.say(&format!("{gap}{text}{gap}"));
    }

    /// Leaves the last picture on the screen.
    pub fn close(&mut self) {
        self.put("");
    }

    /// Shows a Rollout as it is now, if it looks different from before.
    pub fn show(&mut self, cluster: &Cluster, namespace: &str, name: &str) {
        let Some(rollout) = cluster.get("Rollout", Some(namespace), name) else { return };
        let sets = cluster.list("ReplicaSet", Some(namespace));
        let pods = cluster.list("Pod", Some(namespace));
        let facts = Facts::read(&rollout, sets.iter().map(AsRef::as_ref), pods.iter().map(AsRef::as_ref));
        let at = cluster.now().strftime("%H:%M:%S").to_string();
        if self.is_terminal {
            let lines = picture(&facts, self.is_coloured);
            if lines != self.last {
                let up = if self.drawn > 0 { format!("\u{1b}[{}A", self.drawn) } else { String::new() };
                let body: String = lines.iter().map(|line| format!("\u{1b}[2K{line}\n")).collect();
                let rest = "\u{1b}[2K\n".repeat(self.drawn.saturating_sub(lines.len()));
                self.put(&format!("{up}{body}{rest}"));
                self.drawn = lines.len().max(self.drawn);
                self.last = lines;
            }
        } else {
            let line = one_line(&facts);
            if self.last.first() != Some(&line) {
                self.put(&format!("{at}  {line}\n"));
                self.last = vec![line];
            }
        }
    }

    fn put(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // A reader that went away is no trouble of ours.
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }
}

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    name: String,
    revision: String,
    phase: String,
    message: String,
    steps: Vec<String>,
    step: usize,
    versions: Vec<Version>,
}

/// One version with its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    role: &'static str,
    revision: String,
    name: String,
    wanted: i64,
    pods: Vec<Pod>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Pod {
    Ready,
    Starting,
    Leaving,
    Crashing,
}

impl Facts {
    /// Reads what is shown out of the objects.
    pub fn read<'a>(
        rollout: &Value,
        sets: impl Iterator<Item = &'a Value>,
        pods: impl Iterator<Item = &'a Value>,
    ) -> Facts {
        let status = &rollout["status"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let steps = rollout.pointer("/spec/strategy/canary/steps").and_then(Value::as_array);
        let pods: Vec<&Value> = pods.collect();
        let mut versions: Vec<Version> = sets
            .filter(|set| set.pointer("/metadata/ownerReferences/0/uid") == rollout.pointer("/metadata/uid"))
            .filter_map(|set| version(set, status, &pods))
            .collect();
        versions.sort_by_key(|version| version.revision.parse::<i64>().unwrap_or(0));
        Facts {
            name: text(&rollout["metadata"]["name"]),
            revision: text(&rollout["metadata"]["annotations"]["rollout.argoproj.io/revision"]),
            phase: text(&status["phase"]),
            message: text(&status["message"]),
            steps: steps.into_iter().flatten().map(step).collect(),
            step: status["currentStepIndex"]
                .as_u64()
                .and_then(|index| usize::try_from(index).ok())
                .unwrap_or(0),
            versions,
        }
    }
}

fn step(step: &Value) -> String {
    if let Some(weight) = step["setWeight"].as_i64() {
        return format!("{weight} %");
    }
    match &step["pause"]["duration"] {
        Value::String(duration) => format!("pause {duration}"),
        Value::Number(seconds) => format!("pause {seconds}s"),
        _ if step["pause"].is_object() => "pause".into(),
        _ => step.as_object().and_then(|map| map.keys().next().cloned()).unwrap_or_default(),
    }
}

fn version(set: &Value, status: &Value, pods: &[&Value]) -> Option<Version> {
    let hash = set["metadata"]["labels"]["rollouts-pod-template-hash"].as_str()?;
    let own = pods.iter().filter(|pod| pod["metadata"]["labels"]["rollouts-pod-template-hash"] == hash);
    let mut pods: Vec<Pod> = own.map(|pod| pod_state(pod)).collect();
    pods.sort();
    let wanted = set["spec"]["replicas"].as_i64().unwrap_or(0);
    if wanted == 0 && pods.is_empty() {
        return None;
    }
    let role = if status["stableRS"] == hash {
        "stable"
    } else if status["currentPodHash"] == hash {
        "canary"
    } else {
        "old"
    };
    let revision =
        set["metadata"]["annotations"]["rollout.argoproj.io/revision"].as_str().unwrap_or_default();
    let name = set["metadata"]["name"].as_str().unwrap_or_default();
    Some(Version { role, revision: revision.into(), name: name.into(), wanted, pods })
}

fn pod_state(pod: &Value) -> Pod {
    if pod["metadata"]["deletionTimestamp"].is_string() {
        return Pod::Leaving;
    }
    let conditions = pod["status"]["conditions"].as_array();
    let is_ready = conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
    let restarts = pod["status"]["containerStatuses"].as_array();
    let crashes = restarts.into_iter().flatten().any(|c| {
        c["restartCount"].as_i64().unwrap_or(0) > 0 || c["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    });
    match (is_ready, crashes) {
        (true, _) => Pod::Ready,
        (false, true) => Pod::Crashing,
        (false, false) => Pod::Starting,
    }
}

fn one_line(facts: &Facts) -> String {
    let versions: Vec<String> = facts
        .versions
        .iter()
        .filter(|v| v.wanted > 0)
        .map(|v| {
            let ready = v.pods.iter().filter(|pod| **pod == Pod::Ready).count();
            format!("{} (revision {}) {ready}/{}", v.role, v.revision, v.wanted)
        })
        .collect();
    let step = match facts.steps.get(facts.step) {
        Some(step) => format!("step {}/{} ({step})", facts.step + 1, facts.steps.len()),
        None => "all steps done".to_owned(),
    };
    let message = if facts.message.is_empty() { String::new() } else { format!(": {}", facts.message) };
    format!("{}  {step}  {}{message}", versions.join(", "), facts.phase)
}

fn picture(facts: &Facts, is_coloured: bool) -> Vec<String> {
    let paint = |code: &str, text: &str| {
        if is_coloured { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    };
    let colour = match facts.phase.as_str() {
        "Healthy" => "32",
        "Degraded" => "31",
        "Paused" => "33",
        _ => "36",
    };
    let mut lines = vec![format!(
        "  {}  revision {}   {}",
        paint("1", &facts.name),
        facts.revision,
        paint(colour, &facts.phase),
    )];
    let steps: Vec<String> = facts
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| match index.cmp(&facts.step) {
            std::cmp::Ordering::Less => paint("32", &format!("✔ {step}")),
            std::cmp::Ordering::Equal => paint("1;36", &format!("▶ {step}")),
            std::cmp::Ordering::Greater => paint("2", &format!("· {step}")),
        })
        .collect();
    lines.push(format!("  steps    {}", steps.join("   ")));
    let ready = |version: &Version| version.pods.iter().filter(|pod| **pod == Pod::Ready).count();
    let all: usize = facts.versions.iter().map(ready).sum();
    for version in &facts.versions {
        let pods: String = version
            .pods
            .iter()
            .map(|pod| match pod {
                Pod::Ready => paint("32", "●"),
                Pod::Starting => paint("36", "◌"),
                Pod::Leaving => paint("2", "○"),
                Pod::Crashing => paint("31", "✖"),
            })
            .collect::<Vec<_>>()
            .join(" ");
        let share = if all == 0 { 0 } else { ready(version) * 100 / all };
        lines.push(format!(
            "  {:<8} revision {:<3} {:>3} % of traffic   {pods}",
            version.role, version.revision, share
        ));
    }
    while lines.len() < 5 {
        lines.push(String::new());
    }
    for line in wrapped(&facts.message, 100) {
        lines.push(format!("  {}", paint(colour, &line)));
    }
    lines
}

/// Text in lines of at most so many characters.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is always a line");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts() -> Facts {
        let rollout = json!({
            "metadata": {"name": "web", "uid": "u", "annotations": {"rollout.argoproj.io/revision": "2"}},
            "spec": {"strategy": {"canary": {"steps": [{"setWeight": 20}, {"pause": {"duration": "6s"}}, {"setWeight": 100}]}}},
            "status": {"phase": "Paused", "message": "CanaryPauseStep", "currentStepIndex": 1, "stableRS": "a", "currentPodHash": "b"},
        });
        let set = |hash: &str, revision: &str, replicas: i64| {
            json!({"metadata": {"name": format!("web-{hash}"), "ownerReferences": [{"uid": "u"}],
                "labels": {"rollouts-pod-template-hash": hash}, "annotations": {"rollout.argoproj.io/revision": revision}},
                "spec": {"replicas": replicas}})
        };
        let pod = |hash: &str, ready: &str, restarts: i64| {
            json!({"metadata": {"labels": {"rollouts-pod-template-hash": hash}},
                "status": {"conditions": [{"type": "Ready", "status": ready}], "containerStatuses": [{"restartCount": restarts}]}})
        };
        let sets = [set("b", "2", 1), set("a", "1", 3)];
        let pods = [pod("a", "True", 0), pod("a", "True", 0), pod("a", "False", 0), pod("b", "False", 2)];
        Facts::read(&rollout, sets.iter(), pods.iter())
    }

    #[test]
    fn a_picture_and_a_line() {
        assert_eq!(
            picture(&facts(), false),
            [
                "  web  revision 2   Paused",
                "  steps    ✔ 20 %   ▶ pause 6s   · 100 %",
                "  stable   revision 1   100 % of traffic   ● ● ◌",
                "  canary   revision 2     0 % of traffic   ✖",
                "",
                "  CanaryPauseStep",
            ]
        );
        assert_eq!(
            one_line(&facts()),
            "stable (revision 1) 2/3, canary (revision 2) 0/1  step 2/3 (pause 6s)  Paused: CanaryPauseStep"
        );
    }

    #[test]
    fn long_messages_are_wrapped_between_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("", 7), [""]);
    }
}
