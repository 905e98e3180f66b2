//! What a node says, on its way to the actor: in portions, and one at a time, so that the actor's queue goes round
//! the nodes. A node that sends all it can has no more of the queue than one that hardly sends anything.

use std::{sync::Arc, time::Duration};

use secmon_protocol::{codec::Items, command::RunEnd, limits::MAX_CHUNK, message::node::NodeToHub};
use tokio::{io::AsyncRead, sync::Semaphore};

use super::{
    Ending,
    wire::{Reader, WireError},
};
use crate::{
    actor::{Handle, Message},
    core::{Incoming, Link, batch_cost, check_commands},
};

/// Most records of one portion: what others wait for once for each node that floods. A hundred of them delay
/// the next record of a quiet one by what two rounds of 25,600 take to be written: well below a second.
const PORTION: usize = 256;
/// No further record is put into a portion that has as many bytes.
const PORTION_BYTES: usize = 128 << 10;
/// Portions of one node that the actor has not taken. The next is read and checked meanwhile.
const PORTIONS: usize = 1;
/// Other messages of one node that it has not taken: chunks of output mostly, which are bounded by credit.
const OTHERS: usize = 16;
/// What one command of an allowlist takes in memory, by estimate.
const COMMAND_COST: usize = 512;

/// Hands on what a node says until its connection ends; it must be heard within each `patience`.
pub(super) async fn run<R: AsyncRead + Unpin>(
    reader: &mut Reader<R, NodeToHub>,
    link: Link,
    actor: &Handle,
    patience: Duration,
) -> Ending {
    let (portions, others) = (Arc::new(Semaphore::new(PORTIONS)), Arc::new(Semaphore::new(OTHERS)));
    loop {
        let message = match reader.message_within(patience).await {
            Ok(NodeToHub::Pong { .. }) => {
                reader.relax();
                continue;
            }
            Ok(message) => message,
            Err(WireError::Closed) => return Ending::Usual("the node closed the connection".to_owned()),
            Err(error) => return error.into(),
        };
        let cost = match check(&message) {
            Ok(cost) => cost,
            Err(reason) => return Ending::Bad(reason),
        };
        // What an actor that has ended does not take is no news to anyone: the hub is stopping.
        let list = match message {
            NodeToHub::Records(list) => list,
            other => {
                let Some(turn) = others.clone().acquire_owned().await.ok() else { return Ending::stopping() };
                let Some(room) = actor.room(cost).await else { return Ending::stopping() };
                actor.send(Message::Node(link, other, [room, turn])).await;
                continue;
            }
        };
        for portion in split(&list) {
            let records = match batch_cost(portion).and_then(|cost| Ok((cost, Incoming::batch(portion)?))) {
                Ok(records) => records,
                Err(error) => return Ending::Bad(error.to_string()),
            };
            let (cost, records) = records;
            let Some(turn) = portions.clone().acquire_owned().await.ok() else { return Ending::stopping() };
            let Some(room) = actor.room(cost).await else { return Ending::stopping() };
            actor.send(Message::Records(link, records, [room, turn])).await;
        }
    }
}

/// A list cut between items: each part has at most [`PORTION`] of them, and what is left of a damaged one goes
/// with the last.
fn split(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let mut items = Items(rest);
        for _ in 0..PORTION {
            if rest.len() - items.0.len() >= PORTION_BYTES || !matches!(items.next(), Some(Ok(_))) {
                break;
            }
        }
        // Of a damaged item nothing is left over, so that its reader finds it.
        let (portion, left) = rest.split_at(rest.len() - items.0.len());
        rest = left;
        (!portion.is_empty()).then_some(portion)
    })
}

