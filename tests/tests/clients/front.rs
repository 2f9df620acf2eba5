//! A server in front of the proxy that hides some of its routes, as a gateway in the field does.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    response::Response,
};
use end_to_end::serve::Settings;
use http::{StatusCode, header};

use crate::{
    driver::{Driver, Kind},
    journey::{self, alice, callback_url},
    provider::{self, Provider},
    rig::Rig,
};

/// More than any request of a client has.
const MOST_BYTES: usize = 1 << 20;

/// The whole journey, with these paths (and what is below them) unknown to the server.
pub(crate) async fn journey(kind: Kind, hidden: &'static str) -> anyhow::Result<()> {
    let settings = Settings::new()?;
    let listen = settings.listen();
    let (base_url, _front) = provider::serve(|_| {
        Ok(Router::new().fallback(async move |request| forward(listen, hidden, request).await))
    })
    .await?;
    let settings = settings.behind(base_url);
    let provider = Provider::dev_idp(&callback_url(&settings)).await?;
    let rig = Rig::start(settings.set("access-token-lifetime", journey::ACCESS_TOKEN), provider);
    journey::with(&mut Driver::start(kind, alice())?, rig.await?, "user-alice").await
}

async fn forward(to: SocketAddr, hidden: &str, request: Request) -> Response {
    let answer = if request.uri().path().starts_with(hidden) {
        Err(StatusCode::NOT_FOUND)
    } else {
        send(to, request).await.map_err(|_| StatusCode::BAD_GATEWAY)
    };
    answer.unwrap_or_else(|status| {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = status;
        answer
    })
}

async fn send(to: SocketAddr, request: Request) -> anyhow::Result<Response> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().context("no path")?;
    let body = to_bytes(body, MOST_BYTES).await?;
    let request = end_to_end::http()?
        .request(parts.method, format!("http://{to}{path}"))
        .headers(parts.headers)
        .body(body);
    let answer = request.send().await?;
    let mut forwarded = Response::builder().status(answer.status());
    if let Some(headers) = forwarded.headers_mut() {
        headers.extend(answer.headers().clone());
        // How the bytes are framed is each connection's own business.
        headers.remove(header::TRANSFER_ENCODING);
    }
    Ok(forwarded.body(Body::from_stream(answer.bytes_stream()))?)
}
