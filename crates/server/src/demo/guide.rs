//! What `demo` prints when everything runs.

use std::{fmt, path::PathBuf};

/// What runs where, and how to connect to it.
#[derive(Debug)]
pub(super) struct Guide {
    pub(super) mcp_endpoint: String,
    pub(super) provider: String,
    pub(super) backend: String,
    /// Names and passwords.
    pub(super) users: Vec<(String, String)>,
    pub(super) keep: Option<PathBuf>,
}

impl fmt::Display for Guide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mcp_endpoint, provider, backend, users, keep } = self;
        let users: Vec<_> = users.iter().map(|(name, word)| format!("{name} / {word}")).collect();
        let users = users.join(", ");
        let state = match keep {
            Some(directory) => format!("kept in {}", directory.display()),
            None => "forgotten at exit (keep it with --keep DIR)".to_owned(),
        };
        write!(
            f,
            "\
oidc-proxy demo, on this machine only

  MCP endpoint   {mcp_endpoint}
  provider       {provider}
  MCP server     {backend} (unprotected, behind the proxy)
  users          {users}
  state          {state}

Connect to it
  Claude Code    claude mcp add --transport http demo {mcp_endpoint}
                 then /mcp inside Claude Code, to log in
  VS Code        code --add-mcp '{{\"name\":\"demo\",\"type\":\"http\",\"url\":\"{mcp_endpoint}\"}}'
  MCP Inspector  npx @modelcontextprotocol/inspector
                 then Streamable HTTP with {mcp_endpoint}
  curl           curl -i {mcp_endpoint}
                 shows the 401 that sends a client to the login

Ready. Ctrl-C stops it.
"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guide(keep: Option<PathBuf>) -> String {
        let guide = Guide {
            mcp_endpoint: "http://localhost:8000/mcp".to_owned(),
            provider: "http://localhost:9000".to_owned(),
            backend: "http://localhost:9001/mcp".to_owned(),
            users: vec![("alice".to_owned(), "wonderland".to_owned())],
            keep,
        };
        guide.to_string()
    }

    #[test]
    fn everything_needed_is_there() {
        let text = guide(None);
        for needed in [
            "claude mcp add --transport http demo http://localhost:8000/mcp",
            r#"code --add-mcp '{"name":"demo","type":"http","url":"http://localhost:8000/mcp"}'"#,
            "npx @modelcontextprotocol/inspector",
            "curl -i http://localhost:8000/mcp",
            "http://localhost:9000",
            "http://localhost:9001/mcp",
            "alice / wonderland",
            "--keep DIR",
        ] {
            assert!(text.contains(needed), "{needed}");
        }
        assert!(text.ends_with("\nReady. Ctrl-C stops it.\n"));
        assert!(guide(Some("/tmp/demo".into())).contains("kept in /tmp/demo"));
    }

    #[test]
    fn only_a_command_to_copy_is_wider_than_80_columns() {
        for line in guide(None).lines().filter(|line| !line.contains("code --add-mcp")) {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
