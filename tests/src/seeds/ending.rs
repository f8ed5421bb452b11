//! Whether a run ended where it may end: everything done, or waiting for somebody else.

use serde_json::Value;

use super::bench::Bench;
use crate::simulation::number;

/// Why a run ended where it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// Promoted and healthy.
    Healthy,
    /// At a pause step.
    Paused,
    /// Held by a person.
    Held,
    /// Aborted, with stable at its full size.
    Aborted,
    /// Waiting for pods that are not going to come.
    NoPods,
    /// Pods that come and go: no rest is to be expected.
    Restless,
    /// No replicas are wanted.
    Asleep,
}

/// How the pods of an image behave, by its tag.
fn mood(set: &Value) -> &str {
    let image =
        set.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str).unwrap_or_default();
    image.rsplit_once(':').map_or("", |(_, tag)| tag)
}

fn is_good(set: &Value) -> bool {
    let mood = mood(set);
    mood.contains("good") || mood.contains("slow")
}

fn text_of<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

/// Whether pods of this image never stand still.
fn is_restless(set: &Value) -> bool {
    mood(set).contains("flap")
}

/// Whether pods of some version come and go for ever.
pub fn is_never_still(bench: &Bench) -> bool {
    bench.sets().iter().any(|set| number(set, "/spec/replicas") > 0 && is_restless(set))
}

/// Says where the run ended, or what is wrong with it.
pub fn judge(bench: &Bench) -> Result<Ending, String> {
    let rollout = bench.rollout();
    let (spec, status) = (&rollout["spec"], &rollout["status"]);
    let sets = bench.sets();
    let replicas = number(&rollout, "/spec/replicas");
    let hash = |set: &Value| {
        set["metadata"]["labels"]["rollouts-pod-template-hash"].as_str().unwrap_or_default().to_owned()
    };
    let of = |field: &str| {
        let wanted = status[field].as_str().unwrap_or_default();
        sets.iter().find(|set| hash(set) == wanted)
    };
    let sizes: Vec<String> = sets
        .iter()
        .filter(|set| number(set, "/spec/replicas") > 0 || number(set, "/status/replicas") > 0)
        .map(|set| {
            format!(
                "{}:{}/{}",
                mood(set),
                number(set, "/spec/replicas"),
                number(set, "/status/availableReplicas")
            )
        })
        .collect();
    let text = |field: &str| status[field].as_str().unwrap_or_default();
    let (phase, message) = (text("phase"), text("message"));
    let seen = format!("{phase} \"{message}\", {} of {replicas}, status {status}", sizes.join(" "));
    let wrong = |what: &str| Err(format!("{what}: {seen}"));

    if status["observedGeneration"].as_str() != Some(rollout["metadata"]["generation"].to_string().as_str()) {
        return wrong("the spec was not observed");
    }
    let running = sets.iter().filter(|set| number(set, "/status/replicas") > 0);
    let is_restless_now = running.clone().any(|set| is_restless(set));
    let Some(current) = of("currentPodHash") else {
        return if spec["paused"] == true {
            Ok(Ending::Held)
        } else {
            wrong("the current ReplicaSet is missing")
        };
    };
    let Some(stable) = of("stableRS") else {
        // Nothing is left to go back to, and a person holds what came instead.
        return if spec["paused"] == true && number(current, "/status/availableReplicas") == replicas {
            Ok(Ending::Held)
        } else {
            wrong("the stable ReplicaSet is missing")
        };
    };
    let size = |set: &Value| number(set, "/spec/replicas");
    let available = |set: &Value| number(set, "/status/availableReplicas");
    let total: i64 = sets.iter().map(|set| size(set)).sum();
    if is_restless_now || is_restless(current) || is_restless(stable) {
        return Ok(Ending::Restless);
    }
    let waits = |kind: &str| {
        let conditions = status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
        let waiting = conditions.iter().find(|condition| condition["type"] == "Waiting");
        waiting.is_some_and(|waiting| {
            waiting["reason"] == kind
                && waiting["message"].as_str().is_some_and(|text| text.contains("wanted"))
        })
    };
    let blue_green = spec["strategy"].get("blueGreen");
    // Whom the active Service leads to, where that is a version of its own: superseded before it was promoted.
    let mut superseded = 0;
    // Where the stable version can serve, it does, or one that was switched to while it was under way.
    if let Some(strategy) = blue_green.filter(|_| replicas > 0 && available(stable) == replicas) {
        let active = bench.cluster.get("Service", Some("default"), text_of(strategy, "activeService"));
        let selected = active.as_ref().and_then(|service| {
            service["spec"]["selector"]["rollouts-pod-template-hash"].as_str().map(str::to_owned)
        });
        let serving = sets.iter().find(|set| Some(hash(set)) == selected && available(set) > 0);
        let is_under_way = status["abort"] != true && text("stableRS") != text("currentPodHash");
        match (serving, &selected) {
            (_, Some(selected)) if *selected == text("stableRS") => {}
            (Some(_), Some(selected)) if is_under_way && *selected == text("currentPodHash") => {}
            (Some(serving), _) if is_under_way => superseded = size(serving),
            _ => return wrong(&format!("the active Service leads to {selected:?}")),
        }
    }
    if text("stableRS") == text("currentPodHash") {
        if is_good(current) {
            if size(current) == replicas && total == replicas && available(current) == replicas {
                return match phase {
                    "Healthy" if replicas == 0 => Ok(Ending::Asleep),
                    "Healthy" => Ok(Ending::Healthy),
                    "Paused" if spec["paused"] == true => Ok(Ending::Held),
                    _ => wrong("everything is there, and it is not Healthy"),
                };
            }
            if spec["paused"] == true && total == 0 {
                return Ok(Ending::Held); // created paused
            }
            return wrong("promoted, and not at its size");
        }
        if spec["paused"] == true {
            return Ok(Ending::Held);
        }
        if replicas == 0 && total == 0 {
            return Ok(Ending::Asleep);
        }
        if size(current) == replicas
            && phase != "Healthy"
            && !message.is_empty()
            && (waits("Pods") || waits("Carry") || phase == "Degraded")
        {
            return Ok(Ending::NoPods);
        }
        if total >= replicas && (waits("Pods") || waits("Place") || waits("Floor") || waits("Carry")) {
            return Ok(Ending::NoPods); // another version serves, and holds the places
        }
        return wrong("the stable version has no pods, and that is not said");
    }
    if status["abort"] == true {
        // Of blue-green, 0 means that the pods of an aborted version stay.
        let stays = blue_green.is_some_and(|strategy| strategy["abortScaleDownDelaySeconds"] == 0);
        let kept = if stays { size(current) } else { 0 };
        let rest = total - size(stable) - kept;
        if size(stable) == replicas && (rest == 0 || available(stable) < replicas) {
            if !message.contains("RolloutAborted") || phase != "Degraded" {
                return wrong("aborted, and that is not said");
            }
            if rest == 0 || waits("Pods") || waits("Floor") {
                return Ok(if available(stable) < replicas { Ending::NoPods } else { Ending::Aborted });
            }
        }
        if !is_good(stable) && (waits("Pods") || waits("Place") || waits("Floor") || waits("Carry")) {
            return Ok(Ending::NoPods);
        }
        return wrong("aborted, and stable is not at its full size");
    }
    if spec["paused"] == true {
        return if phase == "Paused" || phase == "Degraded" {
            Ok(Ending::Held)
        } else {
            wrong("held, and that is not said")
        };
    }
    let everybody_is_good =
        sets.iter().filter(|set| size(set) > 0).all(|set| is_good(set)) && is_good(current);
    if status["pauseConditions"].as_array().is_some_and(|list| !list.is_empty()) {
        if phase != "Paused" && phase != "Degraded" {
            return wrong("at a pause, and that is not said");
        }
        if let Some(strategy) = blue_green {
            let preview = strategy["previewReplicaCount"].as_i64().unwrap_or(replicas).min(replicas);
            return match () {
                () if strategy["autoPromotionEnabled"] != false => wrong("a pause without an end"),
                // The stable version cannot take the Service, so that others have to serve.
                () if waits("Carry") => Ok(Ending::NoPods),
                // It never came up, and the version that serves leads nowhere any more: it stays, and the wait is
                // for the pods of the stable one.
                () if waits("Pods") && available(stable) < replicas => Ok(Ending::NoPods),
                () if (size(current), size(stable)) != (preview, replicas)
                    || total != preview + replicas + superseded =>
                {
                    wrong("sizes do not fit a preview")
                }
                () => Ok(Ending::Paused),
            };
        }
        if everybody_is_good {
            sizes_fit(&rollout, size(current), size(stable), total, &sets)
                .map_err(|what| format!("{what}: {seen}"))?;
        }
        let index = usize::try_from(number(status, "/currentStepIndex")).unwrap_or(0);
        let pause = &spec["strategy"]["canary"]["steps"][index]["pause"];
        return if pause.is_object() && pause.get("duration").is_none() {
            Ok(Ending::Paused)
        } else {
            wrong("a pause without an end at a step that has one")
        };
    }
    if replicas == 0 {
        return if total == 0 && waits("Asleep") {
            Ok(Ending::Asleep)
        } else {
            wrong("no replicas are wanted")
        };
    }
    if everybody_is_good {
        return wrong("every version is good, and it does not go on");
    }
    let is_said = phase == "Degraded" || !message.is_empty();
    if is_said && ["Pods", "Floor", "Place", "Carry", "Waking"].into_iter().any(waits) {
        return Ok(Ending::NoPods);
    }
    wrong("it does not go on, and does not say why")
}

