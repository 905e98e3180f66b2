//! A `secmon watch --json` that is subscribed.

use serde_json::Value;

use crate::{json, process::Process};

/// The events that a subscriber has printed so far.
pub struct Watch {
    process: Process,
    /// Every event so far, oldest first.
    pub events: Vec<Value>,
    /// Bytes of standard output that are in `events`.
    read: usize,
}

impl Watch {
    /// Waits until the subscription of a just started `watch --json` stands.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    #[track_caller]
    pub fn new(process: Process) -> Self {
        process.wait_for_log("the subscription to stand", |line| line.contains("watching from"));
        Self { process, events: Vec::new(), read: 0 }
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The first event, of those already printed or to come, that `wanted` accepts.
    ///
    /// # Panics
    /// When it does not come in time; the message shows what did.
    #[track_caller]
    pub fn find(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.find_in_all(what, |events| events.iter().find(|event| wanted(event)).cloned())
    }

    /// The first event of a type that `wanted` accepts, of those that came after the first `seen`.
    ///
    /// # Panics
    /// As [`Watch::find`].
    #[track_caller]
    pub fn find_after(&mut self, seen: usize, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let this = |event: &&Value| json::text(event, "secmon.type") == kind && wanted(event);
        self.find_in_all(kind, |events| events[seen..].iter().find(this).cloned())
    }

    /// Whatever `look` finds in all events so far, as soon as it does.
    ///
    /// # Panics
    /// As [`Watch::find`].
    #[track_caller]
    pub fn find_in_all<T>(&mut self, what: &str, look: impl Fn(&[Value]) -> Option<T>) -> T {
        if let Some(found) = look(&self.events) {
            return found;
        }
        let Self { process, events, read } = self;
        process.wait_until(what, |output| {
            let new = &output.stdout[*read..];
            let complete = new.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            if complete == 0 {
                return None;
            }
            *read += complete;
            events.extend(json::lines(&new[..complete]));
            look(events)
        })
    }

    /// The first event of a type (`session.opened`, `auth.failed`, …).
    ///
    /// # Panics
    /// As [`Watch::find`].
    #[track_caller]
    pub fn find_type(&mut self, kind: &str) -> Value {
        self.find(kind, |event| json::text(event, "secmon.type") == kind)
    }

    /// The first event of a type about a user.
    ///
    /// # Panics
    /// As [`Watch::find`].
    #[track_caller]
    pub fn find_user(&mut self, kind: &str, user: &str) -> Value {
        self.find(&format!("{kind} of {user}"), |event| {
            json::text(event, "secmon.type") == kind && json::text(event, "user.name") == user
        })
    }
}
