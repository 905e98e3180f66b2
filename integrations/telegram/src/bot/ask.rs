//! Questions to the hub, on a connection of the person's own, so that the hub knows on whose behalf it is asked.

use std::{path::PathBuf, time::Duration};

use secmon_client::{Client, ClientError, JobEvent};
use secmon_protocol::message::client::{Filter, From, JobFilter, NodeDetail};
use tokio::time::timeout;

use super::core::{Answer, Ask, JOBS, Question};
use crate::access::Person;

/// How long an answer may take in all; a person waits for it.
const WITHIN: Duration = Duration::from_secs(40);
/// A type that no event has: of a subscription, only its snapshot is wanted.
const NO_EVENTS: &str = "none";

/// The way to the hub.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    pub(crate) socket: PathBuf,
    /// This program in its own words.
    pub(crate) agent: String,
}

impl Hub {
    /// A connection that says on whose behalf: `secmon-telegram 0.1.0 (alice 12345)`.
    pub(crate) async fn connect(&self, person: &Person) -> Result<Client, ClientError> {
        let id = person.id.0.to_string();
        let who = if person.name == id { id } else { format!("{} {id}", person.name) };
        Client::connect(&self.socket, &format!("{} ({who})", self.agent)).await
    }

    /// What the hub says to a question.
    pub(crate) async fn answer(&self, ask: &Ask) -> Answer {
        match timeout(WITHIN, Box::pin(self.ask(ask))).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Answer::Failed(in_words(&error)),
            Err(_) => Answer::Failed("the hub does not answer in time; try again".to_owned()),
        }
    }

    async fn ask(&self, ask: &Ask) -> Result<Answer, ClientError> {
        let client = self.connect(&ask.person).await?;
        let nodes = |pattern: &Option<String>| pattern.iter().cloned().collect::<Vec<_>>();
        Ok(match &ask.question {
            Question::Nodes(pattern) => {
                let wanted = secmon_client::pattern::Patterns::new(&nodes(pattern));
                let mut all = client.list().await?;
                all.retain(|node| wanted.matches(node.name.as_str()));
                Answer::Nodes(all)
            }
            Question::Node(node) => Answer::Node(Box::new(client.get(node).await?)),
            Question::Who(pattern) | Question::Wg(pattern) => {
                Answer::Details(snapshot(&client, nodes(pattern)).await?)
            }
            Question::Jobs(pattern) => {
                let filter = JobFilter { nodes: nodes(pattern), states: vec![], limit: JOBS };
                let (jobs, more) = client.jobs(filter).await?;
                Answer::Jobs(jobs, more)
            }
            Question::Job(job) => Answer::Job(Box::new(client.job(job).await?)),
        })
    }

    /// What a job has printed, as far as it is kept: pieces go to `take`.
    pub(crate) async fn job_output(
        &self,
        person: &Person,
        job: &str,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), String> {
        let read = async {
            let client = self.connect(person).await?;
            let mut output = client.job_output(job, false).await?;
            while let Some(event) = output.next().await? {
                match event {
                    JobEvent::Output { data, .. } => take(&data),
                    JobEvent::Missing { bytes } => {
                        take(format!("\n… {bytes} bytes are not kept …\n").as_bytes())
                    }
                    JobEvent::End(_) => break,
                }
            }
            Ok::<_, ClientError>(())
        };
        match timeout(WITHIN, Box::pin(read)).await {
            Ok(result) => result.map_err(|error| in_words(&error)),
            Err(_) => Err("what it printed does not come in time".to_owned()),
        }
    }
}

async fn snapshot(client: &Client, nodes: Vec<String>) -> Result<Vec<NodeDetail>, ClientError> {
    let filter = Filter { nodes, types: vec![NO_EVENTS.to_owned()] };
    let mut subscription = client.subscribe(From::Snapshot, filter).await?;
    Ok(subscription.take_snapshot().unwrap_or_default())
}

/// An error for people in a chat: what the hub refused, in its words; where it was not reached, no paths of the server.
pub(crate) fn in_words(error: &ClientError) -> String {
    match error {
        ClientError::Request(_) | ClientError::Rejected(_) | ClientError::NoAnswer { .. } => {
            error.to_string()
        }
        ClientError::ConnectionLost { .. } => "the connection to the hub was lost".to_owned(),
        other => {
            tracing::warn!(error = %other, "cannot ask the hub");
            "the hub cannot be reached; the bot's log says why".to_owned()
        }
    }
}
