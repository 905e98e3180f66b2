//! Hostile texts in messages.

use proptest::prelude::*;

use super::*;

/// The text of a message as Telegram has it after reading tags and entities; panics on anything that it would refuse.
pub(crate) fn parsed(html: &str) -> String {
    let (mut out, mut rest, mut open) = (String::new(), html, vec![]);
    while let Some(c) = rest.chars().next() {
        if let Some(tag) = rest.strip_prefix('<') {
            let (tag, after) = tag.split_once('>').expect("a tag ends");
            match tag.strip_prefix('/') {
                Some(tag) => assert_eq!(open.pop(), Some(tag), "{html}"),
                None => open.push(tag),
            }
            assert!(["b", "code", "pre", "i", "/b", "/code", "/pre", "/i"].contains(&tag), "{tag}");
            rest = after;
        } else if let Some(entity) = rest.strip_prefix('&') {
            let (name, after) = entity.split_once(';').expect("an entity ends");
            out.push(match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                other => panic!("&{other};"),
            });
            rest = after;
        } else {
            assert_ne!(c, '>');
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    assert!(open.is_empty(), "{html}");
    out
}

#[test]
fn hostile_names_stay_text() {
    let names = ["<b>", "_*[x](y)", "a\u{202e}b", "&lt;", "\x1b[2J", "\"'`", "</pre>"];
    let html = names.iter().fold(Html::new(), |html, name| html.bold(name).text(" ").code(name).said("\n"));
    insta::assert_snapshot!(html.as_str(), @r#"
    <b>&lt;b&gt;</b> <code>&lt;b&gt;</code>
    <b>_*[x](y)</b> <code>_*[x](y)</code>
    <b>a\u{202e}b</b> <code>a\u{202e}b</code>
    <b>&amp;lt;</b> <code>&amp;lt;</code>
    <b>\x1b[2J</b> <code>\x1b[2J</code>
    <b>&quot;'`</b> <code>&quot;'`</code>
    <b>&lt;/pre&gt;</b> <code>&lt;/pre&gt;</code>
    "#);
}

#[test]
fn a_message_is_never_longer_than_one_may_be() {
    let html = Html::new().bold(&"<".repeat(5000)).text("nothing more");
    let text = parsed(html.as_str());
    assert_eq!(units(&text), MAX_MESSAGE);
    assert!(text.ends_with("<…"));
}

#[test]
fn a_list_that_is_too_long_says_how_many_more_there_are() {
    let items: Vec<Html> = (0..1000).map(|n| Html::new().bold(&format!("node-{n}"))).collect();
    let text = parsed(Html::new().items(&items, 0).as_str());
    let shown = text.lines().count() - 1;
    assert!(text.ends_with(&format!("… and {} more", 1000 - shown)), "{text}");
    assert!(units(&text) <= MAX_MESSAGE);
    let all = parsed(Html::new().items(&items[..20], 0).as_str());
    assert_eq!((all.lines().count(), all.contains("more")), (20, false));
}

#[test]
fn of_a_long_output_the_last_lines_are_in_view() {
    let lines: String = (0..2000).map(|n| format!("line {n}\n")).collect();
    let text = parsed(Html::new().text("head").said("\n").block_end(lines.trim_end()).as_str());
    assert!(text.starts_with("head\n…\nline ") && text.ends_with("line 1999"), "{text}");
    assert!(units(&text) <= MAX_MESSAGE);
}

#[test]
fn output_is_what_a_terminal_would_have_shown_last() {
    let bytes = b"10%\r50%\r100%\r\n\x1b[1;31mred\x1b[0m\tx\x1b[2J\nback\\slash\n\xff\n";
    assert_eq!(output(bytes), "100%\nred    x\\x1b[2J\nback\\\\slash\n\u{fffd}\n");
}

proptest! {
    #[test]
    fn cutting_keeps_whole_characters_and_the_limit(text in ".{0,200}", max in 0_usize..300) {
        let (start, end) = (head(&text, max), tail(&text, max));
        prop_assert!(text.starts_with(start) && text.ends_with(end));
        for part in [start, end] {
            prop_assert!(units(part) <= max);
            // Another character would not have fitted.
            prop_assert!(part.len() == text.len() || units(part) + 2 > max);
        }
        prop_assert_eq!(units(&text), text.encode_utf16().count());
        prop_assert!(units(&cut(&text, max)) <= max);
    }

    #[test]
    fn whatever_is_put_into_a_message_it_can_be_parsed_and_fits(parts in prop::collection::vec((0_u8..6, "\\PC{0,900}|[<>&\"\u{1f600}]{0,900}"), 0..12)) {
        let html = parts.iter().fold(Html::new(), |html, (how, text)| match how {
            0 => html.text(text),
            1 => html.bold(text),
            2 => html.code(text),
            3 => html.said(text),
            4 => html.block_end(text),
            _ => html.items(&[Html::new().text(text)], 0),
        });
        let text = parsed(html.as_str());
        prop_assert!(units(&text) <= MAX_MESSAGE);
        prop_assert_eq!(units(&text) + html.room(), MAX_MESSAGE);
    }
}
