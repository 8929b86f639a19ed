//! One queue behind an endpoint that speaks SQS, by AWS's own SDK.

use std::error::Error;
use std::time::{Duration, Instant};

use aws_config::environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider};
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Credentials;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName,
    QueueAttributeName,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use http::Uri;

use super::StartError;
use crate::function::REGION;

/// The most messages that one request may name or bring.
pub(super) const MOST_MESSAGES: usize = 10;
/// The longest wait of one request for messages.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// How long one request may take beyond its wait.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Which queue, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueAddress {
    /// Its URL, as `aws sqs get-queue-url` prints it. Requests go to the host in it.
    Url(String),
    /// Its name at an endpoint such as `http://127.0.0.1:9324`; without one, at AWS in the configured region.
    Name {
        /// The queue's name.
        name: String,
        /// Scheme, host and port.
        endpoint: Option<String>,
    },
}

impl QueueAddress {
    fn endpoint(&self) -> Option<&str> {
        match self {
            Self::Url(url) => Some(url),
            Self::Name { name: _, endpoint } => endpoint.as_deref(),
        }
    }
}

impl std::fmt::Display for QueueAddress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url(url) => write!(formatter, "{url}"),
            Self::Name { name, endpoint: None } => write!(formatter, "{name}"),
            Self::Name {
                name,
                endpoint: Some(endpoint),
            } => write!(formatter, "{name} at {endpoint}"),
        }
    }
}

/// A queue that was found.
#[derive(Debug)]
pub(super) struct Queue {
    client: Client,
    pub(super) url: String,
    pub(super) name: String,
    pub(super) arn: String,
    pub(super) region: String,
    pub(super) is_fifo: bool,
    /// How long a message that was received stays away from other receivers.
    pub(super) visibility: Duration,
}

/// What became of the messages that were to be deleted. Those that were not are named by their places in the request.
#[derive(Debug, Default)]
pub(super) struct Deletion {
    /// How many have been deleted.
    pub(super) deleted: usize,
    /// Those that the queue refuses for good, because they are gone or their time was over, and why.
    pub(super) refused: Vec<(usize, String)>,
    /// Those for which it may work later, and why it did not.
    pub(super) pending: Vec<(usize, String)>,
}

impl Queue {
    /// Finds the queue and reads its attributes.
    ///
    /// # Errors
    ///
    /// If the address is none, nothing answers there, or the queue does not exist or may not be read.
    pub(super) async fn find(address: &QueueAddress) -> Result<Self, StartError> {
        let client = client(address).await?;
        let url = match address {
            QueueAddress::Url(url) => url.clone(),
            QueueAddress::Name { name, .. } => {
                let found = client.get_queue_url().queue_name(name).send().await;
                let found = found.map_err(|error| refusal(address, &error))?;
                found.queue_url.unwrap_or_default()
            }
        };
        let wanted = [QueueAttributeName::QueueArn, QueueAttributeName::VisibilityTimeout];
        let answer = client
            .get_queue_attributes()
            .queue_url(&url)
            .set_attribute_names(Some(wanted.to_vec()));
        let answer = answer.send().await.map_err(|error| refusal(address, &error))?;
        let attributes = answer.attributes.unwrap_or_default();
        let [arn, visibility] = wanted.map(|name| attributes.get(&name).cloned().unwrap_or_default());
        let parts: Vec<_> = arn.split(':').collect();
        let [_, _, _, region, _, name] = parts[..] else {
            return Err(unusable(address, format!("its ARN {arn:?} is none")));
        };
        let Ok(seconds) = visibility.parse() else {
            return Err(unusable(
                address,
                format!("its visibility timeout {visibility:?} is no number"),
            ));
        };
        Ok(Self {
            client,
            url,
            name: name.to_owned(),
            region: region.to_owned(),
            is_fifo: name.ends_with(".fifo"),
            visibility: Duration::from_secs(seconds),
            arn,
        })
    }

