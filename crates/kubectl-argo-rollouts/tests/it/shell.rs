//! Words, flags, help, and the way to a cluster.

use serde_json::json;

use crate::cluster::{World, canary, failed, finish, said};

#[tokio::test]
async fn arguments_that_do_not_fit_bring_the_usage() {
    let world = World::new().await;
    for (arguments, command, operands) in [
        (["promote"].as_slice(), "promote", "<ROLLOUT>\n"),
        (&["promote", "a", "b"], "promote", "<ROLLOUT>\n"),
        (&["abort"], "abort", "<ROLLOUT>...\n"),
        (&["retry", "rollout"], "retry rollout", "<ROLLOUT>...\n"),
        (&["status"], "status", "<ROLLOUT>\n"),
        (&["set", "image", "web"], "set image", "<CONTAINER=IMAGE>\n"),
    ] {
        let outcome = world.run(arguments).await;
        assert_eq!((outcome.stdout.as_str(), outcome.code), ("", Some(1)), "{arguments:?}");
        let is_usage = outcome.stderr.starts_with(&format!("Usage: kubectl argo rollouts {command} "));
        assert!(is_usage && outcome.stderr.contains(operands), "{arguments:?}: {}", outcome.stderr);
        assert!(!outcome.stderr.to_lowercase().contains("error"), "{arguments:?}: {}", outcome.stderr);
    }
}

#[tokio::test]
async fn groups_alone_explain_themselves() {
    let world = World::new().await;
    for (arguments, usage) in [
        ([].as_slice(), "Usage: kubectl argo rollouts [OPTIONS] <COMMAND>\n"),
        (&["retry"], "Usage: kubectl argo rollouts retry [OPTIONS] <COMMAND>\n"),
        (&["set"], "Usage: kubectl argo rollouts set [OPTIONS] <COMMAND>\n"),
        (&["list"], "Usage: kubectl argo rollouts list [OPTIONS] <COMMAND>\n"),
    ] {
        let outcome = world.run(arguments).await;
        assert_eq!((outcome.stdout.as_str(), outcome.code), ("", Some(1)), "{arguments:?}");
        assert!(outcome.stderr.contains(usage), "{arguments:?}: {}", outcome.stderr);
    }
}

#[tokio::test]
async fn unknown_flags_are_errors() {
    let world = World::new().await;
    for arguments in [["abort", "web", "--nope"].as_slice(), &["status", "web", "-t", "60"], &["fly", "web"]]
    {
        let outcome = world.run(arguments).await;
        assert_eq!((outcome.stdout.as_str(), outcome.code), ("", Some(1)), "{arguments:?}");
        let is_told = outcome.stderr.starts_with("Error: ") || outcome.stderr.starts_with("Usage: ");
        assert!(is_told, "{arguments:?}: {}", outcome.stderr);
    }
}

#[tokio::test]
async fn help_and_version_need_no_cluster() {
    let world = World::new().await;
    let command = || world.command_without_kubeconfig();
    let help = finish(command().args(["promote", "--help"])).await;
    assert_eq!((help.stderr.as_str(), help.code), ("", Some(0)));
    assert!(
        help.stdout.contains("Usage: kubectl argo rollouts promote [OPTIONS] <ROLLOUT>"),
        "{}",
        help.stdout
    );
    let short = finish(command().args(["version", "--short"])).await;
    assert_eq!((short.stderr.as_str(), short.code), ("", Some(0)));
    assert_eq!(short.stdout.lines().count(), 1);
    assert!(short.stdout.starts_with("kubectl-argo-rollouts: v"), "{}", short.stdout);
    let long = finish(command().args(["version"])).await;
    assert!(
        long.stdout.starts_with(&short.stdout) && long.stdout.contains("\n  BuildDate: "),
        "{}",
        long.stdout
    );
}

#[tokio::test]
async fn flags_of_kubectl() {
    let world = World::new().await;
    let server = format!("http://{}", world.address);
    let mut elsewhere = canary("web", 1);
    elsewhere["metadata"]["namespace"] = json!("default");
    world.load(vec![canary("web", 1), elsewhere]);

    let outcome = finish(world.command_without_kubeconfig().args(["-s", &server, "abort", "web"])).await;
    assert_eq!(outcome, said("rollout 'web' aborted\n"));
    let there = world.cluster.get("Rollout", Some("default"), "web").expect("a rollout");
    assert_eq!(there["status"]["abort"], true, "without a context the namespace is default");
    assert_eq!(world.rollout("web")["status"]["abort"], serde_json::Value::Null);

    let arguments =
        ["pause", "web", "--namespace=shop", "-v", "4", "--loglevel", "debug", "--request-timeout=30s"];
    assert_eq!(world.run(&arguments).await, said("rollout 'web' paused\n"));
    assert_eq!(world.rollout("web")["spec"]["paused"], true);

    let hint = "hint: kubectl config get-contexts lists the contexts\n";
    let expected = failed("", &format!("Error: context \"nope\" does not exist\n{hint}"));
    assert_eq!(world.run(&["abort", "web", "--context", "nope"]).await, expected);
}

#[tokio::test]
async fn no_way_to_a_cluster() {
    let world = World::new().await;
    let outcome = finish(world.command_without_kubeconfig().args(["abort", "web"])).await;
    let stderr = "Error: no cluster is configured\nhint: set KUBECONFIG, or give --kubeconfig or --server\n";
    assert_eq!(outcome, failed("", stderr));

    let missing = finish(world.command().args(["abort", "web", "--kubeconfig", "/nowhere/config"])).await;
    assert_eq!((missing.stdout.as_str(), missing.code), ("", Some(1)));
    assert!(missing.stderr.starts_with("Error: kubeconfig: ") && missing.stderr.contains("/nowhere/config"));

    // A port that was free a moment ago and has no listener.
    let address = std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let server = format!("http://{address}");
    let outcome = finish(world.command_without_kubeconfig().args(["-s", &server, "abort", "web"])).await;
    assert_eq!((outcome.stdout.as_str(), outcome.code), ("", Some(1)));
    assert!(outcome.stderr.starts_with(&format!("Error: no answer from {server}")), "{}", outcome.stderr);
}

#[tokio::test]
async fn names_do_not_lead_elsewhere() {
    let world = World::new().await;
    world.load(vec![canary("web", 1)]);
    let before = world.cluster.resource_version();
    for name in ["../web", "web?dryRun=All", "web/scale", ""] {
        let outcome = world.run(&["abort", name]).await;
        assert_eq!(outcome.code, Some(1), "{name}");
        assert!(outcome.stderr.starts_with("Error: invalid resource name"), "{name}: {}", outcome.stderr);
    }
    assert_eq!(world.requests(), Vec::<String>::new());
    assert_eq!(world.cluster.resource_version(), before);
}

#[tokio::test]
async fn a_cluster_without_the_definitions() {
    let world = World::with_definitions(Vec::new()).await;
    let outcome = world.run(&["status", "web", "--watch=false"]).await;
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("hint: are the CustomResourceDefinitions"), "{}", outcome.stderr);
}
