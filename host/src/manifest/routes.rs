//! Which function an event is for.

use serde::Deserialize;

use super::facts::EventFacts;
use super::patterns::{ArnPattern, Methods, PathPattern, Source};
use super::values::{Name, table};

table! {
    Route: "a table of a route's keys",
}

/// The source of HTTP events, in routes.
pub const HTTP_SOURCE: &str = "http";

/// The routes, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(inline))]
pub struct Routes(Vec<Route>);

impl Routes {
    /// The function of the first route whose every condition holds.
    pub fn choose(&self, facts: &EventFacts<'_>) -> Option<&str> {
        let route = self.0.iter().find(|route| route.holds(facts))?;
        Some(route.function.as_str())
    }

    /// The routes, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }
}

/// One route: a function, and the conditions under which an event is for it. Without conditions, every event is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", remote = "Self")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Route {
    /// The function, one of `[functions]`.
    pub function: Name,
    /// The handler's name that the process was started with.
    pub handler: Option<Name>,
    /// The method of an HTTP event, or several.
    pub method: Option<Methods>,
    /// The path of an HTTP event, with `{name}` for one segment and `{name+}` at the end for all that follow.
    pub path: Option<PathPattern>,
    /// The ARN of the queue, stream, topic, bucket or rule that an event comes from, with `*` within a part.
    pub arn: Option<ArnPattern>,
    /// `http`, or what AWS writes into the event, such as `aws:sqs` or `aws.events`.
    pub source: Option<Source>,
}

impl Route {
    fn holds(&self, facts: &EventFacts<'_>) -> bool {
        let method = facts.http.map(|(method, _)| method);
        let path = facts.http.map(|(_, path)| path);
        let source = match facts.http {
            Some(_) => Some(HTTP_SOURCE),
            None => facts.source.as_deref(),
        };
        let holds_handler = |name: &Name| facts.handler == Some(name.as_str());
        self.handler.as_ref().is_none_or(holds_handler)
            && holds(self.method.as_ref(), method, Methods::contain)
            && holds(self.path.as_ref(), path, PathPattern::matches)
            && holds(self.arn.as_ref(), facts.arn.as_deref(), ArnPattern::matches)
            && holds(self.source.as_ref(), source, |known, source| known.as_str() == source)
    }

    /// Why no event can meet all conditions at once, if so.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        let wants_http = self.method.is_some() || self.path.is_some();
        let source_is_http = self.source.as_ref().map(|source| source.as_str() == HTTP_SOURCE);
        if self.arn.is_some() && (wants_http || source_is_http == Some(true)) {
            Some("HTTP events have a method and a path, other events have an ARN, and no event has both")
        } else if wants_http && source_is_http == Some(false) {
            Some("only events of the source \"http\" have a method and a path")
        } else {
            None
        }
    }
}

/// Whether a condition that may be absent holds for a fact that may be.
fn holds<C>(condition: Option<&C>, fact: Option<&str>, matches: impl Fn(&C, &str) -> bool) -> bool {
    match (condition, fact) {
        (None, _) => true,
        (Some(condition), Some(fact)) => matches(condition, fact),
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;

    fn routes(text: &str) -> Routes {
        let functions = "[functions.a]\n[functions.b]\n[functions.c]\n[functions.d]\n";
        Manifest::parse(&format!("{functions}{text}")).unwrap().routes
    }

    fn http<'a>(method: &'a str, path: &'a str) -> EventFacts<'a> {
        EventFacts {
            http: Some((method, path)),
            ..EventFacts::default()
        }
    }

    #[test]
    fn the_first_route_whose_every_condition_holds_wins() {
        let routes = routes(
            "[[routes]]\nfunction = 'a'\nmethod = ['POST', 'PUT']\npath = '/orders/{id}'\n\
             [[routes]]\nfunction = 'b'\nsource = 'http'\n\
             [[routes]]\nfunction = 'c'\narn = 'arn:aws:sqs:*:*:orders'\n\
             [[routes]]\nfunction = 'd'\nsource = 'aws.events'\nhandler = 'clock'\n",
        );
        assert_eq!(routes.choose(&http("PUT", "/orders/1")), Some("a"));
        assert_eq!(routes.choose(&http("GET", "/orders/1")), Some("b"));
        let queue = br#"{"Records":[{"eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:x:1:orders"}]}"#;
        assert_eq!(routes.choose(&EventFacts::of(queue)), Some("c"));
        let clock = EventFacts::of(br#"{"detail-type":"Scheduled Event","source":"aws.events"}"#);
        assert_eq!(routes.choose(&clock), None);
        let clock = EventFacts {
            handler: Some("clock"),
            ..clock
        };
        assert_eq!(routes.choose(&clock), Some("d"));
        assert_eq!(routes.choose(&EventFacts::of(b"{}")), None);
        assert_eq!(Routes::default().choose(&EventFacts::default()), None);
    }

    #[test]
    fn a_route_without_conditions_takes_every_event() {
        let routes = routes("[[routes]]\nfunction = 'a'\n");
        assert_eq!(routes.choose(&EventFacts::default()), Some("a"));
        assert_eq!(routes.choose(&http("GET", "/")), Some("a"));
    }

    #[test]
    fn an_http_event_cannot_pose_as_one_of_a_queue() {
        let routes = routes("[[routes]]\nfunction = 'a'\nsource = 'aws:sqs'\n");
        let facts = EventFacts {
            source: Some("aws:sqs".into()),
            ..http("POST", "/")
        };
        assert_eq!(routes.choose(&facts), None);
    }
}
