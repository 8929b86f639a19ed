//! The pages say what is so: the tests that they name are there.

use std::fs;
use std::path::{Path, PathBuf};

/// Pages, and how many tests each names at least.
const PAGES: [(&str, usize); 2] = [("ARCHITECTURE.md", 60), ("SECURITY.md", 30)];
/// How a unit test's name begins, and the folder of its crate.
const CRATES: [(&str, &str); 2] = [("orlop-host: ", "host"), ("orlop-local: ", "local")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The source of a module, whatever way it is filed.
fn source(folder: &str, module: &str) -> Option<String> {
    let places = [
        format!("{module}.rs"),
        format!("{module}/mod.rs"),
        format!("{module}/main.rs"),
        format!("{}.rs", module.trim_end_matches("/tests")),
        format!("{}/mod.rs", module.trim_end_matches("/tests")),
    ];
    let read = |place: &String| fs::read_to_string(root().join(folder).join(place)).ok();
    places.iter().find_map(read)
}

/// Whether the test is there; `None` if it is no test that is named, but other code.
fn is_there(name: &str) -> Option<bool> {
    let of_a_crate = CRATES
        .iter()
        .find_map(|(prefix, folder)| Some((name.strip_prefix(prefix)?, *folder)));
    let (folders, name) = match of_a_crate {
        Some((file, folder)) if file.contains('/') => return Some(root().join(folder).join(file).is_file()),
        Some((name, folder)) => (vec![format!("{folder}/src")], name),
        None => (vec!["tests/it".to_owned(), "tests".to_owned()], name),
    };
    let (module, test) = name.rsplit_once("::")?;
    let module = module.replace("::", "/");
    let source = folders.iter().find_map(|folder| source(folder, &module));
    match (source, test) {
        // A test's name is a sentence. What is none of ours stands in another crate.
        (None, _) => (test.matches('_').count() > 3 && of_a_crate.is_none()).then_some(false),
        (Some(_), "*") => Some(true),
        (Some(source), _) => (test.matches('_').count() > 3).then(|| source.contains(&format!("fn {test}("))),
    }
}

#[test]
fn every_test_that_a_page_names_exists() {
    for (page, least) in PAGES {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let spans = text.split('`').skip(1).step_by(2);
        let named: Vec<(&str, bool)> = spans.filter_map(|name| Some((name, is_there(name)?))).collect();
        for (name, is_there) in &named {
            assert!(is_there, "{page} names `{name}`, which is not there");
        }
        assert!(named.len() >= least, "{page} names only {} tests", named.len());
    }
}
