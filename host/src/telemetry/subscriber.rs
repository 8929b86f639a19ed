//! `tracing` events become log lines. The span of an invocation gives each line its request id.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use super::{Level, Log, Origin, field};
use crate::error::chain;

/// A subscriber that writes to `log`.
pub(super) fn subscriber(log: Arc<Log>) -> impl Subscriber + Send + Sync {
    Registry::default().with(LogLayer { log })
}

struct LogLayer {
    log: Arc<Log>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        // Spans carry the request id whatever the level; events of the engine's own crates are not for operators.
        metadata.is_span() && metadata.target().starts_with("orlop")
            || metadata.target().starts_with("orlop") && self.log.is_enabled(level(metadata.level()))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut origin = OriginFields::default();
        attributes.record(&mut origin);
        let OriginFields(origin) = origin;
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(origin);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields(mut fields) = fields;
        let message = match fields.remove("message") {
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let origin = context
            .event_span(event)
            .and_then(|span| span.extensions().get::<Origin>().cloned())
            .unwrap_or_default();
        self.log
            .host_line(level(event.metadata().level()), &origin, &message, fields);
    }
}

fn level(level: &tracing::Level) -> Level {
    match *level {
        tracing::Level::TRACE => Level::Trace,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::INFO => Level::Info,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::ERROR => Level::Error,
    }
}

/// Takes from a span's fields what says where a line comes from. Once per event, so it makes nothing but the two strings.
#[derive(Default)]
struct OriginFields(Origin);

impl Visit for OriginFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            field::REQUEST_ID => self.0.request_id = Some(value.to_owned()),
            field::TENANT_ID => self.0.tenant_id = Some(value.to_owned()),
            _ => {}
        }
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn fmt::Debug) {}
}

/// Collects fields under their camel-case names.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn insert(&mut self, field: &Field, value: Value) {
        self.0.insert(camel_case(field.name()), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let value = if field.name() == field::STACK_TRACE {
            if value.is_empty() {
                return;
            }
            value.lines().map(Value::from).collect()
        } else {
            Value::from(value)
        };
        self.insert(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.insert(field, chain(value).into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }
}

fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut characters = part.chars();
        camel.extend(characters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(characters.as_str());
    }
    camel
}
