//! Rows to values and back.

use std::collections::BTreeMap;

use bytes::Bytes;
use rusqlite::{Connection, Row, params};
use secmon_protocol::{
    codec::{self, CodecError},
    command::CommandInfo,
    facet::{FacetId, FacetStatus},
    ids::{Epoch, NameError, NodeId, NodeName, Seq},
    state::{NodeState, Op, RawFacet},
    time::UnixNanos,
};

use super::{Fault, jobs, log};
use crate::core::{Kept, NodeRow, TokenRow, Write};

pub(super) fn write(db: &Connection, write: &Write) -> rusqlite::Result<()> {
    match write {
        Write::Node(row) => node(db, row),
        Write::Progress { node, last, seen, stale } => db
            .prepare_cached("UPDATE nodes SET last = ?2, seen = ?3, stale = ?4 WHERE id = ?1")?
            .execute(params![node.0, last.0.cast_signed(), seen.0, stale])
            .map(drop),
        Write::State(node, ops) => ops.iter().try_for_each(|op| change(db, *node, op)),
        Write::Token(token) => db
            .prepare_cached("INSERT OR REPLACE INTO tokens VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(params![
                token.secret,
                token.node.0,
                token.name.as_str(),
                token.made.0,
                token.expires.0,
                token.replace,
                token.used.map(|used| used.0),
            ])
            .map(drop),
        Write::ForgetToken(secret) => {
            db.prepare_cached("DELETE FROM tokens WHERE secret = ?1")?.execute(params![secret]).map(drop)
        }
        Write::Job(row) => jobs::write(db, row),
        Write::JobProgress { job, output, dropped } => jobs::progress(db, *job, *output, *dropped),
        Write::JobOutput { job, at, stream, data } => jobs::append(db, *job, *at, (*stream, data)),
        Write::DropOutput { job, from, to } => jobs::drop_output(db, *job, *from, *to),
        Write::ForgetJob(job) => jobs::forget(db, *job),
        Write::ForgetNode(node) => [
            "DELETE FROM entries WHERE node = ?1",
            "DELETE FROM facets WHERE node = ?1",
            "DELETE FROM nodes WHERE id = ?1",
        ]
        .into_iter()
        .try_for_each(|delete| db.prepare_cached(delete)?.execute(params![node.0]).map(drop)),
    }
}

fn node(db: &Connection, row: &NodeRow) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO nodes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?
    .execute(params![
        row.id.0,
        row.name.as_str(),
        row.papers,
        row.seen.0,
        row.agent,
        row.address,
        codec::encode(&row.facts).as_ref(),
        row.clock_offset,
        row.epoch.map(|epoch| epoch.0.cast_signed()),
        row.log_epoch.0.cast_signed(),
        row.last.0.cast_signed(),
        row.stale,
        codec::encode_list(&row.commands).as_ref(),
        codec::encode_list(&row.others).as_ref(),
        row.connected,
    ])
    .map(drop)
}

