//! The parts of the page that are pure, asked in the browser: what they are given, and what they make of it.

use secmon_protocol::text::printable;
use secmon_testkit::{browser::NEEDS, require};
use serde_json::{Value, json};

use super::scene::Scene;

/// What a script makes with the exports of a module.
#[track_caller]
fn of(scene: &Scene, module: &str, script: &str) -> Value {
    scene.browser.ask(&format!("return import('/assets/{module}').then((m) => {{ {script} }})"), &[])
}

#[test]
fn the_page_makes_text_printable_as_the_command_line_does() {
    require!(NEEDS[0], NEEDS[1]);
    let scene = Scene::new();
    // All of the planes' first part, where every character that we know of as unsafe lies, and the tags far above it.
    let all = (0..0x3100_u32).chain(0xd7f0..0x1_0000).chain(0xe_0000..0xe_0100).filter_map(char::from_u32);
    let texts: Vec<String> =
        all.map(|c| format!("a{c}b")).chain(["\\x1b \\\\".into(), "ok ünï 漢 👩‍💻".into()]).collect();
    let script = "return import('/assets/text.js').then((m) => arguments[0].map(m.printable))";
    let made = scene.browser.ask(script, &[json!(texts)]);
    for (text, made) in texts.iter().zip(made.as_array().unwrap()) {
        assert_eq!(made.as_str(), Some(printable(text).as_str()), "{text:?}");
    }
}

#[test]
fn output_in_pieces_is_put_together_and_bounded() {
    require!(NEEDS[0], NEEDS[1]);
    let scene = Scene::new();
    // A character cut in two, both streams in turn, a line without an end, and bytes that are no UTF-8.
    let script = "
        const lines = new m.Lines();
        lines.add('stdout', new Uint8Array([104, 0xc3]));
        lines.add('stdout', new Uint8Array([0xbc, 10, 0xff, 10, 120]));
        lines.add('stderr', new Uint8Array([33, 10]));
        lines.add('stdout', new Uint8Array([121]));
        lines.end();
        return lines.lines.map((line) => [line.stream, line.text]);";
    let made = of(&scene, "output.js", script);
    let wanted =
        json!([["stdout", "hü"], ["stdout", "\u{fffd}"], ["stdout", "x"], ["stderr", "!"], ["stdout", "y"]]);
    assert_eq!(made, wanted);
    let script = "
        const lines = new m.Lines();
        const long = new Uint8Array(10 << 20).fill(120);
        lines.add('stdout', long);
        for (let i = 0; i < 20000; i += 1) lines.add('stdout', new TextEncoder().encode(`${i}\\n`));
        const kept = lines.lines.reduce((sum, line) => sum + line.bytes, 0);
        return [lines.lines.length, lines.lines.at(-1).text, lines.droppedBytes + kept];";
    let all = (10_u64 << 20) + (0..20_000_u64).map(|i| i.to_string().len() as u64 + 1).sum::<u64>();
    assert_eq!(of(&scene, "output.js", script), json!([5000, "19999", all]));
}

