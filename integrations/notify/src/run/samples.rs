//! Samples, past all rules and queues: `secmon telegram test`.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;

use crate::{Destination, Notice, SendError, clock::Clock, core::Core};

/// Longest time for one sample.
const WITHIN: Duration = Duration::from_secs(60);

/// Sends samples to every destination, or the one that is named, past all rules and queues; who took them and who did not.
pub async fn test(destinations: &[Destination], only: Option<&str>) -> Vec<(String, Result<(), SendError>)> {
    let samples = &Core::sample(Clock::new().now());
    let wanted = destinations.iter().filter(|destination| only.is_none_or(|only| destination.name == only));
    join_all(wanted.map(async |destination| (destination.name.clone(), each(destination, samples).await)))
        .await
}

async fn each(destination: &Destination, samples: &[Notice]) -> Result<(), SendError> {
    for sample in samples {
        let sent = timeout(WITHIN, destination.service.send(sample)).await;
        sent.unwrap_or_else(|_| {
            Err(SendError::Unreachable { reason: format!("no answer within {} s", WITHIN.as_secs()) })
        })?;
    }
    Ok(())
}
