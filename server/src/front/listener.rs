//! Accepts client connections and speaks whichever HTTP they begin with.

use super::h2::{self, Services};
use super::socket::{Socket, Version};
use crate::observe::counted::{ClientBytes, Counted};
use crate::tasks::Tasks;
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
/// Pause after the system refused to accept, as it does when it runs out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bounds of the client port.
#[derive(Clone, Copy, Debug)]
pub struct PortOptions {
    /// Connections at once; further ones wait to be accepted.
    pub connections: usize,
    /// Streams of one connection.
    pub streams: u32,
}

/// Serves this socket's clients until its task ends.
pub async fn run(
    listener: TcpListener,
    services: Arc<Services>,
    options: PortOptions,
    bytes: ClientBytes,
    tasks: Tasks,
    logger: Logger,
) {
    let places = Arc::new(Semaphore::new(options.connections));
    loop {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, address)) => {
                let (services, bytes, logger) = (services.clone(), bytes.clone(), logger.clone());
                tasks.spawn(async move {
                    if let Err(error) = serve(stream, bytes, &services, options.streams).await {
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

async fn serve(
    stream: TcpStream,
    bytes: ClientBytes,
    services: &Services,
    streams: u32,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let begun = tokio::time::timeout(PATIENCE, Socket::begin(Counted::new(stream, bytes))).await??;
    match begun {
        None => Ok(()),
        Some((socket, Version::Http1)) => {
            let service = TowerToHyperService::new(services.router.clone());
            http1().serve_connection_with_upgrades(TokioIo::new(socket), service).await
        }
        Some((socket, Version::Http2)) => Ok(h2::serve(socket, services, streams).await?),
    }
}

fn http1() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    builder
}
