//! A connection for a client that neither binds to an address nor leaves connecting to others: it
//! connects to loopback, and this side has the connection to the server.

use crate::door::Answer;
use crate::door::wire::CONNECT;
use crate::history::{Failure, FailureKind};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

/// Connects to the server, from this address if there is one, and returns where a client gets at it.
/// That works once: a client that connects again by itself finds nobody.
///
/// # Errors
/// If there is no connection in time; then nothing was sent.
pub(super) async fn open(server: SocketAddr, own: Option<IpAddr>) -> Answer<SocketAddr> {
    let server = in_time(connect(server, own)).await?;
    let listener = in_time(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).await?;
    let here = in_time(async { listener.local_addr() }).await?;
    tokio::spawn(async move {
        if let Ok(Ok((client, _))) = timeout(CONNECT, listener.accept()).await {
            drop(listener);
            carry(client, server).await;
        }
    });
    Ok(here)
}

async fn in_time<T>(what: impl Future<Output = io::Result<T>>) -> Answer<T> {
    let failed = match timeout(CONNECT, what).await {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(error)) => format!("no connection: {error}"),
        Err(_) => "no connection in time".to_owned(),
    };
    Err(Failure::new(FailureKind::NotProposed, failed))
}

async fn connect(server: SocketAddr, own: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(own) = own {
        socket.bind(SocketAddr::new(own, 0))?;
    }
    socket.set_nodelay(true)?;
    socket.connect(server).await
}

/// Until one side has no more to say: a client that is gone does not wait for a server that is silent.
async fn carry(mut client: TcpStream, mut server: TcpStream) {
    // What is lost here is lost as on any connection that breaks.
    let _ = client.set_nodelay(true);
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn it_is_one_connection_from_the_address_that_was_named() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let own = Ipv4Addr::new(127, 0, 0, 9);
        let here = open(listener.local_addr().unwrap(), Some(own.into())).await.unwrap();
        let mut client = TcpStream::connect(here).await.unwrap();
        let (mut server, from) = listener.accept().await.unwrap();
        assert_eq!(from.ip(), own);
        client.write_all(b"ruok").await.unwrap();
        let mut words = [0; 4];
        server.read_exact(&mut words).await.unwrap();
        assert_eq!(&words, b"ruok");
        server.write_all(b"imok").await.unwrap();
        client.read_exact(&mut words).await.unwrap();
        assert_eq!(&words, b"imok");
        assert!(TcpStream::connect(here).await.is_err(), "a second connection was made");
        drop(client);
        assert_eq!(server.read(&mut words).await.unwrap(), 0, "the server was not told of the end");
    }

    #[tokio::test]
    async fn without_a_server_nothing_was_sent() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let nobody = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(open(nobody, None).await.unwrap_err().kind, FailureKind::NotProposed);
    }
}
