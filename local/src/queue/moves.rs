//! Moving messages out of a dead-letter queue again.

use super::clock::Moment;
use super::error::{Code, Error};
use super::messages::{Message, Number, Standing};
use super::state::State;

/// How many tasks are remembered.
const REMEMBERED: usize = 100;

/// The tasks since the platform started, the oldest first. They end with it; the messages stay where they are.
#[derive(Debug, Default)]
pub(super) struct Moves(Vec<Move>);

/// One task.
#[derive(Debug, Clone)]
pub(super) struct Move {
    pub(super) handle: String,
    /// An ARN.
    pub(super) source: String,
    /// An ARN; where each message came from if `None`.
    pub(super) destination: Option<String>,
    /// Messages per second; all at once if `None`.
    pub(super) rate: Option<u32>,
    pub(super) status: Status,
    pub(super) moved: usize,
    pub(super) to_move: usize,
    pub(super) failure: Option<&'static str>,
    pub(super) started: Moment,
    /// The number of the first message that came too late to be moved.
    end: Number,
}

/// What a task is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

impl State {
    /// Begins a task and returns its handle; [`Self::go_on_moving`] does the work.
    pub(super) fn start_move(
        &mut self,
        source: &str,
        destination: Option<&str>,
        rate: Option<u32>,
        now: Moment,
    ) -> Result<String, Error> {
        let name = self.queue_of(source)?;
        if self.sources_of(&name, now)?.is_empty() {
            let reason = "It must be the dead-letter queue of another queue.";
            return Err(Error::value("SourceArn", source, reason));
        }
        if let Some(destination) = destination {
            let target = self.queue_of(destination)?;
            if target == name {
                let reason = "It must not be the source.";
                return Err(Error::value("DestinationArn", destination, reason));
            }
            if target.ends_with(".fifo") != name.ends_with(".fifo") {
                let message = "Messages can be moved only between queues of the same kind, standard or FIFO.";
                return Err(Error::new(Code::UnsupportedOperation, message));
            }
        }
        let is_busy = |task: &Move| task.source == source && task.status == Status::Running;
        if self.moves.0.iter().any(is_busy) {
            let message = format!("A task is moving messages of {source} already; cancel it first.");
            return Err(Error::new(Code::UnsupportedOperation, message));
        }
        let end = self.next_number();
        let task = Move {
            handle: uuid::Uuid::new_v4().to_string(),
            source: source.to_owned(),
            destination: destination.map(str::to_owned),
            rate,
            status: Status::Running,
            moved: 0,
            to_move: self.open(&name, now)?.0.messages.counts().visible,
            failure: None,
            started: now,
            end,
        };
        let handle = task.handle.clone();
        let tasks = &mut self.moves.0;
        if tasks.len() >= REMEMBERED {
            tasks.remove(0);
        }
        tasks.push(task);
        Ok(handle)
    }

    /// Moves up to so many messages; whether there is more to do.
    pub(super) fn go_on_moving(&mut self, handle: &str, limit: usize, now: Moment) -> bool {
        let Some(index) = self.moves.0.iter().position(|task| task.handle == handle) else {
            return false;
        };
        let task = self.moves.0[index].clone();
        if task.status != Status::Running {
            return false;
        }
        let (moved, result) = self.move_some(&task, limit, now);
        let task = &mut self.moves.0[index];
        task.moved += moved;
        match result {
            Ok(()) if moved < limit => task.status = Status::Completed,
            Ok(()) => {}
            Err(reason) => {
                task.status = Status::Failed;
                task.failure = Some(reason);
            }
        }
        task.status == Status::Running
    }

    fn move_some(&mut self, task: &Move, limit: usize, now: Moment) -> (usize, Result<(), &'static str>) {
        let mut moved = 0;
        while moved < limit {
            match self.move_one(task, now) {
                Ok(true) => moved += 1,
                Ok(false) => break,
                Err(reason) => return (moved, Err(reason)),
            }
        }
        (moved, Ok(()))
    }

    /// Moves the oldest message, as a new one; whether there was one.
    fn move_one(&mut self, task: &Move, now: Moment) -> Result<bool, &'static str> {
        const GONE: &str = "AWS.SimpleQueueService.NonExistentQueue";
        let source = self.name_of(&task.source).ok_or(GONE)?;
        let (queue, _) = self.open(&source, now).map_err(|_| GONE)?;
        let first = queue.messages.visible().next().filter(|number| *number < task.end);
        let Some((number, message)) = first.and_then(|number| Some((number, queue.messages.get(number)?))) else {
            return Ok(false);
        };
        let origin = message.standing.source.clone();
        let arn = task
            .destination
            .clone()
            .or(origin)
            .ok_or("CouldNotDetermineMessageSource")?;
        let target = self.name_of(&arn).ok_or(GONE)?;
        let (queue, changes) = self.open(&source, now).map_err(|_| GONE)?;
        let Some(Message { mut content, .. }) = queue.remove(number, changes) else {
            return Ok(false);
        };
        std::sync::Arc::make_mut(&mut content).id = uuid::Uuid::new_v4().to_string();
        let message = Message {
            content,
            standing: Standing::new(now, 0),
        };
        let new = self.next_number();
        let (queue, changes) = self.open(&target, now).map_err(|_| GONE)?;
        queue.insert(new, message, now, changes);
        Ok(true)
    }

    /// Ends a task and returns how many messages it has moved.
    pub(super) fn cancel_move(&mut self, handle: &str) -> Result<usize, Error> {
        let task = self.moves.0.iter_mut().find(|task| task.handle == handle);
        let task = task.filter(|task| task.status == Status::Running).ok_or_else(|| {
            let message = format!("There is no running task with the handle {handle:?}.");
            Error::new(Code::ResourceNotFound, message)
        })?;
        task.status = Status::Cancelled;
        Ok(task.moved)
    }

    /// The last tasks of a queue, the latest first.
    pub(super) fn moves_of(&self, source: &str, limit: usize) -> Result<Vec<Move>, Error> {
        self.queue_of(source)?;
        let tasks = self.moves.0.iter().rev().filter(|task| task.source == source);
        Ok(tasks.take(limit).cloned().collect())
    }

    fn queue_of(&self, arn: &str) -> Result<String, Error> {
        self.name_of(arn).ok_or_else(|| {
            let message = format!("There is no queue with the ARN {arn:?}.");
            Error::new(Code::ResourceNotFound, message)
        })
    }
}
