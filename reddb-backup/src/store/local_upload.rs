//! Large objects into a local directory, so gently that who syncs files of the same disk does not wait long.
//!
//! An object is written to a name beside its own that the object store does not take for an object, synced every
//! [`SYNC_BYTES`], and gets its name when it is complete and durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use reddb_file::archive::Sha256Digest;
use sha2::{Digest as _, Sha256};

use super::local::make_directory;

/// What is written between two syncs: so much another file's sync may have to wait for.
const SYNC_BYTES: usize = 256 * 1024;

/// Why an object was not written.
#[derive(Debug)]
pub(super) enum LocalUploadError {
    /// The file is not the one that was hashed before, or cannot be read.
    Source(io::Error),
    /// The archive's directory did not take it.
    Archive(io::Error),
    /// Whoever wanted it has gone.
    Gone,
}

/// Removes what was not completed.
struct Unfinished<'a>(Option<&'a Path>);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0
            && let Err(error) = fs::remove_file(path)
        {
            tracing::debug!(path = %path.display(), %error, "an unfinished object could not be removed; it may be deleted");
        }
    }
}

/// Writes the file `from` as the object at `to`. `wanted` is told of each piece's size, and says whether to go on.
pub(super) fn write_object(
    from: &Path,
    (file_bytes, digest): (u64, Sha256Digest),
    to: &Path,
    wanted: impl Fn(u64) -> bool,
) -> Result<(), LocalUploadError> {
    use LocalUploadError::{Archive, Gone, Source};
    let mut source = File::open(from).map_err(Source)?;
    let parent = to.parent().ok_or_else(|| Archive(io::ErrorKind::InvalidInput.into()))?;
    make_directory(parent).map_err(Archive)?;
    let (unfinished_path, mut file) = create_beside(to).map_err(Archive)?;
    let mut unfinished = Unfinished(Some(&unfinished_path));
    let mut hash = Sha256::new();
    let mut total_bytes = 0;
    let mut piece = vec![0; SYNC_BYTES];
    loop {
        let read = read_full(&mut source, &mut piece).map_err(Source)?;
        if read == 0 {
            break;
        }
        hash.update(&piece[..read]);
        file.write_all(&piece[..read]).and_then(|()| file.sync_data()).map_err(Archive)?;
        total_bytes += read as u64;
        if !wanted(read as u64) {
            return Err(Gone);
        }
    }
    let found = Sha256Digest::finish(hash);
    if (total_bytes, found) != (file_bytes, digest) {
        let detail = format!(
            "it changed while it was read: {found}, {total_bytes} bytes, where {digest}, {file_bytes} bytes was expected"
        );
        return Err(Source(io::Error::other(detail)));
    }
    file.sync_all().and_then(|()| fs::rename(&unfinished_path, to)).map_err(Archive)?;
    unfinished.0 = None;
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(Archive)
}

/// A new file beside `path`, under a name that ends in `#` and a number: what the object store calls its own unfinished files.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut number: u64 = 1;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("#{number}"));
        match OpenOptions::new().write(true).create_new(true).open(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            opened => return opened.map(|file| (name.into(), file)),
        }
    }
}

fn read_full(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::object::Store;
    use crate::store::open::{OpenMode, StoreSettings};

    struct Place {
        dir: tempfile::TempDir,
        from: PathBuf,
        to: PathBuf,
    }

    fn place(content: &[u8]) -> Place {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, to) = (dir.path().join("from"), dir.path().join("archive/objects/ab/object"));
        fs::write(&from, content).expect("written");
        Place { dir, from, to }
    }

    fn digest(content: &[u8]) -> (u64, Sha256Digest) {
        let mut hash = Sha256::new();
        hash.update(content);
        (content.len() as u64, Sha256Digest::finish(hash))
    }

    fn names_beside(path: &Path) -> Vec<String> {
        let listed = path.parent().expect("a parent").read_dir().expect("listed");
        listed.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect()
    }

    #[test]
    fn an_object_has_its_bytes_and_nothing_stays_beside_it() {
        for bytes in [0, 1, SYNC_BYTES, 2 * SYNC_BYTES + 17] {
            let content: Vec<u8> = (0..bytes).map(|at| u8::try_from(at % 251).expect("small")).collect();
            let place = place(&content);
            let told = std::cell::Cell::new(0);
            let wanted = |piece_bytes| {
                told.set(told.get() + piece_bytes);
                true
            };
            write_object(&place.from, digest(&content), &place.to, wanted).expect("is written");
            assert_eq!(fs::read(&place.to).expect("readable"), content);
            assert_eq!((told.get(), names_beside(&place.to)), (bytes as u64, vec!["object".to_owned()]));
        }
    }

    #[test]
    fn what_is_not_what_was_hashed_or_not_wanted_any_more_gets_no_name() {
        let content = vec![7; 2 * SYNC_BYTES];
        let place = place(&content);
        let other = write_object(&place.from, digest(b"other"), &place.to, |_| true);
        assert!(matches!(other, Err(LocalUploadError::Source(_))), "{other:?}");
        let (_, same_bytes) = digest(&content);
        let shorter = write_object(&place.from, (content.len() as u64 - 1, same_bytes), &place.to, |_| true);
        assert!(matches!(shorter, Err(LocalUploadError::Source(_))), "{shorter:?}");
        let gone = write_object(&place.from, digest(&content), &place.to, |_| false);
        assert!(matches!(gone, Err(LocalUploadError::Gone)), "{gone:?}");
        assert_eq!(names_beside(&place.to), Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_a_crash_left_unfinished_is_in_nobodys_way_and_no_object() {
        let place = place(b"content");
        let root = place.dir.path().join("archive");
        make_directory(place.to.parent().expect("a parent")).expect("is made");
        let (_, mut unfinished) = create_beside(&place.to).expect("is made");
        unfinished.write_all(b"half").expect("written");
        write_object(&place.from, digest(b"content"), &place.to, |_| true).expect("is written");
        assert_eq!(fs::read(&place.to).expect("readable"), b"content");
        let url = format!("file://{}", root.display()).parse().expect("a URL");
        let store = Store::open(&url, &StoreSettings::default(), OpenMode::MustExist);
        let listed = store.expect("opens").list("").await.expect("is listed");
        assert_eq!(listed.into_iter().map(|object| object.key).collect::<Vec<_>>(), ["objects/ab/object"]);
    }
}
