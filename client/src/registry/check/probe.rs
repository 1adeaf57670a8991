//! One look at an instance.

use super::{Probe, Verdict};
use hyper_util::client::legacy::{Client as HttpClient, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use oarlock_proto::registry::Health;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// Characters of a reason that are kept.
const REASON_CHARS_MAX: usize = 200;

/// A finding, or in an error's place what went wrong, in words.
type Found = Result<Verdict, String>;

/// Looks, and is back within `timeout`.
pub(super) async fn look(probe: &Probe, timeout: Duration) -> Verdict {
    let look = async {
        match probe {
            // Reports come by themselves; whoever asks for one has heard none.
            Probe::Ttl(silence) => Err(format!("no report for {silence:?}")),
            Probe::Http(url) => http(url).await,
            Probe::Tcp(address) => tcp(address).await,
            Probe::Grpc { url, service } => grpc(url, service).await,
            Probe::Command(words) => command(words).await,
        }
    };
    let found = tokio::time::timeout(timeout, look).await;
    let critical = |reason: String| Verdict::new(Health::Critical, shortened(&reason));
    match found {
        Ok(Ok(verdict)) => Verdict { reason: shortened(&verdict.reason), ..verdict },
        Ok(Err(reason)) => critical(reason),
        Err(_late) => critical(format!("no answer within {timeout:?}")),
    }
}

fn shortened(reason: &str) -> String {
    reason.chars().take(REASON_CHARS_MAX).collect()
}

fn passing() -> Found {
    Ok(Verdict::new(Health::Passing, ""))
}

async fn http(url: &str) -> Found {
    // A connection of its own each time: that a new one can be made is part of the question.
    let client: HttpClient<HttpConnector, tonic::body::Body> =
        HttpClient::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
    let request = http::Request::get(url)
        .header(http::header::USER_AGENT, concat!("oarlock-check/", env!("CARGO_PKG_VERSION")))
        .body(tonic::body::Body::empty())
        .map_err(|error| format!("{url} cannot be asked: {error}"))?;
    let answer = client.request(request).await.map_err(|error| format!("{url}: {}", root(&error)))?;
    match answer.status() {
        status if status.is_success() => passing(),
        status => Err(format!("{url} answers {status}")),
    }
}

async fn tcp(address: &str) -> Found {
    match TcpStream::connect(address).await {
        Ok(_connection) => passing(),
        Err(error) => Err(format!("{address}: {error}")),
    }
}

async fn grpc(url: &str, service: &str) -> Found {
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| format!("{url}: {error}"))?;
    let channel = endpoint.connect().await.map_err(|error| format!("{url}: {}", root(&error)))?;
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(channel).check(request).await;
    let status = answer.map_err(|status| format!("{url}: {}", status.message()))?.into_inner().status();
    match status {
        ServingStatus::Serving => passing(),
        ServingStatus::Unknown | ServingStatus::NotServing | ServingStatus::ServiceUnknown => {
            Err(format!("{url} says {}", status.as_str_name()))
        }
    }
}

/// Exit codes as Nagios and Consul read them, but that everything above 1 is critical.
async fn command(words: &[String]) -> Found {
    let (program, arguments) = words.split_first().ok_or("there is no command")?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    let mut first = String::new();
    if let Some(out) = child.stdout.take() {
        let mut out = BufReader::new(out);
        // Output that is not text is no reason, and no failure either.
        let _ = (&mut out).take(4 * REASON_CHARS_MAX as u64).read_line(&mut first).await;
        // The rest is read, so that the command does not block on a full pipe, and dropped.
        let _ = tokio::io::copy(&mut out, &mut tokio::io::sink()).await;
    }
    let status = child.wait().await.map_err(|error| format!("cannot wait for {program}: {error}"))?;
    let said = first.trim_end();
    let reason = if said.is_empty() { format!("{program}: {status}") } else { said.to_owned() };
    Ok(match status.code() {
        Some(0) => Verdict::new(Health::Passing, said),
        Some(1) => Verdict::new(Health::Warning, reason),
        Some(_) | None => Verdict::new(Health::Critical, reason),
    })
}

