//! What the host of a document says, fails to say, and says later on.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use oauth_proxy::{ClientDocuments, Lifetimes};
use serde_json::json;
use wiremock::ResponseTemplate;

use super::{Host, LOCAL, authorize, document, json_answer, on_loopback, replica, visit};
use crate::support::{Browser, Deployment, Tokens, authorize_path_for, param};

/// What a host says when it is asked for the document of this client.
type AnswerOf = dyn Fn(&str) -> ResponseTemplate;

#[tokio::test]
async fn each_defect_of_an_answer_is_named_and_leads_nowhere() {
    let good = |client: &str| document(client).to_string();
    let too_long = |client: &str| {
        let mut document = document(client);
        document["padding"] = json!("x".repeat(5 * 1024));
        document.to_string()
    };
    let cases: Vec<(&str, Box<AnswerOf>)> = vec![
        ("404", Box::new(|_| ResponseTemplate::new(404))),
        ("410", Box::new(|_| ResponseTemplate::new(410))),
        ("403", Box::new(|_| ResponseTemplate::new(403))),
        (
            "redirects are not followed",
            Box::new(|_| ResponseTemplate::new(302).insert_header("location", "/elsewhere")),
        ),
        (
            "redirects are not followed",
            Box::new(|_| {
                ResponseTemplate::new(308).insert_header("location", "https://app.example/")
            }),
        ),
        (
            "201",
            Box::new(move |client| {
                ResponseTemplate::new(201).set_body_raw(good(client), "application/json")
            }),
        ),
        (
            "content type",
            Box::new(move |client| {
                ResponseTemplate::new(200).set_body_raw(document(client).to_string(), "text/html")
            }),
        ),
        (
            "content type",
            Box::new(move |client| {
                ResponseTemplate::new(200)
                    .set_body_raw(document(client).to_string(), "text/json+json")
            }),
        ),
        (
            "longer than 5120 bytes",
            Box::new(move |client| {
                ResponseTemplate::new(200).set_body_raw(too_long(client), "application/json")
            }),
        ),
        (
            "not a JSON object",
            Box::new(|_| ResponseTemplate::new(200).set_body_raw("<html>", "application/json")),
        ),
        ("not the URL", Box::new(|client| json_answer(&document(&format!("{client}/"))))),
        (
            "`client_secret`",
            Box::new(|client| {
                let mut document = document(client);
                document["client_secret"] = json!("shared with everybody");
                json_answer(&document)
            }),
        ),
    ];
    for (why, answer) in cases {
        let deployment = on_loopback();
        let host = Host::silent().await;
        let client = host.url("/client");
        host.say(answer(&client)).await;
        let refused = authorize(&deployment, &client).await;
        refused.assert_error(StatusCode::BAD_REQUEST, "invalid_client");
        let json = refused.json();
        let said = json["error_description"].as_str().unwrap();
        assert!(said.contains(why), "{why}: {said}");
        assert_eq!(json["registration_endpoint"], format!("{LOCAL}/register"));
        assert!(!refused.headers.contains_key("location"), "{why}");

        let page = visit(&deployment, &client, &[]).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{why}");
        assert!(page.body.contains("This app cannot be used here"), "{why}: {}", page.body);
        assert!(!page.body.contains("<form"), "{why}: {}", page.body);
        assert_eq!(host.asked().await, 1, "{why}: nothing else was fetched, and not again at once");
    }
}

