//! The details of the specifications, request by request.

mod authorization;
mod discovery;
mod token;

use end_to_end::client::Answer;
use http::Method;
use serde_json::Value;

/// Sends a request without a body.
async fn send(method: Method, url: &str, headers: &[(&str, &str)]) -> anyhow::Result<Answer> {
    let mut request = end_to_end::http()?.request(method, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::read(request.send().await?).await
}

async fn get(url: &str) -> anyhow::Result<Answer> {
    send(Method::GET, url, &[]).await
}

/// No member is null, at any depth: strict parsers refuse it where the member may be absent.
fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        _ => false,
    }
}
