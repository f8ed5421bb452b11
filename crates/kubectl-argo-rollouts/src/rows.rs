//! The table of `list rollouts`.
//!
//! Decides what stands in which cell and how wide the columns are. Same columns and least widths as Argo
//! Rollouts v1.10; no blanks follow the last cell.

use jiff::Timestamp;
use serde_json::Value;

use crate::fields::{has_object, is_true, list, number, text};
use crate::overlay;

/// One line of the table, without the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Namespace.
    pub namespace: String,
    /// Name, strategy, status, step, weight, ready, desired, up to date, available.
    pub cells: [String; 9],
}

const TITLES: [&str; 9] =
    ["NAME", "STRATEGY", "STATUS", "STEP", "SET-WEIGHT", "READY", "DESIRED", "UP-TO-DATE", "AVAILABLE"];
const LEAST_WIDTHS: [usize; 9] = [10, 9, 12, 4, 10, 5, 7, 10, 9];
const NAMESPACE: (&str, usize) = ("NAMESPACE", 9);
const TIMESTAMP: (&str, usize) = ("TIMESTAMP", 20);

/// Returns the line of a rollout.
pub fn row(rollout: &Value) -> Row {
    let count = |field: &str| number(rollout, &format!("/status/{field}")).unwrap_or(0);
    let strategy = ["canary", "blueGreen", "rollingUpdate"]
        .into_iter()
        .zip(["Canary", "BlueGreen", "RollingUpdate"])
        .find(|(field, _)| has_object(rollout, &format!("/spec/strategy/{field}")))
        .map_or("unknown", |(_, name)| name);
    let (step, weight) = match strategy {
        "Canary" => canary(rollout),
        _ => (None, None),
    };
    let or_dash = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
    Row {
        namespace: text(rollout, "/metadata/namespace").to_owned(),
        cells: [
            text(rollout, "/metadata/name").to_owned(),
            strategy.to_owned(),
            overlay::shown(rollout).phase,
            or_dash(step),
            or_dash(weight),
            format!("{}/{}", count("readyReplicas"), count("replicas")),
            number(rollout, "/spec/replicas").unwrap_or(1).to_string(),
            count("updatedReplicas").to_string(),
            count("availableReplicas").to_string(),
        ],
    }
}

/// Step and weight of a canary. The weight is that of the nearest `setWeight` so far.
fn canary(rollout: &Value) -> (Option<String>, Option<String>) {
    let steps = list(rollout, "/spec/strategy/canary/steps");
    let index = number(rollout, "/status/currentStepIndex").unwrap_or(0);
    let step = (!steps.is_empty()).then(|| format!("{index}/{}", steps.len()));
    let full = number(rollout, "/spec/strategy/canary/trafficRouting/maxTrafficWeight").unwrap_or(100);
    let done = usize::try_from(index).unwrap_or(0);
    let weight = if is_true(rollout, "/status/abort") {
        0
    } else if done >= steps.len() {
        full
    } else {
        steps[..=done].iter().rev().find_map(|step| number(step, "/setWeight")).unwrap_or(0)
    };
    (step, Some(weight.to_string()))
}

/// Which columns there are and how wide.
#[derive(Clone, Debug)]
pub struct Table {
    with_namespace: bool,
    with_time: bool,
    widths: Vec<usize>,
}

impl Table {
    /// Makes columns wide enough for `rows`. Later rows keep these widths.
    pub fn new(rows: &[Row], with_namespace: bool, with_time: bool) -> Table {
        let mut table = Table { with_namespace, with_time, widths: Vec::new() };
        let mut widths: Vec<usize> = table.optional().iter().map(|(_, width)| *width).collect();
        widths.extend(LEAST_WIDTHS);
        for row in rows {
            // The widest timestamp is the narrowest too.
            for (width, cell) in widths.iter_mut().zip(table.cells(row, "")) {
                *width = (*width).max(cell.chars().count());
            }
        }
        table.widths = widths;
        table
    }

    fn optional(&self) -> Vec<(&'static str, usize)> {
        let time = self.with_time.then_some(TIMESTAMP);
        let namespace = self.with_namespace.then_some(NAMESPACE);
        time.into_iter().chain(namespace).collect()
    }

    fn cells<'a>(&self, row: &'a Row, time: &'a str) -> Vec<&'a str> {
        let time = self.with_time.then_some(time);
        let namespace = self.with_namespace.then_some(row.namespace.as_str());
        time.into_iter().chain(namespace).chain(row.cells.iter().map(String::as_str)).collect()
    }

    fn line(&self, cells: &[&str]) -> String {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&self.widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        line.trim_end().to_owned()
    }

    /// Returns the line of titles.
    pub fn header(&self) -> String {
        let titles: Vec<&str> = self.optional().iter().map(|(title, _)| *title).chain(TITLES).collect();
        self.line(&titles)
    }

