//! Server-sent events: one, a pause, the next; a plain `wasi:http` component.
//!
//! `GET /?count=3&interval=200ms` sends three ticks and then `end`, after which a page closes its `EventSource`; it
//! would connect again otherwise. What is written leaves at once where the deployment streams responses.

use futures_lite::stream;
use std::time::Duration;
use wstd::http::{Body, Error, Method, Request, Response, StatusCode};

const MOST_EVENTS: u32 = 10_000;
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here");
    }
    let schedule = match Schedule::parse(request.uri().query().unwrap_or_default()) {
        Ok(schedule) => schedule,
        Err(message) => return refuse(StatusCode::BAD_REQUEST, &message),
    };
    Ok(Response::builder()
        .header("content-type", "text/event-stream")
        .header("cache-control", "no-store")
        .body(events(schedule))?)
}

fn events(schedule: Schedule) -> Body {
    Body::from_stream(stream::unfold(1, move |number| async move {
        if number > 1 && number <= schedule.count {
            wstd::task::sleep(schedule.interval.into()).await;
        }
        Some((schedule.event(number)?, number + 1))
    }))
}

/// When there is something to say.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Schedule {
    count: u32,
    interval: Duration,
}

impl Schedule {
    fn parse(query: &str) -> Result<Self, String> {
        let mut schedule = Self {
            count: 3,
            interval: Duration::from_secs(1),
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "count" => {
                    let count = value.parse().ok().filter(|count| *count <= MOST_EVENTS);
                    schedule.count = count.ok_or(format!("count is a number up to {MOST_EVENTS}"))?;
                }
                "interval" => {
                    let interval = humantime::parse_duration(&value).ok();
                    let interval = interval.filter(|interval| *interval <= LONGEST_INTERVAL);
                    schedule.interval = interval.ok_or("interval is a time such as 200ms or 2s, up to 60s")?;
                }
                _ => {}
            }
        }
        Ok(schedule)
    }

    /// The ticks, which are counted from 1, and one event after them.
    fn event(&self, number: u32) -> Option<String> {
        let Self { count, .. } = self;
        if number <= *count {
            Some(format!(
                "id: {number}\nevent: tick\ndata: {{\"number\":{number},\"of\":{count}}}\n\n"
            ))
        } else {
            (number == count + 1).then(|| "event: end\ndata: {}\n\n".to_owned())
        }
    }
}

fn refuse(status: StatusCode, message: &str) -> Result<Response<Body>, Error> {
    let mut response = Response::builder()
        .status(status)
        .header("content-type", "text/plain; charset=utf-8");
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response = response.header("allow", "GET, HEAD");
    }
    Ok(response.body(format!("{message}\n").into())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_says_how_many_and_how_fast() {
        let schedule = Schedule::parse("interval=200ms&other=1&count=2").unwrap();
        let expected = Schedule {
            count: 2,
            interval: Duration::from_millis(200),
        };
        assert_eq!(schedule, expected);
        for query in [
            "count=",
            "count=-1",
            "count=10001",
            "interval=5",
            "interval=61s",
            "interval=1h",
        ] {
            assert!(Schedule::parse(query).is_err(), "{query}");
        }
    }

    #[test]
    fn after_the_last_tick_comes_the_end_and_nothing_more() {
        let schedule = Schedule::parse("count=1").unwrap();
        assert!(schedule.event(1).unwrap().starts_with("id: 1\nevent: tick\n"));
        assert_eq!(schedule.event(2).unwrap(), "event: end\ndata: {}\n\n");
        assert_eq!(schedule.event(3), None);
    }
}
