//! How long everything lives.

use std::{collections::BTreeSet, time::Duration};

use oidc_proxy::{AccessTokenBasis, Lifetimes};

use super::load;
use crate::{
    cli::duration,
    config::{check::LIFETIMES, setting::Fallback},
};

#[test]
fn the_basis_of_access_tokens_is_one_of_two() {
    for basis in AccessTokenBasis::ALL {
        let config = load(&[("access-token-basis", basis.as_str())]).unwrap();
        assert_eq!(config.lifetimes.access_token_basis, basis);
    }
    assert_eq!(load(&[]).unwrap().lifetimes.access_token_basis, AccessTokenBasis::Provider);
}

#[test]
fn the_lifetimes_in_the_table_are_the_ones_that_hold() {
    let mut seen = BTreeSet::new();
    for (setting, place) in &LIFETIMES {
        let Fallback::Is(text) = setting.fallback else { panic!("{}", setting.name) };
        let stated = duration::parse(text).unwrap();
        assert_eq!(*place(&mut Lifetimes::default()), stated, "{}", setting.name);
        // Each has a place of its own.
        let mut lifetimes = Lifetimes::default();
        *place(&mut lifetimes) = Duration::from_secs(7);
        assert!(seen.insert(format!("{lifetimes:?}")), "{}", setting.name);
        let config = load(&[(setting.name, "7h")]);
        if let Ok(config) = config {
            assert_ne!(config.lifetimes, Lifetimes::default(), "{}", setting.name);
        }
    }
}
