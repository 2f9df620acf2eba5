//! Without a server: with its settings, storage and keys.

use anyhow::{Context, bail};
use oidc_proxy::{
    OidcProxy,
    admin::{Administration, GrantFilter, PageCursor},
};
use serde::Serialize;
use serde_json::Value;

use super::{End, List, Page, Target};
use crate::{
    audit::{self, Writing},
    config::{Config, Storage},
    serve::{Held, Kept, compare_signing_keys},
};

pub(super) struct Offline {
    administration: Administration,
    proxy: OidcProxy,
    held: Held,
    auditing: Option<Writing>,
}

impl Offline {
    /// # Errors
    ///
    /// The storage is in use by a server that shares it with nobody, or cannot be opened.
    pub(super) async fn open(mut config: Config) -> anyhow::Result<Self> {
        if let Storage::Memory(_) = config.storage {
            bail!("memory: is gone with the server; there is nothing to open");
        }
        let (audit, auditing) = audit::open(&config.operation.audit_log)?.unzip();
        let Kept { storage, signing_keys, held } = Kept::open(&mut config, audit).await?;
        let proxy = storage.signing_keys(signing_keys).build();
        let proxy = proxy.context("could not set up the proxy")?;
        // The index of people is made with the keys.
        compare_signing_keys(&proxy, false).await?;
        Ok(Self { administration: proxy.administration(), proxy, held, auditing })
    }

    pub(super) async fn list(
        &self,
        list: &List,
        cursor: Option<&str>,
        limit: usize,
    ) -> anyhow::Result<Page> {
        let cursor = cursor.map(PageCursor::from_text);
        let (entries, next) = match list {
            List::Sessions(target) => {
                let filter = target.as_ref().map_or(GrantFilter::All, filter);
                let page = self.administration.grants(&filter, cursor.as_ref(), limit).await?;
                (page.grants.iter().map(value).collect(), page.next)
            }
            List::Clients => {
                let page = self.administration.clients(cursor.as_ref(), limit).await?;
                (page.clients.iter().map(value).collect(), page.next)
            }
        };
        Ok(Page { entries, next: next.map(|cursor| cursor.to_string()) })
    }

    pub(super) async fn end(&self, what: &End) -> anyhow::Result<Option<u64>> {
        Ok(match what {
            End::Sessions(target) => Some(self.administration.revoke(&filter(target)).await?),
            End::Session(id) => self.administration.revoke_grant(id).await?.then_some(1),
            End::Client(id) => self.administration.delete_client(id).await?,
        })
    }

    /// Finishes what was begun: the provider is told of revocations, as far as it answers.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        self.proxy.shutdown().await;
        self.held.close().await;
        self.auditing.map_or(Ok(()), Writing::end)
    }
}

fn filter(target: &Target) -> GrantFilter {
    match target {
        Target::User { issuer, subject } => {
            GrantFilter::User { issuer: issuer.clone(), subject: subject.clone() }
        }
        Target::Client(id) => GrantFilter::Client(id.clone()),
        Target::All => GrantFilter::All,
    }
}

/// Summaries are plain texts and numbers.
fn value(summary: &impl Serialize) -> Value {
    serde_json::to_value(summary).unwrap_or_default()
}
