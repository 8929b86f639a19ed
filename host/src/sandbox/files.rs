//! A guest's files, within the limits of its `/tmp`: here WASI 0.2's, in [`wasi_0_3`] those of WASI 0.3.
//!
//! wasmtime's own implementation does the work. What makes a file longer, or a new name, passes through
//! [`TmpUsage`](super::usage::TmpUsage) before; where that refuses, the guest gets the error of a full disk. Writing is done here
//! altogether. A guest that has its thread to itself writes on it, where wasmtime's streams would start another one; elsewhere
//! there is a thread for what may wait for the disk, and other guests go on.

#[cfg(feature = "wasi-0-3")]
mod wasi_0_3;

use std::fs::File;
use std::io;
use std::mem;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::Errno;
use wasmtime::Result;
use wasmtime::component::{HasData, Resource, ResourceTableError};
use wasmtime_wasi::OpenMode;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, DirectoryEntryStream, ErrorCode, Filesize,
    Host, HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, FsError, FsResult, OutputStream, Pollable, StreamError, StreamResult,
};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn_blocking};

use super::usage::TmpUsage;

/// What a guest may write in one call.
const WRITE_BYTES: usize = 1 << 20;

/// The files of one sandbox.
pub(super) struct Files<'a> {
    pub(super) wasi: WasiFilesystemCtxView<'a>,
    pub(super) disk: Disk,
}

/// What its `/tmp` holds, and who waits for it.
#[derive(Clone)]
pub(super) struct Disk {
    pub(super) usage: TmpUsage,
    /// Whether the guest has its thread to itself.
    pub(super) may_block: bool,
}

/// That the data behind WASI's file functions are [`Files`].
pub(super) struct HasFiles;

impl HasData for HasFiles {
    type Data<'a> = Files<'a>;
}

impl Disk {
    /// Does what may take its time.
    async fn wait_for<T: Send + 'static>(&self, work: impl FnOnce(&TmpUsage) -> T + Send + 'static) -> T {
        match self.may_block {
            true => work(&self.usage),
            false => {
                let usage = self.usage.clone();
                spawn_blocking(move || work(&usage)).await
            }
        }
    }

    /// Charges what a file grows by when it gets that size.
    async fn make_room(&self, file: Arc<File>, size: u64) -> io::Result<()> {
        let has_room = move |usage: &TmpUsage| {
            let length = file.metadata()?.len();
            Ok::<_, io::Error>(usage.take_bytes(length, size) >= size.saturating_sub(length))
        };
        match self.wait_for(has_room).await? {
            true => Ok(()),
            false => Err(Errno::NOSPC.into()),
        }
    }

    /// Charges a new name for what `make` does.
    async fn making<T, E: From<io::Error>>(&self, make: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        if !self.wait_for(TmpUsage::take_entry).await {
            return Err(io::Error::from(Errno::NOSPC).into());
        }
        let made = make.await;
        if made.is_err() {
            self.usage.return_entry();
        }
        made
    }

    /// Charges a new name for what `open` makes if it is not there. `open` is told whether it may make it: where there is no room
    /// for a name, what is there already can be opened all the same. `is_missing` tells the error of what is not.
    async fn opening<T, E: From<io::Error>>(
        &self,
        wanted: Making,
        open: impl AsyncFnOnce(bool) -> Result<T, E>,
        is_missing: impl FnOnce(&E) -> bool,
    ) -> Result<T, E> {
        let is_full = || E::from(Errno::NOSPC.into());
        let is_charged = match wanted {
            Making::Never => return open(false).await,
            Making::IfMissing | Making::Always => self.wait_for(TmpUsage::take_entry).await,
        };
        if !is_charged && wanted == Making::Always {
            return Err(is_full());
        }
        match open(is_charged).await {
            Ok(opened) => Ok(opened),
            Err(error) if is_charged => {
                self.usage.return_entry();
                Err(error)
            }
            Err(error) if is_missing(&error) => Err(is_full()),
            Err(error) => Err(error),
        }
    }
}

/// Whether a file is made when it is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Making {
    Never,
    IfMissing,
    Always,
}

impl Making {
    fn new(create: bool, exclusive: bool) -> Self {
        match (create, exclusive) {
            (false, _) => Self::Never,
            (true, false) => Self::IfMissing,
            (true, true) => Self::Always,
        }
    }
}

impl Files<'_> {
    /// The file behind a descriptor, if it may be written.
    fn writable(
        &self,
        descriptor: &Resource<Descriptor>,
    ) -> std::result::Result<Option<Arc<File>>, ResourceTableError> {
        Ok(match self.wasi.table.get(descriptor)? {
            Descriptor::File(file) if file.open_mode.contains(OpenMode::WRITE) => Some(Arc::clone(&file.file)),
            Descriptor::File(_) | Descriptor::Dir(_) => None,
        })
    }

    fn target(&self, descriptor: &Resource<Descriptor>) -> FsResult<Arc<File>> {
        Ok(self.writable(descriptor)?.ok_or(ErrorCode::BadDescriptor)?)
    }

    fn writer(
        &mut self,
        descriptor: &Resource<Descriptor>,
        position: Option<u64>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let writer = Writer {
            file: self.target(descriptor)?,
            disk: self.disk.clone(),
            position,
            progress: Progress::Ready,
        };
        let writer: DynOutputStream = Box::new(writer);
        Ok(self.wasi.table.push(writer)?)
    }
}

