//! Strategies for the small parts of messages. Texts and lists are short: what depends on size has tests
//! of its own.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*, sample::select};
use secmon_protocol::{
    codec::Fragment,
    command::{Arg, ArgInfo, ArgKind, CommandInfo, OutputStream, RunEnd, RunFailure, Usage},
    facet::{FacetId, FacetStatus, Unavailable},
    ids::{Cursor, JobId, LogId, NodeId, NodeName},
    message::{ErrorCode, Refusal, node::HostFacts},
    time::UnixNanos,
};

/// Any text, hostile ones included.
pub(crate) fn text() -> impl Strategy<Value = String> + Clone {
    ".{0,12}"
}

pub(crate) fn texts() -> impl Strategy<Value = Vec<String>> + Clone {
    vec(text(), 0..4)
}

pub(crate) fn maybe_text() -> impl Strategy<Value = Option<String>> + Clone {
    option::of(text())
}

pub(crate) fn bytes() -> impl Strategy<Value = Bytes> + Clone {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

/// Numbers of every length on the wire.
pub(crate) fn number() -> impl Strategy<Value = u64> + Clone {
    let edges = [250, 251, 65_535, 65_536, u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX];
    prop_oneof![0..300_u64, any::<u64>(), select(edges.to_vec())]
}

pub(crate) fn time() -> impl Strategy<Value = UnixNanos> + Clone {
    any::<i64>().prop_map(UnixNanos)
}

pub(crate) fn node() -> impl Strategy<Value = NodeId> + Clone {
    any::<[u8; 16]>().prop_map(NodeId)
}

pub(crate) fn name() -> impl Strategy<Value = NodeName> + Clone {
    "[A-Za-z0-9][A-Za-z0-9._-]{0,62}".prop_map(|name| name.parse().unwrap())
}

pub(crate) fn cursor() -> impl Strategy<Value = Cursor> + Clone {
    (number(), number()).prop_map(|(log, n)| Cursor { log: LogId(log), n })
}

pub(crate) fn ip() -> impl Strategy<Value = IpAddr> + Clone {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
}

/// Without flow label and scope, which do not travel.
pub(crate) fn socket() -> impl Strategy<Value = SocketAddr> + Clone {
    (ip(), any::<u16>()).prop_map(SocketAddr::from)
}

pub(crate) fn extensions() -> impl Strategy<Value = BTreeMap<u16, Bytes>> + Clone {
    proptest::collection::btree_map(any::<u16>(), bytes(), 0..3)
}

pub(crate) fn facet() -> impl Strategy<Value = FacetId> + Clone {
    prop_oneof![select(FacetId::KNOWN.to_vec()), any::<u16>().prop_map(FacetId)]
}

pub(crate) fn status() -> impl Strategy<Value = FacetStatus> + Clone {
    prop_oneof![
        Just(FacetStatus::Pending),
        Just(FacetStatus::NotMonitored),
        (text(), text())
            .prop_map(|(reason, remedy)| FacetStatus::Unavailable(Unavailable { reason, remedy })),
        Just(FacetStatus::Ready),
    ]
}

pub(crate) fn facts() -> impl Strategy<Value = HostFacts> + Clone {
    [text(), text(), text(), text()].prop_map(|[hostname, os, kernel, arch]| HostFacts {
        hostname,
        os,
        kernel,
        arch,
    })
}

pub(crate) fn commands() -> impl Strategy<Value = Vec<CommandInfo>> + Clone {
    let limits = (number(), any::<Option<u64>>(), any::<Option<u32>>(), any::<bool>());
    let one = (text(), text(), vec(arg_info(), 0..3), limits);
    vec(
        one.prop_map(|(label, description, args, (timeout_ms, max_output, concurrency, stdin))| {
            CommandInfo { label, description, args, timeout_ms, max_output, concurrency, stdin }
        }),
        0..4,
    )
}

fn arg_info() -> impl Strategy<Value = ArgInfo> + Clone {
    let kind = prop_oneof![
        (any::<i64>(), any::<i64>()).prop_map(|(min, max)| ArgKind::Integer { min, max }),
        texts().prop_map(|values| ArgKind::Choice { values }),
        (text(), any::<u32>(), any::<u32>()).prop_map(|(pattern, min, max)| ArgKind::String {
            pattern,
            min,
            max
        }),
        Just(ArgKind::Bool),
        text().prop_map(|below| ArgKind::Path { below }),
    ];
    (text(), text(), kind, maybe_text()).prop_map(|(name, description, kind, default)| ArgInfo {
        name,
        description,
        kind,
        default,
    })
}

pub(crate) fn args() -> impl Strategy<Value = Vec<Arg>> + Clone {
    vec((text(), text()).prop_map(|(name, value)| Arg { name, value }), 0..4)
}

pub(crate) fn usage() -> impl Strategy<Value = Option<Usage>> + Clone {
    let all = (number(), number(), number(), number(), number());
    option::of(all.prop_map(|(wall_ns, user_ns, system_ns, max_rss, output)| Usage {
        wall_ns,
        user_ns,
        system_ns,
        max_rss,
        output,
    }))
}

pub(crate) fn job() -> impl Strategy<Value = JobId> + Clone {
    number().prop_map(JobId)
}

pub(crate) fn stream() -> impl Strategy<Value = OutputStream> + Clone {
    select(vec![OutputStream::Stdout, OutputStream::Stderr])
}

pub(crate) fn run_end() -> impl Strategy<Value = RunEnd> + Clone {
    use RunFailure as F;
    let failure = select(vec![
        F::UnknownLabel,
        F::Busy,
        F::Spawn,
        F::Lost,
        F::Refused,
        F::BadArgument,
        F::Expired,
        F::Stopped,
    ]);
    prop_oneof![
        any::<i32>().prop_map(RunEnd::Exited),
        any::<i32>().prop_map(RunEnd::Signalled),
        Just(RunEnd::TimedOut),
        Just(RunEnd::Cancelled),
        Just(RunEnd::TooMuchOutput),
        (failure, text()).prop_map(|(why, message)| RunEnd::Failed { why, message }),
    ]
}

pub(crate) fn refusal() -> impl Strategy<Value = Refusal> + Clone {
    use ErrorCode as E;
    let code = select(vec![
        E::Protocol,
        E::NotPermitted,
        E::UnknownNode,
        E::TokenExpired,
        E::Internal,
        E::BadCursor,
    ]);
    (code, text(), texts()).prop_map(|(code, message, near)| Refusal { code, message, near })
}

pub(crate) fn fragment() -> impl Strategy<Value = Fragment> + Clone {
    prop_oneof![
        number().prop_map(|len| Fragment::Begin { len }),
        bytes().prop_map(Fragment::Part),
        Just(Fragment::End),
    ]
}
