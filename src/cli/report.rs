//! What `stile check` prints: tables for people, one object for machines.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;

use super::connections::Connection;
use super::table::table;
use crate::config::{Config, Effective, Level, Verdict};
use crate::rate_limit::Rule;

pub(super) struct Report<'a> {
    pub(super) config: &'a Config,
    /// The env file that was read.
    pub(super) file: Option<&'a str>,
    /// What to know of the configuration, and of what was connected to.
    pub(super) verdicts: &'a [&'a Verdict],
    pub(super) connections: &'a [Connection],
}

/// One line of the table of limits.
#[derive(Serialize)]
struct LimitLine {
    name: &'static str,
    variable: &'static str,
    limit: String,
    strategy: &'static str,
    mode: &'static str,
    per: &'static str,
}

impl Report<'_> {
    pub(super) fn json(&self) -> String {
        let variable = |Effective { name, value, origin }: &Effective| json!({ "name": name, "value": value, "from": origin.to_string() });
        let verdict =
            |verdict: &&Verdict| json!({ "level": level(verdict), "text": verdict.text, "fix": verdict.fix });
        let report = json!({
            "valid": true,
            "environment": self.config.environment.name(),
            "env_file": self.file,
            "variables": self.config.effective.iter().map(variable).collect::<Vec<_>>(),
            "limits": { "enabled": self.config.rate_limit.enabled, "rules": self.limits() },
            "verdicts": self.verdicts.iter().map(verdict).collect::<Vec<_>>(),
            "connections": self.connections,
        });
        format!("{report:#}\n")
    }

    pub(super) fn text(&self) -> String {
        let variables: Vec<_> = self
            .config
            .effective
            .iter()
            .map(|effective| {
                [
                    effective.name.to_owned(),
                    effective.value.clone(),
                    effective.origin.to_string(),
                ]
            })
            .collect();
        let limits: Vec<_> = self
            .limits()
            .iter()
            .map(|line| {
                [
                    line.name,
                    &line.limit,
                    line.strategy,
                    line.mode,
                    line.per,
                    line.variable,
                ]
                .map(str::to_owned)
            })
            .collect();
        let mut text = format!(
            "Environment {}, {}\n\n",
            self.config.environment,
            self.file.unwrap_or("no env file")
        );
        text.push_str(&table(["VARIABLE", "VALUE", "FROM"], &variables));
        let enabled = if self.config.rate_limit.enabled {
            ""
        } else {
            " (limiting is off: none is checked)"
        };
        let _ = writeln!(text, "\nLimits{enabled}");
        text.push_str(&table(
            ["NAME", "LIMIT", "STRATEGY", "MODE", "PER", "VARIABLE"],
            &limits,
        ));
        text.push_str("\nVerdicts\n");
        for verdict in self.verdicts {
            remark(&mut text, level(verdict), &verdict.text, verdict.fix.as_deref());
        }
        for connection in self.connections {
            let level = if connection.ok { "fine" } else { "failed" };
            let said = format!("{}: {}", connection.to, connection.detail);
            remark(&mut text, level, &said, connection.fix.as_deref());
        }
        text
    }

    fn limits(&self) -> Vec<LimitLine> {
        let line = |rule: Rule| {
            let limit = self.config.rate_limit.rules.get(rule);
            LimitLine {
                name: rule.name(),
                variable: rule.variable(),
                limit: limit.rate(),
                strategy: limit.strategy().name(),
                mode: limit.mode().name(),
                per: rule.per().name(),
            }
        };
        Rule::ALL.into_iter().map(line).collect()
    }
}

/// What is the case, and below it what to type.
fn remark(text: &mut String, level: &str, said: &str, fix: Option<&str>) {
    let _ = writeln!(text, "{level:8} {said}");
    if let Some(fix) = fix {
        let _ = writeln!(text, "{:8} type: {fix}", "");
    }
}

fn level(verdict: &Verdict) -> &'static str {
    match verdict.level {
        Level::Fine => "fine",
        Level::Warning => "warning",
    }
}
