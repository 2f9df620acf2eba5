//! Two processes of `serve`, what stands before and behind them, and their storage.

mod front;
mod provider;
mod store;

use std::{fs, net::Ipv4Addr, path::PathBuf};

use anyhow::{Context as _, ensure};
use end_to_end::{
    client::{Answer, Client, random},
    serve::{Serve, Settings},
};
use http::StatusCode;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{front::Front, store::StoreServer};
pub(crate) use self::{provider::Provider, store::Store};

/// The replicas by their place in every array here.
pub(crate) const A: usize = 0;
pub(crate) const B: usize = 1;

/// A and B behind one base URL, which leads to A unless [`Rig::lead_to`] says otherwise; who wants
/// to reach one of them asks it directly.
pub(crate) struct Rig {
    front: Front,
    pub(crate) provider: Provider,
    pub(crate) store: StoreServer,
    running: [Option<Serve>; 2],
    stopped: [Option<Settings>; 2],
    /// Of B only, as both have the same state.
    admin_token: String,
    /// Of the files that both read.
    place: TempDir,
    _backend: JoinSet<()>,
    _stop: DropGuard,
}

/// The files of the signing keys and of the storage keys.
pub(crate) const KEY_FILES: [(&str, &str); 2] =
    [("signing", "jwt-signing-key-file"), ("storage", "storage-encryption-key-file")];

impl Rig {
    /// Starts all of it; `settings` are for both.
    pub(crate) async fn start(store: Store, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut rig = Self::without_a(store, settings).await?;
        rig.start_replica(A, |settings| settings).await?;
        rig.lead_to(&[A]);
        Ok(rig)
    }

    /// As [`Self::start`], but A does not run yet, and the base URL leads to B.
    pub(crate) async fn without_a(store: Store, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let store = StoreServer::start(store)?;
        let front = Front::start().await?;
        let callback_url = format!("{}/auth/callback", front.url());
        let provider = Provider::start(&callback_url).await?;
        let stop = CancellationToken::new();
        let (backend, tasks) = backend(&stop).await?;
        let place = tempfile::tempdir()?;
        // Fernet keys are written with their padding.
        for ((ring, _), key) in KEY_FILES.iter().zip([random(), format!("{}=", random())]) {
            fs::write(place.path().join(ring), key)?;
        }
        let admin_token = random();
        let token_file = place.path().join("admin-token");
        fs::write(&token_file, &admin_token)?;
        only_for_us(&token_file)?;

        let common = || -> anyhow::Result<Settings> {
            let mut common = Settings::anywhere(front.url())?
                .env("RUST_LOG", "warn,oidc_proxy::serve=info")
                .set("storage", store.url())
                .set("config-url", format!("{}/.well-known/openid-configuration", provider.issuer))
                .set("backend", &backend)
                .set("client-id", provider::CLIENT_ID)
                .set("client-secret", provider::CLIENT_SECRET)
                .set("log-format", "json");
            for (ring, flag) in KEY_FILES {
                common = common.set(flag, place.path().join(ring).display().to_string());
            }
            for (name, value) in settings {
                common = common.set(name, value);
            }
            Ok(common.set("allow-email", "alice@example.com"))
        };
        let a = common()?;
        let b = common()?
            .set("admin-listen", "127.0.0.1:0")
            .set("admin-token-file", token_file.display().to_string());
        let mut rig = Self {
            front,
            provider,
            store,
            running: [None, None],
            stopped: [Some(a), Some(b)],
            admin_token,
            place,
            _backend: tasks,
            _stop: stop.drop_guard(),
        };
        rig.start_replica(B, |settings| settings).await?;
        rig.lead_to(&[B]);
        Ok(rig)
    }

    /// Starts one that does not run.
    pub(crate) async fn start_replica(
        &mut self,
        replica: usize,
        change: impl FnOnce(Settings) -> Settings,
    ) -> anyhow::Result<()> {
        let settings = self.stopped[replica].take().context("it runs already")?;
        self.running[replica] = Some(change(settings).start().await?);
        Ok(())
    }

    /// Asks one to stop, and starts it again; the base URL leads to the other meanwhile, and to both
    /// afterwards.
    pub(crate) async fn restart(&mut self, replica: usize) -> anyhow::Result<()> {
        let running = self.running[replica].take().context("it does not run")?;
        self.lead_to(&[A, B]);
        self.stopped[replica] = Some(running.stop().await?);
        self.start_replica(replica, |settings| settings).await?;
        self.lead_to(&[A, B]);
        Ok(())
    }

