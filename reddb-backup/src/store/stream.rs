//! An object's bytes as a stream that is counted: fewer or more than the object has is an error, not an end.

use std::fmt;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::{GetResult, GetResultPayload};

use super::counters::Counters;
use super::error::{Operation, StoreError, give_up};

/// How much of a local file is read at once.
const FILE_CHUNK_BYTES: u64 = 1024 * 1024;

/// An object that is being read.
pub struct ObjectStream {
    /// The size of the whole object, from whatever offset it is read.
    pub object_bytes: u64,
    /// The bytes. Ends with an error where fewer or more arrive than the object has.
    pub chunks: BoxStream<'static, Result<Bytes, StoreError>>,
}

impl fmt::Debug for ObjectStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectStream").field("object_bytes", &self.object_bytes).finish_non_exhaustive()
    }
}

/// The object's bytes. A local file is read in pieces of [`FILE_CHUNK_BYTES`]: each costs a hop to a thread that may block,
/// and the store's own pieces of 8 KiB make too many of them.
pub(super) fn chunks_of(found: GetResult) -> BoxStream<'static, Result<Bytes, object_store::Error>> {
    let range = found.range.clone();
    match found.payload {
        GetResultPayload::File(file, _) => {
            let state = Some((file, range.start, range.end));
            futures_util::stream::try_unfold(state, |state| async move {
                let Some((mut file, start, end)) = state.filter(|(_, start, end)| start < end) else { return Ok(None) };
                let read = tokio::task::spawn_blocking(move || {
                    let mut piece = Vec::new();
                    file.seek(SeekFrom::Start(start))?;
                    (&mut file).take((end - start).min(FILE_CHUNK_BYTES)).read_to_end(&mut piece)?;
                    io::Result::Ok((file, piece))
                });
                let (file, piece) = read
                    .await?
                    .map_err(|source| object_store::Error::Generic { store: "file", source: source.into() })?;
                // A file that became shorter ends here; whoever counts sees it.
                let next = (!piece.is_empty()).then_some((file, start + piece.len() as u64, end));
                Ok(next.map(|next| (Bytes::from(piece), Some(next))))
            })
            .boxed()
        }
        GetResultPayload::Stream(chunks) => chunks,
    }
}

/// Ends with an error where the bytes are not as many as they should be.
pub(super) fn counted(
    key: String,
    expected_bytes: u64,
    chunks: BoxStream<'static, Result<Bytes, object_store::Error>>,
    counters: Arc<Counters>,
) -> BoxStream<'static, Result<Bytes, StoreError>> {
    let state = (chunks, 0_u64, false);
    futures_util::stream::unfold(state, move |(mut chunks, got_bytes, ended)| {
        let (key, counters) = (key.clone(), Arc::clone(&counters));
        async move {
            if ended {
                return None;
            }
            match chunks.next().await {
                Some(Ok(chunk)) => {
                    let got_bytes = got_bytes + chunk.len() as u64;
                    counters.received(chunk.len() as u64);
                    if got_bytes > expected_bytes {
                        return Some((
                            Err(StoreError::Length { key, expected_bytes, got_bytes }),
                            (chunks, got_bytes, true),
                        ));
                    }
                    Some((Ok(chunk), (chunks, got_bytes, false)))
                }
                Some(Err(error)) => {
                    Some((Err(give_up(&key, Operation::Get, 1, error, None)), (chunks, got_bytes, true)))
                }
                None if got_bytes < expected_bytes => {
                    Some((Err(StoreError::Length { key, expected_bytes, got_bytes }), (chunks, got_bytes, true)))
                }
                None => None,
            }
        }
    })
    .boxed()
}
