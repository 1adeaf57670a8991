//! The sockets of the DNS server.

use super::desk::Desk;
use super::reply::Transport;
use crate::tasks::Tasks;
use slog::{Logger, debug};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Bytes of the largest query that is looked at.
const QUERY_BYTES_MAX: usize = 4096;
/// Connections at once; further ones wait to be accepted.
const CONNECTIONS: usize = 256;
/// How long a connection may be silent, and a reply may take to be sent.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after the system refused to receive or to accept.
const PAUSE: Duration = Duration::from_millis(100);

/// The sockets for one address: the same port for both.
pub struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Sockets {
    /// Binds to all addresses of a host and port.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn bind(authority: &str) -> io::Result<Vec<Self>> {
        let mut all = Vec::new();
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in lookup_host(authority).await? {
            match Self::bind_one(address).await {
                Ok(sockets) => all.push(sockets),
                // A name may have an IPv6 address on a machine without IPv6.
                Err(error) => last = error,
            }
        }
        if all.is_empty() { Err(last) } else { Ok(all) }
    }

    async fn bind_one(address: SocketAddr) -> io::Result<Self> {
        let udp = UdpSocket::bind(address).await?;
        let tcp = TcpListener::bind(udp.local_addr()?).await?;
        Ok(Self { udp, tcp })
    }

    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.udp.local_addr().ok()
    }

    /// Serves until the tasks end.
    pub fn serve(self, desk: &Arc<Desk>, tasks: &Tasks, logger: &Logger) {
        desk.begin();
        tasks.spawn(datagrams(self.udp, desk.clone()));
        tasks.spawn(connections(self.tcp, desk.clone(), tasks.clone(), logger.clone()));
    }
}

async fn datagrams(socket: UdpSocket, desk: Arc<Desk>) {
    let mut buffer = [0; QUERY_BYTES_MAX];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, from)) => {
                if let Some(reply) = desk.answer(&buffer[..length], from.ip(), Transport::Udp) {
                    // When the system's queue is full the reply is lost, as datagrams are.
                    let _ = socket.try_send_to(&reply, from);
                }
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn connections(listener: TcpListener, desk: Arc<Desk>, tasks: Tasks, logger: Logger) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, from)) => {
                let (desk, logger) = (desk.clone(), logger.clone());
                tasks.spawn(async move {
                    if let Err(error) = connection(stream, from.ip(), &desk).await {
                        debug!(logger, "connection of DNS ended"; "from" => %from, "error" => %error);
                    }
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Queries one after the other, each with its length before it.
async fn connection(mut stream: TcpStream, from: IpAddr, desk: &Desk) -> io::Result<()> {
    let mut buffer = [0; QUERY_BYTES_MAX];
    loop {
        let length = match timeout(PATIENCE, stream.read_u16()).await? {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            length => usize::from(length?),
        };
        let Some(query) = buffer.get_mut(..length) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the query is too long"));
        };
        timeout(PATIENCE, stream.read_exact(query)).await??;
        let Some(reply) = desk.answer(query, from, Transport::Tcp) else { return Ok(()) };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes()[..], &reply].concat();
        timeout(PATIENCE, stream.write_all(&framed)).await??;
    }
}
