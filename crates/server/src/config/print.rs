//! The settings for people: what counts in this run, and the reference in the manual.

use toml::Value;
use url::Url;

use super::{
    Given, Storage, check,
    client_settings::{self, ClientTable},
    given::{Entry, Raw},
    setting::{CONFIG, Fallback, Group, Kind, Name, SETTINGS, STORAGE, Setting},
};

/// What stands for a part of a value that is nobody's business.
const REDACTED: &str = "redacted";

/// The value of every setting and where it comes from, as TOML without secrets.
pub(crate) fn effective(given: &Given) -> String {
    let settings = SETTINGS.iter().map(|setting| line(setting, given.get(setting)));
    settings.chain(given.client_tables.iter().map(ClientTable::print)).collect()
}

fn line(setting: &Setting, entry: Option<&Entry>) -> String {
    let name = setting.own_name().toml();
    let Some(entry) = entry else {
        return match setting.fallback {
            Fallback::Required => format!("# {name}: missing\n"),
            Fallback::Is(_) => format!("{name} = {}  # default\n", value(setting, None)),
            Fallback::Means(meaning) if setting.name == STORAGE.name => match Storage::platform() {
                Ok(storage) => format!("{name} = {:?}  # default\n", storage.to_string()),
                Err(_) => format!("# {name}: {meaning}\n"),
            },
            Fallback::Means(meaning) => format!("# {name}: {meaning}\n"),
        };
    };
    if setting.is_secret() && entry.name == setting.own_name() {
        return format!("# {name}: {REDACTED}  # {}\n", entry.origin);
    }
    format!("{} = {}  # {}\n", entry.name.toml(), value(setting, Some(entry)), entry.origin)
}

/// The value in TOML; what cannot be understood is shown as it was written.
fn value(setting: &Setting, entry: Option<&Entry>) -> Value {
    let written = || -> Vec<String> {
        match (entry.map(|entry| &entry.value), setting.fallback) {
            (Some(Raw::Texts(texts) | Raw::Items(texts)), _) => {
                texts.iter().map(|text| text.to_string()).collect()
            }
            (None, Fallback::Is(value)) => vec![value.to_owned()],
            (None, _) => Vec::new(),
        }
    };
    match setting.kind {
        Kind::List | Kind::Phrases | Kind::Items => {
            let items = check::items(setting, entry).unwrap_or_else(|_| written());
            Value::Array(items.into_iter().map(Value::String).collect())
        }
        Kind::Switch | Kind::Text | Kind::Secret { .. } => {
            let text = written().pop().unwrap_or_default();
            match text.parse() {
                Ok(switch) if setting.kind == Kind::Switch => Value::Boolean(switch),
                _ => Value::String(without_password(&text)),
            }
        }
    }
}

/// A URL may hold a password even where none is allowed, and in its query as well.
fn without_password(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else {
        // What looks like a password in a broken URL is one.
        return if text.contains('@') { REDACTED.to_owned() } else { text.to_owned() };
    };
    let user = !url.username().is_empty() || url.password().is_some();
    if !user && url.query().is_none() {
        return text.to_owned();
    }
    if url.query().is_some() {
        url.set_query(Some(REDACTED));
    }
    let replaced = !user || (url.set_username(REDACTED).is_ok() && url.set_password(None).is_ok());
    if replaced { url.into() } else { REDACTED.to_owned() }
}

/// The reference for the manual, in Markdown.
pub(crate) fn reference() -> String {
    Group::ALL.into_iter().map(table).chain([client_settings::reference()]).collect()
}

fn table(group: Group) -> String {
    let settings = SETTINGS.iter().chain([&CONFIG]).filter(|setting| setting.group == group);
    let rows: String = settings.map(row).collect();
    format!(
        "### {}\n\n\
         | flag | environment | TOML | default | what it is |\n\
         | --- | --- | --- | --- | --- |\n\
         {rows}\n",
        group.heading()
    )
}

fn row(setting: &Setting) -> String {
    let spelled = |spell: fn(Name) -> String| {
        let names: Vec<_> = setting.names().map(|name| format!("`{}`", spell(name))).collect();
        names.join(", ")
    };
    let toml = if setting.name == CONFIG.name { "–".to_owned() } else { spelled(Name::toml) };
    let default = match setting.fallback {
        Fallback::Required => "required".to_owned(),
        Fallback::Is(value) => format!("`{value}`"),
        Fallback::Means(meaning) => meaning.to_owned(),
    };
    let (flag, environment) = (spelled(Name::flag), spelled(Name::environment));
    format!("| {flag} | {environment} | {toml} | {default} | {} |\n", setting.help)
}