fn change(db: &Connection, node: NodeId, op: &Op) -> rusqlite::Result<()> {
    match op {
        Op::Status { facet, new, .. } => {
            db.prepare_cached("DELETE FROM entries WHERE node = ?1 AND facet = ?2")?
                .execute(params![node.0, facet.0])?;
            db.prepare_cached("INSERT OR REPLACE INTO facets VALUES (?1, ?2, ?3)")?.execute(params![
                node.0,
                facet.0,
                codec::encode(new).as_ref()
            ])
        }
        Op::Added { facet, key, new } | Op::Changed { facet, key, new, .. } => db
            .prepare_cached("INSERT OR REPLACE INTO entries VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![node.0, facet.0, key.as_ref(), new.as_ref()]),
        Op::Removed { facet, key, .. } => db
            .prepare_cached("DELETE FROM entries WHERE node = ?1 AND facet = ?2 AND key = ?3")?
            .execute(params![node.0, facet.0, key.as_ref()]),
    }
    .map(drop)
}

/// What a facet's row says, with the entries that belong to it.
type Facets = BTreeMap<(NodeId, FacetId), (FacetStatus, BTreeMap<Bytes, Bytes>)>;

pub(super) fn load(db: &Connection) -> Result<Kept, Fault> {
    let mut states: BTreeMap<NodeId, NodeState> = BTreeMap::new();
    for ((node, id), (status, entries)) in facets(db)? {
        let facet = match status {
            FacetStatus::Pending => RawFacet::Pending,
            FacetStatus::NotMonitored => RawFacet::NotMonitored,
            FacetStatus::Unavailable(why) => RawFacet::Unavailable(why),
            FacetStatus::Ready => RawFacet::Ready(entries),
        };
        states.entry(node).or_default().set(id, facet);
    }
    let mut kept = Kept { log: log::load(db)?, nodes: vec![], tokens: vec![], jobs: jobs::load(db)? };
    let mut select = db.prepare(
        "SELECT id, name, papers, seen, agent, address, facts, clock_offset, epoch, log_epoch, last, stale, commands,
         others, connected FROM nodes",
    )?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let row = read_node(row)?;
        let state = states.remove(&row.id).unwrap_or_default();
        kept.nodes.push((row, state));
    }
    let mut select =
        db.prepare("SELECT secret, node, name, made, expires, replace_known, used FROM tokens")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        kept.tokens.push(read_token(row)?);
    }
    Ok(kept)
}

fn facets(db: &Connection) -> Result<Facets, Fault> {
    let mut facets = Facets::new();
    let mut select = db.prepare("SELECT node, facet, status FROM facets")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let status: Vec<u8> = row.get(2)?;
        let status = codec::decode(&status)?;
        facets.insert((NodeId(row.get(0)?), FacetId(row.get(1)?)), (status, BTreeMap::new()));
    }
    let mut select = db.prepare("SELECT node, facet, key, value FROM entries")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let place = (NodeId(row.get(0)?), FacetId(row.get(1)?));
        let (key, value): (Vec<u8>, Vec<u8>) = (row.get(2)?, row.get(3)?);
        match facets.get_mut(&place) {
            Some((FacetStatus::Ready, entries)) => {
                entries.insert(key.into(), value.into());
            }
            _ => {
                return Err(Fault::Senseless(format!("entries of facet {}, which is not ready", place.1)));
            }
        }
    }
    Ok(facets)
}

fn read_node(row: &Row<'_>) -> Result<NodeRow, Fault> {
    let (facts, commands, others): (Vec<u8>, Vec<u8>, Vec<u8>) = (row.get(6)?, row.get(12)?, row.get(13)?);
    Ok(NodeRow {
        id: NodeId(row.get(0)?),
        name: name(row.get(1)?)?,
        papers: row.get(2)?,
        seen: UnixNanos(row.get(3)?),
        agent: row.get(4)?,
        address: row.get(5)?,
        facts: codec::decode(&facts)?,
        clock_offset: row.get(7)?,
        epoch: row.get::<_, Option<i64>>(8)?.map(|epoch| Epoch(epoch.cast_unsigned())),
        log_epoch: Epoch(row.get::<_, i64>(9)?.cast_unsigned()),
        last: Seq(row.get::<_, i64>(10)?.cast_unsigned()),
        stale: row.get(11)?,
        commands: codec::decode_list::<CommandInfo>(&commands)?,
        others: codec::decode_list(&others)?,
        connected: row.get(14)?,
    })
}

fn read_token(row: &Row<'_>) -> Result<TokenRow, Fault> {
    Ok(TokenRow {
        secret: row.get(0)?,
        node: NodeId(row.get(1)?),
        name: name(row.get(2)?)?,
        made: UnixNanos(row.get(3)?),
        expires: UnixNanos(row.get(4)?),
        replace: row.get(5)?,
        used: row.get::<_, Option<i64>>(6)?.map(UnixNanos),
    })
}

fn name(text: String) -> Result<NodeName, Fault> {
    text.try_into().map_err(|error: NameError| Fault::Senseless(error.to_string()))
}

impl From<CodecError> for Fault {
    fn from(error: CodecError) -> Self {
        Self::Senseless(error.to_string())
    }
}
