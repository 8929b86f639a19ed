//! What a guest's own `/tmp` holds, and may hold.
//!
//! Whatever makes a file longer, or makes a new name, is charged before it happens. What makes files shorter, or removes them,
//! is not followed: when the charge would exceed the limit, the directory is measured, and the charge becomes what is there. So
//! the charge is never less than the truth, and a guest that stays below its limits is never measured.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cap_std::fs::{Dir, MetadataExt as _};

use super::Limits;

/// A tree that is deeper than this is not measured; a guest that has made one gets nothing more.
const MAX_DEPTH: usize = 64;

/// The use of one directory, shared by all that write there. Without a directory of the guest's own nothing is counted.
#[derive(Debug, Clone, Default)]
pub(super) struct TmpUsage(Option<Arc<Mutex<Counted>>>);

#[derive(Debug)]
struct Counted {
    root: Dir,
    bytes: Charge<u64>,
    entries: Charge<usize>,
    /// Files that were opened to be written. One that has no name any more takes room until it is closed.
    open: Vec<Weak<File>>,
}

#[derive(Debug)]
struct Charge<T> {
    used: T,
    limit: T,
}

impl TmpUsage {
    /// Counts what is in `root`, which is empty.
    pub(super) fn of(root: Dir, limits: &Limits) -> Self {
        Self(Some(Arc::new(Mutex::new(Counted {
            root,
            bytes: Charge {
                used: 0,
                limit: limits.tmp_bytes,
            },
            entries: Charge {
                used: 0,
                limit: limits.tmp_entries,
            },
            open: Vec::new(),
        }))))
    }

    fn counted(&self) -> Option<MutexGuard<'_, Counted>> {
        let counted = self.0.as_ref()?;
        Some(counted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Charges one more name, and says whether there may be one.
    pub(super) fn take_entry(&self) -> bool {
        self.counted().is_none_or(|mut counted| counted.take_entry())
    }

    /// Gives back a name that was charged and not made.
    pub(super) fn return_entry(&self) {
        if let Some(mut counted) = self.counted() {
            counted.entries.used = counted.entries.used.saturating_sub(1);
        }
    }

    /// How many of the bytes from `size`, the length of a file, up to `end` it may grow by. They are charged.
    pub(super) fn take_bytes(&self, size: u64, end: u64) -> u64 {
        let growth = end.saturating_sub(size);
        match self.counted() {
            Some(mut counted) if growth > 0 => counted.take_bytes(growth),
            Some(_) | None => growth,
        }
    }

    /// Remembers a file that is open to be written.
    pub(super) fn opened(&self, file: &Arc<File>) {
        if let Some(mut counted) = self.counted() {
            counted.open.push(Arc::downgrade(file));
        }
    }
}

impl Counted {
    fn take_entry(&mut self) -> bool {
        if self.entries.used >= self.entries.limit {
            self.measure();
        }
        let is_free = self.entries.used < self.entries.limit;
        self.entries.used += usize::from(is_free);
        is_free
    }

    fn take_bytes(&mut self, growth: u64) -> u64 {
        if self.bytes.used.saturating_add(growth) > self.bytes.limit {
            self.measure();
        }
        let taken = growth.min(self.bytes.limit.saturating_sub(self.bytes.used));
        self.bytes.used += taken;
        taken
    }

    /// Makes the charge what is there. What cannot be measured leaves it as it was.
    fn measure(&mut self) {
        self.open.retain(|file| file.strong_count() > 0);
        let mut sum = Sum::default();
        if sum.add_directory(&self.root, 0).is_err() {
            return;
        }
        for file in self.open.iter().filter_map(Weak::upgrade) {
            // A file with a name may have been met there.
            match file.metadata() {
                Ok(metadata) if metadata.nlink() == 0 => sum.bytes = sum.bytes.saturating_add(metadata.len()),
                Ok(_) | Err(_) => {}
            }
        }
        self.bytes.used = sum.bytes;
        self.entries.used = sum.entries;
    }
}

#[derive(Default)]
struct Sum {
    bytes: u64,
    entries: usize,
    /// Files of several names, which count once.
    linked: HashSet<u64>,
}

impl Sum {
    fn add_directory(&mut self, directory: &Dir, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(io::Error::other("the tree is too deep"));
        }
        for entry in directory.entries()? {
            let entry = entry?;
            self.entries += 1;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.add_directory(&entry.open_dir()?, depth + 1)?;
            } else if kind.is_file() {
                let metadata = entry.metadata()?;
                if metadata.nlink() == 1 || self.linked.insert(metadata.ino()) {
                    self.bytes = self.bytes.saturating_add(metadata.len());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn usage(bytes: u64, entries: usize) -> (tempfile::TempDir, TmpUsage) {
        let folder = tempfile::tempdir().unwrap();
        let root = Dir::open_ambient_dir(folder.path(), cap_std::ambient_authority()).unwrap();
        let limits = Limits {
            tmp_bytes: bytes,
            tmp_entries: entries,
            ..Limits::default()
        };
        (folder, TmpUsage::of(root, &limits))
    }

    #[test]
    fn what_was_removed_can_be_used_again_and_what_is_there_cannot() {
        let (folder, usage) = usage(100, 2);
        let path = folder.path().join("a");
        assert!(usage.take_entry());
        assert_eq!(usage.take_bytes(0, 60), 60);
        std::fs::write(&path, [0; 60]).unwrap();
        assert_eq!(usage.take_bytes(60, 160), 40, "what is left");
        assert_eq!(usage.take_bytes(60, 160), 40, "which was not used");
        std::fs::remove_file(path).unwrap();
        assert_eq!(usage.take_bytes(0, 100), 100);
        assert!(usage.take_entry());
        assert!(usage.take_entry(), "the first one is gone");
    }

    #[test]
    fn a_file_of_two_names_counts_once_and_one_without_a_name_until_it_is_closed() {
        let (folder, usage) = usage(100, 10);
        let path = folder.path().join("a");
        let mut file = File::create(&path).unwrap();
        file.write_all(&[0; 70]).unwrap();
        std::fs::hard_link(&path, folder.path().join("b")).unwrap();
        let file = Arc::new(file);
        usage.opened(&file);
        assert_eq!(usage.take_bytes(0, 101), 30);
        std::fs::remove_file(path).unwrap();
        std::fs::remove_file(folder.path().join("b")).unwrap();
        assert_eq!(usage.take_bytes(0, 101), 30, "it is still open");
        drop(file);
        assert_eq!(usage.take_bytes(0, 101), 100);
    }

    #[test]
    fn a_tree_that_is_too_deep_gets_nothing_more() {
        let (folder, usage) = usage(100, 10);
        let mut path = folder.path().to_owned();
        for _ in 0..MAX_DEPTH + 2 {
            path.push("d");
            std::fs::create_dir(&path).unwrap();
        }
        assert_eq!(usage.take_bytes(0, 100), 100);
        assert_eq!(usage.take_bytes(0, 1), 0);
    }

    #[test]
    fn without_a_directory_of_its_own_nothing_is_counted() {
        let usage = TmpUsage::default();
        assert!(usage.take_entry());
        assert_eq!(usage.take_bytes(0, u64::MAX), u64::MAX);
    }
}
