//! What a request says in its path and its query: read strictly, so that a word that is mistyped is told and not ignored.

use std::{fmt::Display, str::FromStr, time::Duration};

use axum::{
    extract::{FromRequestParts, Path, Query},
    http::{StatusCode, request::Parts},
};
use jiff::{Span, SpanRelativeTo};
use secmon_protocol::limits::MAX_PATTERNS;

use crate::{access::Principal, problem::Problem};

/// Longest pattern, in bytes, as the hub has it.
const MAX_PATTERN: usize = 256;

/// Something about a request that makes no sense.
pub(super) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail)
}

/// Who asks, as the access layer found.
#[derive(Debug, Clone)]
pub(super) struct Caller(pub(super) Principal);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let found = parts.extensions.get::<Principal>().cloned().map(Self);
        found.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "nobody said who asks"))
    }
}

/// The variable parts of a path, percent-decoded.
#[derive(Debug)]
pub(super) struct In<T>(pub(super) T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned + Send> FromRequestParts<S> for In<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(found)| Self(found)).map_err(|error| bad(format!("the path is not UTF-8: {error}")))
    }
}

/// The query, from which one takes what one knows.
#[derive(Debug)]
pub(super) struct Params {
    left: Vec<(String, String)>,
    known: Vec<&'static str>,
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let Query(left) = query.map_err(|error| bad(format!("the query cannot be read: {error}")))?;
        Ok(Self { left, known: vec![] })
    }
}

impl Params {
    /// All values of a parameter that may be given several times.
    pub(super) fn many(&mut self, name: &'static str) -> Vec<String> {
        self.known.push(name);
        let (found, left) = std::mem::take(&mut self.left).into_iter().partition(|(key, _)| key == name);
        self.left = left;
        let found: Vec<(String, String)> = found;
        found.into_iter().map(|(_, value)| value).collect()
    }

    /// Patterns, of which the hub takes only so many and so long ones.
    pub(super) fn patterns(&mut self, name: &'static str) -> Result<Vec<String>, Problem> {
        let patterns = self.many(name);
        // One place is kept for `gap`.
        if patterns.len() >= MAX_PATTERNS || patterns.iter().any(|pattern| pattern.len() > MAX_PATTERN) {
            let most = MAX_PATTERNS - 1;
            return Err(bad(format!(
                "{name}: at most {most} patterns are taken, of {MAX_PATTERN} bytes at most"
            )));
        }
        Ok(patterns)
    }

    /// A parameter that may be given once.
    pub(super) fn one(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        let mut found = self.many(name);
        if found.len() > 1 {
            return Err(bad(format!("{name} is given {} times, and may be given once", found.len())));
        }
        Ok(found.pop())
    }

    /// One that is read by `read`.
    pub(super) fn read<T, E: Display>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        let found = self.one(name)?;
        found.map(|text| read(&text).map_err(|error| bad(format!("{name}: {error}")))).transpose()
    }

    /// `true` or `false`; absent is false.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, Problem> {
        let read = |text: &str| match text {
            "true" | "1" | "" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err("write true or false"),
        };
        Ok(self.read(name, read)?.unwrap_or(false))
    }

    /// A number within bounds.
    pub(super) fn number<T>(&mut self, name: &'static str, least: T, most: T) -> Result<Option<T>, Problem>
    where
        T: FromStr + PartialOrd + Display,
    {
        self.read(name, |text| {
            let number = text.parse::<T>().ok().filter(|number| *number >= least && *number <= most);
            number.ok_or_else(|| format!("write a whole number from {least} to {most}"))
        })
    }

    /// A time span such as `30s`, `5m` or `1h`, at most so long.
    pub(super) fn span(&mut self, name: &'static str, most: Duration) -> Result<Option<Duration>, Problem> {
        self.read(name, |text| {
            let long = span(text).filter(|long| *long <= most);
            long.ok_or_else(|| format!("write a time such as 30s, 5m or 1h, of {} s at most", most.as_secs()))
        })
    }

    /// Nothing else may be there.
    pub(super) fn done(self) -> Result<(), Problem> {
        match self.left.first() {
            None => Ok(()),
            Some((name, _)) => {
                let known = match self.known.as_slice() {
                    [] => "it has none".to_owned(),
                    known => format!("it has {}", known.join(", ")),
                };
                Err(bad(format!("this request has no parameter {name:?}; {known}")))
            }
        }
    }
}

fn span(text: &str) -> Option<Duration> {
    let span: Span = text.trim().parse().ok()?;
    let long = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(long).ok()
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    async fn params(query: &str) -> Params {
        let (mut parts, ()) = Request::get(format!("/x?{query}")).body(()).unwrap().into_parts();
        Params::from_request_parts(&mut parts, &()).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_not_known_or_not_what_it_should_be_is_told_by_its_name() {
        let mut query = params("node=a&node=b%20c&wait=5m&limit=7&flag=true").await;
        assert_eq!(query.patterns("node").unwrap(), ["a", "b c"]);
        assert_eq!(query.span("wait", Duration::from_secs(900)).unwrap(), Some(Duration::from_secs(300)));
        assert_eq!(query.number("limit", 1, 10).unwrap(), Some(7));
        assert!(query.flag("flag").unwrap() && !query.flag("other").unwrap());
        query.done().unwrap();

        let error = params("nod=a").await.done().unwrap_err();
        assert!(error.detail.contains("\"nod\"") && error.status == 400, "{error:?}");
        for (query, name) in
            [("wait=1h", "wait"), ("wait=x", "wait"), ("wait=-5s", "wait"), ("wait=1s&wait=2s", "wait")]
        {
            let error = params(query).await.span("wait", Duration::from_secs(60)).unwrap_err();
            assert!(error.detail.starts_with(name), "{query}: {error:?}");
        }
        for query in ["limit=0", "limit=11", "limit=-1", "limit=x", "limit="] {
            assert!(params(query).await.number("limit", 1, 10).is_err(), "{query}");
        }
        assert!(params("flag=yes").await.flag("flag").is_err());
        let many = vec!["node=x"; MAX_PATTERNS].join("&");
        assert!(params(&many).await.patterns("node").is_err());
        assert!(params(&format!("node={}", "x".repeat(257))).await.patterns("node").is_err());
    }
}
