//! A Runtime API that fails, and a network that does: the cases F01 to F37 of the threat model.
//!
//! Whatever happens, each event gets one answer that counts, or the process ends with a status other than 0 and says why.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod answers;
mod environment;
mod events;
mod network;
mod phases;
mod start;
mod wall_clock;

use std::time::Duration;

use orlop_tests::fake_runtime_api::Request;
use orlop_tests::{FakeRuntimeApi, Served, ToxicProxy, guests};

/// How long a process may take to end once it has to, tries included.
const END: Duration = Duration::from_secs(8);

/// A fake that only writes down what breaks the protocol: here the network is what breaks.
fn tolerant() -> FakeRuntimeApi {
    FakeRuntimeApi::builder().tolerate_violations().start()
}

/// The guest that answers with its event, behind that proxy.
fn echo_behind(proxy: &ToxicProxy, lambda: FakeRuntimeApi) -> Served {
    let address = proxy.address();
    Served::with(lambda, guests::ECHO, &[("AWS_LAMBDA_RUNTIME_API", &*address)])
}

/// What came in of answers and reports of errors, in order.
fn posts(lambda: &FakeRuntimeApi) -> Vec<Request> {
    let mut requests = lambda.requests();
    requests.retain(|request| request.method == "POST");
    requests
}

/// How many answers to the event with that plain id were accepted.
fn accepted(lambda: &FakeRuntimeApi, id: &str) -> usize {
    let requests = lambda.requests();
    let is_accepted = |request: &&Request| {
        let path = request
            .path
            .strip_suffix("/response")
            .or(request.path.strip_suffix("/error"));
        request.status == Some(202) && path.is_some_and(|path| path.ends_with(&format!("/{id}")))
    };
    requests.iter().filter(is_accepted).count()
}

/// The process has ended because of the Runtime API, and its last line says why.
#[track_caller]
fn assert_ended_with_reason(served: &Served, told: &str) {
    assert_eq!(served.host.wait_for_exit(END).code(), Some(2), "{told}");
    let log = served.host.log();
    let last = log.last().map(String::as_str).unwrap_or_default();
    assert!(
        last.contains("\tFATAL\t") && last.contains("exitCode=2"),
        "{told}: {log:?}"
    );
}
