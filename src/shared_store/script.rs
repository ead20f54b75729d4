//! Scripts that run in the store.

use redis::{Cmd, cmd};

/// A script and the digest that the store knows it by.
pub(crate) struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    pub(crate) fn new(text: &'static str) -> Self {
        // Over the exact bytes: a line ending would make another script of it.
        let digest = redis::Script::new(text).get_hash().to_owned();
        Self { text, digest }
    }

    /// Returns the call, to which the keys and then the arguments are to be added.
    pub(crate) fn call(&self, keys: usize) -> Cmd {
        // The call, the digest, and what a limit has for all keys and for each, so that it need not grow.
        let mut call = Cmd::with_capacity(5 + 5 * keys, 80 + 128 * keys);
        call.arg("EVALSHA").arg(&self.digest).arg(keys);
        call
    }

    /// Returns the same call with the text of the script, for a store that does not have it.
    pub(crate) fn with_text(&self, call: &Cmd) -> Cmd {
        let mut whole = cmd("EVAL");
        whole.arg(self.text);
        for arg in call.args_iter().skip(2) {
            if let redis::Arg::Simple(arg) = arg {
                whole.arg(arg);
            }
        }
        whole
    }
}
