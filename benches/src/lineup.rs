//! Who is compared with whom, and what they are asked.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use crate::contestant::{Contestant, ContestantBuilder};
use crate::fleet::Fleet;
use crate::peers;
use crate::programs::{EVENTS, LOOKUP, Programs, SNAPSHOT};
use crate::runtime_api::FIRST_REQUEST_ID;

const SNAPSHOTS: &str = "snapshots";
const WORLDS: &str = "worlds";
const STREAMS: &str = "streams";
pub(crate) const COMPONENTS: &str = "components";
const OVERRUN: &str = "overrun";
/// The names of all line-ups, in the order in which they are taken.
const NAMES: [&str; 10] = [
    EVENTS[0],
    EVENTS[1],
    SNAPSHOTS,
    WORLDS,
    STREAMS,
    COMPONENTS,
    OVERRUN,
    peers::GREETERS,
    peers::PYTHON,
    peers::JAVASCRIPT,
];

/// The name of the contestant that others are compared with on an example's event: the quickest that a native function can
/// be made without leaving AWS's crate.
const NATIVE: &str = "native, `current_thread`";
pub(crate) const FRESH: &str = "Orlop, fresh sandbox per event";
pub(crate) const SMALL: &str = "Orlop, small, fresh sandbox per event";
pub(crate) const KEPT: &str = "Orlop, kept instance";
const HANDLER: &str = "handler";
const PYTHON_CLIENT: &str = "Python, AWS's client";
const NODE: &str = "Node.js, a loop";
const NATIVE_STREAM: &str = "native, `lambda_runtime`'s channel";

/// As much as a stream is measured with, in bytes.
const STREAM_BYTES: u64 = 200_000_000;
/// As much as it begins with, in bytes: enough to fill every buffer on the way.
const SHORT_STREAM_BYTES: u64 = 4_000_000;

/// One event and all who answer it.
pub(crate) struct Lineup {
    pub(crate) name: &'static str,
    pub(crate) task: Task,
    /// The name of the one that the others are compared with.
    pub(crate) reference: String,
    pub(crate) contestants: Vec<Contestant>,
}

/// What is asked of the contestants.
pub(crate) enum Task {
    /// One answer per event.
    Answer {
        event: Vec<u8>,
        /// What every contestant has to answer.
        expected: Value,
    },
    /// A streamed answer, in a process that has given a short one before.
    Stream { short: StreamRequest, long: StreamRequest },
    /// No answer: a guest that never returns.
    Overrun { event: Vec<u8> },
}

/// An event that asks for so many bytes.
pub(crate) struct StreamRequest {
    pub(crate) event: Vec<u8>,
    pub(crate) bytes: u64,
}

impl Lineup {
    /// Those whose names are in `only`, maybe none; all if it is empty.
    pub(crate) fn all(programs: &Programs, only: &[String]) -> anyhow::Result<Vec<Self>> {
        let wanted = NAMES.into_iter().filter(|name| is_wanted(name, only));
        wanted.map(|name| Self::named(name, programs)).collect()
    }

    fn named(name: &'static str, programs: &Programs) -> anyhow::Result<Self> {
        match name {
            SNAPSHOTS => Self::snapshots(programs),
            WORLDS => Self::worlds(programs),
            STREAMS => Self::streams(programs),
            COMPONENTS => Self::components(programs),
            OVERRUN => Self::overrun(programs),
            peers::GREETERS => Self::peers(programs),
            peers::PYTHON | peers::JAVASCRIPT => Self::language(name, programs),
            example => Self::example(example, programs),
        }
    }

    /// An example against the same source as a native function.
    fn example(name: &'static str, programs: &Programs) -> anyhow::Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
        let read = |file: &str| {
            fs::read(folder.join(file)).with_context(|| format!("cannot read `{file}` of example `{name}`"))
        };
        // Lambda sends JSON without the line feed that ends a file.
        let event = read("event.json")?.trim_ascii_end().to_vec();
        let expected: Value =
            serde_json::from_slice(&read("expected.json")?).with_context(|| format!("`expected.json` of `{name}`"))?;
        let peer = || ContestantBuilder::new(programs.native(&format!("native-{name}"))?, &programs.task_root);
        let orlop = |program: &Path| orlop(program, programs, name);
        let mut contestants = vec![
            peer()?.argument("one-thread").build(NATIVE),
            peer()?.argument("threads").build("native, `#[tokio::main]`"),
            orlop(&programs.bootstrap)?.build(FRESH),
            orlop(&programs.bootstrap)?
                .variable("ORLOP_ISOLATION", "environment")
                .build(KEPT),
        ];
        if let Some(small) = &programs.small {
            contestants.push(orlop(small)?.build(SMALL));
        }
        if let Some(baseline) = &programs.baseline {
            contestants.push(orlop(baseline)?.build("baseline, fresh sandbox per event"));
            contestants.push(
                orlop(baseline)?
                    .variable("ORLOP_ISOLATION", "environment")
                    .build("baseline, kept instance"),
            );
        }
        contestants.push(
            ContestantBuilder::new(programs.native("floor")?, &programs.task_root)?
                .argument(expected.to_string())
                .build("floor: fixed answer, no parsing"),
        );
        Ok(Self {
            name,
            task: Task::Answer { event, expected },
            reference: NATIVE.to_owned(),
            contestants,
        })
    }

