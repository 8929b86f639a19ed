//! Components behind the front doors: what these write, Orlop's own runtime reads.

use orlop_local::Function;
use orlop_local::gateway::{Kind, RestApi};
use orlop_tests::{Component, TaskRoot, bootstrap, examples};

use super::Front;
use super::clients::{curl, get};

/// A front door before one of the examples, whose files are gone with the second value.
async fn before(kind: Kind, component: Component, name: &str, response_mode: &str) -> (Front, TaskRoot) {
    let root = TaskRoot::new().with_compiled(component);
    let variables = [
        ("_HANDLER", name),
        ("LAMBDA_TASK_ROOT", root.path().to_str().unwrap()),
        ("ORLOP_RESPONSE_MODE", response_mode),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let change = |function| Function {
        program: bootstrap().to_owned(),
        arguments: Vec::new(),
        variables: variables.to_vec(),
        ..function
    };
    let front = Front::with(kind, &[], change, |gateway| gateway).await;
    (front, root)
}

#[tokio::test]
async fn a_site_works_behind_every_front_door() {
    let rest = RestApi {
        binary_media_types: vec!["*/*".to_owned()],
        ..RestApi::default()
    };
    let doors = [
        Kind::HttpApi,
        Kind::RestApi(rest),
        Kind::FunctionUrl { streamed: false },
        Kind::LoadBalancer { multi_value: true },
    ];
    for kind in doors {
        let (front, _root) = before(kind.clone(), examples::WEB, "web", "buffered").await;
        let folder = tempfile::tempdir().unwrap();
        let jar = folder.path().join("jar");
        let jar = ["--cookie", jar.to_str().unwrap(), "--cookie-jar", jar.to_str().unwrap()];

        let ship = get(&front.url("/ship.png")).await;
        assert_eq!(ship.header("content-type"), "image/png", "{kind:?}");
        assert!(ship.bytes.starts_with(b"\x89PNG\r\n"), "{kind:?}");
        let signed_on = curl(
            &front.url("/sign-on"),
            &[&jar[..], &["--data", "name=Ada+L%26"]].concat(),
        )
        .await;
        assert_eq!((signed_on.status, signed_on.body.as_str()), (303, ""), "{kind:?}");
        let home = curl(&front.url("/"), &jar).await;
        assert_eq!(home.status, 200, "{kind:?}");
        assert!(home.body.contains("Ada L&amp;"), "{kind:?}: {}", home.body);
        let nowhere = get(&front.url("/nowhere")).await;
        assert_eq!(
            (nowhere.status, nowhere.body.trim_end()),
            (404, "There is no such page."),
            "{kind:?}"
        );
        let head = curl(&front.url("/"), &["--head"]).await;
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{kind:?}");
    }
}

#[tokio::test]
async fn events_of_a_component_stream_through_front_doors_that_do() {
    let rest = RestApi {
        streamed: true,
        ..RestApi::default()
    };
    for kind in [Kind::FunctionUrl { streamed: true }, Kind::RestApi(rest)] {
        let (front, _root) = before(kind.clone(), examples::STREAM, "stream", "streaming").await;
        let got = get(&front.url("/?count=2&interval=20ms")).await;
        assert_eq!(got.header("content-type"), "text/event-stream", "{kind:?}");
        assert_eq!(got.header("transfer-encoding"), "chunked", "{kind:?}");
        assert!(got.body.starts_with("id: 1\nevent: tick\n"), "{kind:?}: {}", got.body);
        assert!(got.body.contains("event: end"), "{kind:?}: {}", got.body);
        let refused = get(&front.url("/?count=none")).await;
        assert_eq!(refused.status, 400, "{kind:?}");
    }
}
