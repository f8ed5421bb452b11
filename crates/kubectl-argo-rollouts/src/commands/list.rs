//! `list rollouts`

use std::collections::BTreeMap;
use std::io::Write;

use jiff::Timestamp;
use kube::api::ListParams;
use serde_json::Value;

use crate::api::{Api, ROLLOUTS};
use crate::cli::go_bool;
use crate::error::CommandError;
use crate::kubeconfig::{self, Connection, KubeFlags};
use crate::rows::{Row, Table, row};
use crate::watch::{Follower, Seen};

/// List rollouts
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Show only the rollout of this name
    #[arg(long, value_name = "ROLLOUT")]
    name: Option<String>,
    /// Show the rollouts of all namespaces
    #[arg(short = 'A', long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", value_parser = go_bool, hide_default_value = true)]
    all_namespaces: bool,
    /// Go on and print a line whenever a rollout changes
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", value_parser = go_bool, hide_default_value = true)]
    watch: bool,
    /// Print the time of each line
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true", value_parser = go_bool, hide_default_value = true)]
    timestamps: bool,
}

pub(crate) async fn run(
    arguments: &Arguments,
    flags: &KubeFlags,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let Connection { api, namespace } = kubeconfig::connect(flags).await?;
    let namespace = (!arguments.all_namespaces).then_some(namespace);
    let name = arguments.name.clone().filter(|name| !name.is_empty());
    if arguments.watch {
        return follow(&api, namespace, name, arguments, out).await;
    }
    let selection = ListParams {
        field_selector: name.map(|name| format!("metadata.name={name}")),
        ..ListParams::default()
    };
    let rollouts = api.list(ROLLOUTS, namespace.as_deref(), &selection).await?.items;
    if rollouts.is_empty() {
        // Talk, not data; there is no other place to complain to.
        let _ = writeln!(std::io::stderr(), "No resources found.");
        return Ok(());
    }
    let rows: Vec<Row> = rollouts.iter().map(row).collect();
    let table = Table::new(&rows, arguments.all_namespaces, arguments.timestamps);
    print(&table, &rows, true, out)
}

/// Prints the table, then a line for every rollout that looks different from before.
async fn follow(
    api: &Api,
    namespace: Option<String>,
    name: Option<String>,
    arguments: &Arguments,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let mut follower = Follower::new(api, namespace, name);
    let mut table = None;
    let mut printed: BTreeMap<(String, String), Row> = BTreeMap::new();
    loop {
        let rollouts = match follower.next().await? {
            Seen::All(rollouts) => rollouts,
            // A rollout that is gone looks as it did last.
            Seen::Changed(rollout) | Seen::Deleted(rollout) => vec![rollout],
        };
        let rows = changed(&rollouts, &mut printed);
        let is_first = table.is_none();
        let table =
            table.get_or_insert_with(|| Table::new(&rows, arguments.all_namespaces, arguments.timestamps));
        print(table, &rows, is_first, out)?;
    }
}

/// Returns the rows that differ from what was printed, and takes them as printed.
fn changed(rollouts: &[Value], printed: &mut BTreeMap<(String, String), Row>) -> Vec<Row> {
    let mut rows = Vec::new();
    for row in rollouts.iter().map(row) {
        let key = (row.namespace.clone(), row.cells[0].clone());
        if printed.insert(key, row.clone()).as_ref() != Some(&row) {
            rows.push(row);
        }
    }
    rows
}

fn print(table: &Table, rows: &[Row], with_header: bool, out: &mut dyn Write) -> Result<(), CommandError> {
    let now = Timestamp::now();
    if with_header {
        writeln!(out, "{}", table.header())?;
    }
    for row in rows {
        writeln!(out, "{}", table.row(row, now))?;
    }
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_looks_different_is_printed() {
        let rollout = |name: &str, namespace: &str, phase: &str, note: &str| {
            json!({"metadata": {"name": name, "namespace": namespace, "labels": {"note": note}},
                "status": {"phase": phase}})
        };
        let mut printed = BTreeMap::new();
        // rollout => is it printed
        for (rollout, expected) in [
            (rollout("a", "x", "Healthy", ""), true),
            (rollout("a", "x", "Healthy", "new"), false),
            (rollout("a", "y", "Healthy", ""), true),
            (rollout("a", "x", "Paused", ""), true),
            (rollout("a", "x", "Healthy", ""), true),
        ] {
            let rows = changed(std::slice::from_ref(&rollout), &mut printed);
            assert_eq!(rows.len() == 1, expected, "{rollout}");
        }
    }
}
