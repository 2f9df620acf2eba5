use super::*;

fn parse(url: &str) -> Result<Settings, String> {
    let (scheme, rest) = url.split_once(':').unwrap();
    Settings::parse(scheme, rest)
}

fn addresses(settings: &Settings) -> Vec<String> {
    settings.addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn a_single_server() {
    let settings = parse("redis://localhost").unwrap();
    assert_eq!(settings.arrangement, Arrangement::Single);
    assert_eq!(addresses(&settings), ["localhost:6379"]);
    assert!(settings.credentials.is_none() && settings.tls.is_none());
    assert_eq!((settings.database, settings.prefix.as_str()), (0, "kv"));
    assert_eq!((settings.wait_replicas, settings.wait_timeout), (0, WAIT_TIMEOUT));
    let settings = parse(
        "REDISS://proxy:p%40ss@[::1]:7000/3?prefix=a-B_c.1&ca_file=/etc/ca%20file.pem\
         &wait_replicas=2&wait_timeout=250ms&connect_timeout=5s&response_timeout=60s",
    )
    .unwrap();
    assert_eq!(addresses(&settings), ["[::1]:7000"]);
    assert_eq!((settings.database, settings.prefix.as_str()), (3, "a-B_c.1"));
    assert_eq!(settings.tls.unwrap().ca_file, Some("/etc/ca file.pem".into()));
    assert_eq!((settings.wait_replicas, settings.wait_timeout.as_millis()), (2, 250));
    assert_eq!(settings.connect_timeout.as_secs(), 5);
    assert_eq!(settings.response_timeout.as_secs(), 60);
    let credentials = settings.credentials.unwrap();
    assert_eq!(credentials.user.as_deref(), Some("proxy"));
    assert_eq!(secrecy::ExposeSecret::expose_secret(&credentials.password), "p@ss");
}

#[test]
fn sentinels_and_clusters() {
    let settings = parse(
        "redis+sentinel://:secret@a,b:7001/my%20master/2?sentinel_user=u&sentinel_password=p",
    )
    .unwrap();
    assert_eq!(settings.arrangement, Arrangement::Sentinel("my master".into()));
    assert_eq!(addresses(&settings), ["a:26379", "b:7001"]);
    assert_eq!((settings.database, settings.wait_replicas), (2, 1));
    assert_eq!(settings.credentials.unwrap().user, None);
    assert_eq!(settings.sentinel_credentials.unwrap().user.as_deref(), Some("u"));
    let settings = parse("rediss+cluster://a:7000,b,c?wait_replicas=0").unwrap();
    assert_eq!(settings.arrangement, Arrangement::Cluster);
    assert_eq!(addresses(&settings), ["a:7000", "b:6379", "c:6379"]);
    assert_eq!(settings.tls, Some(Tls { ca_file: None }));
    assert_eq!(settings.wait_replicas, 0);
}

#[test]
fn what_is_wrong_is_said() {
    for (url, part) in [
        ("redis:localhost", "two slashes"),
        ("redisss://u:hunter2@a", "one of redis, rediss, redis+sentinel,"),
        ("http://a", "one of redis, rediss, redis+sentinel,"),
        ("redis+sentinels://a/m", "redis+cluster, rediss+cluster"),
        ("redis+://a", "redis+cluster, rediss+cluster"),
        ("hunter2:6379", "one of redis, rediss, redis+sentinel,"),
        ("redis://", "a host is missing"),
        ("redis://:6379", "a host is missing"),
        ("redis://a,b", "several hosts"),
        ("redis://a,", "a host is missing"),
        ("redis://user@a", "user:password or :password"),
        ("redis://user:@a", "is empty"),
        ("redis://u:hunter2@x@a/b@c:0", "number of a database"),
        ("redis://u:hunter/2@a", "a port is a number"),
        ("redis://u:%zz@a", "is written %25"),
        ("redis://a:0", "a port is a number"),
        ("redis://a:+1", "a port is a number"),
        ("redis://a:65536", "a port is a number"),
        ("redis://a:x", "a port is a number"),
        ("redis://[::1", "not closed"),
        ("redis://[a]", "an IPv6 address"),
        ("redis://[::1]x", "a port is a number"),
        ("redis://a/x", "number of a database"),
        ("redis://a/-1", "number of a database"),
        ("redis://a#x", "written %23"),
        ("redis://a b", "written %23"),
        ("redis://a?x", "name=value"),
        ("redis://a?db=1", "the options are"),
        ("redis://a?prefix=a&prefix=b", "given twice"),
        ("redis://a?prefix=", "prefix must be"),
        ("redis://a?prefix=a:b", "prefix must be"),
        ("redis://a?prefix={a}", "prefix must be"),
        ("redis://a?wait_replicas=17", "from 0 to 16"),
        ("redis://a?wait_timeout=5", "such as 500ms or 2s"),
        ("redis://a?wait_timeout=0s", "such as 500ms or 2s"),
        ("redis://a?response_timeout=61s", "such as 500ms or 2s"),
        ("redis://a?ca_file=/x", "needs the scheme rediss"),
        ("redis://a?sentinel_password=x", "with +sentinel"),
        ("redis+sentinel://a/m?sentinel_user=x", "needs sentinel_password"),
        ("redis+sentinel://a", "the master's name"),
        ("redis+sentinel://a/", "the master's name"),
        ("redis+sentinel://a/m/x", "number of a database"),
        ("redis+cluster://a/1", "no database but 0"),
    ] {
        let reason = parse(url).unwrap_err();
        assert!(reason.contains(part), "{url}: {reason}");
        assert!(!reason.contains("hunter"), "{url}: {reason}");
    }
    let longest = "p".repeat(MAX_PREFIX_BYTES);
    parse(&format!("redis://a?prefix={longest}")).unwrap();
    parse(&format!("redis://a?prefix={longest}p")).unwrap_err();
}

#[test]
fn debug_shows_no_password() {
    let settings =
        parse("redis+sentinel://u:hunter2@a/m?sentinel_user=u&sentinel_password=hunter3");
    let shown = format!("{:?}", settings.unwrap());
    assert!(shown.contains("master") || shown.contains("Sentinel"), "{shown}");
    assert!(!shown.contains("hunter"), "{shown}");
}
