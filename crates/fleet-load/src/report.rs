//! The end of a run: a table for people, one JSON object for programs, and whether all was right.

use std::{collections::BTreeMap, io::Write, time::Duration};

use serde_json::{Map, Value, json};

use crate::{
    figures::{Figures, Step, Times},
    ledger::Finding,
};

/// What a run came to.
#[derive(Default)]
pub(crate) struct Report {
    scenario: &'static str,
    agents: u64,
    rows: Vec<Row>,
    times: BTreeMap<Step, Times>,
    failures: BTreeMap<String, u64>,
    findings: BTreeMap<Finding, u64>,
    samples: Vec<String>,
    notes: Vec<String>,
}

struct Row {
    name: &'static str,
    value: Value,
    unit: &'static str,
}

impl Report {
    pub(crate) fn new(scenario: &'static str, agents: u64) -> Self {
        Self {
            scenario,
            agents,
            ..Self::default()
        }
    }

    /// A figure of this scenario; the name is the member of the JSON object.
    pub(crate) fn number(&mut self, name: &'static str, value: f64, unit: &'static str) {
        let rounded = (value * 1000.0).round() / 1000.0;
        self.rows.push(Row {
            name,
            value: json!(rounded),
            unit,
        });
    }

    /// The same for a count.
    pub(crate) fn count(&mut self, name: &'static str, value: u64, unit: &'static str) {
        self.rows.push(Row {
            name,
            value: json!(value),
            unit,
        });
    }

    /// One figure for each round.
    pub(crate) fn rounds(&mut self, name: &'static str, values: &[f64], unit: &'static str) {
        let rounded: Vec<f64> = values.iter().map(|value| (value * 10.0).round() / 10.0).collect();
        self.rows.push(Row {
            name,
            value: json!(rounded),
            unit,
        });
    }

    /// Something that a reader must know to understand the figures.
    pub(crate) fn note(&mut self, words: impl Into<String>) {
        self.notes.push(words.into());
    }

    /// Takes times, failures and findings.
    pub(crate) fn take(&mut self, figures: &Figures) {
        for (step, times) in &figures.times {
            self.times.entry(*step).or_default().add(times);
        }
        for (kind, count) in &figures.failures {
            *self.failures.entry(kind.clone()).or_default() += count;
        }
        for (finding, count) in &figures.findings {
            *self.findings.entry(*finding).or_default() += count;
        }
        let room = 8_usize.saturating_sub(self.samples.len());
        self.samples.extend(figures.samples.iter().take(room).cloned());
    }

    pub(crate) fn time(&mut self, step: Step, took: Duration) {
        self.times.entry(step).or_default().record(took);
    }

    pub(crate) fn found(&mut self, finding: Finding, count: u64) {
        if count > 0 {
            *self.findings.entry(finding).or_default() += count;
        }
    }

    /// Whether every agent saw what it should.
    pub(crate) fn is_right(&self) -> bool {
        self.findings.is_empty()
    }

    pub(crate) fn to_json(&self) -> Value {
        let figures: Map<String, Value> = self
            .rows
            .iter()
            .map(|row| (row.name.to_owned(), row.value.clone()))
            .collect();
        let times: Map<String, Value> = self
            .times
            .iter()
            .map(|(step, times)| {
                let [least, mean, p50, p90, p99, p999, most] = columns(times);
                let value = json!({"count": times.count(), "min": least, "mean": mean, "p50": p50, "p90": p90,
                    "p99": p99, "p99.9": p999, "max": most});
                (json!(step).as_str().unwrap_or_default().to_owned(), value)
            })
            .collect();
        let findings: Map<String, Value> = self
            .findings
            .iter()
            .map(|(finding, count)| {
                (
                    json!(finding).as_str().unwrap_or_default().to_owned(),
                    json!(count),
                )
            })
            .collect();
        json!({
            "scenario": self.scenario, "agents": self.agents, "figures": figures, "times_ms": times,
            "failures": self.failures, "findings": findings, "samples": self.samples, "notes": self.notes,
            "ok": self.is_right(),
        })
    }

