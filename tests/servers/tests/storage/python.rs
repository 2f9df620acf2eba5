//! Python's `cryptography` and we read what the other wrote, in one SQLite file that both have
//! open.

use std::{path::PathBuf, process::Command, time::Duration};

use kv_storage::{Encrypted, Fernet, KeyValue, Sqlite, Ttl};
use secrecy::{ExposeSecret, SecretString};
use tempfile::TempDir;
use test_servers::program;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/storage/python/envelope.py");
const DEPLOYMENT: &str = "https://issuer.example/\u{fc}";

/// A store of ours, and Python beside it.
struct Scene {
    _directory: TempDir,
    path: PathBuf,
    key: SecretString,
    store: Encrypted<Sqlite, Fernet>,
}

impl Scene {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kv.sqlite");
        let key = Fernet::generate_key();
        let cipher = Fernet::new(std::slice::from_ref(&key)).unwrap();
        let store = Encrypted::new(Sqlite::open(&path).await.unwrap(), cipher, DEPLOYMENT);
        store.check_keys().await.unwrap();
        Self { _directory: directory, path, key, store }
    }

    fn python(&self, arguments: &[&str]) -> String {
        let [action, rest @ ..] = arguments else { panic!("no action") };
        let output = Command::new(program::find("python3", "TEST_PYTHON").unwrap())
            .args(["-B", SCRIPT, action])
            .arg(&self.path)
            .arg(DEPLOYMENT)
            .args(rest)
            .env("STORAGE_KEY", self.key.expose_secret())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the script failed: {errors}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    async fn read(&self, key: &str) -> Option<String> {
        let entry = self.store.get("grants", key).await.unwrap()?;
        Some(String::from_utf8(entry.value.to_vec()).unwrap())
    }
}

#[tokio::test]
async fn python_reads_what_we_wrote() {
    let scene = Scene::new().await;
    let ttl = Ttl::After(Duration::from_hours(1));
    scene.store.put("grants", "gr\u{fc}n", "written by us".into(), ttl).await.unwrap();
    scene.store.put("grants", "for ever", "kept".into(), Ttl::Forever).await.unwrap();
    assert_eq!(scene.python(&["get", "grants", "gr\u{fc}n"]), "found written by us");
    assert_eq!(scene.python(&["get", "grants", "for ever"]), "found kept");
    assert_eq!(scene.python(&["get", "grants", "nothing"]), "absent");
}

#[tokio::test]
async fn we_read_what_python_wrote() {
    let scene = Scene::new().await;
    scene.python(&["put", "grants", "gr\u{fc}n", "written by Python", "3600"]);
    assert_eq!(scene.read("gr\u{fc}n").await.as_deref(), Some("written by Python"));
    let before = scene.store.get("grants", "gr\u{fc}n").await.unwrap().unwrap().version;
    scene.python(&["put", "grants", "gr\u{fc}n", "written again", "3600"]);
    let swap =
        scene.store.compare_and_swap("grants", "gr\u{fc}n", before, "lost".into(), Ttl::Keep);
    assert_eq!(swap.await.unwrap(), None, "its write changed the version");
    assert_eq!(scene.read("gr\u{fc}n").await.as_deref(), Some("written again"));
    scene.python(&["put", "grants", "short", "gone", "-1"]);
    assert_eq!(scene.read("short").await, None);
    assert_eq!(scene.store.refused(), 0);
}

#[test]
fn the_manual_shows_this_very_script() {
    let manual = include_str!("../../../../docs/storage.md");
    let script = include_str!("python/envelope.py");
    assert!(manual.contains(script), "docs/storage.md shows another script than envelope.py");
}
