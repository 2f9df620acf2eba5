//! What a test run counted, read from its own closing lines.

use std::{fmt, ops::AddAssign};

/// Passed, failed and skipped cases of one part, or of all.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    pub(crate) const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    pub(crate) const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    pub(crate) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };

    /// What `cargo test` counted, doctests included: the sum over all its binaries.
    pub(crate) fn of_cargo_test(output: &str) -> Self {
        let mut sum = Self::default();
        for line in output.lines().filter_map(|line| line.strip_prefix("test result: ")) {
            let (_, counts) = line.split_once(". ").unwrap_or_default();
            for part in counts.split(';') {
                sum.add(part.trim());
            }
        }
        sum
    }

    /// What `cargo nextest run` counted: its last summary line.
    pub(crate) fn of_nextest(output: &str) -> Self {
        let mut sum = Self::default();
        let summary = output.lines().rev().find(|line| line.trim_start().starts_with("Summary ["));
        if let Some((_, counts)) = summary.and_then(|line| line.split_once(" run: ")) {
            for part in counts.split(',') {
                sum.add(part.trim());
            }
        }
        sum
    }

    /// What the part comes to, now that its exit code is known.
    ///
    /// A run that says nothing of a failure but ended badly (it did not compile, it was killed) has
    /// one failure, and so has one that ran no test at all: a suite that vanished must not look
    /// green.
    pub(crate) fn judged(mut self, success: bool) -> Self {
        if self.failed == 0 && (!success || self.passed == 0) {
            self.failed = 1;
        }
        self
    }

    /// Adds `12 passed`, `2 timed out`, `1 ignored` or the like.
    fn add(&mut self, part: &str) {
        let Some((number, what)) = part.split_once(' ') else { return };
        let Ok(number) = number.parse::<u64>() else { return };
        // Nextest appends remarks: `10 passed (1 slow, 1 leaky)`.
        match what.split(" (").next().unwrap_or(what) {
            "passed" => self.passed += number,
            "failed" | "timed out" | "exec failed" => self.failed += number,
            "skipped" | "ignored" => self.skipped += number,
            _ => {}
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// How a line of a passing test begins that the report is to show.
const REMARK: &str = "counted: ";

/// What passing tests have to tell: the rest of each such line.
pub(crate) fn remarks(output: &str) -> Vec<&str> {
    output.lines().filter_map(|line| line.trim_start().strip_prefix(REMARK)).collect()
}

#[cfg(test)]
mod tests {
    use super::{Counts, remarks};

    #[test]
    fn remarks_are_found_in_what_both_runners_write() {
        let cargo_test = "---- a stdout ----\ncounted: 3 of 7 lost\nuncounted: x\n";
        assert_eq!(remarks(cargo_test), ["3 of 7 lost"]);
        let nextest = "  stdout ---\n\n    running 1 test\n    counted: 3 of 7 lost\n    ok\n";
        assert_eq!(remarks(nextest), ["3 of 7 lost"]);
    }

    #[test]
    fn cargo_test_is_summed_over_its_binaries() {
        let output = "\
running 3 tests
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s
   Doc-tests kv_storage
test result: FAILED. 1 passed; 2 failed; 4 ignored; 0 measured; 7 filtered out; finished in 0.01s
";
        assert_eq!(Counts::of_cargo_test(output), Counts { passed: 4, failed: 2, skipped: 4 });
    }

    #[test]
    fn nextest_counts_time_outs_as_failures() {
        let output = "
     Summary [   0.5s] 12 tests run: 12 passed, 0 skipped
     Summary [  61.5s] 17 tests run: 12 passed (1 slow, 2 leaky), 2 failed, 1 timed out, 2 exec failed, 3 skipped
";
        assert_eq!(Counts::of_nextest(output), Counts { passed: 12, failed: 5, skipped: 3 });
        let cut_short = "     Summary [   0.5s] 3/9 tests run: 2 passed, 1 failed, 0 skipped";
        assert_eq!(Counts::of_nextest(cut_short), Counts { passed: 2, failed: 1, skipped: 0 });
        let one = "     Summary [   0.5s] 1 test run: 1 passed, 0 skipped";
        assert_eq!(Counts::of_nextest(one), Counts { passed: 1, failed: 0, skipped: 0 });
    }

    #[test]
    fn no_test_at_all_is_a_failure() {
        assert_eq!(Counts::of_cargo_test("").judged(true), Counts::FAILED);
        let empty = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(Counts::of_cargo_test(empty).judged(true), Counts::FAILED);
    }

    #[test]
    fn a_bad_exit_code_is_a_failure_whatever_was_counted() {
        let all_good = Counts { passed: 5, failed: 0, skipped: 0 };
        assert_eq!(all_good.judged(false), Counts { passed: 5, failed: 1, skipped: 0 });
        assert_eq!(all_good.judged(true), all_good);
    }
}
