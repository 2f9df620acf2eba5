//! `oidc-proxy sessions` and `oidc-proxy clients`: through a running server, or without one.

mod offline;
mod remote;

use std::io::{self, Write};

use anyhow::{Context, bail};
use serde_json::Value;

use self::{offline::Offline, remote::Remote};
use crate::{
    cli::{ClientsCommand, Paging, Place, SessionsCommand, Whose},
    config::{AdminPlace, Config, Sources},
    date,
};

/// Entries that are fetched at once.
const PAGE: usize = 500;

/// What is listed.
#[derive(Clone, Debug)]
enum List {
    Sessions(Option<Target>),
    Clients,
}

/// Whose sessions.
#[derive(Clone, Debug)]
enum Target {
    User { issuer: Option<String>, subject: String },
    Client(String),
    All,
}

/// What ends.
#[derive(Clone, Debug)]
enum End {
    Sessions(Target),
    Session(String),
    Client(String),
}

/// Some entries, and where to go on.
struct Page {
    entries: Vec<Value>,
    next: Option<String>,
}

enum Administration {
    Remote(Box<Remote>),
    Offline(Box<Offline>),
}

impl Administration {
    async fn open(offline: bool, url: Option<String>, sources: &Sources) -> anyhow::Result<Self> {
        if offline {
            let config = Config::load(sources)?;
            return Ok(Self::Offline(Box::new(Offline::open(config).await?)));
        }
        let place = AdminPlace::find(sources)?;
        let Some(url) = url.or(place.url) else {
            bail!(
                "where is the server? give --admin-url, its settings (--config, --admin-listen), \
                 or --offline if it does not run"
            );
        };
        let Some(token) = place.token else {
            bail!("give --admin-token-file: this storage has no place for the token beside it");
        };
        Ok(Self::Remote(Box::new(Remote::new(&url, &token)?)))
    }

    async fn list(&self, list: &List, cursor: Option<&str>, limit: usize) -> anyhow::Result<Page> {
        match self {
            Self::Remote(remote) => remote.list(list, cursor, limit).await,
            Self::Offline(offline) => offline.list(list, cursor, limit).await,
        }
    }

    /// How many sessions ended; `None` if there was nothing of that id.
    async fn end(&self, what: &End) -> anyhow::Result<Option<u64>> {
        match self {
            Self::Remote(remote) => remote.end(what).await,
            Self::Offline(offline) => offline.end(what).await,
        }
    }

    async fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Remote(_) => Ok(()),
            Self::Offline(offline) => offline.close().await,
        }
    }
}

/// `oidc-proxy sessions …`
pub(crate) async fn sessions(command: SessionsCommand, sources: &Sources) -> anyhow::Result<()> {
    match command {
        SessionsCommand::List { whose, paging, place } => {
            Box::pin(print_list(&List::Sessions(target(whose)), paging, place, sources)).await
        }
        SessionsCommand::Revoke { whose, all, id, place } => {
            let what = match (target(whose), id) {
                (Some(target), _) => End::Sessions(target),
                (None, Some(id)) => End::Session(id),
                (None, None) if all => End::Sessions(Target::All),
                (None, None) => bail!("say whose sessions end"),
            };
            Box::pin(end(&what, place, sources)).await
        }
    }
}

/// `oidc-proxy clients …`
pub(crate) async fn clients(command: ClientsCommand, sources: &Sources) -> anyhow::Result<()> {
    match command {
        ClientsCommand::List { paging, place } => {
            Box::pin(print_list(&List::Clients, paging, place, sources)).await
        }
        ClientsCommand::Delete { id, place } => {
            Box::pin(end(&End::Client(id), place, sources)).await
        }
    }
}

fn target(whose: Whose) -> Option<Target> {
    let Whose { user, issuer, client } = whose;
    let user = user.map(|subject| Target::User { issuer, subject });
    user.or(client.map(Target::Client))
}

