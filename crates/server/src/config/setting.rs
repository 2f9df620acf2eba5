//! The table of settings.

use std::fmt;

use self::{
    Fallback::{Is, Means, Required},
    Kind::{Items, List, Phrases, Secret, Switch, Text},
};

/// What every environment variable of ours begins with.
pub(crate) const ENVIRONMENT_PREFIX: &str = "OIDC_PROXY_";

/// One setting: everything else about it follows from this.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The flag without its dashes; the other names are spelled after it.
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    /// What stands for the value in the help.
    pub(crate) value: &'static str,
    /// What it is, as a noun phrase of one line.
    pub(crate) help: &'static str,
    pub(crate) kind: Kind,
    pub(crate) fallback: Fallback,
}

/// What the value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One text.
    Text,
    /// Texts, separated by spaces or commas, or a TOML or JSON array.
    List,
    /// Texts in which spaces may occur, separated by commas, or a TOML or JSON array.
    Phrases,
    /// Whole texts, never taken apart: what decides who may log in must not be two things where one
    /// was meant. Several are a flag given again, or a TOML or JSON array.
    Items,
    /// True or false.
    Switch,
    /// A text that is never shown; it can be read from the file that this second name gives.
    Secret {
        /// The name of the setting for the file.
        file: &'static str,
    },
}

/// What holds if nothing is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// Nothing does: it must be given.
    Required,
    /// This value.
    Is(&'static str),
    /// No value, which means this.
    Means(&'static str),
}

/// Under which heading the help shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Provider,
    Clients,
    Access,
    Backend,
    Keeping,
    Operation,
    Lifetimes,
}

impl Group {
    /// All, in the order of the table.
    pub(crate) const ALL: [Self; 7] = [
        Self::Provider,
        Self::Clients,
        Self::Access,
        Self::Backend,
        Self::Keeping,
        Self::Operation,
        Self::Lifetimes,
    ];

    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::Provider => "The provider",
            Self::Clients => "Towards clients",
            Self::Access => "Who may log in",
            Self::Backend => "The MCP server behind",
            Self::Keeping => "Storage and keys",
            Self::Operation => "Operation",
            Self::Lifetimes => "Lifetimes",
        }
    }
}

/// The file with settings; it cannot be named in itself.
pub(crate) const CONFIG: Setting = Setting {
    name: "config",
    group: Group::Operation,
    value: "FILE",
    help: "TOML file with settings; flags and the environment win over it",
    kind: Text,
    fallback: Means("no file"),
};

macro_rules! settings {
    ($($constant:ident = $name:literal, $group:ident, $kind:expr, $value:literal, $default:expr,
        $help:literal;)*) => {
        $(
            pub(crate) const $constant: Setting = Setting {
                name: $name,
                group: Group::$group,
                value: $value,
                help: $help,
                kind: $kind,
                fallback: $default,
            };
        )*

        /// Every setting that a file may hold, in the order in which people read them.
        pub(crate) static SETTINGS: &[Setting] = &[$($constant),*];
    };
}

