//! `/v1/nodes`: all nodes, one node, and what may be run on it.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use bytes::{BufMut as _, Bytes, BytesMut};
use secmon_client::{Client, ClientError, pattern::Patterns};
use secmon_protocol::{
    ecs,
    message::{
        ErrorCode,
        client::{NodeDetail, Role, Rule},
    },
    text::printable,
};
use serde_json::{Value, json};

use super::{
    answer::{self, JSON},
    query::{Caller, In, Params},
    schema,
};
use crate::{
    access::Principal,
    hub::{Hub, Listed},
    problem::Problem,
};

/// All nodes that may be seen, by name.
#[utoipa::path(
    get,
    path = "/v1/nodes",
    tag = "nodes",
    operation_id = "listNodes",
    params(
        ("status" = Option<schema::Status>, Query, description = "Only nodes with this status"),
        ("node" = Option<Vec<String>>, Query, description = "Only nodes whose name or id matches; `*` and `?` are wildcards; may be given several times"),
        ("If-None-Match" = Option<String>, Header, description = "An `ETag` of an earlier answer"),
    ),
    responses(
        (status = 200, description = "The nodes", body = schema::Nodes, headers(("ETag" = String, description = "Changes when the answer does"))),
        (status = 304, description = "As it was"),
    ),
)]
pub(super) async fn list(
    State(hub): State<Arc<Hub>>,
    Caller(who): Caller,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let status = params.read("status", |text| match text {
        "online" | "away" | "expected" => Ok(text.to_owned()),
        _ => Err("write online, away or expected"),
    })?;
    let nodes = Patterns::new(&params.patterns("node")?);
    params.done()?;
    let mut body = BytesMut::from(&b"{\"nodes\":["[..]);
    let mut first = true;
    for node in hub.nodes().await?.iter() {
        let wanted = status.as_deref().is_none_or(|status| status == node.status)
            && (nodes.matches(&node.name) || nodes.matches(&node.id));
        if wanted && who.may_see(&node.name) {
            if !std::mem::take(&mut first) {
                body.put_u8(b',');
            }
            body.put_slice(&node.json);
        }
    }
    body.put_slice(b"]}");
    Ok(answer::tagged(&headers, JSON, body.freeze()))
}

