//! Tokens: who may join, under which name, until when. Only the SHA-256 of a token's secret is known here.

use std::time::Duration;

use secmon_protocol::{
    command::CommandInfo,
    hub_event::HubEvent,
    ids::{Epoch, NodeId, NodeName, Seq},
    message::{ErrorCode, Refusal, client::NodeSummary, node::HostFacts},
    state::NodeState,
    time::UnixNanos,
};

use super::{
    Core, Effect, Effects, Now, Write,
    node::{self, Node, NodeRow},
};
use crate::ca::Fingerprint;

/// How long a token is good unless it is said.
pub const DEFAULT_VALIDITY: Duration = Duration::from_secs(60 * 60);
/// Longest time for which a token is good.
pub const MAX_VALIDITY: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// A token that was used, or whose time is over, is remembered for this long, so that whoever tries it is
/// told what is wrong with it.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Most tokens that are remembered; beyond it nobody is enrolled until some are forgotten.
const MAX_TOKENS: usize = 100_000;

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenRow {
    /// SHA-256 of the secret.
    pub secret: Fingerprint,
    /// The id that the node gets.
    pub node: NodeId,
    /// The name that the node gets.
    pub name: NodeName,
    /// When it was made.
    pub made: UnixNanos,
    /// When it stops working.
    pub expires: UnixNanos,
    /// Whether a known node of that name gets new papers.
    pub replace: bool,
    /// When it was used.
    pub used: Option<UnixNanos>,
}

impl TokenRow {
    fn live(&self, now: UnixNanos) -> bool {
        self.used.is_none() && self.expires > now
    }
}

/// A wish for a token.
#[derive(Debug, Clone)]
pub struct Enrolling {
    /// SHA-256 of the secret that the caller made.
    pub secret: Fingerprint,
    /// The id that a new node would get.
    pub id: NodeId,
    /// The name.
    pub name: NodeName,
    /// For how long; zero for [`DEFAULT_VALIDITY`].
    pub valid: Duration,
    /// Whether a known node of that name may be given new papers.
    pub replace: bool,
}

/// Whom a token lets in.
#[derive(Debug, Clone, PartialEq)]
pub struct Admission {
    /// Its id.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
}

impl Core {
    /// Makes a token; gives the time at which it expires.
    pub fn enroll(&mut self, now: Now, wish: Enrolling, out: &mut Effects) -> Result<UnixNanos, Refusal> {
        let valid = if wish.valid.is_zero() { DEFAULT_VALIDITY } else { wish.valid };
        if valid > MAX_VALIDITY {
            let message = "a token is good for at most seven days; ask for less";
            return Err(Refusal::new(ErrorCode::TooMany, message));
        }
        let known = self.names.get(&wish.name).copied();
        if known.is_some() && !wish.replace {
            return Err(name_taken(&wish.name));
        }
        self.forget_tokens(now, &wish.name, out);
        if self.tokens.len() >= MAX_TOKENS {
            let message =
                format!("{MAX_TOKENS} tokens are remembered, which is the limit; wait until some expire");
            return Err(Refusal::new(ErrorCode::TooMany, message));
        }
        let token = TokenRow {
            secret: wish.secret,
            node: known.unwrap_or(wish.id),
            name: wish.name,
            made: now.unix,
            expires: later(now.unix, valid),
            replace: wish.replace,
            used: None,
        };
        let expires = token.expires;
        out.push(Effect::Store(Write::Token(token.clone())));
        self.tokens.insert(token.secret, token);
        Ok(expires)
    }

    /// Forgets what was long of no use, and the unused tokens of a name that gets a new one, or is removed.
    pub(super) fn forget_tokens(&mut self, now: Now, name: &NodeName, out: &mut Effects) {
        let gone = |token: &TokenRow| {
            (token.used.is_none() && token.name == *name)
                || later(token.used.unwrap_or(token.expires), REMEMBERED) < now.unix
        };
        let secrets: Vec<_> =
            self.tokens.values().filter(|token| gone(token)).map(|token| token.secret).collect();
        for secret in secrets {
            self.tokens.remove(&secret);
            out.push(Effect::Store(Write::ForgetToken(secret)));
        }
    }

