//! The list of nodes: asked for and rendered once for all who ask at the same time.
//!
//! A list is used again as long as nothing has happened since it was asked for, and never for longer than a moment, for
//! counters move without an event. Who saw an event never gets a list from before it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use secmon_client::ClientError;
use secmon_protocol::{
    ecs,
    message::client::{NodeSummary, Presence},
};
use tokio::time::Instant;

use super::Hub;

/// How long a list is used again.
const FRESH: Duration = Duration::from_secs(1);

/// A node of the list.
#[derive(Debug)]
pub(crate) struct Listed {
    /// Its name.
    pub(crate) name: String,
    /// Its id.
    pub(crate) id: String,
    /// `online`, `away` or `expected`.
    pub(crate) status: &'static str,
    /// As one line of JSON.
    pub(crate) json: Bytes,
}

/// All nodes, by name.
pub(crate) type Nodes = Arc<Vec<Listed>>;

/// The latest list.
#[derive(Debug, Default)]
pub(super) struct NodeList(tokio::sync::Mutex<Option<Kept>>);

#[derive(Debug)]
struct Kept {
    nodes: Nodes,
    asked: Instant,
    changes: u64,
}

impl Hub {
    /// All nodes that the bridge may see.
    ///
    /// # Errors
    /// The hub is away, or refuses.
    pub(crate) async fn nodes(&self) -> Result<Nodes, ClientError> {
        // Who waits here is answered with the list that is being asked for, if it is still good then.
        let mut kept = self.nodes.0.lock().await;
        let changes = self.ring.changes();
        if let Some(kept) = &*kept
            && kept.changes == changes
            && kept.asked.elapsed() < FRESH
            && self.is_connected()
        {
            return Ok(kept.nodes.clone());
        }
        let asked = Instant::now();
        let nodes = self.ask(|client| async move { client.list().await }).await?;
        let nodes = Arc::new(nodes.iter().map(listed).collect::<Vec<_>>());
        *kept = Some(Kept { nodes: nodes.clone(), asked, changes });
        Ok(nodes)
    }

    /// How many nodes are online and how many are not, of the list above.
    pub(crate) async fn presence(&self) -> Result<(usize, usize), ClientError> {
        let nodes = self.nodes().await?;
        let online = nodes.iter().filter(|node| node.status == "online").count();
        Ok((online, nodes.len() - online))
    }
}

fn listed(node: &NodeSummary) -> Listed {
    let status = match node.presence {
        Presence::Online { .. } => "online",
        Presence::Away { .. } => "away",
        Presence::Expected { .. } => "expected",
    };
    Listed {
        name: node.name.as_str().to_owned(),
        id: node.id.to_string(),
        status,
        json: ecs::line(&ecs::node_summary(node)).into(),
    }
}
