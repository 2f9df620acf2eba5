//! The token endpoint.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use end_to_end::{
    browser::Browser,
    client::{Answer, Client, REDIRECT_URI, Tokens},
    eventually,
    process::{Demo, Launch},
};
use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::{has_null, send};
use crate::{alice, logged_in};

const INVALID_GRANT: (StatusCode, &str) = (StatusCode::BAD_REQUEST, "invalid_grant");

/// What an error answer says, after a look at how it says it.
fn refusal(answer: &Answer) -> (StatusCode, &str) {
    assert!(answer.header(header::CACHE_CONTROL).contains("no-store"), "{:?}", answer.headers);
    assert!(!has_null(&answer.json), "{}", answer.text);
    (answer.status, answer.error())
}

/// The claims of a JWT.
fn claims(token: &str) -> anyhow::Result<(Value, Value)> {
    let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap_or_default());
    let mut next = || anyhow::Ok(serde_json::from_slice(&parts.next().unwrap_or_default())?);
    Ok((next()?, next()?))
}

#[tokio::test]
async fn tokens_are_ours_and_for_the_resource() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let client = Client::register(&demo.mcp_endpoint).await?;
    let authorized = client.authorize(&mut Browser::new()?, &alice(&demo)).await?;
    let answer = client.redeem(&authorized, &[]).await?;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert!(answer.header(header::CACHE_CONTROL).contains("no-store"));
    assert!(answer.header(header::CONTENT_TYPE).starts_with("application/json"));
    assert!(!has_null(&answer.json), "{}", answer.text);
    assert_eq!(answer.json["token_type"], "Bearer");
    assert!(answer.json["expires_in"].is_u64(), "{}", answer.text);
    assert!(answer.json.get("id_token").is_none(), "the provider's ID token was handed on");

    let tokens = answer.tokens()?;
    let (head, body) = claims(&tokens.access)?;
    assert_eq!((&head["alg"], &head["typ"]), (&json!("HS256"), &json!("at+jwt")));
    assert!(head["kid"].is_string());
    assert_eq!(body["iss"], Value::from(demo.issuer()));
    assert_eq!(body["aud"], Value::from(demo.mcp_endpoint.as_str()));
    assert_eq!(body["client_id"], Value::from(client.id()));
    for claim in ["sub", "jti", "gid", "scope"] {
        assert!(body[claim].is_string(), "{claim} in {body}");
    }
    assert!(body["exp"].as_u64() > body["iat"].as_u64());
    assert!(
        !tokens.refresh.contains('.') || claims(&tokens.refresh).is_err(),
        "a refresh token is opaque"
    );
    Ok(())
}

#[tokio::test]
async fn a_failed_check_changes_nothing_and_a_replay_ends_everything() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let client = Client::register(&demo.mcp_endpoint).await?;
    let thief = Client::register(&demo.mcp_endpoint).await?;
    let authorized = client.authorize(&mut Browser::new()?, &alice(&demo)).await?;

    let wrong = "wrong-verifier-of-at-least-43-characters-in-all";
    let elsewhere = format!("{}/elsewhere", demo.issuer());
    for (parameter, value, expected) in [
        ("code_verifier", Some(wrong), INVALID_GRANT),
        ("redirect_uri", Some("http://127.0.0.1:51999/other"), INVALID_GRANT),
        ("client_id", Some(thief.id()), INVALID_GRANT),
        ("code", Some("no-code-of-ours"), INVALID_GRANT),
        ("client_id", Some("nobody"), (StatusCode::UNAUTHORIZED, "invalid_client")),
        ("resource", Some(&elsewhere), (StatusCode::BAD_REQUEST, "invalid_target")),
        ("grant_type", Some("password"), (StatusCode::BAD_REQUEST, "unsupported_grant_type")),
        ("code", None, (StatusCode::BAD_REQUEST, "invalid_request")),
    ] {
        let answer = client.redeem(&authorized, &[(parameter, value)]).await?;
        assert_eq!(refusal(&answer), expected, "{parameter} = {value:?}: {}", answer.text);
    }
    let missing = client.redeem(&authorized, &[("code_verifier", None)]).await?;
    assert_eq!(missing.status, StatusCode::BAD_REQUEST, "{}", missing.text);

    // None of that used up the code.
    let tokens = client.redeem(&authorized, &[]).await?.tokens()?;
    assert_eq!(client.status_with(&tokens.access).await?, StatusCode::OK);
    let renewed = client.refresh(&tokens.refresh).await?.tokens()?;

    // A replay with a wrong verifier proves nothing, one with everything right ends the grant
    // (OAuth 2.1 §4.1.3).
    let failed = client.redeem(&authorized, &[("code_verifier", Some(wrong))]).await?;
    assert_eq!(refusal(&failed), INVALID_GRANT);
    assert_eq!(client.status_with(&renewed.access).await?, StatusCode::OK);
    let replay = client.redeem(&authorized, &[]).await?;
    assert_eq!(refusal(&replay), INVALID_GRANT);
    assert_eq!(refusal(&client.refresh(&renewed.refresh).await?), INVALID_GRANT);
    eventually("the access token to be refused", async || {
        client
            .status_with(&renewed.access)
            .await
            .is_ok_and(|status| status == StatusCode::UNAUTHORIZED)
    })
    .await
}

