//! What was given, and by whom: nothing is interpreted here but the spelling of names.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt, fs,
    path::{Path, PathBuf},
};

use toml::{Table, Value};
use zeroize::Zeroizing;

use super::{
    client_settings::{self, ClientTable},
    problem::Problems,
    setting::{self, CONFIG, ENVIRONMENT_PREFIX, Name, SETTINGS, Setting},
};

/// Where settings come from.
#[derive(Default)]
pub(crate) struct Sources {
    /// The flags by name, each with its values in order.
    pub(crate) flags: BTreeMap<&'static str, Vec<Zeroizing<String>>>,
    /// All environment variables; those of others are left alone.
    pub(crate) environment: Vec<(OsString, OsString)>,
}

/// Values may be secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("flags", &self.flags.keys()).finish_non_exhaustive()
    }
}

/// The values that count, by the name of their setting.
pub(crate) struct Given {
    entries: BTreeMap<&'static str, Entry>,
    /// What a file says about some clients.
    pub(super) client_tables: Vec<ClientTable>,
    /// Whether every source could be read: what is missing may be in one that could not.
    pub(super) is_complete: bool,
}

/// A value that was given.
pub(crate) struct Entry {
    /// The name that was used: of a secret, or of the file that holds it.
    pub(crate) name: Name,
    pub(crate) value: Raw,
    pub(crate) origin: Origin,
}

/// A value as it was written.
pub(crate) enum Raw {
    /// Texts, which may be lists themselves.
    Texts(Vec<Zeroizing<String>>),
    /// The items of a TOML array, each as it is.
    Items(Vec<Zeroizing<String>>),
}

