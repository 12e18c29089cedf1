//! Answers on their way to a thread that many submitters share.
//!
//! Waking a task of another thread costs a system call. So the answers of a batch to submitters of one thread are put into its
//! mailbox, and one task there is woken, which hands them out. The other way round the same task calls the committer's thread:
//! it comes to that when the thread has carried out whatever was ready with the job that made the call necessary, so that a
//! batch begins with all of it. What the thread's connections share for as long as that takes, a round, is given up then, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::committer::Committer;
use super::job::JobOutcome;

/// See the module.
#[derive(Default)]
pub(crate) struct Mailbox {
    answers: Mutex<Vec<(oneshot::Sender<JobOutcome>, JobOutcome)>>,
    /// Whether the committer's thread is to be called.
    call: AtomicBool,
    work: Notify,
}

impl Mailbox {
    /// Hands out answers and makes calls, for ever; one task of the mailbox's thread does this. `round_ends` is called each time.
    pub(crate) async fn serve(&self, committer: &Committer, round_ends: impl Fn()) {
        let mut answers = Vec::new();
        loop {
            self.work.notified().await;
            round_ends();
            std::mem::swap(&mut answers, &mut *self.answers.lock());
            for (reply, outcome) in answers.drain(..) {
                // A receiver that is gone does not matter.
                drop(reply.send(outcome));
            }
            if self.call.swap(false, Ordering::AcqRel) {
                committer.wake();
            }
        }
    }

    /// Something is shared by whatever is carried out in this round.
    pub(crate) fn round_begins(&self) {
        self.work.notify_one();
    }

    /// The committer's thread is to be called once everything is carried out that is ready now.
    pub(super) fn call_later(&self) {
        self.call.store(true, Ordering::Release);
        self.work.notify_one();
    }
}

/// Where a job's answer goes.
pub(super) struct ReplyTo {
    pub(super) sender: oneshot::Sender<JobOutcome>,
    /// The mailbox of the submitter's thread; `None` where the submitter is woken directly.
    pub(super) mailbox: Option<Arc<Mailbox>>,
}

/// The mailboxes that answers were put into and whose threads do not know it yet. They learn it when this goes.
#[derive(Default)]
pub(super) struct Round(Vec<Arc<Mailbox>>);

impl Drop for Round {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|mailbox| mailbox.work.notify_one());
    }
}

impl ReplyTo {
    pub(super) fn send(self, outcome: JobOutcome, round: &mut Round) {
        let Some(mailbox) = self.mailbox else {
            // A receiver that is gone does not matter.
            drop(self.sender.send(outcome));
            return;
        };
        let first = {
            let mut answers = mailbox.answers.lock();
            answers.push((self.sender, outcome));
            answers.len() == 1
        };
        if first {
            round.0.push(mailbox);
        }
    }
}
