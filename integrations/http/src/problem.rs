//! Errors as RFC 9457, `application/problem+json`: what every route and every layer answers with.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use secmon_client::ClientError;
use secmon_protocol::{ecs, message::ErrorCode};
use serde::Serialize;
use utoipa::ToSchema;

/// A problem.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says which kind it is, and `code` which of ours.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The status in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What was tried, on what, why it failed, what to do.
    pub detail: String,
    /// A word for programs: `unknown_node`, `not_permitted`, `too_many_requests` …
    pub code: &'static str,
    /// Names near to one that was not found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub near: Vec<String>,
    /// Seconds after which it may be tried again; the header `Retry-After` says the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Problem {
    /// One with a sentence.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            code,
            near: vec![],
            retry_after: None,
        }
    }
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Self {
        let (status, code) = match error.refusal() {
            Some(ErrorCode::UnknownNode) => (StatusCode::NOT_FOUND, "unknown_node"),
            Some(ErrorCode::NotPermitted) => (StatusCode::FORBIDDEN, "not_permitted"),
            Some(ErrorCode::NodeAway) => (StatusCode::CONFLICT, "node_away"),
            Some(ErrorCode::UnknownJob) => (StatusCode::NOT_FOUND, "unknown_job"),
            Some(ErrorCode::JobState) => (StatusCode::CONFLICT, "job_state"),
            Some(ErrorCode::TooMany) => (StatusCode::SERVICE_UNAVAILABLE, "too_many"),
            Some(ErrorCode::Internal) => (StatusCode::BAD_GATEWAY, "hub_failed"),
            Some(_) => (StatusCode::BAD_REQUEST, "refused"),
            None => (StatusCode::BAD_GATEWAY, "hub_away"),
        };
        let mut problem = Self::new(status, code, error.to_string());
        if let ClientError::Request(refusal) | ClientError::Rejected(refusal) = error {
            problem.near = refusal.near;
        }
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Strings and numbers alone: that cannot fail.
        // A node's own words may be in it: what could steer a terminal is escaped.
        let body = serde_json::to_value(&self).map(|value| ecs::line(&value)).unwrap_or_default();
        let kind = HeaderValue::from_static("application/problem+json");
        let mut response = (status, [(header::CONTENT_TYPE, kind)], body).into_response();
        if let Some(after) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, after.into());
        }
        response
    }
}
