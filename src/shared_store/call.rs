//! One call of a script, on its way to the store.

use std::sync::Arc;

use redis::{Arg, Cmd, Value};
use tokio::sync::oneshot;

use crate::shared_store::{failure::Cause, script::Script, slots};

/// One call of a script.
pub(crate) struct Call {
    pub(crate) script: Arc<Script>,
    pub(crate) command: Cmd,
    /// Who waits for the answer, if anybody does.
    pub(crate) reply: Option<oneshot::Sender<Result<Value, Cause>>>,
    /// Where a node of a cluster has said that the keys are.
    pub(crate) redirected: Option<Redirected>,
    /// Whether the node is told that it does not have the keys yet.
    pub(crate) asking: bool,
}

/// Where a node of a cluster has said that keys are.
pub(crate) enum Redirected {
    /// There, for this time.
    Ask((String, u16)),
    /// There, from now on.
    Moved((String, u16)),
    /// On two nodes.
    TryAgain,
}

impl Call {
    /// Returns whether the caller has gone: what has not been sent need not be charged.
    pub(crate) fn is_forsaken(&self) -> bool {
        self.reply.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    pub(crate) fn answer(self, result: Result<Value, Cause>) {
        if let Some(reply) = self.reply {
            // The caller may have gone meanwhile.
            let _ = reply.send(result);
        }
    }

    /// Takes what belongs to this call out of the commands of a pipeline, or out of the answers to them.
    pub(crate) fn own_of<T>(&self, all: &mut impl Iterator<Item = T>) -> Option<T> {
        if self.asking {
            all.next();
        }
        all.next()
    }

    /// Returns the slot of the keys.
    pub(crate) fn slot(&self) -> Option<u16> {
        // Behind the command, the script and the number of keys.
        match self.command.args_iter().nth(3)? {
            Arg::Simple(key) => Some(slots::slot(key)),
            _ => None,
        }
    }
}
