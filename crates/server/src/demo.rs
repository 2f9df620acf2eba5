//! `oidc-proxy demo`: a provider, an MCP server and the proxy in front of it, in one process.

mod guide;

use std::{
    io::{self, Write},
    sync::Arc,
};

use anyhow::{Context, anyhow, bail};
use dev_idp::{ClientConfig, DevIdp};
use kv_storage::Sqlite;
use oidc_proxy::{AccessPolicy, OidcProxy, SigningAlgorithm};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    assemble::Parts,
    cli::DemoOptions,
    data_dir::DataDir,
    demo::guide::Guide,
    identity::Ways,
    listen::{self, Limits, Sockets},
    signals::Signals,
    state,
};

/// Our application at the provider.
const CLIENT_ID: &str = "oidc-proxy-demo";

/// Where the MCP endpoint is, at the proxy and at the server behind it.
const MCP_PATH: &str = "/mcp";

/// Runs until a signal says stop.
pub(crate) async fn run(options: DemoOptions) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let ports = Ports::bind(&options).await?;
    let data = match &options.keep {
        Some(directory) => DataDir::kept(directory)?,
        None => DataDir::temporary()?,
    };
    let base_url = format!("http://localhost:{}", ports.proxy.port());
    let idp_url = format!("http://localhost:{}", ports.idp.port());
    let mcp_url = format!("http://localhost:{}{MCP_PATH}", ports.mcp.port());

    let secret = jwt_issuer::random_token::<32>();
    let database = Sqlite::open(data.state_file()?).await.context("could not open the database")?;
    let database = Arc::new(database);
    let keys = data.storage_keys()?;
    let storage =
        state::encrypted(Arc::clone(&database), &keys, None, &base_url, &data.name()).await?;
    let stop = CancellationToken::new();
    let proxy = OidcProxy::builder(format!("{idp_url}/.well-known/openid-configuration"))
        .client_id(CLIENT_ID)
        .client_secret(secret.clone().into())
        .base_url(&base_url)
        .resource(MCP_PATH)
        .storage(storage)
        .access(AccessPolicy::any_user())
        .lifetimes(options.lifetimes.proxy());
    let assembly = Parts {
        proxy,
        backend: mcp_url.clone(),
        backend_tls: None,
        identity: Ways::headers(),
        signing_algorithm: SigningAlgorithm::default(),
        signing_keys: data.signing_keys()?,
        stop: stop.clone(),
    }
    .assemble()?;

    let client = ClientConfig {
        client_id: CLIENT_ID.to_owned(),
        client_secret: Some(secret),
        redirect_uris: vec![assembly.proxy.callback_url()],
    };
    let idp = DevIdp::builder()
        .issuer(&idp_url)
        .client(client)
        .lifetimes(options.lifetimes.provider())
        .state_dir(data.join("idp"));
    let idp = tokio::task::spawn_blocking(|| idp.build())
        .await
        .context("the provider's key could not be made")?
        .context("could not set up the provider")?;

    let guide = Guide {
        mcp_endpoint: format!("{base_url}{MCP_PATH}"),
        provider: idp_url,
        backend: mcp_url,
        users: idp
            .users()
            .iter()
            .map(|user| (user.username.clone(), user.password.clone()))
            .collect(),
        keep: options.keep.clone(),
    };
    let mut servers = JoinSet::new();
    let limits = Limits::default();
    // What stands behind the proxy goes on until the proxy's last answer is out.
    let stop_behind = CancellationToken::new();
    servers.spawn(listen::serve(ports.idp, idp.into_router(), limits, stop_behind.clone()));
    servers.spawn(listen::serve(
        ports.mcp,
        dev_mcp::router(MCP_PATH, stop_behind.clone()),
        limits,
        stop_behind.clone(),
    ));
    let proxy = tokio::spawn(listen::serve(ports.proxy, assembly.router, limits, stop.clone()));

    let maintenance = tokio::spawn(assembly.proxy.maintain());

    print(&guide)?;
    signals.next().await;
    tracing::info!("stopping; once more to stop at once");
    stop.cancel();
    let stopping = async {
        let served = proxy.await;
        assembly.proxy.shutdown().await;
        maintenance.await.context("the maintenance broke down")?;
        stop_behind.cancel();
        servers.join_all().await;
        database.close().await;
        served.context("the listener broke down")
    };
    tokio::select! {
        stopped = stopping => stopped?,
        () = signals.next() => {}
    }
    data.close().context("could not remove the temporary directory")
}

/// The sockets of the three servers, bound before anything is made or printed.
struct Ports {
    proxy: Sockets,
    idp: Sockets,
    mcp: Sockets,
}

impl Ports {
    async fn bind(options: &DemoOptions) -> anyhow::Result<Self> {
        let wanted = [
            ("--port", options.port),
            ("--idp-port", options.idp_port),
            ("--mcp-port", options.mcp_port),
        ];
        for (index, (flag, port)) in wanted.iter().enumerate() {
            let earlier = wanted[..index].iter().find(|(_, other)| other == port && *port != 0);
            if let Some((other, _)) = earlier {
                bail!("{other} and {flag} are both {port}; every server needs its own port");
            }
        }
        let [proxy, idp, mcp] = wanted;
        Ok(Self { proxy: bind(proxy).await?, idp: bind(idp).await?, mcp: bind(mcp).await? })
    }
}

async fn bind((flag, port): (&str, u16)) -> anyhow::Result<Sockets> {
    Sockets::loopback(port).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            anyhow!("port {port} is in use by another program; choose another one with {flag}")
        }
        _ => anyhow!("could not listen on port {port} ({error}); choose another one with {flag}"),
    })
}

fn print(guide: &Guide) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{guide}").and_then(|()| out.flush()).context("could not print the guide")
}
