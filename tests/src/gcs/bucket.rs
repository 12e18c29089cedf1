//! One bucket in memory: objects with generations, unfinished multipart uploads, and the documented rules for both.
//!
//! No sockets and no clock of its own: the time of a request comes with it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

/// The entries of a page at most, objects and folded prefixes together. The documented limit is 1000, and fewer are allowed.
const PAGE_ENTRIES_MAX: usize = 7;
/// Every part but the last must be at least so long.
const PART_BYTES_MIN: usize = 5 << 20;
/// An object may be replaced once in this time; faster writers are told to slow down.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// A version of an object's content, unique in the bucket and growing; microseconds since 1970.
pub type Generation = u64;

/// What an object is.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its content.
    pub data: Bytes,
    /// Which content that is.
    pub generation: Generation,
    /// An opaque name of the content, in quotes.
    pub etag: String,
    /// When it was written, since 1970.
    pub written: Duration,
}

/// Why a request is refused; the names are the documented ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 400: a part is too short.
    EntityTooSmall,
    /// 400: a part is not the one that was sent.
    InvalidPart,
    /// 400: the parts are not in order.
    InvalidPartOrder,
    /// 404.
    NoSuchKey,
    /// 404.
    NoSuchUpload,
    /// 412: the object's generation is another one.
    PreconditionFailed,
    /// 416: the range begins behind the object's end.
    InvalidRange,
    /// 429: this object was just written.
    SlowDown,
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Names begin so.
    pub prefix: String,
    /// Names are folded at its first occurrence after the prefix.
    pub delimiter: Option<String>,
    /// Names sort after it.
    pub start_after: Option<String>,
    /// Where the page before ended.
    pub after_entry: Option<String>,
    /// Entries at most.
    pub entries_max: Option<usize>,
}

/// A page of a listing.
#[derive(Debug, Default)]
pub struct Page {
    /// Objects by name, in order.
    pub objects: Vec<(String, Object)>,
    /// Folded names, in order.
    pub prefixes: Vec<String>,
    /// The page's last entry, where others follow.
    pub next_after: Option<String>,
}

#[derive(Debug)]
struct Upload {
    name: String,
    parts: BTreeMap<u32, (Bytes, String)>,
}

/// The bucket.
#[derive(Debug, Default)]
pub struct Bucket {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    generation_last: Generation,
}

