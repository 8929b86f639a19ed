//! Takes turns between the contestants, so that all of them see the same machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;
use serde_json::Value;

use crate::arguments::Plan;
use crate::contestant::{Contestant, Lineup, Process};
use crate::runtime_api::RuntimeApi;
use crate::statistics::{Rounds, percentile, sorted};

/// Events before the measurement, until caches and buffers have settled.
const WARM_UP_EVENTS: u32 = 300;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    FirstNextMs,
    FirstAnswerMs,
    LatencyP50Us,
    LatencyP90Us,
    LatencyP99Us,
    TurnP50Us,
    EventsPerSecond,
    ProcessorUsPerEvent,
    ResidentMib,
    AnonymousMib,
    FilesMib,
}

/// All numbers of one event.
pub(crate) struct Measurement {
    pub(crate) name: &'static str,
    pub(crate) event_bytes: usize,
    /// In the order of the line-up.
    pub(crate) results: Vec<(&'static str, Results)>,
}

/// All numbers of one contestant.
pub(crate) type Results = BTreeMap<Metric, Rounds>;

impl Measurement {
    pub(crate) fn take(lineup: &Lineup, plan: &Plan, work: &Path) -> anyhow::Result<Self> {
        let turns = Turns { lineup, plan, work };
        let mut results: Vec<_> = lineup
            .contestants
            .iter()
            .map(|contestant| (contestant.name, Results::new()))
            .collect();
        for round in 0..plan.rounds {
            eprintln!("{}: round {} of {}", lineup.name, round + 1, plan.rounds);
            turns.starts(&mut results)?;
            turns.events(&mut results)?;
        }
        Ok(Self {
            name: lineup.name,
            event_bytes: lineup.event.len(),
            results,
        })
    }
}

/// Keeps this process, and the ones it will start, on one processor core.
pub(crate) fn pin(core: usize) -> anyhow::Result<()> {
    ensure!(core < CpuSet::MAX_CPU, "there is no processor core {core}");
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on processor core {core}"))
}

/// One round after the other.
struct Turns<'a> {
    lineup: &'a Lineup,
    plan: &'a Plan,
    work: &'a Path,
}

impl Turns<'_> {
    /// Starts each contestant in turn, again and again.
    fn starts(&self, results: &mut [(&'static str, Results)]) -> anyhow::Result<()> {
        let mut times = vec![(Vec::new(), Vec::new()); self.lineup.contestants.len()];
        for _ in 0..self.plan.starts {
            for (contestant, (nexts, answers)) in self.lineup.contestants.iter().zip(&mut times) {
                let (next, answer) = self.start(contestant)?;
                nexts.push(milliseconds(next));
                answers.push(milliseconds(answer));
            }
        }
        for ((_, results), (nexts, answers)) in results.iter_mut().zip(times) {
            let mut push = |metric: Metric, times| {
                let median = percentile(&sorted(times), 50);
                results.entry(metric).or_default().push(median);
            };
            push(Metric::FirstNextMs, nexts);
            push(Metric::FirstAnswerMs, answers);
        }
        Ok(())
    }

    /// From the start of a process to its first request, and to its first answer.
    fn start(&self, contestant: &Contestant) -> anyhow::Result<(Duration, Duration)> {
        let mut runtime_api = RuntimeApi::new()?;
        let process = contestant.start(&runtime_api.address, self.work)?;
        let mut first = || {
            runtime_api.expect_next()?;
            let next = process.started.elapsed();
            let (answered, answer) = runtime_api.ask_once(&self.lineup.event)?;
            let answer: Value = serde_json::from_slice(&answer).context("its answer is not JSON")?;
            ensure!(
                answer == self.lineup.expected,
                "it answered {answer}, not {}",
                self.lineup.expected
            );
            Ok((next, answered - process.started))
        };
        first().with_context(|| self.failure(contestant, &process.output()))
    }

    /// Lets each contestant in turn serve all events of the round.
    fn events(&self, results: &mut [(&'static str, Results)]) -> anyhow::Result<()> {
        for (contestant, (_, results)) in self.lineup.contestants.iter().zip(results) {
            let mut runtime_api = RuntimeApi::new()?;
            let process = contestant.start(&runtime_api.address, self.work)?;
            let numbers = self.serve(contestant, &process, &mut runtime_api);
            for (metric, value) in numbers.with_context(|| self.failure(contestant, &process.output()))? {
                results.entry(metric).or_default().push(value);
            }
        }
        Ok(())
    }

    fn serve(
        &self,
        contestant: &Contestant,
        process: &Process,
        runtime_api: &mut RuntimeApi,
    ) -> anyhow::Result<Vec<(Metric, f64)>> {
        runtime_api.expect_next()?;
        for _ in 0..WARM_UP_EVENTS {
            runtime_api.exchange(&self.lineup.event)?;
        }
        let mut latencies = Vec::new();
        let mut turns = Vec::new();
        let processor_before = process.processor_time()?;
        let began = Instant::now();
        for _ in 0..self.plan.events {
            let exchange = runtime_api.exchange(&self.lineup.event)?;
            latencies.push(microseconds(exchange.latency));
            turns.push(microseconds(exchange.turn));
        }
        let elapsed = began.elapsed();
        let processor = process.processor_time()?.saturating_sub(processor_before);
        let memory = process.memory()?;
        let latencies = sorted(latencies);
        let events = f64::from(self.plan.events);
        Ok(vec![
            (Metric::LatencyP50Us, percentile(&latencies, 50)),
            (Metric::LatencyP90Us, percentile(&latencies, 90)),
            (Metric::LatencyP99Us, percentile(&latencies, 99)),
            (Metric::TurnP50Us, percentile(&sorted(turns), 50)),
            (Metric::EventsPerSecond, events / elapsed.as_secs_f64()),
            (Metric::ProcessorUsPerEvent, microseconds(processor) / events),
            (Metric::ResidentMib, memory.resident_kib / 1024.0),
            (Metric::AnonymousMib, memory.anonymous_kib / 1024.0),
            #[expect(clippy::cast_precision_loss, reason = "files are far smaller than 2^53 bytes")]
            (Metric::FilesMib, contestant.file_bytes as f64 / f64::from(1 << 20)),
        ])
    }

    fn failure(&self, contestant: &Contestant, output: &str) -> String {
        let output = if output.is_empty() {
            "it has printed nothing".to_owned()
        } else {
            format!("it has printed:\n{output}\n")
        };
        format!("{}, event `{}`: {output}", contestant.name, self.lineup.name)
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
