//! Registration as an internal extension without events (runtime contract §6.8, §9): the only way to be sent SIGTERM
//! before Lambda takes the execution environment away.

use std::io;
use std::thread;
use std::time::Duration;

use http::StatusCode;
use http_body_util::Full;
use tracing::warn;

use super::connection::Connection;
use super::wire::{Requests, extension_identifier};
use crate::config::RuntimeApi;

/// How long the registration may take; it is a courtesy, not a condition.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(1);

/// A registered extension.
pub struct Extension {
    connection: Connection,
    requests: Requests,
    identifier: String,
}

impl Extension {
    /// Registers, before the first `/next`. A failure is logged and leaves the process without an announcement of its end.
    pub async fn register(config: &RuntimeApi) -> Option<Self> {
        let mut connection = Connection::new(&config.address);
        let requests = Requests::new(&config.address);
        let reason = match tokio::time::timeout(
            REGISTER_TIMEOUT,
            connection.send(requests.register_extension().into_request(Full::new)),
        )
        .await
        {
            Err(_) => "no answer in time".to_owned(),
            Ok(Err(error)) => crate::error::chain(&error),
            Ok(Ok(response)) => match (response.status(), extension_identifier(response.headers())) {
                (StatusCode::OK, Some(identifier)) => {
                    connection.close();
                    return Some(Self {
                        connection,
                        requests,
                        identifier,
                    });
                }
                (status, _) => format!("the answer was {status}"),
            },
        };
        warn!(reason, "cannot register for graceful shutdown; going on without");
        None
    }

    /// An extension that this process registered before it re-executed itself.
    pub fn resume(config: &RuntimeApi, identifier: String) -> Self {
        Self {
            connection: Connection::new(&config.address),
            requests: Requests::new(&config.address),
            identifier,
        }
    }

    /// What [`Self::resume`] needs.
    pub fn identifier(&self) -> &str {
        &self.identifier
    }

    /// Asks for the next event, of which there is none: Lambda counts Init as done only when every extension has asked.
    /// The thread waits until the process ends; the worker's would be busy with waiting for the function's events.
    pub fn poll_on_a_thread(self) {
        let spawned = thread::Builder::new().name("extension".to_owned()).spawn(move || {
            let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match event_loop {
                Ok(event_loop) => event_loop.block_on(self.poll()),
                Err(error) => cannot_wait(&error),
            }
        });
        if let Err(error) = spawned {
            cannot_wait(&error);
        }
    }

    async fn poll(mut self) {
        match self
            .connection
            .send(self.requests.extension_next(&self.identifier).into_request(Full::new))
            .await
        {
            // Dropping the response would end the wait; an extension without events is never answered, except with an error.
            Ok(response) => warn!(
                status = response.status().as_u16(),
                "the extension's wait for events ended"
            ),
            Err(error) => warn!(
                error = &error as &dyn std::error::Error,
                "the extension's wait for events broke off"
            ),
        }
    }
}

fn cannot_wait(error: &io::Error) {
    warn!(
        error = error as &dyn std::error::Error,
        "the extension cannot wait for events"
    );
}
