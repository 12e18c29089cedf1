//! A store that misbehaves on command, for tests.
//!
//! ```
//! # use std::sync::Arc;
//! # use reddb_backup::store::{Store, RetryPolicy, fault::{FaultStore, Op}};
//! let (faulty, faults) = FaultStore::new(Arc::new(object_store::memory::InMemory::new()));
//! let store = Store::new(Arc::new(faulty), "", "faulty").with_retry(RetryPolicy::once());
//! faults.fail_next(Op::Put);      // the next write fails and does nothing
//! faults.lose_answer_next();      // the next write happens and says that it failed
//! faults.go_offline();            // everything fails from now on
//! # drop(store);
//! ```

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Reading an object.
    Get,
    /// Asking for an object's size.
    Head,
    /// Listing.
    List,
    /// Writing an object, whole or in parts.
    Put,
    /// Removing an object.
    Delete,
}

#[derive(Debug, Default)]
struct State {
    offline: bool,
    fail: Vec<Op>,
    fail_at: Option<u64>,
    lose_answers: u32,
    lies: u32,
    corrupt_gets: u32,
    ignores_create_only: bool,
    ignores_list_offsets: bool,
    hides_from_lists: Option<String>,
    refuses_writes_of: Option<String>,
    other_place: Option<Arc<dyn ObjectStore>>,
    requests: Vec<(Op, String)>,
}

/// The switches of a [`FaultStore`]. Clones steer the same store.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<State>>);

impl Faults {
    /// The next request of this kind fails and does nothing. Calls add up.
    pub fn fail_next(&self, op: Op) {
        self.0.lock().fail.push(op);
    }

    /// The request with this number, counted from now and from 0, fails and does nothing, whatever it is.
    pub fn fail_nth(&self, number: u64) {
        let mut state = self.0.lock();
        state.fail_at = Some(state.requests.len() as u64 + number);
    }

    /// The next write takes place and answers with a failure.
    pub fn lose_answer_next(&self) {
        self.0.lock().lose_answers += 1;
    }

    /// The next write does nothing and answers that the object exists.
    pub fn lie_already_exists_next(&self) {
        self.0.lock().lies += 1;
    }

    /// The next read flips a bit in the object's middle.
    pub fn corrupt_next_get(&self) {
        self.0.lock().corrupt_gets += 1;
    }

    /// From now on create-only writes overwrite, as on a store that does not know the condition.
    pub fn ignore_create_only(&self) {
        self.0.lock().ignores_create_only = true;
    }

    /// From now on listings that should begin behind a key begin at the first, as on a store that does not know offsets.
    pub fn ignore_list_offsets(&self) {
        self.0.lock().ignores_list_offsets = true;
    }

    /// From now on listings leave out what has `part` in its key.
    pub fn hide_from_lists(&self, part: &str) {
        self.0.lock().hides_from_lists = Some(part.into());
    }

    /// Every request fails from now on.
    pub fn go_offline(&self) {
        self.0.lock().offline = true;
    }

    /// Writes of keys that contain `part` fail from now on.
    pub fn go_offline_for_writes_of(&self, part: &str) {
        self.0.lock().refuses_writes_of = Some(part.into());
    }

    /// The end of [`Faults::go_offline`].
    pub fn go_online(&self) {
        self.0.lock().offline = false;
    }

    /// Another store answers from now on, as where a disk is mounted over the archive's directory. [`Faults::heal`] ends it.
    pub fn answer_from(&self, other: Arc<dyn ObjectStore>) {
        self.0.lock().other_place = Some(other);
    }

    /// Forgets every fault that was planned and has not happened. What [`Faults::requests`] tells stays.
    pub fn heal(&self) {
        let mut state = self.0.lock();
        *state = State { requests: std::mem::take(&mut state.requests), ..State::default() };
    }

    /// The requests so far, in order, failed ones too. A listing of one level has a `/` behind its folder.
    #[must_use]
    pub fn requests(&self) -> Vec<(Op, String)> {
        self.0.lock().requests.clone()
    }

