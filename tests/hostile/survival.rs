//! All that guests do while they are served, in one process.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use orlop_tests::{Event, FakeRuntimeApi, Held, Served, TaskRoot, guests};
use serde_json::json;

use crate::cases::{self, Case, Guest, Surroundings, addressed};
use crate::measure::{held_by, held_within};

/// Rounds of the short form.
const ROUNDS: usize = 2;

/// Passes through the table, in its order, before anything is measured: until every pooled slot has been used by whoever uses most of
/// it. What a heap keeps depends on the last ones who used it.
const WARM_UP: usize = 2;

/// What may come on top of that, in KiB.
const GROWTH_KIB: u64 = 2048;

/// Numbers in no order that are the same for the same seed (SplitMix64).
struct Dice(u64);

impl Dice {
    /// Another one in every run, unless `ORLOP_TEST_SEED` says which.
    fn new() -> Self {
        let seed = setting("ORLOP_TEST_SEED").unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            u64::from(since.subsec_nanos())
        });
        eprintln!("the same order again: ORLOP_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as usize % limit
    }

    fn shuffle<T>(&mut self, things: &mut [T]) {
        for index in (1..things.len()).rev() {
            things.swap(index, self.below(index + 1));
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tests' own settings come through their environment"
)]
fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|error| panic!("{name}={value}: {error}")))
}

/// A process that serves every guest of the table, and an innocent one.
struct Target {
    served: Served,
    count: usize,
    restarts: usize,
}

impl Target {
    fn new(lambda: FakeRuntimeApi, cases: &[Case]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut task_root = [guests::HOSTILE, guests::HOSTILE_03, guests::HTTP, guests::ECHO]
            .into_iter()
            .fold(TaskRoot::new(), TaskRoot::with_compiled);
        let mut manifest = String::from(
            "functions.hostile = { environment = { VISIBLE = '1' }, limits = { tmp = '8MiB', tmp-entries = 500 } }\n\
             functions.large = { component = 'hostile', limits = { memory = '256MiB' } }\n\
             functions.hostile-03 = { base-path = '/asynchronous' }\nfunctions.http = {}\nfunctions.echo = {}\n",
        );
        let mut routes = String::from(
            "routes = [{ path = '/asynchronous/{does}', function = 'hostile-03' }, { source = 'http', function = 'http' },\n\
             { source = 'hostile', function = 'hostile' }, { source = 'large', function = 'large' },\n",
        );
        for case in cases {
            if let Guest::Made(made) = &case.guest {
                let component = folder.path().join(made.id).with_extension("wasm");
                fs::write(&component, (made.make)()).unwrap();
                task_root = task_root.with_compiled(&component);
                writeln!(manifest, "functions.{} = {{}}", made.id).unwrap();
                writeln!(routes, "{{ source = '{}', function = '{}' }},", made.id, made.id).unwrap();
            }
        }
        routes.push_str("{ function = 'echo' }]\n");
        let task_root = task_root.with_content("orlop.toml", routes + &manifest);
        let variables = [
            ("AWS_ACCESS_KEY_ID", "secret"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_SESSION_TOKEN", "secret"),
            ("AWS_LAMBDA_METADATA_TOKEN", "secret"),
        ];
        Self {
            served: Served::in_task_root(lambda, task_root, None, &variables),
            count: 0,
            restarts: 0,
        }
    }

    /// Runs cases, and has an innocent event answered after each.
    #[track_caller]
    fn run<'a>(&mut self, cases: impl IntoIterator<Item = &'a Case>) {
        let complaints = cases
            .into_iter()
            .filter_map(|case| self.complaint(case))
            .collect::<Vec<_>>();
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }

    #[track_caller]
    fn settle(&mut self, cases: &[&Case]) {
        for _ in 0..WARM_UP {
            self.run(cases.iter().copied());
        }
    }

