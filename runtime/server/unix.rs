//! A Unix socket with its file: for its owner alone, in the place of one that nobody answers on any
//! more, and removed with the value. Knows not what is said over it.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, fchmod};
use tokio::net::{UnixListener, UnixStream};

use super::listen::BACKLOG;

pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file: another server may have put its own in the place.
    file: (u64, u64),
}

impl UnixSocket {
    /// Errors: beside the system's own, `AddrInUse` where somebody answers, and `AlreadyExists` where
    /// something else lies there.
    pub async fn bind(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        make_way(&path).await?;
        let socket = tokio::net::UnixSocket::new_stream()?;
        // The file gets the mode that the socket has: there is no moment in which others may connect.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        socket.bind(&path)?;
        let metadata = fs::symlink_metadata(&path)?;
        Ok(Self {
            listener: socket.listen(BACKLOG)?,
            file: (metadata.dev(), metadata.ino()),
            path,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let own = |metadata: fs::Metadata| (metadata.dev(), metadata.ino()) == self.file;
        if fs::symlink_metadata(&self.path).is_ok_and(own) {
            // Where it cannot be removed, the next server finds that nobody answers.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes what a server left that was killed.
async fn make_way(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        // One that is too busy to answer is one all the same.
        Ok(_) | Err(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}
