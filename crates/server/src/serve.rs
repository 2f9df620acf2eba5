//! `oidc-proxy serve`: the proxy in front of somebody's MCP server, with somebody's provider.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use jwt_issuer::{KeyRing, MasterKey};
use kv_storage::{Memory, Sqlite};
use oidc_proxy::{OidcProxy, OidcProxyBuilder};
use tokio_util::sync::CancellationToken;

use crate::{
    assemble::{Assembly, Parts},
    config::{Config, Listen, Storage},
    data_dir::DataDir,
    listen::{self, Patience, Sockets},
    signals::Signals,
    state,
};

/// How often a provider that is down is asked again; the discovery asks no oftener than this.
const PROVIDER_CHECK: Duration = Duration::from_secs(30);

/// Runs until a signal says stop.
pub(crate) async fn run(mut config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let stop = CancellationToken::new();
    // Storage and keys come first: with the wrong ones no port is opened.
    let kept = tokio::select! {
        kept = Kept::open(&mut config) => kept?,
        // A locked database may keep us waiting; a person who gives up need not.
        () = signals.next() => return Ok(()),
    };
    let Assembly { router, proxy } = Parts {
        proxy: kept.storage,
        backend: config.backend.clone(),
        identity_headers: config.identity_headers,
        signing_keys: kept.signing_keys,
        stop: stop.clone(),
    }
    .assemble()?;
    let sockets = bind(config.listen).await?;

    introduce(&config, &proxy, &sockets);
    let provider = tokio::spawn(watch_provider(proxy.clone(), config.config_url.clone()));
    let maintenance = tokio::spawn(proxy.maintain());
    let mut serving =
        tokio::spawn(listen::serve(sockets, router, Patience::default(), stop.clone()));
    tokio::select! {
        () = signals.next() => tracing::info!("stopping; once more to stop at once"),
        // A process without its port would look alive to a supervisor.
        ended = &mut serving => {
            ended.context("the listener broke down")?;
            bail!("the listener ended by itself");
        }
    }
    stop.cancel();
    provider.abort();
    let stopping = async {
        let served = serving.await;
        proxy.shutdown().await;
        maintenance.await.context("the maintenance broke down")?;
        if let Some(database) = kept.database {
            database.close().await;
        }
        served.context("the listener broke down")
    };
    tokio::select! {
        stopped = stopping => stopped,
        () = signals.next() => Ok(()),
    }
}

/// What outlives the process, or is made anew with storage that does not.
struct Kept {
    /// The proxy with its storage.
    storage: OidcProxyBuilder,
    signing_keys: KeyRing,
    database: Option<Arc<Sqlite>>,
    /// Locked until the end.
    _data: Option<DataDir>,
}

impl Kept {
    async fn open(config: &mut Config) -> anyhow::Result<Self> {
        let builder = config.proxy();
        let Storage::Sqlite(path) = &config.storage else {
            let signing_keys = match config.signing_keys.take() {
                Some(keys) => keys,
                None => KeyRing::new(MasterKey::generate()),
            };
            tracing::warn!("the state is in memory only; a restart logs everybody out");
            let storage = builder.storage(Memory::new());
            return Ok(Self { storage, signing_keys, database: None, _data: None });
        };
        let data = DataDir::beside(path)?;
        let file = data.state_file()?;
        let place = file.display().to_string();
        let database = Sqlite::open(file).await.context("could not open the database")?;
        let database = Arc::new(database);
        let cipher = match config.storage_keys.take() {
            Some(cipher) => cipher,
            None => data.storage_cipher()?,
        };
        let encrypted =
            state::encrypted(Arc::clone(&database), cipher, &config.base_url, &place).await?;
        let signing_keys = match config.signing_keys.take() {
            Some(keys) => keys,
            None => data.signing_keys()?,
        };
        let storage = builder.storage(encrypted);
        Ok(Self { storage, signing_keys, database: Some(database), _data: Some(data) })
    }
}

async fn bind(listen: Listen) -> anyhow::Result<Sockets> {
    let (sockets, place) = match listen {
        Listen::Loopback(port) => (Sockets::loopback(port).await, format!("localhost:{port}")),
        Listen::At(address) => (Sockets::at(address).await, address.to_string()),
    };
    sockets.with_context(|| format!("could not listen on {place}; choose another with --listen"))
}

/// Says what runs where and who may log in (D10).
fn introduce(config: &Config, proxy: &OidcProxy, sockets: &Sockets) {
    for who in &config.access.who {
        tracing::info!("may log in: {who}");
    }
    tracing::info!("the callback URL to register at the provider is {}", proxy.callback_url());
    for address in sockets.addresses() {
        tracing::info!("{} is ready on {address}", proxy.resource());
    }
}

/// Tells the operator about a provider that does not answer, and when it does.
async fn watch_provider(proxy: OidcProxy, config_url: String) {
    let mut reported = false;
    loop {
        match proxy.check_provider().await {
            Ok(()) => break,
            Err(error) if !reported => {
                reported = true;
                let why = anyhow::Error::from(error);
                tracing::warn!("nobody can log in until the provider answers: {why:#}");
            }
            Err(_) => {}
        }
        tokio::time::sleep(PROVIDER_CHECK).await;
    }
    tracing::info!("the provider at {config_url} answers");
}