    /// The example `hello`, and the same in what others write functions with.
    fn peers(programs: &Programs) -> anyhow::Result<Self> {
        let peers = programs.peers()?;
        let Self { task, .. } = Self::example("hello", programs)?;
        let native = ContestantBuilder::new(programs.native("native-hello")?, &programs.task_root)?;
        Ok(Self {
            name: peers::GREETERS,
            task,
            reference: NATIVE.to_owned(),
            contestants: vec![
                native.argument("one-thread").build(NATIVE),
                orlop(&programs.bootstrap, programs, "hello")?.build(FRESH),
                peers.python("hello").build(PYTHON_CLIENT),
                peers.node("hello").build(NODE),
                peers.bash()?.build("bash and curl"),
            ],
        })
    }

    /// A component that brings an interpreter along, and the interpreter itself.
    fn language(name: &'static str, programs: &Programs) -> anyhow::Result<Self> {
        let peers = programs.peers()?;
        let (peer, title) = match name {
            peers::PYTHON => (
                peers.python("handle").build(PYTHON_CLIENT),
                "Orlop, component in Python",
            ),
            _ => (peers.node("handle").build(NODE), "Orlop, component in JavaScript"),
        };
        let event = json!({ "name": "Orlop", "numbers": [1, 2, 3], "nested": { "text": "ä" } });
        let reference = peer.name.clone();
        let mut contestants = vec![
            peer,
            orlop(&programs.bootstrap, programs, name)?.build(format!("{title}, fresh sandbox per event")),
            orlop(&programs.bootstrap, programs, name)?
                .variable("ORLOP_ISOLATION", "environment")
                .build(format!("{title}, kept instance")),
        ];
        if let Some(small) = &programs.small {
            contestants.push(orlop(small, programs, name)?.build(format!("{title}, small, fresh sandbox per event")));
        }
        Ok(Self {
            name,
            task: Task::Answer {
                event: event.to_string().into_bytes(),
                expected: json!({ "event": event, "requestId": FIRST_REQUEST_ID }),
            },
            reference,
            contestants,
        })
    }

    /// A guest that never returns.
    fn overrun(programs: &Programs) -> anyhow::Result<Self> {
        let mut contestants = vec![orlop(&programs.bootstrap, programs, "endless")?.build(FRESH)];
        if let Some(small) = &programs.small {
            contestants.push(orlop(small, programs, "endless")?.build(SMALL));
        }
        if let Some(baseline) = &programs.baseline {
            contestants.push(orlop(baseline, programs, "endless")?.build("baseline, fresh sandbox per event"));
        }
        Ok(Self {
            name: OVERRUN,
            task: Task::Overrun {
                event: br#"{"rawQueryString":""}"#.to_vec(),
            },
            reference: FRESH.to_owned(),
            contestants,
        })
    }

    /// A function with a large table, from its snapshot and kept, beside one that has nothing to prepare.
    fn snapshots(programs: &Programs) -> anyhow::Result<Self> {
        let [hello, _] = EVENTS;
        let reference = format!("{hello}, fresh sandbox per event");
        Ok(Self {
            name: SNAPSHOTS,
            task: Task::Answer {
                event: json!({ "articles": ["A-12345"] }).to_string().into_bytes(),
                expected: json!({
                    "lines": [{ "article": "A-12345", "name": "block of oak no. 12345", "cents": 57480 }],
                    "total_cents": 57480,
                }),
            },
            contestants: vec![
                orlop(&programs.bootstrap, programs, hello)?
                    .answers(json!({ "message": "Hello, World!" }))
                    .build(reference.clone()),
                orlop(&programs.bootstrap, programs, SNAPSHOT)?
                    .build("lookup from its snapshot, fresh sandbox per event"),
                orlop(&programs.bootstrap, programs, LOOKUP)?.build("lookup without a snapshot, kept instance"),
            ],
            reference,
        })
    }