/// What is at the bottom of an error; the layers above it say nothing to a person.
fn root(mut error: &dyn std::error::Error) -> &dyn std::error::Error {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    const SOON: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_secs(20);

    /// A listener that answers every connection with these bytes.
    async fn answering(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = socket.read(&mut request).await;
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        address
    }

    async fn free_address() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        listener.local_addr().expect("bound").to_string()
    }

    #[tokio::test]
    async fn http_passes_with_a_status_of_two_hundred_and_something() {
        let good = answering("HTTP/1.1 204 No Content\r\n\r\n").await;
        let bad = answering("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await;
        let url = |address: &str| Probe::Http(format!("http://{address}/healthz"));
        assert_eq!(look(&url(&good), LONG).await, Verdict::new(Health::Passing, ""));
        let refused = look(&url(&bad), LONG).await;
        assert!(refused.health == Health::Critical && refused.reason.contains("503"), "{refused:?}");
        let nobody = look(&url(&free_address().await), LONG).await;
        assert!(nobody.health == Health::Critical && nobody.reason.contains("refused"), "{nobody:?}");
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_critical_when_time_is_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        for probe in [
            Probe::Http(format!("http://{address}/")),
            Probe::Grpc { url: format!("http://{address}"), service: String::new() },
        ] {
            let verdict = look(&probe, SOON).await;
            assert!(verdict.health == Health::Critical && verdict.reason.contains("within"), "{verdict:?}");
        }
        // It listens, which is all that this probe asks.
        assert_eq!(look(&Probe::Tcp(address), LONG).await.health, Health::Passing);
        assert_eq!(look(&Probe::Tcp(free_address().await), LONG).await.health, Health::Critical);
    }

    #[tokio::test]
    async fn grpc_passes_while_the_service_says_that_it_serves() {
        let (reporter, service) = tonic_health::server::health_reporter();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        let probe = |service: &str| Probe::Grpc { url: url.clone(), service: service.into() };
        assert_eq!(look(&probe(""), LONG).await.health, Health::Passing);
        reporter.set_service_status("shop", tonic_health::ServingStatus::NotServing).await;
        let verdict = look(&probe("shop"), LONG).await;
        assert!(verdict.reason.contains("NOT_SERVING"), "{verdict:?}");
        assert_eq!(look(&probe("unheard-of"), LONG).await.health, Health::Critical);
        reporter.set_service_status("shop", tonic_health::ServingStatus::Serving).await;
        assert_eq!(look(&probe("shop"), LONG).await.health, Health::Passing);
    }

    #[tokio::test]
    async fn a_command_speaks_by_its_exit_code_and_its_first_line() {
        let shell = |script: &str| Probe::Command(["sh", "-c", script].map(String::from).to_vec());
        let look_at = |script: &'static str| async move { look(&shell(script), LONG).await };
        assert_eq!(look_at("exit 0").await, Verdict::new(Health::Passing, ""));
        assert_eq!(look_at("echo slow; echo more; exit 1").await, Verdict::new(Health::Warning, "slow"));
        assert_eq!(look_at("exit 7").await.health, Health::Critical);
        let missing = look(&Probe::Command(vec!["/no/such/program".into()]), LONG).await;
        assert!(missing.reason.contains("cannot run"), "{missing:?}");
        let loud = look_at("head -c 1000000 /dev/zero | tr '\\0' x").await;
        assert_eq!((loud.health, loud.reason.chars().count()), (Health::Passing, REASON_CHARS_MAX));
        let hanging = look(&shell("sleep 60"), SOON).await;
        assert!(hanging.reason.contains("no answer within"), "{hanging:?}");
    }
}
