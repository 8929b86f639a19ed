//! Which components are made into snapshots, and their making.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use orlop_host::artifact::snapshot::{SnapshotError, has_init, is_current, provenance, snapshot};
use orlop_host::artifact::{Bounds, without_extension};
use orlop_host::manifest::Manifest;

use super::Progress;
use crate::compile::help;
use crate::mistake::Mistake;

/// Which components of a project are made into snapshots.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Snapshots {
    /// Those of functions whose `orlop.toml` says so.
    AsConfigured,
    /// These, and all others that export an `init`.
    WhereThereIsInit,
}

/// What is wished of one component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// That it stays as it is.
    Original,
    /// A snapshot, if it has an `init`.
    SnapshotIfPossible,
    /// A snapshot.
    Snapshot,
}

/// A component as it was made.
pub(super) struct Original<'a> {
    pub(super) name: &'a str,
    pub(super) path: &'a Path,
    pub(super) bytes: Vec<u8>,
    /// Whether it lies where its snapshot would have to be written.
    pub(super) is_destination: bool,
}

/// What is told of a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// How much memory every sandbox has from the start.
    pub(crate) memory_bytes: u64,
    /// How long it took; `None` if an earlier one was still good.
    pub(crate) taken_in: Option<Duration>,
}

impl Snapshots {
    /// What is wished of the component with that name. Where several functions share it, one that asks is enough.
    pub(super) fn of(self, name: &str, manifest: &Manifest) -> Wish {
        let mut sharing = manifest
            .functions
            .iter()
            .filter(|(function, entry)| {
                let component = entry.component.as_ref().unwrap_or(function);
                without_extension(component.as_str()) == name
            })
            .map(|(_, entry)| entry)
            .peekable();
        let is_asked_for = match sharing.peek() {
            Some(_) => sharing.any(|entry| entry.snapshot == Some(true)),
            None => manifest.function(name).snapshot == Some(true),
        };
        match (is_asked_for, self) {
            (true, _) => Wish::Snapshot,
            (false, Self::WhereThereIsInit) => Wish::SnapshotIfPossible,
            (false, Self::AsConfigured) => Wish::Original,
        }
    }
}

impl Wish {
    /// The component to deploy. A snapshot among the `earlier` files is taken if it is one of this component.
    pub(super) fn fulfil(
        self,
        original: Original<'_>,
        earlier: &[PathBuf],
        bounds: &Bounds,
        progress: &Progress,
    ) -> Result<(Vec<u8>, Option<Snapshot>), Mistake> {
        if let Some(snapshot) = known(&original.bytes) {
            return Ok((original.bytes, Some(snapshot)));
        }
        match self {
            Self::Original => return Ok((original.bytes, None)),
            Self::SnapshotIfPossible if !has_init(&original.bytes) => return Ok((original.bytes, None)),
            Self::SnapshotIfPossible | Self::Snapshot => {}
        }
        let Original {
            name,
            path,
            bytes,
            is_destination,
        } = original;
        let mut kept = earlier.iter().filter_map(|path| fs::read(path).ok());
        if let Some(snapshot) = kept.find(|kept| is_current(kept, &bytes)) {
            let known = known(&snapshot);
            return Ok((snapshot, known));
        }
        if is_destination {
            return Err(Mistake::new(
                format!(
                    "the snapshot of `{}` would take the place of the component",
                    path.display()
                ),
                "name another folder with `-o DIR`",
            ));
        }
        let _step = progress.step(&format!("running the init of {name} for a snapshot"));
        let started = Instant::now();
        let snapshot = snapshot(&bytes, bounds).map_err(|error| explain(path, &error))?;
        let known = known(&snapshot).map(|known| Snapshot {
            taken_in: Some(started.elapsed()),
            ..known
        });
        Ok((snapshot, known))
    }
}

/// What a component tells of itself, if it is a snapshot.
fn known(component: &[u8]) -> Option<Snapshot> {
    provenance(component).map(|provenance| Snapshot {
        memory_bytes: provenance.memory_bytes,
        taken_in: None,
    })
}

fn explain(path: &Path, error: &SnapshotError) -> Mistake {
    let advice = match error {
        SnapshotError::WithoutInit => {
            "name a function to run once, `#[handler(init = prepare)]`, or do not ask for a snapshot"
        }
        SnapshotError::Unsupported(_) | SnapshotError::Unusable(_) => "build it without a snapshot",
        SnapshotError::Failed { .. } | SnapshotError::Broken(_) => {
            "mend what it does in `init`; there is no environment, no file and no network when it is built"
        }
        SnapshotError::Refused { .. } | SnapshotError::LeftOpen => {
            "do in `init` what is the same everywhere and at any time, and the rest in the handler"
        }
        SnapshotError::TooLarge { .. } => "a trusted component gets more with `--snapshot-memory SIZE`",
        SnapshotError::TimedOut(_) => "a trusted component gets more with `--snapshot-time DURATION`",
        SnapshotError::Ended(error) => help(error),
    };
    Mistake::new(
        format!("cannot take a snapshot of `{}`: {error}", path.display()),
        advice,
    )
}
