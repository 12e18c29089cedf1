//! A file that is read and written past the page cache (`O_DIRECT`), where the file system can.
//!
//! The system wants memory, positions and lengths in whole blocks, so everything goes through a buffer that begins on one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use parking_lot::Mutex;

use crate::limits::BLOCK_BYTES;

/// Memory, positions and lengths are multiples of this. Disks ask for 512 or 4096 bytes.
const BLOCK: usize = BLOCK_BYTES as usize;

/// What one call moves at most, and so what the buffer takes.
const PIECE_BYTES_MAX: usize = 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct DirectFile {
    file: File,
    buffer: Mutex<Vec<u8>>,
}

impl DirectFile {
    /// Opens the file once more, past the page cache; `None` where its file system cannot do that.
    pub(super) fn open(options: &mut OpenOptions, path: &Path) -> io::Result<Option<Self>> {
        set_direct(options);
        match options.open(path) {
            Ok(file) => Ok(Some(Self { file, buffer: Mutex::default() })),
            Err(error) if is_refusal(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes whole blocks.
    pub(super) fn write_all_at(&self, bytes: &[u8], mut offset: u64) -> io::Result<()> {
        let mut buffer = self.buffer.lock();
        for piece in bytes.chunks(PIECE_BYTES_MAX) {
            let aligned = aligned(&mut buffer, piece.len());
            aligned.copy_from_slice(piece);
            self.file.write_all_at(aligned, offset)?;
            offset += piece.len() as u64;
        }
        Ok(())
    }

    /// Reads from any position: fewer bytes than asked where the system gives fewer, none only at the end of the file. Nobody may
    /// change the file's length meanwhile.
    pub(super) fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let skipped = usize::try_from(offset % u64::from(BLOCK_BYTES)).unwrap_or(0);
        let wanted = buf.len().min(PIECE_BYTES_MAX - BLOCK);
        let mut buffer = self.buffer.lock();
        let aligned = aligned(&mut buffer, (skipped + wanted).next_multiple_of(BLOCK));
        let read = self.file.read_at(aligned, offset - skipped as u64)?;
        if read <= skipped {
            return nothing_at(offset, self.file.metadata()?.len());
        }
        let found = &aligned[skipped..read];
        let count = found.len().min(wanted);
        buf[..count].copy_from_slice(&found[..count]);
        Ok(count)
    }
}

/// What it means that the system gave nothing at `offset`: the end of the file, or, where the file goes on, an error.
fn nothing_at(offset: u64, file_bytes: u64) -> io::Result<usize> {
    if offset >= file_bytes {
        return Ok(0);
    }
    let message = format!("the system read nothing at byte {offset} of a file of {file_bytes} bytes");
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, message))
}

/// Whether the system says by this error that it does not read or write this file past its cache.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

/// So many bytes of the buffer, which grows to that, from the beginning of a block of memory on.
fn aligned(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    let enough = len + BLOCK;
    if buffer.len() < enough {
        buffer.resize(enough, 0);
    }
    let address = buffer.as_ptr().addr();
    let start = address.next_multiple_of(BLOCK) - address;
    &mut buffer[start..start + len]
}

#[cfg(target_os = "linux")]
fn set_direct(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    options.custom_flags(rustix::fs::OFlags::DIRECT.bits().cast_signed());
}

#[cfg(not(target_os = "linux"))]
fn set_direct(_: &mut OpenOptions) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn is_opened_past_the_page_cache() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, [0; BLOCK]).unwrap();
        let file = DirectFile::open(OpenOptions::new().read(true), &path).unwrap();
        let flags = rustix::fs::fcntl_getfl(&file.expect("temporary directories are on file systems that can").file);
        assert!(flags.unwrap().contains(rustix::fs::OFlags::DIRECT));
    }

    #[test]
    fn a_file_ends_where_it_ends_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let bytes: Vec<u8> = (0..5000_u16).map(|at| at.to_le_bytes()[0]).collect();
        std::fs::write(&path, &bytes).unwrap();
        let file = DirectFile::open(OpenOptions::new().read(true), &path).unwrap();
        let file = file.expect("temporary directories are on file systems that can");
        for offset in [0, 1, 4095, 4096, 4990, 4999, 5000, 5001, 8191, 8192, 100_000] {
            let mut found = [0; 20];
            let count = file.read_at(&mut found, offset as u64).unwrap();
            let expected = bytes.get(offset..).unwrap_or_default();
            assert_eq!(found[..count], expected[..expected.len().min(20)], "{offset}");
        }
        assert_eq!(file.read_at(&mut [], 10).unwrap(), 0);
        assert!(nothing_at(4999, 5000).is_err());
    }
}
