use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::*;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    (folder, path)
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn manifest(name: &str, rest: &str) -> String {
    format!("[package]\nname = '{name}'\nedition = '2024'\n{rest}")
}

#[test]
fn a_crate_is_watched_with_what_it_depends_on_by_path_but_not_with_what_is_built() {
    let (_folder, path) = folder();
    let dependencies = "[dependencies]\nhull = { path = '../hull' }\n[dev-dependencies]\ndock = { path = '../dock' }\n";
    write(
        &path.join("ship/Cargo.toml"),
        &manifest("ship", &format!("{dependencies}[workspace]\n")),
    );
    write(&path.join("ship/src/main.rs"), "fn main() {}\n");
    write(
        &path.join("hull/Cargo.toml"),
        &manifest("hull", "[dependencies]\nplank = { path = '../plank' }\n[workspace]\n"),
    );
    for library in ["hull", "plank", "dock"] {
        write(&path.join(library).join("src/lib.rs"), "");
    }
    for library in ["plank", "dock"] {
        write(
            &path.join(library).join("Cargo.toml"),
            &manifest(library, "[workspace]\n"),
        );
    }
    let project = Project::find(&path.join("ship")).unwrap();
    assert_eq!(
        (project.name(), project.folder()),
        ("ship", path.join("ship").as_path())
    );
    let watched = project.watched();
    assert_eq!(watched.folders, ["hull", "plank", "ship"].map(|name| path.join(name)));
    for (file, counts) in [
        ("ship/src/main.rs", true),
        ("ship/page.html", true),
        ("ship/orlop.toml", true),
        ("plank/src/lib.rs", true),
        ("dock/src/lib.rs", false),
        ("ship/.git/index", false),
        ("ship/src/.main.rs.swp", false),
        ("ship/src/main.rs~", false),
    ] {
        assert_eq!(watched.is_source(&path.join(file)), counts, "{file}");
    }
    let outputs = project.default_task_root();
    assert!(!watched.is_source(&outputs.join("ship.cwasm")));
}

#[test]
fn a_file_is_watched_with_the_orlop_toml_beside_it_and_a_folder_of_components_as_a_whole() {
    let (_folder, path) = folder();
    write(&path.join("hello.wasm"), "");
    let file = Project::find(&path.join("hello.wasm")).unwrap().watched();
    assert_eq!(file.folders, [] as [PathBuf; 0]);
    assert!(file.is_source(&path.join("hello.wasm")) && file.is_source(&path.join("orlop.toml")));
    assert!(!file.is_source(&path.join("other.wasm")));
    let folder = Project::find(&path).unwrap().watched();
    assert_eq!(folder.folders, std::slice::from_ref(&path));
    assert!(folder.is_source(&path.join("other.wasm")));
}

#[test]
fn what_cargo_says_goes_where_progress_goes() {
    let (_folder, path) = folder();
    write(&path.join("Cargo.toml"), &manifest("ship", "[workspace]\n"));
    write(&path.join("src/main.rs"), "fn main() { anchors_aweigh(); }\n");
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&lines);
    let progress = Progress::to(move |line| sink.lock().unwrap().push(line.to_owned()));
    let project = Project::find(&path).unwrap();
    project.build_apart(Execution::Sequential, None, &progress).unwrap_err();
    let lines = lines.lock().unwrap();
    assert!(lines.iter().any(|line| line.contains("anchors_aweigh")), "{lines:?}");
    assert!(lines.iter().all(|line| !line.ends_with('\n')));
}
