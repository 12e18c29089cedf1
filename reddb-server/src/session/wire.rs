//! A connection's socket with its buffers: what was received and what is to be sent.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, Read as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::clients::Client;
use super::shared::Shared;
use crate::reply::Reply;
use crate::resp::{Decoder, Protocol, encode};

/// Answers that are held back to be written together, in bytes.
pub(super) const OUTPUT_BYTES_HELD: usize = 64 * 1024;

/// What one read takes from the socket at most, in bytes.
const READ_BYTES_MAX: usize = 64 * 1024;

/// A buffer that is larger is given back when it is empty.
const BUFFER_BYTES_KEPT: usize = 1024;

/// After the last answer, so much of what the client still sends is thrown away before the socket is closed.
const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// For how long that may take.
const LINGER_MAX: Duration = Duration::from_millis(500);

/// Why a connection ends before its client closed it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Hangup {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the client takes no answers")]
    Stalled,
    #[error("the process is shutting down")]
    ShuttingDown,
    #[error("the client spoke another protocol")]
    Foreign,
    #[error("a command stopped on an internal error")]
    Panicked,
}

/// A client is alone once so many reads in a row were from its socket.
const ALONE_READS_MIN: u32 = 8;

/// It has been so for long once there were so many.
const ALONE_READS_LONG: u32 = 64;

/// After so many bytes that a client takes without a pause, others get their turn.
const SENT_AT_A_TIME_MAX: usize = 1024 * 1024;

thread_local! {
    /// What is read goes through here, so that a connection that waits needs no buffer of its own.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES_MAX].into());
}

/// The socket and its buffers.
pub(super) struct Wire {
    stream: TcpStream,
    pub(super) decoder: Decoder,
    out: BytesMut,
    shared: Arc<Shared>,
    client: Arc<Client>,
    /// What the count of all reads was after the last one from here.
    reads_seen: u64,
    /// How many reads in a row were from here, of all sockets.
    reads_alone: u32,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, shared: Arc<Shared>, client: Arc<Client>) -> Self {
        Self { stream, decoder: Decoder::new(), out: BytesMut::new(), shared, client, reads_seen: 0, reads_alone: 0 }
    }

    /// Waits for bytes and gives the decoder what is there; 0 at the end of the stream.
    pub(super) async fn receive(&mut self) -> io::Result<usize> {
        let (stream, decoder) = (&mut self.stream, &mut self.decoder);
        let received = poll_fn(|context| {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Ready(Ok(())) => {
                        decoder.push(buffer.filled());
                        Poll::Ready(Ok(buffer.filled().len()))
                    }
                }
            })
        })
        .await?;
        self.count_received(received);
        Ok(received)
    }

    /// Gives the decoder what the socket holds at this moment, up to one read's worth; 0 where that is nothing. Asks the system
    /// itself: the runtime learns of bytes that came since its last look only when it looks again. An error, or the stream's end,
    /// is left for [`Wire::receive`], which comes to it when what was received is carried out.
    pub(super) fn receive_ready(&mut self) -> usize {
        let socket = SockRef::from(&self.stream);
        let received = SCRATCH.with_borrow_mut(|scratch| {
            let received = (&*socket).read(scratch).unwrap_or(0);
            self.decoder.push(&scratch[..received]);
            received
        });
        self.count_received(received);
        received
    }

    fn count_received(&mut self, received: usize) {
        let stats = &self.shared.stats;
        stats.received(received);
        let reads = stats.reads.fetch_add(1, Relaxed);
        self.reads_alone = if reads == self.reads_seen { self.reads_alone.saturating_add(1) } else { 0 };
        self.reads_seen = reads.wrapping_add(1);
    }

    /// Whether no other client has sent anything for a while, as far as reads can tell.
    pub(super) fn is_alone(&self) -> bool {
        self.reads_alone >= ALONE_READS_MIN
    }

    /// Whether it has been alone for long enough to move to another thread for it.
    pub(super) fn is_alone_for_long(&self) -> bool {
        self.reads_alone >= ALONE_READS_LONG
    }

    /// The socket once more, for another thread to wait with.
    pub(super) fn another_socket(&self) -> io::Result<std::net::TcpStream> {
        SockRef::from(&self.stream).try_clone().map(Into::into)
    }

    /// Goes on with this, which is the same socket.
    pub(super) fn wait_with(&mut self, stream: TcpStream) {
        self.stream = stream;
    }

    /// Encodes an answer; [`Wire::send`] sends it.
    pub(super) fn put(&mut self, reply: &Reply, protocol: Protocol) {
        encode(reply, protocol, &mut self.out);
    }

    /// What is encoded and not sent, for somebody else to add to.
    pub(super) fn take_unsent(&mut self) -> BytesMut {
        std::mem::take(&mut self.out)
    }

    /// What was taken, with more.
    pub(super) fn put_back(&mut self, unsent: BytesMut) {
        self.out = unsent;
    }

    /// Whether so much waits to be sent that nothing more should be gathered.
    pub(super) fn is_full(&self) -> bool {
        self.out.len() >= OUTPUT_BYTES_HELD
    }

    /// Writes the answers that are encoded.
    pub(super) async fn send(&mut self) -> Result<(), Hangup> {
        let stats = &self.shared.stats;
        let mut held = false;
        let mut sent_at_a_time = 0;
        while !self.out.is_empty() {
            match self.stream.try_write(&self.out) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(sent) => {
                    stats.sent(sent);
                    if sent == self.out.len() {
                        self.out.clear();
                    } else {
                        self.out.advance(sent);
                        sent_at_a_time += sent;
                        if sent_at_a_time >= SENT_AT_A_TIME_MAX {
                            sent_at_a_time = 0;
                            tokio::task::yield_now().await;
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !held {
                        // All of it stays in memory until its last byte is sent.
                        self.shared.clients.hold(&self.client, self.out.len(), self.shared.unsent_bytes_max);
                        held = true;
                    }
                    match tokio::time::timeout(self.shared.write_stall_max, self.stream.writable()).await {
                        Ok(writable) => writable?,
                        Err(_) => return Err(Hangup::Stalled),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        if self.out.capacity() > OUTPUT_BYTES_HELD * 2 {
            self.out = BytesMut::new();
        }
        if held {
            self.shared.clients.release(&self.client);
        }
        Ok(())
    }

    /// Gives back what an idle connection does not need.
    pub(super) fn rest(&mut self) {
        if self.out.is_empty() && self.out.capacity() > BUFFER_BYTES_KEPT {
            self.out = BytesMut::new();
        }
    }

    /// Whether the client has closed its side, as far as is known now.
    pub(super) async fn is_closed(&self) -> io::Result<bool> {
        let ready = poll_once(self.stream.ready(Interest::READABLE)).await;
        Ok(ready.transpose()?.is_some_and(|ready| ready.is_read_closed()))
    }

    /// Lets the last answer arrive: a socket that is closed with bytes unread is reset, and a reset overtakes what was sent.
    pub(super) async fn linger(&mut self) {
        let unread = async {
            self.stream.shutdown().await?;
            let mut left = LINGER_BYTES_MAX;
            while left > 0 {
                match self.receive().await? {
                    0 => break,
                    received => left = left.saturating_sub(received),
                }
                self.decoder = Decoder::new();
            }
            io::Result::Ok(())
        };
        // Whatever goes wrong, the connection is over.
        drop(tokio::time::timeout(LINGER_MAX, unread).await);
    }
}

/// The future's result, where it has one at once.
async fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        })
    })
    .await
}
