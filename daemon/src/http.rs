//! A read-only HTTP server for metrics and the status page: off by default, and on the loopback addresses only.
//!
//! A page in a browser may send requests to this host, and a name may be made to lead here. So the `Host` of a request has to
//! be an address of the loopback or `localhost`, and its `Origin`, if it has one, this server; and nothing can be changed.
//! The server takes snapshots of the node as `rouse status` does. Its connections, their requests and the time for them have
//! bounds, and they share one future, so that it never takes more than one processor from the data path.

mod metrics;
mod snapshot;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use async_io::{Async, Timer};
use futures::future::{Either, FutureExt, select};
use futures::stream::{FuturesUnordered, StreamExt};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use rouse_core::node::Node;
use smol_hyper::rt::{FuturesIo, SmolTimer};

use snapshot::Snapshot;

use crate::admin::DaemonAdmin;

/// The most connections at a time. Further ones wait.
const MAX_CONNECTIONS: usize = 32;

/// The longest life of a connection. Programs that ask again connect again.
const MAX_LIFE: Duration = Duration::from_secs(60);

/// The time for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause after a failed accept, most often for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// The parts of the page: path, type and content.
const FILES: &[(&str, &str, &str)] = &[
    ("/", "text/html; charset=utf-8", include_str!("http/page.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("http/page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("http/page.js")),
];

/// The server, which listens.
#[derive(Debug)]
pub struct HttpServer {
    listener: Async<TcpListener>,
}

impl HttpServer {
    /// Listens at `address`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(HttpServer { listener: Async::<TcpListener>::bind(address)? })
    }

    /// The address at which it listens, with the port that the system has chosen for port 0.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.get_ref().local_addr().ok()
    }

    /// Serves until the future is dropped.
    pub async fn serve(&self, node: &Node, admin: &DaemonAdmin) {
        let mut connections = FuturesUnordered::new();
        loop {
            let may_accept = connections.len() < MAX_CONNECTIONS;
            let accept = async {
                match may_accept {
                    true => self.listener.accept().await,
                    false => std::future::pending().await,
                }
            };
            let accept = std::pin::pin!(accept.fuse());
            let mut accept = accept;
            futures::select_biased! {
                () = connections.select_next_some() => {}
                accepted = accept => match accepted {
                    Ok((stream, _)) => connections.push(serve_connection(stream, node, admin)),
                    Err(error) => {
                        tracing::debug!(%error, "a connection to the status page was not accepted");
                        Timer::after(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }
}

async fn serve_connection(stream: Async<TcpStream>, node: &Node, admin: &DaemonAdmin) {
    let answer = service_fn(async |request| Ok::<_, Infallible>(answer(&request, node, admin).await));
    let connection = http1::Builder::new()
        .timer(SmolTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(16 << 10)
        .max_headers(64)
        .serve_connection(FuturesIo::new(stream), answer);
    match select(std::pin::pin!(connection), Timer::after(MAX_LIFE)).await {
        Either::Left((Err(error), _)) => tracing::debug!(%error, "a connection to the status page ended"),
        Either::Left((Ok(()), _)) | Either::Right(_) => {}
    }
}

async fn answer(request: &Request<Incoming>, node: &Node, admin: &DaemonAdmin) -> Response<Full<Bytes>> {
    // A request that names a server in its first line names it twice.
    if !is_local(request.headers()) || request.uri().authority().is_some() {
        return text(
            StatusCode::FORBIDDEN,
            "this page is served under the addresses of the loopback alone\n",
        );
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "this page only shows; `rouse` changes\n");
    }
    match request.uri().path() {
        "/metrics" => {
            let content = metrics::encode(&Snapshot::of(node, admin).await);
            reply(StatusCode::OK, metrics::CONTENT_TYPE, content.into())
        }
        "/state.json" => {
            let content = Snapshot::of(node, admin).await.document();
            reply(StatusCode::OK, "application/json", content.into())
        }
        path => match FILES.iter().find(|(known, _, _)| *known == path) {
            Some((_, kind, content)) => reply(StatusCode::OK, kind, Bytes::from_static(content.as_bytes())),
            None => text(StatusCode::NOT_FOUND, "there are /, /metrics and /state.json\n"),
        },
    }
}

/// Whether a request was made to this host by its own address, and by no page of another server.
fn is_local(headers: &HeaderMap) -> bool {
    let is_loopback = |authority: &Authority| {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback())
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let is_only = headers.get_all(header::HOST).iter().nth(1).is_none();
    let Some(host) =
        host.filter(|_| is_only).filter(|host| host.parse().is_ok_and(|authority| is_loopback(&authority)))
    else {
        return false;
    };
    let same = |origin: &HeaderValue| {
        origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://")) == Some(host)
    };
    headers.get(header::ORIGIN).is_none_or(same)
}

fn text(status: StatusCode, content: &'static str) -> Response<Full<Bytes>> {
    reply(status, "text/plain; charset=utf-8", Bytes::from_static(content.as_bytes()))
}

fn reply(status: StatusCode, kind: &'static str, content: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(content));
    *response.status_mut() = status;
    // The page loads nothing from elsewhere and runs nothing that is written into it.
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_to_the_loopback_by_its_own_pages_are_answered() {
        let of = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            is_local(&headers)
        };
        for host in ["127.0.0.1:9464", "localhost:9464", "LOCALHOST", "[::1]:9464", "127.3.2.1:1"] {
            assert!(of(host, None), "{host}");
            assert!(of(host, Some(&format!("http://{host}"))), "{host}");
            assert!(!of(host, Some("http://page.example")), "{host}");
            assert!(!of(host, Some("null")), "{host}");
        }
        for host in [
            "page.example",
            "127.0.0.1.page.example:9464",
            "192.0.2.7:9464",
            "",
            "127.0.0.1:9464@page.example",
            "[::2]",
        ] {
            assert!(!of(host, None), "{host}");
        }
        assert!(!is_local(&HeaderMap::new()), "a request without a host");
        let mut two = HeaderMap::new();
        two.append(header::HOST, HeaderValue::from_static("127.0.0.1"));
        two.append(header::HOST, HeaderValue::from_static("page.example"));
        assert!(!is_local(&two), "a request with two hosts");
    }
}
