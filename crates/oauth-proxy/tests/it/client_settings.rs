//! What holds for some clients only (D5): no rotation, a longer grace window, an earlier end.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use kv_storage::Sqlite;
use oauth_proxy::{ClientSettings, Lifetimes};
use serde_json::json;
use url::form_urlencoded;

use crate::support::{
    Answer, Browser, CHALLENGE, Deployment, TestClock, Tokens, VERIFIER, build_error, param,
};

const SITE: &str = "https://app.example/callback";
const NATIVE: &str = "http://127.0.0.1:7777/callback";

const DAY: Duration = Duration::from_hours(24);
const MONTH: Duration = Duration::from_hours(30 * 24);

/// A client at one redirect URI, with a secret or without.
struct Program {
    id: String,
    secret: String,
    redirect: &'static str,
}

impl Program {
    async fn register(deployment: &Deployment, method: &str, redirect: &'static str) -> Self {
        let metadata = json!({"redirect_uris": [SITE, NATIVE],
            "token_endpoint_auth_method": method});
        let registered = deployment.register_with(&metadata).await.json();
        let text = |name: &str| registered[name].as_str().unwrap_or_default().to_owned();
        Self { id: text("client_id"), secret: text("client_secret"), redirect }
    }

    async fn public(deployment: &Deployment) -> Self {
        Self::register(deployment, "none", SITE).await
    }

    async fn confidential(deployment: &Deployment) -> Self {
        Self::register(deployment, "client_secret_post", SITE).await
    }

    async fn ask(&self, deployment: &Deployment, form: &[(&str, &str)]) -> Answer {
        let mut form = form.to_vec();
        form.push(("client_id", &self.id));
        if !self.secret.is_empty() {
            form.push(("client_secret", &self.secret));
        }
        deployment.post("/token", &form).await
    }

    async fn login(&self, deployment: &Deployment) -> Tokens {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("response_type", "code"),
                ("client_id", &self.id),
                ("redirect_uri", self.redirect),
                ("code_challenge", CHALLENGE),
                ("code_challenge_method", "S256"),
            ])
            .finish();
        let mut browser = Browser::default();
        let page = browser.get(deployment, &format!("/authorize?{query}")).await;
        let (request, csrf) = (page.field("request"), page.field("csrf"));
        let form = [("request", &*request), ("csrf", &*csrf), ("action", "approve")];
        let sent = browser.post(deployment, "/consent", &form).await;
        let state = param(sent.location(), "state").unwrap();
        let back = browser.return_with_code(deployment, &state).await;
        let code = param(back.location(), "code").unwrap();
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &*code),
            ("redirect_uri", self.redirect),
            ("code_verifier", VERIFIER),
        ];
        Tokens::of(&self.ask(deployment, &form).await)
    }

    async fn refresh(&self, deployment: &Deployment, token: &str) -> Answer {
        self.ask(deployment, &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }

    /// Whether a use leaves the refresh token as it is.
    async fn keeps_its_token(&self, deployment: &Deployment) -> bool {
        let tokens = self.login(deployment).await;
        let next = Tokens::of(&self.refresh(deployment, &tokens.refresh).await);
        next.refresh == tokens.refresh
    }
}

fn with(settings: ClientSettings) -> Deployment {
    Deployment::with(|builder| builder.client_settings(settings))
}

/// A public client at a site, without rotation.
fn dangerous() -> ClientSettings {
    ClientSettings::of_redirect_host("app.example")
        .danger_public_without_rotation()
        .refresh_absolute(MONTH)
}