    /// What one that runs says of records that its keys do not open.
    pub(crate) fn unreadable(&self, replica: usize) -> anyhow::Result<String> {
        let log = self.replica(replica)?.log();
        let lines = log.lines().filter(|line| line.contains("record_unreadable"));
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }

    /// Waits until one has died by itself.
    pub(crate) async fn died(&mut self, replica: usize) -> anyhow::Result<()> {
        let running = self.running[replica].take().context("it does not run")?;
        let (status, settings) = running.ended().await?;
        ensure!(status.code().is_none(), "it ended by itself, with {status}");
        self.stopped[replica] = Some(settings);
        Ok(())
    }

    pub(crate) fn replica(&self, replica: usize) -> anyhow::Result<&Serve> {
        self.running[replica].as_ref().context("it does not run")
    }

    /// The base URL leads to these from now on.
    pub(crate) fn lead_to(&self, replicas: &[usize]) {
        let running = replicas.iter().filter_map(|&replica| self.running[replica].as_ref());
        self.front.lead_to(running.filter_map(|serve| serve.address().ok()));
    }

    /// The base URL.
    pub(crate) fn url(&self) -> String {
        self.front.url()
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.front.port()
    }

    /// Where the provider sends people back.
    pub(crate) fn callback_url(&self) -> String {
        format!("{}/auth/callback", self.front.url())
    }

    /// A client that goes by the base URL.
    pub(crate) async fn register(&self) -> anyhow::Result<Client> {
        Client::register(&format!("{}/mcp", self.front.url())).await
    }

    /// A client that asks A, and the same client asking B.
    pub(crate) async fn register_at_both(&self) -> anyhow::Result<[Client; 2]> {
        let client = self.register().await?;
        Ok([self.at(A, &client)?, self.at(B, &client)?])
    }

    /// The same client, asking one replica.
    pub(crate) fn at(&self, replica: usize, client: &Client) -> anyhow::Result<Client> {
        let mut client = client.clone();
        if let Value::Object(metadata) = &mut client.metadata {
            for (name, value) in metadata {
                if let (true, Some(url)) = (name.ends_with("_endpoint"), value.as_str()) {
                    *value = self.directly(replica, url)?.into();
                }
            }
        }
        Ok(client)
    }

    /// A URL of ours at one replica.
    pub(crate) fn directly(&self, replica: usize, url: &str) -> anyhow::Result<String> {
        let listen = self.replica(replica)?.address()?;
        Ok(url.replacen(&self.front.url(), &format!("http://{listen}"), 1))
    }

    /// What a replica answers to a request with this access token.
    pub(crate) async fn status_with(
        &self,
        client: &Client,
        replica: usize,
        access_token: &str,
    ) -> anyhow::Result<StatusCode> {
        let mut client = client.clone();
        client.resource = self.directly(replica, &client.resource)?;
        client.status_with(access_token).await
    }

    /// What B's admin listener answers.
    pub(crate) async fn ask_admin(&self, path: &str) -> anyhow::Result<Answer> {
        let url = format!("http://{}{path}", self.replica(B)?.admin_address()?);
        let request = end_to_end::http()?.get(url).bearer_auth(&self.admin_token);
        Answer::read(request.send().await?).await
    }

    /// How many sessions a client can use.
    pub(crate) async fn sessions(&self, client: &Client) -> anyhow::Result<usize> {
        let list = self.ask_admin(&format!("/admin/sessions?client={}", client.id())).await?;
        ensure!(list.status == StatusCode::OK, "{}: {}", list.status, list.text);
        let sessions = list.json["sessions"].as_array().context("no sessions")?;
        Ok(sessions.iter().filter(|session| session["state"] == "active").count())
    }

    /// A file that both replicas read.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }
}

/// An MCP server, until it is told to stop.
async fn backend(stop: &CancellationToken) -> anyhow::Result<(String, JoinSet<()>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}/mcp", listener.local_addr()?);
    let router = dev_mcp::router("/mcp", stop.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _ends_with_the_test = axum::serve(listener, router).await;
    });
    Ok((url, tasks))
}

fn only_for_us(path: &std::path::Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}
