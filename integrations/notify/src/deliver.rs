//! Hands queued notices to their services: one task per destination, in order, until each is taken or set aside.
//!
//! The head of a queue is tried until the service has it, and only then what stands behind it. What a service said is written
//! before the next is sent: so a crash repeats what was on its way, and nothing else.

mod policy;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use self::policy::{Policy, Then};
use crate::{
    Destination, Receipt, SendError,
    clock::{Clock, later},
    run::NotifyError,
    store::{Entry, StoreThread, Taken},
    web::LONGEST_WAIT,
};

/// A call of a service ends within a minute of itself; one that does not is given up.
const CALL_WITHIN: Duration = Duration::from_secs(90);
/// From so many failures of the service over one message on, the next in the queue is tried as well: if that is taken, it is the message.
const SUSPECT: u32 = 3;
/// What is on its way when the program is to end has so long to get there.
const LAST_CALL: Duration = Duration::from_secs(5);

/// The task of one destination.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// Where it leads.
    pub(crate) destination: Destination,
    /// Its queue.
    pub(crate) store: StoreThread,
    /// Something new waits.
    pub(crate) wake: Arc<Notify>,
    /// Something was set aside, which somebody may want to be tried again.
    pub(crate) aside: Arc<Notify>,
    /// The time.
    pub(crate) clock: Clock,
}

/// Whose fault it is that a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nobody can say: the service may be out of order.
    Unknown,
    /// The message's: another one was taken in the same moment.
    Message,
}

/// How a service took it.
enum How {
    Sent(Receipt),
    Edited,
}

impl Delivery {
    /// Delivers until it is cancelled.
    ///
    /// # Errors
    /// The store fails.
    pub(crate) async fn run(self, cancel: CancellationToken) -> Result<(), NotifyError> {
        let mut policy = Policy::default();
        // The pause that was last written, and its end on a clock that nobody sets.
        let mut pause = None;
        loop {
            let head = {
                let (name, clock) = (self.destination.name.clone(), self.clock.clone());
                self.store.ask("read", move |store| store.head(&name, clock.now())).await?
            };
            if head.not_before.is_none() && pause.take().is_some() {
                // Somebody said that it is worth a try.
                policy.reset();
            }
            let until = head.not_before.map(|until| match pause {
                Some((written, ends)) if written == until => ends,
                // From before a restart. A clock that was wrong then must not make it wait for ever.
                _ => self.clock.instant(until).min(Instant::now() + LONGEST_WAIT),
            });
            pause = head.not_before.zip(until);
            let Some(entry) = head.entry else {
                tokio::select! {
                    () = self.wake.notified() => continue,
                    () = cancel.cancelled() => return Ok(()),
                }
            };
            if let Some(until) = until.filter(|until| *until > Instant::now()) {
                tokio::select! {
                    () = sleep_until(until) => {}
                    // A newer edition may have come, or the end of the pause.
                    () = self.wake.notified() => continue,
                    () = cancel.cancelled() => return Ok(()),
                }
            }
            if cancel.is_cancelled() {
                return Ok(());
            }
            let Some(mut result) = self.call(&entry, &cancel).await else { return Ok(()) };
            let mut fault = Fault::Unknown;
            if matches!(result, Err(SendError::Failed { .. }))
                && entry.tries + 1 >= SUSPECT
                && self.takes_the_next(&cancel, &mut policy).await?
            {
                // It may have come back in this very moment.
                let Some(again) = self.call(&entry, &cancel).await else { return Ok(()) };
                (result, fault) = (again, Fault::Message);
            }
            pause = self.settle(entry, result, fault, &mut policy).await?;
        }
    }

    /// Whether the service, which fails over the head of the queue, takes what stands behind it.
    async fn takes_the_next(
        &self,
        cancel: &CancellationToken,
        policy: &mut Policy,
    ) -> Result<bool, NotifyError> {
        let name = self.destination.name.clone();
        let Some(next) = self.store.ask("read", move |store| store.behind(&name)).await? else {
            return Ok(false);
        };
        match self.call(&next, cancel).await {
            Some(Ok(how)) => {
                self.settle(next, Ok(how), Fault::Unknown, policy).await?;
                Ok(true)
            }
            // Its turn comes; and the program may end.
            Some(Err(_)) | None => Ok(false),
        }
    }

