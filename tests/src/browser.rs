//! Headless Chromium with one page open, told what to do through its debugging pipe.
//!
//! The protocol is that of the Chrome developer tools: JSON objects, each ended by a zero byte. Calls block.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::PATIENCE;
use crate::tools;

/// Chromium takes commands on descriptor 3 and answers on 4. As root it runs without its sandbox only.
const COMMAND: &str = r#"exec chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-extensions \
    --disable-background-networking --disable-component-update --no-first-run --hide-scrollbars --force-color-profile=srgb \
    --remote-debugging-pipe --user-data-dir="$1" about:blank 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;

/// A browser with one page, killed when this is dropped.
#[derive(Debug)]
pub struct Browser {
    process: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    session: Option<String>,
    calls: u64,
    complaints: Vec<String>,
    /// Removed when dropped.
    _profile: TempDir,
}

/// How a page looks.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// In CSS pixels.
    pub width: u32,
    /// In CSS pixels.
    pub height: u32,
    /// Whether it prefers dark colours.
    pub is_dark: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            width: 1440,
            height: 960,
            is_dark: false,
        }
    }
}

impl Browser {
    /// Opens a page.
    ///
    /// # Panics
    ///
    /// If Chromium cannot be installed, or started.
    pub fn open(url: &str, look: Look) -> Self {
        tools::require(&["chromium"], "or leave out the tests of the page");
        let profile = TempDir::new().expect("there is room for a profile");
        let mut command = Command::new("sh");
        command.args(["-c", COMMAND, "sh"]).arg(profile.path());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = command.spawn().expect("a shell can be started");
        let commands = process.stdin.take().expect("stdin is piped");
        let mut output = BufReader::new(process.stdout.take().expect("stdout is piped"));
        let (sender, messages) = mpsc::channel();
        thread::spawn(move || {
            let mut message = Vec::new();
            while output.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                message.pop();
                let message = std::mem::take(&mut message);
                let value = serde_json::from_slice(&message).expect("the browser speaks JSON");
                if sender.send(value).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self {
            process,
            commands,
            messages,
            session: None,
            calls: 0,
            complaints: Vec::new(),
            _profile: profile,
        };
        browser.prepare(url, look);
        browser
    }

    fn prepare(&mut self, url: &str, look: Look) {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached = self.call(
            "Target.attachToTarget",
            json!({ "targetId": target["targetId"], "flatten": true }),
        );
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            self.call(domain, json!({}));
        }
        let Look { width, height, is_dark } = look;
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false }),
        );
        let scheme = if is_dark { "dark" } else { "light" };
        let features = [json!({ "name": "prefers-color-scheme", "value": scheme })];
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
        self.call("Page.navigate", json!({ "url": url }));
    }

    /// The value of an expression in the page; of a promise, what it comes to.
    ///
    /// # Panics
    ///
    /// If it throws, or takes longer than [`PATIENCE`].
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let arguments = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", arguments);
        let thrown = &answer["exceptionDetails"];
        assert!(thrown.is_null(), "{expression}: {thrown}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true, and returns its value.
    ///
    /// # Panics
    ///
    /// If it is not within [`PATIENCE`], with what the page shows.
    pub fn wait_for(&mut self, expression: &str) -> Value {
        let patience = PATIENCE.as_millis();
        let value = self.evaluate(&format!(
            "new Promise((resolve) => {{
                const end = Date.now() + {patience} / 2;
                const look = () => {{
                    let value = null;
                    // The page may be on its way.
                    try {{ value = {expression}; }} catch {{}}
                    if (value || Date.now() > end) resolve(value); else setTimeout(look, 10);
                }};
                look();
            }})"
        ));
        if matches!(value, Value::Null | Value::Bool(false)) {
            let text = self.evaluate("document.body.innerText");
            panic!("{expression} did not become true: {}\n{:?}", text, self.complaints);
        }
        value
    }

    /// Clicks in the middle of the element of that selector, as a mouse does.
    ///
    /// # Panics
    ///
    /// If there is none that is visible within [`PATIENCE`].
    pub fn click(&mut self, selector: &str) {
        let selector = json!(selector);
        let place = self.wait_for(&format!(
            "(() => {{
                const element = document.querySelector({selector});
                element.scrollIntoView({{ block: 'nearest' }});
                const {{ x, y, width, height }} = element.getBoundingClientRect();
                return width > 0 && {{ x: x + width / 2, y: y + height / 2 }};
            }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let arguments =
                json!({ "type": kind, "x": place["x"], "y": place["y"], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", arguments);
        }
    }

    /// What is seen, as a PNG file.
    ///
    /// # Panics
    ///
    /// If the browser does not make one.
    pub fn picture(&mut self) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let data = answer["data"].as_str().expect("a picture has data");
        STANDARD.decode(data).expect("a picture comes in base64")
    }

    /// What was thrown, refused by the page's policy, or written to the console until now.
    pub fn complaints(&mut self) -> &[String] {
        // An answer comes after what has happened before.
        self.evaluate("0");
        &self.complaints
    }

    fn call(&mut self, method: &str, arguments: Value) -> Value {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": arguments });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut message = message.to_string().into_bytes();
        message.push(0);
        self.commands.write_all(&message).expect("the browser takes commands");
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let answer = self.messages.recv_timeout(left);
            let answer = answer.unwrap_or_else(|error| panic!("the browser does not answer {method}: {error}"));
            if answer["id"] == json!(self.calls) {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            if let Some("Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded") =
                answer["method"].as_str()
            {
                self.complaints.push(answer["params"].to_string());
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its other processes end when this one does.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