settings! {
    CONFIG_URL = "config-url", Provider, Text, "URL", Required,
        "the provider's discovery URL, or its issuer";
    CLIENT_ID = "client-id", Provider, Text, "ID", Required,
        "the id of your application at the provider";
    CLIENT_SECRET = "client-secret", Provider, Secret { file: "client-secret-file" }, "SECRET",
        Means("a public client"), "its secret";
    TOKEN_ENDPOINT_AUTH_METHOD = "token-endpoint-auth-method", Provider, Text, "METHOD",
        Means("what the provider advertises"),
        "client_secret_basic, client_secret_post or none";
    AUDIENCE = "audience", Provider, Text, "AUDIENCE", Means("none"),
        "an audience to ask the provider for (Auth0)";
    PROVIDER_SCOPES = "provider-scopes", Provider, List, "SCOPES",
        Means("openid profile email, as far as the provider knows them"),
        "what to ask the provider for, often with offline_access";
    EXTRA_AUTHORIZE_PARAMS = "extra-authorize-params", Provider, Phrases, "NAME=VALUE",
        Means("none"), "more parameters of the request to the provider";
    PROVIDER_REVOCATION = "provider-revocation", Provider, Text, "WHEN", Is("last-session"),
        "when it is told of an ended session: last-session, always or never";
    USERINFO = "userinfo", Provider, Switch, "true|false", Is("false"),
        "ask its userinfo endpoint for what the ID token lacks";
    BASE_URL = "base-url", Clients, Text, "URL", Required,
        "the URL under which clients reach this server";
    LISTEN = "listen", Clients, Text, "ADDRESS:PORT", Is("127.0.0.1:8000"),
        "where to listen";
    MCP_PATH = "mcp-path", Clients, Text, "PATH", Is("/mcp"),
        "where the MCP endpoint is, under the base URL";
    REDIRECT_PATH = "redirect-path", Clients, Text, "PATH", Is("/auth/callback"),
        "where the provider returns, under the base URL";
    REQUIRED_SCOPES = "required-scopes", Clients, List, "SCOPES", Is("openid"),
        "what a client's token needs at the MCP endpoint";
    CLIENT_METADATA_DOCUMENTS = "client-metadata-documents", Clients, Switch, "true|false",
        Is("true"), "accept clients whose id is the URL of a document about them (CIMD)";
    CLIENT_METADATA_HOSTS = "client-metadata-hosts", Clients, List, "HOST",
        Means("every public host"), "the only hosts of such documents, as app.example or *.app.example";
    INTROSPECTION_CLIENT = "introspection-client", Clients, Items, "ID=FILE", Means("nobody"),
        "who may ask about tokens: the id, and the file with the secret";
    ALLOW_EMAIL = "allow-email", Access, List, "ADDRESS", Means("no such rule"),
        "people with these e-mail addresses, verified by the provider";
    ALLOW_EMAIL_DOMAIN = "allow-email-domain", Access, List, "DOMAIN", Means("no such rule"),
        "people with a verified address in exactly these domains";
    ALLOW_GROUP = "allow-group", Access, Items, "GROUP", Means("no such rule"),
        "people whose claim `groups` names one of these";
    ALLOW_CLAIM = "allow-claim", Access, Items, "NAME=VALUE", Means("no such rule"),
        "people with one of these claims";
    ALLOW_ANY_USER = "allow-any-user", Access, Switch, "true|false", Is("false"),
        "everybody whom the provider lets log in";
    BACKEND = "backend", Backend, Text, "URL", Required,
        "the full URL of the MCP endpoint behind, or unix:/run/mcp.sock:/mcp";
    BACKEND_CA_FILE = "backend-ca-file", Backend, Text, "FILE",
        Means("the CAs of the operating system"), "PEM file of the CAs that vouch for an https backend";
    IDENTITY = "identity", Backend, List, "WAY", Is("headers"),
        "what the backend is told: headers, assertion, provider-token or none";
    ASSERTION_LIFETIME = "assertion-lifetime", Backend, Text, "TIME", Is("1m"),
        "how long an assertion is good, a minute at most";
    STORAGE = "storage", Keeping, Text, "URL", Means("SQLite in the platform's data directory"),
        "sqlite:///path, disk:///path, postgres://..., redis://... or memory:";
    STORAGE_CIPHER = "storage-cipher", Keeping, Text, "CIPHER",
        Means("aes-gcm, or what the storage was written with"),
        "what encrypts the storage: aes-gcm or fernet";
    STORAGE_ENCRYPTION_KEY = "storage-encryption-key", Keeping,
        Secret { file: "storage-encryption-key-file" }, "KEYS",
        Means("made once and kept beside the database"),
        "keys that encrypt the storage, 32 bytes in base64url, newest first";
    JWT_SIGNING_KEY = "jwt-signing-key", Keeping, Secret { file: "jwt-signing-key-file" }, "KEYS",
        Means("made once and kept beside the database"),
        "keys that sign tokens, base64url, newest first";
    SIGNING_ALGORITHM = "signing-algorithm", Keeping, Text, "ALGORITHM", Is("HS256"),
        "HS256, or ES256 or EdDSA for tokens that others can verify";
    ADMIN_LISTEN = "admin-listen", Operation, Text, "ADDRESS:PORT", Means("off"),
        "where health, metrics and administration are served";
    ADMIN_HOST = "admin-host", Operation, List, "NAME", Means("localhost and IP addresses"),
        "names under which that listener may be asked too";
    ADMIN_TOKEN_FILE = "admin-token-file", Operation, Text, "FILE",
        Means("made beside the database at each start"),
        "a file with the token of the administration";
    AUDIT_LOG = "audit-log", Operation, Text, "FILE", Is("off"),
        "where audit events go as JSON lines: a file, - or off";
    TRUSTED_PROXIES = "trusted-proxies", Operation, Text, "NUMBER", Is("0"),
        "your proxies in front that add to X-Forwarded-For";
    MAX_CONNECTIONS = "max-connections", Operation, Text, "NUMBER", Is("4096"),
        "connections at a time; further ones wait";
    DRAIN_TIME = "drain-time", Operation, Text, "TIME", Is("5s"),
        "how long what is under way may take when the server stops";
    LOG_FORMAT = "log-format", Operation, Text, "FORMAT",
        Means("text on a terminal, else json"), "text or json";
    DANGER_REPLACE_SIGNING_KEYS = "danger-replace-signing-keys", Operation, Switch, "true|false",
        Is("false"), "start with other signing keys than before; logs everybody out";
    PRODUCTION = "production", Operation, Switch, "true|false",
        Means("true if the base URL is not on loopback"),
        "refuse what is good for trying out only";
    DANGER_MEMORY_STORAGE = "danger-memory-storage", Operation, Switch, "true|false", Is("false"),
        "allow storage that a restart empties, in production";
    DANGER_CLIENT_METADATA_ON_LOOPBACK = "danger-client-metadata-on-loopback", Operation, Switch,
        "true|false", Is("false"), "fetch such documents from this machine too, for trying out";
    CONSENT_LIFETIME = "consent-lifetime", Lifetimes, Text, "TIME", Is("15m"),
        "how long a consent page may be answered";
    TRANSACTION_LIFETIME = "transaction-lifetime", Lifetimes, Text, "TIME", Is("15m"),
        "from approval to the provider's answer";
    CODE_LIFETIME = "code-lifetime", Lifetimes, Text, "TIME", Is("5m"),
        "how long a code may be redeemed";
    CODE_MEMORY = "code-memory", Lifetimes, Text, "TIME", Is("24h"),
        "how long a redeemed code is remembered";
    ACCESS_TOKEN_BASIS = "access-token-basis", Lifetimes, Text, "BASIS", Is("provider"),
        "what an access token's life depends on: provider (its token) or fixed";
    ACCESS_TOKEN_LIFETIME = "access-token-lifetime", Lifetimes, Text, "TIME", Is("1h"),
        "how long an access token lives, at most";
    ACCESS_TOKEN_FLOOR = "access-token-floor", Lifetimes, Text, "TIME", Is("5m"),
        "how long at least, where it depends on the provider";
    OUTAGE_ACCESS_TOKEN_LIFETIME = "outage-access-token-lifetime", Lifetimes, Text, "TIME",
        Is("5m"), "the same while the provider cannot be asked";
    REFRESH_IDLE_LIFETIME = "refresh-idle-lifetime", Lifetimes, Text, "TIME", Is("30d"),
        "when an unused session ends";
    REFRESH_ABSOLUTE_LIFETIME = "refresh-absolute-lifetime", Lifetimes, Text, "TIME", Is("90d"),
        "when every session ends";
    SESSION_WITHOUT_REFRESH_LIFETIME = "session-without-refresh-lifetime", Lifetimes, Text,
        "TIME", Is("8h"), "when a session ends that the provider does not renew";
    REFRESH_GRACE = "refresh-grace", Lifetimes, Text, "TIME", Is("2m"),
        "how long a rotated refresh token leads to its successor";
    REVOCATION_DELAY = "revocation-delay", Lifetimes, Text, "TIME", Is("1s"),
        "how long a revoked access token may still be believed";
    STREAM_CHECK = "stream-check", Lifetimes, Text, "TIME", Is("5s"),
        "how often the sessions of open streams are checked";
    PROVIDER_TOKEN_FALLBACK = "provider-token-fallback", Lifetimes, Text, "TIME", Is("1h"),
        "how long a provider's token is taken to live that does not say";
    PROVIDER_TOKEN_LONGEST = "provider-token-longest", Lifetimes, Text, "TIME", Is("24h"),
        "the longest that such a token is believed to live";
    PROVIDER_REFRESH_MARGIN = "provider-refresh-margin", Lifetimes, Text, "TIME", Is("1m"),
        "how long before its end the provider's token is renewed";
    PROVIDER_CALL = "provider-call", Lifetimes, Text, "TIME", Is("10s"),
        "how long one call to the provider may take";
    PROVIDER_OUTAGE_TOLERANCE = "provider-outage-tolerance", Lifetimes, Text, "TIME", Is("1h"),
        "how long sessions outlive a provider that is down";
    OUTBOX_LIFETIME = "outbox-lifetime", Lifetimes, Text, "TIME", Is("7d"),
        "how long a provider that did not hear of a revocation is told";
    OUTBOX_CHECK = "outbox-check", Lifetimes, Text, "TIME", Is("1m"),
        "how often such revocations are looked for";
    CLOCK_SKEW = "clock-skew", Lifetimes, Text, "TIME", Is("5s"),
        "by how much the clocks of replicas may differ";
    UNUSED_CLIENT_LIFETIME = "unused-client-lifetime", Lifetimes, Text, "TIME", Is("30d"),
        "when a client is forgotten that nobody logged in with";
    PRESSED_CLIENT_LIFETIME = "pressed-client-lifetime", Lifetimes, Text, "TIME", Is("1h"),
        "the same beyond the first 1000 of a day";
    USED_CLIENT_LIFETIME = "used-client-lifetime", Lifetimes, Text, "TIME", Is("90d"),
        "when any other client is forgotten";
    CLIENT_METADATA_STALE = "client-metadata-stale", Lifetimes, Text, "TIME", Is("24h"),
        "how long a client's document serves on that cannot be fetched again";
}

