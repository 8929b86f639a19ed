//! What an artifact says about itself, and the proof that it is whole.
//!
//! ```text
//!   machine code │ stamp, as JSON │ SHA-256 of all before │ length of the stamp, u32 LE │ "orlop\0\0\x01"
//! ```
//!
//! The code comes first because the engine maps the file from its beginning.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::{self, Cpu, Execution, Features, Target};

/// The end of every artifact.
const MAGIC: &[u8; 8] = b"orlop\0\0\x01";
const DIGEST_BYTES: usize = 32;
/// Digest, length and magic.
pub(super) const FOOTER_BYTES: usize = DIGEST_BYTES + 4 + MAGIC.len();
/// A longer stamp is none.
pub(super) const MAX_STAMP_BYTES: usize = 4 << 10;

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
    /// The name of the [`Execution`] that the code is for: `sequential` code carries no checks and is stopped from outside.
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
    /// Another version of Orlop made it, whose stamps look different.
    #[error("it was compiled by {0}, and this is {ours}", ours = engine::version())]
    OtherEngine(String),
    /// The component needs features of WebAssembly that this build does not know.
    #[error("its component needs {}, which this build does not have", .0.join(", "))]
    UnknownFeatures(Vec<String>),
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
    /// The artifact: machine code, stamp and footer.
    pub fn seal(&self, machine_code: Vec<u8>) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("strings and numbers always serialise");
        let length = u32::try_from(json.len()).expect("a stamp is a few hundred bytes");
        let mut artifact = machine_code;
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
        let stamp: Self = serde_json::from_slice(json).map_err(|_| unreadable(json))?;
        let expected = stamp.code_bytes.checked_add((length + FOOTER_BYTES) as u64);
        if expected == Some(file_bytes) {
            Ok(stamp)
        } else {
            Err(StampError::Malformed)
        }
    }

    /// Reads the stamp of a whole artifact and checks the digest over everything before it. Returns the machine code, too.
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

    /// Whether this program, on this machine, may load the code to run guests in that way: only what this very build of the
    /// engine made, and only if the processor has all that the code uses. Code with checks runs one event at a time as well.
    /// Returns the kind of the code.
    ///
    /// # Errors
    ///
    /// [`Misfit`].
    pub fn check_fit(&self, execution: Execution) -> Result<Execution, Misfit> {
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
        match (Execution::named(kind), execution) {
            (Some(code @ Execution::Concurrent), _) | (Some(code), Execution::Sequential) => Ok(code),
            (Some(Execution::Sequential), Execution::Concurrent) => misfit(
                "its code cannot be interrupted, which it takes to run several events at a time".to_owned(),
                None,
            ),
            (None, _) => misfit(
                format!("it was compiled for {kind} execution, which is unknown here"),
                None,
            ),
        }
    }
}

/// Why a stamp cannot be read: what it still says of itself may tell.
fn unreadable(json: &[u8]) -> StampError {
    #[derive(Deserialize)]
    struct Essence {
        engine: String,
        #[serde(default)]
        features: serde_json::Map<String, serde_json::Value>,
    }
    let Ok(Essence { engine, features }) = serde_json::from_slice(json) else {
        return StampError::Malformed;
    };
    if engine != engine::version() {
        return StampError::OtherEngine(engine);
    }
    let is_known = |name: &String| Features::NAMES.contains(&name.as_str());
    let unknown: Vec<String> = features
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| !is_known(name))
        .collect();
    match unknown.is_empty() {
        true => StampError::Malformed,
        false => StampError::UnknownFeatures(unknown),
    }
}

/// SHA-256 in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_oneof, proptest};

    use super::*;

    fn stamp() -> Stamp {
        Stamp {
            engine: crate::engine::version(),
            target: "x86_64-unknown-linux-gnu".into(),
            cpu: "x86-64".into(),
            kind: "sequential".into(),
            features: Features::default(),
            source_sha256: sha256(b"component"),
            code_bytes: 4,
        }
    }

    fn artifact() -> Vec<u8> {
        stamp().seal(b"code".to_vec())
    }

    /// One way in which a file changes.
    #[derive(Debug, Clone)]
    enum Mutation {
        Flip { bit: usize },
        Cut { from: usize, to: usize },
        Zero { from: usize, to: usize },
        Splice { from: usize, to: usize, into: usize },
    }

    impl Mutation {
        /// The changed file; positions count from the beginning, and begin again at its end.
        fn of(&self, whole: &[u8]) -> Vec<u8> {
            let range = |from: usize, to: usize| {
                let (from, to) = (from % whole.len(), to % whole.len());
                from.min(to)..from.max(to) + 1
            };
            let mut changed = whole.to_vec();
            match *self {
                Self::Flip { bit } => {
                    let bit = bit % (whole.len() * 8);
                    changed[bit / 8] ^= 1 << (bit % 8);
                }
                Self::Cut { from, to } => drop(changed.drain(range(from, to))),
                Self::Zero { from, to } => changed[range(from, to)].fill(0),
                Self::Splice { from, to, into } => {
                    let into = into % whole.len();
                    changed.splice(into..into, whole[range(from, to)].iter().copied());
                }
            }
            changed
        }
    }

    fn mutation() -> impl Strategy<Value = Mutation> {
        // Most of an artifact is code; half of the places are in what follows it.
        let place = || {
            prop_oneof![
                any::<u16>().prop_map(usize::from),
                (0..400_usize).prop_map(|back| 5_000 - back)
            ]
        };
        prop_oneof![
            (place(), 0..8_usize).prop_map(|(byte, bit)| Mutation::Flip { bit: byte * 8 + bit }),
            (place(), place()).prop_map(|(from, to)| Mutation::Cut { from, to }),
            (place(), place()).prop_map(|(from, to)| Mutation::Zero { from, to }),
            (place(), place(), place()).prop_map(|(from, to, into)| Mutation::Splice { from, to, into }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn ten_thousand_random_changes_are_all_refused(changes in vec(mutation(), 1..4)) {
            let code: Vec<u8> = (0..4_500_u32).map(|index| ((index * 7919) >> 5) as u8).collect();
            let whole = Stamp { code_bytes: 4_500, ..stamp() }.seal(code);
            let changed = changes.iter().fold(whole.clone(), |file, change| match file.is_empty() {
                true => file,
                false => change.of(&file),
            });
            prop_assert!(changed == whole || Stamp::verify(&changed).is_err());
        }
    }

    #[test]
    fn a_stamp_of_another_shape_is_refused_by_what_it_says_of_itself() {
        let refusal = |json: &str| {
            let mut file = b"code".to_vec();
            file.extend(json.as_bytes());
            let digest = Sha256::digest(&file);
            file.extend_from_slice(&digest);
            file.extend(u32::try_from(json.len()).unwrap().to_le_bytes());
            file.extend(MAGIC);
            Stamp::verify(&file).unwrap_err().to_string()
        };
        let said = refusal(r#"{"engine":"wasmtime-99.0.0+orlop-2.0.0","cores":7}"#);
        assert!(
            said.contains("wasmtime-99.0.0+orlop-2.0.0") && said.contains("this is wasmtime-"),
            "{said}"
        );
        let ours = engine::version();
        let said = refusal(&format!(
            r#"{{"engine":"{ours}","features":{{"gc":true,"component-model-async":false}}}}"#
        ));
        assert!(said.contains("needs gc, which"), "{said}");
        assert_eq!(
            refusal(&format!(r#"{{"engine":"{ours}"}}"#)),
            StampError::Malformed.to_string()
        );
        assert_eq!(refusal("[]"), StampError::Malformed.to_string());
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
