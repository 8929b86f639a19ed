//! The queues of a project, and the event source mappings that take messages from them.

use std::time::Duration;

use orlop_local::event_source_mapping::{self, EventSourceMapping, QueueAddress};
use orlop_local::journal::What;
use orlop_local::queue::{self, Queues};
use orlop_local::{Journal, Platform};

use super::plan::Plan;
use super::{Addresses, Arguments};
use crate::mistake::Mistake;

/// How often a message may be received before it goes to the dead-letter queue.
const MAX_RECEIVE_COUNT: u32 = 3;
/// The longest visibility timeout that a queue can have, in seconds.
const LONGEST_VISIBILITY: u64 = 43_200;
/// The longest name that a queue can have.
const LONGEST_NAME: usize = 80;
const NAMES: &str = "queue names have letters, digits, `-` and `_`, and those of FIFO queues end with `.fifo`";

/// Makes the queues in here and begins to take messages from them, or from the queue that the user names.
pub(super) async fn start(
    arguments: &Arguments,
    plan: &Plan,
    platform: &Platform,
    queues: &Queues,
    addresses: &Addresses,
) -> Result<Vec<EventSourceMapping>, Mistake> {
    let mut sources = Vec::new();
    match &arguments.sqs {
        Some(url) => sources.push((QueueAddress::Url(url.clone()), plan.main.clone())),
        None => {
            for (name, function) in &plan.queues {
                let timeout = platform
                    .function(function)
                    .map_or(Duration::ZERO, |function| function.timeout);
                make_queue_and_dead_letters(queues, name, timeout, arguments.batch_window, platform.journal()).await?;
                let address = QueueAddress::Name {
                    name: name.clone(),
                    endpoint: Some(addresses.aws.clone()),
                };
                sources.push((address, function.clone()));
            }
        }
    }
    let mut mappings = Vec::new();
    for (queue, function) in sources {
        let settings = event_source_mapping::Settings {
            batch_size: arguments.batch_size,
            window: arguments.batch_window,
            ..event_source_mapping::Settings::new(queue, function)
        };
        let mapping = EventSourceMapping::start(platform.clone(), settings)
            .await
            .map_err(|error| {
                let help = error.help();
                Mistake::caused_by(error, help)
            })?;
        mappings.push(mapping);
    }
    Ok(mappings)
}

/// A queue with the visibility timeout that AWS advises, six times the function's and the batching window, and its
/// dead-letter queue.
async fn make_queue_and_dead_letters(
    queues: &Queues,
    name: &str,
    timeout: Duration,
    window: Duration,
    journal: &Journal,
) -> Result<(), Mistake> {
    let stem = name.strip_suffix(".fifo").unwrap_or(name);
    check_name(name, stem)?;
    let is_fifo = stem != name;
    let fifo: &[(&str, &str)] = match is_fifo {
        true => &[("FifoQueue", "true"), ("ContentBasedDeduplication", "true")],
        false => &[],
    };
    let least = timeout.as_secs_f64().ceil() as u64;
    let visibility = (least * 6 + window.as_secs()).clamp(1, LONGEST_VISIBILITY);
    if queues.list().iter().any(|known| known.name == name) {
        // What was kept in a folder may have other attributes by now. They are the user's, unless they cannot be.
        if queues
            .lengthen_visibility(name, least, visibility)
            .await
            .map_err(unusable)?
        {
            let text = format!(
                "the visibility timeout of the queue {name} was shorter than the function's timeout; now it is {visibility} s"
            );
            journal.record(What::Notice { text });
        }
        return Ok(());
    }
    let dead_letters = match is_fifo {
        true => format!("{stem}-dead-letters.fifo"),
        false => format!("{name}-dead-letters"),
    };
    let target = queues.create(&dead_letters, fifo).await.map_err(unusable)?;
    let visibility = visibility.to_string();
    let redrive = serde_json::json!({ "deadLetterTargetArn": target, "maxReceiveCount": MAX_RECEIVE_COUNT });
    let redrive = redrive.to_string();
    let mut attributes = vec![
        ("VisibilityTimeout", visibility.as_str()),
        ("RedrivePolicy", redrive.as_str()),
    ];
    attributes.extend(fifo);
    queues.create(name, &attributes).await.map_err(unusable)?;
    Ok(())
}

/// Refuses a name before the dead-letter queue gets one that is made of it.
fn check_name(name: &str, stem: &str) -> Result<(), Mistake> {
    let most = LONGEST_NAME - "-dead-letters".len();
    let is_part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
    if !stem.is_empty() && stem.chars().all(is_part) && name.len() <= most {
        return Ok(());
    }
    Err(Mistake::new(
        format!("a queue cannot be called {name:?}"),
        format!("{NAMES}; here they have at most {most} characters, because the dead-letter queue's name is longer"),
    ))
}

/// What SQS says to a name or an attribute, as the user's mistake.
pub(super) fn unusable(error: queue::Error) -> Mistake {
    Mistake::caused_by(error, NAMES)
}
