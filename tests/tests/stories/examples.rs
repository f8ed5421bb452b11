//! Every example can be applied as it is. A Rollout becomes healthy and takes an update; an Experiment ends well.

use std::path::Path;

use serde_json::{Value, json};
use sluice_sim::controllers::Settings;
use sluice_tests::simulation::{NAMESPACE, Simulation};
use sluice_tests::takeover::foreign_kinds;

use crate::analysis::Endpoint;

/// The objects of all files of an example.
fn objects(folder: &Path) -> Vec<Value> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let text = |path: &std::path::PathBuf| std::fs::read_to_string(path).expect("text");
    files
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .flat_map(|path| {
            let documents: Vec<Value> = serde_yaml::from_multiple(&text(path))
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            documents
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn every_example_does_what_it_is_there_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut folders: Vec<_> =
        std::fs::read_dir(root).expect("examples").map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    assert!(folders.len() >= 6, "{folders:?}");
    for folder in folders {
        let mut simulation = Simulation::new(1, Settings::default());
        for definition in foreign_kinds() {
            simulation.cluster.create("setup", definition).expect("the definition is accepted");
        }
        // Whoever is asked for a metric answers with one good sample.
        let sample = json!({
            "status": "success",
            "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1_800_000_000, "0.001"]}]},
        });
        let endpoint = Endpoint::always(200, sample);
        // Whoever counts requests counts many.
        let many = json!({
            "status": "success",
            "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1_800_000_000, "5000"]}]},
        });
        endpoint.says_of("increase%28", many);
        simulation.start_controller(endpoint.options());
        let objects = objects(&folder);
        let names = |kind: &str| -> Vec<String> {
            let own = objects.iter().filter(|object| object["kind"] == kind);
            own.map(|object| object["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
        };
        let (rollouts, experiments) = (names("Rollout"), names("Experiment"));
        assert!(!rollouts.is_empty() || !experiments.is_empty(), "{} runs nothing", folder.display());
        for object in objects {
            simulation.apply(object);
        }
        for name in experiments {
            simulation.pass(3600).await;
            let experiment = simulation.cluster.get("Experiment", Some(NAMESPACE), &name).expect("it exists");
            assert_eq!(experiment["status"]["phase"], "Successful", "{}: {experiment}", folder.display());
        }
        for name in rollouts {
            simulation.until_phase(&name, "Healthy").await;
            simulation.image(&name, "2");
            simulation.pass(2).await;
            // The longest of them waits for a person, or for some clocks.
            for _ in 0..10 {
                simulation.pass(900).await;
                if simulation.phase(&name) == "Healthy" {
                    break;
                }
                simulation.patch_status(&name, json!({"pauseConditions": null}));
            }
            assert_eq!(simulation.phase(&name), "Healthy", "{}: {}", folder.display(), simulation.describe());
            let set = simulation.status(&name)["currentPodHash"].clone();
            assert_eq!(simulation.status(&name)["stableRS"], set, "{}", folder.display());
        }
    }
}
