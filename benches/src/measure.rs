//! Takes turns between the contestants, so that all of them see the same machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;
use serde_json::Value;

use crate::arguments::Plan;
use crate::contestant::{Contestant, Process};
use crate::lineup::{Lineup, StreamRequest, Task};
use crate::runtime_api::RuntimeApi;
use crate::statistics::{Rounds, percentile, sorted};

/// Events before the measurement, until caches and buffers have settled.
const WARM_UP_EVENTS: u32 = 300;
/// A contestant that starts programs for each event gets no more than this in a round.
const MAX_SLOW_EVENTS: u32 = 100;
/// Status and headers at the beginning of a stream.
const MAX_PRELUDE_BYTES: u64 = 16 << 10;
const BYTES_PER_MIB: f64 = 1024.0 * 1024.0;

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
    MegabytesPerSecond,
    HeadUs,
    ProcessorMsPerStream,
    PeakMib,
    PeakGrowthMib,
    ColdP50Ms,
    ColdP90Ms,
    StartedColdMs,
    RequestP50Us,
    RequestP90Us,
    RequestP99Us,
    PausedP50Us,
    PausedP90Us,
    PausedP99Us,
    OverrunP50Us,
    OverrunP90Us,
    OverrunP99Us,
    SeveralPerSecond,
    BesideP50Us,
    BesideP99Us,
}

/// All numbers of one event.
pub(crate) struct Measurement {
    pub(crate) name: &'static str,
    pub(crate) event_bytes: usize,
    /// The name of the contestant that the others are compared with.
    pub(crate) reference: String,
    /// In the order of the line-up.
    pub(crate) results: Vec<(String, Results)>,
}

/// All numbers of one contestant.
pub(crate) type Results = BTreeMap<Metric, Rounds>;

