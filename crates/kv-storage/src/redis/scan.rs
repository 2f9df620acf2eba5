//! Listing keys, server by server.

use redis::Value;

use super::{
    error,
    node::Access,
    store::{Servers, Trouble},
};
use crate::{Cursor, Error, ErrorKind, Result};

/// How many keys one `SCAN` looks at: enough to get on, and too few to hold the server up.
const COUNT: std::ops::RangeInclusive<usize> = 10..=1000;

/// How many `SCAN`s make one page at most, however few keys they find.
const ROUNDS: usize = 16;

/// Where a scan goes on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Position {
    /// Of the masters; with others, everything is listed anew.
    fingerprint: u64,
    /// Which of the masters.
    node: usize,
    /// Of that master. Its cursor means nothing to another, nor to itself after a restart.
    run_id: String,
    cursor: u64,
}

impl Position {
    fn read(cursor: &Cursor) -> Option<Self> {
        let text = std::str::from_utf8(cursor.as_bytes()).ok()?;
        let mut parts = text.split(' ');
        let position = Self {
            fingerprint: parts.next()?.parse().ok()?,
            node: parts.next()?.parse().ok()?,
            run_id: parts.next()?.to_owned(),
            cursor: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(position)
    }

    fn write(&self) -> Cursor {
        let Self { fingerprint, node, run_id, cursor } = self;
        Cursor::new(format!("{fingerprint} {node} {run_id} {cursor}"))
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
    let masters = servers.masters().await?;
    let fingerprint = masters.fingerprint;
    let start = Position { fingerprint, ..Position::default() };
    let same_masters = |position: &Position| position.fingerprint == fingerprint;
    let mut position = position.filter(same_masters).unwrap_or(start);
    let Some(node) = masters.nodes.get(position.node) else { return Ok((Vec::new(), None)) };
    let link = servers.link(node, Access::Read, None).await?;
    if position.run_id != link.server.run_id {
        link.server.run_id.clone_into(&mut position.run_id);
        position.cursor = 0;
    }
    let mut keys = Vec::new();
    for _ in 0..ROUNDS {
        let mut scan = redis::cmd("SCAN");
        scan.arg(position.cursor).arg("MATCH").arg(pattern);
        scan.arg("COUNT").arg(limit.clamp(*COUNT.start(), *COUNT.end()));
        let asked = link.connection.ask(&scan, "SCAN").await;
        let answer = asked.map_err(|error| Trouble::over(&link.connection, error))?;
        let (next, found) = read_answer(answer).ok_or_else(|| error::unexpected("SCAN"))?;
        keys.extend(found);
        position.cursor = next;
        if next == 0 {
            let node = position.node + 1;
            position = Position { fingerprint, node, ..Position::default() };
            let done = node >= masters.nodes.len();
            return Ok((keys, (!done).then(|| position.write())));
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

    #[test]
    fn positions_are_written_and_read() {
        let run_id = "0123456789abcdef".into();
        let there = Position { fingerprint: u64::MAX, node: 2, run_id, cursor: 1 << 63 };
        assert_eq!(Position::read(&there.write()), Some(there));
        let next = Position { fingerprint: 1, node: 1, ..Position::default() };
        assert_eq!(Position::read(&next.write()), Some(next));
        for odd in ["", "1 2", "1 2 abc x", "1 2 abc 3 4", "key"] {
            assert_eq!(Position::read(&Cursor::new(odd)), None, "{odd:?}");
        }
    }
}
