//! SQS's actions: from the JSON of a request to what it does, and to the JSON of its answer.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::attributes::{AttributeMap, MAX_WAIT};
use super::content::MAX_BYTES;
use super::error::{Code, Error};
use super::receiving::{Wanted, visibility};
use super::selection::{self, Selection};
use super::sending::{Outgoing, Sent};
use super::{Moment, Queues, State};

/// The most entries of a batch.
const MAX_ENTRIES: usize = 10;
/// The longest id of an entry of a batch.
const MAX_ENTRY_ID: usize = 80;
/// The most queues in one listing.
const MAX_LISTED: usize = 1_000;
/// The most tags of a queue.
const MAX_TAGS: usize = 50;

/// Any of the parameters that actions other than those for messages have.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Parameters {
    queue_url: Option<String>,
    queue_name: Option<String>,
    #[serde(rename = "QueueOwnerAWSAccountId")]
    owner: Option<String>,
    queue_name_prefix: Option<String>,
    attributes: Option<AttributeMap>,
    attribute_names: Option<Vec<String>>,
    #[serde(alias = "tags")]
    tags: Option<AttributeMap>,
    tag_keys: Option<Vec<String>>,
    next_token: Option<String>,
    max_results: Option<i64>,
    receipt_handle: Option<String>,
    visibility_timeout: Option<i64>,
    source_arn: Option<String>,
    destination_arn: Option<String>,
    max_number_of_messages_per_second: Option<i64>,
    task_handle: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct ReceiveParameters {
    attribute_names: Option<Vec<String>>,
    message_system_attribute_names: Option<Vec<String>>,
    message_attribute_names: Option<Vec<String>>,
    max_number_of_messages: Option<i64>,
    visibility_timeout: Option<i64>,
    wait_time_seconds: Option<i64>,
    receive_request_attempt_id: Option<String>,
}

/// A batch of whatever its entries are.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", bound = "T: DeserializeOwned")]
struct Batch<T> {
    entries: Option<Vec<Entry<T>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", bound = "T: DeserializeOwned")]
struct Entry<T> {
    id: Option<String>,
    #[serde(flatten)]
    what: T,
}

/// Performs an action; `authority` is the host and port of queue URLs.
pub(super) async fn perform(queues: &Queues, action: &str, authority: &str, body: &[u8]) -> Result<Value, Error> {
    let parameters: Parameters = parse(body)?;
    let request = Request {
        queues,
        authority,
        body,
        parameters,
    };
    match action {
        "CreateQueue" => request.create_queue().await,
        "GetQueueUrl" => request.get_queue_url().await,
        "ListQueues" => request.list_queues().await,
        "ListDeadLetterSourceQueues" => request.list_dead_letter_source_queues().await,
        "DeleteQueue" => request.on_queue(|state, name, _| state.delete(name)).await,
        "PurgeQueue" => request.on_queue(State::purge).await,
        "GetQueueAttributes" => request.get_queue_attributes().await,
        "SetQueueAttributes" => request.set_queue_attributes().await,
        "TagQueue" => request.tag_queue().await,
        "UntagQueue" => request.untag_queue().await,
        "ListQueueTags" => request.list_queue_tags().await,
        "SendMessage" => request.send_message().await,
        "SendMessageBatch" => request.send_message_batch().await,
        "ReceiveMessage" => request.receive_message().await,
        "DeleteMessage" => request.delete_message().await,
        "DeleteMessageBatch" => request.delete_message_batch().await,
        "ChangeMessageVisibility" => request.change_message_visibility().await,
        "ChangeMessageVisibilityBatch" => request.change_message_visibility_batch().await,
        "StartMessageMoveTask" => request.start_message_move_task().await,
        "ListMessageMoveTasks" => request.list_message_move_tasks().await,
        "CancelMessageMoveTask" => request.cancel_message_move_task().await,
        "AddPermission" | "RemovePermission" => {
            let message = format!("{action} has no meaning on a local queue, which everybody may use.");
            Err(Error::new(Code::UnsupportedOperation, message))
        }
        _ => {
            let message = format!("SQS has no action {action:?}, or has had none when this was written.");
            Err(Error::new(Code::UnknownOperation, message))
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("The request's body is not the JSON that the action takes: {error}.");
        Error::new(Code::Serialization, message)
    })
}

fn required<'a, T: ?Sized>(name: &str, value: Option<&'a T>) -> Result<&'a T, Error> {
    value.ok_or_else(|| Error::missing(name))
}

