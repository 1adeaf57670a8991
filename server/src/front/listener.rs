//! Accepts client connections and speaks whichever HTTP they begin with.

use crate::observe::counted::{ClientBytes, Counted};
use crate::tasks::Tasks;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use slog::{Logger, debug, warn};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// How long a new connection may stay silent, and a request's head may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// An idle connection is asked for life this often, so that watches of vanished clients end.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Pause after the system refused to accept, as it does when it runs out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of one stream, and of one connection, on their way without an answer. Too low: a distant
/// client waits for the window. Too high: memory per slow connection.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Bytes of one HTTP/2 frame: a batch of operations fits into one.
const FRAME_BYTES: u32 = 256 << 10;

/// Bounds of the client port.
#[derive(Clone, Copy, Debug)]
pub struct PortOptions {
    /// Connections at once; further ones wait to be accepted.
    pub connections: usize,
    /// Streams of one connection.
    pub streams: u32,
}

/// Serves `router` on this socket until its task ends.
pub async fn run(
    listener: TcpListener,
    router: Router,
    options: PortOptions,
    bytes: ClientBytes,
    tasks: Tasks,
    logger: Logger,
) {
    let places = Arc::new(Semaphore::new(options.connections));
    let builder = builder(options);
    loop {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, address)) => {
                let (builder, router, logger) = (builder.clone(), router.clone(), logger.clone());
                let bytes = bytes.clone();
                tasks.spawn(async move {
                    if let Err(error) = serve(stream, bytes, builder, router).await {
                        debug!(logger, "client connection ended"; "address" => %address, "error" => %error);
                    }
                    drop(place);
                });
            }
            Err(error) => {
                warn!(logger, "cannot accept a client's connection"; "error" => %error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn builder(options: PortOptions) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_BYTES)
        .max_concurrent_streams(options.streams)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(PATIENCE);
    builder
}

async fn serve(
    stream: TcpStream,
    bytes: ClientBytes,
    builder: Builder<TokioExecutor>,
    router: Router,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    // The builder waits for the first bytes without end.
    if tokio::time::timeout(PATIENCE, stream.peek(&mut [0])).await?? == 0 {
        return Ok(());
    }
    builder
        .serve_connection_with_upgrades(
            TokioIo::new(Counted::new(stream, bytes)),
            TowerToHyperService::new(router),
        )
        .await
}
