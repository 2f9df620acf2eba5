//! What stands in front of the proxy, with the files that we ship, on a port of its own.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, ensure};
use test_servers::program;
use tokio::process::{Child, Command};

/// A running web server. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Front {
    child: Child,
    /// Where its access log is.
    log: PathBuf,
    /// What it says otherwise.
    output: PathBuf,
}

impl Front {
    /// nginx on `port` of loopback without TLS, in front of `to`; its files are in `place`.
    pub(crate) fn nginx(port: u16, to: SocketAddr, place: &Path) -> anyhow::Result<Self> {
        let site = edited(
            &shipped("nginx.conf")?,
            &[
                ("server 127.0.0.1:8000;", &format!("server {to};")),
                // Nobody asks for the redirect to https here.
                ("listen 80;", &format!("listen unix:{}/redirect;", place.display())),
                ("listen [::]:80;", ""),
                ("listen 443 ssl http2;", &format!("listen 127.0.0.1:{port};")),
                ("listen [::]:443 ssl http2;", ""),
                ("ssl_certificate /etc/ssl/mcp.example.com/fullchain.pem;", ""),
                ("ssl_certificate_key /etc/ssl/mcp.example.com/privkey.pem;", ""),
                ("/var/log/nginx", &place.display().to_string()),
            ],
        )?;
        let main = nginx_main(place, &site)?;
        // One process: nothing stays behind when it is killed.
        let mut command = Command::new(program::find("nginx", "TEST_NGINX")?);
        command.args(["-g", "daemon off; master_process off;", "-e", "stderr", "-c"]).arg(main);
        Self::start(command, place, place.join("oidc-proxy.log"))
    }

    /// Caddy, likewise.
    pub(crate) fn caddy(port: u16, to: SocketAddr, place: &Path) -> anyhow::Result<Self> {
        let site = edited(
            &shipped("Caddyfile")?,
            &[
                // No second port for its administration, no certificates.
                ("\tservers {", "\tadmin off\n\tauto_https off\n\tservers {"),
                ("mcp.example.com {", &format!("http://127.0.0.1:{port} {{")),
                ("127.0.0.1:8000", &to.to_string()),
            ],
        )?;
        let file = place.join("Caddyfile");
        fs::write(&file, site)?;
        let mut command = caddy(place)?;
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
        Self::start(command, place, place.join("output"))
    }

    fn start(mut command: Command, place: &Path, log: PathBuf) -> anyhow::Result<Self> {
        let output = place.join("output");
        let file = fs::File::create(&output)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the web server")?;
        Ok(Self { child, log, output })
    }

    /// Its access log.
    pub(crate) fn log(&self) -> anyhow::Result<String> {
        fs::read_to_string(&self.log).context("no access log")
    }

    /// Whether it ended by itself.
    pub(crate) fn is_over(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// What it said of its start and its end.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }
}

/// `nginx -t` on the file, its addresses and its TLS included.
pub(crate) fn check_nginx() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let certificates = root().join("crates/forwarder/tests/it/tls");
    let certificate = |name: &str| format!("{};", certificates.join(name).display());
    let site = edited(
        &shipped("nginx.conf")?,
        &[
            ("/etc/ssl/mcp.example.com/fullchain.pem;", &certificate("backend.pem")),
            ("/etc/ssl/mcp.example.com/privkey.pem;", &certificate("backend.key")),
            ("/var/log/nginx", &place.path().display().to_string()),
        ],
    )?;
    let main = nginx_main(place.path(), &site)?;
    let mut command = std::process::Command::new(program::find("nginx", "TEST_NGINX")?);
    accepts(command.args(["-e", "stderr", "-t", "-c"]).arg(main))
}

/// `caddy validate` on the file.
pub(crate) fn check_caddy() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let mut command = caddy(place.path())?.into_std();
    let file = root().join("deploy/Caddyfile");
    accepts(command.args(["validate", "--adapter", "caddyfile", "--config"]).arg(file))
}

/// Ends well.
pub(crate) fn accepts(command: &mut std::process::Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} said\n{said}");
    Ok(())
}

/// Caddy with a home of its own.
fn caddy(home: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(program::find("caddy", "TEST_CADDY")?);
    for variable in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
        command.env(variable, home);
    }
    Ok(command)
}

/// The main file, which includes `site`; all that nginx writes is in `place`.
fn nginx_main(place: &Path, site: &str) -> anyhow::Result<PathBuf> {
    let here = place.display();
    let mut temporary = String::new();
    for what in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(temporary, "{what}_temp_path {here}/{what};");
    }
    let main = format!(
        "pid {here}/pid;\nevents {{}}\nhttp {{\n{temporary}include {here}/site.conf;\n}}\n"
    );
    fs::write(place.join("site.conf"), site)?;
    let file = place.join("main.conf");
    fs::write(&file, main)?;
    Ok(file)
}

/// `text` with the first of each pair replaced by the second; each must be there.
pub(crate) fn edited(text: &str, edits: &[(&str, &str)]) -> anyhow::Result<String> {
    let mut text = text.to_owned();
    for (from, to) in edits {
        ensure!(text.contains(from), "`{from}` is not in the file any more");
        text = text.replace(from, to);
    }
    Ok(text)
}

/// A file of `deploy/`.
pub(crate) fn shipped(name: &str) -> anyhow::Result<String> {
    let file = root().join("deploy").join(name);
    fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))
}

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
