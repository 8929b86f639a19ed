//! `orlop new`: what a developer begins with works, tests and all.

use std::fs;
use std::path::{Path, PathBuf};

use orlop_tests::tools;
use serde_json::{Value, json};

use crate::projects::Desk;

const TEMPLATES: [&str; 4] = ["handler", "http", "command", "sqs"];

/// Goes the way of the README with a template: its tests pass, it builds, and each of its events has this answer, or this
/// error.
fn try_out(template: &str, answers: &[(&str, Result<Value, &str>)]) {
    let desk = Desk::new();
    let name = format!("new-{template}");
    let made = desk.orlop(&["new", &name, "--template", template]).done();
    assert!(
        made.stderr
            .starts_with(&format!("made {name} from the template {template}\n")),
        "{}",
        made.stderr
    );

    let tests = desk.cargo(&name, &["test"]).done();
    assert!(!tests.stdout.contains(" 0 passed"), "{}", tests.stdout);
    assert!(!tests.stderr.contains("warning"), "{}", tests.stderr);

    let built = desk.orlop_in(&name, &["build"]).done();
    assert!(
        built
            .stderr
            .contains(&format!("built {}", desk.target("orlop").join(&name).display())),
        "{}",
        built.stderr
    );
    let task_root = desk.target("orlop").join(&name);
    let expected = [format!("{name}.cwasm"), format!("{name}.wasm"), "orlop.toml".to_owned()];
    assert_eq!(desk.files_in(&task_root), expected);

    let mut events: Vec<String> = answers.iter().map(|(event, _)| format!("{event}.json")).collect();
    events.sort();
    assert_eq!(
        desk.files_in(desk.path(&name).join("events")),
        events,
        "every event is tried"
    );
    for (event, answer) in answers {
        let event = format!("events/{event}.json");
        let event = desk.path(&name).join(event);
        // The crate, and what goes into the image.
        for component in [desk.path(&name), task_root.clone()] {
            let said = desk.orlop(&["invoke", component.to_str().unwrap(), "-e", event.to_str().unwrap()]);
            match answer {
                Ok(answer) => assert_eq!(&serde_json::from_str::<Value>(&said.done().stdout).unwrap(), answer),
                Err(error) => {
                    assert_eq!(said.code, Some(1), "{}", said.stderr);
                    assert!(said.stderr.contains(error), "{}", said.stderr);
                }
            }
        }
    }
}

#[test]
fn a_new_handler_passes_its_tests_builds_and_answers_its_events() {
    try_out(
        "handler",
        &[
            ("ada", Ok(json!({ "message": "Hello, Ada!" }))),
            (
                "nameless",
                Err(r#"{"errorType":"NamelessVisitor","errorMessage":"a visitor needs a name""#),
            ),
        ],
    );
}

#[test]
fn a_new_web_server_passes_its_tests_builds_and_answers_its_events() {
    let page = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>new-http</title>\n\
                <h1>new-http</h1>\n<p>This page comes from a WebAssembly component.</p>\n</html>\n";
    let answer = |status: u16, content_type: &str, body: &str| {
        Ok(json!({
            "statusCode": status,
            "headers": { "content-type": content_type },
            "body": body,
            "isBase64Encoded": false,
        }))
    };
    try_out(
        "http",
        &[
            ("home", answer(200, "text/html; charset=utf-8", page)),
            ("shout", answer(200, "text/plain; charset=utf-8", "LAND AHOY")),
            ("not-found", answer(404, "text/plain", "there is no such page\n")),
        ],
    );
}

#[test]
fn a_new_program_passes_its_tests_builds_and_answers_its_events() {
    try_out(
        "command",
        &[
            (
                "shanty",
                Ok(json!({ "total": 6, "words": { "away": 3, "haul": 2, "joe": 1 } })),
            ),
            ("silence", Ok(json!({ "total": 0, "words": {} }))),
        ],
    );
}

#[test]
fn a_new_worker_of_a_queue_passes_its_tests_builds_and_answers_its_events() {
    let failures = [
        json!({ "itemIdentifier": "2e1424d4-f796-459a-8184-9c92662be6da" }),
        json!({ "itemIdentifier": "8b1c6f0e-5d0b-4c39-9f0a-7a1d2f3b4c5e" }),
    ];
    try_out(
        "sqs",
        &[
            ("orders", Ok(json!({ "batchItemFailures": [] }))),
            ("two-bad", Ok(json!({ "batchItemFailures": failures }))),
        ],
    );
}

#[test]
fn every_template_has_a_short_dockerfile_that_copies_what_is_there_and_a_template_that_cloudformation_takes() {
    let desk = Desk::new();
    let mut cfn_lint = tools::cfn_lint();
    for template in TEMPLATES {
        let name = format!("deploy-{template}");
        desk.orlop(&["new", &name, "-t", template]).done();
        let project = desk.path(&name);
        let dockerfile = fs::read_to_string(project.join("Dockerfile")).unwrap();
        assert!(dockerfile.lines().count() <= 10, "{template}: {dockerfile}");
        for expected in [
            format!("/{name}.wasm /project/orlop.toml"),
            format!(r#""compile", "{name}.wasm""#),
        ] {
            assert!(dockerfile.contains(&expected), "{template}: {dockerfile}");
        }
        for file in ["orlop.toml", ".gitignore", ".dockerignore", "src/main.rs"] {
            assert!(project.join(file).is_file(), "{template}: {file}");
        }
        let left_open = files_below(&project).into_iter().find(|file| {
            fs::read_to_string(file).is_ok_and(|text| text.contains("{{name}}") || text.contains("{{rust}}"))
        });
        assert_eq!(left_open, None, "{template}: every place is filled in");
        cfn_lint.arg(project.join("template.yaml"));
    }
    tools::run(cfn_lint, "templates without complaints");
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] })
        .collect()
}

