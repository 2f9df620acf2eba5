use std::env;

/// How often to run a race: as the environment variable `RACE_ROUNDS` says, which
/// `cargo xtask integration --rounds` sets, else `default`.
///
/// # Panics
///
/// If the variable holds anything but a number from 1 on: what is not run proves nothing.
pub fn rounds(default: usize) -> usize {
    env::var_os("RACE_ROUNDS").map_or(default, |text| count(&text.to_string_lossy()))
}

/// The same for what is around a store that is raced itself: a tenth, but no fewer than `default`
/// where that many are asked for.
///
/// # Panics
///
/// As for [`rounds`].
pub fn rounds_of_wrapped(default: usize) -> usize {
    fewer(rounds(default), default)
}

fn fewer(rounds: usize, default: usize) -> usize {
    (rounds / 10).max(default).min(rounds)
}

fn count(text: &str) -> usize {
    match text.parse() {
        Ok(count) if count > 0 => count,
        _ => panic!("RACE_ROUNDS is {text:?}: give how often each race is run, from 1 on"),
    }
}

#[cfg(test)]
mod tests {
    use super::{count, fewer};

    #[test]
    fn what_is_wrapped_races_less_where_there_are_many_rounds() {
        assert_eq!([1, 8, 40, 200, 1000].map(|rounds| fewer(rounds, 8)), [1, 8, 8, 20, 100]);
    }

    #[test]
    fn only_a_count_is_one() {
        assert_eq!(count("200"), 200);
        for text in ["0", "", "-1", "many", "1.5"] {
            assert!(std::panic::catch_unwind(|| count(text)).is_err(), "{text:?}");
        }
    }
}
