//! What an event costs the runtime in instructions, and a start in files. Unlike time, they are the same on a machine that is busy with
//! something else, so a slow creep shows here first.
//!
//! Valgrind counts the instructions. What a process needs for its start is in both runs of a pair, and falls out of their difference.

use std::fs;

use orlop_tests::{Event, FakeRuntimeApi, Host, Served, Signal, TaskRoot, bootstrap, guests, tools};

use crate::END;

/// For an isolation, the instructions of an event with a margin of a tenth: the kept instance took 26,900 when this was written,
/// the fresh one 78,800, of which the guest itself has a small part.
const BUDGETS: [(&str, u64); 2] = [("environment", 29_600), ("event", 86_700)];
/// Events of the shorter run: enough that everything is warm.
const FEW: usize = 40;
/// Further events of the longer run.
const MORE: usize = 200;

/// Instructions in user space, from the start of a process to its end, with so many events.
fn run(events: usize, isolation: &str) -> u64 {
    tools::require(&["valgrind"], "there is no other way");
    let counts = tempfile::NamedTempFile::new().unwrap();
    let lambda = FakeRuntimeApi::start();
    let valgrind = Host::binary("valgrind".as_ref())
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", counts.path().display()))
        .arg(bootstrap())
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("ORLOP_ISOLATION", isolation)
        .runtime_api(&lambda.address());
    let task_root = TaskRoot::new().with_compiled(guests::ECHO);
    let served = Served::by(valgrind, lambda, task_root, guests::ECHO.name(), &[]);
    for index in 0..events {
        let answer = served.ask(Event::new(format!("event-{index:06}"), "1"));
        assert_eq!(answer.body, b"1");
    }
    served.lambda.wait_for_next();
    served.host.signal(Signal::TERM);
    served.host.wait_for_exit(END);
    let counts = fs::read_to_string(counts.path()).unwrap();
    let summary = counts.lines().find_map(|line| line.strip_prefix("totals: "));
    summary.and_then(|count| count.trim().parse().ok()).unwrap()
}

#[test]
fn an_event_costs_no_more_instructions_than_its_budget() {
    for (isolation, budget) in BUDGETS {
        let (short, long) = (run(FEW, isolation), run(FEW + MORE, isolation));
        let cost = long.saturating_sub(short) / MORE as u64;
        assert!(
            cost <= budget,
            "with isolation `{isolation}`, an event costs {cost} instructions, and the budget is {budget}; if that is worth it, \
             raise the budget in {}",
            file!()
        );
    }
}

/// The files that a start with these variables looked for, up to its first request for an event.
fn opened(task_root: TaskRoot, lambda: FakeRuntimeApi, variables: &[(&str, &str)]) -> String {
    tools::require(&["strace"], "nothing else tells which files a process opens");
    let calls = tempfile::NamedTempFile::new().unwrap();
    let program = Host::binary("strace".as_ref())
        .args(["-f", "-qq", "-e", "trace=open,openat", "-o"])
        .arg(calls.path())
        .arg(bootstrap())
        .env("PATH", "/usr/bin:/bin")
        .runtime_api(&lambda.address());
    let served = Served::by(program, lambda, task_root, None, variables);
    served.lambda.wait_for_next();
    fs::read_to_string(calls.path()).unwrap()
}

#[test]
fn a_start_looks_for_a_quota_of_processors_only_where_several_threads_would_share_it() {
    let (artifact, quota) = ("echo", "/proc/self/cgroup");
    let files = opened(
        TaskRoot::new().with_compiled(guests::ECHO),
        FakeRuntimeApi::start(),
        &[],
    );
    assert!(files.contains(artifact) && !files.contains(quota), "{files}");
    let files = opened(
        TaskRoot::new().with_concurrent(guests::ECHO),
        FakeRuntimeApi::builder().concurrency(2).start(),
        &[("AWS_LAMBDA_MAX_CONCURRENCY", "2")],
    );
    // The event loop looks for it, and the engine does.
    assert!(files.contains(artifact) && files.matches(quota).count() > 1, "{files}");
}
