//! As `hostile`, on WASI 0.3: a server that does to its host what the path says.

use std::future::Future;
use std::task::{Context, Poll, Waker};

use wasip3::cli::{exit, stdin, stdout};
use wasip3::clocks::monotonic_clock;
use wasip3::filesystem::preopens;
use wasip3::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::random::random;
use wasip3::sockets::ip_name_lookup::resolve_addresses;
use wasip3::sockets::types::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, TcpSocket, UdpSocket};
use wasip3::{wit_bindgen, wit_future, wit_stream};

/// How much is written at a time.
const PIECE_BYTES: usize = 64 << 10;

wasip3::http::service::export!(Hostile);

struct Hostile;

impl wasip3::exports::http::handler::Guest for Hostile {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        match path.split_at(1).1 {
            "spin" => loop {
                std::hint::spin_loop();
            },
            "yield" => loop {
                wit_bindgen::yield_async().await;
            },
            "wait" => monotonic_clock::wait_for(u64::MAX).await,
            "deadlock" => {
                let (end, end_reader) = wit_future::new(|| Ok(None));
                let _: Result<Option<Fields>, ErrorCode> = end_reader.await;
                let _ = end.write(Ok(None)).await;
            }
            "spawn" => spawn_without_end(),
            "timers" => loop {
                begin(monotonic_clock::wait_for(u64::MAX));
            },
            "streams" => loop {
                std::mem::forget(wit_stream::new::<u8>());
            },
            "futures" => loop {
                std::mem::forget(wit_future::new::<Result<Option<Fields>, ErrorCode>>(|| Ok(None)));
            },
            "fields" => loop {
                std::mem::forget(Fields::new());
            },
            "open-files" => open_without_end().await,
            "sockets" => loop {
                match TcpSocket::create(IpAddressFamily::Ipv4) {
                    Ok(socket) => std::mem::forget(socket),
                    Err(error) => return text(format!("{error:?}")),
                }
            },
            "random" => return text(random::get_random_bytes(1 << 40).len().to_string()),
            "exit" => exit::exit_with_code(42),
            "network" => return text(attempt_everything().await.join(" ")),
            "print" => return text(print(256).await.to_string()),
            "print-forever" => {
                print(usize::MAX).await;
            }
            "stdin" => {
                let (data, end) = stdin::read_via_stream();
                let length = data.collect().await.len();
                return text(format!("{length} {:?}", end.await));
            }
            "leave-open" => {
                for _ in 0..50 {
                    begin(monotonic_clock::wait_for(u64::MAX));
                    std::mem::forget(wit_stream::new::<u8>());
                    wit_bindgen::spawn_local(monotonic_clock::wait_for(u64::MAX));
                }
            }
            "work-on" => {
                wit_bindgen::spawn_local(async {
                    loop {
                        wit_bindgen::yield_async().await;
                    }
                });
            }
            "body-forever" => return Ok(endless()),
            "no-end" => {
                let (body, reader) = wit_stream::new();
                let (end, end_reader) = wit_future::new(|| Ok(None));
                std::mem::forget((body, end));
                return Ok(Response::new(Fields::new(), Some(reader), end_reader).0);
            }
            "trailers" => {
                let trailers = Fields::new();
                for number in 0..2000 {
                    let _ = trailers.append(&format!("x-{number}"), &vec![b'x'; 1000]);
                }
                let (end, end_reader) = wit_future::new(|| Ok(None));
                wit_bindgen::spawn_local(async move {
                    let _ = end.write(Ok(Some(trailers))).await;
                });
                return Ok(Response::new(Fields::new(), None, end_reader).0);
            }
            "status" => {
                let response = answer(String::new());
                let taken = response.set_status_code(99).is_ok();
                return text(taken.to_string());
            }
            other => return text(other.to_owned()),
        }
        text("done".to_owned())
    }
}

/// Begins something and never looks at it again.
fn begin(task: impl Future + 'static) {
    let mut task = Box::pin(task);
    let is_pending = matches!(
        task.as_mut().poll(&mut Context::from_waker(Waker::noop())),
        Poll::Pending
    );
    assert!(is_pending, "it takes longer than that");
    std::mem::forget(task);
}

/// Each of its tasks begins another one.
fn spawn_without_end() {
    wit_bindgen::spawn_local(async {
        loop {
            wit_bindgen::spawn_local(monotonic_clock::wait_for(u64::MAX));
            wit_bindgen::yield_async().await;
        }
    });
}

async fn open_without_end() {
    let (directory, _) = preopens::get_directories().into_iter().next().expect("there is a /tmp");
    loop {
        std::mem::forget(open(&directory).await);
    }
}

async fn open(directory: &Descriptor) -> Descriptor {
    let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
    let opened = directory.open_at(PathFlags::empty(), "file".to_owned(), OpenFlags::CREATE, flags);
    opened.await.expect("refusals do not come as errors")
}

/// Prints that many pieces, or until nobody takes them. How much of it was taken, in bytes.
async fn print(pieces: usize) -> usize {
    let (mut data, reader) = wit_stream::new();
    let end = stdout::write_via_stream(reader);
    let mut taken = 0;
    for _ in 0..pieces {
        let left = data.write_all(vec![b'x'; PIECE_BYTES]).await;
        taken += PIECE_BYTES - left.len();
        if !left.is_empty() {
            break;
        }
    }
    drop(data);
    let _ = end.await;
    taken
}

/// Which of all attempts to reach somebody worked.
async fn attempt_everything() -> Vec<&'static str> {
    let mut worked = Vec::new();
    let mut note = |what, is_done: bool| worked.extend(is_done.then_some(what));
    let address = |address, port| IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address });
    for remote in [address((127, 0, 0, 1), 9001), address((169, 254, 169, 254), 80)] {
        if let Ok(socket) = TcpSocket::create(IpAddressFamily::Ipv4) {
            note("tcp", socket.connect(remote).await.is_ok());
        }
        if let Ok(socket) = UdpSocket::create(IpAddressFamily::Ipv4) {
            note("udp", socket.send(vec![b'x'], Some(remote)).await.is_ok());
        }
    }
    if let Ok(socket) = TcpSocket::create(IpAddressFamily::Ipv4) {
        note("bind", socket.bind(address((127, 0, 0, 1), 0)).is_ok());
        note("listen", socket.listen().is_ok());
    }
    for name in ["localhost", "example.com"] {
        note("look up", resolve_addresses(name.to_owned()).await.is_ok());
    }
    worked
}

/// A response whose body ends when nobody takes more of it.
fn endless() -> Response {
    let (mut body, reader) = wit_stream::new();
    let (_, end_reader) = wit_future::new(|| Ok(None));
    wit_bindgen::spawn_local(async move { while body.write_all(vec![b'x'; PIECE_BYTES]).await.is_empty() {} });
    Response::new(Fields::new(), Some(reader), end_reader).0
}

fn answer(text: String) -> Response {
    let (mut body, reader) = wit_stream::new();
    let (_, end_reader) = wit_future::new(|| Ok(None));
    wit_bindgen::spawn_local(async move {
        body.write_all(text.into_bytes()).await;
    });
    Response::new(Fields::new(), Some(reader), end_reader).0
}

#[expect(clippy::unnecessary_wraps, reason = "it is what the handler returns")]
fn text(text: String) -> Result<Response, ErrorCode> {
    Ok(answer(text))
}

fn main() {}
