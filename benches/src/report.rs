//! The numbers as tables for people, and as JSON for programs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::thread;

use serde_json::{Map, Value, json};

use crate::arguments::{Arguments, Plan};
use crate::measure::{Measurement, Metric, Results};
use crate::statistics::Summary;

/// Tables with their columns. A measurement has those of which it has numbers.
const TABLES: [&[Metric]; 11] = [
    &[
        Metric::LatencyP50Us,
        Metric::LatencyP90Us,
        Metric::LatencyP99Us,
        Metric::TurnP50Us,
        Metric::EventsPerSecond,
        Metric::ProcessorUsPerEvent,
    ],
    &[Metric::FirstNextMs, Metric::FirstAnswerMs],
    &[Metric::MegabytesPerSecond, Metric::HeadUs, Metric::ProcessorMsPerStream],
    &[Metric::PeakMib, Metric::PeakGrowthMib],
    &[Metric::ResidentMib, Metric::AnonymousMib, Metric::FilesMib],
    &[Metric::ColdP50Ms, Metric::ColdP90Ms, Metric::StartedColdMs],
    &[Metric::PausedP50Us, Metric::PausedP90Us, Metric::PausedP99Us],
    &[Metric::RequestP50Us, Metric::RequestP90Us, Metric::RequestP99Us],
    &[Metric::OverrunP50Us, Metric::OverrunP90Us, Metric::OverrunP99Us],
    &[Metric::SeveralPerSecond],
    &[Metric::BesideP50Us, Metric::BesideP99Us],
];

impl Metric {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::FirstNextMs => "start → first `next`, ms",
            Self::FirstAnswerMs => "start → first answer, ms",
            Self::LatencyP50Us | Self::BesideP50Us => "event → answer p50, µs",
            Self::LatencyP90Us => "p90, µs",
            Self::TurnP50Us => "answer → `next` p50, µs",
            Self::EventsPerSecond | Self::SeveralPerSecond => "events/s",
            Self::ProcessorUsPerEvent => "CPU per event, µs",
            Self::ResidentMib => "resident, MiB",
            Self::AnonymousMib => "of it anonymous, MiB",
            Self::FilesMib => "program and artifacts, MiB",
            Self::MegabytesPerSecond => "MB/s",
            Self::HeadUs => "event → head of the answer, µs",
            Self::ProcessorMsPerStream => "CPU per stream, ms",
            Self::PeakMib => "most resident, MiB",
            Self::PeakGrowthMib => "of it since a short stream, MiB",
            Self::ColdP50Ms => "cold request p50, ms",
            Self::ColdP90Ms => "p90, ms",
            Self::StartedColdMs => "start of the program → first answer, ms",
            Self::RequestP50Us => "request right after an answer p50, µs",
            Self::PausedP50Us => "request after a pause p50, µs",
            Self::OverrunP50Us => "error → `next` p50, µs",
            Self::RequestP90Us | Self::PausedP90Us | Self::OverrunP90Us => "p90, µs",
            Self::LatencyP99Us | Self::RequestP99Us | Self::PausedP99Us | Self::OverrunP99Us | Self::BesideP99Us => {
                "p99, µs"
            }
        }
    }

    fn decimals(self) -> usize {
        match self {
            Self::EventsPerSecond
            | Self::MegabytesPerSecond
            | Self::HeadUs
            | Self::ProcessorMsPerStream
            | Self::RequestP50Us
            | Self::RequestP90Us
            | Self::RequestP99Us
            | Self::PausedP50Us
            | Self::PausedP90Us
            | Self::PausedP99Us
            | Self::OverrunP50Us
            | Self::OverrunP90Us
            | Self::OverrunP99Us
            | Self::SeveralPerSecond
            | Self::BesideP50Us
            | Self::BesideP99Us => 0,
            Self::LatencyP50Us
            | Self::LatencyP90Us
            | Self::LatencyP99Us
            | Self::TurnP50Us
            | Self::ProcessorUsPerEvent => 1,
            Self::FirstNextMs
            | Self::FirstAnswerMs
            | Self::ResidentMib
            | Self::AnonymousMib
            | Self::FilesMib
            | Self::PeakMib
            | Self::PeakGrowthMib
            | Self::ColdP50Ms
            | Self::ColdP90Ms
            | Self::StartedColdMs => 2,
        }
    }
}

/// Everything worth telling about one run.
pub(crate) struct Report<'a> {
    conditions: Map<String, Value>,
    measurements: &'a [Measurement],
}

/// What the numbers depend on, taken before the process is pinned.
pub(crate) fn conditions(arguments: &Arguments, plan: &Plan, is_mapped: bool) -> Map<String, Value> {
    let conditions: [(&str, Value); 9] = [
        ("processor", processor().into()),
        ("cores", thread::available_parallelism().map_or(0, usize::from).into()),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().into()),
        // Others at work show in the spread, and in p99 first.
        ("load average before", first_word(&read("/proc/loadavg")).into()),
        ("pinned to core", arguments.pin.into()),
        ("artifact is mapped", is_mapped.into()),
        ("rounds", plan.rounds.into()),
        ("events per round", plan.events.into()),
        ("starts per round", plan.starts.into()),
    ];
    conditions
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