    /// One attempt; none where the program ended before there was an answer.
    async fn call(&self, entry: &Entry, cancel: &CancellationToken) -> Option<Result<How, SendError>> {
        let attempt = timeout(CALL_WITHIN, self.attempt(entry));
        let ended = async {
            cancel.cancelled().await;
            tokio::time::sleep(LAST_CALL).await;
        };
        tokio::select! {
            biased;
            result = attempt => Some(result.unwrap_or_else(|_| {
                let reason = format!("no answer within {} s", CALL_WITHIN.as_secs());
                Err(SendError::Unreachable { reason })
            })),
            () = ended => {
                warn!(
                    destination = self.destination.name,
                    "the service did not answer before the end; what it was sent may come a second time after the next start"
                );
                None
            }
        }
    }

    async fn attempt(&self, entry: &Entry) -> Result<How, SendError> {
        let service = &self.destination.service;
        if let Some(receipt) = entry.receipt.as_ref().filter(|_| service.edits()) {
            match service.edit(receipt, &entry.notice).await {
                Err(SendError::Vanished) => {
                    debug!(destination = self.destination.name, "a message was deleted there")
                }
                edited => return edited.map(|()| How::Edited),
            }
        }
        service.send(&entry.notice).await.map(How::Sent)
    }

    /// Writes what became of it. The pause that follows, as written and as it is kept.
    async fn settle(
        &self,
        entry: Entry,
        result: Result<How, SendError>,
        fault: Fault,
        policy: &mut Policy,
    ) -> Result<Option<(secmon_protocol::time::UnixNanos, Instant)>, NotifyError> {
        let (now, name) = (self.clock.now(), self.destination.name.clone());
        let error = match result {
            Ok(how) => {
                if policy.succeeded() {
                    info!(destination = name, "the service takes messages again");
                }
                debug!(destination = name, id = entry.notice.id, "delivered");
                let edits = self.destination.service.edits();
                self.store
                    .ask("write", move |store| {
                        let how = match &how {
                            How::Sent(receipt) => Taken::Sent(receipt),
                            How::Edited => Taken::Edited,
                        };
                        store.taken(&entry, edits, how, now)
                    })
                    .await?;
                return Ok(None);
            }
            Err(error) => error,
        };
        let first = policy.is_well();
        let then = match (fault, &error) {
            (Fault::Message, SendError::Failed { .. }) => Then::Aside { wait: Duration::ZERO },
            _ => policy.failed(&error, entry.tries, entry.refusals, rand::random()),
        };
        // It quotes a service.
        let reason = secmon_protocol::text::printable(&error.to_string());
        match (&error, first) {
            (SendError::Forbidden { .. }, true) => error!(
                destination = name,
                reason,
                "the service takes nothing for this destination; messages are set aside, see secmon notify failed"
            ),
            (SendError::Unreachable { .. } | SendError::Failed { .. } | SendError::Busy { .. }, true) => {
                warn!(destination = name, reason, "a message was not taken; it and all behind it wait");
            }
            _ => debug!(destination = name, reason, "not taken"),
        }
        let wait = then.wait();
        let (ends, until) = (Instant::now() + wait, later(now, wait));
        match then {
            Then::Again { tries, refusals, .. } => {
                self.store.ask("write", move |store| store.later(&entry, tries, refusals, until)).await?;
            }
            Then::Aside { .. } => {
                if !matches!(error, SendError::Forbidden { .. }) {
                    warn!(
                        destination = name,
                        reason,
                        id = entry.notice.id,
                        "a message is set aside, see secmon notify failed"
                    );
                }
                self.store.ask("write", move |store| store.set_aside(&entry, &reason, now, until)).await?;
                self.aside.notify_one();
            }
        }
        Ok(Some((until, ends)))
    }
}

#[cfg(test)]
mod tests;
