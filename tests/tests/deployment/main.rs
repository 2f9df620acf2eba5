//! The files in `deploy/`, in the programs that they are for.

mod front;
mod journey;
mod rig;
mod unit;

use front::Front;

#[tokio::test]
async fn a_journey_through_nginx() -> anyhow::Result<()> {
    journey::through(Front::nginx).await
}

#[tokio::test]
async fn a_journey_through_caddy() -> anyhow::Result<()> {
    journey::through(Front::caddy).await
}

#[test]
fn nginx_takes_the_file_with_its_certificates() -> anyhow::Result<()> {
    front::check_nginx()
}

#[test]
fn caddy_takes_the_file_as_it_is() -> anyhow::Result<()> {
    front::check_caddy()
}