impl Bucket {
    /// An object, which must be of generation `wanted` where one is given.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, name: &str, wanted: Option<Generation>) -> Result<&Object, Refusal> {
        let object = self.objects.get(name).ok_or(Refusal::NoSuchKey)?;
        if wanted.is_some_and(|wanted| wanted != object.generation) { Err(Refusal::NoSuchKey) } else { Ok(object) }
    }

    /// Whether an object is of the generation that a request depends on; 0 stands for none.
    ///
    /// # Errors
    /// It is not.
    pub fn check(&self, name: &str, only_if: Option<Generation>) -> Result<(), Refusal> {
        let found = self.objects.get(name).map_or(0, |object| object.generation);
        if only_if.is_some_and(|wanted| wanted != found) { Err(Refusal::PreconditionFailed) } else { Ok(()) }
    }

    /// Writes an object.
    ///
    /// # Errors
    /// It is not of generation `only_if`, or was written a moment ago.
    pub fn put(
        &mut self,
        name: &str,
        data: Bytes,
        only_if: Option<Generation>,
        now: Duration,
    ) -> Result<&Object, Refusal> {
        self.check(name, only_if)?;
        if self.objects.get(name).is_some_and(|object| now < object.written + WRITE_INTERVAL) {
            return Err(Refusal::SlowDown);
        }
        self.generation_last = u64::try_from(now.as_micros()).unwrap_or(0).max(self.generation_last + 1);
        let etag = etag(&data);
        let object = Object { data, generation: self.generation_last, etag, written: now };
        self.objects.insert(name.to_owned(), object);
        self.get(name, None)
    }

    /// Removes an object.
    ///
    /// # Errors
    /// There is none, or it is not of generation `only_if`.
    pub fn delete(&mut self, name: &str, only_if: Option<Generation>) -> Result<(), Refusal> {
        self.check(name, only_if)?;
        self.objects.remove(name).map(drop).ok_or(Refusal::NoSuchKey)
    }

    /// A page of names.
    #[must_use]
    pub fn list(&self, listing: &Listing) -> Page {
        let entries_max = listing.entries_max.unwrap_or(PAGE_ENTRIES_MAX).min(PAGE_ENTRIES_MAX);
        let mut page = Page::default();
        let mut last: Option<String> = None;
        for (name, object) in self.objects.range::<String, _>((Bound::Included(&listing.prefix), Bound::Unbounded)) {
            if !name.starts_with(&listing.prefix) {
                break;
            }
            if listing.start_after.as_ref().is_some_and(|after| name <= after) {
                continue;
            }
            let folded = listing.folded(name);
            let entry = folded.as_ref().unwrap_or(name);
            let is_seen = listing.after_entry.as_ref().is_some_and(|after| entry <= after);
            if is_seen || last.as_ref() == Some(entry) {
                continue;
            }
            if page.objects.len() + page.prefixes.len() == entries_max {
                page.next_after = last;
                break;
            }
            last = Some(entry.clone());
            match folded {
                Some(folded) => page.prefixes.push(folded),
                None => page.objects.push((name.clone(), object.clone())),
            }
        }
        page
    }

    /// Begins a multipart upload of `name`; returns its id.
    pub fn begin(&mut self, name: &str) -> String {
        self.generation_last += 1;
        let id = format!("upload+{}/=", self.generation_last);
        self.uploads.insert(id.clone(), Upload { name: name.to_owned(), parts: BTreeMap::new() });
        id
    }

    /// Takes a part, in place of an earlier one of the same number; returns its ETag.
    ///
    /// # Errors
    /// There is no such upload.
    pub fn put_part(&mut self, name: &str, id: &str, number: u32, data: Bytes) -> Result<String, Refusal> {
        let upload = self.uploads.get_mut(id).filter(|upload| upload.name == name).ok_or(Refusal::NoSuchUpload)?;
        let etag = etag(&data);
        upload.parts.insert(number, (data, etag.clone()));
        Ok(etag)
    }

    /// Makes an object of the named parts, each a number and an ETag.
    ///
    /// # Errors
    /// The upload, a part, their order or a length is not right; the upload is still there then.
    pub fn complete(
        &mut self,
        name: &str,
        id: &str,
        parts: &[(u32, String)],
        now: Duration,
    ) -> Result<&Object, Refusal> {
        let upload = self.uploads.get(id).filter(|upload| upload.name == name).ok_or(Refusal::NoSuchUpload)?;
        if parts.is_empty() || parts.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err(Refusal::InvalidPartOrder);
        }
        let mut whole = BytesMut::new();
        for (index, (number, etag)) in parts.iter().enumerate() {
            let (data, found) = upload.parts.get(number).ok_or(Refusal::InvalidPart)?;
            if found != etag {
                return Err(Refusal::InvalidPart);
            }
            if data.len() < PART_BYTES_MIN && index + 1 < parts.len() {
                return Err(Refusal::EntityTooSmall);
            }
            whole.extend_from_slice(data);
        }
        self.put(name, whole.freeze(), None, now)?;
        self.uploads.remove(id);
        self.get(name, None)
    }

    /// Forgets an upload and its parts.
    ///
    /// # Errors
    /// There is none.
    pub fn abort(&mut self, name: &str, id: &str) -> Result<(), Refusal> {
        if self.uploads.get(id).is_none_or(|upload| upload.name != name) {
            return Err(Refusal::NoSuchUpload);
        }
        self.uploads.remove(id);
        Ok(())
    }
}

impl Listing {
    /// The common prefix that stands for `name`, where one does.
    fn folded(&self, name: &str) -> Option<String> {
        let delimiter = self.delimiter.as_deref()?;
        let rest = &name[self.prefix.len()..];
        let end = rest.find(delimiter)? + delimiter.len();
        Some(name[..self.prefix.len() + end].to_owned())
    }
}