#[test]
fn what_stands_is_made_of_a_snapshot_and_of_events_in_any_number() {
    require!(NEEDS[0], NEEDS[1]);
    let scene = Scene::new();
    let script = "
        const fleet = new m.Fleet();
        const host = (i) => ({ id: `id${i}`, name: `n${i}` });
        const state = (i, type, rest) => fleet.take({ event: { kind: 'state' }, host: host(i), secmon: { type, ...rest } });
        const event = (i, type, rest) => fleet.take({ '@timestamp': '2026-01-01T00:00:00Z', event: { kind: 'event' }, host: host(i), secmon: { type, ...rest } });
        const session = (id, user) => ({ session: { id, user } });
        const peer = (online) => ({ wg: { interface: 'wg0', public_key: 'k', online } });
        const snapshot = (from) => {
          fleet.snapshotBegins();
          for (let i = from; i < 10000; i += 1) {
            state(i, 'node.state', { status: 'online', since: 'x', facets: { sessions: { status: 'ready' } } });
            if (i % 2) state(i, 'session.state', session('s', 'root'));
            if (i % 5 === 0) state(i, 'wg.peer_state', peer(true));
          }
          fleet.snapshotEnded();
          const { nodes, online, away, sessions, users, peers, peersOnline, blind } = fleet.counts();
          return [nodes, online, away, sessions, users, peers, peersOnline, blind];
        };
        const first = snapshot(0);
        event(0, 'session.opened', session('t', 'alice'));
        event(1, 'session.closed', session('s', 'root'));
        event(1, 'session.closed', session('s', 'root'));
        event(5, 'wg.peer_offline', peer(false));
        event(7, 'node.disconnected', { node: { reason: 'gone' } });
        event(9, 'facet.unavailable', { facet: { name: 'sessions', status: 'unavailable', reason: 'why' } });
        event(11, 'node.removed', {});
        event(11, 'node.disconnected', { node: { reason: 'removed' } });
        event(13, 'facet.ready', { facet: { name: 'sessions', status: 'ready' } });
        const c = fleet.counts();
        const then = [c.nodes, c.online, c.away, c.sessions, c.users, c.peers, c.peersOnline, c.blind];
        return [first, then, [...fleet.unsure], snapshot(1)];";
    let made = of(&scene, "fleet-state.js", script);
    assert_eq!(made[0], json!([10_000, 10_000, 0, 5000, 1, 2000, 2000, 0]));
    // alice came; n1's is gone, n9's cannot be seen, n11 has gone with its own.
    assert_eq!(made[1], json!([9999, 9998, 1, 4998, 2, 2000, 1999, 1]));
    assert_eq!(made[2], json!(["id13"]), "what a facet sees at first is in no event");
    assert_eq!(made[3], json!([9999, 9999, 0, 5000, 1, 1999, 1999, 0]), "and a later snapshot is the truth");
}

#[test]
fn events_are_kept_once_in_order_and_bounded() {
    require!(NEEDS[0], NEEDS[1]);
    let scene = Scene::new();
    let script = "
        const log = new m.EventLog();
        const event = (n) => ({ '@timestamp': new Date(n * 1000).toISOString(), event: { id: `e${n}`, sequence: n } });
        for (let n = 10; n < 20; n += 1) log.add(event(n));
        log.add(event(12));
        log.addPast([event(8), event(9), event(10)], 5000);
        const first = log.events.map((e) => e.event.sequence);
        for (let n = 20; n < 30000; n += 1) log.add(event(n));
        return [first, log.events.length <= 10500, log.events.at(-1).event.sequence, log.events.length + log.dropped];";
    let made = of(&scene, "event-log.js", script);
    let order: Vec<u64> = (8..20).collect();
    assert_eq!(made, json!([order, true, 29_999, 29_992]));
}

#[test]
fn the_policy_of_the_page_lets_no_text_become_markup_or_a_program() {
    require!(NEEDS[0], NEEDS[1]);
    let scene = Scene::new();
    let tries = [
        "document.body.innerHTML = '<b>x</b>'",
        "const s = document.createElement('script'); s.text = 'window.broken = 1'; document.body.append(s)",
        "document.body.insertAdjacentHTML('beforeend', '<b>x</b>')",
        "document.write('<b>x</b>')",
    ];
    for script in tries {
        let refused =
            format!("try {{ {script}; return false }} catch (error) {{ return error instanceof TypeError }}");
        assert_eq!(scene.browser.ask(&refused, &[]), json!(true), "{script}");
    }
    let handler = "const b = document.createElement('a'); try { b.setAttribute('onclick', 'window.broken = 1') } catch {} document.body.append(b); b.click(); return window.broken";
    assert_eq!(scene.browser.ask(handler, &[]), Value::Null);
    let elsewhere = "return fetch('http://192.0.2.1/').then(() => 'answered', () => 'refused')";
    assert_eq!(scene.browser.ask(elsewhere, &[]), json!("refused"));
    let complaints = scene.browser.complaints();
    assert!(complaints.iter().any(|line| line.contains("connect-src")), "{complaints:#?}");
}
