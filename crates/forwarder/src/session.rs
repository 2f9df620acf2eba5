//! Sealing of `Mcp-Session-Id`, so that a session belongs to one subject, client and resource.

use std::{fmt, sync::Arc};

use http::{Extensions, HeaderName};

/// The session header of MCP's streamable HTTP transport (up to revision 2025-11-25).
pub(crate) const MCP_SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// Translates `Mcp-Session-Id` between what the backend says and what the client sees.
///
/// Both functions get the request's extensions, which is where the guard left the principal; they
/// are called on the request path and must not block.
#[derive(Clone)]
pub struct SessionSeal {
    /// The backend's id to the client's. The outcome must be visible ASCII.
    #[expect(clippy::type_complexity, reason = "a name would hide the signature to implement")]
    pub seal: Arc<dyn Fn(&Extensions, &str) -> String + Send + Sync>,
    /// The client's id to the backend's. `None`: no such session for this principal, answered with
    /// 404, upon which an MCP client starts a new session.
    #[expect(clippy::type_complexity, reason = "a name would hide the signature to implement")]
    pub open: Arc<dyn Fn(&Extensions, &str) -> Option<String> + Send + Sync>,
}

impl SessionSeal {
    /// Puts the two directions together.
    pub fn new(
        seal: impl Fn(&Extensions, &str) -> String + Send + Sync + 'static,
        open: impl Fn(&Extensions, &str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { seal: Arc::new(seal), open: Arc::new(open) }
    }
}

impl fmt::Debug for SessionSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionSeal").finish_non_exhaustive()
    }
}
