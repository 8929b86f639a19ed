//! Queues on disk: an embedded database, one file, written by one thread.
//!
//! A change is handed in while the state is locked, so the disk sees changes in the order in which memory saw them. It is
//! acknowledged when its transaction is on disk; whatever arrives meanwhile shares the next transaction.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use redb::{
    Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, Table, TableDefinition, WriteTransaction,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::attributes::AttributeMap;
use super::clock::Moment;
use super::content::Content;
use super::error::{Code, Error};
use super::fifo::Original;
use super::messages::{Number, Standing};

/// The file in the state directory.
const FILE: &str = "queues.redb";
/// What the database may keep in memory, in bytes.
const CACHE: usize = 16 << 20;
/// The most requests whose changes share a transaction.
const SHARED: usize = 1_000;

/// The form of what is kept. Another one is not read.
const FORMAT: u64 = 1;

/// By name: [`QueueRecord`].
const QUEUES: TableDefinition<&str, &[u8]> = TableDefinition::new("queues");
/// By number: [`Content`]. Apart from the standing, which changes with every receive, while this can be a megabyte.
const CONTENTS: TableDefinition<Number, &[u8]> = TableDefinition::new("contents");
/// By number: [`Place`].
const PLACES: TableDefinition<Number, &[u8]> = TableDefinition::new("places");
/// By queue and key: [`Original`].
const ORIGINALS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("originals");
/// `format`, and `next`, the number of the next message.
const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");

/// What is kept of a queue besides its messages.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct QueueRecord {
    pub(super) attributes: AttributeMap,
    pub(super) tags: AttributeMap,
    pub(super) created: Moment,
    pub(super) modified: Moment,
}

/// Where a message is, and how it stands there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) queue: String,
    pub(super) standing: Standing,
}

/// One difference between what is on disk and what shall be.
#[derive(Debug)]
pub(super) enum Change {
    Queue(String, QueueRecord),
    QueueGone(String),
    Message(Number, Arc<Content>, Place),
    Place(Number, Place),
    MessageGone(Number),
    Original(String, String, Original),
    OriginalGone(String, String),
    Next(Number),
}

/// All that is on disk.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) queues: Vec<(String, QueueRecord)>,
    pub(super) messages: Vec<(Number, Content, Place)>,
    /// Each with its queue and key.
    pub(super) originals: Vec<(String, String, Original)>,
    pub(super) next: Number,
}

/// Why queues cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made.
    #[error("cannot make the state directory {0}")]
    Directory(PathBuf, #[source] std::io::Error),
    /// Two processes cannot share a state.
    #[error("another process uses the queues in {0}; end it, or choose another state directory")]
    InUse(PathBuf),
    /// The file cannot be read, or is none of ours.
    #[error("cannot read the queues in {0}")]
    Database(PathBuf, #[source] Box<redb::Error>),
    /// What is in it makes no sense to this version.
    #[error("the queues in {0} are not in a form that this version reads: {1}; move the file away to begin anew")]
    Form(PathBuf, String),
}

/// The place where changes are written, if there is one.
#[derive(Debug, Default)]
pub(super) struct Store {
    writer: Option<Writer>,
}

#[derive(Debug)]
struct Writer {
    /// `None` only while this is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

struct Job {
    changes: Vec<Change>,
    done: oneshot::Sender<Result<(), String>>,
}

/// An acknowledgement on its way.
#[must_use = "what is not on disk must not be acknowledged"]
pub(super) struct Commit(Option<oneshot::Receiver<Result<(), String>>>);

impl Commit {
    /// Waits until the changes, and all before them, are on disk.
    pub(super) async fn done(self) -> Result<(), Error> {
        let Some(receiver) = self.0 else { return Ok(()) };
        let result = receiver.await.unwrap_or_else(|_| Err("its writer is gone".to_owned()));
        result.map_err(|reason| {
            let message =
                format!("The queue's state cannot be written: {reason}. Make room, and start the platform anew.");
            Error::new(Code::InternalFailure, message)
        })
    }
}

impl Store {
    /// Opens the store in a directory, which is made if need be.
    pub(super) fn open(directory: &Path) -> Result<(Self, Kept), OpenError> {
        fs::create_dir_all(directory).map_err(|error| OpenError::Directory(directory.to_owned(), error))?;
        let path = directory.join(FILE);
        let wrap = |error: redb::Error| OpenError::Database(path.clone(), Box::new(error));
        let opened = Database::builder().set_cache_size(CACHE).create(&path);
        if matches!(opened, Err(DatabaseError::DatabaseAlreadyOpen)) {
            return Err(OpenError::InUse(path));
        }
        let database = opened.map_err(|error| wrap(error.into()))?;
        prepare(&database).map_err(wrap)?;
        let kept = read(&database).map_err(wrap)?;
        let kept = kept.map_err(|reason| OpenError::Form(path.clone(), reason))?;
        let (jobs, queue) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("queue-store".to_owned())
            .spawn(move || write_all(&database, &queue))
            .map_err(|error| wrap(redb::Error::Io(error)))?;
        let writer = Writer {
            jobs: Some(jobs),
            thread: Some(thread),
        };
        Ok((Self { writer: Some(writer) }, kept))
    }

    /// Hands in changes. The order of these calls is the order on disk.
    pub(super) fn submit(&self, changes: Vec<Change>) -> Commit {
        let Some(jobs) = self.writer.as_ref().and_then(|writer| writer.jobs.as_ref()) else {
            return Commit(None);
        };
        let (done, receiver) = oneshot::channel();
        // If the writer is gone, the receiver says so.
        let _ = jobs.send(Job { changes, done });
        Commit(Some(receiver))
    }
}

impl Drop for Writer {
    /// Waits for the last transaction, so that the file is free for the next who opens it.
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported where it happened.
            let _ = thread.join();
        }
    }
}

