//! Ends the process at a chosen write to its storage, so that tests see what a killed server leaves
//! behind.
//!
//! Only with the feature `kill-points`, which no build that serves has.

use std::{env, process, sync::Arc};

use anyhow::{Context, bail};
use kv_storage::{
    KeyValue,
    testing::{Fault, Faulty, Moment},
};

/// Says where: `before grants 2` is just before the second write to the grants.
pub(crate) const VARIABLE: &str = "OIDC_PROXY_KILL_POINT";

/// The database, with the kill point that the environment asks for.
pub(crate) fn around(database: Arc<dyn KeyValue>) -> anyhow::Result<Arc<dyn KeyValue>> {
    let Some(told) = env::var_os(VARIABLE) else { return Ok(database) };
    let told = told.to_string_lossy();
    let fault = parse(&told).with_context(|| format!("{VARIABLE} is {told:?}"))?;
    tracing::warn!("this process ends {told}");
    let faulty = Faulty::new(database);
    faulty.faults().inject(fault);
    Ok(Arc::new(faulty))
}

fn parse(told: &str) -> anyhow::Result<Fault> {
    let words: Vec<&str> = told.split(' ').collect();
    let [moment, collection, nth] = words[..] else {
        bail!("it must be a moment, a collection and a number");
    };
    let moment = match moment {
        "before" => Moment::Before,
        "after" => Moment::After,
        _ => bail!("the moment is `before` or `after`"),
    };
    let nth = nth.parse().context("the number counts from one")?;
    // As by SIGKILL: nothing is finished, flushed or closed.
    let die = Fault::run(moment, |_| process::abort());
    Ok(die.on_writes().in_collection(collection).nth(nth))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_kill_point_is_a_moment_a_collection_and_a_number() {
        assert!(parse("before grants 1").is_ok() && parse("after once 12").is_ok());
        for wrong in
            ["", "before grants", "soon grants 1", "after grants first", "after grants 1 2"]
        {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
