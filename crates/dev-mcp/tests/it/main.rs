//! The server as real clients of both protocol eras see it, over a loopback port.
#![expect(clippy::unwrap_used, reason = "a failed test may panic")]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::body::Body;
use dev_mcp::{Activity, Options};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient,
    model::{
        CallToolRequestParams, CallToolResult, ClientRequest, ProgressNotificationParam,
        ProtocolVersion, Request as RpcRequest,
    },
    service::{
        NotificationContext, PeerRequestOptions, RequestHandle, RunningService, ServiceError,
    },
    transport::{
        StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// A client that writes down the progress that it is told.
#[derive(Clone, Default)]
struct Listener {
    progress: Arc<Mutex<Vec<f64>>>,
}

impl ClientHandler for Listener {
    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.progress.lock().unwrap().push(params.progress);
    }
}

struct Server {
    url: String,
    activity: Activity,
    stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve() -> Server {
    let stop = CancellationToken::new();
    let mut options = Options::default();
    options.keep_alive = Duration::from_millis(50);
    let activity = options.activity.clone();
    let router = dev_mcp::router_with("/mcp", stop.clone(), options);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let end = stop.clone().cancelled_owned();
    tokio::spawn(async move { axum::serve(listener, router).with_graceful_shutdown(end).await });
    Server { url, activity, stop }
}

/// The two eras: how a client starts, and the version that both sides then speak.
fn eras() -> [(ClientLifecycleMode, ProtocolVersion); 2] {
    let modern = vec![ProtocolVersion::V_2026_07_28];
    [
        (ClientLifecycleMode::Initialize, ProtocolVersion::V_2025_11_25),
        (
            ClientLifecycleMode::Discover { preferred_versions: modern },
            ProtocolVersion::V_2026_07_28,
        ),
    ]
}

async fn connect(
    server: &Server,
    era: ClientLifecycleMode,
    headers: &[(&'static str, &'static str)],
) -> RunningService<RoleClient, Listener> {
    let mut config = StreamableHttpClientTransportConfig::with_uri(server.url.clone());
    config.auth_header = Some("secret-token".to_owned());
    config.custom_headers = headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect::<HashMap<_, _>>();
    let transport = StreamableHttpClientTransport::from_config(config);
    Listener::default().serve_with_lifecycle(transport, era).await.unwrap()
}

fn call(tool: &'static str, arguments: Value) -> CallToolRequestParams {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    CallToolRequestParams::new(tool).with_arguments(arguments)
}

fn text(result: &CallToolResult) -> String {
    result.content.iter().filter_map(|block| block.as_text()).map(|t| t.text.as_str()).collect()
}

async fn start_countdown(
    client: &RunningService<RoleClient, Listener>,
) -> RequestHandle<RoleClient> {
    let params = call("countdown", json!({"steps": 600, "interval_ms": 50}));
    let request = ClientRequest::CallToolRequest(RpcRequest::new(params));
    client.send_cancellable_request(request, PeerRequestOptions::no_options()).await.unwrap()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn both_eras_list_and_call_tools() {
    let server = serve().await;
    for (era, version) in eras() {
        let client = connect(&server, era, &[]).await;
        assert_eq!(client.peer_info().unwrap().protocol_version, version);

        let tools = client.list_all_tools().await.unwrap();
        let names: Vec<_> = tools.iter().map(|tool| tool.name.as_ref()).collect();
        assert_eq!(names, ["countdown", "echo", "whoami"], "{version}");

        let result = client.call_tool(call("echo", json!({"text": "héllo"}))).await.unwrap();
        assert_eq!(text(&result), "héllo", "{version}");
        client.cancel().await.unwrap();
    }
}

#[tokio::test]
async fn whoami_tells_the_identity_headers_and_nothing_else() {
    let server = serve().await;
    let headers = [
        ("x-forwarded-user", "user-alice"),
        ("x-forwarded-user-issuer", "http://localhost:9000"),
        ("x-forwarded-email", "alice@example.com"),
        ("x-forwarded-groups", "staff,admins"),
        ("x-forwarded-preferred-username", "alice"),
        ("x-forwarded-host", "elsewhere.example"),
    ];
    for (era, version) in eras() {
        let client = connect(&server, era, &headers).await;
        let result = client.call_tool(call("whoami", json!({}))).await.unwrap();
        assert!(!text(&result).contains("secret-token"));
        assert_eq!(
            result.structured_content.unwrap(),
            json!({
                "x-forwarded-user": "user-alice",
                "x-forwarded-user-issuer": "http://localhost:9000",
                "x-forwarded-email": "alice@example.com",
                "x-forwarded-groups": "staff,admins",
                "x-forwarded-preferred-username": "alice",
            }),
            "{version}"
        );
        client.cancel().await.unwrap();
    }
}

#[tokio::test]
async fn countdown_streams_its_progress() {
    let server = serve().await;
    for (era, version) in eras() {
        let client = connect(&server, era, &[]).await;
        let params = call("countdown", json!({"steps": 3, "interval_ms": 1}));
        let result = client.call_tool(params).await.unwrap();
        assert_eq!(text(&result), "Counted down 3 steps.", "{version}");
        let progress = Arc::clone(&client.service().progress);
        until("three notifications", || *progress.lock().unwrap() == [1.0, 2.0, 3.0]).await;
        client.cancel().await.unwrap();
    }
    assert_eq!((server.activity.finished(), server.activity.canceled()), (2, 0));
}

#[tokio::test]
async fn progress_arrives_while_the_countdown_runs() {
    let server = serve().await;
    for (era, _) in eras() {
        let client = connect(&server, era, &[]).await;
        let handle = start_countdown(&client).await;
        let progress = Arc::clone(&client.service().progress);
        until("a first notification", || !progress.lock().unwrap().is_empty()).await;
        assert_eq!(server.activity.running(), 1);
        handle.cancel(None).await.unwrap();
        until("the end of the countdown", || server.activity.running() == 0).await;
        client.cancel().await.unwrap();
    }
}

#[tokio::test]
async fn a_canceled_call_stops_counting() {
    let server = serve().await;
    for (round, (era, version)) in (1..).zip(eras()) {
        let client = connect(&server, era, &[]).await;
        let handle = start_countdown(&client).await;
        until("a running countdown", || server.activity.running() == 1).await;
        handle.cancel(Some("enough".to_owned())).await.unwrap();
        let what = format!("the end of the countdown in {version}");
        until(&what, || server.activity.canceled() == round).await;
        client.cancel().await.unwrap();
    }
    assert_eq!(server.activity.finished(), 0);
}

#[tokio::test]
async fn a_client_that_goes_away_stops_counting() {
    let server = serve().await;
    for (round, (era, version)) in (1..).zip(eras()) {
        let client = connect(&server, era, &[]).await;
        let handle = start_countdown(&client).await;
        until("a running countdown", || server.activity.running() == 1).await;
        client.cancel().await.unwrap();
        drop(handle);
        let what = format!("the end of the countdown in {version}");
        until(&what, || server.activity.canceled() == round).await;
    }
}

#[tokio::test]
async fn the_end_of_the_server_ends_streams() {
    for (era, version) in eras() {
        let server = serve().await;
        let client = connect(&server, era, &[]).await;
        let _handle = start_countdown(&client).await;
        until("a running countdown", || server.activity.running() == 1).await;
        server.stop.cancel();
        let what = format!("the end of the countdown in {version}");
        until(&what, || server.activity.running() == 0).await;
    }
}

#[tokio::test]
async fn countdown_is_bounded() {
    let server = serve().await;
    let (era, _) = eras()[1].clone();
    let client = connect(&server, era, &[]).await;
    for arguments in [
        json!({"steps": 0}),
        json!({"steps": 601}),
        json!({"interval_ms": 0}),
        json!({"interval_ms": 10_001}),
    ] {
        let outcome = client.call_tool(call("countdown", arguments.clone())).await;
        let Err(ServiceError::McpError(error)) = outcome else {
            panic!("{arguments} was accepted: {outcome:?}")
        };
        assert!(error.message.contains("must be between"), "{error:?}");
    }
    let tools = client.list_all_tools().await.unwrap();
    let schema = &tools.iter().find(|tool| tool.name == "countdown").unwrap().input_schema;
    assert_eq!(schema["properties"]["steps"]["maximum"], 600);
    assert_eq!(schema["properties"]["interval_ms"]["maximum"], 10_000);
}

#[tokio::test]
async fn only_allowed_hosts_are_answered() {
    let status = async |options: Options, host: &str| {
        let router = dev_mcp::router_with("/mcp", CancellationToken::new(), options);
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
        let request = Request::post("/mcp")
            .header("host", host)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(Body::from(body))
            .unwrap();
        router.oneshot(request).await.unwrap().status()
    };
    let refused = StatusCode::FORBIDDEN;
    assert_ne!(status(Options::default(), "localhost:8000").await, refused);
    assert_eq!(status(Options::default(), "rebound.example").await, refused);

    let mut options = Options::default();
    options.allowed_hosts = vec!["mcp.example".to_owned()];
    assert_ne!(status(options.clone(), "mcp.example").await, refused);
    assert_eq!(status(options, "localhost").await, refused);

    let mut options = Options::default();
    options.allowed_hosts.clear();
    assert_ne!(status(options, "rebound.example").await, refused);
}

#[tokio::test]
async fn a_trailing_slash_means_the_same_endpoint() {
    let router = dev_mcp::router("/mcp", CancellationToken::new());
    let status = async |path: &str| {
        let request = Request::post(path).header("host", "localhost").body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!(status("/mcp/").await, status("/mcp").await);
    assert_eq!(status("/mcp/x").await, StatusCode::NOT_FOUND);
}
