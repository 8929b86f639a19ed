//! Unpacks archives that nobody has looked at.
//!
//! Only folders and plain files are made, all below one folder, under names that cannot lead out of it, and only so
//! much of them. Links and devices are left out.

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use tar::{Archive, EntryType};

/// How much an archive may hold.
#[derive(Clone, Copy)]
struct Limits {
    /// All that is in it, in bytes.
    size: u64,
    files: usize,
}

const LIMITS: Limits = Limits {
    size: 256 << 20,
    files: 10_000,
};

/// Unpacks the `.tar.gz` into `folder` and returns where its content begins: hosts of repositories wrap it in one
/// folder.
///
/// # Errors
///
/// It is no archive or a damaged one, holds too much or nothing, or has a name that leads out of the folder.
pub(crate) fn unpack(archive: &Path, folder: &Path) -> Result<PathBuf> {
    unpack_within(LIMITS, File::open(archive)?, folder)
}

fn unpack_within(limits: Limits, archive: impl Read, folder: &Path) -> Result<PathBuf> {
    let mut files = 0;
    let unpacked = Capped {
        inner: GzDecoder::new(archive),
        left: limits.size,
    };
    for entry in Archive::new(unpacked).entries()? {
        let mut entry = entry.context("cannot unpack the archive")?;
        let name = String::from_utf8(entry.path_bytes().into_owned()).context("a name in the archive is not UTF-8")?;
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::Directory | EntryType::XGlobalHeader) {
            continue;
        }
        if !matches!(kind, EntryType::Regular | EntryType::Continuous) {
            eprintln!("{name} is left out: it is no file but {kind:?}");
            continue;
        }
        files += 1;
        ensure!(
            files <= limits.files,
            "the archive has more than {} files",
            limits.files
        );
        let path = folder.join(plain_path(&name)?);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        let mut file = File::create(&path).with_context(|| format!("cannot make the file `{name}`"))?;
        io::copy(&mut entry, &mut file).with_context(|| format!("cannot unpack `{name}`"))?;
    }
    ensure!(files > 0, "the archive has no files");
    content(folder)
}

/// The path, if each part of it is a name.
fn plain_path(name: &str) -> Result<PathBuf> {
    let mut path = PathBuf::new();
    for part in name.split('/') {
        match part {
            "." => {}
            "" | ".." => bail!("the archive has a file named `{name}`, which is no plain path"),
            part => path.push(part),
        }
    }
    Ok(path)
}

/// `folder`, or the one folder that is all it has.
fn content(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    Ok(match entries.as_slice() {
        [only] if only.file_type()?.is_dir() => only.path(),
        _ => folder.to_owned(),
    })
}

/// A reader that fails where it has given too much.
struct Capped<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let left = self.left.checked_sub(count as u64);
        self.left = left.ok_or_else(|| io::Error::other("the archive unpacks to too much"))?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use tar::{Builder, Header};

    type Entry<'a> = (&'a str, EntryType, &'a [u8]);

    const FILE: EntryType = EntryType::Regular;

    /// Names are written as they are: the library would refuse the bad ones.
    fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
        let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, kind, content) in entries {
            let mut header = Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            if kind.is_symlink() || kind.is_hard_link() {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    fn unpacked(limits: Limits, archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
        let folder = tempfile::tempdir()?;
        let below = folder.path().join("unpacked");
        let root = unpack_within(limits, archive, &below)?;
        assert_eq!(
            fs::read_dir(folder.path())?.count(),
            1,
            "something is beside the folder"
        );
        let mut files = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(&root)?.to_str().unwrap().to_owned();
                    files.push((name, fs::read(path)?));
                }
            }
        }
        files.sort();
        Ok(files)
    }

    fn complaint(limits: Limits, archive: &[u8]) -> String {
        format!("{:#}", unpacked(limits, archive).unwrap_err())
    }

    #[test]
    fn files_and_folders_are_unpacked_without_the_folder_around_them() {
        let packed = archive(&[
            ("pax_global_header", EntryType::XGlobalHeader, b"13 comment=a\n"),
            ("site-1a2b/", EntryType::Directory, b""),
            ("site-1a2b/index.md", FILE, b"# Hello"),
            ("./site-1a2b/deep/er/a.bin", FILE, b"\xFF"),
        ]);
        let expected = [
            ("deep/er/a.bin".to_owned(), b"\xFF".to_vec()),
            ("index.md".to_owned(), b"# Hello".to_vec()),
        ];
        assert_eq!(unpacked(LIMITS, &packed).unwrap(), expected);
    }

    #[test]
    fn links_and_devices_are_left_out() {
        let packed = archive(&[
            ("a/b", EntryType::Symlink, b""),
            ("a/c", EntryType::Link, b""),
            ("a/d", EntryType::Char, b""),
            ("a/b/e", FILE, b"e"),
        ]);
        assert_eq!(unpacked(LIMITS, &packed).unwrap(), [("b/e".to_owned(), b"e".to_vec())]);
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        for name in ["../a", "a/../../b", "/etc/passwd", "a//b", "a/", ".."] {
            let complaint = complaint(LIMITS, &archive(&[(name, FILE, b"x")]));
            assert!(complaint.contains("no plain path"), "{name}: {complaint}");
        }
    }

    #[test]
    fn an_archive_that_holds_too_much_is_refused() {
        let packed = archive(&[("a", FILE, &[0; 50_000]), ("b", FILE, b"")]);
        assert!(packed.len() < 1_000);
        let enough = Limits { size: 60_000, files: 2 };
        assert_eq!(unpacked(enough, &packed).unwrap().len(), 2);
        let small = Limits { size: 40_000, ..enough };
        assert!(complaint(small, &packed).ends_with("the archive unpacks to too much"));
        let few = Limits { files: 1, ..enough };
        assert_eq!(complaint(few, &packed), "the archive has more than 1 files");
    }

    #[test]
    fn what_is_no_whole_archive_is_refused() {
        let packed = archive(&[("a", FILE, &[7; 5_000])]);
        for damaged in [b"".as_slice(), b"<html>", &packed[..packed.len() / 2], &archive(&[])] {
            assert!(unpacked(LIMITS, damaged).is_err());
        }
    }
}
