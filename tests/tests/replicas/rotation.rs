//! Keys are changed while everybody is at work, with real files and the commands that an operator
//! has, and the replicas restarted one by one.

use std::fs;

use anyhow::{Context as _, ensure};

use crate::{
    load::{Bearing, Load},
    on_each_store,
    rig::{A, B, KEY_FILES, Rig, Store},
};

/// People at work.
const PEOPLE: usize = 5;

/// What the command prints becomes the file: these keys were given, and are the operator's.
async fn keys(rig: &Rig, words: &[&str]) -> anyhow::Result<()> {
    let ended = rig.replica(B)?.settings().run(&[&["keys"], words].concat()).await?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "keys {}: {said}", words.join(" "));
    let ring = words.get(1).context("which ring")?;
    // As an operator does it who lets nobody see half a file.
    let new = rig.file("new");
    fs::write(&new, &ended.stdout)?;
    Ok(fs::rename(new, rig.file(ring))?)
}

/// One after the other, so that somebody is always there.
async fn restart_all(rig: &mut Rig, load: &mut Load) -> anyhow::Result<()> {
    for replica in [A, B] {
        let unreadable = rig.unreadable(replica)?;
        ensure!(unreadable.is_empty(), "{unreadable}");
        rig.restart(replica).await?;
        load.all_go_on().await.with_context(|| format!("after the restart of {replica}"))?;
    }
    Ok(())
}

async fn a_rotation_under_load_logs_nobody_out(store: Store) -> anyhow::Result<()> {
    let mut rig = Rig::start(store, &[]).await?;
    rig.provider.give_lasting_tokens();
    rig.lead_to(&[A, B]);
    let mut load = Load::begin(&rig, PEOPLE, Bearing::Restarts).await?.and_newcomers(&rig).await?;
    load.all_go_on().await?;
    for (ring, _) in KEY_FILES {
        keys(&rig, &["rotate", ring]).await?;
    }
    restart_all(&mut rig, &mut load).await.context("rotate")?;
    for (ring, _) in KEY_FILES {
        keys(&rig, &["promote", ring]).await?;
        restart_all(&mut rig, &mut load).await.with_context(|| format!("promote {ring}"))?;
    }
    // Everybody has tokens of the new keys by now, and no age of theirs convinces `retire`.
    for (ring, _) in KEY_FILES {
        let refused = rig.replica(B)?.settings().run(&["keys", "retire", ring]).await?;
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(!refused.status.success() && why.contains("--force"), "{why}");
    }
    keys(&rig, &["retire", "signing", "--force"]).await?;
    restart_all(&mut rig, &mut load).await.context("retire signing")?;
    // Registrations are written once a day at most: that the longest of what the old key encrypted
    // is over means that those are gone who came before its successor.
    let mut late = Load::begin(&rig, PEOPLE, Bearing::Restarts).await?.and_newcomers(&rig).await?;
    load.end().await?;
    keys(&rig, &["retire", "storage", "--force"]).await?;
    restart_all(&mut rig, &mut late).await.context("retire storage")?;
    for (ring, _) in KEY_FILES {
        let text = fs::read_to_string(rig.file(ring))?;
        let keys = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(keys, 1, "{text}");
    }
    for replica in [A, B] {
        // What the old key took along is noticed when Alice's other sessions are looked at.
        let unreadable = rig.unreadable(replica)?;
        assert!(!unreadable.contains("key_rings"), "{unreadable}");
    }
    println!("{} requests were sent again", late.retried());
    late.end().await
}

on_each_store!(a_rotation_under_load_logs_nobody_out);
