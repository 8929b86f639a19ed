//! What the file says of one function. What it leaves out is `None`; the defaults are of those who use the values.

use serde::Deserialize;

use super::grants::Grants;
use super::values::{Argument, Count, Name, Size, Timeout, UrlPath, Variables, table};
use crate::function::Isolation;

table! {
    Function: "a table of a function's keys",
    LimitSettings: "a table of limits",
}

/// One function: a component and how it is to be run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", remote = "Self")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Function {
    /// The file of the component in the task root, without its extension. Default: the function's name.
    pub component: Option<Name>,
    /// The world the component is called through. Needed only where a component exports more than one.
    pub world: Option<World>,
    /// How long an instance lives.
    pub isolation: Option<Isolation>,
    /// Whether `orlop build` runs the component's `init` and takes a snapshot of what it leaves, which every sandbox then
    /// starts from.
    pub snapshot: Option<bool>,
    /// Whether the answer is sent as a whole or as it comes.
    pub response_mode: Option<ResponseMode>,
    /// Whether a batch of records goes to the guest as a whole or record by record.
    pub batch: Option<BatchMode>,
    /// How many records of a batch are worked on at a time, in `record` mode.
    pub batch_concurrency: Option<Count>,
    /// One call of the guest is stopped after this, if Lambda's deadline is not sooner.
    pub timeout: Option<Timeout>,
    /// The arguments of a program, after its name. For the command world.
    pub args: Vec<Argument>,
    /// Taken off the beginning of a request's path, once, where a segment ends. For the http world.
    pub base_path: Option<UrlPath>,
    /// Whether an HTTP API's stage is taken off the beginning of a request's path. For the http world.
    pub strip_stage: Option<bool>,
    /// The path to which events that are no HTTP requests are posted. For the http world.
    pub pass_through_path: Option<UrlPath>,
    /// Variables that are added to what the guest sees.
    pub environment: Variables,
    /// What one sandbox may use.
    pub limits: LimitSettings,
    /// What one sandbox may do beyond computing.
    pub grants: Grants,
}

/// The world that a component is called through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum World {
    /// `orlop:function/handler`: bytes in, bytes out.
    Handler,
    /// `wasi:http`: a request in, a response out.
    Http,
    /// `wasi:cli/run`: the event on stdin, the answer on stdout.
    Command,
}

/// How an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ResponseMode {
    /// As a whole, when it is complete.
    Buffered,
    /// As it comes.
    Streaming,
}

/// How a batch of records reaches the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum BatchMode {
    /// Untouched, in one call.
    Whole,
    /// One call per record; the host reports which of them failed.
    Record,
}

/// What one sandbox may use. Each has the meaning of the variable `ORLOP_LIMIT_*` of the same name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case", remote = "Self")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LimitSettings {
    /// Linear memory, summed over all memories.
    pub memory: Option<Size>,
    /// The number of linear memories.
    pub memories: Option<Count>,
    /// The number of tables.
    pub tables: Option<Count>,
    /// Entries, summed over all tables.
    pub table_entries: Option<Count>,
    /// The number of core instances.
    pub instances: Option<Count>,
    /// The stack of compiled code.
    pub stack: Option<Size>,
    /// Handles to resources that the guest holds.
    pub handles: Option<Count>,
    /// Files, streams and pollables that the host holds for the guest.
    pub resources: Option<Count>,
    /// Data that the guest may pass to the host in one call.
    pub host_call_data: Option<Size>,
    /// Random bytes that the guest may ask for in one call.
    pub random: Option<Size>,
    /// Output to stdout and stderr per event; the rest is cut off with a notice.
    pub output: Option<Size>,
    /// Files in the guest's own `/tmp`, the sum of their sizes.
    pub tmp: Option<Size>,
    /// Files, directories and links in the guest's own `/tmp`.
    pub tmp_entries: Option<Count>,
}

/// How long an instance lives.
#[derive(Deserialize)]
#[serde(remote = "Isolation", rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Isolation"))]
enum IsolationWords {
    /// One event; the next one finds a fresh instance.
    Event,
    /// Until the instance fails or the execution environment ends.
    Environment,
    /// As `environment`, but no instance ever serves two tenants.
    Tenant,
}

impl<'de> Deserialize<'de> for Isolation {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IsolationWords::deserialize(deserializer)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Isolation {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        IsolationWords::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        IsolationWords::json_schema(generator)
    }
}
