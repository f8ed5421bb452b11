//! Objects that Argo Rollouts wrote into a real API server are read in full and written unchanged.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sluice_api::validation::{validate_analysis_run, validate_experiment, validate_rollout};
use sluice_api::{AnalysisRun, AnalysisTemplate, Experiment, Rollout, parse, step_hash};

/// Returns every object of a kind, with the name of its file.
fn objects(kind: &str) -> Vec<(String, Value)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/argo-live");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let list: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let items = list["items"].as_array().unwrap();
        found.extend(
            items.iter().filter(|item| item["kind"] == kind).map(|item| (name.clone(), item.clone())),
        );
    }
    assert!(!found.is_empty(), "no {kind} in {folder}");
    found
}

/// Reads an object and returns it with its `spec` and `status` as they are written again.
#[track_caller]
fn round_trip<K: DeserializeOwned + Default + Serialize>(file: &str, object: &Value) -> (K, Value) {
    let (read, problems) = parse::<K>(object.clone());
    assert_eq!(problems, [], "{file}");
    let written = serde_json::to_value(&read).unwrap();
    (read, written)
}

#[test]
fn rollouts_survive() {
    for (file, mut object) in objects("Rollout") {
        let (rollout, written) = round_trip::<Rollout>(&file, &object);
        // A status that was never computed in full lacks the parts that are otherwise always there.
        for part in ["canary", "blueGreen"] {
            let status = object["status"].as_object_mut().unwrap();
            status.entry(part).or_insert_with(|| json!({}));
        }
        assert_eq!(written["status"], object["status"], "{file}");
        assert_eq!(written["spec"], object["spec"], "{file}");
        assert_eq!(written["metadata"]["name"], object["metadata"]["name"], "{file}");
        let errors = validate_rollout(&rollout, false);
        let status = rollout.status.unwrap();
        let expected = status.message.strip_prefix(r#"InvalidSpec: The Rollout "web" is invalid: "#);
        assert_eq!(errors.first().map(ToString::to_string).as_deref(), expected, "{file}");
        if let Some(canary) = rollout.spec.strategy.canary.filter(|_| !status.current_step_hash.is_empty()) {
            assert_eq!(step_hash(&canary.steps), status.current_step_hash, "{file}");
        }
    }
}

#[test]
fn runs_templates_and_experiments_survive() {
    for (file, object) in objects("AnalysisRun") {
        let (run, written) = round_trip::<AnalysisRun>(&file, &object);
        assert_eq!(validate_analysis_run(&run.spec), [], "{file}");
        assert_eq!((&written["spec"], &written["status"]), (&object["spec"], &object["status"]), "{file}");
    }
    for (file, object) in objects("AnalysisTemplate") {
        let (_, written) = round_trip::<AnalysisTemplate>(&file, &object);
        assert_eq!(written["spec"], object["spec"], "{file}");
    }
    for (file, object) in objects("Experiment") {
        let (experiment, written) = round_trip::<Experiment>(&file, &object);
        assert_eq!(validate_experiment(&experiment.spec), [], "{file}");
        assert_eq!((&written["spec"], &written["status"]), (&object["spec"], &object["status"]), "{file}");
    }
}
