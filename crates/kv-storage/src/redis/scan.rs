//! Listing keys, server by server.

use redis::Value;

use super::{
    error,
    node::Access,
    store::{Servers, Trouble},
    survey::Survey,
};
use crate::{Cursor, Error, ErrorKind, Result};

/// How many keys one `SCAN` looks at: enough to get on, and too few to hold the server up.
const COUNT: std::ops::RangeInclusive<usize> = 10..=1000;

/// How many `SCAN`s make one page at most, however few keys they find.
const ROUNDS: usize = 16;

/// How often everything is listed at most while slots move. A key that moves once meanwhile is
/// missed by one listing at most, for it stays where it is during the other; the third is for one
/// that moves twice.
const PASSES: u8 = 3;

/// How often a listing begins anew because masters were restarted or replaced: more than any
/// maintenance does while somebody lists, and still an end.
const RESTARTS: u8 = 16;

/// What stands in a cursor when slots have moved.
const MOVED: &str = "moved";

/// Where a scan goes on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Position {
    /// Of the masters; with others, everything is listed anew.
    masters: u64,
    /// Which of the masters.
    node: usize,
    /// Of that master. Its cursor means nothing to another, nor to itself after a restart.
    run_id: String,
    cursor: u64,
    /// How often everything was listed already.
    pass: u8,
    restarts: u8,
    /// Where the slots have been since the pass began; `None` if some have moved.
    settled: Option<u64>,
}

impl Position {
    fn read(cursor: &Cursor) -> Option<Self> {
        let text = std::str::from_utf8(cursor.as_bytes()).ok()?;
        let mut parts = text.split(' ');
        let position = Self {
            masters: parts.next()?.parse().ok()?,
            node: parts.next()?.parse().ok()?,
            run_id: parts.next()?.to_owned(),
            cursor: parts.next()?.parse().ok()?,
            pass: parts.next()?.parse().ok()?,
            restarts: parts.next()?.parse().ok()?,
            settled: match parts.next()? {
                MOVED => None,
                settled => Some(settled.parse().ok()?),
            },
        };
        parts.next().is_none().then_some(position)
    }

    fn write(&self) -> Cursor {
        let Self { masters, node, run_id, cursor, pass, restarts, settled } = self;
        let settled = settled.map_or_else(|| MOVED.to_owned(), |settled| settled.to_string());
        Cursor::new(format!("{masters} {node} {run_id} {cursor} {pass} {restarts} {settled}"))
    }

    /// The first key of the first master.
    fn begin(survey: &Survey, pass: u8, restarts: u8) -> Self {
        let Survey { masters, settled, .. } = *survey;
        Self { masters, pass, restarts, settled, ..Self::default() }
    }

    /// The same place among the masters as they are now.
    fn among(mut self, survey: &Survey) -> Result<Self> {
        if self.masters != survey.masters {
            self.restarted()?;
            return Ok(Self::begin(survey, self.pass, self.restarts));
        }
        if self.settled != survey.settled {
            self.settled = None;
        }
        Ok(self)
    }

    /// The same place at this very process of the master.
    fn at(&mut self, run_id: &str) -> Result<()> {
        if self.run_id != run_id {
            if !self.run_id.is_empty() {
                self.restarted()?;
            }
            run_id.clone_into(&mut self.run_id);
            self.cursor = 0;
        }
        Ok(())
    }

    /// Where it goes on after the last key of the last master; `None` if every key was listed.
    fn after_last(self, survey: &Survey) -> Option<Self> {
        let same = self.masters == survey.masters && self.settled == survey.settled;
        let pass = self.pass.saturating_add(1);
        let done = (same && self.settled.is_some()) || pass >= PASSES;
        (!done).then(|| Self::begin(survey, pass, self.restarts))
    }

    fn restarted(&mut self) -> Result<()> {
        self.restarts = self.restarts.saturating_add(1);
        if self.restarts <= RESTARTS {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "the redis masters changed too often while their keys were listed: list them again \
             from the beginning",
        ))
    }
}

/// Some keys that match the pattern, and where to go on.
pub(super) async fn page(
    servers: &Servers,
    pattern: &[u8],
    cursor: Option<&Cursor>,
    limit: usize,
) -> Result<(Vec<Vec<u8>>, Option<Cursor>)> {
    let position = match cursor {
        None => None,
        Some(cursor) => Some(Position::read(cursor).ok_or_else(|| {
            Error::new(ErrorKind::Misconfigured, "a scan's cursor is from another store")
        })?),
    };
    match page_once(servers, pattern, position.clone(), limit).await {
        Ok(page) => return Ok(page),
        Err(trouble) => servers.check_repeatable(trouble)?,
    }
    Ok(page_once(servers, pattern, position, limit).await?)
}

