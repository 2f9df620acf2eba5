//! From what the benchmark prints to the tables in the manual.

use std::fmt;

use anyhow::{Context as _, ensure};

/// What is between these lines of the page is generated.
const BEGIN: &str = "<!-- begin: written by cargo xtask bench kv --write -->";
const END: &str = "<!-- end: written by cargo xtask bench kv --write -->";

/// The columns: bytes and tasks.
const COLUMNS: [(u32, u32); 4] = [(256, 1), (256, 64), (4096, 1), (4096, 64)];

/// The kinds of lines, and the heading of each one's table.
const KINDS: [(&str, &str); 3] = [
    ("backend", "| store | beside | operation |"),
    ("wrapper", "| wrapper around `memory:` | beside | operation |"),
    ("cipher", "| cipher | beside | operation |"),
];

/// How fast something should be at least.
struct Aim {
    kind: &'static str,
    store: &'static str,
    /// With that many tasks, if not with any.
    tasks: Option<u32>,
    ratio: f64,
    words: &'static str,
}

const AIMS: &[Aim] = &[
    Aim {
        kind: "backend",
        store: "memory",
        tasks: None,
        ratio: 0.5,
        words: "`memory:` ≥ 0.5 of a sharded map",
    },
    Aim {
        kind: "backend",
        store: "redis",
        tasks: Some(64),
        ratio: 0.8,
        words: "`redis:` ≥ 0.8 of the crate redis, 64 tasks",
    },
    Aim {
        kind: "backend",
        store: "sqlite",
        tasks: None,
        ratio: 0.7,
        words: "`sqlite:` ≥ 0.7 of sqlx",
    },
    Aim {
        kind: "cipher",
        store: "aes-gcm",
        tasks: None,
        ratio: 1.0 / 3.0,
        words: "AES-GCM within 3 × of the bare call of aws-lc-rs (≥ 0.33)",
    },
];

/// One line of the benchmark.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    kind: String,
    store: String,
    beside: String,
    operation: String,
    bytes: u32,
    tasks: u32,
    /// How many times as fast as what it is beside.
    ratio: f64,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(super) struct Report {
    lines: Vec<Line>,
    /// Stores whose server is not installed.
    left_out: Vec<String>,
}

impl Report {
    /// Takes the benchmark's lines out of its output.
    pub(super) fn parse(output: &str) -> anyhow::Result<Self> {
        let mut report = Self::default();
        for text in output.lines() {
            let fields: Vec<&str> = text.split(" | ").map(str::trim).collect();
            match fields[..] {
                ["left out", store, ..] => report.left_out.push(store.into()),
                [kind, ..] if KINDS.iter().any(|(name, _)| *name == kind) => {
                    let line = line(&fields);
                    report.lines.push(line.with_context(|| format!("not understood: {text}"))?);
                }
                _ => {}
            }
        }
        ensure!(!report.lines.is_empty(), "the benchmark printed no figures");
        Ok(report)
    }

    fn aim(&self, f: &mut fmt::Formatter<'_>, aim: &Aim) -> fmt::Result {
        let meant = |line: &&Line| {
            line.kind == aim.kind
                && line.store == aim.store
                && aim.tasks.is_none_or(|tasks| tasks == line.tasks)
        };
        let lines: Vec<&Line> = self.lines.iter().filter(meant).collect();
        let Some(lowest) = lines.iter().min_by(|a, b| a.ratio.total_cmp(&b.ratio)) else {
            return writeln!(f, "| {} | not measured | |", aim.words);
        };
        let reached = lines.iter().filter(|line| line.ratio >= aim.ratio).count();
        let verdict = match reached {
            all if all == lines.len() => format!("reached by all {all} figures"),
            some => format!("**missed** by {} of {} figures", lines.len() - some, lines.len()),
        };
        let Line { operation, bytes, tasks, ratio, .. } = lowest;
        let where_ = format!("{operation}, {}", column(*bytes, *tasks));
        writeln!(f, "| {} | {verdict} | {} ({where_}) |", aim.words, figure(*ratio))
    }

    fn table(&self, f: &mut fmt::Formatter<'_>, kind: &str, heading: &str) -> fmt::Result {
        write!(f, "{heading}")?;
        for (bytes, tasks) in COLUMNS {
            write!(f, " {} |", column(bytes, tasks))?;
        }
        writeln!(f, "\n|{}", " --- |".repeat(3 + COLUMNS.len()))?;
        let mut rows: Vec<&Line> = Vec::new();
        let same = |a: &Line, b: &Line| a.store == b.store && a.operation == b.operation;
        for line in self.lines.iter().filter(|line| line.kind == kind) {
            if !rows.iter().any(|row| same(row, line)) {
                rows.push(line);
            }
        }
        for row in rows {
            write!(f, "| {} | {} | {} |", row.store, row.beside, row.operation)?;
            for column in COLUMNS {
                let found = self.lines.iter().find(|line| {
                    line.kind == kind && same(line, row) && (line.bytes, line.tasks) == column
                });
                write!(f, " {} |", found.map_or("–".into(), |line| figure(line.ratio)))?;
            }
            writeln!(f)?;
        }
        writeln!(f)
    }
}