/// Page after page, printed as it comes: a hundred thousand need no more memory than a page.
async fn print_list(
    list: &List,
    paging: Paging,
    place: Place,
    sources: &Sources,
) -> anyhow::Result<()> {
    let administration = Administration::open(place.offline, place.admin_url, sources).await?;
    let mut left = paging.limit.unwrap_or(usize::MAX);
    let mut cursor = paging.cursor;
    let mut out = io::stdout();
    loop {
        let page = administration.list(list, cursor.as_deref(), left.min(PAGE)).await?;
        left = left.saturating_sub(page.entries.len());
        let lines: String = page
            .entries
            .iter()
            .map(|entry| if place.json { format!("{entry}\n") } else { described(list, entry) })
            .collect();
        out.write_all(lines.as_bytes()).and_then(|()| out.flush()).context("could not print")?;
        cursor = page.next;
        if cursor.is_none() || left == 0 {
            break;
        }
    }
    if let Some(cursor) = cursor {
        writeln!(io::stderr(), "There are more: --cursor {cursor}").context("could not print")?;
    }
    administration.close().await
}

async fn end(what: &End, place: Place, sources: &Sources) -> anyhow::Result<()> {
    let administration = Administration::open(place.offline, place.admin_url, sources).await?;
    let ended = administration.end(what).await;
    administration.close().await?;
    let text = match (ended?, what, place.json) {
        (None, End::Client(id), _) => bail!("there is no client {id}"),
        (None, ..) => bail!("there is no such session"),
        (Some(count), _, true) => format!("{{\"revoked\":{count}}}\n"),
        (Some(count), End::Client(id), false) => {
            format!("Deleted the client {id}; {} ended.\n", counted(count))
        }
        (Some(count), _, false) => format!("{} ended.\n", counted(count)),
    };
    io::stdout().write_all(text.as_bytes()).context("could not print")
}

fn counted(sessions: u64) -> String {
    if sessions == 1 { "1 session".to_owned() } else { format!("{sessions} sessions") }
}

/// An entry in a few lines for people.
fn described(list: &List, entry: &Value) -> String {
    let text = |name: &str| clean(entry[name].as_str().unwrap_or_default());
    let day =
        |name: &str| entry[name].as_u64().map_or_else(|| "never".to_owned(), date::to_the_second);
    match list {
        List::Sessions(_) => {
            let email = entry["email"].as_str().map(|email| format!(" <{}>", clean(email)));
            let name = entry["client_name"].as_str().map(|name| format!(" ({})", clean(name)));
            format!(
                "{}  {}\n  user    {}{} at {}\n  client  {}{}\n  since   {}, used {}, until {}\n",
                text("id"),
                text("state"),
                text("subject"),
                email.unwrap_or_default(),
                text("issuer"),
                text("client_id"),
                name.unwrap_or_default(),
                day("created_at"),
                day("used_at"),
                day("ends_at"),
            )
        }
        List::Clients => {
            let uris = entry["redirect_uris"].as_array().into_iter().flatten();
            let uris: Vec<_> = uris.filter_map(Value::as_str).map(clean).collect();
            format!(
                "{}  {}\n  redirects   {}\n  registered  {}, used {}\n",
                text("id"),
                text("name"),
                uris.join(" "),
                day("registered_at"),
                day("used_at"),
            )
        }
    }
}

/// A stranger's text must not move the cursor of a terminal, or begin a line of its own.
fn clean(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            // Bidirectional controls hide as well as they move.
            let odd = character.is_control()
                || matches!(character, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            let escaped = odd.then(|| character.escape_unicode());
            let plain = (!odd).then_some(character);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_strangers_name_stays_in_its_line() {
        let entry = json!({
            "id": "mcp_1", "name": "Evil\n\u{1b}[2J\u{202e}", "redirect_uris": ["http://localhost/cb"],
            "registered_at": 0,
        });
        let text = described(&List::Clients, &entry);
        assert_eq!(
            text,
            "mcp_1  Evil\\u{a}\\u{1b}[2J\\u{202e}\n  redirects   http://localhost/cb\n  \
             registered  1970-01-01T00:00:00Z, used never\n"
        );
    }
}
