//! A guest hides a secret wherever something might outlive its event; the next one looks for it in all of these places.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use orlop_tests::{Event, FakeRuntimeApi, Served, TaskRoot, guests};
use serde_json::{Value, json};

use crate::cases::addressed;

const SECRET: &str = "correct-horse-battery-staple";

fn hide(id: &str) -> Event {
    Event::new(id, json!({ "does": "hide", "secret": SECRET }).to_string())
}

fn find(id: &str) -> Event {
    Event::new(id, json!({ "does": "find", "secret": SECRET }).to_string())
}

/// Where the event with that id finds the secret.
#[track_caller]
fn found(served: &Served, event: Event) -> Vec<String> {
    let answer = served.ask(event);
    assert!(!answer.is_error, "{}", answer.text());
    let Value::Array(places) = answer.json() else {
        panic!("no list: {}", answer.text())
    };
    places
        .into_iter()
        .filter_map(|place| place.as_str().map(str::to_owned))
        .collect()
}

#[track_caller]
fn hidden(served: &Served, event: Event) {
    let answer = served.ask(event);
    assert_eq!(answer.text(), SECRET.len().to_string());
}

#[test]
fn the_next_event_finds_nothing_however_often_the_same_slots_are_used() {
    let served = Served::with_env(guests::HOSTILE, &[("ORLOP_ISOLATION", "event")]);
    for round in 0..30 {
        hidden(&served, hide(&format!("hide-{round}")));
        assert_eq!(
            found(&served, find(&format!("find-{round}"))),
            [] as [&str; 0],
            "round {round}"
        );
    }
    // What was printed without the end of its line belongs to whoever printed it.
    let log = served.host.log();
    assert!(
        log.iter()
            .any(|line| line.contains("\thide-0\t") && line.contains(SECRET)),
        "{log:?}"
    );
    assert!(
        !log.iter().any(|line| line.contains("\tfind-") && line.contains(SECRET)),
        "{log:?}"
    );
}

#[test]
fn two_functions_of_one_process_find_nothing_of_each_other() {
    let manifest = "routes = [{ source = 'one', function = 'one' }, { source = 'two', function = 'two' }]\n\
                    [functions.one]\ncomponent = 'hostile'\nisolation = 'environment'\n\
                    [functions.two]\ncomponent = 'hostile'\nisolation = 'event'\n";
    let task_root = TaskRoot::new()
        .with_compiled(guests::HOSTILE)
        .with_content("orlop.toml", manifest);
    let served = Served::in_task_root(FakeRuntimeApi::start(), task_root, None, &[]);
    let orders = |who, does| addressed(who, &json!({ "does": does, "secret": SECRET })).to_string();
    for round in 0..5 {
        hidden(&served, Event::new(format!("hide-{round}"), orders("one", "hide")));
        let event = Event::new(format!("find-{round}"), orders("two", "find"));
        assert_eq!(found(&served, event), [] as [&str; 0]);
    }
    // The one that is kept finds its own.
    assert!(!found(&served, Event::new("own", orders("one", "find"))).is_empty());
}

#[test]
fn another_tenant_finds_nothing_and_the_same_one_finds_its_own() {
    let served = Served::with_env(guests::HOSTILE, &[("ORLOP_ISOLATION", "tenant")]);
    hidden(&served, hide("one").tenant_id("one"));
    let own = found(&served, find("one-again").tenant_id("one"));
    assert!(
        own.contains(&"global".to_owned()) && own.contains(&"/tmp/secret".to_owned()),
        "{own:?}"
    );
    hidden(&served, hide("one-more").tenant_id("one"));
    for (id, event) in [("two", find("two").tenant_id("two")), ("none", find("none"))] {
        assert_eq!(found(&served, event), [] as [&str; 0], "{id}");
    }
}

#[test]
fn after_a_trap_an_exit_or_an_overrun_a_kept_instance_has_nothing_left() {
    let served = Served::with_env(guests::HOSTILE, &[("ORLOP_ISOLATION", "environment")]);
    for (index, misdeed) in [
        json!({ "does": "panic", "message": "boo" }),
        json!({ "does": "exit", "code": 1 }),
        json!({ "does": "recurse" }),
        json!({ "does": "grow", "aborts": true }),
        json!({ "does": "open-files" }),
        json!({ "does": "spin" }),
    ]
    .iter()
    .enumerate()
    {
        hidden(&served, hide(&format!("hide-{index}")));
        let event = Event::new(format!("end-{index}"), misdeed.to_string());
        assert!(
            served.ask(event.due_in(std::time::Duration::from_secs(1))).is_error,
            "{misdeed}"
        );
        assert_eq!(
            found(&served, find(&format!("find-{index}"))),
            [] as [&str; 0],
            "after {misdeed}"
        );
    }
}

/// The directory that a kept guest sees as `/tmp`.
fn tmp_of(served: &Served) -> PathBuf {
    let name = format!(".orlop-{}", served.host.pid());
    let workspaces = fs::read_dir("/tmp").unwrap().flatten().map(|entry| entry.path());
    let directories = workspaces
        .filter(|path| {
            path.file_name()
                .is_some_and(|found| found.to_string_lossy().starts_with(&name))
        })
        .flat_map(|path| fs::read_dir(path).unwrap().flatten().map(|entry| entry.path()));
    let directories = directories.collect::<Vec<_>>();
    let [directory] = directories.as_slice() else {
        panic!("{directories:?}")
    };
    directory.clone()
}

// G27.
#[test]
fn links_that_somebody_else_has_planted_lead_nowhere() {
    let canary = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
    fs::write(canary.path(), "canary").unwrap();
    let served = Served::with_env(guests::FILES, &[("ORLOP_ISOLATION", "environment")]);
    served.answer("begin", r#"[{"verb":"list","path":"/tmp"}]"#);
    let tmp = tmp_of(&served);
    let upwards = "../".repeat(12);
    let links = [
        ("absolute", canary.path().display().to_string()),
        ("relative", format!("{upwards}{}", canary.path().display())),
        ("folder", "/var/tmp".to_owned()),
        ("slash", "/var/tmp/".to_owned()),
        ("up", "..".to_owned()),
        ("self", "/proc/self".to_owned()),
        ("root", "/proc/self/root".to_owned()),
    ];
    for (name, target) in &links {
        symlink(target, tmp.join(name)).unwrap();
    }
    let name = canary.path().file_name().unwrap().to_string_lossy().into_owned();
    let mut operations = Vec::new();
    for (link, _) in &links {
        for path in [
            format!("/tmp/{link}"),
            format!("/tmp/{link}/"),
            format!("/tmp/{link}/{name}"),
            format!("/tmp/{link}/environ"),
            format!("/tmp/{link}/etc/passwd"),
        ] {
            operations.push(json!({ "verb": "read", "path": path }));
            operations.push(json!({ "verb": "list", "path": path }));
            operations.push(json!({ "verb": "append", "path": path, "data": "x" }));
            operations.push(json!({ "verb": "make-directory", "path": format!("{path}/made") }));
            operations.push(json!({ "verb": "hard-link", "target": path, "path": "/tmp/linked" }));
        }
    }
    let results = served.answer("follow", json!(operations).to_string());
    for (operation, result) in operations.iter().zip(results.as_array().unwrap()) {
        // A link to a link is one's own, and leads as little.
        let is_own = operation["verb"] == "hard-link";
        assert!(is_own || result.get("error").is_some(), "{operation} gave {result}");
    }
    assert_eq!(fs::read_to_string(canary.path()).unwrap(), "canary");
}
