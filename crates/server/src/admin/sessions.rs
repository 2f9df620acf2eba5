//! `/admin/sessions` and `/admin/clients`: what there is, and ending it.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, RawQuery, State},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{delete, get},
};
use http::StatusCode;
use oidc_proxy::{
    ErrorCode, OAuthError,
    admin::{Administration, GrantFilter, MAX_PAGE, PageCursor},
};
use serde_json::json;
use url::form_urlencoded;

use super::token::{self, AdminToken};

/// Entries of a page if nobody asked for another number.
const USUAL_PAGE: usize = 100;

pub(super) fn router(administration: &Administration, token: AdminToken) -> Router {
    let routes = Router::new()
        .route("/admin/sessions", get(list).delete(revoke))
        .route("/admin/sessions/{id}", delete(revoke_one))
        .route("/admin/clients", get(clients))
        .route("/admin/clients/{id}", delete(delete_client))
        .with_state(administration.clone())
        .layer(from_fn_with_state(Arc::new(token), token::layer));
    administration.in_context(routes)
}

async fn list(
    State(administration): State<Administration>,
    RawQuery(query): RawQuery,
) -> Result<Response, OAuthError> {
    let asked = Asked::parse(query.as_deref())?;
    let filter = asked.filter()?.unwrap_or(GrantFilter::All);
    let page = administration.grants(&filter, asked.cursor.as_ref(), asked.limit).await?;
    let next = page.next.as_ref().map(PageCursor::as_str);
    Ok(Json(json!({"sessions": page.grants, "next": next})).into_response())
}

/// Whom it is about must be said: everybody is `all=true`, not silence.
async fn revoke(
    State(administration): State<Administration>,
    RawQuery(query): RawQuery,
) -> Result<Response, OAuthError> {
    let Some(filter) = Asked::parse(query.as_deref())?.filter()? else {
        return Err(invalid("say whose sessions end: `user`, `client` or `all=true`"));
    };
    let revoked = administration.revoke(&filter).await?;
    Ok(Json(json!({"revoked": revoked})).into_response())
}

async fn revoke_one(
    State(administration): State<Administration>,
    Path(id): Path<String>,
) -> Result<Response, OAuthError> {
    if administration.revoke_grant(&id).await? {
        Ok(Json(json!({"revoked": 1})).into_response())
    } else {
        Ok(not_found("there is no session of this id"))
    }
}

async fn clients(
    State(administration): State<Administration>,
    RawQuery(query): RawQuery,
) -> Result<Response, OAuthError> {
    let asked = Asked::parse(query.as_deref())?;
    if asked.filter()?.is_some() {
        return Err(invalid("clients are listed altogether"));
    }
    let page = administration.clients(asked.cursor.as_ref(), asked.limit).await?;
    let next = page.next.as_ref().map(PageCursor::as_str);
    Ok(Json(json!({"clients": page.clients, "next": next})).into_response())
}

async fn delete_client(
    State(administration): State<Administration>,
    Path(id): Path<String>,
) -> Result<Response, OAuthError> {
    match administration.delete_client(&id).await? {
        Some(revoked) => Ok(Json(json!({"revoked": revoked})).into_response()),
        None => Ok(not_found("there is no client of this id")),
    }
}

fn not_found(what: &'static str) -> Response {
    let body = json!({"error": "not_found", "error_description": what});
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

fn invalid(why: impl Into<String>) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidRequest, why.into())
}

/// The query of a request.
#[derive(Debug)]
struct Asked {
    user: Option<String>,
    issuer: Option<String>,
    client: Option<String>,
    all: bool,
    cursor: Option<PageCursor>,
    limit: usize,
}

impl Asked {
    /// Strict: a misspelled name must not mean everybody.
    fn parse(query: Option<&str>) -> Result<Self, OAuthError> {
        let mut asked = Self {
            user: None,
            issuer: None,
            client: None,
            all: false,
            cursor: None,
            limit: USUAL_PAGE,
        };
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let value = value.into_owned();
            match &*name {
                "user" => asked.user = Some(value),
                "issuer" => asked.issuer = Some(value),
                "client" => asked.client = Some(value),
                "all" if value == "true" => asked.all = true,
                "cursor" => asked.cursor = Some(PageCursor::from_text(value)),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
                    asked.limit = limit
                        .ok_or_else(|| invalid(format!("`limit` must be from 1 to {MAX_PAGE}")))?;
                }
                _ => {
                    return Err(invalid(
                        "the parameters are `user`, `issuer`, `client`, `all=true`, `cursor` and \
                         `limit`",
                    ));
                }
            }
        }
        Ok(asked)
    }

    fn filter(&self) -> Result<Option<GrantFilter>, OAuthError> {
        match (&self.user, &self.client, self.all) {
            (Some(subject), None, false) if !subject.is_empty() => {
                let issuer = self.issuer.clone();
                Ok(Some(GrantFilter::User { issuer, subject: subject.clone() }))
            }
            (None, ..) if self.issuer.is_some() => Err(invalid("`issuer` goes with `user`")),
            (None, Some(client), false) if !client.is_empty() => {
                Ok(Some(GrantFilter::Client(client.clone())))
            }
            (None, None, true) => Ok(Some(GrantFilter::All)),
            (None, None, false) => Ok(None),
            _ => Err(invalid("one of `user`, `client` and `all=true`, and not empty")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(query: &str) -> Result<Option<GrantFilter>, String> {
        Asked::parse(Some(query))
            .and_then(|asked| asked.filter())
            .map_err(|error| error.description().to_owned())
    }

    #[test]
    fn nobody_is_meant_by_mistake() {
        let user = |issuer: Option<&str>| {
            let issuer = issuer.map(str::to_owned);
            Ok(Some(GrantFilter::User { issuer, subject: "a b".to_owned() }))
        };
        assert_eq!(filter("user=a+b"), user(None));
        assert_eq!(filter("user=a+b&issuer=idp&limit=7"), user(Some("idp")));
        assert_eq!(filter("client=c"), Ok(Some(GrantFilter::Client("c".to_owned()))));
        assert_eq!(filter("all=true"), Ok(Some(GrantFilter::All)));
        assert_eq!(filter(""), Ok(None));
        for wrong in [
            "usr=alice",
            "user=",
            "client=",
            "all=yes",
            "all",
            "user=a&all=true",
            "issuer=idp",
            "user=a&client=c",
            "client=c&all=true",
            "all=true&issuer=idp",
            "limit=0",
            "limit=1001",
        ] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
    }
}
