//! WASI 0.3's files. What a guest writes is a stream here, which the host reads.

use std::fs::File;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use wasmtime::component::{
    Access, Accessor, FutureReader, Resource, Source, StreamConsumer, StreamReader, StreamResult,
};
use wasmtime::{AsContextMut, Result, StoreContextMut};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p3::bindings::filesystem::types::{
    Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, Filesize, Host, HostDescriptor,
    HostDescriptorWithStore, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p3::filesystem::{FilesystemError, FilesystemResult};

use super::super::wasi::State;
use super::{Disk, Files, HasFiles, Making, WRITE_BYTES, end_or, write_some};

/// How a guest learns what has become of a stream.
type End = FutureReader<Result<(), ErrorCode>>;

/// wasmtime's own implementation.
fn plain(store: &Accessor<State, HasFiles>) -> Accessor<State, WasiFilesystem> {
    store.with_getter::<WasiFilesystem>(State::filesystem)
}

impl Files<'_> {
    fn target_0_3(&self, descriptor: &Resource<Descriptor>) -> FilesystemResult<Arc<File>> {
        let file = self.writable(descriptor).map_err(FilesystemError::trap)?;
        Ok(file.ok_or(ErrorCode::BadDescriptor)?)
    }
}

/// Who waits for what `/tmp` holds.
fn disk(store: &Accessor<State, HasFiles>) -> Disk {
    store.with(|mut access| access.get().disk)
}

/// Reads `data` into the file from `position` on, or at its end.
fn write(
    mut store: Access<'_, State, HasFiles>,
    descriptor: &Resource<Descriptor>,
    mut data: StreamReader<u8>,
    position: Option<u64>,
) -> Result<End> {
    let files = store.get();
    let (target, disk) = (files.target_0_3(descriptor), files.disk);
    let (end, ended) = oneshot::channel();
    match target {
        Ok(file) => data.pipe(
            &mut store,
            Writing {
                file,
                disk,
                position,
                task: None,
                end: Some(end),
            },
        )?,
        Err(error) => {
            data.close(&mut store)?;
            // A guest that does not want to know has dropped the other end.
            let _ = end.send(Err(error.downcast()?));
        }
    }
    FutureReader::new(&mut store, ended)
}

/// A stream that is being written into a file.
struct Writing {
    file: Arc<File>,
    disk: Disk,
    /// Where the next byte goes; `None` for the end of the file.
    position: Option<u64>,
    /// Writes on another thread, where the guest does not have its own to itself. Returns how many bytes it wrote.
    task: Option<JoinHandle<io::Result<usize>>>,
    end: Option<oneshot::Sender<Result<(), ErrorCode>>>,
}

impl Writing {
    fn end(&mut self, how: Result<(), ErrorCode>) {
        if let Some(end) = self.end.take() {
            // As above.
            let _ = end.send(how);
        }
    }

    /// How many of these bytes were written. What is cancelled before it has begun has written none.
    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8], finish: bool) -> Poll<io::Result<Option<usize>>> {
        let bytes = &bytes[..bytes.len().min(WRITE_BYTES)];
        let position = self.position;
        if self.disk.may_block {
            let offset = end_or(position, &self.file)?;
            return Poll::Ready(write_some(&self.file, &self.disk.usage, bytes, offset).map(Some));
        }
        let task = self.task.get_or_insert_with(|| {
            let (file, usage, bytes) = (Arc::clone(&self.file), self.disk.usage.clone(), bytes.to_vec());
            spawn_blocking(move || write_some(&file, &usage, &bytes, end_or(position, &file)?))
        });
        let mut polled = Pin::new(&mut *task).poll(context);
        if polled.is_pending() && finish {
            task.abort();
            polled = Pin::new(&mut *task).poll(context);
        }
        let written = ready!(polled);
        self.task = None;
        Poll::Ready(match written {
            Ok(written) => written.map(Some),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Ok(None),
            },
        })
    }
}

impl StreamConsumer<State> for Writing {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        store: StoreContextMut<State>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        let mut source = source.as_direct(store);
        let writing = &mut *self;
        let written = match ready!(writing.poll_write(context, source.remaining(), finish)) {
            Ok(Some(written)) => written,
            Ok(None) => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Err(error) => {
                writing.end(Err(error.into()));
                return Poll::Ready(Ok(StreamResult::Dropped));
            }
        };
        source.mark_read(written);
        if let Some(position) = &mut writing.position {
            *position = position.saturating_add(written as u64);
        }
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.end(Ok(()));
    }
}