/// The tables; the first one says which aims were reached.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.left_out.is_empty() {
            let stores = self.left_out.join(", ");
            writeln!(f, "Left out, for the server is not installed: {stores}.\n")?;
        }
        writeln!(f, "| aim | outcome | lowest |\n| --- | --- | --- |")?;
        for aim in AIMS {
            self.aim(f, aim)?;
        }
        writeln!(f)?;
        for (kind, heading) in KINDS {
            self.table(f, kind, heading)?;
        }
        Ok(())
    }
}

/// `page` with `text` between the marks.
pub(super) fn replace(page: &str, text: &str) -> anyhow::Result<String> {
    let missing = |mark| format!("the page has no line `{mark}`");
    let (before, rest) = page.split_once(BEGIN).with_context(|| missing(BEGIN))?;
    let (_, after) = rest.split_once(END).with_context(|| missing(END))?;
    Ok(format!("{before}{BEGIN}\n{}\n{END}{after}", text.trim()))
}

fn line(fields: &[&str]) -> Option<Line> {
    let [kind, store, beside, operation, bytes, tasks, _, ratio] = fields else { return None };
    Some(Line {
        kind: (*kind).into(),
        store: (*store).into(),
        beside: (*beside).into(),
        operation: (*operation).into(),
        bytes: bytes.parse().ok()?,
        tasks: tasks.parse().ok()?,
        ratio: ratio.parse().ok().filter(|ratio: &f64| ratio.is_finite())?,
    })
}

fn column(bytes: u32, tasks: u32) -> String {
    let size = if bytes < 1024 { format!("{bytes} B") } else { format!("{} KiB", bytes / 1024) };
    format!("{size}, {tasks} task{}", if tasks == 1 { "" } else { "s" })
}

/// Two digits that count are what such a measurement is good for.
fn figure(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.2}") } else { format!("{ratio:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
     Running benches/kv/main.rs
backend | memory | a sharded map | get | 256 | 1 | 1000 | 0.900
backend | memory | a sharded map | get | 256 | 64 | 1000 | 0.412
backend | sqlite | sqlx | put, delete | 4096 | 64 | 10 | 12.340
wrapper | metrics | bare memory | put | 256 | 1 | 10 | 0.800
cipher | aes-gcm | aws-lc-rs | seal | 256 | 1 | 10 | 0.400
left out | redis | the program `redis-server` is not installed
";

    #[test]
    fn figures_become_cells_and_aims_are_judged() {
        let text = Report::parse(OUTPUT).unwrap().to_string();
        for line in [
            "| memory | a sharded map | get | 0.90 | 0.41 | – | – |",
            "| sqlite | sqlx | put, delete | – | – | – | 12 |",
            "| metrics | bare memory | put | 0.80 | – | – | – |",
            "| aes-gcm | aws-lc-rs | seal | 0.40 | – | – | – |",
            "| `memory:` ≥ 0.5 of a sharded map | **missed** by 1 of 2 figures | 0.41 (get, 256 B, 64 tasks) |",
            "| `redis:` ≥ 0.8 of the crate redis, 64 tasks | not measured | |",
            "| `sqlite:` ≥ 0.7 of sqlx | reached by all 1 figures | 12 (put, delete, 4 KiB, 64 tasks) |",
            "Left out, for the server is not installed: redis.",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn a_line_that_lacks_something_is_an_error_that_quotes_it() {
        for bad in [
            "backend | memory | a map | get | 256 | 1 | 10",
            "cipher | a | b | c | 1 | 1 | 1 | NaN",
        ] {
            let error = Report::parse(bad).unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
        assert!(Report::parse("Finished").unwrap_err().to_string().contains("no figures"));
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let expected = format!("before\n{BEGIN}\nnew\n{END}\nafter\n");
        assert_eq!(replace(&page, "new\n\n").unwrap(), expected);
        assert_eq!(replace(&expected, "new").unwrap(), expected);
        assert!(replace("page", "new").unwrap_err().to_string().contains(BEGIN));
        assert!(replace(BEGIN, "new").unwrap_err().to_string().contains(END));
    }

    #[test]
    fn the_page_has_the_marks() {
        let page = include_str!("../../../docs/storage.md");
        assert!(replace(page, "new").is_ok());
    }
}
