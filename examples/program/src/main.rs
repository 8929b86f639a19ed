//! Counts and sums JSON records: an ordinary program from stdin to stdout, with arguments.
//!
//! Nothing in it knows of Lambda, and it is a handler all the same: the event is on stdin, the answer is what it
//! prints, and its complaint on stderr becomes the error that the caller sees. `args` in `orlop.toml` are its
//! arguments. In a shell it is a filter:
//!
//! ```sh
//! wasmtime run program.wasm --by item --sum quantity --format csv < orders.jsonl
//! ```

use serde_json::{Deserializer, Map, Value, json};
use std::collections::BTreeMap;
use std::env;
use std::io::{self, BufReader, Read, Write};
use std::process::ExitCode;

const USAGE: &str = "\
usage: program [--by FIELD] [--sum FIELD] [--format json|csv] < RECORDS

Reads records, as a JSON array of objects or one object after another, and says how many there are.
  --by FIELD       for each value of this field
  --sum FIELD      and what the whole numbers in this field add up to
  --format FORMAT  json, which is the default, or csv";

fn main() -> ExitCode {
    match run(env::args().skip(1), io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: impl Iterator<Item = String>, input: impl Read, mut output: impl Write) -> Result<(), String> {
    let options = Options::parse(arguments)?;
    let report = Report::read(&options, input)?;
    let text = match options.format {
        Format::Json => report.json(&options).to_string(),
        Format::Csv => report.csv(&options),
    };
    writeln!(output, "{text}").map_err(|error| format!("cannot write the report: {error}"))
}

#[derive(Default)]
struct Options {
    by: Option<String>,
    sum: Option<String>,
    format: Format,
}

#[derive(Default)]
enum Format {
    #[default]
    Json,
    Csv,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{flag} wants a value\n{USAGE}"));
            match flag.as_str() {
                "--by" => options.by = Some(value()?),
                "--sum" => options.sum = Some(value()?),
                "--format" => {
                    options.format = match value()?.as_str() {
                        "json" => Format::Json,
                        "csv" => Format::Csv,
                        other => return Err(format!("there is no format `{other}`\n{USAGE}")),
                    }
                }
                _ => return Err(format!("there is no argument `{flag}`\n{USAGE}")),
            }
        }
        Ok(options)
    }
}

/// One line per group, in the order of the groups' names; one group of no name where `--by` is not given.
#[derive(Default)]
struct Report(BTreeMap<String, Line>);

#[derive(Default)]
struct Line {
    count: u64,
    sum: i64,
}

impl Report {
    fn read(options: &Options, input: impl Read) -> Result<Self, String> {
        let mut report = Self::default();
        if options.by.is_none() {
            report.0.insert(String::new(), Line::default());
        }
        let mut number = 0;
        for value in Deserializer::from_reader(BufReader::new(input)).into_iter() {
            let value = value.map_err(|error| format!("the input is no JSON: {error}"))?;
            let records = if let Value::Array(records) = value {
                records
            } else {
                vec![value]
            };
            for record in records {
                number += 1;
                report
                    .add(options, &record)
                    .map_err(|error| format!("record {number}: {error}"))?;
            }
        }
        Ok(report)
    }

