//! `packaging/alerts.yml`, judged by Prometheus itself: the rules are sound, and each alert fires on the series that it is
//! for and on no other that its test knows. An alert without both kinds of test is a finding: nobody saw it fire, or be silent.

use std::collections::BTreeSet;
use std::fs;

use crate::run::Cmd;
use crate::setup::promtool;
use crate::{Stop, Tree};

const RULES: &str = "packaging/alerts.yml";
const TESTS: &str = "packaging/alerts.test.yml";

/// Runs both.
///
/// # Errors
/// [`Stop::Said`] with what promtool found, [`Stop::Unmet`] with the alerts that are not tested.
pub fn check(tree: &Tree) -> Result<(), Stop> {
    let promtool = promtool::binary(tree)
        .ok_or_else(|| Stop::Missing("no promtool; run this first: cargo xtask setup".into()))?;
    let read = |name: &str| {
        let path = tree.root.join(name);
        fs::read_to_string(&path).map_err(Stop::file(&path))
    };
    let untested = untested(&read(RULES)?, &read(TESTS)?);
    if !untested.is_empty() {
        return Err(Stop::Unmet(format!("{TESTS} does not show: {}", untested.join(", "))));
    }
    // Its findings are on stdout.
    Cmd::new(&promtool).args(["check", "rules", RULES]).dir(&tree.root).run()?;
    Cmd::new(&promtool).args(["test", "rules", TESTS]).dir(&tree.root).run()
}

/// Alerts that no test sees fire, and such that no test sees silent.
fn untested(rules: &str, tests: &str) -> Vec<String> {
    let after = |line: &'static str| {
        move |text: &str| text.trim().strip_prefix(line).map(|name| name.trim().to_owned())
    };
    let alerts = rules.lines().filter_map(after("- alert:"));
    let (mut fires, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for (line, next) in tests.lines().zip(tests.lines().skip(1)) {
        if let Some(name) = after("alertname:")(line) {
            match next.trim() {
                "exp_alerts: []" => silent.insert(name),
                "exp_alerts:" => fires.insert(name),
                _ => false,
            };
        }
    }
    alerts
        .flat_map(|name| {
            let not = |seen: &BTreeSet<String>, what: &str| {
                (!seen.contains(&name)).then(|| format!("{name} {what}"))
            };
            [not(&fires, "firing"), not(&silent, "silent")]
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_tested_both_ways() {
        let rules = "  - alert: A\n    expr: up == 0\n";
        let silent = "- alertname: B\n- eval_time: 1m\n  alertname: A\n  exp_alerts: []\n";
        let fires = "  alertname: A\n  exp_alerts:\n    - exp_labels: {}\n";
        assert_eq!(untested(rules, &format!("{silent}{fires}")), [""; 0]);
        assert_eq!(untested(rules, silent), ["A firing"]);
        assert_eq!(untested(rules, fires), ["A silent"]);
        assert_eq!(untested(rules, ""), ["A firing", "A silent"]);
    }
}
