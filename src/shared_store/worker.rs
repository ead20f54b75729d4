//! The task that sends calls to the store.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use redis::{Pipeline, Value};
use tokio::{
    sync::{Semaphore, mpsc},
    time,
};

use crate::shared_store::{
    call::{Call, Reply},
    failure::Cause,
    link::Link,
    store::{Inner, RedisStore},
};

/// The most calls of one pipeline.
const BATCH: usize = 128;
/// So many pipelines are under way at a time: what comes meanwhile makes the next one longer.
const PIPELINES: usize = 4;

/// Sends calls until all handles of the store are gone.
pub(crate) async fn run(inner: Weak<Inner>, mut calls: mpsc::Receiver<Call>, response: Duration) {
    let pipelines = Arc::new(Semaphore::new(PIPELINES));
    let mut link: Option<Link> = None;
    while let Some(first) = calls.recv().await {
        let Ok(permit) = Arc::clone(&pipelines).acquire_owned().await else {
            return;
        };
        let mut batch = Vec::with_capacity(calls.len().min(BATCH) + 1);
        batch.push(first);
        while batch.len() < BATCH
            && let Ok(call) = calls.try_recv()
        {
            batch.push(call);
        }
        batch.retain(|call| !call.is_forsaken());
        if batch.is_empty() {
            continue;
        }
        let Some(inner) = inner.upgrade() else {
            return;
        };
        let current = match link.take().filter(|link| !link.is_dead()) {
            Some(current) => current,
            None => match Link::open(&inner.settings, response).await {
                Ok(opened) => opened,
                Err(cause) => {
                    for call in batch {
                        answer(call.reply, Err(cause));
                    }
                    continue;
                }
            },
        };
        link = Some(current.clone());
        drop(inner);
        tokio::spawn(async move {
            send(&current, batch).await;
            drop(permit);
        });
    }
}

/// Sends one batch and hands out the answers.
async fn send(link: &Link, batch: Vec<Call>) {
    let mut pipeline = Pipeline::with_capacity(batch.len());
    let mut waiting = Vec::with_capacity(batch.len());
    for call in batch {
        pipeline.add_command(call.command);
        waiting.push((call.script, call.reply));
    }
    let answers = match link.send(&pipeline).await {
        Ok(answers) => answers,
        Err(cause) => {
            return waiting
                .into_iter()
                .for_each(|(_, reply)| answer(reply, Err(cause)));
        }
    };
    let mut again = Pipeline::new();
    let mut unknown = Vec::new();
    let asked = pipeline.cmd_iter().zip(waiting);
    for ((command, (script, reply)), value) in asked.zip(answers) {
        match read(value) {
            // Nothing has run: this, and nothing else, may be sent again.
            Answer::NoScript => {
                again.add_command(script.with_text(command));
                unknown.push(reply);
            }
            Answer::Known(result) => answer(reply, result),
        }
    }
    if unknown.is_empty() {
        return;
    }
    match link.send(&again).await {
        Ok(answers) => {
            for (reply, value) in unknown.into_iter().zip(answers) {
                answer(
                    reply,
                    match read(value) {
                        Answer::Known(result) => result,
                        Answer::NoScript => Err(Cause::Reply),
                    },
                );
            }
        }
        Err(cause) => unknown
            .into_iter()
            .for_each(|reply| answer(reply, Err(cause))),
    }
}

enum Answer {
    Known(Result<Value, Cause>),
    NoScript,
}

fn read(value: Value) -> Answer {
    match value {
        Value::ServerError(error) if error.code() == "NOSCRIPT" => Answer::NoScript,
        Value::ServerError(error) => {
            Answer::Known(Err(Cause::of_code(error.code(), error.details())))
        }
        value => Answer::Known(Ok(value)),
    }
}

fn answer(reply: Reply, result: Result<Value, Cause>) {
    if let Some(reply) = reply {
        // The caller may have gone meanwhile.
        let _ = reply.send(result);
    }
}

/// Asks at ever longer pauses whether the store is back.
pub(crate) async fn probe(inner: Weak<Inner>) {
    let mut pause = FIRST_PAUSE;
    loop {
        time::sleep(pause).await;
        let Some(inner) = inner.upgrade() else {
            return;
        };
        let store = RedisStore::of(inner);
        if store.probe().await {
            store.inner().breaker.close();
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
