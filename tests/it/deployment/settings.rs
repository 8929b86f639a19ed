//! Settings of one function of several: they hold for it and for no other.

use super::*;

#[test]
fn every_function_has_its_own_environment_and_arguments() {
    let manifest = r#"
        [defaults]
        environment = { STAGE = "test", COLOUR = "blue" }

        [functions.one]
        component = "command"
        args = ["describe", "--format", "json"]
        environment = { COLOUR = "red", KEY = "given" }

        [functions.two]
        component = "command"
        args = ["describe", "", "two words", "-é"]

        [functions.three]
        component = "command"
        args = ["describe"]
        grants = { environment = ["AWS_SECRET_ACCESS_KEY"] }

        [[routes]]
        path = "/1"
        function = "one"

        [[routes]]
        path = "/2"
        function = "two"

        [[routes]]
        path = "/3"
        function = "three"
    "#;
    let variables = [
        ("KEY", "the function's"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "eu-central-1"),
    ];
    let deployed = Deployed::with(task_root(&[guests::COMMAND], manifest), None, &variables);
    let ask = |path: &str| deployed.answer(path, http_event("GET", path).to_string());

    let one = ask("/1");
    assert_eq!(
        one["arguments"],
        json!(["command.wasm", "describe", "--format", "json"])
    );
    let environment = &one["environment"];
    assert_eq!(
        (
            text(environment, "STAGE"),
            text(environment, "COLOUR"),
            text(environment, "KEY")
        ),
        ("test", "red", "given")
    );
    assert_eq!(environment["AWS_SECRET_ACCESS_KEY"], Value::Null);

    let two = ask("/2");
    assert_eq!(
        two["arguments"],
        json!(["command.wasm", "describe", "", "two words", "-é"])
    );
    let environment = &two["environment"];
    assert_eq!(
        (
            text(environment, "STAGE"),
            text(environment, "COLOUR"),
            text(environment, "KEY")
        ),
        ("test", "blue", "the function's")
    );
    assert_eq!(text(environment, "AWS_REGION"), "eu-central-1");

    assert_eq!(ask("/3")["environment"]["AWS_SECRET_ACCESS_KEY"], "secret");
    for path in ["/1", "/2", "/3"] {
        let environment =
            &deployed.answer(&format!("{path}-again"), http_event("GET", path).to_string())["environment"];
        assert_eq!(environment["AWS_LAMBDA_RUNTIME_API"], Value::Null, "{environment}");
    }
}

#[test]
fn every_function_has_its_own_limits_and_a_variable_overrides_them_all() {
    let manifest = r#"
        [functions.small]
        component = "allocate"
        limits = { memory = "16MiB" }

        [functions.large]
        component = "allocate"
        limits = { memory = "48MiB" }

        [[routes]]
        arn = "arn:aws:sqs:*:*:small"
        function = "small"

        [[routes]]
        arn = "arn:aws:sqs:*:*:large"
        function = "large"
    "#;
    let wish = |queue: &str, mebibytes: u64| {
        let mut event = queue_event(queue);
        event["bytes"] = (mebibytes << 20).into();
        event["aborts"] = true.into();
        event.to_string()
    };
    let deployed = Deployed::new(task_root(&[guests::ALLOCATE], manifest));
    let report = deployed.failure("small", wish("small", 24));
    assert_eq!(text(&report, "errorType"), "Runtime.OutOfMemory");
    assert!(text(&report, "errorMessage").contains("16.0 MiB"), "{report}");
    assert_eq!(deployed.answer("large", wish("large", 24)), 24 << 20);
    let report = deployed.failure("larger", wish("large", 60));
    assert!(text(&report, "errorMessage").contains("48.0 MiB"), "{report}");
    assert_eq!(deployed.answer("small-again", wish("small", 8)), 8 << 20);

    let variables = [("ORLOP_LIMIT_MEMORY", "40MiB")];
    let deployed = Deployed::with(task_root(&[guests::ALLOCATE], manifest), None, &variables);
    assert_eq!(deployed.answer("small", wish("small", 24)), 24 << 20);
    deployed.failure("large", wish("large", 44));
}

#[test]
fn every_function_has_its_own_isolation_and_a_variable_overrides_it() {
    let manifest = r#"
        [defaults]
        isolation = "event"

        [functions.fresh]
        component = "record"

        [functions.kept]
        component = "record"
        isolation = "environment"

        [functions.also-kept]
        component = "record"
        isolation = "environment"

        [[routes]]
        arn = "arn:aws:sqs:*:*:fresh"
        function = "fresh"

        [[routes]]
        arn = "arn:aws:sqs:*:*:kept"
        function = "kept"

        [[routes]]
        arn = "arn:aws:sqs:*:*:also-kept"
        function = "also-kept"
    "#;
    let begun = |deployed: &Deployed| {
        let queues = ["fresh", "kept", "also-kept", "kept", "fresh", "kept", "also-kept"];
        for (index, queue) in queues.iter().enumerate() {
            let mut event = queue_event(queue);
            event["Records"][0]["messageId"] = format!("{queue}-{index}").into();
            deployed.answer(&format!("event-{index}"), event.to_string());
        }
        let lines = queues.iter().enumerate().map(|(index, queue)| {
            let begin = format!("\tbegin {queue}-{index} ");
            let line = deployed.host.wait_for_log(|line| line.contains(&begin));
            line.split_once(&begin).unwrap().1.to_owned()
        });
        lines.collect::<Vec<_>>()
    };
    let deployed = Deployed::new(task_root(&[guests::RECORD], manifest));
    let expected = [
        "event=1 files=0",
        "event=1 files=0",
        "event=1 files=0",
        "event=2 files=1",
        "event=1 files=0",
        "event=3 files=1",
        "event=2 files=1",
    ];
    assert_eq!(begun(&deployed), expected);
    let variables = [("ORLOP_ISOLATION", "event")];
    let deployed = Deployed::with(task_root(&[guests::RECORD], manifest), None, &variables);
    assert_eq!(begun(&deployed), ["event=1 files=0"; 7]);
}
