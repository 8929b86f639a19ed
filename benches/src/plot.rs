//! The ratios as a picture: a panel for each number, a row for each contestant, and a mark where the reference is.

use std::fmt::Write;

use crate::measure::{Measurement, Metric};

/// What is drawn, where a measurement has it.
const PANELS: [Metric; 7] = [
    Metric::LatencyP50Us,
    Metric::EventsPerSecond,
    Metric::ProcessorUsPerEvent,
    Metric::FirstAnswerMs,
    Metric::ResidentMib,
    Metric::MegabytesPerSecond,
    Metric::PeakMib,
];

const ROW: f64 = 22.0;
const LABELS: f64 = 300.0;
const PANEL: f64 = 190.0;
const GAP: f64 = 24.0;
const MARGIN: f64 = 16.0;
/// Room for a title above the rows.
const HEAD: f64 = 52.0;
/// Room for the ratio in words, right of a bar.
const WORDS: f64 = 62.0;

/// A picture of every measurement that has a number to draw, one below the other.
pub(crate) fn svg(measurements: &[Measurement]) -> String {
    let mut body = String::new();
    let (mut width, mut top) = (0.0_f64, MARGIN);
    for measurement in measurements {
        let panels: Vec<Metric> = PANELS.into_iter().filter(|metric| measurement.has(*metric)).collect();
        if panels.is_empty() {
            continue;
        }
        text(
            &mut body,
            MARGIN,
            top + 16.0,
            "title",
            &format!("{}, {} bytes", measurement.name, measurement.event_bytes),
        );
        for (index, (name, _)) in measurement.results.iter().enumerate() {
            text(&mut body, MARGIN, row(top, index) + 15.0, "label", name);
        }
        let mut left = MARGIN + LABELS;
        for metric in panels {
            panel(&mut body, measurement, metric, left, top);
            left += PANEL + GAP;
        }
        width = width.max(left);
        top = row(top, measurement.results.len()) + GAP;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {top:.0}\" font-family=\"sans-serif\">\n\
         <style>.title{{font-size:15px;font-weight:bold}}.label,.number{{font-size:12px}}.head{{font-size:12px;fill:#555}}\
         .own{{fill:#0a7e5c}}.other{{fill:#9aa5b1}}.reference{{stroke:#333;stroke-dasharray:3 3}}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

fn row(top: f64, index: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "there are few contestants")]
    let index = index as f64;
    top + HEAD + index * ROW
}

/// Bars as long as the ratio, on a scale of its own. One of more than four times the reference is cut off, and says so.
fn panel(body: &mut String, measurement: &Measurement, metric: Metric, left: f64, top: f64) {
    const MOST: f64 = 4.0;
    let ratios: Vec<f64> = measurement.ratios(metric);
    let longest = ratios
        .iter()
        .copied()
        .filter(|ratio| ratio.is_finite())
        .fold(1.0, f64::max)
        .min(MOST);
    let unit = (PANEL - WORDS) / longest;
    text(body, left, top + HEAD - 10.0, "head", metric.title());
    for (index, ((name, _), ratio)) in measurement.results.iter().zip(ratios).enumerate() {
        if !ratio.is_finite() {
            continue;
        }
        let class = if name.contains("Orlop") { "own" } else { "other" };
        let (length, y) = (ratio.min(longest) * unit, row(top, index));
        // Writing to a string cannot fail.
        let _ = writeln!(
            body,
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"{:.1}\"/>",
            y + 3.0,
            ROW - 6.0
        );
        let cut = if ratio > longest { " →" } else { "" };
        text(
            body,
            left + length + 5.0,
            y + 15.0,
            "number",
            &format!("{ratio:.2}×{cut}"),
        );
    }
    let (x, end) = (left + unit, row(top, measurement.results.len()));
    let _ = writeln!(
        body,
        "<line class=\"reference\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{end:.1}\"/>",
        top + HEAD
    );
}

fn text(body: &mut String, x: f64, y: f64, class: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;").replace('`', "");
    let _ = writeln!(
        body,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{content}</text>"
    );
}
