//! How the backend is told who asks.

use std::time::Duration;

use super::load;
use crate::identity::Ways;

#[test]
fn provider_tokens_cross_no_network_in_the_clear() {
    for (backend, is_good) in [
        ("http://127.0.0.1:9001/mcp", true),
        ("unix:/run/mcp.sock:/mcp", true),
        ("https://mcp.internal/mcp", true),
        ("http://mcp.internal/mcp", false),
    ] {
        let loaded = load(&[("identity", "provider-token"), ("backend", backend)]);
        assert_eq!(loaded.is_ok(), is_good, "{backend}: {loaded:?}");
        assert!(load(&[("backend", backend)]).is_ok(), "{backend}");
    }
}

#[test]
fn ways_of_telling_are_combined() {
    let ways = |identity| load(&[("identity", identity)]).unwrap().identity;
    assert_eq!(ways("none"), Ways::default());
    assert_eq!(ways("headers"), Ways::headers());
    let minute = Some(Duration::from_mins(1));
    assert_eq!(ways("assertion"), Ways { assertion: minute, ..Ways::default() });
    assert_eq!(
        ways("provider-token,headers assertion"),
        Ways { headers: true, assertion: minute, provider_token: true }
    );
    let short = load(&[("identity", "assertion"), ("assertion-lifetime", "2s")]).unwrap();
    assert_eq!(short.identity.assertion, Some(Duration::from_secs(2)));
}
