//! A real client: `rmcp` with its OAuth flow, its browser replaced by ours.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt as _, RoleClient,
    model::{CallToolRequestParams, CallToolResult, ProgressNotificationParam, ProtocolVersion},
    service::{NotificationContext, RunningService},
    transport::{
        StreamableHttpClientTransport,
        auth::{
            AuthClient, AuthorizationManager, AuthorizationRequest, InMemoryCredentialStore,
            OAuthState,
        },
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::Value;

use crate::{
    browser::{Browser, Intent},
    client::REDIRECT_URI,
};

/// A client that is logged in, and connects as often as it is told to.
pub struct McpClient {
    endpoint: String,
    auth: AuthClient<reqwest::Client>,
    store: InMemoryCredentialStore,
}

/// A connection.
pub type Session = RunningService<RoleClient, Listener>;

/// Writes down the progress that it is told.
#[derive(Debug, Clone, Default)]
pub struct Listener {
    progress: Arc<Mutex<Vec<f64>>>,
}

impl Listener {
    /// The steps so far.
    pub fn progress(&self) -> Vec<f64> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientHandler for Listener {
    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).push(params.progress);
    }
}

/// The two protocol eras: how a client begins, and the version that both sides then speak.
pub fn eras() -> [(ClientLifecycleMode, ProtocolVersion); 2] {
    let newest = ProtocolVersion::V_2026_07_28;
    [
        (ClientLifecycleMode::Initialize, ProtocolVersion::V_2025_11_25),
        (ClientLifecycleMode::Discover { preferred_versions: vec![newest.clone()] }, newest),
    ]
}

impl std::fmt::Debug for McpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("McpClient").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl McpClient {
    /// Discovery, registration and login, all by rmcp; the browser is ours.
    ///
    /// # Errors
    ///
    /// When a step fails.
    pub async fn log_in(
        endpoint: &str,
        browser: &mut Browser,
        intent: &Intent,
    ) -> anyhow::Result<Self> {
        let store = InMemoryCredentialStore::new();
        let mut manager = AuthorizationManager::new(endpoint).await?;
        manager.set_credential_store(store.clone());
        let mut state = OAuthState::Unauthorized(manager);
        let request = AuthorizationRequest::new(REDIRECT_URI).with_client_name("rmcp");
        state.start_authorization(request).await.context("discovery or registration")?;
        let url = state.get_authorization_url().await?.parse()?;
        let callback = browser.authorize(url, REDIRECT_URI, intent).await.context("login")?;
        state.handle_callback_url(callback.as_str()).await.context("code for tokens")?;
        let manager = state.into_authorization_manager().context("it is not logged in")?;
        let auth = AuthClient::new(crate::http()?, manager);
        Ok(Self { endpoint: endpoint.to_owned(), auth, store })
    }

    /// Connects in the way of one era.
    ///
    /// # Errors
    ///
    /// When the server does not let it in.
    pub async fn connect(&self, era: ClientLifecycleMode) -> anyhow::Result<Session> {
        let config = StreamableHttpClientTransportConfig::with_uri(self.endpoint.clone());
        let transport = StreamableHttpClientTransport::with_client(self.auth.clone(), config);
        Ok(Listener::default().serve_with_lifecycle(transport, era).await?)
    }

    /// Uses the refresh token now.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub async fn refresh(&self) -> anyhow::Result<()> {
        self.auth.auth_manager.lock().await.refresh_token().await?;
        Ok(())
    }

    /// The tokens that it holds, as the token endpoint sent them.
    ///
    /// # Errors
    ///
    /// When it holds none.
    pub async fn tokens(&self) -> anyhow::Result<Value> {
        use rmcp::transport::auth::CredentialStore as _;

        let stored = self.store.load().await?.context("it holds no credentials")?;
        Ok(serde_json::to_value(stored.token_response)?)
    }

    /// Its id.
    ///
    /// # Errors
    ///
    /// When it is not registered.
    pub async fn id(&self) -> anyhow::Result<String> {
        Ok(self.auth.auth_manager.lock().await.get_credentials().await?.0)
    }
}

/// The parameters of a tool call.
///
/// # Panics
///
/// When `arguments` is no object.
pub fn call(tool: &'static str, arguments: Value) -> CallToolRequestParams {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    CallToolRequestParams::new(tool).with_arguments(arguments)
}

/// The text of a result.
pub fn text(result: &CallToolResult) -> String {
    result
        .content
        .iter()
        .filter_map(|block| block.as_text())
        .map(|block| block.text.as_str())
        .collect()
}
