//! Packages without root: downloaded with what they need, unpacked, started through a script.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

use crate::{
    process::Invocation,
    set_up::{Machine, place, program::Program},
};

/// Where the files of the packages are, below the place of the program.
const UNPACKED: &str = "unpacked";

/// `apt-get` with lists and a cache of our own, but with the packages that the machine has.
pub(super) fn apt_get<const N: usize>(
    machine: &Machine,
    words: [&str; N],
) -> anyhow::Result<Invocation> {
    let own = machine.place.join("apt");
    for directory in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(own.join(directory))
            .with_context(|| format!("cannot create {}", own.display()))?;
    }
    let own = own.display();
    let apt = super::apt_get([])
        .arg("-o")
        .arg(format!("Dir::State={own}/state"))
        .arg("-o")
        .arg("Dir::State::status=/var/lib/dpkg/status")
        .arg("-o")
        .arg(format!("Dir::Cache={own}/cache"));
    Ok(words.into_iter().fold(apt, Invocation::arg))
}

/// Downloads the package of `program` and all that is missing of what it needs, and unpacks it.
pub(super) fn bring(machine: &Machine, program: &Program) -> anyhow::Result<()> {
    let package = program.package;
    let simulation =
        apt_get(machine, ["install", "--simulate", "--no-install-recommends", package])?;
    let needed = needed(&machine.run(&format!("apt-{package}-needs"), &simulation)?);
    ensure!(
        !needed.is_empty(),
        "Debian says that {package} is installed, but its programs are not there"
    );

    let home = machine.place.join("debian").join(package);
    place::once(&home, |unfinished| {
        let debs = unfinished.join("debs");
        fs::create_dir(&debs).context("cannot create a directory")?;
        let download = needed.iter().fold(apt_get(machine, ["download"])?, Invocation::arg);
        machine.run(&format!("apt-{package}"), &download.current_dir(&debs))?;
        let root = unfinished.join(UNPACKED);
        for entry in fs::read_dir(&debs).context("cannot list the packages")? {
            let deb = entry.context("cannot list the packages")?.path();
            let unpack = Invocation::new("dpkg-deb --extract").path(&deb).path(&root);
            machine.run("dpkg-deb", &unpack)?;
        }
        fs::remove_dir_all(&debs).context("cannot remove the packages")?;
        starters(unfinished, &home, program)
    })?;
    Ok(())
}

/// `name=version` of every package that a simulated installation would install.
fn needed(simulation: &str) -> Vec<String> {
    let package = |line: &str| {
        // Inst libjemalloc2 [5.2] (5.3.0-1 Debian:12.1/stable [amd64])
        let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
        let (_, version) = rest.split_once('(')?;
        Some(format!("{name}={}", version.split_whitespace().next()?))
    };
    simulation.lines().filter_map(package).collect()
}

/// Writes a script for the program, and for each that must lie beside it, which tells it where its
/// libraries and fonts are. `home` is where `unfinished` will be.
fn starters(unfinished: &Path, home: &Path, program: &Program) -> anyhow::Result<()> {
    let root = unfinished.join(UNPACKED);
    let final_root = home.join(UNPACKED);
    let inside = |path: &Path| path.strip_prefix(&root).map(|path| final_root.join(path));
    let libraries = libraries(&root);
    let libraries: Vec<String> = libraries
        .iter()
        .map(|path| inside(path).map(|path| path.display().to_string()))
        .collect::<Result<_, _>>()
        .context("a library outside the package")?;
    let bin = unfinished.join("bin");
    fs::create_dir(&bin).context("cannot create a directory")?;
    fs::write(unfinished.join("fonts.conf"), fonts(home)).context("cannot write fonts.conf")?;
    for name in program.names() {
        let at = program
            .inside(&root, name)
            .with_context(|| format!("the package {} has no {name}", program.package))?;
        let at = inside(&at).context("a program outside the package")?;
        let starter = bin.join(name);
        fs::write(&starter, script(&at, &libraries, home))
            .and_then(|()| fs::set_permissions(&starter, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot write {}", starter.display()))?;
    }
    Ok(())
}

fn script(program: &Path, libraries: &[String], home: &Path) -> String {
    format!(
        "#!/bin/sh\n\
         # {} is unpacked, not installed: this tells it where things are.\n\
         LD_LIBRARY_PATH='{}'${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\n\
         FONTCONFIG_FILE='{}'\n\
         export LD_LIBRARY_PATH FONTCONFIG_FILE\n\
         exec '{}' \"$@\"\n",
        program.file_name().unwrap_or_default().display(),
        libraries.join(":"),
        home.join("fonts.conf").display(),
        program.display(),
    )
}

/// The fonts that came along, and those of the machine.
fn fonts(home: &Path) -> String {
    let came = home.join(UNPACKED).join("usr/share/fonts");
    let cache = home.join("fonts-cache");
    format!(
        "<?xml version=\"1.0\"?>\n\
         <!DOCTYPE fontconfig SYSTEM \"fonts.dtd\">\n\
         <fontconfig>\n\
         \x20 <dir>{}</dir>\n\
         \x20 <dir>/usr/share/fonts</dir>\n\
         \x20 <cachedir>{}</cachedir>\n\
         </fontconfig>\n",
        came.display(),
        cache.display()
    )
}

/// Every directory under `lib` that has shared libraries, two levels deep.
fn libraries(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for lib in ["lib", "usr/lib"] {
        // usr/lib/TRIPLET, and usr/lib/TRIPLET/pulseaudio.
        for triplet in directories(&root.join(lib)) {
            let below = directories(&triplet);
            found.extend([triplet].into_iter().chain(below).filter(|path| has_libraries(path)));
        }
    }
    found
}

fn directories(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn has_libraries(directory: &Path) -> bool {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.any(|name| name.split('.').skip(1).any(|part| part == "so"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_simulation_would_install_is_downloaded_in_that_version() {
        let output = "\
NOTE: This is only a simulation!
Reading package lists...
Inst libjemalloc2 (5.3.0-1 Debian:12.1/stable [amd64])
Inst redis-tools [6.0] (5:7.0.15-1~deb12u10 Debian-Security:12/stable [amd64])
Conf libjemalloc2 (5.3.0-1 Debian:12.1/stable [amd64])
";
        assert_eq!(needed(output), ["libjemalloc2=5.3.0-1", "redis-tools=5:7.0.15-1~deb12u10"]);
    }

    #[test]
    fn a_program_is_told_where_its_libraries_are() {
        let script = script(
            Path::new("/p/unpacked/usr/bin/x"),
            &["/p/a".into(), "/p/b".into()],
            Path::new("/p"),
        );
        assert!(script.starts_with("#!/bin/sh\n"));
        assert!(script.contains("LD_LIBRARY_PATH='/p/a:/p/b'$"), "{script}");
        assert!(script.ends_with("exec '/p/unpacked/usr/bin/x' \"$@\"\n"), "{script}");
    }

    #[test]
    fn directories_with_libraries_are_found() {
        let root = std::env::temp_dir().join(format!("xtask-{}-libraries", std::process::id()));
        for file in
            ["usr/lib/t/a.so.1", "usr/lib/t/pulse/b.so", "usr/lib/t/docs/readme", "lib/t/c.so"]
        {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let found: Vec<PathBuf> = libraries(&root).into_iter().collect();
        let expected = ["lib/t", "usr/lib/t", "usr/lib/t/pulse"].map(|path| root.join(path));
        assert_eq!(found, expected);
        fs::remove_dir_all(root).unwrap();
    }
}
