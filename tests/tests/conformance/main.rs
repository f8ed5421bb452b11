//! The simulated API server answers as a real one does.
//!
//! The same sequences every time; environment variables choose others: `SLUICE_FIRST_SEED` and `SLUICE_SEEDS`
//! where to begin and how many, `SLUICE_SEED` one of them with both answers in full, `SLUICE_SHOW` how many
//! differences to print.

use std::time::{Duration, Instant};

use kube::Client;
use serde_json::Value;
use sluice_sim::Cluster;
use sluice_tests::cluster::{ControlPlane, Options, eventually};
use sluice_tests::conformance::{self, Servers};

const SEQUENCES: u64 = 1_200;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

async fn define(client: &Client, definition: &Value) {
    let body = definition.to_string().into_bytes();
    let request = http::Request::post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
        .header("Content-Type", "application/json");
    let created = client.request::<Value>(request.body(body).expect("a request")).await;
    created.unwrap_or_else(|error| panic!("{}: {error}", definition["metadata"]["name"]));
    let spec = &definition["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let path = format!(
        "/apis/{}/{}/{}",
        text(&spec["group"]),
        text(&spec["versions"][0]["name"]),
        text(&spec["names"]["plural"])
    );
    let served = eventually(&path, Duration::from_mins(1), async || {
        let request = http::Request::get(&path).body(Vec::new()).expect("a request");
        client.request::<Value>(request).await.map(drop).map_err(|error| error.to_string())
    });
    served.await.expect("the kind is served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulator_answers_as_a_real_server() {
    let options = Options { controllers: false, scheduler: false, nodes: 0, ..Options::default() };
    let plane = ControlPlane::start(options).await.expect("the control plane starts");
    let cluster =
        Cluster::new(sluice_sim::Options { start: jiff::Timestamp::now(), ..sluice_sim::Options::default() });
    let servers =
        Servers { real: plane.client().await.expect("a client"), simulated: cluster.client("admin") };
    for definition in conformance::definitions() {
        define(&servers.real, &definition).await;
        define(&servers.simulated, &definition).await;
    }
    let (first, many) = match number("SLUICE_SEED") {
        Some(seed) => (seed, 1),
        None => {
            (number("SLUICE_FIRST_SEED").unwrap_or_default(), number("SLUICE_SEEDS").unwrap_or(SEQUENCES))
        }
    };
    let seeds = first..first + many;
    let is_whole = seeds == (0..SEQUENCES);
    let count = seeds.end - seeds.start;
    let begin = Instant::now();
    let summary = conformance::run_all(&servers, seeds).await;
    println!(
        "{count} sequences in {:.1?}: {} requests and {} events per server, codes {:?}",
        begin.elapsed(),
        summary.requests,
        summary.events,
        summary.codes
    );
    for (seed, report) in summary.failures.iter().take(number("SLUICE_SHOW").map_or(12, |n| n as usize)) {
        println!("{}\n  {report}", conformance::rerun(*seed));
    }
    assert!(
        summary.failures.is_empty(),
        "{} of {count} sequences differ: {:?}",
        summary.failures.len(),
        summary.failures.keys()
    );
    if is_whole {
        for code in [200, 201, 400, 404, 409, 422] {
            let share = summary.codes.get(&code).copied().unwrap_or_default();
            assert!(share * 100 > summary.requests, "code {code} is rare: {:?}", summary.codes);
        }
    }
}
