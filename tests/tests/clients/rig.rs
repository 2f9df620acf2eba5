//! A provider, an MCP server, and the built binary between them.

use dev_mcp::router;
use end_to_end::serve::{Serve, Settings};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::provider::{self, CLIENT_ID, CLIENT_SECRET, Provider};

/// All that stands behind a client.
pub(crate) struct Rig {
    pub(crate) serve: Serve,
    pub(crate) provider: Provider,
    _stop: DropGuard,
}

impl Rig {
    /// Starts what `provider` needs: an MCP server and the binary, which lets in Alice only.
    pub(crate) async fn start(settings: Settings, provider: Provider) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let (backend_url, _) = provider::serve(|_| Ok(router("/mcp", stop.clone()))).await?;
        let settings = settings
            .set("config-url", &provider.issuer)
            .set("client-id", CLIENT_ID)
            .set("client-secret", CLIENT_SECRET)
            .set("backend", format!("{backend_url}/mcp"))
            .set("allow-email", "alice@example.com");
        let serve = settings.start().await?;
        Ok(Self { serve, provider, _stop: stop.drop_guard() })
    }

    /// Stops the binary and starts it again with the same state.
    pub(crate) async fn restart(mut self) -> anyhow::Result<Self> {
        self.serve = self.serve.restart().await?;
        Ok(self)
    }

    /// Waits until the proxy does not believe this token any more.
    pub(crate) async fn until_refused(&self, access_token: &str) -> anyhow::Result<()> {
        let http = end_to_end::http()?;
        let endpoint = format!("http://{}/mcp", self.serve.settings().listen());
        end_to_end::eventually("the end of an access token", async || {
            let request = http.get(&endpoint).bearer_auth(access_token);
            request.send().await.is_ok_and(|answer| answer.status() == 401)
        })
        .await
    }
}
