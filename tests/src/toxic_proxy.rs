//! A network that fails: it stands between a runtime and its Runtime API, and spoils what passes through.
//!
//! ```text
//!  runtime ◄──── downstream ◄──── the Runtime API
//!      └───────► upstream ──────────────►┘
//! ```

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt;

/// The most bytes that pass in one piece.
const PIECE_BYTES: usize = 64 << 10;

/// How often a pump that has nothing to do looks whether it is still wanted.
const HEARTBEAT: Duration = Duration::from_millis(50);

/// The proxy. Dropping it breaks all connections.
#[derive(Debug)]
pub struct ToxicProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What happens to the bytes of one direction.
#[derive(Clone, Debug, Default)]
pub struct Toxic {
    latency: Duration,
    piece_bytes: Option<usize>,
    bytes_per_second: Option<u32>,
    cut: Option<Cut>,
}

/// What happens once, after a number of bytes counted from when it was ordered, over all connections.
#[derive(Clone, Debug)]
struct Cut {
    after: usize,
    end: End,
}

/// How a connection stops to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides see a reset.
    Reset,
    /// Both sides see the end.
    Close,
    /// Nothing passes any more in this direction, and nobody is told.
    HalfOpen,
    /// These bytes come in between; what follows passes.
    Garbage(Vec<u8>),
}

#[derive(Debug)]
struct Shared {
    upstream_address: SocketAddr,
    downstream: Mutex<Toxic>,
    upstream: Mutex<Toxic>,
    passed_downstream: AtomicUsize,
    is_over: AtomicBool,
}

impl Toxic {
    /// Nothing happens to them.
    pub fn none() -> Self {
        Self::default()
    }

    /// Each piece comes this much later.
    pub fn latency(latency: Duration) -> Self {
        Self {
            latency,
            ..Self::default()
        }
    }

    /// They come in pieces of at most `bytes`, each this much after the one before.
    pub fn slices(bytes: usize, latency: Duration) -> Self {
        Self {
            latency,
            piece_bytes: Some(bytes),
            ..Self::default()
        }
    }

    /// So many pass in a second.
    pub fn bandwidth(bytes_per_second: u32) -> Self {
        Self {
            piece_bytes: Some(4096),
            bytes_per_second: Some(bytes_per_second),
            ..Self::default()
        }
    }

    /// After so many bytes from now on, this happens, once.
    pub fn cut(after: usize, end: End) -> Self {
        Self {
            cut: Some(Cut { after, end }),
            ..Self::default()
        }
    }
}

impl ToxicProxy {
    /// A proxy in front of `address`, such as [`FakeRuntimeApi::address`](crate::FakeRuntimeApi::address) gives it, that is
    /// harmless at first.
    ///
    /// # Panics
    ///
    /// If no port is free.
    pub fn before(address: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let shared = Arc::new(Shared {
            upstream_address: address.parse().expect("the fake's address is a number"),
            downstream: Mutex::default(),
            upstream: Mutex::default(),
            passed_downstream: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        });
        let proxy = Self {
            address: listener.local_addr().expect("a bound socket has a name"),
            shared: Arc::clone(&shared),
        };
        thread::spawn(move || {
            while let Ok((runtime, _)) = listener.accept() {
                if shared.is_over() {
                    return;
                }
                // Without an upstream the runtime sees a connection that ends at once.
                let Ok(api) = TcpStream::connect(shared.upstream_address) else {
                    continue;
                };
                join(&shared, &runtime, &api);
            }
        });
        proxy
    }

    /// Host and port, in place of the upstream's.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// What happens from now on to what the Runtime API says.
    pub fn downstream(&self, toxic: Toxic) -> &Self {
        *lock(&self.shared.downstream) = toxic;
        self
    }

    /// What happens from now on to what the runtime says.
    pub fn upstream(&self, toxic: Toxic) -> &Self {
        *lock(&self.shared.upstream) = toxic;
        self
    }

    /// How many bytes the runtime has been sent so far.
    pub fn passed_downstream(&self) -> usize {
        self.shared.passed_downstream.load(Ordering::SeqCst)
    }