    /// The same function in each world, in a fresh sandbox per event.
    fn worlds(programs: &Programs) -> anyhow::Result<Self> {
        let guests = [
            ("hello-handler", HANDLER),
            ("hello-typed", "handler, AWS's event type"),
            ("hello-http", "http, bindings only"),
            ("hello-wstd", "http, `wstd`"),
            ("hello-command", "command"),
        ];
        let mut contestants = Vec::new();
        for (guest, title) in guests {
            contestants.push(orlop(&programs.bootstrap, programs, guest)?.build(title));
            if let Some(baseline) = &programs.baseline {
                contestants.push(orlop(baseline, programs, guest)?.build(format!("{title}, baseline")));
            }
        }
        Ok(Self {
            name: WORLDS,
            task: Task::Answer {
                event: http_event("/", "name=Ada")?,
                expected: greeting(),
            },
            reference: HANDLER.to_owned(),
            contestants,
        })
    }

    /// An answer that is too large for memory.
    fn streams(programs: &Programs) -> anyhow::Result<Self> {
        let guests = [
            ("stream-http", "http, bindings only"),
            ("stream-wstd", "http, `wstd`"),
            ("stream-command", "command"),
        ];
        let native = ContestantBuilder::new(programs.native("native-stream")?, &programs.task_root)?;
        let mut contestants = vec![native.argument("one-thread").build(NATIVE_STREAM)];
        for (guest, title) in guests {
            let streaming =
                |program| anyhow::Ok(orlop(program, programs, guest)?.variable("ORLOP_RESPONSE_MODE", "streaming"));
            contestants.push(streaming(&programs.bootstrap)?.build(title));
            if let Some(baseline) = &programs.baseline {
                contestants.push(streaming(baseline)?.build(format!("{title}, baseline")));
            }
        }
        Ok(Self {
            name: STREAMS,
            task: Task::Stream {
                short: StreamRequest::new(SHORT_STREAM_BYTES)?,
                long: StreamRequest::new(STREAM_BYTES)?,
            },
            reference: NATIVE_STREAM.to_owned(),
            contestants,
        })
    }

    /// The same event for one of many components in one process. What differs is how many others there are.
    fn components(programs: &Programs) -> anyhow::Result<Self> {
        let mut contestants = Vec::new();
        for fleet in &programs.fleets {
            let Fleet {
                task_root, artifacts, ..
            } = fleet;
            let mut add = |program: &Path, title: String| {
                let contestant = artifacts
                    .iter()
                    .try_fold(ContestantBuilder::new(program, task_root)?, |builder, artifact| {
                        builder.loads(artifact)
                    })?;
                contestants.push(contestant.build(title));
                anyhow::Ok(())
            };
            add(&programs.bootstrap, fleet.title())?;
            if let Some(baseline) = &programs.baseline {
                add(baseline, format!("{}, baseline", fleet.title()))?;
            }
        }
        let reference = programs.fleets.first().map(Fleet::title).unwrap_or_default();
        Ok(Self {
            name: COMPONENTS,
            task: Task::Answer {
                event: http_event(Fleet::PATH, "name=Ada")?,
                expected: greeting(),
            },
            reference,
            contestants,
        })
    }
}

/// Whether a measurement is to be taken: all are if nothing is named.
pub(crate) fn is_wanted(name: &str, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|wanted| wanted == name)
}

impl Task {
    pub(crate) fn event(&self) -> &[u8] {
        match self {
            Self::Answer { event, .. } | Self::Overrun { event } => event,
            Self::Stream { long, .. } => &long.event,
        }
    }
}

impl StreamRequest {
    fn new(bytes: u64) -> anyhow::Result<Self> {
        let event = http_event("/", &format!("bytes={bytes}"))?;
        Ok(Self { event, bytes })
    }
}

/// Orlop with one component.
fn orlop(program: &Path, programs: &Programs, component: &str) -> anyhow::Result<ContestantBuilder> {
    let artifact: PathBuf = programs.task_root.join(component).with_extension("cwasm");
    let builder = ContestantBuilder::new(program, &programs.task_root)?;
    Ok(builder.loads(&artifact)?.argument(component))
}

/// The event of the example `api-gateway`, for another path and query.
fn http_event(path: &str, query: &str) -> anyhow::Result<Vec<u8>> {
    let event = include_bytes!("../../examples/api-gateway/event.json");
    let mut event: Value = serde_json::from_slice(event).context("the event of `api-gateway` is not JSON")?;
    let (name, value) = query.split_once('=').unwrap_or_default();
    event["rawPath"] = json!(path);
    event["rawQueryString"] = json!(query);
    event["queryStringParameters"] = json!({ name: value });
    event["requestContext"]["http"]["path"] = json!(path);
    Ok(event.to_string().into_bytes())
}

fn greeting() -> Value {
    json!({
        "statusCode": 200,
        "headers": { "content-type": "text/plain" },
        "body": "Hello, Ada!",
        "isBase64Encoded": false,
    })
}
