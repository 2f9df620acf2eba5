//! The server and its tools.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use http::request::Parts;
use rmcp::{
    ErrorData, Json, Peer, RoleServer, ServerHandler,
    handler::server::{tool::Extension, wrapper::Parameters},
    model::{
        Implementation, ProgressNotificationParam, RequestMetaObject, ServerCapabilities,
        ServerConfig,
    },
    tool, tool_handler, tool_router,
};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::Activity;

/// The headers that `whoami` tells: those by which the proxy says who calls.
pub const IDENTITY_HEADERS: [&str; 5] = [
    "x-forwarded-user",
    "x-forwarded-user-issuer",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
];

/// A countdown is meant to last a while, not to occupy a server for good.
const STEPS: RangeInclusive<u32> = 1..=600;
const INTERVAL_MS: RangeInclusive<u32> = 1..=10_000;

#[derive(Clone)]
pub(crate) struct DevMcp {
    activity: Activity,
}

/// Arguments of `echo`.
#[derive(Deserialize, JsonSchema)]
struct EchoArguments {
    /// What to say back.
    text: String,
}

/// Arguments of `countdown`.
#[derive(Deserialize, JsonSchema)]
struct CountdownArguments {
    /// How many steps.
    #[serde(default = "default_steps")]
    #[schemars(range(min = 1, max = 600))]
    steps: u32,
    /// Milliseconds between two steps.
    #[serde(default = "default_interval")]
    #[schemars(range(min = 1, max = 10_000))]
    interval_ms: u32,
}

fn default_steps() -> u32 {
    5
}

fn default_interval() -> u32 {
    500
}

#[tool_router]
impl DevMcp {
    pub(crate) fn new(activity: Activity) -> Self {
        Self { activity }
    }

    /// Tells who calls, as the proxy says: the identity headers of this request.
    #[tool(annotations(read_only_hint = true))]
    async fn whoami(&self, Extension(parts): Extension<Parts>) -> Json<BTreeMap<String, String>> {
        let mut identity = BTreeMap::new();
        for name in IDENTITY_HEADERS {
            let values = parts.headers.get_all(name).iter();
            // All values: a header that is there twice is worth seeing.
            let values: Vec<_> =
                values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            if !values.is_empty() {
                identity.insert(name.to_owned(), values.join(", "));
            }
        }
        Json(identity)
    }

    /// Says back what it is told.
    #[tool(annotations(read_only_hint = true))]
    async fn echo(&self, Parameters(arguments): Parameters<EchoArguments>) -> String {
        arguments.text
    }

    /// Counts down slowly, with a progress notification at each step.
    #[tool(annotations(read_only_hint = true))]
    async fn countdown(
        &self,
        Parameters(arguments): Parameters<CountdownArguments>,
        meta: RequestMetaObject,
        peer: Peer<RoleServer>,
        canceled: CancellationToken,
    ) -> Result<String, ErrorData> {
        let CountdownArguments { steps, interval_ms } = arguments;
        check("steps", steps, &STEPS)?;
        check("interval_ms", interval_ms, &INTERVAL_MS)?;
        let interval = Duration::from_millis(interval_ms.into());
        let running = self.activity.begin();
        for step in 1..=steps {
            tokio::select! {
                () = canceled.cancelled() => {
                    return Err(ErrorData::internal_error("the call was canceled", None));
                }
                () = tokio::time::sleep(interval) => {}
            }
            if let Some(token) = meta.get_progress_token() {
                let progress = ProgressNotificationParam::new(token, step.into())
                    .with_total(steps.into())
                    .with_message(format!("{} to go", steps - step));
                peer.notify_progress(progress).await.map_err(|_| {
                    ErrorData::internal_error("nobody listens to the progress any more", None)
                })?;
            }
        }
        running.finish();
        Ok(format!("Counted down {steps} steps."))
    }
}

fn check(name: &str, value: u32, allowed: &RangeInclusive<u32>) -> Result<(), ErrorData> {
    if allowed.contains(&value) {
        return Ok(());
    }
    let (least, most) = allowed.clone().into_inner();
    Err(ErrorData::invalid_params(format!("{name} must be between {least} and {most}"), None))
}

#[tool_handler]
impl ServerHandler for DevMcp {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("dev-mcp", env!("CARGO_PKG_VERSION")))
            .with_instructions("A server for trying things out: whoami, echo, countdown.")
    }
}
