//! Answers step by step as its event says, as a program on stdout or as an HTTP server; a step is a line, see `Step`.

use std::io::{self, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::OutputStream;

/// How much is written at a time by `bytes`.
const PIECE_BYTES: usize = 64 << 10;

struct Server;

wasip2::http::proxy::export!(Server);

impl Guest for Server {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let body = request.consume().expect("nobody else reads the body");
        let mut script = String::new();
        let mut stream = body.stream().expect("nobody else reads the body");
        stream.read_to_string(&mut script).expect("a script is text");
        let head = Head {
            out,
            status: 200,
            fields: Fields::new(),
        };
        run(&script, Answer::Unanswered(head));
    }
}

fn main() {
    let script = io::read_to_string(io::stdin()).expect("a script is text");
    run(&script, Answer::Stdout(io::stdout()));
}

/// What a line can say: the word, and what is behind it.
#[derive(Clone, Copy)]
enum Step<'a> {
    /// `status NUMBER`, of an HTTP response.
    Status(u16),
    /// `header NAME VALUE`, of an HTTP response.
    Header(&'a str, &'a str),
    /// `respond`: gives the response away, with nothing of its body yet.
    Respond,
    /// `write TEXT`
    Write(&'a str),
    /// `bytes COUNT`, which is logged as `wrote COUNT` for each MiB.
    Bytes(usize),
    /// `sleep MILLISECONDS`
    Sleep(u64),
    /// `compute MILLISECONDS`: the same, busily.
    Compute(u64),
    /// `spin`: computes for ever.
    Spin,
    /// `panic`
    Panic,
    /// `exit STATUS`
    Exit(i32),
    /// `finish`: completes the answer of an HTTP server, and goes on.
    Finish,
    /// `drop`: lets the body of an HTTP response go without completing it.
    Drop,
    /// `return` with what was begun left as it is.
    Return,
}

impl<'a> Step<'a> {
    fn parse(line: &'a str) -> Self {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let number = || rest.parse::<u64>().expect("a number");
        match word {
            "status" => Self::Status(rest.parse().expect("a status")),
            "header" => {
                let (name, value) = rest.split_once(' ').expect("a name and a value");
                Self::Header(name, value)
            }
            "respond" => Self::Respond,
            "write" => Self::Write(rest),
            "bytes" => Self::Bytes(rest.parse().expect("a number")),
            "sleep" => Self::Sleep(number()),
            "compute" => Self::Compute(number()),
            "spin" => Self::Spin,
            "panic" => Self::Panic,
            "exit" => Self::Exit(rest.parse().expect("a status")),
            "finish" => Self::Finish,
            "drop" => Self::Drop,
            "return" => Self::Return,
            other => panic!("there is no step `{other}`"),
        }
    }
}

fn run(script: &str, mut answer: Answer) {
    for line in script.lines() {
        match Step::parse(line) {
            Step::Status(status) => answer.head().status = status,
            Step::Header(name, value) => {
                let head = answer.head();
                head.fields.append(name, value.as_bytes()).expect("a header");
            }
            Step::Respond => answer = answer.begin(),
            Step::Write(text) => {
                answer = answer.begin();
                if let Err(error) = answer.write(text.as_bytes()) {
                    eprintln!("stopped: {error}");
                    return;
                }
            }
            Step::Bytes(count) => {
                answer = answer.begin();
                if let Err((written, error)) = answer.pour(count) {
                    eprintln!("stopped after {written}: {error}");
                    return;
                }
            }
            Step::Sleep(milliseconds) => thread::sleep(Duration::from_millis(milliseconds)),
            Step::Compute(milliseconds) => {
                let end = Instant::now() + Duration::from_millis(milliseconds);
                while Instant::now() < end {}
            }
            Step::Spin => loop {
                std::hint::spin_loop();
            },
            Step::Panic => panic!("told to panic"),
            Step::Exit(status) => exit(status),
            Step::Finish => answer = answer.finish(),
            Step::Drop => answer = answer.drop(),
            Step::Return => return std::mem::forget(answer),
        }
    }
    answer.begin().finish();
}

#[expect(clippy::exit, reason = "a program ends like this")]
fn exit(status: i32) -> ! {
    std::process::exit(status)
}

struct Head {
    out: ResponseOutparam,
    status: u16,
    fields: Fields,
}

enum Answer {
    Stdout(io::Stdout),
    Unanswered(Head),
    // The stream goes first.
    Begun(OutputStream, OutgoingBody),
    Over,
}

impl Answer {
    fn head(&mut self) -> &mut Head {
        match self {
            Self::Unanswered(head) => head,
            Self::Stdout(_) | Self::Begun(..) | Self::Over => panic!("there is no head to be changed"),
        }
    }

    fn begin(self) -> Self {
        let Self::Unanswered(Head { out, status, fields }) = self else {
            return self;
        };
        let response = OutgoingResponse::new(fields);
        response.set_status_code(status).expect("a valid status");
        let body = response.body().expect("a response has a body");
        ResponseOutparam::set(out, Ok(response));
        Self::Begun(body.write().expect("nobody else writes the body"), body)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let out: &mut dyn Write = match self {
            Self::Stdout(stdout) => stdout,
            Self::Begun(stream, _) => stream,
            Self::Unanswered(_) | Self::Over => panic!("there is nothing to write to"),
        };
        out.write_all(bytes)?;
        out.flush()
    }

    /// Writes so many bytes; the error has how many it was until then.
    fn pour(&mut self, count: usize) -> Result<(), (usize, io::Error)> {
        let piece = vec![b'x'; PIECE_BYTES];
        let mut written = 0;
        while written < count {
            let length = piece.len().min(count - written);
            self.write(&piece[..length]).map_err(|error| (written, error))?;
            written += length;
            if written % (1 << 20) == 0 {
                eprintln!("wrote {written}");
            }
        }
        Ok(())
    }

    fn finish(self) -> Self {
        if let Self::Begun(stream, body) = self {
            drop(stream);
            OutgoingBody::finish(body, None).expect("no length was announced");
        }
        Self::Over
    }

    fn drop(self) -> Self {
        if let Self::Begun(stream, body) = self {
            drop(stream);
            drop(body);
        }
        Self::Over
    }
}
