//! The tasks of one node. Everything asynchronous is started here and ends when the node does, so
//! that a test can run several nodes in one process and stop each of them.

use std::future::Future;
use tokio::runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Starts tasks on the node's runtime; cheap to clone.
#[derive(Clone)]
pub struct Tasks {
    runtime: runtime::Handle,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Tasks on this runtime.
    pub fn new(runtime: runtime::Handle) -> Self {
        Self { runtime, tracker: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// Runs it until it ends or the node stops, whichever is first.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tracker.spawn_on(
            async move {
                tokio::select! {
                    () = task => {}
                    () = stop.cancelled() => {}
                }
            },
            &self.runtime,
        );
    }

    /// Runs something that blocks on a thread for that. It is not interrupted when the node stops.
    ///
    /// # Panics
    /// When `job` does.
    pub async fn blocking<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        self.tracker
            .spawn_blocking_on(job, &self.runtime)
            .await
            .expect("a blocking job is never cancelled, and a panic stops the node")
    }

    /// Completes when the node begins to stop.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Tasks that end with these, or by themselves before.
    pub fn part(&self) -> Self {
        Self { runtime: self.runtime.clone(), tracker: self.tracker.clone(), stop: self.stop.child_token() }
    }

    /// Ends all tasks, without waiting.
    pub fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
    }

    /// Completes once all have ended after [`stop`](Self::stop).
    pub async fn stopped(&self) {
        self.tracker.wait().await;
    }
}
