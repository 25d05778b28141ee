//! Stages with a timeout: each runs on a thread of its own, which is given up if it does not stop when asked.

use super::node::{Done, Ready};
use super::{Shared, spawn, stage, tokens};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use sdk::OperatorError;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What a worker tells.
enum News {
    /// It has its tokens and begins.
    Started {
        /// Number of the tokens.
        tokens: u64,
    },
    /// It is done.
    Ended(Box<Done>),
}

/// A worker's two channels. Its thread ends when they are dropped; if it hangs, it is left behind.
pub(super) struct Worker {
    /// Takes one case at a time.
    cases: Sender<Ready>,
    /// Tells how it goes.
    news: Receiver<News>,
}

/// Messages a worker can leave for one case: that it started, and that it ended.
const MESSAGES_PER_CASE: usize = 2;

impl Worker {
    fn start(shared: &Arc<Shared>, node: usize) -> Self {
        let (cases, todo) = bounded(1);
        let (tell, news) = bounded(MESSAGES_PER_CASE);
        let name = format!("worker {}", shared.graph.nodes[node].label());
        let shared = Arc::clone(shared);
        spawn(&name, move || work(&shared, &todo, &tell));
        Self { cases, news }
    }
}

fn work(shared: &Shared, todo: &Receiver<Ready>, tell: &Sender<News>) {
    for ready in todo {
        // Nobody listens any more once the worker was given up: what it still does is lost, and it ends after this case.
        let started = |tokens| drop(tell.send(News::Started { tokens }));
        let done = stage::serve(shared, ready, &started);
        if tell.send(News::Ended(Box::new(done))).is_err() {
            return;
        }
    }
}

/// Runs a case on one of the node's workers and watches the clock: at the timeout the operator is asked to stop, and after the
/// grace it is given up. Its thread, tokens and values are then lost until it returns by itself.
pub(super) fn run_watched(
    shared: &Arc<Shared>,
    ready: Ready,
    timeout: Duration,
    tell_start: &dyn Fn(),
) -> Done {
    let (node, cancel) = (ready.node, Arc::clone(&ready.cancel));
    let idle = shared.desks[node].idle().workers.pop();
    let worker = idle.unwrap_or_else(|| Worker::start(shared, node));
    let dead = || Done::failed(OperatorError::failed("its worker thread died"));
    let release = |worker| shared.desks[node].idle().workers.push(worker);
    if worker.cases.send(ready).is_err() {
        return dead();
    }
    let (since, grant) = match worker.news.recv() {
        Ok(News::Started { tokens }) => (Instant::now(), tokens),
        Ok(News::Ended(done)) => {
            release(worker);
            return *done;
        }
        Err(_) => return dead(),
    };
    tell_start();
    for (asked, limit) in [(false, timeout), (true, shared.options.grace)] {
        match worker.news.recv_timeout(limit) {
            Ok(News::Ended(mut done)) => {
                release(worker);
                if asked {
                    done.result = Err(timeout_error(timeout, true));
                }
                return *done;
            }
            Ok(News::Started { .. }) | Err(RecvTimeoutError::Timeout) => {
                cancel.store(true, Ordering::Relaxed);
            }
            Err(RecvTimeoutError::Disconnected) => return dead(),
        }
    }
    tokens::abandon(&shared.tokens, grant);
    let mut done = Done::failed(timeout_error(timeout, false));
    done.evidence.seconds = since.elapsed().as_secs_f64();
    done
}

fn timeout_error(limit: Duration, stopped: bool) -> OperatorError {
    let rest = if stopped { "" } else { " and ignores the request to stop" };
    let text = format!("still running after its timeout of {} s{rest}", limit.as_secs_f64());
    OperatorError::failed(text).hint("raise `timeout` of this stage, or look why it takes so long")
}
