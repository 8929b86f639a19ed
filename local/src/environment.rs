//! One execution environment: a child process in runtime mode, and its Runtime API.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::Bytes;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use crate::runtime_api_server::{Answer, Delivery, Event, Server, serve};

/// How long after its timeout an event is waited for. A runtime answers overruns before; Lambda would kill it then.
const TIMEOUT_GRACE: Duration = Duration::from_millis(500);

/// The time between SIGTERM and SIGKILL.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(500);
/// Lambda's limit for the Init phase.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);

/// What is started.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The runtime.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its whole environment, to which the address of the Runtime API is added.
    pub variables: Vec<(String, String)>,
}

/// A running execution environment. The child is killed when the value is dropped.
pub struct Environment {
    child: Child,
    server: Server,
}

/// Why an environment did not come up, or did not last.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The child or its API could not be started.
    #[error("cannot start the execution environment")]
    Io(#[from] std::io::Error),
    /// The runtime reported this body to `/init/error`.
    #[error("the runtime reported an error in its Init phase")]
    Init(Bytes),
    /// The runtime ended without an answer.
    #[error("the runtime ended without an answer: {0}")]
    Exited(ExitStatus),
    /// The runtime did not answer in time and was killed.
    #[error("the runtime did not answer within {0:?} and was killed")]
    TimedOut(Duration),
}

impl Environment {
    /// Starts the child. Init goes on in the background; the first [`Self::invoke`] sees how it ended.
    ///
    /// # Errors
    ///
    /// [`StartError::Io`].
    pub async fn start(settings: &Settings) -> Result<Self, StartError> {
        let server = serve().await?;
        let Settings {
            program,
            arguments,
            variables,
        } = settings;
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env("AWS_LAMBDA_RUNTIME_API", server.address.to_string())
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { child, server })
    }

    /// Ends the environment as Lambda does when a runtime has asked to be told: with SIGTERM, and SIGKILL half a second later.
    pub async fn stop(mut self) {
        if let Some(pid) = self
            .child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(rustix::process::Pid::from_raw)
        {
            // A child that is gone already needs no signal.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(SHUTDOWN_GRACE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    /// Delivers one event and waits for what becomes of it.
    ///
    /// # Errors
    ///
    /// [`StartError`] if the environment is gone; the event was not answered.
    pub async fn invoke(&mut self, event: Event) -> Result<Answer, StartError> {
        let timeout = event.timeout + TIMEOUT_GRACE;
        let (taken, is_taken) = oneshot::channel();
        let (answered, answer) = oneshot::channel();
        let Self { child, server } = self;
        if server.events.send(Delivery { event, taken, answered }).await.is_err() {
            return Err(StartError::TimedOut(timeout));
        }
        if let Some(init_error) = &mut server.init_error {
            tokio::select! {
                biased;
                Ok(body) = init_error => return Err(StartError::Init(body)),
                _ = is_taken => server.init_error = None,
                status = child.wait() => return Err(StartError::Exited(status?)),
                () = tokio::time::sleep(INIT_TIMEOUT) => return Err(StartError::TimedOut(INIT_TIMEOUT)),
            }
        }
        tokio::select! {
            biased;
            answer = tokio::time::timeout(timeout, answer) => match answer {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) | Err(_) => Err(StartError::TimedOut(timeout)),
            },
            status = child.wait() => Err(StartError::Exited(status?)),
        }
    }
}
