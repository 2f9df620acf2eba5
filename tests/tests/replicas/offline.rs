//! An operator with the storage alone: beside running replicas, and without any.

use anyhow::{Context as _, ensure};
use end_to_end::eventually;
use http::StatusCode;
use serde_json::Value;

use crate::{
    is_invalid_grant, logged_in, on_each_store,
    rig::{A, B, Rig, Store},
};

async fn operate(rig: &Rig, words: &str) -> anyhow::Result<Vec<Value>> {
    let words: Vec<&str> = words.split(' ').chain(["--offline", "--json"]).collect();
    let ended = rig.replica(B)?.settings().run(&words).await?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{}: {said}", words.join(" "));
    let printed = String::from_utf8(ended.stdout)?;
    printed.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

async fn an_operator_needs_the_storage_only(store: Store) -> anyhow::Result<()> {
    let rig = Rig::start(store, &[]).await?;
    let (first, first_tokens) = logged_in(&rig).await?;
    let (second, second_tokens) = logged_in(&rig).await?;
    let (third, third_tokens) = logged_in(&rig).await?;
    let sessions = operate(&rig, "sessions list").await?;
    assert_eq!(sessions.len(), 3, "{sessions:?}");
    let of_first = operate(&rig, &format!("sessions list --client {}", first[A].id())).await?;
    assert_eq!(of_first.len(), 1, "{of_first:?}");
    assert_eq!(operate(&rig, "clients list").await?.len(), 3);

    // One session, by its id.
    let id = of_first[0]["id"].as_str().context("no id")?;
    operate(&rig, &format!("sessions revoke --id {id}")).await?;
    // A client with what it has.
    operate(&rig, &format!("clients delete {}", second[A].id())).await?;
    for (clients, tokens) in [(&first, &first_tokens), (&second, &second_tokens)] {
        for replica in [A, B] {
            eventually("a replica to refuse", async || {
                let status = rig.status_with(&clients[A], replica, &tokens.access).await;
                status.is_ok_and(|status| status == StatusCode::UNAUTHORIZED)
            })
            .await?;
        }
    }
    for replica in [A, B] {
        assert!(is_invalid_grant(&first[replica].refresh(&first_tokens.refresh).await?));
        let unknown = second[replica].refresh(&second_tokens.refresh).await?;
        assert_eq!(unknown.error(), "invalid_client", "{}", unknown.text);
    }
    // The third has heard nothing of it.
    let next = third[A].refresh(&third_tokens.refresh).await?.tokens()?;
    assert_eq!(rig.status_with(&third[A], B, &next.access).await?, StatusCode::OK);
    assert_eq!(operate(&rig, "clients list").await?.len(), 2);
    operate(&rig, "sessions revoke --all").await?;
    assert_eq!(operate(&rig, "sessions list").await?, [Value::Null; 0]);
    assert!(is_invalid_grant(&third[B].refresh(&next.refresh).await?));
    Ok(())
}

on_each_store!(an_operator_needs_the_storage_only);