impl Host for Files<'_> {
    fn convert_error_code(&mut self, error: FsError) -> Result<ErrorCode> {
        self.wasi.convert_error_code(error)
    }

    fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> Result<Option<ErrorCode>> {
        self.wasi.filesystem_error_code(error)
    }
}

impl HostDescriptor for Files<'_> {
    async fn set_size(&mut self, descriptor: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        self.disk.make_room(self.target(&descriptor)?, size).await?;
        self.wasi.set_size(descriptor, size).await
    }

    async fn write(
        &mut self,
        descriptor: Resource<Descriptor>,
        bytes: Vec<u8>,
        offset: Filesize,
    ) -> FsResult<Filesize> {
        let file = self.target(&descriptor)?;
        let write = move |usage: &TmpUsage| write_some(&file, usage, &bytes, offset);
        Ok(self.disk.wait_for(write).await? as Filesize)
    }

    fn write_via_stream(
        &mut self,
        descriptor: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynOutputStream>> {
        self.writer(&descriptor, Some(offset))
    }

    fn append_via_stream(&mut self, descriptor: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        self.writer(&descriptor, None)
    }

    async fn open_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        mut open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let wanted = Making::new(
            open_flags.contains(OpenFlags::CREATE),
            open_flags.contains(OpenFlags::EXCLUSIVE),
        );
        let flags = match wanted {
            Making::Never => flags,
            Making::IfMissing | Making::Always => flags | DescriptorFlags::WRITE,
        };
        let wasi = &mut self.wasi;
        let open = async |may_make: bool| {
            if !may_make {
                open_flags &= !OpenFlags::CREATE;
            }
            wasi.open_at(descriptor, path_flags, path, open_flags, flags).await
        };
        let is_missing = |error: &FsError| matches!(error.downcast_ref(), Some(ErrorCode::NoEntry));
        let opened = self.disk.opening(wanted, open, is_missing).await?;
        if let Some(file) = self.writable(&opened)? {
            self.disk.usage.opened(&file);
        }
        Ok(opened)
    }

    async fn create_directory_at(&mut self, descriptor: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.disk.making(self.wasi.create_directory_at(descriptor, path)).await
    }

    async fn link_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        new_descriptor: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        let link = self
            .wasi
            .link_at(descriptor, path_flags, path, new_descriptor, new_path);
        self.disk.making(link).await
    }

    async fn symlink_at(&mut self, descriptor: Resource<Descriptor>, target: String, path: String) -> FsResult<()> {
        self.disk.making(self.wasi.symlink_at(descriptor, target, path)).await
    }

    // From here on, as wasmtime has it.

    async fn advise(
        &mut self,
        descriptor: Resource<Descriptor>,
        offset: Filesize,
        length: Filesize,
        advice: Advice,
    ) -> FsResult<()> {
        self.wasi.advise(descriptor, offset, length, advice).await
    }

    async fn sync_data(&mut self, descriptor: Resource<Descriptor>) -> FsResult<()> {
        self.wasi.sync_data(descriptor).await
    }

    async fn get_flags(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        self.wasi.get_flags(descriptor).await
    }

    async fn get_type(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorType> {
        self.wasi.get_type(descriptor).await
    }

    async fn set_times(
        &mut self,
        descriptor: Resource<Descriptor>,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        self.wasi.set_times(descriptor, accessed, modified).await
    }

    async fn read(
        &mut self,
        descriptor: Resource<Descriptor>,
        length: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        self.wasi.read(descriptor, length, offset).await
    }

    async fn read_directory(&mut self, descriptor: Resource<Descriptor>) -> FsResult<Resource<DirectoryEntryStream>> {
        self.wasi.read_directory(descriptor).await
    }

    async fn sync(&mut self, descriptor: Resource<Descriptor>) -> FsResult<()> {
        self.wasi.sync(descriptor).await
    }

    async fn stat(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        self.wasi.stat(descriptor).await
    }

    async fn stat_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        self.wasi.stat_at(descriptor, path_flags, path).await
    }

    async fn set_times_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        self.wasi
            .set_times_at(descriptor, path_flags, path, accessed, modified)
            .await
    }

    async fn readlink_at(&mut self, descriptor: Resource<Descriptor>, path: String) -> FsResult<String> {
        self.wasi.readlink_at(descriptor, path).await
    }

    async fn remove_directory_at(&mut self, descriptor: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.wasi.remove_directory_at(descriptor, path).await
    }

    async fn rename_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path: String,
        new_descriptor: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        self.wasi.rename_at(descriptor, path, new_descriptor, new_path).await
    }

    async fn unlink_file_at(&mut self, descriptor: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.wasi.unlink_file_at(descriptor, path).await
    }

    fn read_via_stream(
        &mut self,
        descriptor: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynInputStream>> {
        self.wasi.read_via_stream(descriptor, offset)
    }

    async fn is_same_object(&mut self, one: Resource<Descriptor>, other: Resource<Descriptor>) -> Result<bool> {
        self.wasi.is_same_object(one, other).await
    }

    async fn metadata_hash(&mut self, descriptor: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        self.wasi.metadata_hash(descriptor).await
    }

    async fn metadata_hash_at(
        &mut self,
        descriptor: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        self.wasi.metadata_hash_at(descriptor, path_flags, path).await
    }

    fn drop(&mut self, descriptor: Resource<Descriptor>) -> Result<()> {
        HostDescriptor::drop(&mut self.wasi, descriptor)
    }
}

