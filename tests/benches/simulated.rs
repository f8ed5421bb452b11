//! How long a whole canary takes on the simulated cluster, the real controller in it.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use serde_json::json;
use sluice_tests::simulation::{Simulation, canary};
use tokio::runtime::{Builder, Runtime};

/// A cluster of its own, with five healthy pods of the first version, and the time that it runs on.
fn healthy() -> (Runtime, Simulation) {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    let simulation = runtime.block_on(async {
        let simulation = Simulation::with_controller();
        let pause = json!({"pause": {"duration": 225}});
        simulation.apply(canary(
            5,
            json!([{"setWeight": 20}, pause, {"setWeight": 40}, pause, {"setWeight": 60}, pause, {"setWeight": 80}, pause]),
        ));
        simulation.until_phase("web", "Healthy").await;
        simulation
    });
    (runtime, simulation)
}

/// Four steps, a quarter of an hour of pauses: from one healthy version to the next.
async fn next_version(simulation: &Simulation) {
    simulation.image("web", "2");
    simulation.until_phase("web", "Paused").await;
    simulation.until_phase("web", "Healthy").await;
    assert_eq!(simulation.sizes("web"), "2:5/5");
}

fn whole_canaries(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("simulated");
    group.sample_size(30);
    group.bench_function("canary of 5 pods, 4 steps, 15 minutes of pauses", |bencher| {
        bencher.iter_batched(
            healthy,
            |(runtime, simulation)| {
                runtime.block_on(next_version(&simulation));
                (runtime, simulation)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, whole_canaries);
criterion_main!(benches);
