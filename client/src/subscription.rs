//! A subscription: the hub's events as they come, with every hole named.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::Stream;
use secmon_protocol::{
    codec,
    event::{self, Event},
    ids::Cursor,
    message::client::{Gap, HubToClient, NodeDetail},
    record::LogRecord,
};
use tokio::time::timeout;

use crate::{
    ClientError,
    client::{ANSWER_WITHIN, Answers, unexpected},
};

/// Records between the connection's task and the reader of a subscription. Enough to let the two work at
/// once; what a slow reader does not take stays in the socket and then with the hub.
pub(crate) const QUEUE: usize = 256;

/// What a subscription yields.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// One record: its place, and its events, of which there may be none.
    Record {
        /// The record's place. Everything up to it has been seen.
        cursor: Cursor,
        /// What it means, in order.
        events: Vec<Event>,
    },
    /// The hub no longer has these; what follows them comes next.
    Gap(Gap),
    /// Nothing up to this place matched the filter.
    Progress(Cursor),
}

impl Item {
    /// Everything up to this place was seen once this item was dealt with.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        match self {
            Self::Record { cursor, .. } | Self::Progress(cursor) => *cursor,
            Self::Gap(gap) => gap.to,
        }
    }
}

/// A standing subscription. Dropping it ends it. As a [`Stream`] it ends after its first error.
#[derive(Debug)]
pub struct Subscription {
    answers: Answers,
    after: Cursor,
    /// The stream has yielded its error.
    over: bool,
    snapshot: Option<Vec<NodeDetail>>,
    whole: bool,
}

impl Subscription {
    pub(crate) async fn begin(mut answers: Answers) -> Result<Self, ClientError> {
        let first = timeout(ANSWER_WITHIN, answers.next())
            .await
            .map_err(|_| ClientError::NoAnswer { after: ANSWER_WITHIN })??;
        match first {
            HubToClient::Subscribed { after, snapshot, whole, .. } => {
                Ok(Self { answers, after, snapshot, whole, over: false })
            }
            _ => Err(unexpected("the answer to Subscribe is not Subscribed")),
        }
    }

    /// The place up to which the subscriber has seen everything: at first where the subscription began,
    /// then that of the latest item. Subscribe from here to go on without a hole.
    #[must_use]
    pub fn after(&self) -> Cursor {
        self.after
    }

    /// The nodes as they stood where the subscription began, where it began with a snapshot; once.
    #[must_use]
    pub fn take_snapshot(&mut self) -> Option<Vec<NodeDetail>> {
        self.snapshot.take()
    }

    /// Whether this user may see everything. Who may not, gets records with holes in their numbers that are none of a
    /// loss, filter or not.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// The next item. Safe to cancel.
    ///
    /// # Errors
    /// The connection broke or the hub ended the subscription; nothing more will come.
    pub async fn next(&mut self) -> Result<Item, ClientError> {
        let message = self.answers.next().await?;
        self.take(message)
    }

    /// The next item if it is already here.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    pub fn try_next(&mut self) -> Option<Result<Item, ClientError>> {
        let message = self.answers.try_next()?;
        Some(message.and_then(|message| self.take(message)))
    }

    fn take(&mut self, message: HubToClient) -> Result<Item, ClientError> {
        let item = match message {
            HubToClient::Event { record, .. } => {
                let record: LogRecord =
                    codec::decode(&record).map_err(|e| crate::connection::malformed(&e))?;
                Item::Record { cursor: record.cursor, events: event::events(&record) }
            }
            HubToClient::Gap { gap, .. } => Item::Gap(gap),
            HubToClient::Progress { cursor, .. } => Item::Progress(cursor),
            _ => return Err(unexpected("a subscription was sent something else than events")),
        };
        self.after = item.cursor();
        Ok(item)
    }
}

impl Stream for Subscription {
    type Item = Result<Item, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let message = ready!(self.answers.poll_next(cx));
        let item = message.and_then(|message| self.take(message));
        self.over = item.is_err();
        Poll::Ready(Some(item))
    }
}
