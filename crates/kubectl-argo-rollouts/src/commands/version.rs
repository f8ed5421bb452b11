//! `version`

use std::io::Write;

use crate::cli::go_bool;
use crate::error::CommandError;

/// Print the version
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Print the number alone
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", value_parser = go_bool, hide_default_value = true)]
    short: bool,
}

/// What is known of this build. A release sets the variables when it compiles.
struct Build {
    version: &'static str,
    date: Option<&'static str>,
    commit: Option<&'static str>,
    tree_state: Option<&'static str>,
}

const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    date: option_env!("SLUICE_BUILD_DATE"),
    commit: option_env!("SLUICE_GIT_COMMIT"),
    tree_state: option_env!("SLUICE_GIT_TREE_STATE"),
};

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), CommandError> {
    out.write_all(text(&BUILD, arguments.short).as_bytes())?;
    Ok(())
}

/// The lines of Argo Rollouts, with Rust in the place of Go.
fn text(build: &Build, is_short: bool) -> String {
    let known = |value: Option<&'static str>| value.filter(|value| !value.is_empty()).unwrap_or("unknown");
    let commit: String = known(build.commit).chars().take(7).collect();
    let first = format!("kubectl-argo-rollouts: v{}+{commit}\n", build.version);
    if is_short {
        return first;
    }
    format!(
        "{first}  BuildDate: {}\n  GitCommit: {}\n  GitTreeState: {}\n  RustVersion: {}\n  Compiler: rustc\n  Platform: {}\n",
        known(build.date),
        known(build.commit),
        known(build.tree_state),
        env!("CARGO_PKG_RUST_VERSION"),
        platform(std::env::consts::OS, std::env::consts::ARCH),
    )
}

/// Operating system and processor by the names that Kubernetes uses.
fn platform(os: &str, arch: &str) -> String {
    let os = if os == "macos" { "darwin" } else { os };
    let arch = match arch {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    };
    format!("{os}/{arch}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let build = Build {
            version: "1.2.3",
            date: Some("2026-01-02T03:04:05Z"),
            commit: Some("abc1234def"),
            tree_state: Some("clean"),
        };
        assert_eq!(text(&build, true), "kubectl-argo-rollouts: v1.2.3+abc1234\n");
        let long = text(&build, false);
        let (first, rest) = long.split_once('\n').expect("lines");
        assert_eq!(first, "kubectl-argo-rollouts: v1.2.3+abc1234");
        let labels: Vec<&str> =
            rest.lines().filter_map(|line| line.split_once(": ")).map(|(label, _)| label).collect();
        let expected =
            ["  BuildDate", "  GitCommit", "  GitTreeState", "  RustVersion", "  Compiler", "  Platform"];
        assert_eq!(labels, expected);
        assert!(rest.contains("GitCommit: abc1234def\n"));

        let unknown = Build { version: "0.0.0", date: None, commit: Some(""), tree_state: None };
        assert_eq!(text(&unknown, true), "kubectl-argo-rollouts: v0.0.0+unknown\n");
    }

    #[test]
    fn platforms() {
        for (os, arch, expected) in [
            ("linux", "x86_64", "linux/amd64"),
            ("macos", "aarch64", "darwin/arm64"),
            ("linux", "s390x", "linux/s390x"),
        ] {
            assert_eq!(platform(os, arch), expected);
        }
    }
}
