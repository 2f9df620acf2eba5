//! What people see, in a real browser.

use anyhow::{Context as _, ensure};
use end_to_end::{
    client::{Client, Pkce, REDIRECT_URI, query},
    serve::Settings,
};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::{installed, journey::callback_url, provider::Provider, rig::Rig, script::Script};

/// A person at a browser, sent there by a client.
struct Person {
    rig: Rig,
    client: Client,
    browser: Script,
    /// Where the browser script receives the browser as the client would.
    redirect_uri: String,
}

/// What is on the page.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    url: Url,
    title: String,
    heading: Option<String>,
    language: String,
    too_wide: bool,
    unlabeled: usize,
    background: String,
    complaints: Vec<String>,
}

impl Person {
    async fn start() -> anyhow::Result<Self> {
        let settings = Settings::new()?;
        let provider = Provider::dev_idp(&callback_url(&settings)).await?;
        let rig = Rig::start(settings, provider).await?;
        let client = Client::register(&rig.serve.mcp_endpoint()).await?;
        let chromium = installed::chromium()?;
        let chromium = chromium.to_str().context("a program with an odd name")?;
        let mut browser = Script::start("browser.mjs", &[chromium])?;
        let port = browser.receive().await?["port"].as_u64().context("no port")?;
        // On loopback every port will do (RFC 8252 §7.3).
        let mut redirect_uri: Url = REDIRECT_URI.parse()?;
        let set = redirect_uri.set_port(Some(port.try_into()?));
        ensure!(set.is_ok(), "{redirect_uri} takes no port");
        Ok(Self { rig, client, browser, redirect_uri: redirect_uri.into() })
    }

    async fn does(&mut self, command: Value) -> anyhow::Result<Value> {
        let nobody = async |url| anyhow::bail!("a browser asks for {url}");
        self.browser.answer(&command, nobody).await.with_context(|| command.to_string())
    }

    /// Opens what the client sends it to.
    async fn opens(&mut self, colors: &str) -> anyhow::Result<()> {
        let redirect_uri = [("redirect_uri", Some(self.redirect_uri.as_str()))];
        let url = self.client.authorization_request(&Pkce::new(), &redirect_uri)?;
        self.does(json!({"do": "open", "url": url.as_str(), "colorScheme": colors})).await?;
        Ok(())
    }

    /// Looks at a page, which must be one for everybody.
    async fn sees(&mut self, heading: &str) -> anyhow::Result<Seen> {
        let seen: Seen = serde_json::from_value(self.does(json!({"do": "look"})).await?)?;
        let found = seen.heading.as_deref().unwrap_or_default();
        ensure!(found.contains(heading), "{seen:?}");
        ensure!(!seen.title.is_empty() && seen.language == "en", "{seen:?}");
        ensure!(!seen.too_wide && seen.unlabeled == 0, "{seen:?}");
        ensure!(seen.complaints.is_empty(), "{seen:?}");
        Ok(seen)
    }

    /// Logs in at the provider, without a mouse.
    async fn logs_in(&mut self) -> anyhow::Result<()> {
        for (field, text) in [("User name", "alice"), ("Password", "wonderland")] {
            self.does(json!({"do": "focus", "name": field})).await?;
            self.does(json!({"do": "type", "text": text})).await?;
        }
        self.does(json!({"do": "enter"})).await?;
        Ok(())
    }

    /// Waits until the client is answered.
    async fn returns(&mut self) -> anyhow::Result<Url> {
        self.does(json!({"do": "arrive", "at": self.redirect_uri})).await?;
        let seen: Seen = serde_json::from_value(self.does(json!({"do": "look"})).await?)?;
        ensure!(seen.complaints.is_empty(), "{seen:?}");
        Ok(seen.url)
    }
}

/// From the consent page to the client, without a mouse.
#[tokio::test]
async fn a_person_logs_in_by_keyboard() -> anyhow::Result<()> {
    let mut person = Person::start().await?;
    person.opens("light").await?;
    person.sees("to connect?").await?;
    person.does(json!({"do": "focus", "name": "Allow"})).await?;
    person.does(json!({"do": "enter"})).await?;
    person.does(json!({"do": "arrive", "at": person.rig.provider.issuer})).await?;
    person.logs_in().await?;
    let response = person.returns().await?;
    ensure!(query(&response, "code").is_some(), "{response}");
    Ok(())
}

/// By day and by night.
#[tokio::test]
async fn a_person_says_no() -> anyhow::Result<()> {
    let mut person = Person::start().await?;
    person.opens("light").await?;
    let day = person.sees("to connect?").await?;
    person.opens("dark").await?;
    let night = person.sees("to connect?").await?;
    ensure!(day.background != night.background, "{day:?} {night:?}");
    person.does(json!({"do": "click", "name": "Deny"})).await?;
    let response = person.returns().await?;
    ensure!(query(&response, "error").as_deref() == Some("access_denied"), "{response}");
    Ok(())
}

/// A double click is one approval, and who goes back finds a page that works.
#[tokio::test]
async fn a_person_clicks_twice_and_goes_back() -> anyhow::Result<()> {
    let mut person = Person::start().await?;
    let provider = person.rig.provider.issuer.clone();
    person.opens("light").await?;
    person.does(json!({"do": "click", "name": "Allow", "times": 2})).await?;
    person.does(json!({"do": "arrive", "at": provider})).await?;
    person.does(json!({"do": "back"})).await?;
    person.sees("to connect?").await?;
    person.does(json!({"do": "click", "name": "Allow"})).await?;
    person.does(json!({"do": "arrive", "at": provider})).await?;
    person.logs_in().await?;
    let response = person.returns().await?;
    ensure!(query(&response, "code").is_some(), "{response}");
    Ok(())
}