    fn add(&mut self, options: &Options, record: &Value) -> Result<(), String> {
        let record = record.as_object().ok_or("it is no object")?;
        let group = match options.by.as_ref().map(|by| field(record, by)).transpose()? {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let line = self.0.entry(group).or_default();
        line.count += 1;
        if let Some(name) = &options.sum {
            let value = field(record, name)?;
            let addend = value
                .as_i64()
                .ok_or_else(|| format!("`{name}` is no whole number: {value}"))?;
            line.sum = line
                .sum
                .checked_add(addend)
                .ok_or_else(|| format!("the sum of `{name}` is too large"))?;
        }
        Ok(())
    }

    fn json(&self, options: &Options) -> Value {
        let lines = self.0.iter().map(|(group, line)| {
            let mut object = Map::new();
            if let Some(by) = &options.by {
                object.insert(by.clone(), json!(group));
            }
            object.insert("count".to_owned(), json!(line.count));
            if options.sum.is_some() {
                object.insert("sum".to_owned(), json!(line.sum));
            }
            Value::Object(object)
        });
        lines.collect()
    }

    fn csv(&self, options: &Options) -> String {
        let columns = |by: Option<String>, count: String, sum: String| {
            let sum = options.sum.is_some().then_some(sum);
            by.into_iter().chain([count]).chain(sum).collect::<Vec<_>>().join(",")
        };
        let mut lines = vec![columns(
            options.by.as_deref().map(quote),
            "count".to_owned(),
            "sum".to_owned(),
        )];
        for (group, line) in &self.0 {
            let group = options.by.is_some().then(|| quote(group));
            lines.push(columns(group, line.count.to_string(), line.sum.to_string()));
        }
        lines.join("\n")
    }
}

fn field<'a>(record: &'a Map<String, Value>, name: &str) -> Result<&'a Value, String> {
    record.get(name).ok_or_else(|| format!("it has no `{name}`"))
}

/// A cell of CSV, in quotes where it needs them: RFC 4180.
fn quote(cell: &str) -> String {
    if cell.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDERS: &str =
        r#"[{"item": "rope", "quantity": 12}, {"item": "tar", "quantity": 3}, {"item": "rope", "quantity": -2}]"#;

    fn report(arguments: &str, input: &str) -> Result<String, String> {
        let mut output = Vec::new();
        run(
            arguments.split_whitespace().map(str::to_owned),
            input.as_bytes(),
            &mut output,
        )?;
        Ok(String::from_utf8(output).unwrap())
    }

    #[test]
    fn the_arguments_decide_what_is_reported() {
        for (arguments, expected) in [
            ("", "[{\"count\":3}]\n"),
            ("--sum quantity", "[{\"count\":3,\"sum\":13}]\n"),
            ("--by item --format csv", "item,count\nrope,2\ntar,1\n"),
            (
                "--by quantity --sum quantity --format csv",
                "quantity,count,sum\n-2,1,-2\n12,1,12\n3,1,3\n",
            ),
        ] {
            assert_eq!(report(arguments, ORDERS).unwrap(), expected, "{arguments}");
        }
    }

    #[test]
    fn records_may_come_one_after_another() {
        assert_eq!(
            report("--sum n", "{\"n\": 1}\n{\"n\": 2} [{\"n\": 3}]").unwrap(),
            "[{\"count\":3,\"sum\":6}]\n"
        );
        assert_eq!(report("", "").unwrap(), "[{\"count\":0}]\n");
        assert_eq!(report("--by n", "[]").unwrap(), "[]\n");
    }

    #[test]
    fn csv_quotes_what_would_break_a_line() {
        assert_eq!(
            report("--by n --format csv", r#"{"n": "a,b"} {"n": "say \"c\""}"#).unwrap(),
            "n,count\n\"a,b\",1\n\"say \"\"c\"\"\",1\n"
        );
    }

    #[test]
    fn a_mistake_is_located() {
        for (arguments, input, complaint) in [
            ("", "[1]", "record 1: it is no object"),
            ("--by item", r#"{"item": "tar"} {}"#, "record 2: it has no `item`"),
            ("--sum n", r#"{"n": 1.5}"#, "record 1: `n` is no whole number: 1.5"),
            (
                "--sum n",
                r#"[{"n": 1}, {"n": 9223372036854775807}]"#,
                "record 2: the sum of `n` is too large",
            ),
            ("", "{\"n\"}", "the input is no JSON: expected `:` at line 1 column 5"),
            ("--by", "", "--by wants a value"),
            ("--to n", "", "there is no argument `--to`"),
            ("--format xml", "", "there is no format `xml`"),
        ] {
            let message = report(arguments, input).unwrap_err();
            assert!(message.starts_with(complaint), "{message}");
        }
    }
}
