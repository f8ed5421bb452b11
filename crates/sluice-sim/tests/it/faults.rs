//! What goes wrong when it is told to.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use kube::api::{ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;
use sluice_sim::{Failure, When};

use crate::{cluster, code_of, config_map, config_maps, parsed};

#[tokio::test(start_paused = true)]
async fn a_lost_answer_leaves_the_write() {
    let cluster = cluster();
    let api = config_maps(&cluster, "tester");
    cluster.faults().fail_write("tester", 1, When::Before, Failure::Internal);
    cluster.faults().fail_write("tester", 2, When::After, Failure::Unavailable);
    let params = PostParams::default();
    assert_eq!(code_of(api.create(&params, &parsed(config_map("a", "1"))).await).0, 500);
    assert!(cluster.get("ConfigMap", None, "a").is_none());
    assert_eq!(code_of(api.create(&params, &parsed(config_map("a", "1"))).await).0, 503);
    assert!(cluster.get("ConfigMap", None, "a").is_some());
    cluster.faults().conflict_update("tester", 1);
    assert_eq!(code_of(api.patch("a", &PatchParams::default(), &Patch::Merge(json!({}))).await).0, 409);
    cluster.faults().throttle("tester", 1, 7);
    assert_eq!(code_of(api.get("a").await).0, 429);
    api.get("a").await.expect("all is well again");
}

#[tokio::test(start_paused = true)]
async fn a_cut_client_reaches_nothing_until_it_is_mended() {
    let cluster = cluster();
    let api = config_maps(&cluster, "tester");
    let mut watch = Box::pin(api.watch(&WatchParams::default(), "0").await.expect("watch"));
    cluster.faults().cut("tester");
    assert!(watch.next().await.expect("an error").is_err());
    assert!(matches!(api.list(&ListParams::default()).await, Err(kube::Error::Service(_))));
    config_maps(&cluster, "other").list(&ListParams::default()).await.expect("others go on");
    cluster.faults().mend("tester");
    api.list(&ListParams::default()).await.expect("mended");
}

#[tokio::test(start_paused = true)]
async fn after_the_kth_write_a_client_hears_nothing() {
    let cluster = cluster();
    let api = config_maps(&cluster, "tester");
    cluster.faults().stop_after_writes("tester", 1);
    api.create(&PostParams::default(), &parsed(config_map("a", "1"))).await.expect("the last answer");
    assert!(cluster.faults().is_stopped("tester"));
    let silent = tokio::time::timeout(Duration::from_hours(1), api.get("a")).await;
    assert!(silent.is_err(), "no answer, ever");
    cluster.faults().restart("tester");
    config_maps(&cluster, "tester").get("a").await.expect("a new start");
}

#[tokio::test(start_paused = true)]
async fn watch_events_can_be_late_or_lost() {
    let cluster = cluster();
    let api = config_maps(&cluster, "tester");
    cluster.faults().delay_watch("tester", "ConfigMap", Duration::from_secs(30));
    let begun = cluster.now();
    let version = cluster.resource_version().to_string();
    let mut watch = Box::pin(api.watch(&WatchParams::default(), &version).await.expect("watch"));
    cluster.create("other", config_map("a", "1")).expect("created");
    let event = watch.next().await.expect("open").expect("an event");
    assert!(matches!(event, WatchEvent::Added(_)));
    assert_eq!(cluster.now().duration_since(begun).as_secs(), 30);
    cluster.faults().mute_watches("tester", cluster.resource_version());
    cluster.create("other", config_map("b", "1")).expect("created");
    assert!(tokio::time::timeout(Duration::from_secs(40), watch.next()).await.is_err(), "muted");
    cluster.faults().expire_watches("tester", cluster.resource_version());
    assert!(watch.next().await.is_none(), "ended");
    let again: Vec<_> = api
        .watch(&WatchParams::default(), &version)
        .await
        .expect("watch")
        .try_collect()
        .await
        .expect("events");
    assert!(matches!(&again[..], [WatchEvent::Error(error)] if error.code == 410), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn lists_of_any_version_can_be_old() {
    let cluster = cluster();
    let api = config_maps(&cluster, "tester");
    for name in ["a", "b", "c"] {
        cluster.create("other", config_map(name, "1")).expect("created");
    }
    cluster.faults().stale_lists("tester", 2);
    let old = api.list(&ListParams::default().match_any()).await.expect("list");
    assert_eq!(old.items.len(), 1);
    assert_eq!(
        api.list(&ListParams::default()).await.expect("list").items.len(),
        3,
        "a list of the latest is never old"
    );
}

#[tokio::test(start_paused = true)]
async fn requests_take_their_time() {
    let cluster = cluster();
    let api = config_maps(&cluster, "tester");
    cluster.faults().latency("tester", Duration::from_secs(2), Duration::from_secs(2));
    let begun = cluster.now();
    api.list(&ListParams::default()).await.expect("list");
    assert_eq!(cluster.now().duration_since(begun).as_secs(), 2);
}