fn etag(data: &[u8]) -> String {
    let digest = Sha256::digest(data);
    let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: Bytes = Bytes::from_static(b"x");

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_700_000_000 + seconds)
    }

    fn bucket(names: &[&str]) -> Bucket {
        let mut bucket = Bucket::default();
        for name in names {
            bucket.put(name, X, Some(0), at(0)).unwrap();
        }
        bucket
    }

    /// All entries of a listing, page by page; objects and folded names together.
    fn entries(bucket: &Bucket, mut listing: Listing) -> (Vec<String>, usize) {
        let (mut entries, mut pages) = (Vec::new(), 0);
        loop {
            let page = bucket.list(&listing);
            pages += 1;
            entries.extend(page.objects.into_iter().map(|(name, _)| name));
            entries.extend(page.prefixes);
            match page.next_after {
                Some(after) => listing.after_entry = Some(after),
                None => break,
            }
        }
        entries.sort();
        (entries, pages)
    }

    #[test]
    fn a_write_depends_on_the_generation() {
        let mut bucket = bucket(&["a"]);
        let first = bucket.get("a", None).unwrap().generation;
        assert_eq!(bucket.put("a", X, Some(0), at(9)).unwrap_err(), Refusal::PreconditionFailed);
        assert_eq!(bucket.put("a", X, Some(first + 1), at(9)).unwrap_err(), Refusal::PreconditionFailed);
        let second = bucket.put("a", X, Some(first), at(9)).unwrap().generation;
        assert!(second > first);
        assert_eq!(bucket.get("a", Some(first)).unwrap_err(), Refusal::NoSuchKey);
        assert_eq!(bucket.delete("a", Some(first)).unwrap_err(), Refusal::PreconditionFailed);
        bucket.delete("a", None).unwrap();
        assert_eq!(bucket.delete("a", None).unwrap_err(), Refusal::NoSuchKey);
        assert_eq!(bucket.put("a", X, Some(second), at(19)).unwrap_err(), Refusal::PreconditionFailed);
        assert!(bucket.put("a", X, Some(0), at(19)).is_ok());
    }

    #[test]
    fn an_object_is_written_once_in_a_second() {
        let mut bucket = bucket(&["a"]);
        assert_eq!(bucket.put("a", X, None, at(0)).unwrap_err(), Refusal::SlowDown);
        assert!(bucket.put("b", X, None, at(0)).is_ok());
        assert!(bucket.put("a", X, None, at(1)).is_ok());
    }

    #[test]
    fn a_listing_goes_over_pages_and_misses_nothing() {
        let names: Vec<String> = (0..20).map(|index| format!("p/{index:02}")).collect();
        let mut bucket = bucket(&names.iter().map(String::as_str).collect::<Vec<_>>());
        bucket.put("q/1", X, None, at(0)).unwrap();
        let listing = Listing { prefix: "p/".to_owned(), ..Listing::default() };
        assert_eq!(entries(&bucket, listing.clone()), (names.clone(), 3));
        let after = Listing { start_after: Some("p/10".to_owned()), ..listing.clone() };
        assert_eq!(entries(&bucket, after).0, names[11..]);
        let two = Listing { entries_max: Some(2), ..listing };
        assert_eq!(entries(&bucket, two), (names, 10));
    }

    #[test]
    fn a_delimiter_folds_names() {
        let names: Vec<String> = (0..9).flat_map(|folder| [format!("p/{folder}/a"), format!("p/{folder}/b")]).collect();
        let mut bucket = bucket(&names.iter().map(String::as_str).collect::<Vec<_>>());
        bucket.put("p/0", X, None, at(0)).unwrap();
        let listing = Listing { prefix: "p/".to_owned(), delimiter: Some("/".to_owned()), ..Listing::default() };
        let mut wanted: Vec<String> = (0..9).map(|folder| format!("p/{folder}/")).collect();
        wanted.insert(0, "p/0".to_owned());
        assert_eq!(entries(&bucket, listing), (wanted, 2));
    }

    #[test]
    fn an_upload_is_an_object_only_when_its_parts_are_right() {
        let mut bucket = Bucket::default();
        let id = bucket.begin("big");
        let long = Bytes::from(vec![1; PART_BYTES_MIN]);
        let first = bucket.put_part("big", &id, 1, long.clone()).unwrap();
        let second = bucket.put_part("big", &id, 2, X).unwrap();
        let mut complete = |parts: &[(u32, &String)]| {
            let parts: Vec<_> = parts.iter().map(|(number, etag)| (*number, (*etag).clone())).collect();
            bucket.complete("big", &id, &parts, at(0)).map(|object| object.data.len())
        };
        assert_eq!(complete(&[(2, &second), (1, &first)]), Err(Refusal::InvalidPartOrder));
        assert_eq!(complete(&[(1, &second), (2, &second)]), Err(Refusal::InvalidPart));
        assert_eq!(complete(&[(1, &first), (3, &second)]), Err(Refusal::InvalidPart));
        assert_eq!(complete(&[(1, &first), (2, &second)]), Ok(PART_BYTES_MIN + 1));
        assert_eq!(complete(&[(1, &first), (2, &second)]), Err(Refusal::NoSuchUpload));

        let id = bucket.begin("big");
        let (short, last) = (bucket.put_part("big", &id, 1, X).unwrap(), bucket.put_part("big", &id, 2, X).unwrap());
        assert_eq!(bucket.put_part("other", &id, 1, X).unwrap_err(), Refusal::NoSuchUpload);
        let parts = [(1, short), (2, last)];
        assert_eq!(bucket.complete("big", &id, &parts, at(9)).unwrap_err(), Refusal::EntityTooSmall);
        bucket.abort("big", &id).unwrap();
        assert_eq!(bucket.abort("big", &id).unwrap_err(), Refusal::NoSuchUpload);
    }
}