impl Setting {
    /// The names under which it can be given: its own and, for a secret, that of the file.
    pub(crate) fn names(&self) -> impl Iterator<Item = Name> + use<> {
        let file = match self.kind {
            Secret { file } => Some(Name(file)),
            _ => None,
        };
        [Name(self.name)].into_iter().chain(file)
    }

    /// Its own name.
    pub(crate) fn own_name(&self) -> Name {
        Name(self.name)
    }

    pub(crate) fn is_secret(&self) -> bool {
        matches!(self.kind, Secret { .. })
    }
}

/// One name and its three spellings; shown with all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) &'static str);

impl Name {
    /// `--base-url`
    pub(crate) fn flag(self) -> String {
        format!("--{}", self.0)
    }

    /// `OIDC_PROXY_BASE_URL`
    pub(crate) fn environment(self) -> String {
        format!("{ENVIRONMENT_PREFIX}{}", self.toml().to_ascii_uppercase())
    }

    /// `base_url`
    pub(crate) fn toml(self) -> String {
        self.0.replace('-', "_")
    }

    /// All that a file may hold.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        SETTINGS.iter().flat_map(Setting::names)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == CONFIG.own_name() {
            return write!(f, "{} (environment {})", self.flag(), self.environment());
        }
        let (flag, environment, toml) = (self.flag(), self.environment(), self.toml());
        write!(f, "{flag} (environment {environment}, TOML {toml})")
    }
}

/// The known name that looks most like `unknown`.
pub(crate) fn nearest(unknown: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let unknown = unknown.to_lowercase();
    let likeness =
        |name: &String| strsim::normalized_damerau_levenshtein(&unknown, &name.to_lowercase());
    known
        .map(|name| (likeness(&name), name))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}