    /// Waits for messages, at most [`MOST_MESSAGES`] and no longer than [`LONGEST_WAIT`], which counts in whole
    /// seconds.
    ///
    /// # Errors
    ///
    /// What the endpoint or the way to it has said.
    pub(super) async fn receive(&self, most: usize, wait: Duration) -> Result<Vec<Message>, String> {
        let (most, wait) = (most.min(MOST_MESSAGES), wait.min(LONGEST_WAIT));
        let request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All")
            .max_number_of_messages(i32::try_from(most).expect("a small number"))
            .wait_time_seconds(i32::try_from(wait.as_secs()).expect("a small number"));
        let timeout = TimeoutConfig::builder()
            .operation_attempt_timeout(wait + REQUEST_TIMEOUT)
            .build();
        let request = request
            .customize()
            .config_override(aws_sdk_sqs::Config::builder().timeout_config(timeout));
        match request.send().await {
            Ok(answer) => Ok(answer.messages.unwrap_or_default()),
            Err(error) => Err(reason(&error)),
        }
    }

    /// Deletes messages, at most [`MOST_MESSAGES`], by their receipt handles.
    pub(super) async fn delete(&self, receipts: &[&str]) -> Deletion {
        let entries = receipts.iter().enumerate().map(|(index, receipt)| {
            let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string());
            entry.receipt_handle(*receipt).build().expect("has what it needs")
        });
        let request = self.client.delete_message_batch().queue_url(&self.url);
        let answer = match request.set_entries(Some(entries.collect())).send().await {
            Ok(answer) => answer,
            Err(error) => {
                let reason = reason(&error);
                return Deletion {
                    pending: (0..receipts.len()).map(|index| (index, reason.clone())).collect(),
                    ..Deletion::default()
                };
            }
        };
        let mut deletion = Deletion::default();
        for index in 0..receipts.len() {
            let id = index.to_string();
            if answer.successful.iter().any(|entry| entry.id == id) {
                deletion.deleted += 1;
                continue;
            }
            match answer.failed.iter().find(|entry| entry.id == id) {
                Some(entry) => {
                    let failed = (
                        index,
                        format!("{}: {}", entry.code(), entry.message().unwrap_or_default()),
                    );
                    match entry.sender_fault() {
                        true => deletion.refused.push(failed),
                        false => deletion.pending.push(failed),
                    }
                }
                None => deletion
                    .pending
                    .push((index, "the queue does not say what became of it".to_owned())),
            }
        }
        deletion
    }

    /// Lets others have messages at once that nobody works on; at most [`MOST_MESSAGES`]. If it does not work, their
    /// visibility timeout does it later.
    pub(super) async fn give_back(&self, receipts: &[&str]) {
        let entries = receipts.iter().enumerate().map(|(index, receipt)| {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(index.to_string());
            let entry = entry.receipt_handle(*receipt).visibility_timeout(0);
            entry.build().expect("has what it needs")
        });
        let request = self.client.change_message_visibility_batch().queue_url(&self.url);
        let _ = request.set_entries(Some(entries.collect())).send().await;
    }

    /// When a message that is received by a request made now can be received again.
    pub(super) fn visible_again(&self) -> Instant {
        Instant::now() + self.visibility
    }
}

async fn client(address: &QueueAddress) -> Result<Client, StartError> {
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(REQUEST_TIMEOUT);
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http.build_https())
        .retry_config(RetryConfig::standard())
        .timeout_config(timeouts.build());
    if let Some(endpoint) = address.endpoint() {
        let (origin, host) = origin(endpoint).ok_or_else(|| {
            unusable(
                address,
                "it does not begin with http:// or https:// and a host".to_owned(),
            )
        })?;
        loader = match aws_region(&host) {
            Some(region) => loader.region(Region::new(region.to_owned())),
            None => somewhere_else(loader, origin.starts_with("http://")),
        };
        loader = loader.endpoint_url(origin);
    }
    Ok(Client::new(&loader.load().await))
}

