//! Reading, writing, patching and watching.

use std::{pin::pin, time::Duration};

use futures::TryStreamExt;
use kube::api::{
    DeleteParams, ListParams, Patch, PatchParams, PostParams, ValidationDirective, WatchEvent, WatchParams,
};
use serde_json::{Value, json};

use crate::{cluster, code_of, config_map, config_maps, definition, dynamic, parsed, sample};

fn kinds(events: &[WatchEvent<kube::api::DynamicObject>]) -> Vec<String> {
    events
        .iter()
        .map(|event| match event {
            WatchEvent::Added(object) => {
                format!("added {}", object.metadata.name.as_deref().unwrap_or_default())
            }
            WatchEvent::Modified(object) => {
                format!("modified {}", object.metadata.name.as_deref().unwrap_or_default())
            }
            WatchEvent::Deleted(object) => {
                format!("deleted {}", object.metadata.name.as_deref().unwrap_or_default())
            }
            WatchEvent::Bookmark(_) => "bookmark".to_owned(),
            WatchEvent::Error(error) => format!("error {}", error.code),
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn objects_are_created_changed_and_deleted() {
    let cluster = cluster();
    let api = config_maps(&cluster, "tester");
    let params = PostParams::default();
    let created = api.create(&params, &parsed(config_map("a", "1"))).await.expect("created");
    assert!(created.metadata.uid.is_some());
    assert_eq!(
        code_of(api.create(&params, &parsed(config_map("a", "1"))).await),
        (409, "AlreadyExists".to_owned())
    );
    let mut changed = created.clone();
    changed.data["data"]["k"] = json!("2");
    let updated = api.replace("a", &params, &changed).await.expect("updated");
    assert_ne!(updated.metadata.resource_version, created.metadata.resource_version);
    assert_eq!(
        code_of(api.replace("a", &params, &changed).await),
        (409, "Conflict".to_owned()),
        "the version is old now"
    );
    let same = api.replace("a", &params, &updated).await.expect("a write that changes nothing");
    assert_eq!(same.metadata.resource_version, updated.metadata.resource_version);
    let patched = api
        .patch("a", &PatchParams::default(), &Patch::Merge(json!({"data": {"j": "1"}})))
        .await
        .expect("patched");
    assert_eq!(patched.data["data"], json!({"j": "1", "k": "2"}));
    api.delete("a", &DeleteParams::default()).await.expect("deleted");
    assert_eq!(code_of(api.get("a").await), (404, "NotFound".to_owned()));
    let verbs: Vec<_> = cluster.audit().iter().map(|request| (request.verb, request.code)).collect();
    let expected = [
        ("create", 201),
        ("create", 409),
        ("update", 200),
        ("update", 409),
        ("update", 200),
        ("patch", 200),
        ("delete", 200),
        ("get", 404),
    ];
    assert_eq!(verbs, expected);
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_what_happens_in_order() {
    let cluster = cluster();
    let api = config_maps(&cluster, "tester");
    cluster.create("other", config_map("old", "1")).expect("created");
    let version = cluster.resource_version().to_string();
    let watching = {
        let api = api.clone();
        tokio::spawn(async move {
            let stream = api
                .watch(&WatchParams::default().timeout(100).labels("!hidden"), &version)
                .await
                .expect("watch");
            stream.try_collect::<Vec<_>>().await.expect("events")
        })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster.create("other", config_map("a", "1")).expect("created");
    cluster.update("other", config_map("a", "2")).expect("updated");
    let mut hidden = config_map("a", "2");
    hidden["metadata"]["labels"] = json!({"hidden": "yes"});
    cluster.update("other", hidden).expect("updated");
    cluster.update("other", config_map("a", "3")).expect("updated");
    cluster
        .delete("other", "ConfigMap", Some("default"), "a", sluice_sim::DeleteOptions::default())
        .expect("deleted");
    let events = watching.await.expect("joined");
    assert_eq!(kinds(&events), ["added a", "modified a", "deleted a", "added a", "deleted a", "bookmark"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_forgotten_version_gets_410() {
    let cluster = cluster();
    let api = config_maps(&cluster, "tester");
    let version = cluster.resource_version().to_string();
    cluster.create("other", config_map("a", "1")).expect("created");
    cluster.compact();
    let stream = api.watch(&WatchParams::default(), &version).await.expect("watch");
    let events: Vec<_> = stream.try_collect().await.expect("events");
    assert_eq!(kinds(&events), ["error 410"]);
    let from_now = api.watch(&WatchParams::default().timeout(10), "0").await.expect("watch");
    assert_eq!(kinds(&from_now.try_collect::<Vec<_>>().await.expect("events")), ["added a"]);
}

#[tokio::test(start_paused = true)]
async fn a_streamed_list_ends_with_a_bookmark() {
    let cluster = cluster();
    cluster.create("other", config_map("a", "1")).expect("created");
    let api = config_maps(&cluster, "tester");
    let params = WatchParams { send_initial_events: true, ..WatchParams::default().timeout(10) };
    let mut stream = pin!(api.watch(&params, "").await.expect("watch"));
    let mut events = Vec::new();
    while let Some(event) = stream.try_next().await.expect("event") {
        events.push(event);
    }
    assert_eq!(kinds(&events), ["added a", "bookmark"]);
    let WatchEvent::Bookmark(mark) = &events[1] else { panic!("{events:?}") };
    assert_eq!(mark.metadata.annotations["k8s.io/initial-events-end"], "true");
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_parts_of_one_moment() {
    let cluster = cluster();
    for i in 0..5 {
        cluster.create("other", config_map(&format!("c{i}"), "1")).expect("created");
    }
    let api = config_maps(&cluster, "tester");
    let first = api.list(&ListParams::default().limit(2)).await.expect("list");
    cluster.create("other", config_map("c00", "late")).expect("created");
    let token = first.metadata.continue_.clone().expect("more");
    assert_eq!(first.metadata.remaining_item_count, Some(3));
    let rest = api.list(&ListParams::default().continue_token(&token)).await.expect("list");
    let names: Vec<_> =
        first.items.iter().chain(&rest.items).filter_map(|one| one.metadata.name.clone()).collect();
    assert_eq!(names, ["c0", "c1", "c2", "c3", "c4"]);
    cluster.compact();
    assert_eq!(
        code_of(api.list(&ListParams::default().continue_token(&token)).await),
        (410, "Expired".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn custom_kinds_come_and_go_with_their_definition() {
    let cluster = cluster();
    let api = dynamic(cluster.client("tester"), "x.io", "Sample", "samples");
    assert_eq!(code_of(api.get("a").await).0, 404);
    cluster.create("other", definition()).expect("created");
    let params = PostParams::default();
    let created = api
        .create(&params, &parsed(sample("a", &json!({"mode": "a", "unknown": 1}))))
        .await
        .expect("created");
    assert_eq!(created.data["spec"], json!({"mode": "a", "replicas": 1}), "pruned and defaulted");
    assert_eq!(
        code_of(api.create(&params, &parsed(sample("b", &json!({"mode": "c"})))).await),
        (422, "Invalid".to_owned())
    );
    let strict =
        PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("tester") };
    let refused =
        api.patch("a", &strict, &Patch::Apply(sample("a", &json!({"mode": "a", "unknown": 1})))).await;
    assert_eq!(code_of(refused).0, 500, "a field that the schema does not have cannot be owned");
    assert_eq!(code_of(api.patch("a", &PatchParams::default(), &Patch::Strategic(json!({}))).await).0, 415);
    let status = api
        .patch_status(
            "a",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"mode": "b"}, "status": {"replicas": 3}})),
        )
        .await
        .expect("status");
    assert_eq!((&status.data["spec"]["mode"], &status.data["status"]["replicas"]), (&json!("a"), &json!(3)));
    assert_eq!(status.metadata.generation, Some(1));
    let main = api
        .patch(
            "a",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"mode": "b"}, "status": {"replicas": 9}})),
        )
        .await
        .expect("main");
    assert_eq!((main.metadata.generation, &main.data["status"]["replicas"]), (Some(2), &json!(3)));
    let scale = api.get_scale("a").await.expect("scale");
    assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(1));
    api.patch_scale("a", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 5}})))
        .await
        .expect("scaled");
    assert_eq!(cluster.get("Sample", None, "a").expect("a")["spec"]["replicas"], 5);
    cluster
        .delete(
            "other",
            "CustomResourceDefinition",
            None,
            "samples.x.io",
            sluice_sim::DeleteOptions::default(),
        )
        .expect("deleted");
    assert_eq!(code_of(api.get("a").await).0, 404);
    assert!(!cluster.has_kind("Sample"));
}