    /// Writes down a request and says whether it fails.
    fn begin(&self, op: Op, location: &str) -> Result<()> {
        let mut state = self.0.lock();
        let number = state.requests.len() as u64;
        state.requests.push((op, location.into()));
        if state.offline {
            return Err(failure("offline"));
        }
        if op == Op::Put && state.refuses_writes_of.as_ref().is_some_and(|part| location.contains(part)) {
            return Err(failure("told to refuse these writes"));
        }
        if state.fail_at == Some(number) {
            state.fail_at = None;
            return Err(failure("the n-th request fails"));
        }
        if let Some(at) = state.fail.iter().position(|planned| *planned == op) {
            state.fail.remove(at);
            return Err(failure("told to fail"));
        }
        Ok(())
    }

    fn take(&self, counter: impl FnOnce(&mut State) -> &mut u32) -> bool {
        let mut state = self.0.lock();
        let counter = counter(&mut state);
        let armed = *counter > 0;
        *counter = counter.saturating_sub(1);
        armed
    }
}

fn failure(detail: &str) -> object_store::Error {
    object_store::Error::Generic { store: "fault", source: detail.into() }
}

/// A store that does what its [`Faults`] say.
#[derive(Debug)]
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    faults: Faults,
}

impl FaultStore {
    /// A well-behaved decorator of `inner`, and its switches.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>) -> (Self, Faults) {
        let faults = Faults::default();
        (Self { inner, faults: faults.clone() }, faults)
    }

    /// What answers at present.
    fn answering(&self) -> Arc<dyn ObjectStore> {
        self.faults.0.lock().other_place.clone().unwrap_or_else(|| Arc::clone(&self.inner))
    }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        self.faults.begin(Op::Put, location.as_ref())?;
        if options.mode == PutMode::Create && self.faults.take(|state| &mut state.lies) {
            let path = location.to_string();
            return Err(object_store::Error::AlreadyExists { path, source: "a lie".into() });
        }
        if self.faults.0.lock().ignores_create_only {
            options.mode = PutMode::Overwrite;
        }
        let result = self.answering().put_opts(location, payload, options).await?;
        if self.faults.take(|state| &mut state.lose_answers) { Err(failure("the answer was lost")) } else { Ok(result) }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.faults.begin(Op::Put, location.as_ref())?;
        self.answering().put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.faults.begin(if options.head { Op::Head } else { Op::Get }, location.as_ref())?;
        let head = options.head;
        let mut result = self.answering().get_opts(location, options).await?;
        if !head && self.faults.take(|state| &mut state.corrupt_gets) {
            let (meta, range) = (result.meta.clone(), result.range.clone());
            let (attributes, extensions) = (result.attributes.clone(), result.extensions.clone());
            let mut bytes = result.bytes().await?.to_vec();
            let middle = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 1;
            }
            let payload = GetResultPayload::Stream(stream::once(async move { Ok(Bytes::from(bytes)) }).boxed());
            result = GetResult { payload, meta, range, attributes, extensions };
        }
        Ok(result)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (faults, inner) = (self.faults.clone(), self.answering());
        locations
            .then(move |location| {
                let (faults, inner) = (faults.clone(), Arc::clone(&inner));
                async move {
                    let location = location?;
                    faults.begin(Op::Delete, location.as_ref())?;
                    inner.delete(&location).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let folder = prefix.map(ToString::to_string).unwrap_or_default();
        if let Err(error) = self.faults.begin(Op::List, &folder) {
            return stream::once(async move { Err(error) }).boxed();
        }
        let hidden = self.faults.0.lock().hides_from_lists.clone();
        let shown = move |meta: &ObjectMeta| {
            let hide = hidden.as_ref().is_some_and(|part| meta.location.as_ref().contains(part));
            std::future::ready(!hide)
        };
        self.answering().list(prefix).try_filter(shown).boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let (all, offset) = (self.faults.0.lock().ignores_list_offsets, offset.clone());
        self.list(prefix).try_filter(move |meta| std::future::ready(all || meta.location > offset)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.faults.begin(Op::List, &format!("{}/", prefix.map(Path::as_ref).unwrap_or_default()))?;
        self.answering().list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.faults.begin(Op::Put, to.as_ref())?;
        self.answering().copy_opts(from, to, options).await
    }
}
