//! The example events of a project: `event.json` and `events/*.json`, without what is expected of them.

use std::path::{Path, PathBuf};

use orlop_local::page::Example;

/// The most examples, and the most bytes of one, that the page offers.
const MAX_EXAMPLES: usize = 100;
const MAX_EXAMPLE_BYTES: u64 = 1 << 20;

/// An example event and where it lies.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) example: Example,
}

/// The examples, by name. What cannot be read is no example.
pub(super) fn find(folder: &Path, function: &str) -> Vec<Found> {
    let mut paths = vec![folder.join("event.json")];
    paths.extend(files_of(&folder.join("events")));
    let examples = paths.into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?;
        let is_event = name.ends_with(".json") && !name.ends_with(".expected.json");
        let is_small = path
            .metadata()
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MAX_EXAMPLE_BYTES);
        let payload = (is_event && is_small)
            .then(|| std::fs::read_to_string(&path).ok())
            .flatten()?;
        let example = Example {
            name: name.trim_end_matches(".json").to_owned(),
            function: function.to_owned(),
            payload,
        };
        Some(Found { path, example })
    });
    examples.take(MAX_EXAMPLES).collect()
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}
