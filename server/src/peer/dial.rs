//! Connecting to a peer.

use crate::config::Url;
use socket2::SockRef;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// How long a connection may take to come about. A lost member is tried again soon anyway.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// How long sent bytes may stay unacknowledged. After a partition a new connection is up much
/// sooner than the old one's backed-off retransmission comes.
const SILENCE_TIME: Duration = Duration::from_secs(3);

/// Connects to the first of the addresses that answers, from `source` if that is given and of the
/// same family.
///
/// # Errors
/// Of the address tried last.
pub(super) async fn dial(urls: &[Url], source: Option<IpAddr>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the peer has no address");
    for url in urls {
        let addresses = match url.resolve().await {
            Ok(addresses) => addresses,
            Err(error) => {
                last = error;
                continue;
            }
        };
        for address in addresses {
            match tokio::time::timeout(CONNECT_TIME, connect(address, source)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
    }
    Err(last)
}

async fn connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // From the address it listens on, so that a partition can be made between two nodes of one host.
    if let Some(source) = source.filter(|source| source.is_ipv4() == address.is_ipv4()) {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(address).await?;
    prepare(&stream)?;
    Ok(stream)
}

/// What every peer connection has, whoever opened it.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(SILENCE_TIME))
}
