//! The variants of every enum that crosses a wire or a disk. The matches have no wildcard: a new variant
//! does not compile before it is listed here, and what uses the list then asks for its vector.

use secmon_protocol::{
    auth::{AuthAction, Outcome, SourceHost},
    codec::Fragment,
    command::{OutputStream, RunEnd, RunFailure},
    facet::FacetStatus,
    hub_event::HubEvent,
    message::{
        ErrorCode,
        client::{ClientToHub, From, HubToClient, Presence},
        join::{HubToJoin, JoinToHub},
        node::{HubToNode, NodeToHub, Resume},
    },
    record::Origin,
    session::{SessionKind, SessionSource},
    state::Op,
};

/// An enum whose variants can be listed by name.
pub(crate) trait Variants {
    /// The enum's name.
    const NAME: &'static str;
    /// The names of its variants, in the order of their numbers.
    const ALL: &'static [&'static str];
    /// The name of this one's variant.
    fn variant(&self) -> &'static str;
}

macro_rules! variants {
    ($($type:ident: $($variant:ident)+;)+) => {$(
        impl Variants for $type {
            const NAME: &'static str = stringify!($type);
            const ALL: &'static [&'static str] = &[$(stringify!($variant)),+];
            fn variant(&self) -> &'static str {
                match self { $(Self::$variant { .. } => stringify!($variant),)+ }
            }
        }
    )+};
}

variants! {
    NodeToHub: Hello Records Pong Commands Started Output Exit Fragment;
    HubToNode: Welcome Reject Ack Resync Ping Run Cancel Credit Fragment;
    JoinToHub: Join Fragment;
    HubToJoin: Joined Reject Fragment;
    ClientToHub: Hello List Get Subscribe Run Credit Cancel Enroll Fragment;
    HubToClient: Welcome Reject Event Subscribed Gap Progress Nodes Node Started Output Exit Enrolling
        Error Fragment;
    Fragment: Begin Part End;
    ErrorCode: Protocol Version NotPermitted UnknownNode NodeAway UnknownLabel NameTaken TokenUnknown
        TokenUsed TokenExpired TooMany Internal BadCursor;
    RunEnd: Exited Signalled TimedOut Cancelled Failed;
    RunFailure: UnknownLabel Busy Spawn NodeLost Refused;
    OutputStream: Stdout Stderr;
    Resume: After Oldest;
    From: Now Cursor Snapshot Time;
    Presence: Online Away Expected;
    FacetStatus: Pending NotMonitored Unavailable Ready;
    Op: Status Added Changed Removed;
    Origin: Node Hub;
    HubEvent: Enrolled Removed Connected Disconnected Gap CommandStarted CommandFinished;
    AuthAction: Accepted Failed InvalidUser Disconnected SessionOpened SessionClosed Sudo SudoDenied Su
        SuFailed AccountChanged Probe;
    Outcome: Success Failure Unknown;
    SourceHost: Ip Name;
    SessionKind: Interactive Graphical Background;
    SessionSource: Utmp Logind Wtmpdb Wtmp;
}
