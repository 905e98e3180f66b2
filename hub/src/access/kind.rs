//! The kinds of requests, what each needs, and how it is called: one table for all of them. Pure.

use secmon_protocol::{
    ids::RequestId,
    limits::clip,
    message::client::{ClientToHub, Role},
};

/// What a request needs beside that its client was let in, which at least one rule allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: it is about the client itself, or goes on with a request that was allowed.
    Nothing,
    /// That the nodes may be seen; others are left out, or refused where one is named.
    View,
    /// That the command may be run on the node. Who lacks it is refused by the core, in a record of the command.
    Start,
    /// That the job's command may be run on its node; the core logs who lacks it.
    Run,
    /// That the node may be administered.
    Administer,
}

impl Needs {
    /// The role that somebody must have on some node at least, before it is looked at which.
    #[must_use]
    pub fn least(self) -> Option<Role> {
        match self {
            Self::Nothing | Self::View | Self::Start => None,
            Self::Run => Some(Role::Operator),
            Self::Administer => Some(Role::Admin),
        }
    }

    /// Whether the core logs a denial, for it knows the run or the job.
    #[must_use]
    pub fn logged_by_core(self) -> bool {
        matches!(self, Self::Start | Self::Run)
    }
}

/// A message of the protocol without a row does not compile.
macro_rules! kinds {
    ($($kind:ident => $needs:ident,)+) => {
        /// What a client may ask.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum RequestKind {
            $(#[expect(missing_docs, reason = "named as the message is")] $kind,)+
        }

        impl RequestKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// That of a message.
            #[must_use]
            pub fn of(message: &ClientToHub) -> Self {
                match message {
                    $(ClientToHub::$kind { .. } => Self::$kind,)+
                }
            }

            /// What it needs.
            #[must_use]
            pub fn needs(self) -> Needs {
                match self {
                    $(Self::$kind => Needs::$needs,)+
                }
            }
        }
    };
}

kinds! {
    Hello => Nothing,
    List => View,
    Get => View,
    Subscribe => View,
    Run => Start,
    Credit => Nothing,
    Cancel => Nothing,
    Enroll => Administer,
    Stdin => Nothing,
    Submit => Start,
    Jobs => View,
    Job => View,
    JobOutput => Run,
    CancelJob => Run,
    WhoAmI => Nothing,
    Remove => Administer,
    Fragment => Nothing,
}

/// A request in words, for the record of its denial: `enroll web-2`.
#[must_use]
pub fn in_words(message: &ClientToHub) -> String {
    match message {
        ClientToHub::Hello { .. } => "connect".to_owned(),
        ClientToHub::List { .. } => "list the nodes".to_owned(),
        ClientToHub::Get { node, .. } => format!("see {}", clip(node)),
        ClientToHub::Subscribe { .. } => "subscribe".to_owned(),
        ClientToHub::Run { node, label, .. } => format!("run {} on {}", clip(label), clip(node)),
        ClientToHub::Submit { node, label, .. } => format!("submit {} to {}", clip(label), clip(node)),
        ClientToHub::Credit { .. } => "grant credit".to_owned(),
        ClientToHub::Cancel { .. } => "cancel a request".to_owned(),
        ClientToHub::Stdin { .. } => "send input".to_owned(),
        ClientToHub::Enroll { name, .. } => format!("enroll {name}"),
        ClientToHub::Jobs { .. } => "list the jobs".to_owned(),
        ClientToHub::Job { job, .. } => format!("see job {}", clip(job)),
        ClientToHub::JobOutput { job, .. } => format!("read the output of job {}", clip(job)),
        ClientToHub::CancelJob { job, .. } => format!("cancel job {}", clip(job)),
        ClientToHub::WhoAmI { .. } => "ask who it is".to_owned(),
        ClientToHub::Remove { node, .. } => format!("remove {}", clip(node)),
        ClientToHub::Fragment(_) => "send a fragment".to_owned(),
    }
}

/// The node that a request names, in a person's words.
#[must_use]
pub fn node(message: &ClientToHub) -> Option<&str> {
    match message {
        ClientToHub::Get { node, .. }
        | ClientToHub::Run { node, .. }
        | ClientToHub::Submit { node, .. }
        | ClientToHub::Remove { node, .. } => Some(node),
        ClientToHub::Enroll { name, .. } => Some(name.as_str()),
        ClientToHub::Hello { .. }
        | ClientToHub::List { .. }
        | ClientToHub::Subscribe { .. }
        | ClientToHub::Credit { .. }
        | ClientToHub::Cancel { .. }
        | ClientToHub::Stdin { .. }
        | ClientToHub::Jobs { .. }
        | ClientToHub::Job { .. }
        | ClientToHub::JobOutput { .. }
        | ClientToHub::CancelJob { .. }
        | ClientToHub::WhoAmI { .. }
        | ClientToHub::Fragment(_) => None,
    }
}

/// The number of a request.
#[must_use]
pub fn request(message: &ClientToHub) -> Option<RequestId> {
    match message {
        ClientToHub::List { request }
        | ClientToHub::Get { request, .. }
        | ClientToHub::Subscribe { request, .. }
        | ClientToHub::Run { request, .. }
        | ClientToHub::Credit { request, .. }
        | ClientToHub::Cancel { request }
        | ClientToHub::Enroll { request, .. }
        | ClientToHub::Stdin { request, .. }
        | ClientToHub::Submit { request, .. }
        | ClientToHub::Jobs { request, .. }
        | ClientToHub::Job { request, .. }
        | ClientToHub::JobOutput { request, .. }
        | ClientToHub::CancelJob { request, .. }
        | ClientToHub::WhoAmI { request }
        | ClientToHub::Remove { request, .. } => Some(*request),
        ClientToHub::Hello { .. } | ClientToHub::Fragment(_) => None,
    }
}