impl Host for Files<'_> {
    fn convert_error_code(&mut self, error: FilesystemError) -> Result<ErrorCode> {
        error.downcast()
    }
}

impl HostDescriptor for Files<'_> {
    fn drop(&mut self, descriptor: Resource<Descriptor>) -> Result<()> {
        HostDescriptor::drop(&mut self.wasi, descriptor)
    }
}

impl HostDescriptorWithStore<State> for HasFiles {
    fn write_via_stream(
        store: Access<'_, State, Self>,
        descriptor: Resource<Descriptor>,
        data: StreamReader<u8>,
        offset: Filesize,
    ) -> Result<End> {
        write(store, &descriptor, data, Some(offset))
    }

    fn append_via_stream(
        store: Access<'_, State, Self>,
        descriptor: Resource<Descriptor>,
        data: StreamReader<u8>,
    ) -> Result<End> {
        write(store, &descriptor, data, None)
    }

    async fn set_size(
        store: &Accessor<State, Self>,
        descriptor: Resource<Descriptor>,
        size: Filesize,
    ) -> FilesystemResult<()> {
        let (file, disk) = store.with(|mut access| {
            let files = access.get();
            files.target_0_3(&descriptor).map(|file| (file, files.disk))
        })?;
        disk.make_room(file, size).await?;
        WasiFilesystem::set_size(&plain(store), descriptor, size).await
    }

