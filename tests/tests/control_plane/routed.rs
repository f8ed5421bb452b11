//! A canary whose share a router carries, by objects of a router on a real API server.

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use sluice_controller::Options;
use sluice_engine::world::Settings;
use sluice_tests::cluster::eventually;
use sluice_tests::takeover::HASH;

use crate::harness::{SOON, Sandbox, canary, foreign_kinds, image, is_write, text};

/// A canary with both Services, whose old pods go soon.
async fn begin(routing: Value, objects: &[Value]) -> Result<Sandbox> {
    let mut sandbox = Sandbox::new("routed").await?;
    for name in ["stable", "canary"] {
        sandbox
            .apply(&json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
            }))
            .await?;
    }
    for object in objects {
        sandbox.apply(object).await?;
    }
    // Nobody follows the routes here, so there is nobody to wait for.
    let settings = Settings { settle: jiff::SignedDuration::from_secs(1), ..Settings::default() };
    sandbox.start_controller(Options { settings, ..Options::default() }).await?;
    let mut rollout =
        canary("web", 4, json!([{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]));
    let strategy = &mut rollout["spec"]["strategy"]["canary"];
    strategy["stableService"] = "stable".into();
    strategy["canaryService"] = "canary".into();
    strategy["trafficRouting"] = routing;
    strategy["scaleDownDelaySeconds"] = 2.into();
    strategy["abortScaleDownDelaySeconds"] = 2.into();
    sandbox.apply(&rollout).await?;
    sandbox.until("1 | 1:4/4 | Healthy").await?;
    Ok(sandbox)
}

async fn get(api: &Api<DynamicObject>, name: &str) -> Result<Value> {
    Ok(serde_json::to_value(api.get(name).await?)?)
}

/// Waits until the canary's weight is this, as `weight` reads it.
async fn weight(sandbox: &Sandbox, weight: impl AsyncFn() -> Result<Value>, expected: Value) -> Result<()> {
    eventually(&format!("a weight of {expected}"), SOON, async || {
        let found = weight().await.map_err(text)?;
        if found == expected { Ok(()) } else { Err(found.to_string()) }
    })
    .await
    .with_context(|| sandbox.namespace.clone())?;
    Ok(())
}

async fn patch_status(sandbox: &Sandbox, status: &Value) -> Result<()> {
    let patch = json!({"status": status}).to_string();
    let arguments = ["patch", "rollout", "web", "--subresource=status", "--type=merge", "--patch", &patch];
    sandbox.kubectl(&arguments).await?;
    Ok(())
}

/// An update, as its weights go: to its steps, back by an abort, and on to the end.
async fn update(
    sandbox: &Sandbox,
    read: impl AsyncFn() -> Result<Value>,
    as_read: fn(i64) -> Value,
) -> Result<()> {
    let resume = json!({"pauseConditions": null});
    sandbox.kubectl(&["patch", "rollout", "web", "--type=json", "--patch", &image("2")]).await?;
    sandbox.until("2 | 1:4/4 2:1/1 | Paused CanaryPauseStep").await?;
    weight(sandbox, &read, as_read(25)).await?;
    patch_status(sandbox, &resume).await?;
    sandbox.until("2 | 1:4/4 2:2/2 | Paused CanaryPauseStep").await?;
    weight(sandbox, &read, as_read(50)).await?;

    patch_status(sandbox, &json!({"abort": true})).await?;
    weight(sandbox, &read, as_read(0)).await?;
    sandbox.until("2 | 1:4/4 | Degraded RolloutAborted: Rollout aborted update to revision 2").await?;

    patch_status(sandbox, &json!({"abort": false})).await?;
    sandbox.until("2 | 1:4/4 2:1/1 | Paused CanaryPauseStep").await?;
    weight(sandbox, &read, as_read(25)).await?;
    patch_status(sandbox, &resume).await?;
    sandbox.until("2 | 1:4/4 2:2/2 | Paused CanaryPauseStep").await?;
    patch_status(sandbox, &resume).await?;
    sandbox.until("2 | 2:4/4 | Healthy").await?;
    weight(sandbox, &read, as_read(0)).await?;

    let services = sandbox.api("", "v1", "Service", "services");
    let (stable, canary) = (get(&services, "stable").await?, get(&services, "canary").await?);
    ensure!(stable["spec"]["selector"][HASH] == canary["spec"]["selector"][HASH], "{stable} {canary}");
    let rollout = serde_json::to_value(sandbox.rollouts().get("web").await?)?;
    let weights = &rollout["status"]["canary"]["weights"];
    ensure!(
        (&weights["canary"]["weight"], &weights["stable"]["weight"]) == (&json!(0), &json!(100)),
        "{weights}"
    );
    Ok(())
}

