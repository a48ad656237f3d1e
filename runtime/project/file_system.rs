//! What kind of file system something lies on, as far as it matters here.

use std::{fs::File, path::Path};

use rustix::fs::{StatFs, fstatfs, statfs};

/// NFS, CIFS, SMB2, 9P, FUSE, Ceph, AFS: as in `statfs(2)`.
const REMOTE: [i64; 7] = [
    0x6969,
    0xff53_4d42,
    0xfe53_4d42,
    0x0102_1997,
    0x6573_5546,
    0x00c3_6400,
    0x5346_414f,
];

/// True where others may change the file without telling this machine, by clocks of their own.
pub fn is_remote(file: &File) -> bool {
    fstatfs(file).is_ok_and(remote)
}

/// The same of whatever lies at `path`.
pub fn is_remote_at(path: &Path) -> bool {
    statfs(path).is_ok_and(remote)
}

fn remote(system: StatFs) -> bool {
    REMOTE.contains(&system.f_type)
}