/// A number within limits, or a default.
fn number(name: &str, value: Option<i64>, least: i64, most: usize, default: usize) -> Result<usize, Error> {
    let Some(value) = value else { return Ok(default) };
    let number = usize::try_from(value)
        .ok()
        .filter(|number| value >= least && *number <= most);
    number.ok_or_else(|| Error::value(name, value, &format!("It must be from {least} to {most}.")))
}

/// The name in the URL of a queue: its last part. Whatever is before it may be another name of this machine.
fn name_in(url: &str) -> Result<&str, Error> {
    let name = url.rsplit('/').next().filter(|name| !name.is_empty());
    name.ok_or_else(|| {
        let message = format!("{url:?} is not the URL of a queue, which is http://HOST:PORT/ACCOUNT/NAME.");
        Error::new(Code::InvalidAddress, message)
    })
}

struct Request<'a> {
    queues: &'a Queues,
    authority: &'a str,
    body: &'a [u8],
    parameters: Parameters,
}

impl Request<'_> {
    fn queue(&self) -> Result<&str, Error> {
        name_in(required("QueueUrl", self.parameters.queue_url.as_deref())?)
    }

    fn url(&self, state: &State, name: &str) -> String {
        format!("http://{}/{}/{name}", self.authority, state.settings.account)
    }

    /// Does something to the queue that the request names, about which there is nothing to say.
    async fn on_queue(&self, act: impl FnOnce(&mut State, &str, Moment) -> Result<(), Error>) -> Result<Value, Error> {
        let name = self.queue()?;
        self.queues.act(|state, now| act(state, name, now)).await?;
        Ok(json!({}))
    }

    async fn create_queue(&self) -> Result<Value, Error> {
        let name = required("QueueName", self.parameters.queue_name.as_deref())?;
        let given = self.parameters.attributes.clone().unwrap_or_default();
        let tags = self.parameters.tags.clone().unwrap_or_default();
        check_tags(&tags)?;
        let create = |state: &mut State, now| {
            state.create(name, &given, tags, now)?;
            Ok(self.url(state, name))
        };
        Ok(json!({ "QueueUrl": self.queues.act(create).await? }))
    }

    async fn get_queue_url(&self) -> Result<Value, Error> {
        let name = required("QueueName", self.parameters.queue_name.as_deref())?;
        let owner = self.parameters.owner.as_deref();
        let find = |state: &mut State, now| {
            if owner.is_some_and(|owner| owner != state.settings.account) {
                return Err(Error::no_queue(name));
            }
            state.open(name, now)?;
            Ok(self.url(state, name))
        };
        Ok(json!({ "QueueUrl": self.queues.act(find).await? }))
    }

    async fn list_queues(&self) -> Result<Value, Error> {
        let prefix = self.parameters.queue_name_prefix.as_deref().unwrap_or_default();
        let names = |state: &mut State, _| {
            let names = state.queues.keys().filter(|name| name.starts_with(prefix));
            Ok(names.cloned().collect())
        };
        self.listing("QueueUrls", names).await
    }

    async fn list_dead_letter_source_queues(&self) -> Result<Value, Error> {
        let name = self.queue()?;
        self.listing("queueUrls", |state, now| state.sources_of(name, now))
            .await
    }

    /// A page of a sorted list of queues.
    async fn listing(
        &self,
        key: &str,
        names: impl FnOnce(&mut State, Moment) -> Result<Vec<String>, Error>,
    ) -> Result<Value, Error> {
        let limit = number("MaxResults", self.parameters.max_results, 1, MAX_LISTED, MAX_LISTED)?;
        let after = self.parameters.next_token.as_deref().map(page_start).transpose()?;
        let list = |state: &mut State, now| {
            let names = names(state, now)?.into_iter();
            let mut names = names.filter(|name| after.as_deref().is_none_or(|after| name.as_str() > after));
            let page: Vec<_> = names.by_ref().take(limit).collect();
            let last = names.next().and_then(|_| page.last().cloned());
            let urls: Vec<_> = page.iter().map(|name| self.url(state, name)).collect();
            Ok((urls, last))
        };
        let (urls, last) = self.queues.act(list).await?;
        let mut answer = Map::new();
        answer.insert(key.to_owned(), json!(urls));
        if let (Some(last), Some(_)) = (last, self.parameters.max_results) {
            answer.insert("NextToken".to_owned(), json!(BASE64_STANDARD.encode(last)));
        }
        Ok(answer.into())
    }

    async fn get_queue_attributes(&self) -> Result<Value, Error> {
        let name = self.queue()?;
        let attributes = self.queues.act(|state, now| state.attributes(name, now)).await?;
        let names = self.parameters.attribute_names.as_deref().unwrap_or_default();
        let selected = selection::queue_attributes(attributes, names)?;
        Ok(if selected.is_empty() {
            json!({})
        } else {
            json!({ "Attributes": selected })
        })
    }

    async fn set_queue_attributes(&self) -> Result<Value, Error> {
        let given = required("Attributes", self.parameters.attributes.as_ref())?;
        self.on_queue(|state, name, now| state.set_attributes(name, given, now))
            .await
    }

    async fn tag_queue(&self) -> Result<Value, Error> {
        let tags = required("Tags", self.parameters.tags.as_ref())?.clone();
        check_tags(&tags)?;
        self.on_queue(|state, name, now| state.change_tags(name, now, |old| old.extend(tags)))
            .await
    }

    async fn untag_queue(&self) -> Result<Value, Error> {
        let keys = required("TagKeys", self.parameters.tag_keys.as_deref())?;
        self.on_queue(|state, name, now| state.change_tags(name, now, |tags| tags.retain(|key, _| !keys.contains(key))))
            .await
    }

    async fn list_queue_tags(&self) -> Result<Value, Error> {
        let name = self.queue()?;
        let tags = self.queues.act(|state, now| Ok(state.open(name, now)?.0.tags.clone()));
        let tags = tags.await?;
        Ok(if tags.is_empty() {
            json!({})
        } else {
            json!({ "Tags": tags })
        })
    }

    async fn send_message(&self) -> Result<Value, Error> {
        let (name, outgoing) = (self.queue()?, parse(self.body)?);
        Ok(sent(self.queues.send(name, outgoing).await?).into())
    }

    async fn send_message_batch(&self) -> Result<Value, Error> {
        let check = |entries: &[(String, Outgoing)]| {
            let size = entries.iter().map(|(_, outgoing)| outgoing.size()).sum::<usize>();
            if size > MAX_BYTES {
                let message = format!("The messages of a batch have at most {MAX_BYTES} bytes together, not {size}.");
                return Err(Error::new(Code::BatchRequestTooLong, message));
            }
            Ok(())
        };
        self.batch(check, |state, name, outgoing, now| {
            Ok(sent(state.send(name, outgoing, now)?))
        })
        .await
    }

    async fn receive_message(&self) -> Result<Value, Error> {
        let name = self.queue()?;
        let parameters: ReceiveParameters = parse(self.body)?;
        let most = usize::try_from(MAX_WAIT).unwrap_or(usize::MAX);
        let wait = parameters.wait_time_seconds;
        let wait = wait
            .map(|wait| number("WaitTimeSeconds", Some(wait), 0, most, 0))
            .transpose()?;
        let wanted = Wanted {
            limit: number(
                "MaxNumberOfMessages",
                parameters.max_number_of_messages,
                1,
                MAX_ENTRIES,
                1,
            )?,
            visibility: parameters.visibility_timeout.map(visibility).transpose()?,
            attempt: parameters.receive_request_attempt_id,
        };
        let mut system = parameters.message_system_attribute_names.unwrap_or_default();
        system.extend(parameters.attribute_names.unwrap_or_default());
        let own = parameters.message_attribute_names.unwrap_or_default();
        let selection = Selection::new(&system, &own, &self.queues.inner.account)?;
        let wait = wait.and_then(|wait| u32::try_from(wait).ok());
        let received = self.queues.receive(name, &wanted, wait).await?;
        Ok(if received.is_empty() {
            json!({})
        } else {
            let messages: Vec<_> = received.iter().map(|received| selection.of(received)).collect();
            json!({ "Messages": messages })
        })
    }

    async fn delete_message(&self) -> Result<Value, Error> {
        let handle = required("ReceiptHandle", self.parameters.receipt_handle.as_deref())?;
        self.on_queue(|state, name, now| state.delete_message(name, handle, now))
            .await
    }

    async fn delete_message_batch(&self) -> Result<Value, Error> {
        self.batch(
            |_| Ok(()),
            |state, name, entry: Parameters, now| {
                let handle = required("ReceiptHandle", entry.receipt_handle.as_deref())?;
                state.delete_message(name, handle, now)?;
                Ok(Map::new())
            },
        )
        .await
    }

    async fn change_message_visibility(&self) -> Result<Value, Error> {
        self.on_queue(|state, name, now| change_visibility(state, name, &self.parameters, now))
            .await
    }

    async fn change_message_visibility_batch(&self) -> Result<Value, Error> {
        self.batch(
            |_| Ok(()),
            |state, name, entry: Parameters, now| {
                change_visibility(state, name, &entry, now)?;
                Ok(Map::new())
            },
        )
        .await
    }

    async fn start_message_move_task(&self) -> Result<Value, Error> {
        let source = required("SourceArn", self.parameters.source_arn.as_deref())?;
        let name = "MaxNumberOfMessagesPerSecond";
        let rate = self.parameters.max_number_of_messages_per_second;
        let rate = rate.map(|rate| number(name, Some(rate), 1, 500, 0)).transpose()?;
        let rate = rate.and_then(|rate| u32::try_from(rate).ok());
        let destination = self.parameters.destination_arn.as_deref();
        let handle = self.queues.start_move(source, destination, rate).await?;
        Ok(json!({ "TaskHandle": handle }))
    }

    async fn list_message_move_tasks(&self) -> Result<Value, Error> {
        let source = required("SourceArn", self.parameters.source_arn.as_deref())?;
        let limit = number("MaxResults", self.parameters.max_results, 1, MAX_ENTRIES, 1)?;
        let moves = self.queues.act(|state, _| state.moves_of(source, limit)).await?;
        let results: Vec<_> = moves.iter().map(selection::move_task).collect();
        Ok(json!({ "Results": results }))
    }

    async fn cancel_message_move_task(&self) -> Result<Value, Error> {
        let handle = required("TaskHandle", self.parameters.task_handle.as_deref())?;
        let moved = self.queues.act(|state, _| state.cancel_move(handle)).await?;
        Ok(json!({ "ApproximateNumberOfMessagesMoved": moved }))
    }

    /// Does the same for every entry of a batch, at once and in their order. One that fails leaves the others alone.
    async fn batch<T: DeserializeOwned>(
        &self,
        check: impl FnOnce(&[(String, T)]) -> Result<(), Error>,
        mut act: impl FnMut(&mut State, &str, T, Moment) -> Result<Map<String, Value>, Error>,
    ) -> Result<Value, Error> {
        let name = self.queue()?;
        let batch: Batch<T> = parse(self.body)?;
        let entries = check_entries(batch.entries.unwrap_or_default())?;
        check(&entries)?;
        let all = |state: &mut State, now| {
            state.open(name, now)?;
            let (mut successful, mut failed) = (Vec::new(), Vec::new());
            for (id, what) in entries {
                match act(state, name, what, now) {
                    Ok(mut result) => {
                        result.insert("Id".to_owned(), id.into());
                        successful.push(Value::from(result));
                    }
                    Err(error) => failed.push(json!({
                        "Id": id,
                        "SenderFault": error.is_senders_fault(),
                        "Code": error.code.names().query,
                        "Message": error.message,
                    })),
                }
            }
            Ok((successful, failed))
        };
        let (successful, failed) = self.queues.act(all).await?;
        // SQS leaves out the list that is empty.
        let lists = [("Successful", successful), ("Failed", failed)].into_iter();
        let lists = lists.filter(|(_, list)| !list.is_empty());
        Ok(lists.map(|(name, list)| (name.to_owned(), Value::from(list))).collect())
    }
}

