//! Any of the clients, doing what its user wants.

use anyhow::{Context as _, ensure};
use end_to_end::{
    browser::{Browser, Intent},
    client::query,
};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::{rmcp::Rmcp, script::Script};

/// Which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The crate `rmcp`.
    Rmcp,
    /// npm `@modelcontextprotocol/client`.
    Modern,
    /// npm `@modelcontextprotocol/sdk`.
    Legacy,
    /// The Python package `mcp`.
    Python,
    /// npm `mcp-remote`.
    Remote,
}

/// A client and the person who uses it.
pub(crate) struct Driver {
    client: Client,
    /// The URL of the document that describes the client, if there is one.
    document: Option<String>,
    pub(crate) person: Person,
}

enum Client {
    Rmcp(Box<Rmcp>),
    Script(Box<Script>),
}

/// Who sits at the browser, a fresh one for every login.
#[derive(Debug)]
pub(crate) struct Person {
    /// What the person does there.
    pub(crate) intent: Intent,
    /// How often a client has asked for a login.
    pub(crate) logins: usize,
}

/// What a tool call came to.
#[derive(Debug, Deserialize)]
pub(crate) struct Called {
    pub(crate) text: String,
    /// The steps that were told on the way.
    pub(crate) progress: Vec<f64>,
}

/// What a client keeps of its login.
#[derive(Debug, Deserialize)]
pub(crate) struct Kept {
    pub(crate) client_id: String,
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
}

impl Person {
    /// Has the person authorize; where the browser is sent back to in the end.
    pub(crate) async fn authorize(&mut self, url: Url) -> anyhow::Result<Url> {
        self.logins += 1;
        let redirect_uri = query(&url, "redirect_uri").context("no redirect_uri")?;
        Browser::new()?.authorize(url, &redirect_uri, &self.intent).await
    }
}

impl Driver {
    /// A client that knows nothing yet.
    pub(crate) fn start(kind: Kind, intent: Intent) -> anyhow::Result<Self> {
        let script = match kind {
            Kind::Rmcp => None,
            Kind::Modern => Some("modern.mjs"),
            Kind::Legacy => Some("legacy.mjs"),
            Kind::Python => Some("client.py"),
            Kind::Remote => Some("remote.mjs"),
        };
        let client = match script {
            Some(name) => Client::Script(Box::new(Script::start(name, &[])?)),
            None => Client::Rmcp(Box::default()),
        };
        Ok(Self { client, document: None, person: Person { intent, logins: 0 } })
    }

    /// The same, described by the document at this URL.
    pub(crate) fn described_by(mut self, document: &str) -> Self {
        self.document = Some(document.to_owned());
        self
    }

    /// Discovery, registration, login and the connection: all by itself.
    pub(crate) async fn connect(&mut self, endpoint: &str) -> anyhow::Result<()> {
        match &mut self.client {
            Client::Rmcp(client) => client.connect(endpoint, &mut self.person).await?,
            Client::Script(_) => {
                let mut command = json!({"do": "connect", "url": endpoint});
                if let Some(document) = &self.document {
                    command["document"] = json!(document);
                }
                self.say(command).await?;
            }
        }
        Ok(())
    }

    /// The names of the tools that it is offered, sorted.
    pub(crate) async fn tools(&mut self) -> anyhow::Result<Vec<String>> {
        let mut tools: Vec<String> = match &mut self.client {
            Client::Rmcp(client) => client.tools().await?,
            Client::Script(_) => serde_json::from_value(self.say(json!({"do": "tools"})).await?)?,
        };
        tools.sort();
        Ok(tools)
    }

    /// Calls a tool; if that takes a login, the person logs in.
    pub(crate) async fn call(
        &mut self,
        tool: &'static str,
        arguments: Value,
    ) -> anyhow::Result<Called> {
        match &mut self.client {
            Client::Rmcp(client) => client.call(tool, arguments, &mut self.person).await,
            Client::Script(_) => {
                let command = json!({"do": "call", "tool": tool, "arguments": arguments});
                Ok(serde_json::from_value(self.say(command).await?)?)
            }
        }
    }

    /// Calls `echo`, which must answer with its text.
    pub(crate) async fn echo(&mut self, text: &str) -> anyhow::Result<()> {
        let said = self.call("echo", json!({ "text": text })).await?.text;
        ensure!(said == text, "echo says {said}");
        Ok(())
    }

    /// What it keeps of its login.
    pub(crate) async fn kept(&mut self) -> anyhow::Result<Kept> {
        let kept = match &mut self.client {
            Client::Rmcp(client) => client.kept().await?,
            Client::Script(_) => self.say(json!({"do": "kept"})).await?,
        };
        serde_json::from_value(kept).context("what a client keeps")
    }

    async fn say(&mut self, command: Value) -> anyhow::Result<Value> {
        let Client::Script(script) = &mut self.client else {
            anyhow::bail!("it is no script");
        };
        script.answer(&command, async |url| self.person.authorize(url).await).await
    }
}