#[tokio::test]
async fn a_refresh_token_is_its_clients_alone() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let (client, tokens) = logged_in(&demo).await?;
    let (thief, _) = logged_in(&demo).await?;
    assert_eq!(refusal(&thief.refresh(&tokens.refresh).await?), INVALID_GRANT);
    let mut tampered = tokens.refresh.clone();
    tampered.replace_range(tampered.len() - 4.., "AAAA");
    for bad in ["nonsense", tampered.as_str(), &tokens.access, ""] {
        let answer = client.refresh(bad).await?;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}: {}", answer.text);
    }
    // None of that harmed the grant.
    client.refresh(&tokens.refresh).await?.tokens()?;
    Ok(())
}

#[tokio::test]
async fn a_lost_answer_logs_nobody_out() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let (client, first) = logged_in(&demo).await?;
    let second = client.refresh(&first.refresh).await?.tokens()?;
    assert_ne!(second.refresh, first.refresh, "it did not rotate");
    // The client never saw the second one and asks again: the current token, no rotation.
    let again = client.refresh(&first.refresh).await?.tokens()?;
    assert_eq!(again.refresh, second.refresh);
    let third = client.refresh(&second.refresh).await?.tokens()?;
    assert_ne!(third.refresh, second.refresh);
    assert_eq!(client.refresh(&first.refresh).await?.tokens()?.refresh, third.refresh);
    assert_eq!(client.status_with(&third.access).await?, StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn an_old_refresh_token_after_the_grace_is_a_replay() -> anyhow::Result<()> {
    let demo = Launch::new().arg("--refresh-grace").arg("1s").start().await?;
    let (client, first) = logged_in(&demo).await?;
    let second = client.refresh(&first.refresh).await?.tokens()?;
    // Within the window this is answered with 200 and changes nothing; after it, it ends the grant.
    eventually("the end of the grace window", async || {
        client.refresh(&first.refresh).await.is_ok_and(|answer| answer.error() == "invalid_grant")
    })
    .await?;
    assert_eq!(refusal(&client.refresh(&second.refresh).await?), INVALID_GRANT);
    Ok(())
}

#[tokio::test]
async fn an_expired_access_token_is_refused_and_renewed() -> anyhow::Result<()> {
    let demo = Launch::new().arg("--access-token-lifetime").arg("2s").start().await?;
    let (client, tokens) = logged_in(&demo).await?;
    assert_eq!(client.status_with(&tokens.access).await?, StatusCode::OK);
    eventually("the access token to expire", async || {
        client
            .status_with(&tokens.access)
            .await
            .is_ok_and(|status| status == StatusCode::UNAUTHORIZED)
    })
    .await?;
    let renewed = client.refresh(&tokens.refresh).await?.tokens()?;
    assert_eq!(client.status_with(&renewed.access).await?, StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn parameters_come_once_and_in_a_form() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let (client, tokens) = logged_in(&demo).await?;
    let refresh: Vec<(&str, &str)> = vec![
        ("grant_type", "refresh_token"),
        ("refresh_token", &tokens.refresh),
        ("client_id", client.id()),
    ];
    for name in ["grant_type", "refresh_token", "client_id"] {
        let mut doubled = refresh.clone();
        doubled.extend(refresh.iter().filter(|(found, _)| *found == name));
        let answer = client.token(&doubled).await?;
        assert_eq!(
            refusal(&answer),
            (StatusCode::BAD_REQUEST, "invalid_request"),
            "{name}: {}",
            answer.text
        );
    }
    let json: BTreeMap<_, _> = refresh.iter().copied().collect();
    let answer = Answer::read(
        end_to_end::http()?.post(client.endpoint("token_endpoint")?).json(&json).send().await?,
    );
    assert!(answer.await?.status.is_client_error());
    let answer = send(Method::GET, client.endpoint("token_endpoint")?, &[]).await?;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    // It is still good: what failed changed nothing. Unknown parameters and no resource are fine.
    let mut lenient = refresh.clone();
    lenient.push(("something", "else"));
    client.token(&lenient).await?.tokens()?;
    Ok(())
}

#[tokio::test]
async fn the_redirect_uri_may_be_left_out_at_the_token_endpoint() -> anyhow::Result<()> {
    // OAuth 2.1 dropped it from the token request; what is sent must match all the same.
    let demo = Launch::new().start().await?;
    let client = Client::register(&demo.mcp_endpoint).await?;
    let authorized = client.authorize(&mut Browser::new()?, &alice(&demo)).await?;
    let wrong = client
        .redeem(&authorized, &[("redirect_uri", Some("http://localhost:51999/callback"))])
        .await?;
    assert_eq!(refusal(&wrong), INVALID_GRANT);
    assert_ne!(REDIRECT_URI, "http://localhost:51999/callback");
    client.redeem(&authorized, &[("redirect_uri", None)]).await?.tokens()?;
    Ok(())
}

#[tokio::test]
async fn one_login_is_one_grant() -> anyhow::Result<()> {
    // A laptop and a desktop: the same user, client and resource, two grants.
    let demo = Launch::new().start().await?;
    let (client, first) = logged_in(&demo).await?;
    let second = client.log_in(&mut Browser::new()?, &alice(&demo)).await?;
    let grant = |tokens: &Tokens| anyhow::Ok(claims(&tokens.access)?.1["gid"].clone());
    assert_ne!(grant(&first)?, grant(&second)?);
    assert_eq!(grant(&first)?, grant(&client.refresh(&first.refresh).await?.tokens()?)?);
    client.revoke(&first.refresh).await?;
    alive(&demo, &client, &second).await
}

async fn alive(demo: &Demo, client: &Client, tokens: &Tokens) -> anyhow::Result<()> {
    assert_eq!(client.status_with(&tokens.access).await?, StatusCode::OK, "{}", demo.stderr());
    client.refresh(&tokens.refresh).await?.tokens()?;
    Ok(())
}