#[tokio::test]
async fn nginx_sends_what_the_canary_ingress_says() -> Result<()> {
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "web", "annotations": {"nginx.ingress.kubernetes.io/proxy-body-size": "8m", "team": "shop"}},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": "web.example", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "stable", "port": {"number": 80}}}},
            {"path": "/api", "pathType": "Prefix", "backend": {"service": {"name": "api", "port": {"number": 80}}}}]}}]},
    });
    let routing = json!({"nginx": {"stableIngress": "web"}});
    let sandbox = begin(routing, &[ingress]).await?;
    let ingresses = sandbox.api("networking.k8s.io", "v1", "Ingress", "ingresses");
    let before = get(&ingresses, "web").await?;
    let read = async || {
        let canary = get(&ingresses, "web-web-canary").await?;
        Ok(canary["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"].clone())
    };
    update(&sandbox, read, |weight| weight.to_string().into()).await?;

    ensure!(get(&ingresses, "web").await? == before, "the user's Ingress is the user's");
    let canary = get(&ingresses, "web-web-canary").await?;
    let paths = canary["spec"]["rules"][0]["http"]["paths"].as_array().context("paths")?;
    let backends: Vec<_> = paths.iter().map(|path| &path["backend"]["service"]["name"]).collect();
    ensure!(backends == ["canary", "api"], "only what leads to stable is led elsewhere: {canary}");
    ensure!(canary["metadata"]["ownerReferences"][0]["name"] == "web", "it goes with the Rollout: {canary}");
    Ok(())
}

#[tokio::test]
async fn istio_sends_what_the_virtual_service_says() -> Result<()> {
    foreign_kinds().await?;
    let http = json!([
        {"name": "api", "match": [{"uri": {"prefix": "/api"}}], "route": [{"destination": {"host": "api"}}]},
        {"name": "primary", "timeout": "3s", "retries": {"attempts": 3}, "route": [
            {"destination": {"host": "stable", "port": {"number": 80}}, "weight": 100, "headers": {"request": {"set": {"x": "y"}}}},
            {"destination": {"host": "canary", "port": {"number": 80}}, "weight": 0}]},
    ]);
    let route = json!({
        "apiVersion": "networking.istio.io/v1beta1", "kind": "VirtualService",
        "metadata": {"name": "web", "labels": {"team": "shop"}},
        "spec": {"hosts": ["web.example"], "gateways": ["mesh", "gw"], "http": http},
    });
    let routing = json!({"istio": {"virtualService": {"name": "web", "routes": ["primary"]}}});
    let sandbox = begin(routing, &[route]).await?;
    let routes = sandbox.api("networking.istio.io", "v1beta1", "VirtualService", "virtualservices");
    let before = get(&routes, "web").await?;
    let read = async || {
        let route = get(&routes, "web").await?;
        let weight = |index: usize| route["spec"]["http"][1]["route"][index]["weight"].clone();
        Ok(json!([weight(0), weight(1)]))
    };
    update(&sandbox, read, |weight| json!([100 - weight, weight])).await?;

    let after = get(&routes, "web").await?;
    ensure!(after["spec"] == before["spec"], "back where it was: {after}");
    ensure!(after["metadata"]["labels"] == before["metadata"]["labels"], "{after}");
    let requests = sandbox.requests()?;
    let writes =
        requests.iter().filter(|entry| is_write(entry) && entry.resource == "virtualservices").count();
    ensure!(writes == 7, "one for each change of the weight: {writes}");
    Ok(())
}
