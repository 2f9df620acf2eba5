//! `oidc-proxy serve`: the proxy in front of somebody's MCP server, with somebody's provider.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, anyhow, bail};
use axum::Router;
use jwt_issuer::{KeyRing, MasterKey};
use kv_storage::{Disk, KeyValue, Memory, Metered, Sqlite};
use metrics_exporter_prometheus::PrometheusHandle;
use oidc_proxy::{OidcProxy, OidcProxyBuilder, SigningKeysError, admin::Administration};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{self, AdminToken, AllowedHosts, Readiness, ReadyParts, Telemetry},
    assemble::{Assembly, Parts},
    audit::{self, AuditFile},
    config::{
        AdminListen, Config, Listen, Storage,
        setting::{ADMIN_LISTEN, DANGER_REPLACE_SIGNING_KEYS, JWT_SIGNING_KEY, LISTEN, Setting},
    },
    data_dir::DataDir,
    listen::{self, Limits, Sockets},
    signals::Signals,
    state,
};

/// How often a provider that is down is asked again; the discovery asks no oftener than this.
const PROVIDER_CHECK: Duration = Duration::from_secs(30);

/// Runs until a signal says stop.
pub(crate) async fn run(mut config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let telemetry = config.operation.admin.as_ref().map(|_| Telemetry::start()).transpose()?;
    let (audit, auditing) = audit::open(&config.operation.audit_log)?.unzip();
    if let Some(audit) = &audit {
        signals.reopen_on_hang_up(Arc::clone(audit));
    }
    let stop = CancellationToken::new();
    // Storage and keys come first: with the wrong ones no port is opened.
    let kept = tokio::select! {
        kept = Kept::open(&mut config, audit.clone()) => kept?,
        // A locked database may keep us waiting; a person who gives up need not.
        () = signals.next() => return Ok(()),
    };
    let Assembly { router, proxy, forwarder } = Parts {
        proxy: kept.storage,
        backend: config.backend.clone(),
        backend_tls: config.backend_tls.clone(),
        identity: config.identity,
        signing_algorithm: config.signing_algorithm,
        signing_keys: kept.signing_keys,
        stop: stop.clone(),
    }
    .assemble()?;
    compare_signing_keys(&proxy, config.replace_signing_keys).await?;
    let limits = Limits {
        connections: config.operation.max_connections,
        drain: config.operation.drain,
        ..Limits::default()
    };
    let sockets = bind(config.listen, &LISTEN).await?;
    let admin = match (&config.operation.admin, telemetry) {
        (Some(admin), Some(telemetry)) => {
            let readiness = Readiness::new(ReadyParts {
                proxy: proxy.clone(),
                forwarder,
                storage: config.storage.facts(),
                keys: format!("signs with {}", config.signing_algorithm),
                audit: audit.clone(),
                stop: stop.clone(),
            });
            Some(Admin::bind(admin, readiness, telemetry, proxy.administration()).await?)
        }
        _ => None,
    };

    introduce(&config, &proxy, &sockets);
    let provider = tokio::spawn(watch_provider(proxy.clone(), config.config_url.clone()));
    let maintenance = tokio::spawn(proxy.maintain());
    let mut serving = tokio::spawn(listen::serve(sockets, router, limits, stop.clone()));
    // Health is told to the end: an orchestrator sees that the server is stopping.
    let closed = CancellationToken::new();
    let admin = admin.map(|admin| tokio::spawn(admin.serve(limits, closed.clone())));
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
        closed.cancel();
        if let Some(admin) = admin {
            admin.await.context("the admin listener broke down")?;
        }
        kept.held.close().await;
        if let Some(auditing) = auditing {
            auditing.end()?;
        }
        served.context("the listener broke down")
    };
    tokio::select! {
        stopped = stopping => stopped,
        () = signals.next() => Ok(()),
    }
}

/// What outlives the process, or is made anew with storage that does not.
pub(crate) struct Kept {
    /// The proxy with its storage.
    pub(crate) storage: OidcProxyBuilder,
    pub(crate) signing_keys: KeyRing,
    pub(crate) held: Held,
}

/// What is held open until the end.
pub(crate) struct Held {
    database: Option<Arc<dyn KeyValue>>,
    /// Locked until the end.
    _data: Option<DataDir>,
}

impl Held {
    pub(crate) async fn close(self) {
        if let Some(database) = self.database {
            database.close().await;
        }
    }
}

