//! `EXEC`: what was queued becomes one step. Session commands among it are carried out first, and undone where the
//! transaction does not come about.

use std::time::Duration;

use super::{Connection, aside};
use crate::command::table::Resolved;
use crate::commit::{Invocation, Job, Step, TxnStep};
use crate::database::Database;
use crate::reply::{CommandError, Reply};
use crate::session::state::{Answer, Later, Queue, Queued};
use crate::session::wire::Hangup;

/// What the steps of a longer transaction will read is read by another thread.
const INLINE_STEPS_MAX: usize = 64;

impl Connection {
    /// `EXEC`, where a `MULTI` is open.
    pub(super) async fn exec(&mut self, resolved: Resolved) -> Result<(), Hangup> {
        let queue = self.session.take_queue().unwrap_or_default();
        let watcher = self.session.take_watcher();
        if queue.broken {
            let error = CommandError::fixed("EXECABORT Transaction discarded because of previous errors.");
            self.reject(Some(resolved.counter), error);
            return Ok(());
        }
        for queued in &queue.commands {
            self.session.shared.stats.queued(queued.resolved.counter);
        }
        let with_session_commands = queue.commands.iter().any(|queued| queued.resolved.entry.session.is_some());
        if !with_session_commands {
            let db = self.session.db();
            let run =
                |queued: Queued| TxnStep::Run(Invocation { spec: queued.resolved.entry.spec, args: queued.args, db });
            let steps: Vec<TxnStep> = queue.commands.into_iter().map(run).collect();
            if steps.is_empty() && watcher.is_none() {
                self.answer(Reply::Array(Vec::new()));
                return Ok(());
            }
            let steps = self.warm(steps).await?;
            self.step(resolved.counter, Step::Transaction { steps, watcher });
            return Ok(());
        }
        self.settle().await?;
        let before = self.session.checkpoint();
        // A touched watch stays touched. The committer says so when what touched it is durable.
        let touched = watcher.as_ref().is_some_and(|watcher| watcher.is_touched());
        let steps = if touched { Vec::new() } else { self.transaction_steps(queue).await };
        let steps = self.warm(steps).await?;
        let outcome = self.submit(Job { steps: vec![Step::Transaction { steps, watcher }] }).await;
        let Ok(outcome) = outcome else { return Err(self.shut_down().await) };
        if outcome.receipt.is_some() {
            self.session.receipt = outcome.receipt;
        }
        let reply = outcome.replies.into_iter().next().unwrap_or(Reply::NullArray);
        if !matches!(reply, Reply::Array(_)) {
            self.session.restore(before);
            self.closing = false;
        }
        self.session.shared.stats.executed(resolved.counter, Duration::ZERO, &reply);
        self.answer(reply);
        Ok(())
    }

    /// What was queued, its session commands carried out.
    async fn transaction_steps(&mut self, queue: Queue) -> Vec<TxnStep> {
        let mut steps = Vec::with_capacity(queue.commands.len());
        for queued in queue.commands {
            let entry = queued.resolved.entry;
            let Some((_, run)) = entry.session else {
                steps.push(TxnStep::Run(self.invocation(queued.resolved, queued.args)));
                continue;
            };
            steps.push(TxnStep::Ready(match run(&mut self.session, &queued.args) {
                Err(error) => Reply::Error(error),
                Ok(Answer::Reply(reply)) => reply,
                Ok(Answer::Close(reply)) => {
                    self.closing = true;
                    reply
                }
                // Inside a transaction nothing waits.
                Ok(Answer::Later(Later::Replicas(_))) => Reply::Int(0),
                Ok(Answer::Submit(_) | Answer::Later(Later::Save | Later::Digest)) => {
                    Reply::Error(CommandError::fixed("ERR Command not allowed inside a transaction"))
                }
            }));
        }
        steps
    }

    /// Pulls what a transaction's writes will read into the cache.
    async fn warm(&self, steps: Vec<TxnStep>) -> Result<Vec<TxnStep>, Hangup> {
        let is_large = steps.len() > INLINE_STEPS_MAX;
        let db = self.session.shared.db.clone();
        let warm = move || {
            let view = db.view();
            for step in &steps {
                if let TxnStep::Run(invocation) = step {
                    Database::warm(&view, invocation);
                }
            }
            steps
        };
        if is_large { aside(warm).await } else { Ok(warm()) }
    }
}