#[test]
fn the_commands_of_a_new_readme_name_files_that_are_there() {
    let desk = Desk::new();
    for template in TEMPLATES {
        let name = format!("readme-{template}");
        let made = desk.orlop(&["new", &name, "-t", template]).done();
        let readme = fs::read_to_string(desk.path(&name).join("README.md")).unwrap();
        let words = made.stderr.split_whitespace().chain(readme.split_whitespace());
        let mut events = words
            .filter(|word| word.starts_with("events/") && word.ends_with(".json"))
            .peekable();
        assert!(events.peek().is_some(), "{readme}");
        for event in events {
            assert!(desk.path(&name).join(event).is_file(), "{template}: {event}");
        }
        assert_eq!(
            readme.contains("vendor/orlop-sdk"),
            desk.path(&name).join("vendor").is_dir(),
            "{template}"
        );
    }
}

#[test]
fn a_project_goes_into_an_empty_folder_and_below_others_but_never_over_what_is_there() {
    let desk = Desk::new();
    fs::create_dir(desk.path("empty")).unwrap();
    desk.orlop(&["new", "empty", "-t", "command"]).done();
    desk.orlop(&["new", "some/where/deep", "-t", "command"]).done();
    desk.write("own/src/main.rs", "mine");
    desk.write("file", "mine");
    for taken in ["empty", "own", "file"] {
        let (error, help) = desk.orlop(&["new", taken]).mistake();
        assert_eq!(error, format!("`{taken}` is there already"));
        assert_eq!(help, "give the project another name, or remove what is there");
    }
    assert_eq!(desk.files_in("own"), ["src"]);
    assert_eq!(
        desk.files_in(""),
        ["empty", "file", "own", "some"],
        "nothing else is left behind"
    );
}

#[test]
fn a_project_below_another_workspace_builds_by_itself() {
    let desk = Desk::new();
    desk.write("Cargo.toml", "[workspace]\nmembers = []\n");
    desk.orlop(&["new", "inner", "-t", "command"]).done();
    desk.orlop(&["build", "inner", "-o", "task"]).done();
    assert_eq!(desk.files_in("task"), ["inner.cwasm", "inner.wasm", "orlop.toml"]);
}

#[test]
fn names_that_no_package_can_have_are_refused_and_unknown_templates_are_told_the_known_ones() {
    let desk = Desk::new();
    for (name, expected) in [
        ("2nd", "it does not begin with a letter"),
        ("größe", "it has the character 'ö'"),
        ("a b", "it has the character ' '"),
        ("fn", "that name is taken"),
        ("serde", "that name is taken"),
    ] {
        let (error, help) = desk.orlop(&["new", name]).mistake();
        assert!(error.contains(expected), "{error}");
        assert!(help.contains("letters, digits"), "{help}");
    }
    assert_eq!(desk.files_in(""), [""; 0]);
    let said = desk.orlop(&["new", "x", "--template", "cobol"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.stderr.contains("[possible values: handler, http, command, sqs]"),
        "{}",
        said.stderr
    );
}