impl HostDirectoryEntryStream for Files<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        self.wasi.read_directory_entry(stream).await
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> Result<()> {
        HostDirectoryEntryStream::drop(&mut self.wasi, stream)
    }
}

/// Writes as much of `bytes` as there is room for, and says how much that was.
fn write_some(file: &File, usage: &TmpUsage, bytes: &[u8], offset: u64) -> io::Result<usize> {
    let end = offset.checked_add(bytes.len() as u64).ok_or(Errno::FBIG)?;
    let length = file.metadata()?.len();
    let missing = end.saturating_sub(length) - usage.take_bytes(length, end);
    let room = bytes
        .len()
        .saturating_sub(usize::try_from(missing).unwrap_or(usize::MAX));
    if room == 0 && !bytes.is_empty() {
        return Err(Errno::NOSPC.into());
    }
    file.write_all_at(&bytes[..room], offset)?;
    Ok(room)
}

/// Where the next byte goes: there, or at the end of the file.
fn end_or(position: Option<u64>, file: &File) -> io::Result<u64> {
    match position {
        Some(position) => Ok(position),
        None => file.metadata().map(|metadata| metadata.len()),
    }
}

/// Writes all of it there, or at the end of the file, wherever that is; or what there is room for, and that is an error.
fn write_whole(file: &File, usage: &TmpUsage, bytes: &[u8], position: Option<u64>) -> io::Result<()> {
    match write_some(file, usage, bytes, end_or(position, file)?)? < bytes.len() {
        true => Err(Errno::NOSPC.into()),
        false => Ok(()),
    }
}

/// A stream into a file.
struct Writer {
    file: Arc<File>,
    disk: Disk,
    /// Where the next byte goes; `None` for the end of the file.
    position: Option<u64>,
    progress: Progress,
}

/// What has become of the bytes that were written last.
enum Progress {
    /// They are in the file.
    Ready,
    /// A thread is writing them.
    Writing(AbortOnDropJoinHandle<io::Result<()>>),
    /// They could not be written, and the guest is still to be told.
    Failed(io::Error),
    /// It was told, and gets to write no more.
    Closed,
}

impl Progress {
    fn after(written: io::Result<()>) -> Self {
        match written {
            Ok(()) => Self::Ready,
            Err(error) => Self::Failed(error),
        }
    }
}

impl Writer {
    /// Tells the guest of a failure, once.
    fn tell(&mut self) -> StreamResult<()> {
        match mem::replace(&mut self.progress, Progress::Closed) {
            Progress::Failed(error) => Err(StreamError::LastOperationFailed(error.into())),
            Progress::Closed => Err(StreamError::Closed),
            unfailing @ (Progress::Ready | Progress::Writing(_)) => {
                self.progress = unfailing;
                Ok(())
            }
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        if let Progress::Writing(task) = &mut self.progress {
            self.progress = Progress::after(task.await);
        }
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.tell()?;
        if let Progress::Writing(_) = self.progress {
            return Err(StreamError::trap("the stream was written to before it was ready again"));
        }
        let position = self.position;
        if let Some(position) = &mut self.position {
            *position = position.saturating_add(bytes.len() as u64);
        }
        let (file, usage) = (Arc::clone(&self.file), self.disk.usage.clone());
        let write = move || write_whole(&file, &usage, &bytes, position);
        self.progress = match self.disk.may_block {
            true => Progress::after(write()),
            false => Progress::Writing(spawn_blocking(write)),
        };
        self.tell()
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.tell()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.tell()?;
        Ok(match self.progress {
            Progress::Writing(_) => 0,
            Progress::Ready | Progress::Failed(_) | Progress::Closed => WRITE_BYTES,
        })
    }

    /// A guest that drops a stream waits for what it has begun to write, else it could begin any number of writes.
    async fn cancel(&mut self) {
        if let Progress::Writing(task) = mem::replace(&mut self.progress, Progress::Closed) {
            task.cancel().await;
        }
    }
}
