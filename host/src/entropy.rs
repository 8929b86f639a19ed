//! Where random numbers come from, in a program that is linked statically, too.

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// What kernels before 3.17 have instead of the system call, and what is left where a sandbox forbids it.
const DEVICE: &str = "/dev/urandom";

/// Fills `buffer` with random bytes of the kernel, from `getrandom(2)` or else from `/dev/urandom`, which then stays open. May wait
/// until the kernel has gathered entropy, in the first seconds of a machine.
///
/// # Errors
///
/// Of the device, if the kernel refuses the call and the device cannot be read.
pub fn fill(buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match getrandom(&mut buffer[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(_) => return read_device(&mut buffer[filled..]),
        }
    }
    Ok(())
}

fn read_device(buffer: &mut [u8]) -> io::Result<()> {
    static OPEN: OnceLock<File> = OnceLock::new();
    let mut device = match OPEN.get() {
        Some(device) => device,
        None => {
            let device = File::open(DEVICE)?;
            OPEN.get_or_init(|| device)
        }
    };
    device.read_exact(buffer)
}

/// The backend `custom` of the crate `getrandom`, which a static build asks for. The crate's own looks for the system call among
/// the symbols of shared libraries, has none there, and needs the device: a root without `/dev` could serve nothing.
///
/// # Safety
///
/// `to` points at `count` bytes that may be written.
///
/// # Errors
///
/// As [`fill`]; which one it was, the crate has no room to say.
#[expect(unsafe_code, reason = "the signature is the crate's")]
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(to: *mut u8, count: usize) -> Result<(), getrandom::Error> {
    // SAFETY: as above; and once they are written they are initialised.
    let buffer = unsafe {
        to.write_bytes(0, count);
        std::slice::from_raw_parts_mut(to, count)
    };
    fill(buffer).map_err(|_| getrandom::Error::new_custom(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sources_fill_all_of_a_buffer_anew_each_time() {
        for fill in [fill, read_device] {
            // More than the kernel gives at once: 256 bytes without being interrupted.
            let mut first = [0; 4096];
            let mut second = [0; 4096];
            fill(&mut first).unwrap();
            fill(&mut second).unwrap();
            assert_ne!(first, second);
            for chunk in first.chunks(32).chain(second.chunks(32)) {
                assert_ne!(chunk, [0; 32]);
            }
        }
    }
}
