//! The task that tells the others what this instance has done, and does what they have.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use redis::Value;
use tokio::{runtime::Handle, time};

use crate::{
    jail::{
        ban::Record,
        file::StoredBan,
        key::BanKey,
        shared::{
            entry::{self, Entry, millis},
            outbox::{Change, Outbox, Standing},
        },
        state::State,
    },
    shared_store::failure::Cause,
};

/// How often the store is asked although nobody has said that there is news: a message may have been missed.
const EVERY: Duration = Duration::from_secs(1);
/// So many entries are read at a time, so that no answer takes long.
const PAGE: usize = 500;
/// Bans that differ by less than this are the same.
const SAME: Duration = Duration::from_secs(2);

/// Starts the task where none is running and there is a runtime to run it on.
pub(crate) fn ensure(state: &Arc<State>) {
    let Some(outbox) = &state.shared else {
        return;
    };
    if !outbox.must_start() {
        return;
    }
    match Handle::try_current() {
        Ok(runtime) => {
            runtime.spawn(run(Arc::downgrade(state)));
        }
        Err(_) => outbox.stopped(),
    }
}

async fn run(state: Weak<State>) {
    let _running = Running(state.clone());
    let Some(store) = state
        .upgrade()
        .and_then(|it| Some(it.shared.as_ref()?.store.clone()))
    else {
        return;
    };
    let news = Arc::new(tokio::sync::Notify::new());
    let listening = {
        let news = Arc::clone(&news);
        let store = store.clone();
        tokio::spawn(async move { store.listen(CHANNEL, news).await })
    };
    let _listening = Abort(listening.abort_handle());
    let mut known = Known::default();
    loop {
        let Some(state) = state.upgrade() else {
            return;
        };
        let Some(outbox) = &state.shared else {
            return;
        };
        if exchange(&state, outbox, &mut known).await.is_ok() {
            outbox.note_synced();
        }
        tokio::select! {
            () = outbox.wake.notified() => {}
            () = news.notified() => {}
            () = time::sleep(EVERY) => {}
        }
    }
}

/// How far this instance has read.
#[derive(Default)]
struct Known {
    /// The name of the list: another one means that the store has lost bans.
    list: Option<String>,
    number: u64,
}

/// Tells what there is to tell, and reads what there is to read.
async fn exchange(state: &State, outbox: &Outbox, known: &mut Known) -> Result<(), Cause> {
    if outbox.take_overflowed() {
        tell_all(state, outbox);
    }
    tell(state, outbox, known).await?;
    read(state, outbox, known).await
}

async fn tell(state: &State, outbox: &Outbox, known: &Known) -> Result<(), Cause> {
    let mut changes = outbox.take().into_iter();
    while let Some((key, change)) = changes.next() {
        if let Err(cause) = tell_one(state, outbox, known, key, &change).await {
            for (key, change) in changes.chain([(key, change)]) {
                outbox.put_back(key, change);
            }
            return Err(cause);
        }
    }
    Ok(())
}

async fn tell_one(
    state: &State,
    outbox: &Outbox,
    known: &Known,
    key: BanKey,
    change: &Change,
) -> Result<(), Cause> {
    let (store, net) = (&outbox.store, key.net().to_string());
    let mut call;
    match change {
        Change::Ban(StoredBan { ban, forget }, standing) => {
            let now = state.clock.system_now();
            call = start(state, outbox, "ban", known);
            call.arg(store.named(CHANNEL))
                .arg(net)
                .arg(*standing as u8)
                .arg(state.bans.max())
                .arg(millis(ban.start, ban.end))
                .arg(millis(now, ban.end))
                .arg(millis(ban.end, *forget))
                .arg(ban.count)
                .arg(&*ban.rule);
        }
        Change::Lift(ordered) => {
            call = start(state, outbox, "lift", known);
            call.arg(store.named(CHANNEL))
                .arg(net)
                .arg(TOMBSTONE)
                .arg(millis(*ordered, state.clock.system_now()));
        }
    }
    store.run(&state.ban_script, call).await.map(drop)
}

async fn read(state: &State, outbox: &Outbox, known: &mut Known) -> Result<(), Cause> {
    loop {
        let mut call = start(state, outbox, "sync", known);
        call.arg(PAGE);
        let answer = outbox.store.run(&state.ban_script, call).await?;
        let words = words(&answer)?;
        let [list, store_now, rest @ ..] = words.as_slice() else {
            return Err(Cause::Reply);
        };
        if known.list.as_deref() != Some(*list) {
            let is_first = known.list.is_none();
            *known = Known {
                list: Some((*list).to_owned()),
                number: 0,
            };
            // Another list than the one this instance knew, or the first: what it has banned is news there.
            tell_all(state, outbox);
            tell(state, outbox, known).await?;
            if !is_first {
                continue;
            }
        }
        let store_now = store_now.parse().map_err(|_| Cause::Reply)?;
        let entries = rest.chunks_exact(3);
        let is_last = entries.len() < PAGE;
        for columns in entries {
            let [number, client, entry] = columns else {
                continue;
            };
            known.number = number.parse().map_err(|_| Cause::Reply)?;
            let found = entry::read(client, entry, store_now, state.clock.system_now());
            if let Some((key, entry)) = found
                && !outbox.has(key)
            {
                apply(state, key, entry);
            }
        }
        if is_last {
            return Ok(());
        }
    }
}