    /// Whom a token lets in; it is not spent by asking.
    pub fn admit(&self, now: Now, secret: &Fingerprint) -> Result<Admission, Refusal> {
        let again = "run `secmon enroll NAME` on the hub for a new one";
        let Some(token) = self.tokens.get(secret) else {
            let message = format!(
                "this join token is not one of this hub's, or a newer one was made for the same name; {again}"
            );
            return Err(Refusal::new(ErrorCode::TokenUnknown, message));
        };
        if let Some(used) = token.used {
            let message =
                format!("this join token was used at {}, and it works only once; {again}", used.rfc3339());
            return Err(Refusal::new(ErrorCode::TokenUsed, message));
        }
        if !token.live(now.unix) {
            let message = format!("this join token expired at {}; {again}", token.expires.rfc3339());
            return Err(Refusal::new(ErrorCode::TokenExpired, message));
        }
        match self.names.get(&token.name) {
            Some(_) if !token.replace => Err(name_taken(&token.name)),
            Some(id) => Ok(Admission { node: *id, name: token.name.clone() }),
            None => Ok(Admission { node: token.node, name: token.name.clone() }),
        }
    }

    /// Spends a token: the node that was admitted by it has these papers from now on.
    pub fn join(
        &mut self,
        now: Now,
        secret: &Fingerprint,
        papers: Fingerprint,
        agent: &str,
        out: &mut Effects,
    ) -> Result<Admission, Refusal> {
        let admitted = self.admit(now, secret)?;
        let id = admitted.node;
        if let Some(token) = self.tokens.get_mut(secret) {
            token.used = Some(now.unix);
            out.push(Effect::Store(Write::Token(token.clone())));
        }
        let known = self.nodes.get(&id).map(|node| (node.row.papers, node.online));
        if let Some((old, online)) = known {
            if let Some((link, _)) = online {
                self.close(now, link, "the node was enrolled anew; these papers are no longer good", out);
            }
            self.papers.remove(&old);
        }
        let node = self.nodes.entry(id).or_insert_with(|| {
            Node::away(NodeRow::new(id, admitted.name.clone(), now.unix), NodeState::default())
        });
        node.row.papers = papers;
        node.row.seen = now.unix;
        secmon_protocol::limits::clip(agent).clone_into(&mut node.row.agent);
        // Written at once and not with the flush: the token must never be spent without it.
        out.push(Effect::Store(Write::Node(Box::new(node.row.clone()))));
        self.names.insert(admitted.name.clone(), id);
        self.papers.insert(papers, id);
        self.tell(now, id, &HubEvent::Enrolled { replaced: known.is_some() }, out);
        Ok(admitted)
    }

    /// The names for which a token waits.
    pub(super) fn expected(&self, now: Now) -> impl Iterator<Item = NodeSummary> {
        self.tokens
            .values()
            .filter(move |token| token.live(now.unix) && !self.names.contains_key(&token.name))
            .map(|token| node::expected(token.node, token.name.clone(), token.made))
    }
}

impl NodeRow {
    /// A node that was never here.
    fn new(id: NodeId, name: NodeName, seen: UnixNanos) -> Self {
        Self {
            id,
            name,
            papers: [0; 32],
            seen,
            agent: String::new(),
            address: String::new(),
            facts: HostFacts::default(),
            clock_offset: 0,
            epoch: None,
            log_epoch: Epoch(0),
            last: Seq(0),
            stale: false,
            connected: false,
            others: vec![],
            commands: Vec::<CommandInfo>::new(),
        }
    }
}

pub(super) fn later(time: UnixNanos, by: Duration) -> UnixNanos {
    UnixNanos(time.0.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
}

fn name_taken(name: &NodeName) -> Refusal {
    let message = format!(
        "a node called {name} is known already; choose another name, or give that node new papers with --replace"
    );
    Refusal::new(ErrorCode::NameTaken, message)
}
