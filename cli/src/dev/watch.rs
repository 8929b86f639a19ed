//! Builds the project again whenever its sources change.

use std::path::PathBuf;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use crate::mistake::Mistake;
use crate::project::Watched;

/// How long no file may change before a build begins: editors write several files, and git many.
const CALM: Duration = Duration::from_millis(100);

/// Tells of changes until it is dropped.
pub(super) struct Watcher {
    changes: mpsc::UnboundedReceiver<PathBuf>,
    watched: Watched,
    /// It watches until it is dropped.
    _watcher: RecommendedWatcher,
}

impl Watcher {
    /// Begins to watch.
    pub(super) fn new(watched: Watched) -> Result<Self, Mistake> {
        let (sender, changes) = mpsc::unbounded_channel();
        let failed = |error: notify::Error| {
            Mistake::new(
                format!("cannot watch the sources: {error}"),
                "run with `--no-watch`, or raise the system's limit (Linux: fs.inotify.max_user_watches)",
            )
        };
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // What was missed is noticed at the next change.
            let Ok(event) = event else { return };
            if !matches!(event.kind, EventKind::Access(_)) {
                for path in event.paths {
                    // The platform may be going down.
                    let _ = sender.send(path);
                }
            }
        })
        .map_err(failed)?;
        for folder in &watched.folders {
            watcher.watch(folder, RecursiveMode::Recursive).map_err(failed)?;
        }
        // Editors replace files, so it is their folders that are watched.
        let mut folders: Vec<_> = watched.files.iter().filter_map(|file| file.parent()).collect();
        folders.sort_unstable();
        folders.dedup();
        for folder in folders.into_iter().filter(|folder| folder.is_dir()) {
            watcher.watch(folder, RecursiveMode::NonRecursive).map_err(failed)?;
        }
        Ok(Self {
            changes,
            watched,
            _watcher: watcher,
        })
    }

    /// Waits until sources have changed and no more do. `false` if there will be no more changes.
    pub(super) async fn changed(&mut self) -> bool {
        loop {
            match self.changes.recv().await {
                Some(path) if self.matters(&path) => break,
                Some(_) => {}
                None => return false,
            }
        }
        while let Ok(Some(_)) = tokio::time::timeout(CALM, self.changes.recv()).await {}
        true
    }

    fn matters(&self, path: &std::path::Path) -> bool {
        let is_below = self.watched.folders.iter().any(|folder| path.starts_with(folder));
        (is_below && self.watched.is_source(path)) || self.watched.files.iter().any(|file| file == path)
    }
}
