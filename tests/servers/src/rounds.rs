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

fn count(text: &str) -> usize {
    match text.parse() {
        Ok(count) if count > 0 => count,
        _ => panic!("RACE_ROUNDS is {text:?}: give how often each race is run, from 1 on"),
    }
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn only_a_count_is_one() {
        assert_eq!(count("200"), 200);
        for text in ["0", "", "-1", "many", "1.5"] {
            assert!(std::panic::catch_unwind(|| count(text)).is_err(), "{text:?}");
        }
    }
}
