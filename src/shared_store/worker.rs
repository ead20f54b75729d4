//! The task that sends calls to the store.

use std::{collections::HashMap, mem, sync::Arc, time::Duration};

use redis::{Pipeline, Value};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task, time,
};

use crate::shared_store::{
    call::{Call, Redirected},
    failure::Cause,
    link::{Absent, Cluster, Link, Node},
    settings::{Settings, Topology},
    slots::redirection,
};

/// The most calls of one pipeline.
const BATCH: usize = 128;
/// So many pipelines are under way at a time to one server: one is answered while the next is filled, and what comes meanwhile makes it longer.
const PIPELINES: usize = 2;
/// So many to a cluster, of whose nodes one may be slow.
const CLUSTER_PIPELINES: usize = 4;

/// Sends calls until all handles of the store are gone.
pub(crate) async fn run(
    settings: Arc<Settings>,
    mut calls: mpsc::Receiver<Call>,
    response: Duration,
) {
    let most = match settings.topology {
        Topology::Cluster => CLUSTER_PIPELINES,
        Topology::Sentinel(_) | Topology::Single => PIPELINES,
    };
    let pipelines = Arc::new(Semaphore::new(most));
    let mut link: Option<Link> = None;
    let absent = Arc::<Absent>::default();
    while let Some(first) = calls.recv().await {
        let Ok(permit) = Arc::clone(&pipelines).acquire_owned().await else {
            return;
        };
        // Who has been answered just now asks again first, or the first of them alone would be a batch. What comes of it, benches/redis.rs prints.
        task::yield_now().await;
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
        let current = match link.take().filter(|link| !link.is_dead()) {
            Some(current) => current,
            None => match Link::open(&settings, response, &absent).await {
                Ok(opened) => opened,
                Err(cause) => {
                    fail(batch, cause);
                    continue;
                }
            },
        };
        link = Some(current.clone());
        match current {
            Link::Cluster(cluster) => {
                cluster.see_to_slots();
                spread(&cluster, batch, permit);
            }
            Link::Single(node) => {
                task::spawn(async move {
                    // Where a store has one node, there is nobody to be redirected to.
                    fail(send(&node, batch).await, Cause::Moving);
                    drop(permit);
                });
            }
        }
    }
}

/// Sends one batch to the nodes of a cluster that have its keys, to all of them at once: nobody waits for a node that has not his keys.
fn spread(cluster: &Arc<Cluster>, batch: Vec<Call>, permit: OwnedSemaphorePermit) {
    let mut places: HashMap<_, Vec<Call>> = HashMap::new();
    for call in batch {
        if let Some(place) = call.slot().and_then(|slot| cluster.place(slot)) {
            places.entry(place).or_default().push(call);
        } else {
            // Nobody had it when the slots were read, and somebody may have it now.
            cluster.is_stale();
            call.answer(Err(Cause::NodeAway));
        }
    }
    // The last one gives it back.
    let permit = Arc::new(permit);
    for (place, calls) in places {
        let (cluster, permit) = (Arc::clone(cluster), Arc::clone(&permit));
        task::spawn(async move {
            let node = match cluster.node(&place).await {
                Ok(node) => node,
                Err(cause) => return fail(calls, cause),
            };
            for call in send(&node, calls).await {
                let (cluster, permit) = (Arc::clone(&cluster), Arc::clone(&permit));
                task::spawn(async move {
                    redirect(&cluster, call).await;
                    drop(permit);
                });
            }
        });
    }
}

/// Sends a call that has not run to where it has been redirected. Once, or twice where a slot is just about to move.
async fn redirect(cluster: &Arc<Cluster>, mut call: Call) {
    for _ in 0..REDIRECTIONS {
        let (place, asking) = match call.redirected.take() {
            Some(Redirected::Ask(place)) => (Some(place), true),
            Some(Redirected::Moved(place)) => {
                cluster.is_stale();
                (Some(place), false)
            }
            // Some of the keys have moved and some have not: that does not take long.
            Some(Redirected::TryAgain) | None => {
                time::sleep(TRY_AGAIN).await;
                (call.slot().and_then(|slot| cluster.place(slot)), false)
            }
        };
        let Some(place) = place else {
            break;
        };
        let node = match cluster.node(&place).await {
            Ok(node) => node,
            Err(cause) => return call.answer(Err(cause)),
        };
        call.asking = asking;
        match send(&node, vec![call]).await.pop() {
            Some(again) => call = again,
            None => return,
        }
    }
    call.answer(Err(Cause::Moving));
}

