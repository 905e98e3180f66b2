//! Addresses of services, checked before anything is connected to. They may be secrets: none is in an error or in Debug output. Pure.

use reqwest::Url;

use crate::discord::is_snowflake;

/// The version of Discord's API that is spoken, <https://discord.com/developers/docs/reference#api-versioning>.
const API: &str = "v10";
/// Longest topic of ntfy, as its server checks it.
const MAX_TOPIC: usize = 64;

/// An address that may be spoken to: https, or http to this machine alone.
///
/// # Errors
/// It is another, or carries a password or a fragment.
pub(crate) fn service(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no address: {error}"))?;
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match url.scheme() {
        "https" => {}
        "http" if local => {}
        "http" => return Err("is http, by which anybody on the way could read it: use https".to_owned()),
        _ => return Err("is neither https nor http".to_owned()),
    }
    if host.is_empty() {
        return Err("names no host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or a password: put a token into `token_file`".to_owned());
    }
    if url.fragment().is_some() {
        return Err("has a `#`: no server would be told what stands behind it".to_owned());
    }
    Ok(url)
}

/// The address of a webhook of Discord.
#[derive(Clone)]
pub(crate) struct DiscordUrl {
    base: Url,
    id: String,
    token: String,
}

impl std::fmt::Debug for DiscordUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiscordUrl").field("id", &self.id).finish_non_exhaustive()
    }
}

impl DiscordUrl {
    /// Reads `https://discord.com/api/webhooks/ID/TOKEN`, with a version of the API or without.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut base = service(text)?;
        if base.query().is_some() {
            return Err("has a `?`: leave out what is behind it; a thread is named by `thread_id`".to_owned());
        }
        let path: Vec<&str> =
            base.path_segments().into_iter().flatten().filter(|part| !part.is_empty()).collect();
        let (id, token) = match path[..] {
            ["api", "webhooks", id, token] => (id, token),
            ["api", version, "webhooks", id, token] if version.starts_with('v') => (id, token),
            [.., "slack" | "github"] => {
                return Err("ends in `/slack` or `/github`: leave that out".to_owned());
            }
            _ => return Err("is not that of a webhook, https://discord.com/api/webhooks/ID/TOKEN".to_owned()),
        };
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !is_snowflake(id) || token.is_empty() || !token.bytes().all(sound) {
            return Err(
                "is not that of a webhook: its id or its token has other characters than theirs".to_owned()
            );
        }
        let (id, token) = (id.to_owned(), token.to_owned());
        base.set_path("");
        Ok(Self { base, id, token })
    }

    /// The webhook's id, which is no secret.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Its token, which is.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Where to send, or to edit a message.
    pub(crate) fn request(&self, message: Option<&str>, thread: Option<&str>) -> Url {
        let mut url = self.base.clone();
        let mut path = format!("/api/{API}/webhooks/{}/{}", self.id, self.token);
        if let Some(message) = message {
            path.push_str("/messages/");
            path.push_str(message);
        }
        url.set_path(&path);
        let mut query = url.query_pairs_mut();
        if message.is_none() {
            // Or Discord would answer before it has the message, and without its id.
            query.append_pair("wait", "true");
        }
        if let Some(thread) = thread {
            query.append_pair("thread_id", thread);
        }
        drop(query);
        if url.query() == Some("") {
            url.set_query(None);
        }
        url
    }
}

/// A topic of ntfy and its server. The topic may be all that keeps others out.
#[derive(Clone)]
pub(crate) struct Topic {
    /// Where to publish as JSON.
    pub(crate) server: Url,
    /// Its name.
    pub(crate) name: String,
}

impl std::fmt::Debug for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topic").field("host", &self.server.host_str()).finish_non_exhaustive()
    }
}

impl Topic {
    /// Reads `https://ntfy.sh/TOPIC`.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut server = service(text)?;
        if server.query().is_some() {
            return Err(
                "has a `?`: leave out what is behind it; a token belongs into `token_file`".to_owned()
            );
        }
        let path = server.path().trim_end_matches('/').to_owned();
        let (before, name) = path.rsplit_once('/').unwrap_or_default();
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || name.len() > MAX_TOPIC || !name.bytes().all(sound) {
            return Err(format!(
                "does not end in a topic, as https://ntfy.sh/TOPIC: up to {MAX_TOPIC} letters, digits, `-` and `_`"
            ));
        }
        server.set_path(&format!("{before}/"));
        Ok(Self { server, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loopback_is_spoken_to_in_the_clear() {
        for fine in ["https://example.com/x", "http://127.0.0.1:8/x", "http://[::1]/x", "http://localhost/x"]
        {
            assert!(service(fine).is_ok(), "{fine}");
        }
        for wrong in [
            "http://example.com/x",
            "http://127.0.0.1.example.com/",
            "ftp://127.0.0.1/",
            "https://u:SECRET@example.com/",
            "https://example.com/#SECRET",
            "SECRET",
        ] {
            let error = service(wrong).unwrap_err();
            assert!(!error.contains("SECRET"), "{error}");
        }
    }

    #[test]
    fn a_webhooks_address_is_read_as_discord_shows_it_and_asked_in_one_version() {
        for text in
            ["https://discord.com/api/webhooks/123/ab-C_d", "https://discord.com/api/v9/webhooks/123/ab-C_d/"]
        {
            let url = DiscordUrl::parse(text).unwrap();
            assert_eq!(
                url.request(None, None).as_str(),
                "https://discord.com/api/v10/webhooks/123/ab-C_d?wait=true"
            );
            assert_eq!(
                url.request(Some("7"), Some("8")).as_str(),
                "https://discord.com/api/v10/webhooks/123/ab-C_d/messages/7?thread_id=8"
            );
            assert_eq!(
                url.request(Some("7"), None).as_str(),
                "https://discord.com/api/v10/webhooks/123/ab-C_d/messages/7"
            );
            assert!(!format!("{url:?}").contains("ab-C_d"));
        }
        for wrong in [
            "https://discord.com/channels/1/2",
            "https://discord.com/api/webhooks/x/SECRET",
            "https://discord.com/api/webhooks/1/SECRET/slack",
            "https://discord.com/api/webhooks/1/SECRET?thread_id=1",
            "https://discord.com/api/webhooks/1/SEC%2fRET",
        ] {
            let error = DiscordUrl::parse(wrong).unwrap_err();
            assert!(!error.contains("SEC"), "{error}");
        }
    }

    #[test]
    fn a_topic_is_the_last_part_of_an_address() {
        let topic = Topic::parse("https://ntfy.sh/my-Topic_1").unwrap();
        assert_eq!((topic.server.as_str(), topic.name.as_str()), ("https://ntfy.sh/", "my-Topic_1"));
        let below = Topic::parse("https://example.com/ntfy/t/").unwrap();
        assert_eq!((below.server.as_str(), below.name.as_str()), ("https://example.com/ntfy/", "t"));
        assert!(!format!("{topic:?}").contains("my-Topic"));
        for wrong in
            ["https://ntfy.sh", "https://ntfy.sh/", "https://ntfy.sh/a.b", "https://ntfy.sh/t?auth=SECRET"]
        {
            assert!(!Topic::parse(wrong).unwrap_err().contains("SECRET"), "{wrong}");
        }
    }
}
