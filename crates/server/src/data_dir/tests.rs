use super::*;

fn ids(ring: &KeyRing) -> Vec<String> {
    ring.ids().map(ToString::to_string).collect()
}

#[test]
fn keys_are_made_once_and_kept() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("a/b");
    let first = DataDir::kept(&path).unwrap();
    let made = ids(&first.signing_keys().unwrap());
    first.storage_keys().unwrap();
    let storage = fs::read_to_string(path.join(STORAGE_KEYS_FILE)).unwrap();
    assert_eq!(ids(&first.signing_keys().unwrap()), made);
    first.close().unwrap();

    let second = DataDir::kept(&path).unwrap();
    assert_eq!(ids(&second.signing_keys().unwrap()), made);
    second.storage_keys().unwrap();
    assert_eq!(fs::read_to_string(path.join(STORAGE_KEYS_FILE)).unwrap(), storage);
}

#[cfg(unix)]
#[test]
fn a_key_that_anybody_could_have_planted_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    let directory = DataDir::kept(&path).unwrap();
    directory.signing_keys().unwrap();
    let set = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode));
    for (place, open, closed) in
        [(path.clone(), 0o1777, 0o700), (path.join(SIGNING_KEYS_FILE), 0o606, 0o600)]
    {
        set(&place, open).unwrap();
        let error = directory.signing_keys().unwrap_err().to_string();
        assert!(error.contains("chmod o-w"), "{error}");
        set(&place, closed).unwrap();
        directory.signing_keys().unwrap();
    }
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read() {
    use std::os::unix::fs::PermissionsExt;

    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    let directory = DataDir::kept(&path).unwrap();
    directory.signing_keys().unwrap();
    directory.storage_keys().unwrap();
    directory.state_file().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600, "{:?}", entry.file_name());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["lock", "signing-keys", "state.sqlite", "storage-keys"]);
}

#[test]
fn older_keys_follow_the_current_one() {
    let parent = tempfile::tempdir().unwrap();
    let (new, old) = (MasterKey::generate(), MasterKey::generate());
    let text = format!(
        "# a note\n\n  {}\n{}\n",
        new.to_base64url().expose_secret(),
        old.to_base64url().expose_secret()
    );
    fs::write(parent.path().join(SIGNING_KEYS_FILE), text).unwrap();
    let ring = DataDir::kept(parent.path()).unwrap().signing_keys().unwrap();
    assert_eq!(ids(&ring), [new.id().to_string(), old.id().to_string()]);
}

#[test]
fn unusable_keys_are_named_and_not_repeated() {
    for (text, complaint) in [
        ("c2VjcmV0\n", "is not usable"),
        ("secret!\n", "is not usable"),
        ("# nothing\n", "holds no key"),
    ] {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join(SIGNING_KEYS_FILE), text).unwrap();
        let error = DataDir::kept(parent.path()).unwrap().signing_keys().unwrap_err();
        let shown = format!("{error:#} {error:?}");
        assert!(shown.contains(complaint) && shown.contains(SIGNING_KEYS_FILE), "{shown}");
        assert!(!shown.contains("secret") && !shown.contains("c2Vj"), "{shown}");
    }
}

#[test]
fn a_directory_has_one_user() {
    let parent = tempfile::tempdir().unwrap();
    let first = DataDir::kept(parent.path()).unwrap();
    let error = DataDir::kept(parent.path()).unwrap_err();
    assert!(error.to_string().ends_with("is in use by another oidc-proxy"), "{error}");
    drop(first);
    assert!(DataDir::kept(parent.path()).is_ok());
}

#[test]
fn a_temporary_directory_ends_with_its_user() {
    let directory = DataDir::temporary().unwrap();
    directory.signing_keys().unwrap();
    let path = directory.join("");
    assert!(path.is_dir());
    directory.close().unwrap();
    assert!(!path.exists());
}

#[test]
fn databases_of_one_directory_have_keys_of_their_own() {
    let parent = tempfile::tempdir().unwrap();
    let [one, other] =
        ["one.sqlite", "other.sqlite"].map(|name| DataDir::beside(&parent.path().join(name)));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.state_file().unwrap(), parent.path().join("one.sqlite"));
    assert_ne!(ids(&one.signing_keys().unwrap()), ids(&other.signing_keys().unwrap()));
    assert!(parent.path().join("one.sqlite.signing-keys").is_file());
    let again = DataDir::beside(&parent.path().join("one.sqlite")).unwrap_err();
    assert!(again.to_string().ends_with("is in use by another oidc-proxy"), "{again}");
}

#[cfg(unix)]
#[test]
fn another_name_does_not_get_around_the_lock() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("state.db");
    let elsewhere = parent.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let link = elsewhere.join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let dangling = DataDir::beside(&link).unwrap_err();
    assert!(dangling.to_string().contains("leads to"), "{dangling}");

    let first = DataDir::beside(&path).unwrap();
    let made = ids(&first.signing_keys().unwrap());
    first.state_file().unwrap();
    let second = DataDir::beside(&link).unwrap_err();
    assert!(second.to_string().contains("is in use by another"), "{second}");
    drop(first);
    let linked = DataDir::beside(&link).unwrap();
    assert_eq!(ids(&linked.signing_keys().unwrap()), made);
    assert_eq!(linked.state_file().unwrap(), fs::canonicalize(&path).unwrap());
    drop(linked);

    let twin = parent.path().join("twin.db");
    fs::hard_link(&path, &twin).unwrap();
    for name in [&path, &twin, &link] {
        let refused = DataDir::beside(name).unwrap_err();
        assert!(refused.to_string().contains("2 names (hard links)"), "{refused}");
    }
}

/// Only root can give a file away, and only root needs to.
#[cfg(unix)]
#[test]
fn a_key_file_that_is_replaced_keeps_its_owner() {
    use std::os::unix::fs::{MetadataExt, chown};

    const SERVICE: u32 = 65_534;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    fs::write(&path, "old").unwrap();
    let given = chown(&path, Some(SERVICE), Some(SERVICE)).is_ok();
    replace_keys(&path, b"new").unwrap();
    let kept = fs::metadata(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(kept.mode() & 0o777, 0o600);
    assert_eq!(kept.uid() == SERVICE && kept.gid() == SERVICE, given);
}