/// Holds a message against what can be said of it alone. Gives the memory that it takes, by estimate.
pub(super) fn check(message: &NodeToHub) -> Result<usize, String> {
    match message {
        NodeToHub::Hello(_) => Err("it said Hello twice".to_owned()),
        NodeToHub::Records(list) => batch_cost(list).map_err(|error| error.to_string()),
        NodeToHub::Commands(commands) => check_commands(commands).map(|()| commands.len() * COMMAND_COST),
        NodeToHub::Output { data, .. } if data.len() > MAX_CHUNK => {
            Err(format!("a chunk of output has {} bytes, over the limit of {MAX_CHUNK}", data.len()))
        }
        NodeToHub::Output { data, .. } => Ok(data.len()),
        NodeToHub::Exit { end: RunEnd::Failed { message, .. }, .. } => Ok(message.len()),
        _ => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use secmon_protocol::{
        codec,
        ids::Seq,
        limits::MAX_BATCH_RECORDS,
        record::{Envelope, NodeRecord, RecordKind},
        time::UnixNanos,
    };
    use tokio::{io::AsyncWriteExt as _, sync::mpsc, task::yield_now, time::timeout};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn batch(records: usize, size: usize) -> Bytes {
        let record = |seq| {
            let (kind, types, body) = (RecordKind(4000), vec![], vec![7; size].into());
            NodeRecord {
                seq: Seq(seq),
                envelope: Envelope { kind, version: 1, time: UnixNanos(1), types, body },
            }
        };
        codec::encode_list(&(1..=records as u64).map(record).collect::<Vec<_>>())
    }

    /// A node's connection on which this is sent.
    fn sends(number: u64, list: Bytes, actor: &Handle) {
        let (near, mut far) = tokio::io::duplex(1 << 10);
        let actor = actor.clone();
        tokio::spawn(async move { run(&mut Reader::new(near), Link(number), &actor, PATIENCE).await });
        let mut out = BytesMut::new();
        codec::put_message(&mut out, &NodeToHub::Records(list)).unwrap();
        tokio::spawn(async move { far.write_all(&out).await });
    }

    /// Batches of thousands of small records once went into the queue whole, and as many as fitted: what a quiet
    /// node had to say stood behind all of them.
    #[tokio::test]
    async fn behind_twenty_nodes_that_flood_a_quiet_one_waits_for_one_portion_of_each() {
        const FLOODING: u64 = 20;
        let (actor, mut queue) = Handle::to_nobody();
        let flood = batch(8000, 1);
        (0..FLOODING).for_each(|link| sends(link, flood.clone(), &actor));
        sends(FLOODING, batch(1, 1), &actor);
        let all_wait = async |queue: &mpsc::Receiver<Message>, count| {
            while queue.len() < count {
                yield_now().await;
            }
        };
        timeout(PATIENCE, all_wait(&queue, FLOODING as usize + 1)).await.unwrap();
        // However long nobody takes anything, no more comes.
        for _ in 0..1000 {
            yield_now().await;
        }
        assert_eq!(queue.len() as u64, FLOODING + 1);
        let mut of_each = [0; FLOODING as usize + 1];
        for _ in 0..=FLOODING {
            match queue.recv().await {
                Some(Message::Records(Link(link), records, _turn)) => of_each[link as usize] += records.len(),
                _ => panic!("records and nothing else were sent"),
            }
        }
        let [flooding @ .., quiet] = of_each;
        assert_eq!((quiet, flooding), (1, [PORTION; FLOODING as usize]));
        timeout(PATIENCE, all_wait(&queue, FLOODING as usize)).await.expect("who was taken of goes on");
    }

    #[test]
    fn a_list_is_cut_between_items_and_nothing_of_it_is_lost() {
        for (records, size) in [(0, 0), (1, 1), (256, 1), (257, 1), (MAX_BATCH_RECORDS, 1), (9, 100_000)] {
            let list = batch(records, size);
            let parts: Vec<&[u8]> = split(&list).collect();
            assert_eq!(parts.concat(), list);
            for part in &parts {
                assert!(Items(part).all(|item| item.is_ok()) && Items(part).count() <= PORTION);
                assert!(part.len() < PORTION_BYTES + size + 100);
            }
        }
        let whole = batch(600, 10);
        let damaged = &whole[..whole.len() - 3];
        let parts: Vec<&[u8]> = split(damaged).collect();
        assert_eq!(parts.concat().len(), damaged.len());
        assert!(Incoming::batch(parts[0]).is_ok() && Incoming::batch(parts[2]).is_err());
    }
}
