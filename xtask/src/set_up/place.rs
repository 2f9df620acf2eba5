//! Directories that are there only when they are complete.

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash as _, Hasher as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// The directory `place`, filled by `fill` unless it is there; whether it was filled now.
///
/// It is filled under another name and then renamed: what an interrupted run left is never taken
/// for finished, and is swept away by the next one.
///
/// # Errors
///
/// When `fill` fails, or the file system does.
pub(super) fn once(
    place: &Path,
    fill: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    if place.is_dir() {
        return Ok(false);
    }
    let unfinished = unfinished(place);
    remove(&unfinished)?;
    fs::create_dir_all(&unfinished)
        .with_context(|| format!("cannot create {}", unfinished.display()))?;
    fill(&unfinished)?;
    fs::rename(&unfinished, place)
        .with_context(|| format!("cannot rename {} to its place", unfinished.display()))?;
    Ok(true)
}

/// The name of the directory for what these texts (a lock file, a version) describe: another text
/// is another directory.
pub(super) fn named_after(what: &str, texts: &[String]) -> String {
    let mut hasher = DefaultHasher::new();
    texts.hash(&mut hasher);
    format!("{what}-{:016x}", hasher.finish())
}

fn unfinished(place: &Path) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(".unfinished");
    name.into()
}

fn remove(directory: &Path) -> anyhow::Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn another_lock_file_is_another_place() {
        let name = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|&text| text.into()).collect();
            named_after("npm", &texts)
        };
        assert_eq!(name(&["a 1", "b"]), name(&["a 1", "b"]));
        assert_ne!(name(&["a 1", "b"]), name(&["a 2", "b"]));
        assert_ne!(name(&["a 1", "b"]), name(&["a 1b", ""]));
        assert!(name(&[]).starts_with("npm-"));
    }

    #[test]
    fn what_was_interrupted_is_done_again() {
        let root = std::env::temp_dir().join(format!("xtask-{}-place", std::process::id()));
        let place = root.join("thing");
        let failed = once(&place, |directory| {
            fs::write(directory.join("half"), "").unwrap();
            bail!("the line went dead");
        });
        assert!(failed.is_err() && !place.exists());

        let filled = once(&place, |directory| {
            assert!(!directory.join("half").exists());
            fs::write(directory.join("whole"), "").map_err(Into::into)
        });
        assert!(filled.unwrap() && place.join("whole").exists());
        assert!(!once(&place, |_| bail!("not again")).unwrap());
        fs::remove_dir_all(root).unwrap();
    }
}