#[tokio::test]
async fn rotation_is_off_only_where_it_was_turned_off() {
    let danger = |settings: ClientSettings| {
        settings.danger_public_without_rotation().refresh_absolute(MONTH)
    };
    let site = || ClientSettings::of_redirect_host("app.example");
    let all = ClientSettings::of_confidential_clients;
    // Settings, and whether rotation is off for a client with a secret, for a public one at the
    // site, and for a public one on the person's computer.
    let cases = [
        ("none", None, [false, false, false]),
        ("all with a secret", Some(all().without_rotation()), [true, false, false]),
        ("a site, with a secret only", Some(site().without_rotation()), [true, false, false]),
        ("a site, in danger", Some(danger(site())), [true, true, false]),
        (
            "another site",
            Some(danger(ClientSettings::of_redirect_host("app.example.net"))),
            [false, false, false],
        ),
        ("a site, but not rotation", Some(site().refresh_grace(DAY / 24)), [false, false, false]),
    ];
    for (name, settings, expected) in cases {
        let deployment = settings.map_or_else(Deployment::new, with);
        let confidential = Program::confidential(&deployment).await;
        let public = Program::public(&deployment).await;
        let native = Program::register(&deployment, "none", NATIVE).await;
        let found = [
            confidential.keeps_its_token(&deployment).await,
            public.keeps_its_token(&deployment).await,
            native.keeps_its_token(&deployment).await,
        ];
        assert_eq!(found, expected, "{name}");
    }
}

#[tokio::test]
async fn one_client_can_be_named_by_its_id() {
    let plain = Deployment::new();
    let (public, other) = (Program::public(&plain).await, Program::public(&plain).await);
    let settings = ClientSettings::of_client(&public.id);
    // The same storage and keys, with the settings.
    let safe =
        plain.replica_of(|builder| builder.client_settings(settings.clone().without_rotation()));
    assert!(!public.keeps_its_token(&safe).await, "a public client rotates without danger");
    let danger = settings.danger_public_without_rotation().refresh_absolute(DAY);
    let deployment = plain.replica_of(|builder| builder.client_settings(danger));
    assert!(public.keeps_its_token(&deployment).await);
    assert!(!other.keeps_its_token(&deployment).await);
}

#[tokio::test]
async fn the_most_specific_settings_hold_alone() {
    let plain = Deployment::new();
    let one = Program::confidential(&plain).await;
    let two = Program::confidential(&plain).await;
    let deployment = plain.replica_of(|builder| {
        builder
            .client_settings(ClientSettings::of_confidential_clients().without_rotation())
            .client_settings(ClientSettings::of_client(&one.id))
    });
    assert!(!one.keeps_its_token(&deployment).await);
    assert!(two.keeps_its_token(&deployment).await);
}

