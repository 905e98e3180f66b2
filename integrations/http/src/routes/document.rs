//! The OpenAPI document: made from the routes themselves, with what is true of all of them.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap, response::Response};
use bytes::Bytes;
use utoipa::{
    OpenApi,
    openapi::{
        self, Content, Ref, RefOr, Response as Described, ResponseBuilder,
        path::Operation,
        security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use super::{
    answer::{self, JSON},
    query::Params,
    schema, session,
};
use crate::problem::Problem;

/// What every request may be answered with.
const ALWAYS: [(&str, &str); 7] = [
    ("400", "Something about the request makes no sense; `detail` says what"),
    ("401", "No token or session, or one that has ended"),
    ("403", "The token may not"),
    ("421", "The bridge does not serve this host"),
    ("429", "Too many requests; `Retry-After` says when to come back"),
    ("502", "The hub is away, or failed"),
    ("503", "The bridge has too much to do, or is stopped"),
];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "secmon",
        description = "Who is logged in where, WireGuard peers, auth events as they happen, and approved commands, over a hub and its nodes. Events, nodes and jobs are objects of the Elastic Common Schema, as `secmon --json` prints them; further fields may come with every release.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    components(schemas(Problem, schema::Status, schema::JobState)),
    paths(session::begin, session::who, session::end, session::healthy, session::ready, session::document),
    tags(
        (name = "nodes", description = "What stands"),
        (name = "events", description = "What happens"),
        (name = "commands", description = "What may be run"),
        (name = "jobs", description = "What runs without its client"),
        (name = "session", description = "A cookie in the place of a token, for browsers"),
        (name = "bridge", description = "The bridge itself"),
    ),
)]
struct Base;

/// The document to which the routes add themselves.
pub(super) fn base() -> openapi::OpenApi {
    Base::openapi()
}

/// Adds what is true of all routes, and writes it.
pub(super) fn finish(mut document: openapi::OpenApi) -> Arc<Bytes> {
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(
        "bearer",
        SecurityScheme::Http(
            Http::builder()
                .scheme(HttpAuthScheme::Bearer)
                .description(Some("A token made by `secmon http token add`"))
                .build(),
        ),
    );
    let cookie = ApiKeyValue::with_description(
        "secmon_session",
        "From POST /v1/session; `__Host-secmon_session` under TLS",
    );
    components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    for (status, description) in ALWAYS {
        components.responses.insert(name(status), RefOr::T(problem(description)));
    }
    for (path, item) in &mut document.paths.paths {
        let open = is_open(path);
        let operations = [&mut item.get, &mut item.post, &mut item.delete, &mut item.put, &mut item.patch];
        for operation in operations.into_iter().flatten() {
            describe(operation, open);
        }
    }
    // Made of texts and numbers alone: that cannot fail.
    Arc::new(document.to_json().unwrap_or_default().into())
}

fn describe(operation: &mut Operation, open: bool) {
    for (status, _) in ALWAYS {
        let ours = operation.responses.responses.entry(status.to_owned());
        ours.or_insert_with(|| RefOr::Ref(Ref::from_response_name(name(status))));
    }
    if !open {
        let scheme = |name: &str| SecurityRequirement::new(name, Vec::<String>::new());
        operation.security = Some(vec![scheme("bearer"), scheme("session")]);
    }
}

/// Whether it needs no token.
fn is_open(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

fn name(status: &str) -> String {
    format!("Problem{status}")
}

fn problem(description: &str) -> Described {
    let content = Content::new(Some(RefOr::<openapi::Schema>::Ref(Ref::from_schema_name("Problem"))));
    ResponseBuilder::new().description(description).content("application/problem+json", content).build()
}

/// The document.
pub(super) async fn serve(
    State(document): State<Arc<Bytes>>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    params.done()?;
    Ok(answer::tagged(&headers, JSON, document.as_ref().clone()))
}
