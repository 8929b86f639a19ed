//! Where the functions come from: a project that is built, and built again, or a command line.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use orlop_host::engine::Execution;
use orlop_local::Platform;
use orlop_local::journal::What;

use super::Arguments;
use super::plan::Plan;
use super::watch::Watcher;
use crate::mistake::Mistake;
use crate::project::{Built, Progress, Project};

/// The most of a failed build's output that is shown.
const MAX_SHOWN_BYTES: usize = 64 << 10;

/// What is developed.
pub(super) enum Sources {
    /// Components.
    Project {
        /// What is built.
        project: Box<Project>,
        /// The last good build, which is being served.
        built: Option<Built>,
        /// Builds before that, each with the number of the version it was. They are there as long as an environment uses them.
        retired: Vec<(u64, Built)>,
        /// The versions there have been.
        versions: u64,
    },
    /// A program that speaks the Runtime API itself.
    Command {
        /// The function's name.
        name: String,
        /// Where it runs.
        folder: PathBuf,
    },
}

impl Sources {
    /// Looks at what the user points at. Nothing is built.
    pub(super) fn find(arguments: &Arguments) -> Result<Self, Mistake> {
        if arguments.command.is_empty() {
            return Ok(Self::Project {
                project: Box::new(Project::find(&arguments.path)?),
                built: None,
                retired: Vec::new(),
                versions: 0,
            });
        }
        let folder = arguments.path.canonicalize().map_err(|error| {
            Mistake::new(
                format!("cannot run in `{}`: {error}", arguments.path.display()),
                "name the folder that the command is to run in",
            )
        })?;
        let name = arguments.function.clone().unwrap_or_else(|| "function".to_owned());
        Ok(Self::Command { name, folder })
    }

    /// The name of the whole.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Project { project, .. } => project.name(),
            Self::Command { name, .. } => name,
        }
    }

    /// Where example events are.
    pub(super) fn folder(&self) -> &std::path::Path {
        match self {
            Self::Project { project, .. } => project.folder(),
            Self::Command { folder, .. } => folder,
        }
    }

    /// Watches what it is made of, if that can change.
    pub(super) fn watch(&self) -> Result<Option<Watcher>, Mistake> {
        match self {
            Self::Project { project, .. } => Watcher::new(project.watched()).map(Some),
            Self::Command { .. } => Ok(None),
        }
    }

    /// The first build, which a user waits for.
    pub(super) async fn build(&mut self, arguments: &Arguments) -> Result<Plan, Mistake> {
        self.make(arguments, Progress::on_stderr()).await
    }

    /// A later build. One that fails is in the journal, and changes nothing.
    pub(super) async fn build_again(&mut self, arguments: &Arguments, platform: &Platform) -> Option<Plan> {
        let journal = platform.journal();
        let name = self.name().to_owned();
        journal.record(What::Building { name: name.clone() });
        let begun = Instant::now();
        let said = Arc::new(Mutex::new(String::new()));
        let progress = {
            let said = Arc::clone(&said);
            Progress::to(move |line| {
                let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                if said.len() < MAX_SHOWN_BYTES {
                    said.push_str(line);
                    said.push('\n');
                }
            })
        };
        match self.make(arguments, progress).await {
            Ok(plan) => {
                journal.record(What::Built {
                    name,
                    duration_ms: begun.elapsed().as_secs_f64() * 1_000.0,
                });
                Some(plan)
            }
            Err(mistake) => {
                let said = said.lock().unwrap_or_else(PoisonError::into_inner);
                journal.record(What::BuildFailed {
                    name,
                    message: format!("{said}{mistake}"),
                });
                None
            }
        }
    }

    /// Forgets builds that no environment uses any more.
    pub(super) fn tidy(&mut self, platform: &Platform) {
        if let Self::Project { retired, .. } = self {
            let oldest = platform.environments().iter().map(|status| status.version).min();
            retired.retain(|(version, _)| oldest.is_some_and(|oldest| *version >= oldest));
        }
    }

    async fn make(&mut self, arguments: &Arguments, progress: Progress) -> Result<Plan, Mistake> {
        match self {
            Self::Command { name, folder } => Plan::of_command(arguments, name, folder),
            Self::Project {
                project,
                built,
                retired,
                versions,
            } => {
                let (path, before) = (arguments.path.clone(), built.clone());
                let bounds = arguments.bounds.get()?;
                let execution = match arguments.managed_instances {
                    None => Execution::Sequential,
                    Some(_) => Execution::Concurrent,
                };
                // It may have got other programs or another manifest.
                let work = move || {
                    let project = Project::find(&path)?.within(bounds);
                    let built = project.build_apart(execution, before.as_ref(), &progress)?;
                    Ok((project, built))
                };
                let done = tokio::task::spawn_blocking(work).await;
                let (found, new) = done.unwrap_or_else(|error| {
                    Err(Mistake::new(
                        format!("the build ended in an unexpected way: {error}"),
                        "report this with what was printed above",
                    ))
                })?;
                let plan = Plan::of_build(arguments, found.name(), &new)?;
                **project = found;
                if let Some(old) = built.replace(new) {
                    retired.push((*versions, old));
                }
                *versions += 1;
                Ok(plan)
            }
        }
    }
}