impl Kept {
    pub(crate) async fn open(
        config: &mut Config,
        audit: Option<Arc<AuditFile>>,
    ) -> anyhow::Result<Self> {
        let mut builder = config.proxy();
        if let Some(audit) = &audit {
            builder = builder.audit(Arc::clone(audit) as _);
        }
        let (database, data): (Arc<dyn KeyValue>, _) = match &config.storage {
            Storage::Memory(url) => {
                let made = || KeyRing::new(MasterKey::generate());
                let signing_keys = config.signing_keys.take().unwrap_or_else(made);
                tracing::warn!("the state is in memory only; a restart logs everybody out");
                let storage = builder.storage(Metered::new(Memory::open(url)?)?);
                let held = Held { database: None, _data: None };
                return Ok(Self { storage, signing_keys, held });
            }
            Storage::Sqlite(path) => {
                let data = DataDir::beside(path)?;
                let opened = Sqlite::open(data.state_file()?).await;
                (Arc::new(opened.context("could not open the database")?), Some(data))
            }
            Storage::Disk(path) => {
                let data = DataDir::beside(path)?;
                let opened = Disk::open(path).await;
                (Arc::new(opened.context("could not open the database")?), Some(data))
            }
            Storage::Shared(shared) => {
                let opened = kv_storage::open(shared.url()).await;
                (opened.context("could not open the storage")?, None)
            }
        };
        #[cfg(feature = "kill-points")]
        let database = crate::kill_point::around(database)?;
        let storage_keys = match (config.storage_keys.take(), &data) {
            (Some(keys), _) => keys,
            (None, Some(data)) => data.storage_keys()?,
            (None, None) => bail!("no storage key was given"),
        };
        let encrypted = state::encrypted(
            Arc::clone(&database),
            &storage_keys,
            config.storage_cipher,
            &config.base_url,
            &config.storage.to_string(),
        )
        .await?;
        let signing_keys = match (config.signing_keys.take(), &data) {
            (Some(keys), _) => keys,
            (None, Some(data)) => data.signing_keys()?,
            (None, None) => bail!("no signing key was given"),
        };
        let storage = builder.storage(state::audited(encrypted, audit));
        let held = Held { database: Some(database), _data: data };
        Ok(Self { storage, signing_keys, held })
    }
}

/// With other keys than before everybody would be logged out: better not to start.
pub(crate) async fn compare_signing_keys(proxy: &OidcProxy, replace: bool) -> anyhow::Result<()> {
    if replace {
        proxy.danger_replace_signing_keys().await?;
        tracing::warn!("the signing keys may be others than before; then everybody logs in again");
        return Ok(());
    }
    match proxy.check_signing_keys().await {
        Err(error @ SigningKeysError::Foreign { .. }) => Err(anyhow!(
            "{error}; put back the file of signing keys, or give the same keys everywhere with {}; \
             if they are lost, {} starts anew and logs everybody out",
            JWT_SIGNING_KEY.own_name(),
            DANGER_REPLACE_SIGNING_KEYS.own_name().flag(),
        )),
        other => Ok(other?),
    }
}

/// The admin listener, bound.
struct Admin {
    sockets: Sockets,
    router: Router,
    metrics: PrometheusHandle,
}

impl Admin {
    async fn bind(
        at: &AdminListen,
        readiness: Readiness,
        telemetry: Telemetry,
        administration: Administration,
    ) -> anyhow::Result<Self> {
        let sockets = bind(at.listen, &ADMIN_LISTEN).await?;
        if !at.listen.is_loopback() {
            tracing::warn!(
                "the admin listener is reachable from other machines; whoever reaches it reads \
                 health and metrics, in the clear: keep it inside a network of your own"
            );
        }
        for address in sockets.addresses() {
            tracing::info!("health and metrics are on {address}");
        }
        let hosts = AllowedHosts::new(at.hosts.clone());
        let metrics = telemetry.handle;
        let token = at.token.as_ref().map(AdminToken::set_up).transpose()?;
        if token.is_none() {
            tracing::info!("there is no administration; --admin-token-file switches it on");
        }
        let administration = token.map(|token| (administration, token));
        let router = admin::router(hosts, Arc::new(readiness), metrics.clone(), administration);
        Ok(Self { sockets, router, metrics })
    }

    async fn serve(self, limits: Limits, stop: CancellationToken) {
        tokio::select! {
            () = listen::serve(self.sockets, self.router, limits, stop) => {}
            () = Telemetry::upkeep(self.metrics) => {}
        }
    }
}

async fn bind(listen: Listen, setting: &Setting) -> anyhow::Result<Sockets> {
    let (sockets, place) = match listen {
        Listen::Loopback(port) => (Sockets::loopback(port).await, format!("localhost:{port}")),
        Listen::At(address) => (Sockets::at(address).await, address.to_string()),
    };
    let flag = setting.own_name().flag();
    sockets.with_context(|| format!("could not listen on {place}; choose another with {flag}"))
}

/// Says what runs where and who may log in (D10).
fn introduce(config: &Config, proxy: &OidcProxy, sockets: &Sockets) {
    if config.identity.provider_token {
        tracing::warn!("the backend gets the provider's access tokens: it can act as the people");
    }
    for settings in config.client_settings.iter().filter(|settings| settings.is_dangerous()) {
        tracing::warn!(
            "the refresh tokens of {settings} do not rotate: who steals one goes unnoticed"
        );
    }
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
