//! Text that a stranger chose, made safe to look at.

/// The longest name that a page shows, in characters.
pub(super) const MAX_NAME_CHARS: usize = 60;

/// The longest redirect URI that a page shows, in characters; its host stands apart in full.
pub(super) const MAX_URI_CHARS: usize = 300;

/// The most combining marks on one character; more of them paint over the neighbors.
const MAX_MARKS: usize = 2;

/// Removes what misleads the eye and cuts what drowns the page.
///
/// Controls, direction overrides and invisible characters go; white space becomes single spaces;
/// what is longer than `max` characters ends with an ellipsis.
pub(super) fn clean(text: &str, max: usize) -> String {
    let mut cleaned = String::new();
    let mut length = 0;
    let mut marks = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        let mut separator = (length > 0).then_some(' ');
        for character in word.chars().filter(|&c| !is_deceptive(c)) {
            marks = if is_combining(character) { marks + 1 } else { 0 };
            if marks > MAX_MARKS {
                continue;
            }
            if length >= max {
                return cleaned + "…";
            }
            cleaned.extend(separator.take().inspect(|_| length += 1));
            cleaned.push(character);
            length += 1;
        }
    }
    cleaned
}

/// Characters that are not seen but change how others are: direction, joining, fillers, tags.
fn is_deceptive(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffc}'
            | '\u{e000}'..='\u{f8ff}'
            | '\u{e0000}'..='\u{10ffff}'
    )
}

fn is_combining(character: char) -> bool {
    matches!(
        character,
        '\u{300}'..='\u{36f}'
            | '\u{483}'..='\u{489}'
            | '\u{1ab0}'..='\u{1aff}'
            | '\u{1dc0}'..='\u{1dff}'
            | '\u{20d0}'..='\u{20ff}'
            | '\u{fe20}'..='\u{fe2f}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn honest_names_stay_as_they_are() {
        for name in ["Claude Code", "Überapp (v2)", "مساعد", "助手", "Ünïcödé 🦀", "e\u{301}"]
        {
            assert_eq!(clean(name, MAX_NAME_CHARS), name);
        }
    }

    #[test]
    fn what_misleads_the_eye_goes() {
        for (name, cleaned) in [
            ("\u{202e}edualC\u{202c}", "edualC"),
            ("Cla\u{200b}ude\u{2066} \u{2069}Code", "Claude Code"),
            ("  two\n\n lines\u{2028}\t\u{0} ", "two lines"),
            ("a\u{e0041}b\u{feff}c", "abc"),
            ("\u{200f}\u{3164} \u{202e}", ""),
            ("Z\u{300}\u{301}\u{302}\u{303}\u{304}x", "Z\u{300}\u{301}x"),
        ] {
            assert_eq!(clean(name, MAX_NAME_CHARS), cleaned);
        }
    }

    #[test]
    fn what_is_too_long_is_cut() {
        assert_eq!(clean(&"a".repeat(60), 60), "a".repeat(60));
        assert_eq!(clean(&"a".repeat(61), 60), format!("{}…", "a".repeat(60)));
        assert_eq!(clean("ab cd", 3), "ab c…");
        assert_eq!(clean("ab cd", 2), "ab…");
    }

    proptest! {
        #[test]
        fn nothing_hidden_comes_through(text in any::<String>()) {
            let cleaned = clean(&text, 10);
            prop_assert!(cleaned.chars().count() <= 12);
            prop_assert!(!cleaned.chars().any(|c| c.is_control() || is_deceptive(c)));
            prop_assert_eq!(cleaned.trim(), &cleaned);
        }
    }
}
