//! The SDK's sources, which the tool carries until the SDK is on crates.io.
//!
//! They are written in the folders that they have in Orlop's checkout, so that every file is the original. The one that is
//! made is the workspace's `Cargo.toml`: of Orlop's own it has what the SDK inherits.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use include_dir::{Dir, include_dir};
use toml::{Table, Value};

/// Where they are in a project.
const FOLDER: &str = "vendor/orlop-sdk";

static SDK: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../guest-sdk/src");
static MACROS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../guest-sdk/macros/src");
static INTERFACE: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../wit");
const WORKSPACE: &str = include_str!("../../../Cargo.toml");
const FILES: [(&str, &str); 4] = [
    ("guest-sdk/Cargo.toml", include_str!("../../../guest-sdk/Cargo.toml")),
    (
        "guest-sdk/macros/Cargo.toml",
        include_str!("../../../guest-sdk/macros/Cargo.toml"),
    ),
    // An example in the SDK's documentation.
    (
        "examples/hello/src/main.rs",
        include_str!("../../../examples/hello/src/main.rs"),
    ),
    ("LICENSE", include_str!("../../../LICENSE")),
];

/// Writes them into a project.
pub(super) fn write(project: &Path) -> io::Result<()> {
    let folder = project.join(FOLDER);
    for (sources, place) in [
        (&SDK, "guest-sdk/src"),
        (&MACROS, "guest-sdk/macros/src"),
        (&INTERFACE, "wit"),
    ] {
        super::write(sources, &folder.join(place), &str::to_owned)?;
    }
    for (path, content) in FILES {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&folder))?;
        fs::write(path, content)?;
    }
    fs::write(folder.join("Cargo.toml"), workspace())
}

/// The workspace of the SDK's two crates.
fn workspace() -> String {
    let original: Table = WORKSPACE.parse().expect("cargo has read the file to build this");
    let original = table(&original, "workspace");
    let inherited = inherited();
    let mut dependencies = table(original, "dependencies").clone();
    dependencies.retain(|name, _| inherited.contains(name));
    let members = ["guest-sdk", "guest-sdk/macros"].map(|member| Value::String(member.to_owned()));
    let workspace = Table::from_iter([
        ("resolver".to_owned(), original["resolver"].clone()),
        ("members".to_owned(), Value::Array(members.to_vec())),
        ("package".to_owned(), original["package"].clone()),
        ("dependencies".to_owned(), Value::Table(dependencies)),
        ("lints".to_owned(), original["lints"].clone()),
    ]);
    Table::from_iter([("workspace".to_owned(), Value::Table(workspace))]).to_string()
}

/// What the two crates depend on by `workspace = true`.
fn inherited() -> BTreeSet<String> {
    let manifests = FILES.iter().filter(|(path, _)| path.ends_with("Cargo.toml"));
    let manifests = manifests.map(|(_, text)| text.parse::<Table>().expect("cargo has read the file to build this"));
    let names = |manifest: Table| {
        let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
        let tables = kinds.map(|kind| {
            manifest
                .get(kind)
                .and_then(Value::as_table)
                .cloned()
                .unwrap_or_default()
        });
        tables.into_iter().flatten().map(|(name, _)| name)
    };
    manifests.flat_map(names).collect()
}

fn table<'a>(parent: &'a Table, key: &str) -> &'a Table {
    parent[key].as_table().expect("cargo has read the file to build this")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_is_written_as_it_is_and_with_the_workspaces_versions() {
        let project = tempfile::tempdir().unwrap();
        write(project.path()).unwrap();
        let vendored = project.path().join(FOLDER);
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for folder in ["guest-sdk/src", "guest-sdk/macros/src", "wit"] {
            let originals = fs::read_dir(checkout.join(folder)).unwrap();
            for original in originals.map(|entry| entry.unwrap().path()) {
                let copy = vendored.join(folder).join(original.file_name().unwrap());
                assert_eq!(fs::read(copy).unwrap(), fs::read(original).unwrap(), "{folder}");
            }
        }
        let read = |folder: &Path| -> Table {
            let text = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
            table(&text.parse().unwrap(), "workspace").clone()
        };
        let (ours, theirs) = (read(&checkout), read(&vendored));
        assert_eq!(theirs["package"], ours["package"]);
        let dependencies = table(&theirs, "dependencies");
        for name in ["orlop-sdk-macros", "serde", "syn", "wit-bindgen", "aws_lambda_events"] {
            assert!(dependencies.contains_key(name), "{name}");
        }
        for (name, dependency) in dependencies {
            assert_eq!(dependency, &ours["dependencies"][name], "{name}");
        }
        assert!(!dependencies.contains_key("wasmtime"));
    }
}
