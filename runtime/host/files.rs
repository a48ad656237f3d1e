//! How many files and folders a store has open: the function that opens them, with a limit in front of it.

use std::any::Any;

use wasmtime::{
    StoreContextMut,
    component::{Accessor, Linker, Resource, ResourceTable},
};
use wasmtime_wasi::{
    WasiView,
    filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView},
    p2::{
        DynInputStream, DynOutputStream,
        bindings::filesystem::types::{self as p2, HostDescriptor as _},
    },
    p3::bindings::filesystem::types::{self as p3, HostDescriptorWithStore},
};

use super::Host;

const OPEN: &str = "[method]descriptor.open-at";

type Open2 = (
    Resource<Descriptor>,
    p2::PathFlags,
    String,
    p2::OpenFlags,
    p2::DescriptorFlags,
);
type Opened2 = (Result<Resource<Descriptor>, p2::ErrorCode>,);

type Open3 = (
    Resource<Descriptor>,
    p3::PathFlags,
    String,
    p3::OpenFlags,
    p3::DescriptorFlags,
);
type Opened3 = (Result<Resource<Descriptor>, p3::ErrorCode>,);

/// Files and folders that are open. A stream keeps its file open when the descriptor is gone, so each
/// counts as one.
pub fn open(table: &mut ResourceTable) -> usize {
    let is_one = |entry: &&mut (dyn Any + Send)| {
        entry.is::<Descriptor>() || entry.is::<DynInputStream>() || entry.is::<DynOutputStream>()
    };
    table.iter_mut().filter(is_one).count()
}

/// Puts the limit in front of what WASI 0.2 opens files by. Errors: none that a user could cause.
pub fn limit(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker
        .instance("wasi:filesystem/types@0.2.12")?
        .func_wrap_async(OPEN, |store, params| Box::new(open_02(store, params)))?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The same of WASI 0.3.
pub fn limit_03(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker
        .instance("wasi:filesystem/types@0.3.0")?
        .func_wrap_concurrent(OPEN, |accessor, params| Box::pin(open_03(accessor, params)))?;
    linker.allow_shadowing(false);
    Ok(())
}

async fn open_02(mut store: StoreContextMut<'_, Host>, params: Open2) -> wasmtime::Result<Opened2> {
    let host = store.data_mut();
    if host.has_all_files() {
        return Ok((Err(p2::ErrorCode::Quota),));
    }
    let (folder, path_flags, path, open_flags, flags) = params;
    let mut view = host.filesystem();
    let opened = view.open_at(folder, path_flags, path, open_flags, flags).await;
    Ok((match opened {
        Ok(file) => Ok(file),
        Err(error) => Err(p2::Host::convert_error_code(&mut view, error)?),
    },))
}

async fn open_03(accessor: &Accessor<Host>, params: Open3) -> wasmtime::Result<Opened3> {
    if accessor.with(|mut access| access.get().has_all_files()) {
        return Ok((Err(p3::ErrorCode::Quota),));
    }
    let (folder, path_flags, path, open_flags, flags) = params;
    let files = accessor.with_getter::<WasiFilesystem>(WasiFilesystemView::filesystem);
    let opened = WasiFilesystem::open_at(&files, folder, path_flags, path, open_flags, flags).await;
    Ok((match opened {
        Ok(file) => Ok(file),
        Err(error) => Err(files.with(|mut access| p3::Host::convert_error_code(&mut access.get(), error))?),
    },))
}

impl Host {
    fn has_all_files(&mut self) -> bool {
        let most = self.files;
        open(self.ctx().table) >= most
    }
}