/// One node with its whole state.
#[utoipa::path(
    get,
    path = "/v1/nodes/{node}",
    tag = "nodes",
    operation_id = "getNode",
    params(
        ("node" = String, Path, description = "Its name, its id, or a beginning of its id that no other node has", example = "web1"),
        ("If-None-Match" = Option<String>, Header, description = "An `ETag` of an earlier answer"),
    ),
    responses(
        (status = 200, description = "The node", body = schema::NodeDetail, headers(("ETag" = String, description = "Changes when the answer does"))),
        (status = 304, description = "As it was"),
        (status = 404, description = "No such node, or none that may be seen", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn one(
    State(hub): State<Arc<Hub>>,
    Caller(who): Caller,
    In(node): In<String>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    params.done()?;
    let node = get(&hub, &who, &node).await?;
    Ok(answer::tagged(&headers, JSON, answer::body(&ecs::node_detail(&node))))
}

/// What who asks may run on a node, and the bridge for him.
#[utoipa::path(
    get,
    path = "/v1/nodes/{node}/commands",
    tag = "commands",
    operation_id = "listCommands",
    params(
        ("node" = String, Path, description = "As in `/v1/nodes/{node}`", example = "web1"),
        ("If-None-Match" = Option<String>, Header, description = "An `ETag` of an earlier answer"),
    ),
    responses(
        (status = 200, description = "The commands, by label", body = schema::Commands, headers(("ETag" = String, description = "Changes when the answer does"))),
        (status = 304, description = "As it was"),
        (status = 404, description = "No such node, or none that may be seen", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn commands(
    State(hub): State<Arc<Hub>>,
    Caller(who): Caller,
    In(node): In<String>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    params.done()?;
    let mut node = get(&hub, &who, &node).await?;
    let name = node.summary.name.as_str();
    // What the hub lets nobody run through the bridge is not offered.
    let bridge = hub.ask(|client| async move { client.who_am_i().await }).await?;
    node.commands
        .retain(|command| who.may_run(name, &command.label) && lets_run(&bridge.rules, name, &command.label));
    let commands: Vec<Value> = ecs::commands(&node.commands);
    let body: Bytes = answer::body(&json!({ "commands": commands }));
    Ok(answer::tagged(&headers, JSON, body))
}

/// Whether one of the hub's rules for a user lets him run that there.
fn lets_run(rules: &[Rule], node: &str, label: &str) -> bool {
    rules.iter().any(|rule| {
        Patterns::new(&rule.nodes).matches(node)
            && match rule.role {
                Role::Viewer => false,
                Role::Operator => Patterns::new(&rule.commands).matches(label),
                Role::Admin => true,
            }
    })
}

/// A node that may be seen.
///
/// # Errors
/// There is none, or the hub is away.
pub(super) async fn get(hub: &Hub, who: &Principal, node: &str) -> Result<NodeDetail, Problem> {
    let asked: Arc<str> = match who.may_see_hub() {
        true => node.into(),
        false => visible(&hub.nodes().await?, who, node)?,
    };
    let get = |client: Client| {
        let node = asked.clone();
        async move { client.get(&node).await }
    };
    match hub.ask(get).await {
        Ok(found) if who.may_see(found.summary.name.as_str()) => Ok(found),
        Ok(_) => Err(unknown(node)),
        // It has gone just now, or another one is called so.
        Err(ClientError::Request(refusal))
            if refusal.code == ErrorCode::UnknownNode && !who.may_see_hub() =>
        {
            Err(unknown(node))
        }
        Err(error) => Err(error.into()),
    }
}

/// The id of the node that is meant, of those that may be seen, by the hub's rules. The hub itself knows of the others: what it
/// finds, what it offers as near and how long it takes would tell of them.
fn visible(nodes: &[Listed], who: &Principal, wanted: &str) -> Result<Arc<str>, Problem> {
    /// Shortest beginning of an id that names a node.
    const MIN_PREFIX: usize = 4;
    let lower = wanted.to_ascii_lowercase();
    let visible = || nodes.iter().filter(|node| who.may_see(&node.name));
    if let Some(node) = visible().find(|node| node.name == wanted || node.id == lower) {
        return Ok(node.id.as_str().into());
    }
    let mut fitting = visible().filter(|node| wanted.len() >= MIN_PREFIX && node.id.starts_with(&lower));
    match (fitting.next(), fitting.next()) {
        (Some(node), None) => Ok(node.id.as_str().into()),
        (None, _) => Err(unknown(wanted)),
        (Some(_), Some(_)) => {
            let detail =
                format!("several nodes have an id that begins with {lower}; give more of it, or the name");
            Err(Problem::new(StatusCode::NOT_FOUND, "unknown_node", detail))
        }
    }
}

fn unknown(node: &str) -> Problem {
    let detail = format!("there is no node \"{}\", or you may not see it", printable(node));
    Problem::new(StatusCode::NOT_FOUND, "unknown_node", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::By;

    #[test]
    fn a_node_that_may_not_be_seen_is_as_one_that_is_not_there() {
        let node = |name: &str, id: &str| Listed {
            name: name.to_owned(),
            id: id.to_owned(),
            status: "online",
            json: Bytes::new(),
        };
        let nodes = [node("web1", "01a1-10"), node("web2", "01a1-11"), node("db1", "01a1-20")];
        let who = Principal::new(By::Token, "a", Role::Viewer, &["web*".to_owned()], &[]);
        let find = |wanted: &str| visible(&nodes, &who, wanted).map(|id| id.to_string());
        for wanted in ["web1", "01a1-10", "01A1-10"] {
            assert_eq!(find(wanted).unwrap(), "01a1-10", "{wanted}");
        }
        assert!(find("01a1-1").unwrap_err().detail.contains("several"));
        // That a third one begins so makes no difference.
        assert!(find("01a1").unwrap_err().detail.contains("several"));
        assert_eq!(visible(&nodes[1..], &who, "01a1").unwrap().as_ref(), "01a1-11");
        for wanted in ["db1", "bb1", "01a1-2", "01a1-20", "01a", "", "we"] {
            let problem = find(wanted).unwrap_err();
            assert!(problem.near.is_empty() && problem.detail.contains("there is no node"), "{problem:?}");
        }
    }

    #[test]
    fn the_rules_of_the_hub_add_up_and_a_viewer_runs_nothing() {
        let rule = |role, nodes: &[&str], commands: &[&str]| {
            let own = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
            Rule { name: "a rule".to_owned(), role, nodes: own(nodes), commands: own(commands) }
        };
        let rules = [
            rule(Role::Viewer, &[], &[]),
            rule(Role::Operator, &["web*"], &["restart-*", "uptime"]),
            rule(Role::Operator, &["lab*"], &[]),
            rule(Role::Admin, &["db1"], &["nothing-else"]),
        ];
        for (node, label, may) in [
            ("web1", "uptime", true),
            ("web1", "restart-nginx", true),
            ("web1", "reboot", false),
            ("mail", "uptime", false),
            ("lab7", "reboot", true),
            ("db1", "reboot", true),
        ] {
            assert_eq!(lets_run(&rules, node, label), may, "{label} on {node}");
        }
        assert!(!lets_run(&rules[..1], "web1", "uptime"));
    }
}
