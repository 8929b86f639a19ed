//! What SQS says when it refuses something, under both of the names that it has for each.

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The kind, which programs look at.
    pub code: Code,
    /// The reason, for people.
    pub message: String,
}

/// The kinds of errors that the embedded queue gives, under their names in SQS's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "SQS's documentation explains each under its name")]
pub enum Code {
    BatchEntryIdsNotDistinct,
    BatchRequestTooLong,
    EmptyBatchRequest,
    InternalFailure,
    InvalidAddress,
    InvalidAttributeName,
    InvalidAttributeValue,
    InvalidBatchEntryId,
    InvalidMessageContents,
    InvalidParameterValue,
    MessageNotInflight,
    MissingParameter,
    OverLimit,
    QueueDoesNotExist,
    QueueNameExists,
    ReceiptHandleIsInvalid,
    RequestEntityTooLarge,
    ResourceNotFound,
    Serialization,
    TooManyEntriesInBatchRequest,
    UnknownOperation,
    UnsupportedOperation,
}

/// The names and the status of one kind.
pub(super) struct Names {
    /// The `__type`, by which clients of the JSON protocol know the error.
    pub(super) shape: &'static str,
    /// The code of the older Query protocol. SDKs that were written for it find it in `x-amzn-query-error`, and prefer it.
    pub(super) query: &'static str,
    pub(super) status: u16,
}

impl Code {
    pub(super) fn names(self) -> Names {
        const CLIENT: u16 = 400;
        let (shape, query, status) = match self {
            Self::BatchEntryIdsNotDistinct => (
                "com.amazonaws.sqs#BatchEntryIdsNotDistinct",
                "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
                CLIENT,
            ),
            Self::BatchRequestTooLong => (
                "com.amazonaws.sqs#BatchRequestTooLong",
                "AWS.SimpleQueueService.BatchRequestTooLong",
                CLIENT,
            ),
            Self::EmptyBatchRequest => (
                "com.amazonaws.sqs#EmptyBatchRequest",
                "AWS.SimpleQueueService.EmptyBatchRequest",
                CLIENT,
            ),
            Self::InternalFailure => ("com.amazon.coral.service#InternalFailure", "InternalFailure", 500),
            Self::InvalidAddress => ("com.amazonaws.sqs#InvalidAddress", "InvalidAddress", CLIENT),
            Self::InvalidAttributeName => ("com.amazonaws.sqs#InvalidAttributeName", "InvalidAttributeName", CLIENT),
            Self::InvalidAttributeValue => (
                "com.amazonaws.sqs#InvalidAttributeValue",
                "InvalidAttributeValue",
                CLIENT,
            ),
            Self::InvalidBatchEntryId => (
                "com.amazonaws.sqs#InvalidBatchEntryId",
                "AWS.SimpleQueueService.InvalidBatchEntryId",
                CLIENT,
            ),
            Self::InvalidMessageContents => (
                "com.amazonaws.sqs#InvalidMessageContents",
                "InvalidMessageContents",
                CLIENT,
            ),
            Self::InvalidParameterValue => (
                "com.amazon.coral.service#InvalidParameterValueException",
                "InvalidParameterValue",
                CLIENT,
            ),
            Self::MessageNotInflight => (
                "com.amazonaws.sqs#MessageNotInflight",
                "AWS.SimpleQueueService.MessageNotInflight",
                CLIENT,
            ),
            Self::MissingParameter => (
                "com.amazon.coral.service#MissingRequiredParameterException",
                "MissingParameter",
                CLIENT,
            ),
            Self::OverLimit => ("com.amazonaws.sqs#OverLimit", "OverLimit", CLIENT),
            Self::QueueDoesNotExist => (
                "com.amazonaws.sqs#QueueDoesNotExist",
                "AWS.SimpleQueueService.NonExistentQueue",
                CLIENT,
            ),
            Self::QueueNameExists => ("com.amazonaws.sqs#QueueNameExists", "QueueAlreadyExists", CLIENT),
            Self::ReceiptHandleIsInvalid => (
                "com.amazonaws.sqs#ReceiptHandleIsInvalid",
                "ReceiptHandleIsInvalid",
                CLIENT,
            ),
            Self::RequestEntityTooLarge => (
                "com.amazon.coral.service#RequestEntityTooLargeException",
                "RequestEntityTooLarge",
                413,
            ),
            Self::ResourceNotFound => (
                "com.amazonaws.sqs#ResourceNotFoundException",
                "ResourceNotFoundException",
                CLIENT,
            ),
            Self::Serialization => (
                "com.amazon.coral.service#SerializationException",
                "MalformedInput",
                CLIENT,
            ),
            Self::TooManyEntriesInBatchRequest => (
                "com.amazonaws.sqs#TooManyEntriesInBatchRequest",
                "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
                CLIENT,
            ),
            Self::UnknownOperation => (
                "com.amazon.coral.service#UnknownOperationException",
                "InvalidAction",
                404,
            ),
            Self::UnsupportedOperation => (
                "com.amazonaws.sqs#UnsupportedOperation",
                "AWS.SimpleQueueService.UnsupportedOperation",
                CLIENT,
            ),
        };
        Names { shape, query, status }
    }
}

impl Error {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// A parameter has a value that it must not have.
    pub(super) fn value(name: &str, value: impl std::fmt::Display, reason: &str) -> Self {
        Self::new(
            Code::InvalidParameterValue,
            format!("Value {value} for parameter {name} is invalid. Reason: {reason}"),
        )
    }

    pub(super) fn missing(name: &str) -> Self {
        Self::new(
            Code::MissingParameter,
            format!("The request must contain the parameter {name}."),
        )
    }

    pub(super) fn no_queue(name: &str) -> Self {
        Self::new(
            Code::QueueDoesNotExist,
            format!("There is no queue {name:?}. `aws sqs list-queues` names those that are there."),
        )
    }

    /// Whether the sender has to change something; otherwise it is the queue's own failure.
    pub(super) fn is_senders_fault(&self) -> bool {
        self.code.names().status < 500
    }
}