    async fn open_at(
        store: &Accessor<State, Self>,
        descriptor: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        mut open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FilesystemResult<Resource<Descriptor>> {
        let wanted = Making::new(
            open_flags.contains(OpenFlags::CREATE),
            open_flags.contains(OpenFlags::EXCLUSIVE),
        );
        let flags = match wanted {
            Making::Never => flags,
            Making::IfMissing | Making::Always => flags | DescriptorFlags::WRITE,
        };
        let (disk, plain) = (disk(store), plain(store));
        let open = async |may_make: bool| {
            if !may_make {
                open_flags &= !OpenFlags::CREATE;
            }
            WasiFilesystem::open_at(&plain, descriptor, path_flags, path, open_flags, flags).await
        };
        let is_missing = |error: &FilesystemError| matches!(error.downcast_ref(), Some(ErrorCode::NoEntry));
        let opened = disk.opening(wanted, open, is_missing).await?;
        let file = store.with(|mut access| access.get().writable(&opened));
        if let Some(file) = file.map_err(FilesystemError::trap)? {
            disk.usage.opened(&file);
        }
        Ok(opened)
    }

    async fn create_directory_at(
        store: &Accessor<State, Self>,
        descriptor: Resource<Descriptor>,
        path: String,
    ) -> FilesystemResult<()> {
        let plain = plain(store);
        disk(store)
            .making(WasiFilesystem::create_directory_at(&plain, descriptor, path))
            .await
    }

    async fn link_at(
        store: &Accessor<State, Self>,
        descriptor: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        new_descriptor: Resource<Descriptor>,
        new_path: String,
    ) -> FilesystemResult<()> {
        let plain = plain(store);
        let link = WasiFilesystem::link_at(&plain, descriptor, path_flags, path, new_descriptor, new_path);
        disk(store).making(link).await
    }

    async fn symlink_at(
        store: &Accessor<State, Self>,
        descriptor: Resource<Descriptor>,
        target: String,
        path: String,
    ) -> FilesystemResult<()> {
        let plain = plain(store);
        disk(store)
            .making(WasiFilesystem::symlink_at(&plain, descriptor, target, path))
            .await
    }

    // From here on, as wasmtime has it.

    fn read_via_stream(
        mut store: Access<'_, State, Self>,
        descriptor: Resource<Descriptor>,
        offset: Filesize,
    ) -> Result<(StreamReader<u8>, End)> {
        let plain = Access::<_, WasiFilesystem>::new(store.as_context_mut(), State::filesystem);
        WasiFilesystem::read_via_stream(plain, descriptor, offset)
    }

    fn read_directory(
        mut store: Access<'_, State, Self>,
        descriptor: Resource<Descriptor>,
    ) -> Result<(StreamReader<DirectoryEntry>, End)> {
        let plain = Access::<_, WasiFilesystem>::new(store.as_context_mut(), State::filesystem);
        WasiFilesystem::read_directory(plain, descriptor)
    }

    async fn advise(
        store: &Accessor<State, Self>,
        descriptor: Resource<Descriptor>,
        offset: Filesize,
        length: Filesize,
        advice: Advice,
    ) -> FilesystemResult<()> {
        WasiFilesystem::advise(&plain(store), descriptor, offset, length, advice).await
    }

    async fn sync_data(store: &Accessor<State, Self>, descriptor: Resource<Descriptor>) -> FilesystemResult<()> {
        WasiFilesystem::sync_data(&plain(store), descriptor).await
    }

    async fn get_flags(
        store: &Accessor<State, Self>,
        descriptor: Resource<Descriptor>,
    ) -> FilesystemResult<DescriptorFlags> {
        WasiFilesystem::get_flags(&plain(store), descriptor).await
    }

    async fn get_type(
        store: &Accessor<State, Self>,
        descriptor: Resource<Descriptor>,
    ) -> FilesystemResult<DescriptorType> {
        WasiFilesystem::get_type(&plain(store), descriptor).await
    }

    async fn set_times(
        store: &Accessor<State, Self>,
        descriptor: Resource<Descriptor>,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FilesystemResult<()> {
        WasiFilesystem::set_times(&plain(store), descriptor, accessed, modified).await
    }

    async fn sync(store: &Accessor<State, Self>, descriptor: Resource<Descriptor>) -> FilesystemResult<()> {
        WasiFilesystem::sync(&plain(store), descriptor).await
    }

    async fn stat(store: &Accessor<State, Self>, descriptor: Resource<Descriptor>) -> FilesystemResult<DescriptorStat> {
        WasiFilesystem::stat(&plain(store), descriptor).await
    }

    async fn stat_at(
        store: &Accessor<State, Self>,
        descriptor: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
    ) -> FilesystemResult<DescriptorStat> {
        WasiFilesystem::stat_at(&plain(store), descriptor, path_flags, path).await
    }

    async fn set_times_at(
        store: &Accessor<State, Self>,
        descriptor: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FilesystemResult<()> {
        WasiFilesystem::set_times_at(&plain(store), descriptor, path_flags, path, accessed, modified).await
    }

    async fn readlink_at(
        store: &Accessor<State, Self>,
        descriptor: Resource<Descriptor>,
        path: String,
    ) -> FilesystemResult<String> {
        WasiFilesystem::readlink_at(&plain(store), descriptor, path).await
    }

    async fn remove_directory_at(
        store: &Accessor<State, Self>,
        descriptor: Resource<Descriptor>,
        path: String,
    ) -> FilesystemResult<()> {
        WasiFilesystem::remove_directory_at(&plain(store), descriptor, path).await
    }

    async fn rename_at(
        store: &Accessor<State, Self>,
        descriptor: Resource<Descriptor>,
        path: String,
        new_descriptor: Resource<Descriptor>,
        new_path: String,
    ) -> FilesystemResult<()> {
        WasiFilesystem::rename_at(&plain(store), descriptor, path, new_descriptor, new_path).await
    }

    async fn unlink_file_at(
        store: &Accessor<State, Self>,
        descriptor: Resource<Descriptor>,
        path: String,
    ) -> FilesystemResult<()> {
        WasiFilesystem::unlink_file_at(&plain(store), descriptor, path).await
    }

    async fn is_same_object(
        store: &Accessor<State, Self>,
        one: Resource<Descriptor>,
        other: Resource<Descriptor>,
    ) -> Result<bool> {
        WasiFilesystem::is_same_object(&plain(store), one, other).await
    }

    async fn metadata_hash(
        store: &Accessor<State, Self>,
        descriptor: Resource<Descriptor>,
    ) -> FilesystemResult<MetadataHashValue> {
        WasiFilesystem::metadata_hash(&plain(store), descriptor).await
    }

    async fn metadata_hash_at(
        store: &Accessor<State, Self>,
        descriptor: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
    ) -> FilesystemResult<MetadataHashValue> {
        WasiFilesystem::metadata_hash_at(&plain(store), descriptor, path_flags, path).await
    }
}