async fn page_once(
    servers: &Servers,
    pattern: &[u8],
    position: Option<Position>,
    limit: usize,
) -> Result<(Vec<Vec<u8>>, Option<Cursor>), Trouble> {
    let survey = servers.survey().await?;
    let mut position = match position {
        None => Position::begin(&survey, 0, 0),
        Some(position) => position.among(&survey)?,
    };
    let Some(node) = survey.nodes.get(position.node) else { return Ok((Vec::new(), None)) };
    let link = servers.link(node, Access::Read, None).await?;
    position.at(&link.server.run_id)?;
    let mut keys = Vec::new();
    for _ in 0..ROUNDS {
        let mut scan = redis::cmd("SCAN");
        scan.arg(position.cursor).arg("MATCH").arg(pattern);
        scan.arg("COUNT").arg(limit.clamp(*COUNT.start(), *COUNT.end()));
        let asked = link.connection.ask(&scan, "SCAN").await;
        let answer = asked.map_err(|error| Trouble::over(&link.connection, error))?;
        let (next, found) = read_answer(answer).ok_or_else(|| error::odd_answer("SCAN"))?;
        keys.extend(found);
        position.cursor = next;
        if next == 0 {
            position.node += 1;
            position.run_id.clear();
            if position.node < survey.nodes.len() {
                return Ok((keys, Some(position.write())));
            }
            let next = position.after_last(&servers.survey().await?);
            return Ok((keys, next.map(|position| position.write())));
        }
        if keys.len() >= limit {
            break;
        }
    }
    Ok((keys, Some(position.write())))
}

fn read_answer(answer: Value) -> Option<(u64, Vec<Vec<u8>>)> {
    let Value::Array(parts) = answer else { return None };
    let [Value::BulkString(next), Value::Array(found)] = <[Value; 2]>::try_from(parts).ok()? else {
        return None;
    };
    let next = std::str::from_utf8(&next).ok()?.parse().ok()?;
    let keys = found.into_iter().map(|key| match key {
        Value::BulkString(key) => Some(key),
        _ => None,
    });
    Some((next, keys.collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(masters: u64, settled: Option<u64>) -> Survey {
        Survey { masters, nodes: Vec::new(), settled }
    }

    #[test]
    fn positions_are_written_and_read() {
        let there = Position {
            masters: u64::MAX,
            node: 2,
            run_id: "0123456789abcdef".into(),
            cursor: 1 << 63,
            pass: 1,
            restarts: 2,
            settled: Some(u64::MAX),
        };
        assert_eq!(Position::read(&there.write()), Some(there));
        let next = Position { masters: 1, node: 1, settled: None, ..Position::default() };
        assert_eq!(Position::read(&next.write()), Some(next));
        for odd in ["", "1 2", "1 2 abc x", "1 2 abc 3", "1 2 abc 3 4 5 x", "1 2 abc 3 4 5 6 7"] {
            assert_eq!(Position::read(&Cursor::new(odd)), None, "{odd:?}");
        }
    }

    #[test]
    fn everything_is_listed_again_while_slots_move() {
        let quiet = survey(1, Some(7));
        let begun = Position::begin(&quiet, 0, 0);
        assert_eq!(begun.clone().among(&quiet).unwrap(), begun);
        assert_eq!(begun.clone().after_last(&quiet), None);

        let moved = survey(1, Some(8));
        let noticed = begun.clone().among(&moved).unwrap();
        assert_eq!(noticed.settled, None);
        for (position, survey) in [
            (begun.clone(), &moved),
            (begun.clone(), &survey(2, Some(7))),
            (noticed.among(&quiet).unwrap(), &quiet),
        ] {
            let next = position.after_last(survey).unwrap();
            assert_eq!(next, Position::begin(survey, 1, 0));
        }

        let moving = survey(1, None);
        let mut position = Position::begin(&moving, 0, 0);
        for pass in 1..PASSES {
            position = position.after_last(&moving).unwrap();
            assert_eq!(position, Position::begin(&moving, pass, 0));
        }
        assert_eq!(position.after_last(&moving), None, "it ends");
    }

    #[test]
    fn other_masters_begin_anew_and_not_for_ever() {
        let mut position = Position::begin(&survey(0, Some(1)), 1, 0);
        position.node = 2;
        for masters in 1..=RESTARTS {
            let survey = survey(masters.into(), Some(1));
            position = position.among(&survey).unwrap();
            assert_eq!(position, Position::begin(&survey, 1, masters));
        }
        let error = position.clone().among(&survey(99, Some(1))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        position.at("first").unwrap();
        position.cursor = 5;
        position.at("first").unwrap();
        assert_eq!(position.cursor, 5);
        assert_eq!(position.at("second").unwrap_err().kind(), ErrorKind::Unavailable);
    }
}
