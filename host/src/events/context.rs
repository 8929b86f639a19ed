//! What a guest learns of the invocation, in the request headers that users of AWS's Lambda Web Adapter know.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, MaxSizeReached};
use serde::Serialize;
use serde_json::value::RawValue;

use super::headers;
use super::json::{Object, Value};

/// The event's `requestContext`, as it stands in the event.
const REQUEST_CONTEXT: HeaderName = HeaderName::from_static("x-amzn-request-context");
/// The invocation, as [`LambdaContext`] writes it.
const LAMBDA_CONTEXT: HeaderName = HeaderName::from_static("x-amzn-lambda-context");
/// The tenant of a tenant-isolated function.
const TENANT_ID: HeaderName = HeaderName::from_static("x-amz-tenant-id");
/// The X-Ray trace header of the invocation, unless the front door sent one.
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// The metadata of one invocation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LambdaContext<'a> {
    /// Opaque.
    pub request_id: &'a str,
    /// When the invocation ends, in milliseconds since the Unix epoch.
    pub deadline_ms: u64,
    /// The ARN as the caller gave it.
    pub invoked_function_arn: Option<&'a str>,
    /// The X-Ray trace header.
    pub trace_id: Option<&'a str>,
    /// JSON text of the caller's. What cannot be understood of it is left out.
    pub client_context: Option<&'a str>,
    /// JSON text of the caller's. What cannot be understood of it is left out.
    pub identity: Option<&'a str>,
    /// The tenant of a tenant-isolated function.
    pub tenant_id: Option<&'a str>,
    /// The function's name.
    pub function_name: &'a str,
    /// The function's version: a number, or `$LATEST`.
    pub function_version: &'a str,
    /// The function's memory, in MiB.
    pub memory_mb: u32,
    /// The CloudWatch log group.
    pub log_group: Option<&'a str>,
    /// The CloudWatch log stream.
    pub log_stream: Option<&'a str>,
}

/// Whether only the host may set that header, so that a client's copy must not reach the guest.
pub(super) fn is_reserved(name: &HeaderName) -> bool {
    [REQUEST_CONTEXT, LAMBDA_CONTEXT, TENANT_ID].contains(name)
}

impl LambdaContext<'_> {
    /// Adds the headers that say it. `request_context` is a part of `event`.
    pub(super) fn add_to(
        &self,
        headers: &mut HeaderMap,
        event: &Bytes,
        request_context: Option<Value<'_>>,
    ) -> Result<(), MaxSizeReached> {
        if let Some(context) = request_context {
            headers.try_insert(REQUEST_CONTEXT, headers::json_value_in(event, context.json()))?;
        }
        headers.try_insert(LAMBDA_CONTEXT, self.json())?;
        if let Some(tenant_id) = self.tenant_id {
            headers.try_insert(TENANT_ID, headers::value(tenant_id))?;
        }
        if let Some(trace_id) = self.trace_id
            && !headers.contains_key(TRACE_ID)
        {
            headers.try_insert(TRACE_ID, headers::value(trace_id))?;
        }
        Ok(())
    }

    /// The members and names that the type `Context` of AWS's Rust runtime has when it is serialised.
    fn json(&self) -> HeaderValue {
        let client_context = self.client_context.and_then(Object::parse);
        let identity = self.identity.and_then(Object::parse);
        let json = serde_json::to_string(&ContextJson {
            request_id: self.request_id,
            deadline: self.deadline_ms,
            invoked_function_arn: self.invoked_function_arn.unwrap_or_default(),
            xray_trace_id: self.trace_id,
            client_context: client_context.as_ref().map(ClientContextJson::new),
            identity: identity.as_ref().map(IdentityJson::new),
            tenant_id: self.tenant_id,
            env_config: ConfigJson {
                function_name: self.function_name,
                memory: self.memory_mb,
                version: self.function_version,
                log_stream: self.log_stream.unwrap_or_default(),
                log_group: self.log_group.unwrap_or_default(),
            },
        });
        headers::json_value(json.expect("texts, numbers and JSON can be written as JSON"))
    }
}

#[derive(Serialize)]
struct ContextJson<'a> {
    request_id: &'a str,
    deadline: u64,
    invoked_function_arn: &'a str,
    xray_trace_id: Option<&'a str>,
    client_context: Option<ClientContextJson<'a>>,
    identity: Option<IdentityJson<'a>>,
    tenant_id: Option<&'a str>,
    env_config: ConfigJson<'a>,
}

#[derive(Serialize)]
struct ConfigJson<'a> {
    function_name: &'a str,
    memory: u32,
    version: &'a str,
    log_stream: &'a str,
    log_group: &'a str,
}

#[derive(Serialize)]
struct ClientContextJson<'a> {
    client: ClientJson<'a>,
    custom: &'a RawValue,
    environment: &'a RawValue,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct ClientJson<'a> {
    installation_id: Cow<'a, str>,
    app_title: Cow<'a, str>,
    app_version_name: Cow<'a, str>,
    app_version_code: Cow<'a, str>,
    app_package_name: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IdentityJson<'a> {
    identity_id: Cow<'a, str>,
    identity_pool_id: Cow<'a, str>,
}

impl<'a> ClientContextJson<'a> {
    fn new(context: &Object<'a>) -> Self {
        Self {
            client: context
                .object("client")
                .map(|client| ClientJson::new(&client))
                .unwrap_or_default(),
            custom: object_or_empty(context, &["custom"]),
            environment: object_or_empty(context, &["environment", "env"]),
        }
    }
}

impl<'a> ClientJson<'a> {
    fn new(client: &Object<'a>) -> Self {
        Self {
            installation_id: text(client, &["installationId", "installation_id"]),
            app_title: text(client, &["appTitle", "app_title"]),
            app_version_name: text(client, &["appVersionName", "app_version_name"]),
            app_version_code: text(client, &["appVersionCode", "app_version_code"]),
            app_package_name: text(client, &["appPackageName", "app_package_name"]),
        }
    }
}

impl<'a> IdentityJson<'a> {
    fn new(identity: &Object<'a>) -> Self {
        Self {
            identity_id: text(identity, &["identityId", "cognitoIdentityId", "identity_id"]),
            identity_pool_id: text(
                identity,
                &["identityPoolId", "cognitoIdentityPoolId", "identity_pool_id"],
            ),
        }
    }
}

/// The first of these members that is there.
fn text<'a>(object: &Object<'a>, names: &[&str]) -> Cow<'a, str> {
    names.iter().find_map(|name| object.text(name)).unwrap_or_default()
}

fn object_or_empty<'a>(object: &Object<'a>, names: &[&str]) -> &'a RawValue {
    names
        .iter()
        .filter_map(|name| object.get(name))
        .find(|value| value.object().is_some())
        .map_or_else(|| serde_json::from_str("{}").expect("`{}` is JSON"), Value::raw)
}