#[tokio::test(start_paused = true)]
async fn applies_conflict_and_can_be_forced() {
    let cluster = cluster();
    cluster.create("other", definition()).expect("created");
    let api = dynamic(cluster.client("tester"), "x.io", "Sample", "samples");
    let apply = |who: &'static str, spec: Value| {
        let api = api.clone();
        async move { api.patch("s", &PatchParams::apply(who), &Patch::Apply(sample("s", &spec))).await }
    };
    apply("one", json!({"mode": "a", "replicas": 2})).await.expect("created");
    let kube::Error::Api(refused) = apply("two", json!({"mode": "b"})).await.expect_err("conflict") else {
        panic!("no answer")
    };
    assert_eq!(refused.message, "Apply failed with 1 conflict: conflict with \"one\": .spec.mode");
    api.patch("s", &PatchParams::apply("two").force(), &Patch::Apply(sample("s", &json!({"mode": "b"}))))
        .await
        .expect("forced");
    let less = apply("one", json!({"replicas": 2})).await.expect("the lost field is not mine any more");
    assert_eq!(less.data["spec"], json!({"mode": "b", "replicas": 2}));
    let before = less.metadata.resource_version.clone();
    let again = apply("one", json!({"replicas": 2})).await.expect("nothing new");
    assert_eq!(again.metadata.resource_version, before);
}

