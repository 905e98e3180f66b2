//! Requests to the hub and the connections that they use: one for all who look, one for each who runs something, so that
//! the hub's log names him.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use secmon_client::{Client, ClientError};
use secmon_protocol::text::printable;
use tokio::time::timeout;

use super::{AGENT, Hub};
use crate::access::Principal;

/// How long an answer may take. The hub's slowest takes well under a second; who asks over HTTP shall not wait for one
/// that hangs.
const WITHIN: Duration = Duration::from_secs(10);
/// People who run something at once; the hub lets a user have 128 connections, and those who catch up need some.
const MAX_PEOPLE: usize = 64;

/// A connection in somebody's name. It lasts as long as somebody holds it.
pub(crate) type Person = Arc<Client>;

/// Connections.
#[derive(Debug)]
pub(super) struct Asking {
    socket: PathBuf,
    shared: tokio::sync::Mutex<Option<Client>>,
    people: tokio::sync::Mutex<HashMap<Arc<str>, Weak<Client>>>,
    version: Mutex<Option<String>>,
}

impl Asking {
    pub(super) fn new(socket: PathBuf) -> Self {
        let (shared, people) = (tokio::sync::Mutex::new(None), tokio::sync::Mutex::default());
        Self { socket, shared, people, version: Mutex::default() }
    }

    pub(super) fn version(&self) -> Option<String> {
        self.version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn connect(&self, agent: &str) -> Result<Client, ClientError> {
        let client = Client::connect(&self.socket, agent).await?;
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.hub().agent.clone());
        Ok(client)
    }

    /// The connection of all who look; a new one where the last one broke.
    async fn shared(&self, broken: bool) -> Result<Client, ClientError> {
        let mut shared = self.shared.lock().await;
        if broken {
            *shared = None;
        }
        match &*shared {
            Some(client) => Ok(client.clone()),
            None => Ok(shared.insert(self.connect(AGENT).await?).clone()),
        }
    }
}

impl Hub {
    /// Asks something that changes nothing, and once more over a new connection where the old one was found broken.
    ///
    /// # Errors
    /// What the hub refuses, or that it is away.
    pub(crate) async fn ask<T, F>(&self, what: impl Fn(Client) -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let asking = async {
            match what(self.asking.shared(false).await?).await {
                Err(ClientError::ConnectionLost { .. }) => what(self.asking.shared(true).await?).await,
                other => other,
            }
        };
        timeout(WITHIN, asking).await.map_err(|_| ClientError::NoAnswer { after: WITHIN })?
    }

    /// A connection that names who asks to the hub, alive a moment ago. None where too many others have one.
    ///
    /// # Errors
    /// The hub is away, or turns it away.
    pub(crate) async fn person(&self, who: &Principal) -> Result<Option<Person>, ClientError> {
        let key: Arc<str> = who.who().into();
        let asking = async {
            let mut people = self.asking.people.lock().await;
            if let Some(client) = people.get(&key).and_then(Weak::upgrade) {
                match client.who_am_i().await {
                    Ok(_) => return Ok(Some(client)),
                    Err(ClientError::ConnectionLost { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            people.retain(|_, client| client.strong_count() > 0);
            if people.len() >= MAX_PEOPLE && !people.contains_key(&key) {
                return Ok(None);
            }
            let agent = format!("{AGENT} ({})", printable(&who.who()));
            let client = Arc::new(self.asking.connect(&agent).await?);
            people.insert(key, Arc::downgrade(&client));
            Ok(Some(client))
        };
        timeout(WITHIN, asking).await.map_err(|_| ClientError::NoAnswer { after: WITHIN })?
    }
}
