//! The variants of every enum that crosses a wire or a disk. The matches have no wildcard: a new variant
//! does not compile before it is listed here, and what uses the list then asks for its vector.

use secmon_protocol::{
    auth::{AuthAction, Outcome, SourceHost},
    codec::Fragment,
    command::{ArgKind, OutputStream, RunEnd, RunFailure},
    facet::FacetStatus,
    hub_event::HubEvent,
    message::{
        ErrorCode,
        client::{ClientToHub, From, HubToClient, JobState, Presence, Role},
        join::{HubToJoin, JoinToHub},
        node::{HubToNode, NodeToHub, Resume},
        runner::{NodeToRunner, RunnerToNode},
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
    NodeToHub: Hello Records Pong Commands Started Output Exit StdinCredit Jobs Fragment;
    HubToNode: Welcome Reject Ack Resync Ping Run Cancel Credit Stdin Resume Forget Fragment;
    NodeToRunner: Hello Start Stdin Credit Cancel Fragment;
    RunnerToNode: Welcome Reject Commands Started Output StdinCredit Exit Fragment;
    JoinToHub: Join Fragment;
    HubToJoin: Joined Reject Fragment;
    ClientToHub: Hello List Get Subscribe Run Credit Cancel Enroll Stdin Submit Jobs Job JobOutput CancelJob
        WhoAmI Remove Fragment;
    HubToClient: Welcome Reject Event Subscribed Gap Progress Nodes Node Started Output Exit Enrolling
        Error StdinCredit Job Jobs OutputMissing You Removed Fragment;
    JobState: Queued Sent Running Finished Failed Cancelled Expired Lost;
    Role: Viewer Operator Admin;
    ArgKind: Integer Choice String Bool Path;
    Fragment: Begin Part End;
    ErrorCode: Protocol Version NotPermitted UnknownNode NodeAway UnknownLabel NameTaken TokenUnknown
        TokenUsed TokenExpired TooMany Internal BadCursor UnknownJob JobState;
    RunEnd: Exited Signalled TimedOut Cancelled TooMuchOutput Failed;
    RunFailure: UnknownLabel Busy Spawn Lost Refused BadArgument Expired Stopped;
    OutputStream: Stdout Stderr;
    Resume: After Oldest;
    From: Now Cursor Snapshot Time;
    Presence: Online Away Expected;
    FacetStatus: Pending NotMonitored Unavailable Ready;
    Op: Status Added Changed Removed;
    Origin: Node Hub;
    HubEvent: Enrolled Removed Connected Disconnected Gap CommandStarted CommandFinished CommandRefused
        CommandQueued Denied;
    AuthAction: Accepted Failed InvalidUser Disconnected SessionOpened SessionClosed Sudo SudoDenied Su
        SuFailed AccountChanged Probe;
    Outcome: Success Failure Unknown;
    SourceHost: Ip Name;
    SessionKind: Interactive Graphical Background;
    SessionSource: Utmp Logind Wtmpdb Wtmp;
}
