//! Folders for builds that are gone with the process that made them, even if it was killed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

/// How their names begin.
const PREFIX: &str = "orlop-";
/// How old one is that nobody is just about to lock.
const SETTLED: Duration = Duration::from_secs(60);

/// A folder of one process, removed when dropped; when the process is killed, by the next one that makes a folder there.
#[derive(Debug)]
pub(super) struct Apart {
    #[cfg_attr(not(test), expect(dead_code, reason = "removed when dropped"))]
    folder: TempDir,
    /// A folder in the folder, which others may lock for their own ends.
    inside: PathBuf,
    /// Of the folder; locked as long as this process lives.
    _lock: File,
}

impl Apart {
    /// Makes one in `place`, which is made if it is not there.
    pub(super) fn new(place: &Path) -> io::Result<Self> {
        fs::create_dir_all(place)?;
        sweep(place);
        let folder = TempDir::with_prefix_in(PREFIX, place)?;
        let lock = File::open(folder.path())?;
        lock.lock()?;
        let inside = folder.path().join("task");
        fs::create_dir(&inside)?;
        Ok(Self {
            folder,
            inside,
            _lock: lock,
        })
    }

    /// The folder to fill.
    pub(super) fn path(&self) -> &Path {
        &self.inside
    }
}

/// Removes folders whose processes are gone. What cannot be removed belongs to somebody else.
fn sweep(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        let is_settled = || {
            let changed = entry.metadata().and_then(|metadata| metadata.modified()).ok();
            let age = changed.and_then(|changed| changed.elapsed().ok());
            age.is_some_and(|age| age > SETTLED)
        };
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_ours && is_folder && is_settled() && is_left(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether no process holds its lock.
fn is_left(folder: &Path) -> bool {
    File::open(folder).is_ok_and(|folder| folder.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_in_use_is_not() {
        let place = tempfile::tempdir().unwrap();
        let in_use = Apart::new(place.path()).unwrap();
        let left = place.path().join("orlop-left");
        let fresh = place.path().join("orlop-fresh");
        let foreign = place.path().join("foreign");
        for folder in [&left, &fresh, &foreign] {
            fs::create_dir(folder).unwrap();
        }
        let long_ago = std::time::SystemTime::now() - 2 * SETTLED;
        for folder in [in_use.folder.path(), &left, &foreign] {
            File::open(folder).unwrap().set_modified(long_ago).unwrap();
        }
        sweep(place.path());
        assert!(!left.exists());
        assert!(in_use.path().exists() && fresh.exists() && foreign.exists());
    }
}
