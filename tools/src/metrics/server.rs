//! A small HTTP server, on hyper: three paths, GET and HEAD, nothing that changes anything.
//!
//! One thread serves all connections. A client gets five seconds for the head of each request; beyond the largest
//! number of connections, new ones wait in the listener's queue. It ends when somebody asks the program to.

use super::Shared;
use crate::failure::{Failure, Outcome};
use crate::interrupt;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use hyper::http::response::Builder;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use railbus::Error;
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

const PAGE: &str = include_str!("page.html");
/// Connections served at once.
const CONNECTIONS_MAX: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until somebody asks the program to finish, or `is_over` says so.
pub(crate) fn serve(listener: TcpListener, shared: &Shared, is_over: impl Fn() -> bool) -> Outcome {
    let fail = |action: &'static str| move |error| Failure::from(Error::io(action, "the HTTP server", error));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail("start"))?;
    listener.set_nonblocking(true).map_err(fail("set up"))?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(fail("set up"))?;
        let places = Arc::new(());
        while !interrupt::is_asked() && !is_over() {
            // Each connection holds a clone while it lasts.
            if Arc::strong_count(&places) > CONNECTIONS_MAX {
                tokio::time::sleep(interrupt::LOOK_EVERY).await;
                continue;
            }
            let Ok(accepted) = tokio::time::timeout(interrupt::LOOK_EVERY, listener.accept()).await else {
                continue;
            };
            // A client that has gone already, or no descriptor left: neither ends the server.
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(interrupt::LOOK_EVERY).await;
                continue;
            };
            let (shared, place) = (shared.clone(), places.clone());
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let response = answer(&request, &shared);
                    async move { Ok::<_, Infallible>(response) }
                });
                let mut server = http1::Builder::new();
                server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
                // What goes wrong on a connection is the client's affair.
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
                drop(place);
            });
        }
        Ok(())
    })
}

fn answer(request: &Request<Incoming>, shared: &Shared) -> Response<Full<Bytes>> {
    let latest = || shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let builder = Response::builder().status(StatusCode::METHOD_NOT_ALLOWED).header(ALLOW, "GET, HEAD");
        return respond(builder, "text/plain; charset=utf-8", "only GET and HEAD\n".to_owned());
    }
    let fine = Response::builder();
    match request.uri().path() {
        "/" => respond(fine, "text/html; charset=utf-8", PAGE.to_owned()),
        "/metrics" => respond(
            fine,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            latest().openmetrics.clone(),
        ),
        "/stat.json" => respond(fine, "application/json", latest().json.clone()),
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
