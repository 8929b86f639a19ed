//! The stock `wasmtime` command as the measure: what it makes of a component, a host of ours has to make of it too.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use sha2::{Digest, Sha256};

use crate::fake_runtime_api::{Headers, Source, header_line, response_framing};
use crate::process::{PATIENCE, Process};
use crate::tools::{self, WASMTIME_VERSION};

/// What `wasmtime serve` says once it listens, before its address.
const LISTENING: &str = "Serving HTTP on http://";

/// Runs a component, or a core module, under `wasmtime run` to its end.
///
/// It gets these variables and no others, no file and no socket; `wasi:http` is there for a component, as the command's
/// option `-Shttp` has it. Its first argument, the name of the program, is its file name.
///
/// # Panics
///
/// If `wasmtime` cannot be run, or does not accept the component.
pub fn stock_run(component: impl AsRef<Path>, arguments: &[&str], stdin: &[u8], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(tools::wasmtime_cli());
    command.args(["run", "--allow-precompiled"]);
    if !is_core_module(component.as_ref()) {
        command.arg("-Shttp");
    }
    for (name, value) in variables {
        command.arg("--env").arg(format!("{name}={value}"));
    }
    command.arg(compiled(component.as_ref())).args(arguments);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let mut pipe = child.stdin.take().expect("stdin is piped");
    thread::scope(|scope| {
        scope.spawn(move || match pipe.write_all(stdin) {
            // It need not read all of it.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => panic!("cannot write to wasmtime: {error}"),
            Ok(()) | Err(_) => {}
        });
        child.wait_with_output().expect("a child can be waited for")
    })
}

/// By the version field, which tells it from a component. The command does not take `-Shttp` for one.
fn is_core_module(path: &Path) -> bool {
    let content = fs::read(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    content.starts_with(b"\0asm\x01\0\0\0")
}

/// A component under `wasmtime serve`, on a port of its own: the [`Process`], which is killed when this is dropped.
///
/// What the component writes appears on the process's stdout and stderr, each line after `stdout [N] :: ` or
/// `stderr [N] :: `.
#[derive(Debug)]
pub struct StockServe {
    process: Process,
    address: SocketAddr,
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its headers, as they were on the wire; those of the connection, such as `transfer-encoding` and `date`,
    /// included.
    pub headers: Headers,
    /// Its body, without the framing; what came of it, if it broke off.
    pub body: Vec<u8>,
    /// Its trailers.
    pub trailers: Headers,
    /// Whether the body ended as its framing demands.
    pub is_whole: bool,
}

impl StockServe {
    /// Serves a component with the interfaces of `wasi:cli`, and waits until the server listens.
    ///
    /// The arguments go to `wasmtime serve`, such as `--env=NAME=VALUE`. Those that change how code is compiled do not
    /// work.
    ///
    /// # Panics
    ///
    /// If it does not listen within [`PATIENCE`].
    pub fn start(component: impl AsRef<Path>, arguments: &[&str]) -> Self {
        let mut command = Command::new(tools::wasmtime_cli());
        command.args(["serve", "--allow-precompiled", "--addr=127.0.0.1:0", "-Scli"]);
        command.args(arguments).arg(compiled(component.as_ref()));
        let process = Process::start(command);
        let line = process.wait_for_log(|line| line.starts_with(LISTENING));
        let address = line.trim_start_matches(LISTENING).trim_end_matches('/');
        let address = address.parse().expect("wasmtime names its address");
        Self { process, address }
    }

    /// Host and port of the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a request on a connection of its own; `host`, `connection` and, with a body, `content-length` are added.
    ///
    /// # Errors
    ///
    /// As [`Self::send`].
    pub fn request(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Response> {
        let mut request = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
        let address = self.address.to_string();
        let length = body.len().to_string();
        let own = [
            ("host", address.as_str()),
            ("connection", "close"),
            ("content-length", &length),
        ];
        // A request without a body has no length either, as clients send it.
        let own = &own[..if body.is_empty() { 2 } else { 3 }];
        for (name, value) in own.iter().chain(headers) {
            request.extend(header_line(name, value.as_bytes()));
        }
        request.extend(b"\r\n");
        request.extend(body);
        self.send(&request)
    }

    /// Sends these bytes on a connection of its own, and reads one answer.
    ///
    /// They should ask for the connection to be closed; otherwise an answer without a length is waited for in vain.
    ///
    /// # Errors
    ///
    /// If there is no answer with a status within [`PATIENCE`], or none at all because the component failed before it
    /// sent any.
    pub fn send(&self, request: &[u8]) -> io::Result<Response> {
        receive(self.connect(request)?, request.starts_with(b"HEAD "))
    }

    /// As [`Self::send`], but says after these bytes that no more will come.
    ///
    /// # Errors
    ///
    /// As [`Self::send`].
    pub fn send_and_break_off(&self, request: &[u8]) -> io::Result<Response> {
        let stream = self.connect(request)?;
        stream.shutdown(Shutdown::Write)?;
        receive(stream, request.starts_with(b"HEAD "))
    }

    fn connect(&self, request: &[u8]) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request)?;
        Ok(stream)
    }
}

impl Deref for StockServe {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

/// Reads one answer from a connection that asked for it.
pub(crate) fn receive(stream: TcpStream, is_head: bool) -> io::Result<Response> {
    let mut source = Source::new(stream);
    let (status, headers) = source.response_head()?;
    let mut response = Response {
        status,
        headers,
        body: Vec::new(),
        trailers: Headers::new(),
        is_whole: true,
    };
    if is_head || matches!(status, 100..=199 | 204 | 304) {
        return Ok(response);
    }
    let framing = response_framing(&response.headers)?;
    match source.body(framing, |piece| response.body.extend_from_slice(piece)) {
        Ok(trailers) => response.trailers = trailers,
        Err(_) => response.is_whole = false,
    }
    Ok(response)
}

impl Response {
    /// The values of all headers called `name`, in any case, in their order.
    pub fn header(&self, name: &str) -> Vec<&[u8]> {
        let values = self
            .headers
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        values.map(|(_, value)| value.as_slice()).collect()
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The component as machine code of any processor of this kind, under its own file name; compiled once per machine.
///
/// `wasmtime` has a cache too. But the first compilation of a large component would take longer than a test waits for a
/// server.
fn compiled(component: &Path) -> PathBuf {
    let content = fs::read(component).unwrap_or_else(|error| panic!("cannot read {}: {error}", component.display()));
    let key = Sha256::digest(&content);
    let key = key.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
    let architecture = std::env::consts::ARCH;
    let kept = tools::cache().join(format!("wasmtime-{WASMTIME_VERSION}-{architecture}-{key}"));
    let name = component.file_name().expect("a component has a name");
    tools::install(&kept, "machine code for wasmtime", |scratch| {
        let fresh = scratch.join("compiled");
        fs::create_dir(&fresh).expect("the cache can be written");
        let mut command = Command::new(tools::wasmtime_cli());
        command.args(["compile", "--target", &format!("{architecture}-unknown-linux-gnu")]);
        command.arg("--output").arg(fresh.join(name)).arg(component);
        tools::run(command, "a component that wasmtime accepts");
        fs::rename(fresh, &kept).expect("a folder can be renamed within the cache");
    });
    kept.join(name)
}
