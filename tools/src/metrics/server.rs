//! A small HTTP server, on hyper: three paths, GET and HEAD, nothing that changes anything.
//!
//! One thread serves all connections, one request on each. A client gets five seconds for the head
//! of its request, and ten in all. Beyond the largest number of connections, the oldest one
//! is dropped for a new one. So clients that send or read nothing keep nobody waiting.
//! [`super::peer`] decides what each client may see. The server ends at a request to finish.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::response::Builder;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use railbus::Error;
use railbus_os::act_as;

use super::peer::{Asks, Rules, Sees, user_of};
use super::{Latest, Shared};
use crate::failure::{Failure, Outcome};
use crate::interrupt;

const PAGE: &str = include_str!("page.html");
/// Connections served at once.
const CONNECTIONS_MAX: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may last: to send the request, and to read the answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until a request to finish, or until `is_over` returns true.
pub(crate) fn serve(
    listener: TcpListener,
    shared: &Shared,
    rules: Rules,
    is_over: impl Fn() -> bool,
) -> Outcome {
    let fail = |action: &'static str| move |error| Failure::from(Error::io(action, "the HTTP server", error));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail("start"))?;
    listener.set_nonblocking(true).map_err(fail("set up"))?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(fail("set up"))?;
        let rules = Arc::new(rules);
        let mut connections = VecDeque::new();
        while !interrupt::is_asked() && !is_over() {
            let Ok(accepted) = tokio::time::timeout(interrupt::LOOK_EVERY, listener.accept()).await else {
                continue;
            };
            // A client that has gone already, or no descriptor left: neither ends the server.
            let Ok((stream, client)) = accepted else {
                tokio::time::sleep(interrupt::LOOK_EVERY).await;
                continue;
            };
            let (shared, rules) = (shared.clone(), rules.clone());
            let connection = tokio::spawn(async move {
                let server = stream.local_addr();
                let user = server.ok().and_then(|server| user_of(client, server));
                let is_own = user.is_some_and(|user| user == act_as::user() || user == 0);
                let service = service_fn(|request| {
                    let response = answer(&request, &shared, &rules, is_own);
                    async move { Ok::<_, Infallible>(response) }
                });
                let mut server = http1::Builder::new();
                server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).keep_alive(false);
                let served = server.serve_connection(TokioIo::new(stream), service);
                // An error on a connection concerns only its client.
                let _ = tokio::time::timeout(CONNECTION_TIMEOUT, served).await;
            });
            connections.retain(|one: &tokio::task::JoinHandle<()>| !one.is_finished());
            if connections.len() >= CONNECTIONS_MAX
                && let Some(oldest) = connections.pop_front()
            {
                oldest.abort();
            }
            connections.push_back(connection);
        }
        Ok(())
    })
}

fn answer(
    request: &Request<Incoming>,
    shared: &Shared,
    rules: &Rules,
    is_own: bool,
) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let asks =
        Asks { host: header(HOST), authorization: header(AUTHORIZATION), query: request.uri().query() };
    let sees = rules.judge(asks, is_own);
    let latest = || {
        let latest: Arc<Latest> = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if sees == Sees::All { latest.all.clone() } else { latest.public.clone() }
    };
    match sees {
        Sees::WrongHost => {
            let text = "this name is not served here: ask by address, or name it with --allow-host\n";
            return respond(
                Response::builder().status(StatusCode::MISDIRECTED_REQUEST),
                TEXT,
                text.to_owned(),
            );
        }
        Sees::WrongToken => {
            let builder = Response::builder().status(StatusCode::UNAUTHORIZED);
            let builder = builder.header(WWW_AUTHENTICATE, "Bearer");
            return respond(builder, TEXT, "the token is not the one of --token-file\n".to_owned());
        }
        Sees::All | Sees::Public => {}
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let builder = Response::builder().status(StatusCode::METHOD_NOT_ALLOWED).header(ALLOW, "GET, HEAD");
        return respond(builder, "text/plain; charset=utf-8", "only GET and HEAD\n".to_owned());
    }
    let fine = Response::builder();
    match request.uri().path() {
        "/" => respond(fine, "text/html; charset=utf-8", PAGE.to_owned()),
        "/metrics" => {
            respond(fine, "application/openmetrics-text; version=1.0.0; charset=utf-8", latest().openmetrics)
        }
        "/stat.json" => respond(fine, "application/json", latest().json),
        _ => respond(
            fine.status(StatusCode::NOT_FOUND),
            "text/plain; charset=utf-8",
            "there are /, /metrics and /stat.json\n".to_owned(),
        ),
    }
}

fn respond(builder: Builder, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    // The page's own script and style, and nothing from anywhere else.
    const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                          connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'";
    let built = builder
        .header(CONTENT_TYPE, kind)
        .header(CACHE_CONTROL, "no-store")
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(CONTENT_SECURITY_POLICY, POLICY)
        .body(Full::from(body));
    // The headers are constants that are valid.
    built.unwrap_or_else(|_| Response::new(Full::default()))
}