/// The row "CIMD host gone" of the outage table (D7).
#[tokio::test]
async fn a_host_that_is_down_is_never_invalid_client() {
    let rows: Vec<(&str, Option<ResponseTemplate>, &str)> = vec![
        ("500", Some(ResponseTemplate::new(500)), "10"),
        ("503", Some(ResponseTemplate::new(503).insert_header("retry-after", "30")), "30"),
        ("429", Some(ResponseTemplate::new(429).insert_header("retry-after", "99999")), "600"),
        ("no answer", Some(ResponseTemplate::new(200).set_delay(Duration::from_mins(1))), "10"),
        ("nobody listens", None, "10"),
    ];
    for (ailment, answer, retry_after) in rows {
        let deployment = on_loopback();
        let (host, client) = Host::new().await;
        let code = deployment.code(&client).await;
        let tokens = deployment.login(&client).await;
        let mut browser = Browser::default();
        let state = browser.approve(&deployment, &client).await;
        if let Some(answer) = answer {
            host.say(answer).await;
        } else {
            drop(host);
        }

        // A process that has never seen the document.
        let fresh = replica(&deployment);
        let refused = authorize(&fresh, &client).await;
        refused.assert_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
        assert_eq!(refused.headers["retry-after"], retry_after, "{ailment}");
        let page = visit(&fresh, &client, &[]).await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{ailment}");
        assert_eq!(page.headers["retry-after"], retry_after, "{ailment}");
        assert!(page.body.contains("Not available right now"), "{ailment}: {}", page.body);

        // Everything after the page needs no document.
        let back = browser.return_with_code(&fresh, &state).await.location().to_owned();
        assert!(param(&back, "code").is_some(), "{ailment}: {back}");
        Tokens::of(&fresh.redeem(&client, &code).await);
        let tokens = Tokens::of(&fresh.refresh(&client, &tokens.refresh).await);
        assert_eq!(fresh.call(&tokens.access).await.status, StatusCode::OK, "{ailment}");
        let form = [("token", &*tokens.refresh), ("client_id", &client)];
        assert_eq!(fresh.post("/revoke", &form).await.status, StatusCode::OK, "{ailment}");
        let ended = fresh.refresh(&client, &tokens.refresh).await;
        ended.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");

        // And whoever has a copy goes on with it.
        deployment.clock.advance(Duration::from_hours(2));
        assert_eq!(authorize(&deployment, &client).await.status, StatusCode::OK, "{ailment}");
    }
}

#[tokio::test]
async fn a_copy_serves_on_for_a_while_and_no_longer() {
    let lifetimes = {
        let mut lifetimes = Lifetimes::default();
        lifetimes.client_document_stale = Duration::from_secs(2);
        lifetimes
    };
    let deployment = Deployment::at(LOCAL, |builder| {
        let documents = ClientDocuments::default().danger_loopback();
        builder.client_documents(documents).lifetimes(lifetimes)
    });
    let (host, client) = Host::new().await;
    assert_eq!(authorize(&deployment, &client).await.status, StatusCode::OK);
    deployment.clock.advance(Duration::from_mins(59));
    assert_eq!(authorize(&deployment, &client).await.status, StatusCode::OK);
    assert_eq!(host.asked().await, 1, "an hour if the host does not say");

    host.say(ResponseTemplate::new(500)).await;
    deployment.clock.advance(Duration::from_secs(61));
    assert_eq!(authorize(&deployment, &client).await.status, StatusCode::OK);
    assert_eq!(authorize(&deployment, &client).await.status, StatusCode::OK);
    assert_eq!(host.asked().await, 1, "nobody waits for a host twice in ten seconds");
    deployment.clock.advance(Duration::from_secs(2));
    let refused = authorize(&deployment, &client).await;
    refused.assert_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");

    host.say(json_answer(&document(&client))).await;
    deployment.clock.advance(Duration::from_secs(10));
    assert_eq!(authorize(&deployment, &client).await.status, StatusCode::OK);
    // It could serve on for another second, but its host says that it is gone.
    deployment.clock.advance(Duration::from_secs(60 * 60 + 1));
    host.say(ResponseTemplate::new(404)).await;
    let refused = authorize(&deployment, &client).await;
    refused.assert_error(StatusCode::BAD_REQUEST, "invalid_client");
}

#[tokio::test]
async fn the_host_says_how_long_a_document_is_good() {
    for (header, minutes, asked) in [
        ("max-age=7200", 119, 1),
        ("max-age=7200", 121, 2),
        ("no-store", 4, 1),
        ("no-store", 6, 2),
        ("max-age=31536000", 23 * 60, 1),
        ("max-age=31536000", 25 * 60, 2),
    ] {
        let deployment = on_loopback();
        let (host, client) = Host::new().await;
        let answer = json_answer(&document(&client)).insert_header("cache-control", header);
        host.say(answer).await;
        authorize(&deployment, &client).await;
        deployment.clock.advance(Duration::from_mins(minutes));
        assert_eq!(authorize(&deployment, &client).await.status, StatusCode::OK);
        assert_eq!(host.asked().await, asked, "{header} after {minutes} minutes");
    }
}