/// Who gave a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag,
    Environment,
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment => f.write_str("environment"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The values of one source, by name.
struct Layer {
    values: BTreeMap<&'static str, Raw>,
    origin: Origin,
}

impl Given {
    /// Reads all sources; of each setting the value of the first source counts that has one.
    pub(crate) fn collect(sources: &Sources) -> (Self, Problems) {
        let mut problems = Problems::none();
        let flags = sources.flags.iter().map(|(name, values)| (*name, Raw::Texts(values.clone())));
        let flags = Layer { values: flags.collect(), origin: Origin::Flag };
        let environment = environment(&sources.environment, &mut problems);
        let mut layers = vec![flags, environment];
        let mut is_complete = true;
        let mut client_tables = Vec::new();
        if let Some(path) = config_file(&layers) {
            match file(&path, &mut problems) {
                Some((layer, tables)) => {
                    layers.push(layer);
                    client_tables = tables;
                }
                None => is_complete = false,
            }
        }

        let mut entries = BTreeMap::new();
        for setting in SETTINGS {
            if let Some(entry) = first(setting, &mut layers, &mut problems) {
                entries.insert(setting.name, entry);
            }
        }
        (Self { entries, client_tables, is_complete }, problems)
    }

    /// What was given for a setting.
    pub(crate) fn get(&self, setting: &Setting) -> Option<&Entry> {
        self.entries.get(setting.name)
    }
}

fn first(setting: &Setting, layers: &mut [Layer], problems: &mut Problems) -> Option<Entry> {
    for layer in layers {
        let mut found = setting.names().filter_map(|name| {
            let value = layer.values.remove(name.0)?;
            Some(Entry { name, value, origin: layer.origin.clone() })
        });
        let Some(entry) = found.next() else { continue };
        if let Some(other) = found.next() {
            problems.add(format!(
                "{} and {} are both given ({}); one of them is enough",
                entry.name, other.name, entry.origin
            ));
        }
        return Some(entry);
    }
    None
}

fn config_file(layers: &[Layer]) -> Option<PathBuf> {
    layers.iter().find_map(|layer| match layer.values.get(CONFIG.name)? {
        Raw::Texts(texts) => texts.last().map(|path| PathBuf::from(path.as_str())),
        Raw::Items(_) => None,
    })
}

/// An empty variable counts as absent: container tools cannot always leave one out.
fn environment(variables: &[(OsString, OsString)], problems: &mut Problems) -> Layer {
    let mut values = BTreeMap::new();
    let known = || [CONFIG.own_name()].into_iter().chain(Name::all());
    for (variable, value) in variables {
        let variable = variable.to_string_lossy();
        let Some(rest) = variable.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
        if is_service_link(rest, &value.to_string_lossy()) {
            continue;
        }
        let Some(name) = known().find(|name| name.environment() == variable) else {
            if rest == client_settings::KEY.to_ascii_uppercase() {
                problems.add(format!(
                    "the environment variable {variable} is no setting: {} are tables of the file \
                     with settings",
                    client_settings::KEY
                ));
                continue;
            }
            let nearest = setting::nearest(&variable, known().map(Name::environment));
            let nearest = nearest.unwrap_or_default();
            problems.add(format!(
                "the environment variable {variable} is no setting; did you mean {nearest}?"
            ));
            continue;
        };
        match value.to_str() {
            Some("") => {}
            Some(value) => {
                values.insert(name.0, Raw::Texts(vec![value.to_owned().into()]));
            }
            None => problems.wrong(name, "its value in the environment is not UTF-8"),
        }
    }
    Layer { values, origin: Origin::Environment }
}

/// What Kubernetes puts into every container beside a service named `oidc-proxy`.
fn is_service_link(rest: &str, value: &str) -> bool {
    let port = rest.strip_prefix("PORT_").is_some_and(|number| {
        number.split('_').next().is_some_and(|number| number.parse::<u16>().is_ok())
    });
    rest == "SERVICE_HOST"
        || rest == "SERVICE_PORT"
        || rest.starts_with("SERVICE_PORT_")
        || port
        || (rest == "PORT" && value.contains("://"))
}

fn file(path: &Path, problems: &mut Problems) -> Option<(Layer, Vec<ClientTable>)> {
    let shown = path.display();
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) => {
            problems.wrong(CONFIG.own_name(), format!("{shown} could not be read: {error}"));
            return None;
        }
    };
    let table: Table = match toml::from_str(&text) {
        Ok(table) => table,
        Err(error) => {
            // The error's own display repeats the line, which may hold a secret.
            let start = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
            let why = error.message().lines().collect::<Vec<_>>().join(", ");
            let name = CONFIG.own_name();
            problems.wrong(name, format!("line {line} of {shown} is not TOML: {why}"));
            return None;
        }
    };
    let mut values = BTreeMap::new();
    let mut client_tables = Vec::new();
    for (key, value) in table {
        if key == client_settings::KEY {
            client_tables = client_settings::tables(value, path, problems);
            continue;
        }
        let Some(name) = Name::all().find(|name| name.toml() == key) else {
            let known = Name::all().map(Name::toml).chain([client_settings::KEY.to_owned()]);
            let nearest = setting::nearest(&key, known).unwrap_or_default();
            problems.add(format!("{key:?} in {shown} is no setting; did you mean {nearest}?"));
            continue;
        };
        match raw(value) {
            Ok(raw) => {
                values.insert(name.0, raw);
            }
            Err(kind) => problems.wrong(
                name,
                format!("it is {kind} in {shown}, not a text, true, false or an array of texts"),
            ),
        }
    }
    Some((Layer { values, origin: Origin::File(path.to_owned()) }, client_tables))
}

/// The texts in a TOML value, or what it is instead.
fn raw(value: Value) -> Result<Raw, &'static str> {
    match value {
        Value::String(text) => Ok(Raw::Texts(vec![text.into()])),
        Value::Boolean(value) => Ok(Raw::Texts(vec![value.to_string().into()])),
        Value::Array(items) => {
            let texts = items.into_iter().map(|item| match item {
                Value::String(text) => Ok(Zeroizing::new(text)),
                _ => Err("an array of other things than texts"),
            });
            texts.collect::<Result<_, _>>().map(Raw::Items)
        }
        Value::Table(_) => Err("a table"),
        Value::Integer(_) | Value::Float(_) => Err("a number"),
        Value::Datetime(_) => Err("a date"),
    }
}