    /// Whether what was to be cut has been cut, in both directions.
    pub fn has_cut(&self) -> bool {
        lock(&self.shared.downstream).cut.is_none() && lock(&self.shared.upstream).cut.is_none()
    }
}

impl Drop for ToxicProxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        TcpStream::connect(self.address).ok();
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }
}

fn lock(toxic: &Mutex<Toxic>) -> MutexGuard<'_, Toxic> {
    toxic.lock().unwrap_or_else(PoisonError::into_inner)
}

fn join(shared: &Arc<Shared>, runtime: &TcpStream, api: &TcpStream) {
    for stream in [runtime, api] {
        // Each piece is to be seen by itself, and the end of the proxy is to be noticed.
        stream.set_nodelay(true).expect("sockets have this option");
        stream
            .set_read_timeout(Some(HEARTBEAT))
            .expect("sockets have this option");
    }
    let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor is free");
    let pumps = [(clone(runtime), clone(api), true), (clone(api), clone(runtime), false)];
    for (source, sink, is_upstream) in pumps {
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let uncounted = AtomicUsize::new(0);
            let passed = if is_upstream {
                &uncounted
            } else {
                &shared.passed_downstream
            };
            let toxic = if is_upstream {
                &shared.upstream
            } else {
                &shared.downstream
            };
            // Whatever breaks here, both sides are to hear of it.
            let _ = pump(&shared, toxic, passed, &source, &sink);
        });
    }
}

/// Passes on what comes until it ends.
fn pump(
    shared: &Shared,
    toxic: &Mutex<Toxic>,
    passed: &AtomicUsize,
    mut source: &TcpStream,
    mut sink: &TcpStream,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let length = match source.read(&mut buffer) {
            Ok(0) => {
                // A half-close passes as one.
                return sink.shutdown(Shutdown::Write);
            }
            Ok(length) => length,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if shared.is_over() {
                    return close(source, sink);
                }
                continue;
            }
            Err(_) => return reset(source, sink),
        };
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let Toxic {
                latency,
                piece_bytes,
                bytes_per_second,
                ..
            } = lock(toxic).clone();
            let (piece, end) = due(&mut lock(toxic), rest, piece_bytes.unwrap_or(PIECE_BYTES));
            let pause = bytes_per_second.map_or(0.0, |rate| piece as f64 / f64::from(rate));
            thread::sleep(latency + Duration::from_secs_f64(pause));
            let (passing, kept) = rest.split_at(piece);
            // Before it arrives, so that whatever somebody has received is counted.
            passed.fetch_add(piece, Ordering::SeqCst);
            if sink.write_all(passing).is_err() {
                return reset(source, sink);
            }
            rest = kept;
            match end {
                None => {}
                Some(End::Garbage(bytes)) => sink.write_all(&bytes)?,
                Some(End::Reset) => return reset(source, sink),
                Some(End::Close) => return close(source, sink),
                Some(End::HalfOpen) => return swallow(shared, source),
            }
        }
    }
}

/// How much of `rest` passes now, and what happens then.
fn due(toxic: &mut Toxic, rest: &[u8], most: usize) -> (usize, Option<End>) {
    let piece = rest.len().min(most);
    let Some(cut) = &mut toxic.cut else {
        return (piece, None);
    };
    if cut.after > piece {
        cut.after -= piece;
        return (piece, None);
    }
    let piece = cut.after;
    (piece, toxic.cut.take().map(|cut| cut.end))
}

fn reset(source: &TcpStream, sink: &TcpStream) -> io::Result<()> {
    for stream in [source, sink] {
        // The close of the last handle sends a reset, whatever has not been read.
        sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
    }
    close(source, sink)
}

fn close(source: &TcpStream, sink: &TcpStream) -> io::Result<()> {
    for stream in [source, sink] {
        stream.shutdown(Shutdown::Both).ok();
    }
    Ok(())
}

/// Reads what comes and passes nothing on, for as long as anybody talks.
fn swallow(shared: &Shared, mut source: &TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if shared.is_over() {
                    return Ok(());
                }
            }
            Err(error) => return Err(error),
        }
    }
}