    fn complaint(&mut self, case: &Case) -> Option<String> {
        self.count += 1;
        let request_id = format!("{}-{}", case.id, self.count);
        let answer = self.served.ask(case.event(&request_id));
        self.restarts += usize::from(case.restarts());
        let innocent = addressed("echo", &json!({ "number": self.count })).to_string();
        let event = Event::new(format!("innocent-{}", self.count), innocent.clone()).due_in(Duration::from_secs(60));
        let echo = self.served.ask(event);
        assert!(
            !echo.is_error && echo.text() == innocent,
            "after {request_id}: {}",
            echo.text()
        );
        case.complaint(&answer)
    }
}

#[test]
fn one_process_survives_everything_that_guests_do_in_any_order_and_grows_by_nothing() {
    let rounds = setting("ORLOP_TEST_HOSTILE_ROUNDS").map_or(ROUNDS, |rounds| rounds as usize);
    let canary = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
    fs::write(canary.path(), "canary").unwrap();
    let lambda = FakeRuntimeApi::start();
    let cases = cases::cases(&Surroundings {
        runtime_api: lambda.address(),
        canary: canary.path().display().to_string(),
    });
    let mut target = Target::new(lambda, &cases);
    let mut dice = Dice::new();

    let (restarting, others): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(|case| case.restarts());
    target.settle(&others);
    let before = held_by(&target.served);
    // Without a new beginning, which would hide what has grown.
    for _ in 0..rounds {
        let mut order = others.clone();
        dice.shuffle(&mut order);
        target.run(order);
    }
    target.settle(&others);
    assert_unchanged(&target, before);
    // And with them.
    for _ in 0..rounds.div_ceil(2) {
        let mut order = [&others[..], &restarting[..]].concat();
        dice.shuffle(&mut order);
        target.run(order);
    }
    target.settle(&others);
    assert_unchanged(&target, before);

    let Target {
        served,
        count,
        restarts,
    } = target;
    assert!(!served.host.has_exited());
    let last = format!("restarts={restarts}");
    let begun = served.host.log().into_iter().filter(|line| line.contains("\tready "));
    let begun = begun.collect::<Vec<_>>();
    assert!(
        begun.last().is_some_and(|line| line.ends_with(&last)),
        "{last}: {begun:?}"
    );
    assert_answered_once(&served, 2 * count);
    assert_log_is_clean(&served.host.log());
    assert_eq!(fs::read_to_string(canary.path()).unwrap(), "canary");
    assert!(!Path::new("/orlop-made").exists() && !Path::new("/tmp/orlop-made").exists());
}

fn assert_unchanged(target: &Target, before: Held) {
    let after = held_within(&target.served, before);
    eprintln!("{before:?} became {after:?} after {} events", target.count);
    assert!(
        after.memory_kib <= before.memory_kib + GROWTH_KIB,
        "{before:?} became {after:?}"
    );
    assert!(after.descriptors <= before.descriptors, "{before:?} became {after:?}");
    assert!(after.threads <= before.threads, "{before:?} became {after:?}");
}

/// One accepted answer for each event; the fake itself complains of others.
fn assert_answered_once(served: &Served, events: usize) {
    let mut answers = BTreeMap::<String, usize>::new();
    for request in served.lambda.requests() {
        if request.path.ends_with("/response") || request.path.ends_with("/error") {
            assert_eq!(request.status, Some(202), "{}", request.path);
            *answers
                .entry(request.path.rsplit('/').nth(1).unwrap_or_default().to_owned())
                .or_default() += 1;
        }
    }
    assert_eq!(answers.len(), events);
    assert!(answers.values().all(|count| *count == 1), "{answers:?}");
}

/// No line begins like one of the platform's, and none holds what moves a terminal.
fn assert_log_is_clean(log: &[String]) {
    for line in log {
        let is_forged = ["START ", "END ", "REPORT ", "2026-01-01"]
            .iter()
            .any(|start| line.starts_with(start));
        assert!(!is_forged, "{line}");
        let is_raw =
            |character: char| character.is_control() && character != '\t' || "\u{202e}\u{2028}".contains(character);
        assert!(!line.contains(is_raw), "{line:?}");
    }
}