#[tokio::test]
async fn a_changed_document_is_for_new_logins() {
    let deployment = on_loopback();
    let (host, client) = Host::new().await;
    let tokens = deployment.login(&client).await;
    let mut browser = Browser::default();
    let page = {
        let path = authorize_path_for(deployment.proxy.resource(), &client, &[]);
        browser.get(&deployment, &path).await
    };

    let mut changed = document(&client);
    changed["redirect_uris"] = json!(["https://app.example/callback"]);
    host.say(json_answer(&changed)).await;
    deployment.clock.advance(Duration::from_hours(1));
    let refused = authorize(&deployment, &client).await;
    refused.assert_error(StatusCode::BAD_REQUEST, "invalid_request");
    let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK);

    // Too old by now, but not because of its age: a page of this minute fares no better.
    let (request, csrf) = (page.field("request"), page.field("csrf"));
    let form = [("request", &*request), ("csrf", &*csrf), ("action", "approve")];
    let answer = browser.post(&deployment, "/consent", &form).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
}

#[tokio::test]
async fn an_open_page_ends_with_its_redirect_uri() {
    let deployment = on_loopback();
    let (host, client) = Host::new().await;
    let answer = json_answer(&document(&client)).insert_header("cache-control", "no-store");
    host.say(answer).await;
    let mut browser = Browser::default();
    let path = authorize_path_for(deployment.proxy.resource(), &client, &[]);
    let page = browser.get(&deployment, &path).await;
    let mut changed = document(&client);
    changed["redirect_uris"] = json!(["https://app.example/callback"]);
    host.say(json_answer(&changed)).await;
    deployment.clock.advance(Duration::from_mins(6));
    authorize(&deployment, &client).await;

    let (request, csrf) = (page.field("request"), page.field("csrf"));
    let form = [("request", &*request), ("csrf", &*csrf), ("action", "approve")];
    let answer = browser.post(&deployment, "/consent", &form).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
    assert!(answer.body.contains("not registered here"), "{}", answer.body);
}

#[tokio::test]
async fn an_open_page_ends_with_its_document() {
    let deployment = on_loopback();
    let (host, client) = Host::new().await;
    let mut browser = Browser::default();
    let path = authorize_path_for(deployment.proxy.resource(), &client, &[]);
    let page = browser.get(&deployment, &path).await;
    let approve = async |browser: &mut Browser, at: &Deployment| {
        let (request, csrf) = (page.field("request"), page.field("csrf"));
        let form = [("request", &*request), ("csrf", &*csrf), ("action", "approve")];
        browser.post(at, "/consent", &form).await
    };
    host.say(ResponseTemplate::new(404)).await;
    // A process that never had the document heard that there is none, too.
    let other = replica(&deployment);
    authorize(&other, &client).await.assert_error(StatusCode::BAD_REQUEST, "invalid_client");
    let refused = approve(&mut browser, &other).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.body);
    assert!(refused.body.contains("not registered here"), "{}", refused.body);

    // One that heard nothing goes by what the person saw.
    let third = replica(&deployment);
    let answer = approve(&mut browser, &third).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
}

#[tokio::test]
async fn of_32_simultaneous_logins_one_fetches() {
    let deployment = Arc::new(on_loopback());
    for round in 0..20 {
        let (host, client) = Host::new().await;
        let answer = if round % 2 == 0 {
            json_answer(&document(&client)).set_delay(Duration::from_millis(20))
        } else {
            ResponseTemplate::new(500).set_delay(Duration::from_millis(20))
        };
        host.say(answer).await;
        let all: Vec<_> = (0..32)
            .map(|_| {
                let (deployment, client) = (Arc::clone(&deployment), client.clone());
                tokio::spawn(async move { authorize(&deployment, &client).await.status.as_u16() })
            })
            .collect();
        let expected = if round % 2 == 0 { 200 } else { 503 };
        for one in all {
            assert_eq!(one.await.unwrap(), expected, "round {round}");
        }
        assert_eq!(host.asked().await, 1, "round {round}");
    }
}
