//! What holds for some clients: an array of tables in the file, for which there is neither a flag
//! nor a variable.

use std::{fmt::Write, path::Path, time::Duration};

use oidc_proxy::{ClientSettings, Lifetimes};
use toml::{Table, Value};

use super::{Problems, setting};
use crate::cli::duration;

/// What the array is called.
pub(super) const KEY: &str = "client_settings";

/// A key of a table.
struct Key {
    name: &'static str,
    /// An example of its value.
    value: &'static str,
    help: &'static str,
}

const CLIENT_ID: &str = "client_id";
const REDIRECT_HOST: &str = "redirect_host";
const CONFIDENTIAL: &str = "confidential";
const REFRESH_GRACE: &str = "refresh_grace";
const REFRESH_ABSOLUTE_LIFETIME: &str = "refresh_absolute_lifetime";
const WITHOUT_ROTATION: &str = "without_rotation";
const DANGER_PUBLIC_WITHOUT_ROTATION: &str = "danger_public_without_rotation";

const KEYS: [Key; 7] = [
    Key {
        name: CLIENT_ID, value: "\"mcp_…\"", help: "whose settings: of the client with this id"
    },
    Key {
        name: REDIRECT_HOST,
        value: "\"app.example.com\"",
        help: "whose settings: of sessions that began at an https redirect URI on this host",
    },
    Key {
        name: CONFIDENTIAL,
        value: "true",
        help: "whose settings: of all clients with a secret or a key",
    },
    Key { name: REFRESH_GRACE, value: "\"30m\"", help: "as `refresh_grace` for all, but up to 1h" },
    Key {
        name: REFRESH_ABSOLUTE_LIFETIME,
        value: "\"30d\"",
        help: "as `refresh_absolute_lifetime` for all, and no longer than that",
    },
    Key {
        name: WITHOUT_ROTATION,
        value: "true",
        help: "a client with a secret or a key keeps its refresh token",
    },
    Key {
        name: DANGER_PUBLIC_WITHOUT_ROTATION,
        value: "true",
        help: "a client without one keeps it too: whoever steals it is not noticed; its sessions \
               must end within 30d",
    },
];

/// One table with known keys only, as it was written.
#[derive(Debug)]
pub(crate) struct ClientTable {
    values: Table,
    /// The file.
    origin: String,
    /// Which table of it, from 1.
    number: usize,
}

/// The tables of a file; what is none is a problem.
pub(super) fn tables(value: Value, path: &Path, problems: &mut Problems) -> Vec<ClientTable> {
    let shown = path.display();
    let Value::Array(items) = value else {
        problems
            .add(format!("{KEY:?} in {shown} is no array of tables; each begins with [[{KEY}]]"));
        return Vec::new();
    };
    let mut tables = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let number = index + 1;
        let Value::Table(values) = item else {
            problems.add(format!("item {number} of {KEY:?} in {shown} is no table"));
            continue;
        };
        let mut table = ClientTable { values, origin: shown.to_string(), number };
        let place = table.place();
        table.values.retain(|name, _| {
            let is_known = KEYS.iter().any(|key| key.name == name);
            if !is_known {
                let known = KEYS.iter().map(|key| key.name.to_owned());
                let nearest = setting::nearest(name, known).unwrap_or_default();
                problems.add(format!("{place}: {name:?} is no key; did you mean {nearest}?"));
            }
            is_known
        });
        tables.push(table);
    }
    tables
}

/// Everything that holds for some clients; `accepts` says what is wrong with settings beside those
/// before them.
pub(super) fn read(
    tables: &[ClientTable],
    problems: &mut Problems,
    accepts: impl Fn(&[ClientSettings]) -> Result<(), String>,
) -> Vec<ClientSettings> {
    let mut known = Vec::new();
    for table in tables {
        match table.settings() {
            Ok(settings) => {
                known.push(settings);
                if let Err(why) = accepts(&known) {
                    problems.add(format!("{}: {why}", table.place()));
                    known.pop();
                }
            }
            Err(why) => problems.add(format!("{}: {why}", table.place())),
        }
    }
    known
}

impl ClientTable {
    fn settings(&self) -> Result<ClientSettings, String> {
        let whose = (self.text(CLIENT_ID)?, self.text(REDIRECT_HOST)?, self.switch(CONFIDENTIAL)?);
        let mut settings = match whose {
            (Some(id), None, false) => ClientSettings::of_client(id),
            (None, Some(host), false) => ClientSettings::of_redirect_host(host),
            (None, None, true) => ClientSettings::of_confidential_clients(),
            _ => {
                return Err(format!(
                    "it must say whose settings these are by one of {CLIENT_ID}, {REDIRECT_HOST} \
                     and {CONFIDENTIAL}"
                ));
            }
        };
        if let Some(grace) = self.time(REFRESH_GRACE)? {
            settings = settings.refresh_grace(grace);
        }
        if let Some(absolute) = self.time(REFRESH_ABSOLUTE_LIFETIME)? {
            settings = settings.refresh_absolute(absolute);
        }
        if self.switch(WITHOUT_ROTATION)? {
            settings = settings.without_rotation();
        }
        if self.switch(DANGER_PUBLIC_WITHOUT_ROTATION)? {
            settings = settings.danger_public_without_rotation();
        }
        Ok(settings)
    }

    fn text(&self, name: &str) -> Result<Option<&str>, String> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("{name} is not a text")),
        }
    }

    fn switch(&self, name: &str) -> Result<bool, String> {
        match self.values.get(name) {
            None => Ok(false),
            Some(Value::Boolean(value)) => Ok(*value),
            Some(_) => Err(format!("{name} is neither true nor false")),
        }
    }

    fn time(&self, name: &str) -> Result<Option<Duration>, String> {
        let text = self.text(name)?;
        let parse = |text| duration::parse(text).map_err(|why| format!("{name}: {text:?}: {why}"));
        text.map(parse).transpose()
    }

    fn place(&self) -> String {
        format!("[[{KEY}]] {} in {}", self.number, self.origin)
    }

    /// As TOML.
    pub(super) fn print(&self) -> String {
        format!("\n[[{KEY}]]  # {}\n{}", self.origin, self.values)
    }
}

/// The lifetimes that settings of some clients are measured by: all that is wrong with the others
/// is said elsewhere.
pub(super) fn measure(lifetimes: &Lifetimes) -> Lifetimes {
    let mut measure = Lifetimes::default();
    measure.refresh_absolute = lifetimes.refresh_absolute;
    measure
}

/// The part of the reference, in Markdown.
pub(super) fn reference() -> String {
    let mut text = format!(
        "### Some clients\n\n\
         Tables of the TOML file, `[[{KEY}]]`, each with one of the first three keys; no flag and \
         no variable gives them.\n\n\
         | TOML | what it is |\n\
         | --- | --- |\n"
    );
    for Key { name, value, help } in KEYS {
        // Writing to a text does not fail.
        let _ = writeln!(text, "| `{name} = {value}` | {help} |");
    }
    text.push('\n');
    text
}
