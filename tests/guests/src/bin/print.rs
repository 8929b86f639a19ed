//! Writes `text` (or `bytes`) as it is, `times` times, to `stream`; answers with the kind of error, if any.

use std::io::{self, Write};

use serde::Deserialize;

#[derive(Deserialize)]
struct Output {
    stream: Stream,
    #[serde(default)]
    text: String,
    #[serde(default)]
    bytes: Vec<u8>,
    #[serde(default = "once")]
    times: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Stream {
    Stdout,
    Stderr,
}

#[orlop_sdk::handler]
fn print(outputs: Vec<Output>) -> Option<String> {
    outputs
        .iter()
        .find_map(|output| write(output).err())
        .map(|error| format!("{:?}", error.kind()))
}

fn write(output: &Output) -> io::Result<()> {
    let mut stream: Box<dyn Write> = match output.stream {
        Stream::Stdout => Box::new(io::stdout().lock()),
        Stream::Stderr => Box::new(io::stderr().lock()),
    };
    for _ in 0..output.times {
        stream.write_all(output.text.as_bytes())?;
        stream.write_all(&output.bytes)?;
    }
    stream.flush()
}

fn once() -> usize {
    1
}
