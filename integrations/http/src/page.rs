//! The web page and its files, served from the binary.
//!
//! The files lie in `page/` as they are served: no build step, no other origin. Nothing of a user's is in them, so they need no
//! token; what they show they fetch from the API with the cookie of a session.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use axum::{
    Router,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;

/// What the page may do (CSP 3, <https://www.w3.org/TR/CSP3/>): run our scripts, look as our sheets say, talk to us; be in no frame, and
/// make no markup out of text (Trusted Types, without any policy that could).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      font-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'";

/// Headers of every file.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    // Asked again each time: a new binary has a new page at once, and an unchanged one costs a 304.
    (header::CACHE_CONTROL, "no-cache"),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of the page.
struct File {
    path: &'static str,
    kind: &'static str,
    body: &'static [u8],
}

macro_rules! files {
    ($($path:literal $kind:ident $name:literal,)*) => {
        /// All of them. A test holds it against the folder.
        const FILES: &[File] = &[
            $(File { path: $path, kind: $kind, body: include_bytes!(concat!("../page/", $name)) },)*
        ];
        #[cfg(test)]
        const NAMES: &[&str] = &[$($name,)*];
    };
}

files! {
    "/" HTML "index.html",
    "/api" HTML "api.html",
    "/assets/icon.svg" SVG "icon.svg",
    "/assets/style.css" CSS "style.css",
    "/assets/theme.js" SCRIPT "theme.js",
    "/assets/app.js" SCRIPT "app.js",
    "/assets/api.js" SCRIPT "api.js",
    "/assets/dom.js" SCRIPT "dom.js",
    "/assets/text.js" SCRIPT "text.js",
    "/assets/sentence.js" SCRIPT "sentence.js",
    "/assets/fleet-state.js" SCRIPT "fleet-state.js",
    "/assets/event-log.js" SCRIPT "event-log.js",
    "/assets/stream.js" SCRIPT "stream.js",
    "/assets/table.js" SCRIPT "table.js",
    "/assets/view-signin.js" SCRIPT "view-signin.js",
    "/assets/view-fleet.js" SCRIPT "view-fleet.js",
    "/assets/view-who.js" SCRIPT "view-who.js",
    "/assets/view-node.js" SCRIPT "view-node.js",
    "/assets/view-events.js" SCRIPT "view-events.js",
    "/assets/view-jobs.js" SCRIPT "view-jobs.js",
    "/assets/event-list.js" SCRIPT "event-list.js",
    "/assets/timeline.js" SCRIPT "timeline.js",
    "/assets/command-form.js" SCRIPT "command-form.js",
    "/assets/run.js" SCRIPT "run.js",
    "/assets/output.js" SCRIPT "output.js",
    "/assets/api-doc.js" SCRIPT "api-doc.js",
}

/// The page's files, which need no token.
pub(crate) fn routes() -> Router {
    FILES.iter().enumerate().fold(Router::new(), |router, (i, file)| {
        router.route(file.path, get(async move |headers: HeaderMap| serve(i, &headers)))
    })
}

/// An entity tag of each (RFC 9110 §8.8.3). Weak, since a layer around us may compress the body, which changes its bytes.
static TAGS: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| FILES.iter().map(tag).collect());

fn tag(file: &File) -> HeaderValue {
    let digest = digest::digest(&digest::SHA256, file.body);
    // 64 bits tell the files of all releases apart.
    let hex: String = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("W/\"{hex}\"")).unwrap_or_else(|_| HeaderValue::from_static("W/\"0\""))
}

fn serve(i: usize, headers: &HeaderMap) -> Response {
    let (file, tag) = (&FILES[i], &TAGS[i]);
    let mut response = if has(headers, tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let kind = HeaderValue::from_static(file.kind);
        ([(header::CONTENT_TYPE, kind)], Bytes::from_static(file.body)).into_response()
    };
    let out = response.headers_mut();
    out.insert(header::ETAG, tag.clone());
    for (name, value) in HEADERS {
        out.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether the client has it already: `If-None-Match`, compared weakly (RFC 9110 §13.1.2).
fn has(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let weak = |text: &str| text.trim().trim_start_matches("W/").to_owned();
    let ours = tag.to_str().map(weak).unwrap_or_default();
    let asked = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    asked.flat_map(|value| value.split(',')).any(|theirs| theirs.trim() == "*" || weak(theirs) == ours)
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
