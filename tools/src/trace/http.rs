//! POST to the collector: one connection, kept while it works, on hyper.
//!
//! Each request, from connecting to the end of the answer, has one time limit. At most 64 KiB of an
//! answer are read.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::options::Header;
use crate::failure::Failure;

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const PATH: &str = "/v1/traces";

/// The destination of spans.
#[derive(Debug)]
pub(super) struct Collector {
    uri: Uri,
    /// HOST:PORT, as it is connected to.
    authority: String,
    headers: Vec<Header>,
    timeout: Duration,
}

/// The answer of the collector.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// How long it asks us to wait, if it does, in whole seconds.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

/// A connection, if there is one.
#[derive(Debug, Default)]
pub(super) struct Connection(Option<SendRequest<Full<Bytes>>>);

impl Collector {
    /// The destination that `--otlp` names.
    pub(super) fn parse(url: &str, headers: &[Header], timeout: Duration) -> Result<Collector, Failure> {
        let fail = |why: &str| {
            Failure::usage(format!(
                "--otlp {url:?}: {why}; expected http://HOST:PORT, such as http://127.0.0.1:4318"
            ))
        };
        let uri: Uri = url.parse().map_err(|_| fail("this is no URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(fail(
                    "https is not spoken here: send to a collector on this host, which can pass it on",
                ));
            }
            _ => return Err(fail("only http is spoken here")),
        }
        let authority = uri.authority().ok_or_else(|| fail("it names no host"))?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(fail("a user or a query has no place in it (see --header)"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| fail("it names no host"))?;
        let address = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        let path = uri.path().trim_end_matches('/');
        let path = if path.ends_with(PATH) { path.to_owned() } else { format!("{path}{PATH}") };
        let whole = format!("http://{authority}{path}");
        let uri = whole.parse().map_err(|_| fail("this is no URL"))?;
        Ok(Collector { uri, authority: address, headers: headers.to_vec(), timeout })
    }

    /// Sends a request and returns the answer, or the error in a phrase.
    pub(super) async fn post(&self, connection: &mut Connection, body: Bytes) -> Result<Answer, String> {
        let posted = tokio::time::timeout(self.timeout, self.exchange(connection, body)).await;
        let answered = posted.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.timeout)));
        if answered.is_err() {
            connection.0 = None;
        }
        answered
    }

    async fn exchange(&self, connection: &mut Connection, body: Bytes) -> Result<Answer, String> {
        let kept = match connection.0.take() {
            Some(mut kept) => kept.ready().await.is_ok().then_some(kept),
            None => None,
        };
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let mut request = Request::post(self.uri.path())
            .header(HOST, self.uri.authority().map_or("", |authority| authority.as_str()))
            .header(USER_AGENT, concat!("railbus/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/x-protobuf");
        for Header { name, value } in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::from(body)).map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| with_cause(&error))?;
        let answer = Self::read(response).await?;
        connection.0 = Some(sender);
        Ok(answer)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let stream = TcpStream::connect(&self.authority).await.map_err(|error| error.to_string())?;
        let _ = stream.set_nodelay(true);
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| error.to_string())?;
        // The task ends with the sender, or with the other end; the sender gets its errors, too.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }

    async fn read(response: Response<Incoming>) -> Result<Answer, String> {
        let status = response.status();
        let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        // If the rest is too long, the status is enough.
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        Ok(Answer { status, retry_after, body })
    }
}

impl std::fmt::Display for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.uri.fmt(f)
    }
}

/// hyper's errors give the cause, such as a reset connection, in their source only.
fn with_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    if let Some(cause) = error.source() {
        text.push_str(&format!(": {cause}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let of = |url: &str| {
            let collector = Collector::parse(url, &[], Duration::from_secs(1)).ok()?;
            Some((collector.uri.to_string(), collector.authority))
        };
        let both = |uri: &str, authority: &str| Some((uri.to_owned(), authority.to_owned()));
        assert_eq!(of("http://127.0.0.1:4318"), both("http://127.0.0.1:4318/v1/traces", "127.0.0.1:4318"));
        assert_eq!(of("http://[::1]:4318/"), both("http://[::1]:4318/v1/traces", "[::1]:4318"));
        assert_eq!(of("http://host"), both("http://host/v1/traces", "host:80"));
        assert_eq!(of("http://host/otlp/"), both("http://host/otlp/v1/traces", "host:80"));
        assert_eq!(of("http://host:1/v1/traces"), both("http://host:1/v1/traces", "host:1"));
        for bad in
            ["", "host", "host:4318", "https://host", "ftp://host", "http://", "http://a@host", "http://h?q"]
        {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
