//! Two processes of `serve`, their storage, and a provider that counts.

use std::{
    any::Any,
    net::{Ipv4Addr, TcpListener as StdListener},
    process::Stdio,
    time::Duration,
};

use anyhow::ensure;
use dev_idp::{ClientConfig, DevIdp, Lifetimes};
use end_to_end::{
    User,
    browser::Intent,
    client::{Client, random},
    eventually, http,
    process::binary,
};
use http::StatusCode;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    task::JoinSet,
};

/// The provider's access tokens are near their end all the time, so that a refresh of ours wants
/// one of the provider's.
const PROVIDER_TOKEN: Duration = Duration::from_secs(20);

/// Who keeps the state.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Store {
    Redis,
    Postgres,
}

/// A and B: the base URL is A's, and clients that know B ask B.
pub(crate) struct Replicas {
    pub(crate) ports: [u16; 2],
    provider: DevIdp,
    _processes: Vec<Child>,
    _tasks: JoinSet<()>,
    _store: Box<dyn Any + Send>,
}

impl Replicas {
    /// Starts all of it; `flags` are for both processes.
    pub(crate) async fn start(store: Store, flags: &[&str]) -> anyhow::Result<Self> {
        let (url, store): (String, Box<dyn Any + Send>) = match store {
            Store::Redis => {
                let server = test_servers::Redis::start()?;
                (server.url(), Box::new(server))
            }
            Store::Postgres => {
                let server = test_servers::Postgres::start_new()?;
                (server.url(), Box::new(server))
            }
        };
        let ports = [free_port()?, free_port()?];
        let base_url = format!("http://127.0.0.1:{}", ports[0]);
        let mut tasks = JoinSet::new();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let issuer = format!("http://{}", listener.local_addr()?);
        let provider = DevIdp::builder()
            .issuer(&issuer)
            .client(ClientConfig {
                client_id: "the-client".to_owned(),
                client_secret: Some("the-secret".to_owned()),
                redirect_uris: vec![format!("{base_url}/auth/callback")],
            })
            .lifetimes(Lifetimes { access_token: PROVIDER_TOKEN, ..Lifetimes::default() })
            .build()?;
        let router = provider.clone().into_router();
        tasks.spawn(async move {
            let _ends_with_the_test = axum::serve(listener, router).await;
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let backend = format!("http://{}/mcp", listener.local_addr()?);
        let router = axum::Router::new().route("/mcp", axum::routing::any(async || "hello"));
        tasks.spawn(async move {
            let _ends_with_the_test = axum::serve(listener, router).await;
        });
        // Fernet keys are written with their padding.
        let keys = [format!("{}=", random()), random()];
        let mut processes = Vec::new();
        for port in ports {
            let mut command = Command::new(binary()?);
            command
                .arg("serve")
                .args(flags)
                .arg(format!("--base-url={base_url}"))
                .arg(format!("--listen=127.0.0.1:{port}"))
                .arg(format!("--config-url={issuer}/.well-known/openid-configuration"))
                .arg(format!("--backend={backend}"))
                .args(["--client-id=the-client", "--allow-any-user", "--log-format=json"])
                .env_remove("OIDC_PROXY_BIN")
                .env("OIDC_PROXY_CLIENT_SECRET", "the-secret")
                .env("OIDC_PROXY_STORAGE", &url)
                .env("OIDC_PROXY_STORAGE_ENCRYPTION_KEY", &keys[0])
                .env("OIDC_PROXY_JWT_SIGNING_KEY", &keys[1])
                .stdin(Stdio::null())
                .kill_on_drop(true);
            let mut process = command.spawn()?;
            eventually("the process to answer", async || {
                is_up(port).await || matches!(process.try_wait(), Ok(Some(_)))
            })
            .await?;
            ensure!(process.try_wait()?.is_none(), "the process on port {port} ended at once");
            processes.push(process);
        }
        Ok(Self { ports, provider, _processes: processes, _tasks: tasks, _store: store })
    }

    /// A client that asks A, and the same client asking B.
    pub(crate) async fn register(&self) -> anyhow::Result<[Client; 2]> {
        let at_a = Client::register(&format!("http://127.0.0.1:{}/mcp", self.ports[0])).await?;
        let mut at_b = at_a.clone();
        if let Value::Object(metadata) = &mut at_b.metadata {
            for (name, value) in metadata {
                if let (true, Some(url)) = (name.ends_with("_endpoint"), value.as_str()) {
                    *value = self.at_b(url).into();
                }
            }
        }
        Ok([at_a, at_b])
    }

    fn at_b(&self, url: &str) -> String {
        let [a, b] = self.ports.map(|port| format!("127.0.0.1:{port}"));
        url.replacen(&a, &b, 1)
    }

    /// What a replica answers to a request with this access token.
    pub(crate) async fn status_with(
        &self,
        client: &Client,
        replica: usize,
        access_token: &str,
    ) -> anyhow::Result<StatusCode> {
        let mut client = client.clone();
        if replica == 1 {
            client.resource = self.at_b(&client.resource);
        }
        client.status_with(access_token).await
    }

    /// Alice, and what she wants.
    pub(crate) fn alice() -> Intent {
        let alice = dev_idp::User::alice();
        Intent::LogIn(User { name: alice.username, password: alice.password })
    }

    /// How often the provider was asked to refresh.
    pub(crate) fn provider_refreshes(&self) -> u64 {
        self.provider.stats().refresh_calls
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(StdListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

async fn is_up(port: u16) -> bool {
    let url = format!("http://127.0.0.1:{port}/.well-known/oauth-authorization-server");
    let Ok(http) = http() else { return false };
    http.get(url).send().await.is_ok_and(|answer| answer.status().is_success())
}
