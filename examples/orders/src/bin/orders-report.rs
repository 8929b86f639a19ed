//! Sums up the orders when the schedule says so: an ordinary program, whose title comes from a variable.

use orders::orders;
use serde_json::{Value, json};
use std::env;
use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    match report() {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn report() -> Result<Value, String> {
    let event: Value =
        serde_json::from_reader(io::stdin()).map_err(|error| format!("the event is no JSON: {error}"))?;
    let time = event["time"].as_str().and_then(|time| time.split_once('T'));
    let (day, _) = time.ok_or("the event has no time, so it is not from a schedule")?;
    if let Ok(host) = env::var("HOSTNAME") {
        eprintln!("made on {host}");
    }
    Ok(json!({
        "title": env::var("REPORT_TITLE").map_err(|error| format!("REPORT_TITLE: {error}"))?,
        "day": day,
        "orders": orders().count(),
        "price": orders().map(|(_, order)| order.price()).sum::<u64>(),
    }))
}