/// Whether the sizes are those of the step, to a pod.
fn sizes_fit(
    rollout: &Value,
    new: i64,
    stable: i64,
    total: i64,
    sets: &[std::sync::Arc<Value>],
) -> Result<(), String> {
    let replicas = number(rollout, "/spec/replicas");
    let steps = rollout
        .pointer("/spec/strategy/canary/steps")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let index = usize::try_from(number(rollout, "/status/currentStepIndex")).unwrap_or(0);
    let weight = steps.iter().take(index + 1).rev().find_map(|step| step["setWeight"].as_i64()).unwrap_or(0);
    let available: i64 = sets.iter().map(|set| number(set, "/status/availableReplicas")).sum();
    if total != new + stable {
        return Err(format!("{} pods of versions that lead nowhere", total - new - stable));
    }
    let pins_stable = rollout.pointer("/spec/strategy/canary/stableService").is_some();
    if total != replicas && total != replicas + 1 && !pins_stable {
        return Err(format!("{total} pods, wanted {replicas} or one more"));
    }
    if available < total {
        return Err(format!("{available} of {total} pods are available"));
    }
    let off = (new * 100 - weight * total).abs();
    if off >= 100
        && !pins_stable
        && !(weight > 0 && weight < 100 && (new == 1 || stable == 1 || replicas == 1))
    {
        return Err(format!("{new} of {total} pods, wanted {weight} %"));
    }
    Ok(())
}