#[tokio::test(start_paused = true)]
async fn finalizers_hold_what_is_deleted() {
    let cluster = cluster();
    let mut held = config_map("a", "1");
    held["metadata"]["finalizers"] = json!(["x.io/hold"]);
    cluster.create("other", held).expect("created");
    let api = config_maps(&cluster, "tester");
    let waiting = api.delete("a", &DeleteParams::default()).await.expect("begun").left().expect("the object");
    assert!(waiting.metadata.deletion_timestamp.is_some());
    let more = Patch::Merge(json!({"metadata": {"finalizers": ["x.io/hold", "x.io/more"]}}));
    assert_eq!(code_of(api.patch("a", &PatchParams::default(), &more).await).0, 422);
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let last = api.patch("a", &PatchParams::default(), &none).await.expect("let go");
    assert!(cluster.get("ConfigMap", None, "a").is_none());
    assert_eq!(last.metadata.finalizers, None, "the answer is what was asked for");
    assert_eq!(last.metadata.resource_version, waiting.metadata.resource_version, "which was never stored");
    let changes = cluster.changes_since(waiting.metadata.resource_version.unwrap().parse().unwrap());
    let ended: Vec<_> =
        changes.iter().map(|one| (one.deleted, &one.object()["metadata"]["finalizers"])).collect();
    assert_eq!(ended, [(true, &json!(["x.io/hold"]))], "what ends is what was stored");
}

#[tokio::test(start_paused = true)]
async fn parts_of_a_selected_list_end_where_the_list_may_go_on() {
    let cluster = cluster();
    for (name, labels) in [("a", json!({"x": "1"})), ("b", json!({}))] {
        let mut object = config_map(name, "1");
        object["metadata"]["labels"] = labels;
        cluster.create("other", object).expect("created");
    }
    let api = config_maps(&cluster, "tester");
    let params = ListParams::default().limit(1);
    let labelled = api.list(&params.clone().labels("x=1")).await.expect("list");
    assert!(labelled.metadata.continue_.is_some(), "whether b is selected too is for the next part");
    let rest = params.clone().labels("x=1").continue_token(&labelled.metadata.continue_.unwrap());
    let rest = api.list(&rest).await.expect("list");
    assert_eq!((rest.items.len(), rest.metadata.continue_), (0, None));
    let named = api.list(&params.fields("metadata.name=a")).await.expect("list");
    assert_eq!((named.items.len(), named.metadata.continue_), (1, None), "a name leads to one object");
}

#[tokio::test(start_paused = true)]
async fn what_an_apply_leaves_empty_is_stored_and_not_shown() {
    let cluster = cluster();
    cluster.create("other", definition()).expect("created");
    let api = dynamic(cluster.client("tester"), "x.io", "Sample", "samples");
    let mut config = sample("s", &json!({"mode": "a"}));
    config["metadata"]["ownerReferences"] = json!([]);
    let applied = api.patch("s", &PatchParams::apply("one"), &Patch::Apply(config)).await.expect("created");
    assert_eq!(applied.metadata.owner_references, None);
    let nothing = Patch::Merge(json!({}));
    let mut versions = vec![applied.metadata.resource_version];
    for _ in 0..2 {
        let same = api.patch("s", &PatchParams::default(), &nothing).await.expect("patched");
        versions.push(same.metadata.resource_version);
    }
    assert_ne!(versions[0], versions[1], "it is written without the empty list");
    assert_eq!(versions[1], versions[2], "and is stored so from then on");
}

#[tokio::test(start_paused = true)]
async fn metadata_alone_can_be_asked_for() {
    let cluster = cluster();
    cluster.create("other", config_map("a", "1")).expect("created");
    let api = config_maps(&cluster, "tester");
    let meta = api.get_metadata("a").await.expect("metadata");
    assert_eq!(meta.metadata.name.as_deref(), Some("a"));
    let list = api.list_metadata(&ListParams::default()).await.expect("list");
    assert_eq!(list.items.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn errors_say_what_a_real_server_says() {
    let cluster = cluster();
    let api = config_maps(&cluster, "tester");
    let message = |error: kube::Error| match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    };
    let missing = api.get("nope").await.expect_err("absent");
    assert_eq!(message(missing), "configmaps \"nope\" not found");
    let elsewhere =
        kube::Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(cluster.client("tester"), "nowhere");
    let refused = elsewhere
        .create(
            &PostParams::default(),
            &serde_json::from_value(json!({"metadata": {"name": "a"}})).expect("an object"),
        )
        .await;
    assert_eq!(message(refused.expect_err("no namespace")), "namespaces \"nowhere\" not found");
}