/// Configuration for an endpoint that is not AWS's. Many of them want a signature and do not check it, so a laptop
/// without credentials is no obstacle, nor are those looked for that only an instance in the cloud has.
fn somewhere_else(loader: ConfigLoader, is_plain: bool) -> ConfigLoader {
    let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        .or_else(Region::new(REGION));
    let loader = loader.region(region);
    if !is_plain {
        return loader;
    }
    let placeholder = Credentials::new("orlop", "orlop", None, None, "placeholder");
    let variables = CredentialsProviderChain::first_try("Environment", EnvironmentVariableCredentialsProvider::new());
    loader.credentials_provider(variables.or_else("Placeholder", placeholder))
}

/// Scheme and authority of a URL, and the host in it.
fn origin(url: &str) -> Option<(String, String)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = uri.authority()?;
    Some((format!("{scheme}://{authority}"), authority.host().to_owned()))
}

/// The region that a host of AWS's serves, such as `sqs.eu-central-1.amazonaws.com`, `eu-central-1.queue.amazonaws.com`
/// or an endpoint of a VPC.
fn aws_region(host: &str) -> Option<&str> {
    const DOMAINS: [&str; 4] = [".amazonaws.com", ".amazonaws.com.cn", ".vpce.amazonaws.com", ".api.aws"];
    if !DOMAINS.iter().any(|domain| host.ends_with(domain)) {
        return None;
    }
    let labels: Vec<_> = host.split('.').collect();
    let pairs = labels.windows(2);
    pairs.into_iter().find_map(|pair| match pair {
        ["sqs" | "sqs-fips", region] => Some(*region),
        [region, "queue"] => Some(*region),
        _ => None,
    })
}

fn refusal<E>(address: &QueueAddress, error: &SdkError<E>) -> StartError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let queue = address.to_string();
    if error
        .code()
        .is_some_and(|code| code.ends_with("QueueDoesNotExist") || code.ends_with("NonExistentQueue"))
    {
        return StartError::NoSuchQueue { queue };
    }
    let reason = reason(error);
    match error.as_service_error() {
        Some(_) => StartError::UnusableQueue { queue, reason },
        None => StartError::Unreachable { queue, reason },
    }
}

fn unusable(address: &QueueAddress, reason: String) -> StartError {
    let queue = address.to_string();
    StartError::UnusableQueue { queue, reason }
}

/// What an error says, in one line: the service's own words, or all the causes.
fn reason<E>(error: &SdkError<E>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let (Some(code), message) = (error.code(), error.message().unwrap_or_default()) {
        return format!("{code}: {message}");
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text = format!("{text}: {part}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_that_of_the_queues_host_and_of_no_other_host() {
        for (host, region) in [
            ("sqs.eu-central-1.amazonaws.com", Some("eu-central-1")),
            ("sqs-fips.us-west-2.amazonaws.com", Some("us-west-2")),
            ("eu-west-1.queue.amazonaws.com", Some("eu-west-1")),
            ("sqs.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("vpce-0a-1b.sqs.us-east-1.vpce.amazonaws.com", Some("us-east-1")),
            ("sqs.us-east-1.api.aws", Some("us-east-1")),
            ("localhost", None),
            ("sqs.example.com", None),
        ] {
            assert_eq!(aws_region(host), region, "{host}");
        }
    }

    #[test]
    fn requests_go_to_the_host_of_the_url() {
        let of = |url| origin(url).map(|(origin, _)| origin);
        assert_eq!(
            of("http://127.0.0.1:9324/000000000000/orders").unwrap(),
            "http://127.0.0.1:9324"
        );
        assert_eq!(
            of("https://sqs.eu-west-1.amazonaws.com/1/q").unwrap(),
            "https://sqs.eu-west-1.amazonaws.com"
        );
        for nowhere in ["orders", "/1/orders", "ftp://host/orders", "http://", ""] {
            assert_eq!(of(nowhere), None, "{nowhere}");
        }
    }
}
