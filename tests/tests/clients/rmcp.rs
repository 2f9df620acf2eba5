//! The client `rmcp`, used as a program would.

use anyhow::Context as _;
use end_to_end::{
    browser::Browser,
    mcp::{self, McpClient, Session},
};
use serde_json::{Value, json};

use crate::driver::{Called, Person};

/// What it says of a request that needs a login first.
const LOGIN_NEEDED: &str = "Auth required";

/// A client, once it was told where to connect.
#[derive(Default)]
pub(crate) struct Rmcp(Option<Connected>);

struct Connected {
    endpoint: String,
    client: McpClient,
    session: Session,
}

impl Rmcp {
    /// Logs in and connects.
    pub(crate) async fn connect(
        &mut self,
        endpoint: &str,
        person: &mut Person,
    ) -> anyhow::Result<()> {
        person.logins += 1;
        let client = McpClient::log_in(endpoint, &mut Browser::new()?, &person.intent).await?;
        // The newest era, which has no handshake.
        let [_, (era, _)] = mcp::eras();
        let session = client.connect(era).await?;
        self.0 = Some(Connected { endpoint: endpoint.to_owned(), client, session });
        Ok(())
    }

    /// The names of the tools.
    pub(crate) async fn tools(&mut self) -> anyhow::Result<Vec<String>> {
        let tools = self.connected()?.session.list_all_tools().await?;
        Ok(tools.into_iter().map(|tool| tool.name.into_owned()).collect())
    }

    /// Calls a tool; if that takes a login, logs in and calls again.
    pub(crate) async fn call(
        &mut self,
        tool: &'static str,
        arguments: Value,
        person: &mut Person,
    ) -> anyhow::Result<Called> {
        let called = self.connected()?.call(tool, arguments.clone()).await;
        match called {
            Err(error) if format!("{error:#}").contains(LOGIN_NEEDED) => {
                let endpoint = self.connected()?.endpoint.clone();
                self.connect(&endpoint, person).await?;
                self.connected()?.call(tool, arguments).await
            }
            called => called,
        }
    }

    /// What it keeps of its login.
    pub(crate) async fn kept(&mut self) -> anyhow::Result<Value> {
        let client = &self.connected()?.client;
        let mut kept = client.tokens().await?;
        kept["client_id"] = json!(client.id().await?);
        Ok(kept)
    }

    fn connected(&self) -> anyhow::Result<&Connected> {
        self.0.as_ref().context("it is not connected")
    }
}

impl Connected {
    async fn call(&self, tool: &'static str, arguments: Value) -> anyhow::Result<Called> {
        let before = self.session.service().progress().len();
        let result = self.session.call_tool(mcp::call(tool, arguments)).await?;
        let progress = self.session.service().progress().split_off(before);
        Ok(Called { text: mcp::text(&result), progress })
    }
}