    /// Returns the line of `row`, seen at `now`.
    pub fn row(&self, row: &Row, now: Timestamp) -> String {
        let time = Timestamp::constant(now.as_second(), 0).to_string();
        self.line(&self.cells(row, &time))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checkout() -> Value {
        let steps = json!([{"setWeight": 10}, {"setWeight": 25}, {"pause": {}}, {"pause": {}}, {"setWeight": 50}, {}]);
        json!({
            "metadata": {"name": "checkout", "namespace": "shop"},
            "spec": {"replicas": 1, "strategy": {"canary": {"steps": steps}}},
            "status": {"phase": "Paused", "currentStepIndex": 3, "readyReplicas": 2, "replicas": 2,
                "updatedReplicas": 1, "availableReplicas": 2},
        })
    }

    fn billing() -> Value {
        json!({
            "metadata": {"name": "billing", "namespace": "shop"},
            "spec": {"replicas": 3, "strategy": {"blueGreen": {"activeService": "billing"}}},
            "status": {"phase": "Healthy", "readyReplicas": 3, "replicas": 3, "updatedReplicas": 3,
                "availableReplicas": 3},
        })
    }

    fn print(rollouts: &[Value], with_namespace: bool, with_time: bool) -> String {
        let rows: Vec<Row> = rollouts.iter().map(row).collect();
        let table = Table::new(&rows, with_namespace, with_time);
        let now = Timestamp::constant(1_767_323_045, 999);
        let lines = rows.iter().map(|row| table.row(row, now));
        std::iter::once(table.header()).chain(lines).map(|line| line + "\n").collect()
    }

    #[test]
    fn tables() {
        let expected = "\
NAME        STRATEGY   STATUS        STEP  SET-WEIGHT  READY  DESIRED  UP-TO-DATE  AVAILABLE
billing     BlueGreen  Healthy       -     -           3/3    3        3           3
checkout    Canary     Paused        3/6   25          2/2    1        1           2
";
        assert_eq!(print(&[billing(), checkout()], false, false), expected);

        let expected = "\
NAMESPACE  NAME        STRATEGY   STATUS        STEP  SET-WEIGHT  READY  DESIRED  UP-TO-DATE  AVAILABLE
shop       billing     BlueGreen  Healthy       -     -           3/3    3        3           3
";
        assert_eq!(print(&[billing()], true, false), expected);

        let mut long = billing();
        long["metadata"]["name"] = json!("a-name-of-more-than-ten-letters");
        let expected = "\
TIMESTAMP             NAMESPACE  NAME                             STRATEGY   STATUS        STEP  SET-WEIGHT  READY  DESIRED  UP-TO-DATE  AVAILABLE
2026-01-02T03:04:05Z  shop       a-name-of-more-than-ten-letters  BlueGreen  Healthy       -     -           3/3    3        3           3
";
        assert_eq!(print(&[long], true, true), expected);
    }

    #[test]
    fn steps_and_weights_of_a_canary() {
        let canary = |steps: Value, status: Value| json!({"spec": {"strategy": {"canary": {"steps": steps}}}, "status": status});
        let routed = |index: i64| {
            let canary = json!({"steps": [{"setWeight": 10}], "trafficRouting": {"maxTrafficWeight": 1000}});
            json!({"spec": {"strategy": {"canary": canary}}, "status": {"currentStepIndex": index}})
        };
        let steps = || json!([{"pause": {}}, {"setWeight": 20}, {"pause": {}}, {"setWeight": 40}]);
        // rollout => step, weight
        for (rollout, step, weight) in [
            (canary(steps(), json!({})), "0/4", "0"),
            (canary(steps(), json!({"currentStepIndex": 0})), "0/4", "0"),
            (canary(steps(), json!({"currentStepIndex": 1})), "1/4", "20"),
            (canary(steps(), json!({"currentStepIndex": 2})), "2/4", "20"),
            (canary(steps(), json!({"currentStepIndex": 3})), "3/4", "40"),
            (canary(steps(), json!({"currentStepIndex": 4})), "4/4", "100"),
            (canary(steps(), json!({"currentStepIndex": 9})), "9/4", "100"),
            (canary(steps(), json!({"currentStepIndex": -1})), "-1/4", "0"),
            (canary(steps(), json!({"currentStepIndex": 3, "abort": true})), "3/4", "0"),
            (canary(json!([]), json!({})), "-", "100"),
            (routed(0), "0/1", "10"),
            (routed(1), "1/1", "1000"),
        ] {
            let cells = row(&rollout).cells;
            assert_eq!((cells[3].as_str(), cells[4].as_str()), (step, weight), "{rollout}");
        }
    }

    #[test]
    fn little_is_enough_for_a_row() {
        let cells = ["", "unknown", "Progressing", "-", "-", "0/0", "1", "0", "0"].map(str::to_owned);
        assert_eq!(row(&Value::Null), Row { namespace: String::new(), cells });
    }
}
