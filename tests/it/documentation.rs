//! The pages say what is so: the tests that they name are there.

use std::fs;
use std::path::Path;

#[test]
fn every_test_named_in_the_architecture_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let mut names = 0;
    for name in page.split('`').skip(1).step_by(2) {
        let Some((module, test)) = name.rsplit_once("::") else {
            continue;
        };
        let module = module.replace("::", "/");
        let sources = [
            format!("it/{module}.rs"),
            format!("it/{module}/mod.rs"),
            format!("{module}/main.rs"),
            format!("{module}.rs"),
        ];
        let source = sources
            .iter()
            .find_map(|source| fs::read_to_string(root.join("tests").join(source)).ok());
        // Other code is named in the same way; a test's name is a sentence.
        let (Some(source), true) = (source, test.matches('_').count() > 3) else {
            continue;
        };
        assert!(source.contains(&format!("fn {test}(")), "`{name}` is not there");
        names += 1;
    }
    assert!(names > 60, "only {names} tests are named");
}
