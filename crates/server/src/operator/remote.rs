//! Through the admin listener of a running server.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use axum::body::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::time::timeout;
use url::Url;

use super::{End, List, Page, Target};
use crate::{admin::AdminToken, config::TokenFile};

/// A page of sessions has a few hundred kilobytes.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Ending a hundred thousand sessions on a slow store takes minutes.
const DEADLINE: Duration = Duration::from_mins(30);

pub(super) struct Remote {
    base: Url,
    authorization: HeaderValue,
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Remote {
    pub(super) fn new(url: &str, token: &TokenFile) -> anyhow::Result<Self> {
        let base = Url::parse(url).with_context(|| format!("{url} is no URL; see --admin-url"))?;
        if base.scheme() != "http" || base.cannot_be_a_base() {
            bail!("{url} is not an http URL; the admin listener speaks plain http");
        }
        let authorization = AdminToken::of_server(token)?.header()?;
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { base, authorization, client })
    }

    pub(super) async fn list(
        &self,
        list: &List,
        cursor: Option<&str>,
        limit: usize,
    ) -> anyhow::Result<Page> {
        let (name, target) = match list {
            List::Sessions(target) => ("sessions", target.as_ref()),
            List::Clients => ("clients", None),
        };
        let mut url = self.url(&[name], target);
        url.query_pairs_mut().append_pair("limit", &limit.to_string());
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("cursor", cursor);
        }
        let mut answer =
            self.send(Method::GET, &url).await?.context("the server has no administration")?;
        let Value::Array(entries) = answer[name].take() else {
            bail!("the answer of {} is not a list", self.base);
        };
        Ok(Page { entries, next: answer["next"].as_str().map(str::to_owned) })
    }

    pub(super) async fn end(&self, what: &End) -> anyhow::Result<Option<u64>> {
        let url = match what {
            End::Sessions(target) => self.url(&["sessions"], Some(target)),
            End::Session(id) => self.url(&["sessions", id], None),
            End::Client(id) => self.url(&["clients", id], None),
        };
        let Some(answer) = self.send(Method::DELETE, &url).await? else { return Ok(None) };
        let revoked = answer["revoked"].as_u64();
        revoked.map(Some).with_context(|| format!("{} did not say what it did", self.base))
    }

    fn url(&self, path: &[&str], target: Option<&Target>) -> Url {
        let mut url = self.base.clone();
        // It is a base: `new` has looked.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("admin").extend(path);
        }
        match target {
            Some(Target::User { issuer, subject }) => {
                url.query_pairs_mut().append_pair("user", subject);
                if let Some(issuer) = issuer {
                    url.query_pairs_mut().append_pair("issuer", issuer);
                }
            }
            Some(Target::Client(id)) => {
                url.query_pairs_mut().append_pair("client", id);
            }
            Some(Target::All) => {
                url.query_pairs_mut().append_pair("all", "true");
            }
            None => {}
        }
        url
    }

    /// `None` if there is nothing of that name.
    async fn send(&self, method: Method, url: &Url) -> anyhow::Result<Option<Value>> {
        let request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(header::AUTHORIZATION, self.authorization.clone())
            .body(Empty::new())
            .context("the request could not be made")?;
        let exchange = async {
            let response = self.client.request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(anyhow::Error::from_boxed)?;
            anyhow::Ok((status, body.to_bytes()))
        };
        let (status, body) = timeout(DEADLINE, exchange)
            .await
            .map_err(|_| anyhow!("no answer in time"))
            .and_then(|answer| answer)
            .with_context(|| format!("could not ask {}; does the server run?", self.base))?;
        let json = serde_json::from_slice::<Value>(&body).ok();
        match (status, json) {
            (StatusCode::OK, Some(json)) => Ok(Some(json)),
            (StatusCode::UNAUTHORIZED, _) => {
                bail!("{} does not accept the admin token; is it that of this server?", self.base)
            }
            (StatusCode::NOT_FOUND, Some(json)) if json["error"] == "not_found" => Ok(None),
            (StatusCode::NOT_FOUND, _) => bail!("{} has no administration", self.base),
            (status, Some(json)) if json["error_description"].is_string() => {
                let why = json["error_description"].as_str().unwrap_or_default();
                bail!("{} answered {status}: {why}", self.base)
            }
            (status, _) => {
                bail!("{} answered {status}: {}", self.base, String::from_utf8_lossy(&body).trim())
            }
        }
    }
}
