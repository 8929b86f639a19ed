//! What a guest may try with WASI's interfaces, below what Rust's library makes of them.

use std::hint::black_box;
use std::mem::forget;

use serde_json::{Value, json};
use wasip2::cli::stdout::get_stdout;
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, NewTimestamp, OpenFlags, PathFlags};
use wasip2::io::poll::poll;

/// More than any limit of handles.
const MANY: usize = 20_000_000;

/// In nanoseconds.
const HOUR: u64 = 3_600_000_000_000;

fn tmp() -> Descriptor {
    get_directories().remove(0).0
}

fn file(name: &str) -> Descriptor {
    let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
    tmp()
        .open_at(PathFlags::empty(), name, OpenFlags::CREATE, flags)
        .expect("a file can be made")
}

/// Leaves files, streams and pollables open; the number of them.
pub(super) fn leave_open() -> usize {
    const COUNT: usize = 20;
    for index in 0..COUNT {
        let file = file(&index.to_string());
        forget(file.write_via_stream(0));
        forget(file.read_via_stream(0));
        forget(file);
        forget(monotonic_clock::subscribe_duration(HOUR));
    }
    4 * COUNT
}

/// Asks for all of a file in one call of that length; what came.
pub(super) fn read_file(bytes: u64) -> Value {
    let file = file("a");
    let written = file.write(b"content", 0);
    let read = file.read(bytes, 0).map(|(content, _)| content.len());
    let streamed = file
        .read_via_stream(0)
        .map(|stream| stream.blocking_read(bytes).map(|content| content.len()).ok());
    json!({ "written": written.ok(), "read": read.ok(), "streamed": streamed.ok() })
}

/// Makes pollables without end.
pub(super) fn subscribe_without_end() -> usize {
    for _ in 0..MANY {
        forget(monotonic_clock::subscribe_duration(HOUR));
    }
    MANY
}

/// Polls as many pollables as it gets.
pub(super) fn poll_many() -> usize {
    let pollables = (0..90_000)
        .map(|_| monotonic_clock::subscribe_duration(0))
        .collect::<Vec<_>>();
    let pollables = pollables.iter().collect::<Vec<_>>();
    poll(&pollables).len()
}

/// Takes handles to stdout without end.
pub(super) fn streams_without_end() -> usize {
    for _ in 0..MANY {
        forget(get_stdout());
    }
    MANY
}

/// Has the host make up that many zeros.
pub(super) fn write_zeroes(bytes: u64) -> Option<String> {
    let stream = file("zeros").write_via_stream(0).expect("a file can be written");
    let error = stream.blocking_write_zeroes_and_flush(bytes.min(4096)).err();
    let error = error.or_else(|| stream.write_zeroes(bytes).err());
    error.map(|error| format!("{error:?}"))
}

/// Measures times that are as short as can be; whether the clock ever went back.
pub(super) fn time_tightly() -> bool {
    let mut last = monotonic_clock::now();
    let mut went_back = false;
    for _ in 0..100_000 {
        let now = monotonic_clock::now();
        went_back |= now < last;
        last = now;
        black_box(wall_clock::now());
    }
    went_back
}

/// Waits, together with something that is ready, for instants that never come; which were ready.
pub(super) fn far_future() -> Vec<u32> {
    let pollables = [
        monotonic_clock::subscribe_duration(u64::MAX),
        monotonic_clock::subscribe_instant(u64::MAX),
        monotonic_clock::subscribe_duration(0),
        monotonic_clock::subscribe_duration(u64::MAX - 1),
    ];
    poll(&pollables.iter().collect::<Vec<_>>())
}

/// Gives files times that nobody expects; how many were taken.
pub(super) fn far_times() -> usize {
    let file = file("old");
    let at = |seconds, nanoseconds| NewTimestamp::Timestamp(wall_clock::Datetime { seconds, nanoseconds });
    let times = [
        at(0, 0),
        // The year 2446, where ext4 ends; 2^31 and 2^32 seconds; the end of time.
        at(15_032_385_536, 0),
        at(1 << 31, 0),
        at(1 << 32, 999_999_999),
        at(0, u32::MAX),
        at(u64::MAX, u32::MAX),
        at(i64::MAX as u64, 0),
        at(1 << 62, 1),
    ];
    let taken = times.map(|time| {
        let taken = file.set_times(time, time).is_ok();
        black_box(file.stat()).ok();
        black_box(file.metadata_hash()).ok();
        taken
    });
    taken.iter().filter(|taken| **taken).count()
}
