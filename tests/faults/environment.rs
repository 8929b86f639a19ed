//! An execution environment in which something is missing, or short (F31 to F33, F35, F36).

use orlop_tests::host::Builder;
use orlop_tests::{Event, FakeRuntimeApi, Host, Served, TaskRoot, bootstrap, guests, held, tools};

use crate::{END, tolerant};

/// The runtime behind a shell that sets the stage.
fn after(stage: &str) -> Builder {
    Host::binary("/bin/sh".as_ref())
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .args(["-c", &format!("{stage} && exec \"$0\"")])
        .arg(bootstrap())
}

/// The same behind a shell that may mount what nobody else sees.
fn in_own_mounts(stage: &str) -> Builder {
    Host::binary("/usr/bin/unshare".as_ref())
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
        .arg(stage)
}

/// The last line of a process whose Init failed.
#[track_caller]
fn last_words(told: &str, host: &Host) -> String {
    assert_eq!(host.wait_for_exit(END).code(), Some(1), "{told}: {:?}", host.log());
    host.log().pop().unwrap_or_default()
}

/// Either events are served, or the process has ended with a reason, which is returned with its exit code: it never hangs.
#[track_caller]
fn served_or_explained(told: &str, program: Builder) -> Option<(i32, String)> {
    let lambda = tolerant();
    let task_root = TaskRoot::new().with_compiled(guests::ECHO);
    let program = program.runtime_api(&lambda.address());
    let served = Served::by(program, lambda, task_root, None, &[]);
    served.lambda.send(Event::new("a", "1"));
    let until = std::time::Instant::now() + END;
    while served.lambda.answers("a").is_empty() && !served.host.has_exited() {
        assert!(
            std::time::Instant::now() < until,
            "{told}: it hangs: {:?}",
            served.host.log()
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    if !served.lambda.answers("a").is_empty() {
        return None;
    }
    let code = served.host.wait_for_exit(END).code();
    let log = served.host.log();
    match (code, log.last()) {
        (Some(code @ (1 | 2)), Some(last)) if last.contains("FATAL") => Some((code, last.clone())),
        ended => panic!("{told}: {ended:?}: {log:?}"),
    }
}

#[test]
fn whatever_is_short_the_process_serves_or_says_why_not() {
    for count in (6..=32).chain([1024]) {
        let limit = format!("-n {count}");
        let ended = served_or_explained(&limit, after(&format!("ulimit {limit}")));
        // How many it takes depends on what the process inherits; that it is known before the first event does not.
        if let Some((code, last)) = ended {
            assert!(code == 1 && last.contains("`ulimit -n`"), "{limit}: {code}: {last}");
            assert!(count < 1024, "{limit}: {last}");
        }
    }
    for limit in ["-v 67108864", "-v 8388608", "-s 256", "-c 0", "-l 0"] {
        served_or_explained(limit, after(&format!("ulimit {limit}")));
    }
}

#[test]
fn a_limit_that_is_too_small_to_start_is_an_init_error_with_its_name() {
    let task_root = TaskRoot::new().with_compiled(guests::ECHO);
    for (limit, name) in [
        ("-n 5", "`ulimit -n`"),
        ("-n 8", "`ulimit -n`"),
        ("-f 0", "`ulimit -f`"),
        // KiB of address space, from too little for one memory to hardly any.
        ("-v 4194304", "`ulimit -v`"),
        ("-v 1048576", "`ulimit -v`"),
        ("-v 262144", "`ulimit -v`"),
    ] {
        let lambda = tolerant();
        let host = after(&format!("ulimit {limit}"))
            .runtime_api(&lambda.address())
            .task_root(&task_root)
            .start();
        let last = last_words(limit, &host);
        assert!(last.contains("\tFATAL\t") && last.contains(name), "{limit}: {last}");
    }
}

#[test]
fn a_guest_that_takes_all_of_its_memory_leaves_the_process_within_that_of_the_function() {
    // The kernel would end a process that has more, and with it the environment.
    const MEMORY_MB: u64 = 128;
    let served = Served::with_env(
        guests::ALLOCATE,
        &[("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &*MEMORY_MB.to_string())],
    );
    let pid = served.host.pid();
    // As large as events are, too.
    let padding = " ".repeat(6 << 20);
    for round in 0..3 {
        let event = format!(r#"{{"bytes":1000000000,"aborts":true}}{padding}"#);
        let report = served.failure(&format!("bomb-{round}"), event);
        assert_eq!(report["errorType"], "Runtime.OutOfMemory", "{report}");
        assert_eq!(served.answer(&format!("after-{round}"), r#"{"bytes":65536}"#), 65536);
    }
    assert_eq!(served.host.pid(), pid);
    assert!(!served.host.has_exited());
    // Of this, what is mapped from files could be given back.
    let most_mib = held::status(pid, "VmHWM").unwrap() >> 10;
    assert!((64..MEMORY_MB).contains(&most_mib), "{most_mib} MiB");
}

#[test]
fn closed_descriptors_are_no_obstacle() {
    for stage in ["exec <&-", "exec >&-", "exec 2>/dev/full"] {
        let lambda = FakeRuntimeApi::start();
        let task_root = TaskRoot::new().with_compiled(guests::PRINT);
        let program = after(stage).runtime_api(&lambda.address());
        let served = Served::by(program, lambda, task_root, None, &[]);
        let event = r#"[{"stream":"stdout","text":"line\n"},{"stream":"stderr","text":"line\n"}]"#;
        assert!(served.answer("a", event).is_null(), "{stage}");
        assert!(served.answer("b", event).is_null(), "{stage}");
    }
}

#[test]
fn system_calls_that_a_sandbox_forbids_are_done_without() {
    tools::require(&["strace"], "nothing else can forbid single system calls");
    for call in [
        "openat2",
        "statx",
        "memfd_create",
        "io_uring_setup",
        "process_madvise",
        "clone3",
        "getrandom",
        "pkey_alloc",
    ] {
        let lambda = FakeRuntimeApi::start();
        let task_root = TaskRoot::new().with_compiled(guests::FILES);
        let program = Host::binary("/usr/bin/strace".as_ref())
            .runtime_api(&lambda.address())
            .env("PATH", "/usr/bin:/bin")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
            .args(["-e", &format!("inject={call}:error=ENOSYS")])
            .arg(bootstrap());
        let served = Served::by(program, lambda, task_root, None, &[]);
        let operations = r#"[{"verb":"write","path":"/tmp/a","data":"x"},{"verb":"read","path":"/tmp/a"},
            {"verb":"read","path":"/tmp/../etc/passwd"}]"#;
        let results = served.answer("a", operations);
        assert_eq!(results[1], "x", "without {call}: {results}");
        assert!(results[2].get("error").is_some(), "without {call}: {results}");
    }
}

#[test]
fn a_thread_that_cannot_be_had_ends_the_process_with_what_it_was_for() {
    tools::require(&["strace"], "nothing else can refuse a single thread");
    let lambda = tolerant();
    let task_root = TaskRoot::new().with_compiled(guests::ECHO);
    let host = Host::binary("/usr/bin/strace".as_ref())
        .runtime_api(&lambda.address())
        .task_root(&task_root)
        .env("PATH", "/usr/bin:/bin")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=clone,clone3"])
        .args(["-e", "inject=clone,clone3:error=EAGAIN"])
        .arg(bootstrap())
        .start();
    let last = last_words("without threads", &host);
    assert!(last.contains("\tFATAL\tstarting the worker thread: "), "{last}");
}

#[test]
fn a_full_tmp_is_told_to_guests_that_write_and_is_nothing_to_others() {
    let lambda = FakeRuntimeApi::start();
    // Elsewhere than below `/tmp`, which is hidden.
    let elsewhere = tempfile::tempdir_in("/var/tmp").unwrap();
    let task_root = TaskRoot::new().with_compiled(guests::FILES);
    for (from, name) in [
        (task_root.path().join("files.cwasm"), "files.cwasm"),
        (bootstrap().to_owned(), "bootstrap"),
    ] {
        std::fs::copy(from, elsewhere.path().join(name)).unwrap();
    }
    let host = in_own_mounts("mount -t tmpfs -o size=16k none /tmp && exec \"$LAMBDA_TASK_ROOT/bootstrap\" files")
        .runtime_api(&lambda.address())
        .task_root(elsewhere.path())
        .start();
    let served = Served::of(lambda, host, task_root);
    let large = "x".repeat(100_000);
    for round in 0..3 {
        let operations = format!(r#"[{{"verb":"write","path":"/tmp/a","data":"{large}"}}]"#);
        let results = served.answer(&format!("large-{round}"), operations);
        assert!(results[0].get("error").is_some(), "{results}");
        let operations = r#"[{"verb":"write","path":"/tmp/a","data":"x"},{"verb":"read","path":"/tmp/a"}]"#;
        assert_eq!(served.answer(&format!("small-{round}"), operations)[1], "x");
    }
}

#[test]
fn without_devices_events_are_served() {
    let lambda = FakeRuntimeApi::start();
    let task_root = TaskRoot::new().with_compiled(guests::ECHO);
    // An empty `/dev`.
    let program = in_own_mounts("mount -t tmpfs none /dev && exec \"$0\"")
        .runtime_api(&lambda.address())
        .arg(bootstrap());
    let served = Served::by(program, lambda, task_root, None, &[]);
    assert_eq!(served.answer("a", "1"), 1);
    assert_eq!(served.answer("b", "2"), 2);
}

#[test]
fn without_any_source_of_random_numbers_the_process_says_what_it_lacks() {
    tools::require(&["strace"], "nothing else can forbid single system calls");
    let lambda = tolerant();
    let task_root = TaskRoot::new().with_compiled(guests::ECHO);
    let strace = "strace -f -qq -o /dev/strace -e trace=getrandom -e inject=getrandom:error=ENOSYS";
    let host = in_own_mounts(&format!("mount -t tmpfs none /dev && exec {strace} \"$0\""))
        .runtime_api(&lambda.address())
        .task_root(&task_root)
        .arg(bootstrap())
        .start();
    let last = last_words("without random numbers", &host);
    assert!(
        last.contains("\tFATAL\tasking the system for random numbers: "),
        "{last}"
    );
}

#[test]
fn an_overrun_without_proc_is_followed_by_a_new_beginning_all_the_same() {
    let task_root = TaskRoot::new()
        .with_compiled(guests::SPIN)
        .with("bootstrap", bootstrap());
    let lambda = FakeRuntimeApi::start();
    let program = in_own_mounts("mount -t tmpfs none /proc && exec \"$LAMBDA_TASK_ROOT/bootstrap\" spin")
        .runtime_api(&lambda.address());
    let served = Served::by(program, lambda, task_root, None, &[]);
    assert!(served.answer("before", "false").is_null());
    let answer = served.ask(Event::new("overrun", "true").due_in(std::time::Duration::from_millis(400)));
    assert_eq!(answer.json()["errorType"], "Runtime.DeadlineExceeded");
    assert!(served.answer("after", "false").is_null());
}
