//! What one call of the function is: an event and its context; and who is called.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::error::FunctionError;
use crate::events::batch::Standing;

/// Lambda's name for the trace header of the current event.
const TRACE_VARIABLE: &str = "_X_AMZN_TRACE_ID";

/// Lambda's longest timeout: 90 minutes, for asynchronous invocations on Managed Instances.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(5400);

/// One request for the function to run.
#[derive(Debug)]
pub struct Invocation {
    /// The metadata.
    pub context: Context,
    /// The payload, byte for byte as Lambda delivered it, or why it could not be taken.
    pub event: Result<Bytes, FunctionError>,
    /// Where the work on it stands, if it is a batch that an earlier run of this process began.
    pub standing: Option<Standing>,
}

/// The metadata of an invocation. What Lambda leaves out, or sends empty, is `None`.
#[derive(Debug, Clone)]
pub struct Context {
    /// Opaque and not unique per attempt: retries of an event carry the same id.
    pub request_id: String,
    /// When the guest is stopped.
    pub deadline: Deadline,
    /// The ARN as the caller gave it.
    pub invoked_function_arn: Option<String>,
    /// The X-Ray trace header.
    pub trace_id: Option<String>,
    /// JSON text of the caller's, not validated.
    pub client_context: Option<String>,
    /// JSON text of the caller's, not validated.
    pub identity: Option<String>,
    /// The tenant of a tenant-isolated function.
    pub tenant_id: Option<String>,
}

impl Context {
    /// The trace under the name that X-Ray's libraries look for, if there is one.
    pub fn trace_variable(&self) -> Vec<(String, String)> {
        let trace = self.trace_id.iter();
        trace.map(|trace| (TRACE_VARIABLE.to_owned(), trace.clone())).collect()
    }

    /// The metadata as environment variables: Lambda's headers, spelled as CGI spells headers, and the trace under the name
    /// that X-Ray's libraries look for. What is absent is unset.
    pub fn variables(&self) -> Vec<(String, String)> {
        let Self {
            request_id,
            deadline,
            invoked_function_arn,
            trace_id,
            client_context,
            identity,
            tenant_id,
        } = self;
        [
            ("LAMBDA_RUNTIME_AWS_REQUEST_ID", Some(request_id)),
            ("LAMBDA_RUNTIME_DEADLINE_MS", Some(&deadline.unix_ms.to_string())),
            ("LAMBDA_RUNTIME_INVOKED_FUNCTION_ARN", invoked_function_arn.as_ref()),
            ("LAMBDA_RUNTIME_TRACE_ID", trace_id.as_ref()),
            ("LAMBDA_RUNTIME_CLIENT_CONTEXT", client_context.as_ref()),
            ("LAMBDA_RUNTIME_COGNITO_IDENTITY", identity.as_ref()),
            ("LAMBDA_RUNTIME_AWS_TENANT_ID", tenant_id.as_ref()),
            (TRACE_VARIABLE, trace_id.as_ref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.clone())))
        .collect()
    }
}

/// What the platform calls the function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FunctionIdentity {
    /// The name.
    pub name: String,
    /// A number, or `$LATEST`.
    pub version: String,
    /// Configured memory in MiB.
    pub memory_mb: u32,
    /// The CloudWatch log group.
    pub log_group: Option<String>,
    /// The CloudWatch log stream.
    pub log_stream: Option<String>,
}

/// `Lambda-Runtime-Deadline-Ms` as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadlineHeader {
    /// Missing or empty.
    Absent,
    /// Milliseconds since the Unix epoch.
    At(u64),
    /// Not a number.
    Malformed(String),
}

/// How deadlines are made from headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadlinePolicy {
    /// How long before Lambda's deadline the guest is stopped, so that the answer still arrives.
    pub margin: Duration,
    /// The time an event gets if Lambda names no deadline.
    pub default_timeout: Duration,
}

/// One absolute instant, fixed when the event arrives. Later jumps of the wall clock do not move it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadline {
    /// When the guest is stopped, on the monotonic clock.
    pub instant: Instant,
    /// The same instant in milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// When Lambda itself gives up, on the monotonic clock.
    pub platform: Instant,
    /// What was odd about the header, if anything was.
    pub remark: Option<String>,
}

impl Deadline {
    /// The deadline of an event that arrived at `now`.
    ///
    /// The time left is clamped to between 1 ms and 90 minutes. The margin is never more than half of it, so that a short
    /// timeout still leaves the guest time to work.
    pub fn new(header: &DeadlineHeader, policy: &DeadlinePolicy, now: Instant, wall_clock: SystemTime) -> Self {
        let wall_clock_ms =
            u64::try_from(wall_clock.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        let (left, remark) = match header {
            DeadlineHeader::Absent => (policy.default_timeout, None),
            DeadlineHeader::Malformed(text) => (
                policy.default_timeout,
                Some(format!(
                    "the deadline header {text:?} is not a number of milliseconds; using the default timeout"
                )),
            ),
            DeadlineHeader::At(unix_ms) => {
                let left = Duration::from_millis(unix_ms.saturating_sub(wall_clock_ms));
                let remark = if left > LONGEST_TIMEOUT {
                    Some(format!(
                        "the deadline header {unix_ms} lies beyond Lambda's longest timeout; using that"
                    ))
                } else if left.is_zero() {
                    Some(format!("the deadline header {unix_ms} lies in the past"))
                } else {
                    None
                };
                (left, remark)
            }
        };
        let left = left.clamp(Duration::from_millis(1), LONGEST_TIMEOUT);
        let guest_time = left - policy.margin.min(left / 2);
        Self {
            instant: now + guest_time,
            unix_ms: wall_clock_ms.saturating_add(u64::try_from(guest_time.as_millis()).unwrap_or(u64::MAX)),
            platform: now + left,
            remark,
        }
    }
}

impl Deadline {
    /// When the guest is stopped if it may run for `timeout` at most, from now on.
    pub fn sooner(&self, timeout: Option<Duration>) -> Instant {
        match timeout {
            Some(timeout) => self.instant.min(Instant::now() + timeout),
            None => self.instant,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: DeadlinePolicy = DeadlinePolicy {
        margin: Duration::from_millis(100),
        default_timeout: Duration::from_secs(900),
    };

    fn guest_time(header: &DeadlineHeader) -> Duration {
        let now = Instant::now();
        Deadline::new(header, &POLICY, now, UNIX_EPOCH + Duration::from_secs(1000)).instant - now
    }

    #[test]
    fn the_guest_is_stopped_a_margin_before_lambda_gives_up() {
        assert_eq!(guest_time(&DeadlineHeader::At(1_003_000)), Duration::from_millis(2900));
    }

    #[test]
    fn the_margin_leaves_the_guest_half_of_a_short_timeout() {
        assert_eq!(guest_time(&DeadlineHeader::At(1_000_100)), Duration::from_millis(50));
    }

    // Conformance statement 42.
    #[test]
    fn a_deadline_in_the_past_or_far_away_is_clamped() {
        assert!(guest_time(&DeadlineHeader::At(0)) <= Duration::from_millis(1));
        assert!(guest_time(&DeadlineHeader::At(u64::MAX)) <= LONGEST_TIMEOUT);
    }

    #[test]
    fn a_missing_or_malformed_deadline_becomes_the_default_timeout() {
        let default = POLICY.default_timeout - POLICY.margin;
        assert_eq!(guest_time(&DeadlineHeader::Absent), default);
        assert_eq!(guest_time(&DeadlineHeader::Malformed("soon".into())), default);
    }
}
