//! Other processors than this machine's, played by qemu: `cargo test -p orlop-tests --test it processors -- --ignored`.
//!
//! They need Debian's `qemu-user-static`, and the one for Graviton what `cargo bootstrap-aarch64` needs.

use std::path::Path;

use orlop_tests::{Event, FakeRuntimeApi, Host, TaskRoot, bootstrap, bootstrap_for_aarch64, compile_with, examples};

use crate::artifacts::stamped;
use crate::{END, text};

/// Starts `program` on a processor that qemu plays.
fn start(qemu: &str, cpu: &str, program: &Path, lambda: &FakeRuntimeApi, task_root: &TaskRoot) -> Host {
    Host::binary(Path::new(qemu))
        .runtime_api(&lambda.address())
        .task_root(task_root)
        .args(["-cpu", cpu])
        .arg(program)
        .start()
}

#[test]
#[ignore = "needs qemu-aarch64-static and a cross compiler"]
fn a_runtime_for_graviton_serves_what_was_compiled_for_it_here() {
    let artifact = compile_with(examples::HELLO, &["--target", "aarch64-unknown-linux-gnu"]);
    // The least of the architecture, and the processor of Graviton 2.
    for cpu in ["cortex-a53", "neoverse-n1"] {
        let lambda = FakeRuntimeApi::start();
        let task_root = TaskRoot::new().with("hello.cwasm", &artifact);
        let host = start("qemu-aarch64-static", cpu, bootstrap_for_aarch64(), &lambda, &task_root);
        for request in ["a", "b"] {
            lambda.send(Event::new(request, r#"{"name":"Ada"}"#));
            assert_eq!(lambda.wait_for_answer(request).json()["message"], "Hello, Ada!");
        }
        host.wait_for_log(|line| line.contains("origin=copied"));
    }
}

/// What Init fails with on a processor that has nothing beyond the baseline of x86-64.
fn refusal(task_root: &TaskRoot) -> String {
    let lambda = FakeRuntimeApi::start();
    let host = start("qemu-x86_64-static", "qemu64", bootstrap(), &lambda, task_root);
    let report = lambda.wait_for_init_error().json();
    assert_eq!(host.wait_for_exit(END).code(), Some(1));
    text(&report, "errorMessage").to_owned()
}

#[test]
#[ignore = "needs qemu-x86_64-static"]
fn a_lesser_processor_refuses_by_name_what_is_beyond_it() {
    let lambda = FakeRuntimeApi::start();
    let task_root = TaskRoot::new().with("hello.cwasm", compile_with(examples::HELLO, &["--cpu", "x86-64"]));
    let _host = start("qemu-x86_64-static", "qemu64", bootstrap(), &lambda, &task_root);
    lambda.send(Event::new("a", r#"{"name":"Ada"}"#));
    assert_eq!(lambda.wait_for_answer("a").json()["message"], "Hello, Ada!");

    for (cpu, lacking) in [
        ("x86-64-v2", "ssse3, sse4.1, sse4.2;"),
        (
            "x86-64-v4",
            "avx2, bmi1, bmi2, fma, lzcnt, avx512f, avx512dq, avx512vl;",
        ),
    ] {
        let artifact = compile_with(examples::HELLO, &["--cpu", cpu]);
        let message = refusal(&TaskRoot::new().with("hello.cwasm", &artifact));
        for expected in [cpu, lacking, "`orlop compile hello.wasm -o hello.cwasm --cpu x86-64`"] {
            assert!(message.contains(expected), "{message}");
        }
        // The engine looks for itself, should the stamp say less than the code needs.
        let understated = stamped(&artifact, "cpu", "x86-64");
        let message = refusal(&TaskRoot::new().with_content("hello.cwasm", understated));
        assert!(message.contains("not available on the host"), "{message}");
    }
}
