//! What an artifact says about itself, and the proof that it is whole.
//!
//! ```text
//!   machine code │ stamp, as JSON │ SHA-256 of all before │ length of the stamp, u32 LE │ "orlop\0\0\x01"
//! ```
//!
//! The code comes first because the engine maps the file from its beginning.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::{self, Cpu, Features, Target};

/// The end of every artifact.
const MAGIC: &[u8; 8] = b"orlop\0\0\x01";
const DIGEST_BYTES: usize = 32;
/// Digest, length and magic.
pub(super) const FOOTER_BYTES: usize = DIGEST_BYTES + 4 + MAGIC.len();
/// A longer stamp is none.
pub(super) const MAX_STAMP_BYTES: usize = 64 << 10;

/// What an artifact says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// [`crate::engine::version`] of the compiler.
    pub engine: String,
    /// The target triple, such as `x86_64-unknown-linux-gnu`.
    pub target: String,
    /// The least processor it runs on, such as `x86-64`.
    pub cpu: String,
    /// How guests are stopped: `sequential` code carries no checks and is stopped from outside.
    pub kind: String,
    /// What the component needs beyond the features of stock toolchains.
    pub features: Features,
    /// SHA-256 of the component, in hexadecimal digits.
    pub source_sha256: String,
    /// The length of the machine code in bytes.
    pub code_bytes: u64,
}

/// Why an artifact is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StampError {
    /// The file does not end as an artifact does.
    #[error("it carries no stamp of Orlop's; only artifacts made by `orlop compile` are loaded")]
    Missing,
    /// The stamp or the lengths do not fit the file.
    #[error("its stamp does not fit the file, which was cut, extended or changed")]
    Malformed,
    /// The digest does not fit the bytes.
    #[error("its digest does not fit its content, which was changed after it was compiled")]
    Tampered,
}

/// Why an artifact that is whole cannot be run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Misfit {
    /// What it is, and what would be right.
    pub reason: String,
    /// What `orlop compile` has to be told to make the right one, if it would not do so by itself.
    pub option: Option<String>,
}

impl Stamp {
    /// The artifact: code, stamp and footer.
    pub fn seal(&self, code: Vec<u8>) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("strings and numbers always serialise");
        let length = u32::try_from(json.len()).expect("a stamp is a few hundred bytes");
        let mut artifact = code;
        artifact.extend(json);
        let digest = Sha256::digest(&artifact);
        artifact.extend_from_slice(&digest);
        artifact.extend(length.to_le_bytes());
        artifact.extend(MAGIC);
        artifact
    }

    /// Reads the stamp from the last bytes of a file of `file_bytes` bytes, as many as there are up to
    /// [`FOOTER_BYTES`] + [`MAX_STAMP_BYTES`]. Checks lengths, not the digest.
    pub(super) fn read(tail: &[u8], file_bytes: u64) -> Result<Self, StampError> {
        let rest = tail.strip_suffix(MAGIC).ok_or(StampError::Missing)?;
        let (rest, length) = rest.split_last_chunk::<4>().ok_or(StampError::Malformed)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (rest, _digest) = rest.split_last_chunk::<DIGEST_BYTES>().ok_or(StampError::Malformed)?;
        let json = rest
            .len()
            .checked_sub(length)
            .map(|start| &rest[start..])
            .ok_or(StampError::Malformed)?;
        let stamp: Self = serde_json::from_slice(json).map_err(|_| StampError::Malformed)?;
        let expected = stamp.code_bytes.checked_add((length + FOOTER_BYTES) as u64);
        if expected == Some(file_bytes) {
            Ok(stamp)
        } else {
            Err(StampError::Malformed)
        }
    }

    /// Reads the stamp of a whole artifact and checks the digest over everything before it. Returns the code, too.
    ///
    /// # Errors
    ///
    /// [`StampError`].
    pub fn verify(artifact: &[u8]) -> Result<(Self, &[u8]), StampError> {
        let start = artifact.len().saturating_sub(FOOTER_BYTES + MAX_STAMP_BYTES);
        let stamp = Self::read(&artifact[start..], artifact.len() as u64)?;
        let (digested, footer) = artifact.split_at(artifact.len() - FOOTER_BYTES);
        if Sha256::digest(digested)[..] != footer[..DIGEST_BYTES] {
            return Err(StampError::Tampered);
        }
        let code_bytes = usize::try_from(stamp.code_bytes).map_err(|_| StampError::Malformed)?;
        Ok((stamp, &digested[..code_bytes]))
    }

    /// Whether this program, on this machine, may load the code: only what this very build of the engine made, and only if
    /// the processor has all that the code uses.
    ///
    /// # Errors
    ///
    /// [`Misfit`].
    pub fn check_fit(&self) -> Result<(), Misfit> {
        let Self {
            engine,
            target,
            cpu,
            kind,
            features: _,
            source_sha256: _,
            code_bytes: _,
        } = self;
        let misfit = |reason, option| Err(Misfit { reason, option });
        let ours = engine::version();
        if *engine != ours {
            return misfit(format!("it was compiled by {engine}, and this is {ours}"), None);
        }
        let host = Target::host();
        if host.is_none_or(|host| host.triple() != target) {
            let here = host.map_or_else(
                || format!("{} with {}", std::env::consts::ARCH, std::env::consts::OS),
                |host| host.triple().to_owned(),
            );
            return misfit(
                format!("it was compiled for {target}, and this machine is {here}"),
                host.map(|host| format!("--target {}", host.triple())),
            );
        }
        let baseline = || host.map(|host| format!("--cpu {}", host.baseline().name()));
        let Some(cpu) = Cpu::named(cpu).filter(|cpu| Some(cpu.target()) == host) else {
            return misfit(
                format!("it was compiled for the processor {cpu}, which is unknown here"),
                baseline(),
            );
        };
        let lacking = cpu.lacking();
        if !lacking.is_empty() {
            return misfit(
                format!(
                    "it was compiled for the processor {}, and this machine's has no {}",
                    cpu.name(),
                    lacking.join(", ")
                ),
                baseline(),
            );
        }
        if kind != engine::KIND {
            return misfit(
                format!(
                    "it was compiled for {kind} execution, and this is {} execution",
                    engine::KIND
                ),
                None,
            );
        }
        Ok(())
    }
}

/// SHA-256 in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact() -> Vec<u8> {
        Stamp {
            engine: crate::engine::version(),
            target: "x86_64-unknown-linux-gnu".into(),
            cpu: "x86-64".into(),
            kind: "sequential".into(),
            features: Features::default(),
            source_sha256: sha256(b"component"),
            code_bytes: 4,
        }
        .seal(b"code".to_vec())
    }

    #[test]
    fn a_sealed_artifact_gives_back_its_code() {
        let artifact = artifact();
        let (stamp, code) = Stamp::verify(&artifact).unwrap();
        assert_eq!((code, stamp.code_bytes), (&b"code"[..], 4));
    }

    #[test]
    fn every_flipped_bit_every_cut_and_every_extension_is_noticed() {
        let artifact = artifact();
        for bit in 0..artifact.len() * 8 {
            let mut changed = artifact.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            Stamp::verify(&changed).unwrap_err();
        }
        for length in 0..artifact.len() {
            Stamp::verify(&artifact[..length]).unwrap_err();
        }
        for extension in [&b"x"[..], &artifact] {
            Stamp::verify(&[&artifact[..], extension].concat()).unwrap_err();
            Stamp::verify(&[extension, &artifact[..]].concat()).unwrap_err();
        }
    }
}
