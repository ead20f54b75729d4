//! One call of a script, on its way to the store.

use std::sync::Arc;

use redis::{Cmd, Value};
use tokio::sync::oneshot;

use crate::shared_store::{failure::Cause, script::Script};

/// One call of a script.
pub(crate) struct Call {
    pub(crate) script: Arc<Script>,
    pub(crate) command: Cmd,
    pub(crate) reply: Reply,
}

/// Who waits for the answer, if anybody does.
pub(crate) type Reply = Option<oneshot::Sender<Result<Value, Cause>>>;

impl Call {
    /// Returns whether the caller has gone: what has not been sent need not be charged.
    pub(crate) fn is_forsaken(&self) -> bool {
        self.reply.as_ref().is_some_and(oneshot::Sender::is_closed)
    }
}