impl<'a> Report<'a> {
    pub(crate) fn new(conditions: Map<String, Value>, measurements: &'a [Measurement]) -> Self {
        Self {
            conditions,
            measurements,
        }
    }

    /// In each cell: the ratio to the reference, the median, and the spread of the rounds.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.conditions {
            // Writing to a string cannot fail.
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let _ = writeln!(text, "- {name}: {value}");
        }
        for measurement in self.measurements {
            let _ = writeln!(text, "\n## `{}`, {} bytes", measurement.name, measurement.event_bytes);
            for metrics in TABLES {
                if metrics.iter().all(|metric| measurement.has(*metric)) {
                    text.push_str(&table(measurement, metrics));
                }
            }
        }
        text
    }

    pub(crate) fn json(&self) -> String {
        let events: Vec<Value> = self
            .measurements
            .iter()
            .map(|measurement| {
                let reference = measurement.reference();
                let contestants: Vec<Value> = measurement
                    .results
                    .iter()
                    .map(|(name, results)| json!({ "name": name, "metrics": metrics_json(results, reference) }))
                    .collect();
                json!({
                    "name": measurement.name,
                    "bytes": measurement.event_bytes,
                    "reference": measurement.reference,
                    "contestants": contestants,
                })
            })
            .collect();
        format!("{:#}\n", json!({ "conditions": self.conditions, "events": events }))
    }
}

fn table(measurement: &Measurement, metrics: &[Metric]) -> String {
    let reference = measurement.reference();
    let mut text = String::from("\n| |");
    for metric in metrics {
        let _ = write!(text, " {} |", metric.title());
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(metrics.len()));
    for (name, results) in &measurement.results {
        let _ = write!(text, "| {name} |");
        for metric in metrics {
            let _ = write!(text, " {} |", cell(*metric, results, reference));
        }
        text.push('\n');
    }
    text
}

fn cell(metric: Metric, results: &Results, reference: Option<&Results>) -> String {
    let Some(rounds) = results.get(&metric) else {
        return "–".to_owned();
    };
    let Summary {
        median,
        minimum,
        maximum,
    } = rounds.summary();
    let ratio = ratio(metric, results, reference);
    let decimals = metric.decimals();
    let ratio = match ratio.is_finite() {
        true => format!("**{ratio:.2}×** "),
        // Nothing is compared with nothing.
        false => String::new(),
    };
    // What cannot vary, such as a file's size, has no spread.
    if minimum.total_cmp(&maximum).is_eq() {
        return format!("{ratio}{median:.decimals$}");
    }
    format!("{ratio}{median:.decimals$} ({minimum:.decimals$}–{maximum:.decimals$})")
}

/// The median of the ratios to the reference in the same rounds; NaN if one of them was not measured.
fn ratio(metric: Metric, results: &Results, reference: Option<&Results>) -> f64 {
    let rounds = results
        .get(&metric)
        .zip(reference.and_then(|reference| reference.get(&metric)));
    rounds.map_or(f64::NAN, |(rounds, reference)| {
        rounds.ratio_to(reference).summary().median
    })
}

fn metrics_json(results: &Results, reference: Option<&Results>) -> Value {
    let metrics: BTreeMap<Metric, Value> = results
        .iter()
        .map(|(metric, rounds)| {
            let ratio = reference
                .and_then(|reference| reference.get(metric))
                .map(|reference| rounds.ratio_to(reference).summary());
            let value = json!({ "summary": rounds.summary(), "ratio": ratio, "rounds": rounds });
            (*metric, value)
        })
        .collect();
    json!(metrics)
}

impl Measurement {
    fn reference(&self) -> Option<&Results> {
        let (_, results) = self.results.iter().find(|(name, _)| *name == self.reference)?;
        Some(results)
    }

    pub(crate) fn has(&self, metric: Metric) -> bool {
        self.results.iter().any(|(_, results)| results.contains_key(&metric))
    }

    /// The median of the ratios to the reference in the same rounds, for each contestant; NaN where there is none.
    pub(crate) fn ratios(&self, metric: Metric) -> Vec<f64> {
        let reference = self.reference();
        let ratios = self
            .results
            .iter()
            .map(|(_, results)| ratio(metric, results, reference));
        ratios.collect()
    }

    /// The same for one of them, if there is one.
    pub(crate) fn ratio(&self, contestant: &str, metric: Metric) -> Option<f64> {
        let (_, results) = self.results.iter().find(|(name, _)| name == contestant)?;
        Some(ratio(metric, results, self.reference())).filter(|ratio| ratio.is_finite())
    }
}

fn processor() -> String {
    let information = read("/proc/cpuinfo");
    let model = information.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.and_then(|rest| Some(rest.split_once(':')?.1.trim()));
    model.unwrap_or(std::env::consts::ARCH).to_owned()
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