/// Sends one batch and hands out the answers; returns the calls that have to be sent elsewhere.
async fn send(node: &Node, mut batch: Vec<Call>) -> Vec<Call> {
    let mut elsewhere = Vec::new();
    let mut unknown = Vec::new();
    // Who has gone while a connection was made is not charged.
    batch.retain(|call| !call.is_forsaken());
    if batch.is_empty() {
        return elsewhere;
    }
    let pipeline = pipeline(&mut batch);
    let answers = match node.send(&pipeline).await {
        Ok(answers) => answers,
        Err(cause) => {
            fail(batch, cause);
            return elsewhere;
        }
    };
    let (mut answers, mut commands) = (answers.into_iter(), pipeline.cmd_iter());
    for mut call in batch {
        // There is one for each.
        let Some(command) = call.own_of(&mut commands) else {
            call.answer(Err(Cause::Reply));
            continue;
        };
        match read(node, call.own_of(&mut answers)) {
            // Nothing has run: these calls, and no others, may be sent again.
            Answer::Elsewhere(redirected) => {
                call.command = command.clone();
                call.redirected = Some(redirected);
                elsewhere.push(call);
            }
            Answer::Known(result) => call.answer(result),
            Answer::NoScript => {
                call.command = call.script.with_text(command);
                unknown.push(call);
            }
        }
    }
    if unknown.is_empty() {
        return elsewhere;
    }
    let pipeline = self::pipeline(&mut unknown);
    match node.send(&pipeline).await {
        Ok(answers) => {
            let (mut answers, mut commands) = (answers.into_iter(), pipeline.cmd_iter());
            for mut call in unknown {
                let Some(command) = call.own_of(&mut commands) else {
                    call.answer(Err(Cause::Reply));
                    continue;
                };
                match read(node, call.own_of(&mut answers)) {
                    Answer::Elsewhere(redirected) => {
                        call.command = command.clone();
                        call.redirected = Some(redirected);
                        elsewhere.push(call);
                    }
                    Answer::Known(result) => call.answer(result),
                    Answer::NoScript => call.answer(Err(Cause::Reply)),
                }
            }
        }
        Err(cause) => fail(unknown, cause),
    }
    elsewhere
}

/// Moves the commands of the calls into one pipeline.
fn pipeline(batch: &mut [Call]) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(batch.len());
    for call in batch {
        if call.asking {
            pipeline.cmd("ASKING");
        }
        pipeline.add_command(mem::take(&mut call.command));
    }
    pipeline
}

fn fail(batch: Vec<Call>, cause: Cause) {
    for call in batch {
        call.answer(Err(cause));
    }
}

enum Answer {
    Elsewhere(Redirected),
    Known(Result<Value, Cause>),
    NoScript,
}

fn read(node: &Node, value: Option<Value>) -> Answer {
    let error = match value {
        Some(Value::ServerError(error)) => error,
        Some(value) => return Answer::Known(Ok(value)),
        None => return Answer::Known(Err(Cause::Reply)),
    };
    let place = || redirection(error.details()?, node.host());
    match (error.code(), place()) {
        ("NOSCRIPT", _) => return Answer::NoScript,
        ("ASK", Some(place)) => return Answer::Elsewhere(Redirected::Ask(place)),
        ("MOVED", Some(place)) => return Answer::Elsewhere(Redirected::Moved(place)),
        ("TRYAGAIN", _) => return Answer::Elsewhere(Redirected::TryAgain),
        _ => {}
    }
    let cause = Cause::of_code(error.code(), error.details());
    if cause == Cause::ReadOnly {
        // The next connection finds the one that takes them.
        node.is_no_master();
    }
    Answer::Known(Err(node.cause(cause)))
}

/// So often a call is sent elsewhere.
const REDIRECTIONS: usize = 4;
const TRY_AGAIN: Duration = Duration::from_millis(3);