    /// Two tables for a document.
    pub(crate) fn to_markdown(&self) -> String {
        let mut text = format!("{} agents\n\n| | |\n|---|---|\n", self.agents);
        for row in &self.rows {
            text.push_str(&format!(
                "| {} | {} {} |\n",
                row.name.replace('_', " "),
                row.value,
                row.unit
            ));
        }
        for (kind, count) in &self.failures {
            text.push_str(&format!("| failed: {kind} | {count} |\n"));
        }
        for (finding, count) in &self.findings {
            text.push_str(&format!("| **wrong: {}** | {count} |\n", finding.name()));
        }
        if !self.times.is_empty() {
            text.push_str("\n| ms | count | min | mean | p50 | p90 | p99 | p99.9 | max |\n|---|---|---|---|---|---|---|---|---|\n");
        }
        for (step, times) in &self.times {
            let columns = columns(times).map(|value| format!("{value:.2}")).join(" | ");
            text.push_str(&format!("| {} | {} | {columns} |\n", step.name(), times.count()));
        }
        for words in &self.notes {
            text.push_str(&format!("\n{words}\n"));
        }
        text
    }

    pub(crate) fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "{}, {} agents", self.scenario, self.agents)?;
        let width = self
            .rows
            .iter()
            .map(|row| row.name.len())
            .max()
            .unwrap_or_default();
        for row in &self.rows {
            writeln!(
                out,
                "  {:width$}  {} {}",
                row.name.replace('_', " "),
                row.value,
                row.unit
            )?;
        }
        if !self.times.is_empty() {
            writeln!(
                out,
                "  {:10} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
                "ms", "count", "min", "mean", "p50", "p90", "p99", "p99.9", "max"
            )?;
        }
        for (step, times) in &self.times {
            write!(out, "  {:10} {:>9}", step.name(), times.count())?;
            for value in columns(times) {
                write!(out, " {value:>9.2}")?;
            }
            writeln!(out)?;
        }
        for (kind, count) in &self.failures {
            writeln!(out, "  failed: {count} × {kind}")?;
        }
        for (finding, count) in &self.findings {
            writeln!(out, "  WRONG: {count} × {}", finding.name())?;
        }
        for words in self.samples.iter().chain(&self.notes) {
            writeln!(out, "  - {words}")?;
        }
        Ok(())
    }
}

fn columns(times: &Times) -> [f64; 7] {
    [
        times.least(),
        times.mean(),
        times.at(0.5),
        times.at(0.9),
        times.at(0.99),
        times.at(0.999),
        times.most(),
    ]
    .map(|time| (time.as_secs_f64() * 1e6).round() / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_the_same_to_people_and_programs() {
        let mut report = Report::new("idle", 3);
        report.number("kib_per_agent", 14.123_456, "KiB");
        report.rounds("last_ms", &[12.34], "ms");
        let mut figures = Figures::default();
        figures.time(Step::Checkin, Duration::from_micros(1500));
        figures.failure("status 429".into(), || "agent 1: status 429".into());
        report.take(&figures);
        assert!(report.is_right());
        report.found(Finding::Lost, 2);
        assert!(!report.is_right());
        let json = report.to_json();
        assert_eq!(json["figures"]["kib_per_agent"], 14.123);
        assert_eq!(json["times_ms"]["checkin"]["count"], 1);
        assert_eq!(
            (json["findings"]["lost"].as_u64(), json["ok"].as_bool()),
            (Some(2), Some(false))
        );
        let mut text = Vec::new();
        report.write(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        for part in [
            "kib per agent  14.123 KiB",
            "last ms        [12.3] ms",
            "1 × status 429",
            "WRONG: 2 × lost",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
