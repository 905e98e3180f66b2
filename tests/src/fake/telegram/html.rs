//! HTML as Telegram reads it, <https://core.telegram.org/bots/api#html-style>.

/// Tags that it knows; those with attributes are not used by what is tested.
const TAGS: [&str; 14] = [
    "b",
    "strong",
    "i",
    "em",
    "u",
    "ins",
    "s",
    "strike",
    "del",
    "code",
    "pre",
    "blockquote",
    "tg-spoiler",
    "a",
];

/// The text without tags and entities, or why it cannot be parsed.
pub(super) fn text(html: &str) -> Result<String, String> {
    let wrong = |what: String| Err(format!("Bad Request: can't parse entities: {what}"));
    let (mut out, mut at, mut open) = (String::new(), 0, Vec::<&str>::new());
    while let Some(c) = html[at..].chars().next() {
        let rest = &html[at..];
        if c == '<' {
            let Some(end) = rest.find('>') else {
                return wrong(format!("Unclosed start tag at byte offset {at}"));
            };
            let tag = &rest[1..end];
            match tag.strip_prefix('/') {
                Some(name) => match open.pop() {
                    Some(last) if last == name => {}
                    Some(last) => {
                        return wrong(format!(
                            "Unmatched end tag at byte offset {at}, expected \"</{last}>\", found \"</{name}>\""
                        ));
                    }
                    None => return wrong(format!("Unexpected end tag at byte offset {at}")),
                },
                None if TAGS.contains(&tag) => {
                    if open.iter().any(|outer| ["pre", "code"].contains(outer)) && tag != "code" {
                        return wrong(format!("Entity {tag} within code at byte offset {at}"));
                    }
                    open.push(tag);
                }
                None => return wrong(format!("Unsupported start tag \"{tag}\" at byte offset {at}")),
            }
            at += end + 1;
        } else if c == '&' {
            // The real server leaves what is no entity as it stands; who escapes writes none such.
            let entity = rest.find(';').map(|end| (&rest[1..end], end));
            let (letter, end) = match entity {
                Some(("amp", end)) => ('&', end),
                Some(("lt", end)) => ('<', end),
                Some(("gt", end)) => ('>', end),
                Some(("quot", end)) => ('"', end),
                _ => return wrong(format!("a bare & at byte offset {at}")),
            };
            out.push(letter);
            at += end + 1;
        } else {
            out.push(c);
            at += c.len_utf8();
        }
    }
    match open.pop() {
        Some(tag) => wrong(format!("Can't find end tag corresponding to start tag \"{tag}\"")),
        None => Ok(out),
    }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn what_telegram_would_refuse_is_refused() {
        assert_eq!(text("<b>a &lt;</b> &amp; <pre>x</pre>").unwrap(), "a < & x");
        for bad in [
            "<b>",
            "</b>",
            "<b><i></b></i>",
            "<script>x</script>",
            "a < b",
            "a & b",
            "&nbsp;",
            "<pre><b>x</b></pre>",
        ] {
            assert!(text(bad).unwrap_err().starts_with("Bad Request: can't parse entities"), "{bad}");
        }
    }
}
