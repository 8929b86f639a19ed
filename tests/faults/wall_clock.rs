//! A wall clock that is set while the process runs (F30).
//!
//! The program that ships is linked statically, so nothing gets between it and its clocks; the developer's tool, which is the
//! same runtime, is not.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use orlop_tests::{Component, Event, FakeRuntimeApi, Host, Served, TaskRoot, guests, tools};
use serde_json::json;
use tempfile::TempDir;

const HOUR: i64 = 3600;

/// A process that looks at a wall clock of ours.
struct Clockwork {
    served: Served,
    offset: File,
    _folder: TempDir,
}

impl Clockwork {
    fn new(guest: Component) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("wall_clock.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("faults/wall_clock.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(source);
        tools::run(cc, "it links Rust's programs, too");
        let path = folder.path().join("offset");
        let offset = File::create(&path).unwrap();
        let lambda = FakeRuntimeApi::start();
        let task_root = TaskRoot::new().with_compiled(guest);
        let program = Host::orlop(&lambda)
            .env("LD_PRELOAD", &library)
            .env("WALL_CLOCK", &path);
        set(&offset, 0);
        Self {
            served: Served::by(program, lambda, task_root, guest.name(), &[]),
            offset,
            _folder: folder,
        }
    }

    /// Sets the process's wall clock so far from the machine's.
    fn set(&self, seconds: i64) {
        set(&self.offset, seconds);
    }
}

fn set(offset: &File, seconds: i64) {
    offset.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
}

#[test]
fn a_wall_clock_that_is_set_in_an_event_neither_shortens_nor_prolongs_it() {
    for seconds in [HOUR, -HOUR] {
        let clockwork = Clockwork::new(guests::RECORD);
        let served = &clockwork.served;
        let begin = |id: &str, words: &str, timeout| {
            clockwork.set(0);
            let event = json!({ "Records": [{ "messageId": id, "body": words }] });
            served.lambda.send(Event::new(id, event.to_string()).due_in(timeout));
            served.host.wait_for_log(|line| line.contains(&format!("begin {id}")));
            clockwork.set(seconds);
        };
        begin("short", "sleep 300", Duration::from_secs(20));
        let answer = served.lambda.wait_for_answer("short");
        assert!(!answer.is_error, "{seconds}: {}", answer.text());

        let sent = Instant::now();
        begin("long", "spin", Duration::from_secs(2));
        let answer = served.lambda.wait_for_answer("long");
        assert_eq!(answer.json()["errorType"], "Runtime.DeadlineExceeded", "{seconds}");
        let took = sent.elapsed();
        assert!((1..3).contains(&took.as_secs()), "{seconds}: after {took:?}");
    }
}

#[test]
fn a_wall_clock_that_is_set_between_two_events_leaves_each_of_them_its_time() {
    const TIMEOUT: Duration = Duration::from_secs(20);
    let clockwork = Clockwork::new(guests::CONTEXT);
    for (index, seconds) in [0, HOUR, -HOUR, 0].into_iter().enumerate() {
        clockwork.served.lambda.wait_for_next();
        clockwork.set(seconds);
        // Lambda's clock is that of the machine that the process runs on.
        let due = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + TIMEOUT;
        let due = i64::try_from(due.as_millis()).unwrap() + 1000 * seconds;
        let event = Event::new(format!("event-{index}"), "").deadline(due.to_string());
        let answer = clockwork.served.ask(event);
        assert!(!answer.is_error, "{seconds}: {}", answer.text());
        let remaining = answer.json()["remaining_ms"].as_u64().unwrap();
        assert!((10_000..20_000).contains(&remaining), "{seconds}: {}", answer.text());
    }
}
