//! Two server processes on one storage behave as one, on Redis and on PostgreSQL, whoever races,
//! dies, restarts or is gone.

#![expect(clippy::print_stdout, reason = "how often a race was run is to be seen")]

mod deaths;
mod load;
mod offline;
mod outage;
mod races;
mod rig;
mod rotation;
mod together;

use end_to_end::{
    browser::Browser,
    client::{Answer, Client, Tokens},
};
use http::StatusCode;

use crate::rig::{B, Provider, Rig};

fn is_invalid_grant(answer: &Answer) -> bool {
    (answer.status, answer.error()) == (StatusCode::BAD_REQUEST, "invalid_grant")
}

/// A client that knows both replicas, and tokens of Alice's.
async fn logged_in(rig: &Rig) -> anyhow::Result<([Client; 2], Tokens)> {
    let clients = rig.register_at_both().await?;
    let tokens = clients[B].log_in(&mut Browser::new()?, &Provider::alice()).await?;
    Ok((clients, tokens))
}

/// A test of each case, on each store.
macro_rules! on_each_store {
    ($($case:ident),+ $(,)?) => {
        mod redis {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() -> anyhow::Result<()> {
                    super::$case(crate::rig::Store::Redis).await
                }
            )+
        }

        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() -> anyhow::Result<()> {
                    super::$case(crate::rig::Store::Postgres).await
                }
            )+
        }
    };
}

use on_each_store;
