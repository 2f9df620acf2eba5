//! Where a genuine refresh token stands (D5), and rotation.

use std::time::Duration;

use crate::{
    client_settings::RefreshRules,
    record::grant::{Grant, Phase, Retired},
};

/// The most retired generations that are remembered inside the grace window.
///
/// A client that rotates faster than this is not one that lost an answer.
const MAX_RETIRED: usize = 64;

/// A genuine refresh token, and what holds for the client that presented it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presented {
    pub(crate) generation: u64,
    pub(crate) rules: RefreshRules,
}

/// Where a refresh token with a good MAC stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The successor of all others: rotate.
    Current,
    /// Rotated a moment ago: a lost answer or a second tab. Answer with the current token.
    Retired,
    /// Rotated long ago: somebody else has it. Revoke.
    Replay,
    /// We issued it, but the store does not know: it lost a write. Go on from it.
    Ahead,
}

/// Tells our own rotation from another's: nobody else wrote this generation at this moment.
#[derive(PartialEq, Eq)]
pub(crate) struct RotationMark {
    generation: u64,
    used_at: u64,
}

impl RotationMark {
    pub(crate) fn of(grant: &Grant) -> Self {
        Self { generation: grant.generation, used_at: grant.used_at }
    }
}

/// Where a token stands at `now`.
pub(crate) fn standing(grant: &Grant, presented: Presented, now: u64) -> Standing {
    let Presented { generation, rules: RefreshRules { grace, .. } } = presented;
    if generation == grant.generation {
        return Standing::Current;
    }
    if generation > grant.generation {
        return Standing::Ahead;
    }
    let remembered = grant.retired.iter().find(|retired| retired.generation == generation);
    match remembered {
        Some(retired) if is_within(retired, now, grace) => Standing::Retired,
        _ => Standing::Replay,
    }
}

/// Whether the use of a current token that does not rotate would change nothing: of many at once
/// one writes, and the others need not race.
pub(crate) fn is_noted(grant: &Grant, presented: Presented, now: u64) -> bool {
    !presented.rules.rotates
        && presented.generation == grant.generation
        && grant.used_at == now
        && grant.is_active()
}

/// The grant after a token (current or ahead) was used: active, whatever it was.
pub(crate) fn advance(grant: &mut Grant, presented: Presented, now: u64) {
    let Presented { generation, rules } = presented;
    grant.retired.retain(|retired| is_within(retired, now, rules.grace));
    if rules.rotates {
        grant.retired.push(Retired { generation, at: now });
        if grant.retired.len() > MAX_RETIRED {
            let surplus = grant.retired.len() - MAX_RETIRED;
            grant.retired.drain(..surplus);
        }
        grant.generation = generation.saturating_add(1);
    } else {
        grant.generation = generation;
    }
    if grant.phase == Phase::Pending {
        // Nobody has a genuine token of a grant whose code was not redeemed: the store lost that.
        grant.phase = Phase::Active { attempt: String::new() };
    }
    grant.used_at = now;
}

fn is_within(retired: &Retired, now: u64, grace: Duration) -> bool {
    now.saturating_sub(retired.at) <= grace.as_secs() && !grace.is_zero()
}
