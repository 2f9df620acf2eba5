//! The part of a long log that says what went wrong.

/// As much of it as fits a screen or two.
const LINES: usize = 80;

/// How a compiler, a test runner or a formatter begins to tell of a failure.
const BEGINNINGS: &[&str] =
    &["error", "failures:", "---- ", "--- STDERR", "--- STDOUT", "FAIL [", "TIMEOUT [", "Diff in "];

/// Everything from the first complaint on, at most [`LINES`] lines; without a complaint, the last
/// lines.
pub(crate) fn relevant(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    let complains = |line: &&str| {
        let line = line.trim_start();
        BEGINNINGS.iter().any(|beginning| line.starts_with(beginning))
    };
    let start = match lines.iter().position(complains) {
        Some(first) => first,
        None => lines.len().saturating_sub(LINES / 2),
    };
    let rest = &lines[start..];
    if rest.len() <= LINES {
        return rest.join("\n");
    }
    let left_out = rest.len() - LINES;
    // The first complaint is usually the cause, the last lines are the summary.
    let (head, tail) = (&rest[..LINES / 2], &rest[rest.len() - LINES / 2..]);
    format!("{}\n… {left_out} lines …\n{}", head.join("\n"), tail.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::{LINES, relevant};

    /// 500 numbered lines.
    fn lines(word: &str) -> String {
        (0..500).map(|number| format!("{word} {number}")).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn starts_at_the_first_complaint() {
        let output = "   Compiling a\n   Compiling b\nerror[E0308]: mismatched types\n --> a.rs\n";
        assert_eq!(relevant(output), "error[E0308]: mismatched types\n --> a.rs");
    }

    #[test]
    fn without_a_complaint_it_is_the_end() {
        let output = lines("line");
        let tail = relevant(&output);
        assert!(tail.ends_with("line 499"));
        assert_eq!(tail.lines().count(), LINES / 2);
    }

    #[test]
    fn a_flood_keeps_its_beginning_and_its_end() {
        let output = lines("error:");
        let tail = relevant(&output);
        assert!(tail.starts_with("error: 0\n") && tail.ends_with("error: 499"));
        assert!(tail.contains("… 420 lines …"));
    }
}