#[tokio::test]
async fn a_token_that_stays_works_until_the_end_and_dies_with_the_grant() {
    let deployment = with(dangerous());
    let client = Program::public(&deployment).await;
    let tokens = client.login(&deployment).await;
    let revoked = client.login(&deployment).await;
    // Long after every grace window; the idle limit is moved on by each use.
    for _ in 0..29 {
        deployment.clock.advance(DAY);
        let next = Tokens::of(&client.refresh(&deployment, &tokens.refresh).await);
        assert_eq!(next.refresh, tokens.refresh);
        Tokens::of(&client.refresh(&deployment, &revoked.refresh).await);
    }
    let form = [("token", &*revoked.refresh), ("client_id", &*client.id)];
    assert_eq!(deployment.post("/revoke", &form).await.status, StatusCode::OK);
    let answer = client.refresh(&deployment, &revoked.refresh).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");

    deployment.clock.advance(DAY.saturating_sub(Duration::from_secs(7)));
    let last = Tokens::of(&client.refresh(&deployment, &tokens.refresh).await);
    assert_eq!(last.expires_in, 7, "no access token outlives its grant");
    deployment.clock.advance(Duration::from_secs(7));
    let answer = client.refresh(&deployment, &tokens.refresh).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
    assert_eq!(deployment.call(&last.access).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_32_simultaneous_refreshes_without_rotation_nobody_writes_twice() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Sqlite::open(folder.path().join("state.sqlite")).await.unwrap();
    let deployment = Arc::new(Deployment::on(Arc::new(storage), TestClock::wall(), |builder| {
        builder.client_settings(dangerous())
    }));
    let client = Arc::new(Program::public(&deployment).await);
    let token = client.login(&deployment).await.refresh;
    for _ in 0..5 {
        deployment.clock.advance(Duration::from_secs(1));
        deployment.storage.writes();
        let attempts = (0..32).map(|_| {
            let (deployment, client, token) =
                (Arc::clone(&deployment), Arc::clone(&client), token.clone());
            tokio::spawn(async move { client.refresh(&deployment, &token).await })
        });
        for attempt in attempts.collect::<Vec<_>>() {
            assert_eq!(Tokens::of(&attempt.await.unwrap()).refresh, token);
        }
        let writes = deployment.storage.writes().len();
        assert!((1..=32).contains(&writes), "{writes}");
    }
}

#[tokio::test]
async fn an_idle_login_ends_without_rotation_too() {
    let deployment = Deployment::with(|builder| {
        let mut lifetimes = Lifetimes::default();
        lifetimes.refresh_idle = DAY;
        builder.client_settings(dangerous()).lifetimes(lifetimes)
    });
    let client = Program::public(&deployment).await;
    let tokens = client.login(&deployment).await;
    for _ in 0..3 {
        deployment.clock.advance(DAY * 2 / 3);
        Tokens::of(&client.refresh(&deployment, &tokens.refresh).await);
    }
    deployment.clock.advance(DAY);
    let answer = client.refresh(&deployment, &tokens.refresh).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
}

#[tokio::test]
async fn settings_hold_for_logins_that_were_there_before_and_end_with_them() {
    let before = Deployment::new();
    let client = Program::public(&before).await;
    let first = client.login(&before).await;
    let second = Tokens::of(&client.refresh(&before, &first.refresh).await);
    let during = before.replica_of(|builder| builder.client_settings(dangerous()));
    // A token that was retired before stays retired: inside of the window it leads to the one that
    // stays, and afterwards it is a replay.
    let again = Tokens::of(&client.refresh(&during, &first.refresh).await);
    assert_eq!(again.refresh, second.refresh);
    let kept = Tokens::of(&client.refresh(&during, &second.refresh).await);
    assert_eq!(kept.refresh, second.refresh);
    // Rotation is back, and the token that stayed is the current one.
    let after = before.replica();
    let third = Tokens::of(&client.refresh(&after, &second.refresh).await);
    assert_ne!(third.refresh, second.refresh);

    let other = client.login(&before).await;
    Tokens::of(&client.refresh(&before, &other.refresh).await);
    before.clock.advance(Duration::from_mins(3));
    let answer = client.refresh(&during, &other.refresh).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");

    // An end that was made earlier counts for logins that began before.
    let old = client.login(&before).await;
    before.clock.advance(MONTH.saturating_sub(DAY));
    let old = Tokens::of(&client.refresh(&before, &old.refresh).await);
    before.clock.advance(DAY);
    let answer = client.refresh(&during, &old.refresh).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
}

#[tokio::test]
async fn the_providers_token_is_renewed_without_rotation_as_well() {
    let deployment = with(dangerous());
    deployment.provider.change(|plan| plan.expires_in = Some(Duration::from_mins(10)));
    let client = Program::public(&deployment).await;
    let tokens = client.login(&deployment).await;
    for round in 1..4 {
        deployment.clock.advance(Duration::from_mins(10));
        let next = Tokens::of(&client.refresh(&deployment, &tokens.refresh).await);
        assert_eq!(next.refresh, tokens.refresh);
        assert_eq!(deployment.provider.refreshes(), round);
    }
}

#[tokio::test]
async fn a_grace_window_beyond_that_of_all_is_for_some_clients_only() {
    const LONG: Duration = Duration::from_mins(11);

    let mut lifetimes = Lifetimes::default();
    lifetimes.refresh_grace = LONG;
    let error = build_error(|builder| builder.lifetimes(lifetimes));
    assert!(error.contains("`refresh_grace`"), "{error}");

    let deployment = with(ClientSettings::of_redirect_host("app.example").refresh_grace(LONG));
    let site = Program::public(&deployment).await;
    let native = Program::register(&deployment, "none", NATIVE).await;
    let (ours, theirs) = (site.login(&deployment).await, native.login(&deployment).await);
    let next = Tokens::of(&site.refresh(&deployment, &ours.refresh).await);
    Tokens::of(&native.refresh(&deployment, &theirs.refresh).await);
    deployment.clock.advance(LONG);
    let same = Tokens::of(&site.refresh(&deployment, &ours.refresh).await);
    assert_eq!(same.refresh, next.refresh);
    let answer = native.refresh(&deployment, &theirs.refresh).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
    deployment.clock.advance(Duration::from_secs(1));
    let answer = site.refresh(&deployment, &ours.refresh).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");

    let deployment = with(ClientSettings::of_confidential_clients().refresh_grace(LONG));
    for (program, status) in [
        (Program::confidential(&deployment).await, StatusCode::OK),
        (Program::public(&deployment).await, StatusCode::BAD_REQUEST),
    ] {
        let tokens = program.login(&deployment).await;
        Tokens::of(&program.refresh(&deployment, &tokens.refresh).await);
        deployment.clock.advance(LONG);
        assert_eq!(program.refresh(&deployment, &tokens.refresh).await.status, status);
    }
}

#[test]
fn settings_that_weaken_too_much_are_refused() {
    let site = || ClientSettings::of_redirect_host("app.example");
    let all = ClientSettings::of_confidential_clients;
    let cases = [
        (site().danger_public_without_rotation(), "must end after"),
        (
            site()
                .danger_public_without_rotation()
                .refresh_absolute(MONTH + Duration::from_secs(1)),
            "must end after",
        ),
        (all().danger_public_without_rotation().refresh_absolute(DAY), "they are not public"),
        (site().refresh_grace(Duration::from_secs(3601)), "grace window is 3601s"),
        (site().refresh_absolute(Duration::ZERO), "end after 0ns"),
        (site().refresh_absolute(MONTH * 4), "what holds for all clients"),
        (ClientSettings::of_client(""), "its id is empty"),
        (ClientSettings::of_redirect_host(""), "no host name"),
        (ClientSettings::of_redirect_host("App.example"), "no host name"),
        (ClientSettings::of_redirect_host("app.example:8443"), "no host name"),
        (ClientSettings::of_redirect_host("https://app.example"), "no host name"),
        (ClientSettings::of_redirect_host("app.example/x"), "no host name"),
        (ClientSettings::of_redirect_host("me@app.example"), "no host name"),
        (ClientSettings::of_redirect_host("localhost"), "loopback"),
        (ClientSettings::of_redirect_host("127.0.0.1"), "loopback"),
        (ClientSettings::of_redirect_host("[::1]"), "loopback"),
    ];
    for (settings, why) in cases {
        let error = build_error(|builder| builder.client_settings(settings.clone()));
        assert!(error.contains(why), "{settings:?}: {error}");
    }
    let error = build_error(|builder| builder.client_settings(site()).client_settings(site()));
    assert!(error.contains("app.example") && error.contains("given twice"), "{error}");
}

#[tokio::test]
async fn a_short_end_for_all_is_short_enough_without_rotation() {
    let deployment = Deployment::with(|builder| {
        let mut lifetimes = Lifetimes::default();
        lifetimes.refresh_absolute = MONTH;
        let settings = ClientSettings::of_redirect_host("app.example");
        builder.lifetimes(lifetimes).client_settings(settings.danger_public_without_rotation())
    });
    assert!(Program::public(&deployment).await.keeps_its_token(&deployment).await);
}