fn change_visibility(state: &mut State, name: &str, entry: &Parameters, now: Moment) -> Result<(), Error> {
    let handle = required("ReceiptHandle", entry.receipt_handle.as_deref())?;
    let seconds = required("VisibilityTimeout", entry.visibility_timeout.as_ref())?;
    state.change_visibility(name, handle, *seconds, now)
}

/// The entries with their ids, if these are as they must be.
fn check_entries<T>(entries: Vec<Entry<T>>) -> Result<Vec<(String, T)>, Error> {
    let count = entries.len();
    if count == 0 {
        return Err(Error::new(Code::EmptyBatchRequest, "A batch has at least one entry."));
    }
    if count > MAX_ENTRIES {
        let message = format!("A batch has at most {MAX_ENTRIES} entries, not {count}.");
        return Err(Error::new(Code::TooManyEntriesInBatchRequest, message));
    }
    let mut ids = BTreeSet::new();
    let entries = entries.into_iter().map(|entry| {
        let id = entry.id.ok_or_else(|| Error::missing("Id"))?;
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !(1..=MAX_ENTRY_ID).contains(&id.len()) || !id.bytes().all(is_allowed) {
            let message =
                format!("The id {id:?} of an entry must be 1 to {MAX_ENTRY_ID} letters, digits, '-' and '_'.");
            return Err(Error::new(Code::InvalidBatchEntryId, message));
        }
        if !ids.insert(id.clone()) {
            let message = format!("Two entries of the batch have the id {id:?}.");
            return Err(Error::new(Code::BatchEntryIdsNotDistinct, message));
        }
        Ok((id, entry.what))
    });
    entries.collect()
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), Error> {
    if tags.len() > MAX_TAGS {
        let message = format!("A queue has at most {MAX_TAGS} tags.");
        return Err(Error::new(Code::InvalidParameterValue, message));
    }
    Ok(())
}

/// The name after which a page begins.
fn page_start(token: &str) -> Result<String, Error> {
    let bytes = BASE64_STANDARD.decode(token).ok();
    let name = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    name.ok_or_else(|| Error::value("NextToken", token, "It is not one that was given out."))
}

fn sent(sent: Sent) -> Map<String, Value> {
    let fields = [
        ("MessageId", Some(sent.message_id)),
        ("MD5OfMessageBody", Some(sent.body_digest)),
        ("MD5OfMessageAttributes", sent.attributes_digest),
        ("MD5OfMessageSystemAttributes", sent.system_attributes_digest),
        ("SequenceNumber", sent.sequence_number),
    ];
    let fields = fields.into_iter();
    fields
        .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
        .collect()
}