fn prepare(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut tables = Tables::open(&transaction)?;
        if tables.numbers.get("format")?.is_none() {
            tables.numbers.insert("format", FORMAT)?;
        }
    }
    Ok(transaction.commit()?)
}

/// Reads everything. The inner error says what does not make sense.
fn read(database: &Database) -> Result<Result<Kept, String>, redb::Error> {
    let transaction = database.begin_read()?;
    let numbers = transaction.open_table(NUMBERS)?;
    let format = numbers.get("format")?.map(|value| value.value());
    if format != Some(FORMAT) {
        return Ok(Err(format!("its format is {format:?}, not {FORMAT}")));
    }
    let mut kept = Kept {
        next: numbers.get("next")?.map_or(0, |value| value.value()),
        ..Kept::default()
    };
    for row in transaction.open_table(QUEUES)?.iter()? {
        let (name, record) = row?;
        match parse(record.value()) {
            Ok(record) => kept.queues.push((name.value().to_owned(), record)),
            Err(reason) => return Ok(Err(reason)),
        }
    }
    let contents = transaction.open_table(CONTENTS)?;
    for row in transaction.open_table(PLACES)?.iter()? {
        let (number, place) = row?;
        let number = number.value();
        let content = contents.get(number)?;
        let content = content.as_ref().map_or(&b""[..], |content| content.value());
        match (parse(content), parse(place.value())) {
            (Ok(content), Ok(place)) => kept.messages.push((number, content, place)),
            (Err(reason), _) | (_, Err(reason)) => return Ok(Err(reason)),
        }
    }
    for row in transaction.open_table(ORIGINALS)?.iter()? {
        let (key, original) = row?;
        let (queue, key) = key.value();
        match parse(original.value()) {
            Ok(original) => kept.originals.push((queue.to_owned(), key.to_owned(), original)),
            Err(reason) => return Ok(Err(reason)),
        }
    }
    Ok(Ok(kept))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("a plain structure has a JSON form")
}

/// Writes until nobody is left to hand in changes. After an error nothing is written any more: what follows may build on a
/// change that was lost.
fn write_all(database: &Database, jobs: &mpsc::Receiver<Job>) {
    let mut result = Ok(());
    while let Ok(first) = jobs.recv() {
        let more = std::iter::from_fn(|| jobs.try_recv().ok());
        let (changes, done): (Vec<_>, Vec<_>) = std::iter::once(first)
            .chain(more)
            .take(SHARED)
            .map(|job| (job.changes, job.done))
            .unzip();
        if result.is_ok() {
            result = write(database, changes.into_iter().flatten()).map_err(|error| error.to_string());
        }
        for done in done {
            // A client that has gone away does not wait for its answer.
            let _ = done.send(result.clone());
        }
    }
}

/// Writes changes in one transaction.
fn write(database: &Database, changes: impl Iterator<Item = Change>) -> Result<(), redb::Error> {
    let mut changes = changes.peekable();
    if changes.peek().is_none() {
        return Ok(());
    }
    let transaction = database.begin_write()?;
    {
        let mut tables = Tables::open(&transaction)?;
        for change in changes {
            tables.apply(change)?;
        }
    }
    Ok(transaction.commit()?)
}

/// All tables, to be written.
struct Tables<'t> {
    queues: Table<'t, &'static str, &'static [u8]>,
    contents: Table<'t, Number, &'static [u8]>,
    places: Table<'t, Number, &'static [u8]>,
    originals: Table<'t, (&'static str, &'static str), &'static [u8]>,
    numbers: Table<'t, &'static str, u64>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            queues: transaction.open_table(QUEUES)?,
            contents: transaction.open_table(CONTENTS)?,
            places: transaction.open_table(PLACES)?,
            originals: transaction.open_table(ORIGINALS)?,
            numbers: transaction.open_table(NUMBERS)?,
        })
    }

    fn apply(&mut self, change: Change) -> Result<(), redb::Error> {
        match change {
            Change::Queue(name, record) => {
                self.queues.insert(name.as_str(), json(&record).as_slice())?;
            }
            Change::QueueGone(name) => {
                self.queues.remove(name.as_str())?;
            }
            Change::Message(number, content, place) => {
                self.contents.insert(number, json(&*content).as_slice())?;
                self.places.insert(number, json(&place).as_slice())?;
            }
            Change::Place(number, place) => {
                self.places.insert(number, json(&place).as_slice())?;
            }
            Change::MessageGone(number) => {
                self.contents.remove(number)?;
                self.places.remove(number)?;
            }
            Change::Original(queue, key, original) => {
                let key = (queue.as_str(), key.as_str());
                self.originals.insert(key, json(&original).as_slice())?;
            }
            Change::OriginalGone(queue, key) => {
                self.originals.remove((queue.as_str(), key.as_str()))?;
            }
            Change::Next(number) => {
                self.numbers.insert("next", number)?;
            }
        }
        Ok(())
    }
}
