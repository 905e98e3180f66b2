use std::{collections::BTreeSet, fs, path::Path};

use axum::{body::Body, http::Request};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::*;

async fn get_file(path: &str, tag: Option<&str>) -> Response {
    let mut request = Request::get(path);
    if let Some(tag) = tag {
        request = request.header(header::IF_NONE_MATCH, tag);
    }
    routes().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("page")
}

#[test]
fn every_file_of_the_folder_is_served_and_no_other() {
    let there: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let served: BTreeSet<String> = NAMES.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(there, served);
    for file in FILES.iter().filter(|file| file.path.starts_with("/assets/")) {
        assert!(NAMES.iter().any(|name| file.path == format!("/assets/{name}")), "{}", file.path);
    }
}

#[test]
fn every_module_imports_files_that_are_served() {
    for file in FILES.iter().filter(|file| file.kind == SCRIPT) {
        let text = std::str::from_utf8(file.body).unwrap();
        for import in text.split(" from './").skip(1).filter_map(|rest| rest.split('\'').next()) {
            let path = format!("/assets/{import}");
            assert!(FILES.iter().any(|other| other.path == path), "{} imports {import}", file.path);
        }
    }
}

/// With these no text of a stranger's becomes markup or a program; the policy refuses them as well.
#[test]
fn no_file_makes_markup_or_programs_of_text() {
    let never = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "createContextualFragment",
        "DOMParser",
        "setHTML",
        "eval(",
        "new Function",
        "srcdoc",
        "javascript:",
        "setTimeout('",
        "setTimeout(\"",
        "localStorage.setItem('token",
    ];
    for (file, name) in FILES.iter().zip(NAMES) {
        let text = std::str::from_utf8(file.body).unwrap();
        for word in never {
            assert!(!text.contains(word), "{name} has {word}");
        }
        assert!(
            !text.contains("http://") || *name == "icon.svg" || only_namespaces(text),
            "{name} names another origin"
        );
        if file.kind == HTML {
            let lower = text.to_lowercase();
            assert!(!lower.contains("<style"), "{name} has a sheet of its own");
            for part in lower.split("<script").skip(1) {
                assert!(
                    part.contains("src=\"/assets/") && part.contains("></script>"),
                    "{name}: a script in the page"
                );
            }
            for part in lower.split([' ', '\n']) {
                let handler = part.starts_with("on") && part.contains("=\"");
                assert!(!handler && !part.starts_with("style="), "{name}: {part}");
            }
        }
    }
}

fn only_namespaces(text: &str) -> bool {
    text.split("http://").skip(1).all(|rest| rest.starts_with("www.w3.org/"))
}

#[tokio::test]
async fn every_file_has_its_type_a_strict_policy_and_a_tag() {
    for file in FILES {
        let response = get_file(file.path, None).await;
        assert_eq!(response.status(), StatusCode::OK, "{}", file.path);
        let headers = response.headers().clone();
        assert_eq!(headers[header::CONTENT_TYPE], file.kind);
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        let tag = headers[header::ETAG].to_str().unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, file.body);

        let again = get_file(file.path, Some(&format!("\"other\", {tag}"))).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(again.headers()[header::ETAG], tag);
        assert!(again.headers().contains_key(header::CONTENT_SECURITY_POLICY));
        assert!(again.into_body().collect().await.unwrap().to_bytes().is_empty());
        assert_eq!(get_file(file.path, Some("\"other\"")).await.status(), StatusCode::OK);
    }
}