impl Measurement {
    pub(crate) fn take(lineup: &Lineup, plan: &Plan, work: &Path) -> anyhow::Result<Self> {
        let turns = Turns { lineup, plan, work };
        let mut results: Vec<_> = lineup
            .contestants
            .iter()
            .map(|contestant| (contestant.name.clone(), Results::new()))
            .collect();
        for round in 0..plan.rounds {
            eprintln!("{}: round {} of {}", lineup.name, round + 1, plan.rounds);
            match &lineup.task {
                Task::Answer { event, expected } => {
                    turns.starts(event, expected, &mut results)?;
                    turns.each(&mut results, |contestant, process, runtime_api| {
                        turns.serve(event, contestant, process, runtime_api)
                    })?;
                }
                Task::Stream { short, long } => turns.each(&mut results, |_, process, runtime_api| {
                    runtime_api.expect_next()?;
                    stream(short, long, process, runtime_api)
                })?,
                Task::Overrun { event } => turns.each(&mut results, |_, _, runtime_api| {
                    runtime_api.expect_next()?;
                    overrun(event, plan.starts, runtime_api)
                })?,
            }
            for (contestant, (_, results)) in lineup.contestants.iter().zip(&mut results) {
                if let Some(bytes) = contestant.file_bytes {
                    #[expect(clippy::cast_precision_loss, reason = "files are far smaller than 2^53 bytes")]
                    let size = bytes as f64 / BYTES_PER_MIB;
                    results.entry(Metric::FilesMib).or_default().push(size);
                }
            }
        }
        Ok(Self {
            name: lineup.name,
            event_bytes: lineup.task.event().len(),
            reference: lineup.reference.clone(),
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
    fn starts(&self, event: &[u8], expected: &Value, results: &mut [(String, Results)]) -> anyhow::Result<()> {
        let mut times = vec![(Vec::new(), Vec::new()); self.lineup.contestants.len()];
        for _ in 0..self.plan.starts {
            for (contestant, (nexts, answers)) in self.lineup.contestants.iter().zip(&mut times) {
                let expected = contestant.answer.as_ref().unwrap_or(expected);
                let (next, answer) = self.with_process(contestant, |process, runtime_api| {
                    start(event, expected, process, runtime_api)
                })?;
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

    /// Lets each contestant in turn do its work of the round, in one process.
    fn each(
        &self,
        results: &mut [(String, Results)],
        work: impl Fn(&Contestant, &Process, &mut RuntimeApi) -> anyhow::Result<Vec<(Metric, f64)>>,
    ) -> anyhow::Result<()> {
        for (contestant, (_, results)) in self.lineup.contestants.iter().zip(results) {
            let measured = self.with_process(contestant, |process, runtime_api| {
                work(contestant, process, runtime_api)
            })?;
            for (metric, value) in measured {
                results.entry(metric).or_default().push(value);
            }
        }
        Ok(())
    }

    fn with_process<T>(
        &self,
        contestant: &Contestant,
        work: impl FnOnce(&Process, &mut RuntimeApi) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut runtime_api = RuntimeApi::new()?;
        let process = contestant.start(&runtime_api.address, self.work)?;
        work(&process, &mut runtime_api).with_context(|| self.failure(contestant, &process.output()))
    }

    fn serve(
        &self,
        event: &[u8],
        contestant: &Contestant,
        process: &Process,
        runtime_api: &mut RuntimeApi,
    ) -> anyhow::Result<Vec<(Metric, f64)>> {
        let (warm_up, events) = match contestant.starts_programs {
            true => (MAX_SLOW_EVENTS / 10, self.plan.events.min(MAX_SLOW_EVENTS)),
            false => (WARM_UP_EVENTS, self.plan.events),
        };
        runtime_api.expect_next()?;
        for _ in 0..warm_up {
            runtime_api.exchange(event)?;
        }
        let mut latencies = Vec::new();
        let mut turns = Vec::new();
        let processor_before = process.processor_time()?;
        let began = Instant::now();
        for _ in 0..events {
            let exchange = runtime_api.exchange(event)?;
            latencies.push(microseconds(exchange.latency));
            turns.push(microseconds(exchange.turn));
        }
        let elapsed = began.elapsed();
        let processor = process.processor_time()?.saturating_sub(processor_before);
        let memory = process.memory()?;
        let latencies = sorted(latencies);
        let events = f64::from(events);
        let mut measured = vec![
            (Metric::LatencyP50Us, percentile(&latencies, 50)),
            (Metric::LatencyP90Us, percentile(&latencies, 90)),
            (Metric::LatencyP99Us, percentile(&latencies, 99)),
            (Metric::TurnP50Us, percentile(&sorted(turns), 50)),
            (Metric::EventsPerSecond, events / elapsed.as_secs_f64()),
        ];
        if !contestant.starts_programs {
            measured.extend([
                (Metric::ProcessorUsPerEvent, microseconds(processor) / events),
                (Metric::ResidentMib, memory.resident_kib / 1024.0),
                (Metric::AnonymousMib, memory.anonymous_kib / 1024.0),
            ]);
        }
        Ok(measured)
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

/// From the start of a process to its first request, and to its first answer.
fn start(
    event: &[u8],
    expected: &Value,
    process: &Process,
    runtime_api: &mut RuntimeApi,
) -> anyhow::Result<(Duration, Duration)> {
    runtime_api.expect_next()?;
    let next = process.started.elapsed();
    let (answered, answer) = runtime_api.ask_once(event)?;
    let answer: Value = serde_json::from_slice(&answer).context("its answer is not JSON")?;
    ensure!(answer == *expected, "it answered {answer}, not {expected}");
    Ok((next, answered - process.started))
}

/// Events that are never answered, one after the other: how long it takes from the error until the next event is asked for.
fn overrun(event: &[u8], times: u32, runtime_api: &mut RuntimeApi) -> anyhow::Result<Vec<(Metric, f64)>> {
    let mut recoveries = Vec::new();
    for _ in 0..times {
        recoveries.push(microseconds(runtime_api.outlast(event)?));
    }
    let recoveries = sorted(recoveries);
    Ok(vec![
        (Metric::OverrunP50Us, percentile(&recoveries, 50)),
        (Metric::OverrunP90Us, percentile(&recoveries, 90)),
        (Metric::OverrunP99Us, percentile(&recoveries, 99)),
    ])
}

/// A short stream first, so that the growth of memory during the long one shows.
fn stream(
    short: &StreamRequest,
    long: &StreamRequest,
    process: &Process,
    runtime_api: &mut RuntimeApi,
) -> anyhow::Result<Vec<(Metric, f64)>> {
    let mut take = |request: &StreamRequest| {
        let streamed = runtime_api.exchange_stream(&request.event)?;
        let expected = request.bytes..=request.bytes + MAX_PRELUDE_BYTES;
        ensure!(
            expected.contains(&streamed.bytes),
            "it streamed {} bytes",
            streamed.bytes
        );
        Ok(streamed)
    };
    take(short)?;
    let peak_before = process.memory()?.peak_kib;
    let processor_before = process.processor_time_with_ended_threads()?;
    let streamed = take(long)?;
    let processor = process
        .processor_time_with_ended_threads()?
        .saturating_sub(processor_before);
    let peak = process.memory()?.peak_kib;
    #[expect(clippy::cast_precision_loss, reason = "streams are far smaller than 2^53 bytes")]
    let megabytes = streamed.bytes as f64 / 1e6;
    Ok(vec![
        (Metric::MegabytesPerSecond, megabytes / streamed.until_end.as_secs_f64()),
        (Metric::HeadUs, microseconds(streamed.until_head)),
        (Metric::ProcessorMsPerStream, milliseconds(processor)),
        (Metric::PeakMib, peak / 1024.0),
        // The kernel adds its counts up with some delay.
        (Metric::PeakGrowthMib, (peak - peak_before).max(0.0) / 1024.0),
    ])
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

pub(crate) fn microseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
