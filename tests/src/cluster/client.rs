//! Calls that are repeated while a cluster is between leaders.

use std::future::Future;
use std::time::{Duration, Instant};
use tonic::{Code, Response, Status};

/// What a call comes to.
pub type Call<T> = Result<Response<T>, Status>;

/// Repeats `attempt` while the answer is that nothing was done (unavailable), for `patience`.
/// Only for operations that may be repeated.
pub async fn call<T, F, Fut>(patience: Duration, attempt: F) -> Call<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Call<T>>,
{
    let deadline = Instant::now() + patience;
    loop {
        match attempt().await {
            Err(status) if status.code() == Code::Unavailable && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            answer => return answer,
        }
    }
}
