//! What a process passes to its successor when it re-executes itself in place.
//!
//! A guest that runs past its deadline in compiled code cannot be interrupted; the process replaces itself instead, under
//! the same process id. Lambda sees one runtime throughout, so what Lambda knows of it has to survive: the extension that it
//! registered and the descriptor that it logs to.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use bytes::Bytes;
use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use crate::events::batch::Standing;

/// The environment variable that carries it from a process to its successor.
pub const VARIABLE: &str = "_ORLOP_HANDOVER";

/// Travels in the environment variable [`VARIABLE`], as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handover {
    /// How often this process has replaced itself.
    pub restarts: u32,
    /// The identifier of the internal extension, if one is registered.
    pub extension: Option<String>,
    /// The predecessor could not post the event's error: why. The successor ends the process.
    pub failure: Option<String>,
    /// A batch whose records the successor goes on with. Its event is on stdin.
    pub batch: Option<InterruptedBatch>,
}

/// A batch of which one record never returned: everything that is needed to run the rest and to answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterruptedBatch {
    /// Lambda's id of the event.
    pub request_id: String,
    /// The nonce of this attempt, if Lambda sent one.
    pub invocation_id: Option<Vec<u8>>,
    /// Lambda's own deadline, in milliseconds since the Unix epoch.
    pub deadline_unix_ms: u64,
    /// As in [`crate::invocation::Context`].
    pub invoked_function_arn: Option<String>,
    /// As in [`crate::invocation::Context`].
    pub trace_id: Option<String>,
    /// As in [`crate::invocation::Context`].
    pub client_context: Option<String>,
    /// As in [`crate::invocation::Context`].
    pub identity: Option<String>,
    /// As in [`crate::invocation::Context`].
    pub tenant_id: Option<String>,
    /// Which records are done, and how they ended.
    pub standing: Standing,
}

/// Reads the event of an [`InterruptedBatch`], for the first time or again.
///
/// # Errors
///
/// Of the operating system.
pub fn interrupted_event() -> io::Result<Bytes> {
    let mut file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    // The program that can compile reads it after the one that cannot.
    file.rewind()?;
    let mut event = Vec::new();
    file.read_to_end(&mut event)?;
    Ok(event.into())
}

/// Keeps an event in memory, outside of the program.
fn keep(event: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("event", MemfdFlags::CLOEXEC)?);
    file.write_all(event)?;
    file.rewind()?;
    Ok(file)
}

impl Handover {
    /// What [`Self::re_execute`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Whether there was a predecessor.
    pub fn is_resumed(&self) -> bool {
        self.restarts > 0
    }

    /// Replaces the process with a fresh run of its own program, with the same arguments, environment and process id; the
    /// event of a batch that goes on becomes its stdin. Returns only if that failed.
    pub fn re_execute(&self, arguments: &[String], event: &[u8]) -> io::Error {
        let stdin = match self.batch.as_ref().map(|_| keep(event)).transpose() {
            Ok(stdin) => stdin.map_or_else(Stdio::inherit, Stdio::from),
            Err(error) => return error,
        };
        let json = match serde_json::to_string(self) {
            Ok(json) => json,
            Err(error) => return error.into(),
        };
        // The link leads to the program even if its file has been replaced or removed.
        let mut command = Command::new("/proc/self/exe");
        let program = arguments.first().map_or("bootstrap", String::as_str);
        command
            .arg0(program)
            .args(arguments.iter().skip(1))
            .env(VARIABLE, json)
            .stdin(stdin);
        let error = command.exec();
        if error.kind() != io::ErrorKind::NotFound {
            return error;
        }
        // Without `/proc`, the name it was started by has to do.
        Command::new(program)
            .args(arguments.iter().skip(1))
            .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .exec()
    }
}