/// Does what another instance, or this one, has done.
fn apply(state: &State, key: BanKey, entry: Entry) {
    match entry {
        Entry::Ban(stored) => {
            let now = state.clock.now();
            if let Some(own) = state.bans.record(key)
                && own.is_active(now)
                && own.enforced
                && is_same(&own, &stored)
            {
                return;
            }
            state.take_over_anew(stored, now, state.clock.system_now());
        }
        Entry::Lifted => {
            for index in 0..state.rules.len() {
                state.failures.forget(key, index);
            }
            state.bans.lift(key);
        }
    }
}

fn is_same(own: &Record, other: &StoredBan) -> bool {
    let (one, two) = (own.ban.end, other.ban.end);
    let apart = one.duration_since(two).or_else(|_| two.duration_since(one));
    apart.is_ok_and(|apart| apart < SAME)
}

/// Tells all bans of this instance that the store does not know.
fn tell_all(state: &State, outbox: &Outbox) {
    let now = state.clock.now();
    for record in state.bans.records() {
        let key = record.ban.key;
        if record.enforced && record.is_active(now) {
            outbox.put_back(key, Change::Ban(StoredBan::of(record), Standing::Never));
            // Somebody may have lifted it just now.
            if state.bans.record(key).is_none() {
                outbox.push(key, Change::Lift(state.clock.system_now()));
            }
        }
    }
}

/// Starts a call with the names of the keys, which are all in one slot of a cluster, and what every operation is told.
fn start(state: &State, outbox: &Outbox, operation: &str, known: &Known) -> redis::Cmd {
    let mut call = state.ban_script.call(4);
    for name in ["entries", "log", "ends", "meta"] {
        call.arg(outbox.store.named(&format!("{{bans}}:{name}")));
    }
    call.arg(operation)
        .arg(known.list.as_deref().unwrap_or_default())
        .arg(known.number)
        .arg(format!("{:016x}", (state.random.0)()));
    call
}

fn words(answer: &Value) -> Result<Vec<&str>, Cause> {
    let Value::Array(values) = answer else {
        return Err(Cause::Reply);
    };
    values.iter().map(word).collect()
}

fn word(value: &Value) -> Result<&str, Cause> {
    match value {
        Value::BulkString(bytes) => str::from_utf8(bytes).map_err(|_| Cause::Reply),
        Value::SimpleString(text) => Ok(text),
        _ => Err(Cause::Reply),
    }
}

/// Says that the task has ended, whatever has ended it.
struct Running(Weak<State>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(outbox) = self.0.upgrade().as_ref().and_then(|it| it.shared.as_ref()) {
            outbox.stopped();
        }
    }
}

struct Abort(tokio::task::AbortHandle);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The script over the bans.
pub(crate) const BANS: &str = include_str!("bans.lua");
/// Where it is said that there is news.
const CHANNEL: &str = "{bans}:news";
/// An instance that has been away for longer than this, in milliseconds, may have a lifted ban of which the store never knew.
const TOMBSTONE: u64 = 3_600_000;

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use super::*;
    use crate::jail::ban::Ban;

    fn ban(end: SystemTime) -> Ban {
        let net = "203.0.113.7/32".parse().unwrap();
        Ban {
            key: BanKey::of_net(net).unwrap(),
            rule: "rule".into(),
            start: SystemTime::UNIX_EPOCH,
            end,
            count: 1,
        }
    }

    /// Clocks differ, and the way to the store takes time.
    #[test]
    fn bans_that_end_at_nearly_the_same_time_are_the_same() {
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
        let moment = Duration::from_millis(1);
        let own = Record {
            ban: ban(end),
            end: Instant::now(),
            forget: Instant::now(),
            enforced: true,
            is_over: false,
        };
        for (apart, expected) in [
            (Duration::ZERO, true),
            (SAME.saturating_sub(moment), true),
            (SAME, false),
        ] {
            for end in [end + apart, end - apart] {
                let other = StoredBan {
                    ban: ban(end),
                    forget: end,
                };
                assert_eq!(is_same(&own, &other), expected, "{apart:?}");
            }
        }
    }
}
