//! What `orlop dev` says when it is ready: where everything is, and three commands to try.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::examples::{self, Found};
use super::plan::Plan;

/// All that there is to say.
pub(super) struct Introduction<'a> {
    pub(super) name: &'a str,
    pub(super) front: &'a str,
    pub(super) aws: &'a str,
    /// The queue's URL.
    pub(super) queue: Option<&'a str>,
    /// Whether the queue is one of this program's own.
    pub(super) is_queue_here: bool,
    pub(super) plan: &'a Plan,
    /// Where the example events are.
    pub(super) folder: &'a Path,
}

impl Introduction<'_> {
    /// Says it on stderr; stdout is for the log.
    pub(super) fn print(&self) {
        let Self {
            name,
            front,
            aws,
            queue,
            ..
        } = *self;
        let mut text = format!("\n{name} is served. Ctrl-C ends it.\n\n  HTTP    {front}/\n");
        // Writing to a String does not fail.
        if let Some(queue) = queue {
            let _ = writeln!(text, "  queue   {queue}");
        }
        let _ = writeln!(text, "  page    {aws}/\n  AWS     AWS_ENDPOINT_URL={aws}\n\nTry:\n");
        for command in self.commands() {
            let _ = writeln!(text, "  {command}");
        }
        eprintln!("{text}");
    }

    /// One command for each door, with the project's own example events where they fit.
    fn commands(&self) -> Vec<String> {
        let Self { front, aws, plan, .. } = *self;
        let examples = examples::find(self.folder, &plan.main);
        let request = examples.iter().find_map(|found| request_of(found, front));
        let mut commands = vec![request.unwrap_or_else(|| format!("curl -i {front}/"))];
        let event = match examples.first() {
            Some(found) => quoted(&format!("@{}", shown(&found.path))),
            None => "'{}'".to_owned(),
        };
        commands.push(format!(
            "curl -d {event} {aws}/2015-03-31/functions/{}/invocations",
            plan.main
        ));
        if let (Some(url), true) = (self.queue, self.is_queue_here) {
            let body = examples.iter().find_map(message_of).unwrap_or_else(|| "{}".to_owned());
            let message = serde_json::json!({ "QueueUrl": url, "MessageBody": body }).to_string();
            commands.push(format!(
                "curl -H 'X-Amz-Target: AmazonSQS.SendMessage' -H 'Content-Type: application/x-amz-json-1.0' \\\n    -d {} {aws}",
                quoted(&message)
            ));
        }
        commands
    }
}

/// The request that an example event of an HTTP API, a Function URL, a REST API or a load balancer stands for.
fn request_of(found: &Found, front: &str) -> Option<String> {
    let event: Value = serde_json::from_str(&found.example.payload).ok()?;
    let http = &event["requestContext"]["http"];
    let method = http["method"].as_str().or_else(|| event["httpMethod"].as_str())?;
    let path = event["rawPath"].as_str().or_else(|| event["path"].as_str())?;
    let query = event["rawQueryString"].as_str().filter(|query| !query.is_empty());
    let url = format!(
        "{front}{path}{}",
        query.map(|query| format!("?{query}")).unwrap_or_default()
    );
    let mut command = "curl -i".to_owned();
    if method != "GET" {
        command += &format!(" -X {}", quoted(method));
    }
    if let Some(body) = event["body"].as_str().filter(|body| !body.is_empty()) {
        if event["isBase64Encoded"] == true {
            return None;
        }
        if let Some(content_type) = event["headers"]["content-type"].as_str() {
            command += &format!(" -H {}", quoted(&format!("content-type: {content_type}")));
        }
        command += &format!(" -d {}", quoted(body));
    }
    Some(format!("{command} {}", quoted(&url)))
}

/// The body of the first message in an example event of a queue.
fn message_of(found: &Found) -> Option<String> {
    let event: Value = serde_json::from_str(&found.example.payload).ok()?;
    let record = &event["Records"][0];
    let is_message = record["eventSource"] == "aws:sqs";
    record["body"].as_str().filter(|_| is_message).map(str::to_owned)
}

/// A path as the user may type it.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let relative = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    relative.unwrap_or_else(|| path.to_owned()).display().to_string()
}

/// A word for a shell, whatever is in it.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@=,+%".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(payload: &str) -> Found {
        Found {
            path: "event.json".into(),
            example: orlop_local::page::Example {
                name: "event".to_owned(),
                function: "function".to_owned(),
                payload: payload.to_owned(),
            },
        }
    }

    #[test]
    fn an_example_request_becomes_a_command_for_a_shell() {
        let event = found(
            r#"{"requestContext":{"http":{"method":"POST"}},"rawPath":"/orders","rawQueryString":"a=1&b=2",
                "headers":{"content-type":"application/json"},"body":"{\"name\":\"O'Hara\"}"}"#,
        );
        assert_eq!(
            request_of(&event, "http://127.0.0.1:3000").unwrap(),
            r#"curl -i -X POST -H 'content-type: application/json' -d '{"name":"O'\''Hara"}' 'http://127.0.0.1:3000/orders?a=1&b=2'"#
        );
        let event = found(r#"{"httpMethod":"GET","path":"/orders/1"}"#);
        assert_eq!(request_of(&event, "http://x").unwrap(), "curl -i http://x/orders/1");
        assert_eq!(request_of(&found(r#"{"Records":[]}"#), "http://x"), None);
    }
}
