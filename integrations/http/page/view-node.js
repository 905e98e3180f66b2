// A node's page: what it is, what is seen of it, who is there, what may be run.

import * as api from './api.js';
import { commandForm } from './command-form.js';
import { age, badge, h, nodeLink, notice, set, tick, time } from './dom.js';
import { EventList } from './event-list.js';
import { FACETS, facetWords, online } from './fleet-state.js';
import { runHere } from './run.js';
import { byText, Table } from './table.js';
import { bytes, nanos } from './text.js';
import { status, troubles } from './view-fleet.js';

const TIMES = [
  { since: '24h', ms: 86_400_000 },
  { since: '1h', ms: 3_600_000 },
  { since: '10m', ms: 600_000 },
];
const MOST = 500;
/** So many runs that have ended are kept beside those that go on. */
const MAX_ENDED = 8;

/** Runs that somebody started here, by node: they go on while another page is looked at. */
const runs = new Map();

function facetLine(name, facet = { status: 'pending' }) {
  const words = { ready: ['good', 'seen'], unavailable: ['bad', 'cannot be seen'], not_monitored: ['dim', 'not watched'], pending: ['dim', 'not looked at yet'] };
  const [kind, text] = words[facet.status] ?? ['dim', facet.status];
  return h('li', {},
    h('b', {}, facetWords(name)), ' ', badge(kind, text),
    facet.reason && h('span', { class: 'why' }, facet.reason),
    facet.remedy && h('span', { class: 'why' }, h('i', {}, 'To do: '), facet.remedy));
}

/** What is said where a table is empty: what cannot be seen never looks like nobody. */
function emptyWords(facet, none) {
  switch (facet?.status) {
    case 'ready':
      return none;
    case 'unavailable':
      return `Cannot be seen: ${facet.reason ?? 'nobody says why'}`;
    case 'not_monitored':
      return 'Not watched.';
    default:
      return 'Not looked at yet.';
  }
}

const sessionTable = () => new Table({
  label: 'Sessions of this node',
  what: ['session', 'sessions'],
  columns: [{ label: 'User', sort: byText((s) => s.user ?? '') }, { label: 'From', sort: byText((s) => s.remote ?? '') }, { label: 'Terminal' }, { label: 'Since', sort: (a, b) => b.since.localeCompare(a.since) }, { label: 'Kind' }, { label: 'Seen by' }],
  key: (s) => s.id,
  version: (s) => s,
  row: (s) => [s.user ?? 'somebody', s.remote ?? h('span', { class: 'dim' }, 'here'), s.tty ?? '–', age(s.since), [s.kind, ' ', s.service ?? ''], (s.sources ?? []).join(', ')],
  empty: '',
});

const peerTable = () => new Table({
  label: 'WireGuard peers of this node',
  what: ['peer', 'peers'],
  columns: [{ label: 'Peer', sort: byText((p) => `${p.interface} ${p.public_key}`) }, { label: 'State', sort: (a, b) => Number(a.online) - Number(b.online) }, { label: 'Endpoint' }, { label: 'Networks' }, { label: 'Last handshake' }, { label: 'Received, sent' }],
  key: (p) => `${p.interface} ${p.public_key}`,
  version: (p) => p,
  row: (p) => [
    [h('b', {}, p.interface), ' ', h('code', { class: 'key' }, p.public_key)],
    p.online ? badge('good', 'online') : badge('warn', 'offline'),
    p.endpoint ?? '–',
    (p.allowed_ips ?? []).join(' ') || '–',
    p.latest_handshake ? [age(p.latest_handshake), ' ago'] : 'never',
    `${bytes(p.rx_bytes)}, ${bytes(p.tx_bytes)}`,
  ],
  empty: '',
});

export function nodeView({ fleet, log, stream, session, name, redraw }) {
  const abort = new AbortController();
  const title = h('h1', {}, name);
  const presence = h('p', { class: 'presence' });
  const wrong = h('div', {});
  const facts = h('dl', { class: 'facts' });
  const facets = h('ul', { class: 'facets' });
  const sessions = sessionTable();
  const peers = peerTable();
  const peerTitle = h('h2', {}, 'WireGuard peers');
  const commands = h('div', {}, h('p', { class: 'dim' }, 'Asking …'));
  const events = new EventList({ label: 'Events of this node', withNode: false, empty: 'Nothing has happened there lately.' });
  const said = h('div', {});
  const here = runs.get(name) ?? h('div', { class: 'runs' });
  runs.set(name, here);
  let past = [];
  let drawn = -1;
  let connected;

  function drawFacts(node) {
    const clock = Math.abs(node.clockOffset ?? 0);
    const rows = [
      ['Host name', node.hostname], ['System', node.os], ['Kernel', node.kernel], ['Architecture', node.architecture],
      ['Version', node.agent], ['Address', node.address], ['Clock', node.status === 'online' ? (clock < 1e8 ? 'right' : `${nanos(clock)} ${node.clockOffset > 0 ? 'ahead' : 'behind'}`) : ''], ['Id', node.id],
    ];
    set(facts, rows.filter(([, value]) => value).map(([label, value]) => h('div', {}, h('dt', {}, label), h('dd', {}, value))));
  }

  let broken = false;
  let was = stream.state;
  function update() {
    const node = fleet.byName(name);
    const back = was !== 'live' && stream.state === 'live';
    was = stream.state;
    if (back && broken) load();
    if (node && node.version !== drawn) {
      drawn = node.version;
      set(presence, status(node), node.since && [' since ', time(node.since), ' (', age(node.since), ')']);
      set(wrong, troubles(node).map(([what, why]) => notice('warn', `${what}${why ? `: ${why}` : ''}`)));
      drawFacts({ ...node, ...extra });
      set(facets, FACETS.map((facet) => facetLine(facet, node.facets[facet])));
      sessions.empty = emptyWords(node.facets.sessions, 'Nobody.');
      sessions.update([...node.sessions.values()]);
      peers.empty = emptyWords(node.facets.wg_peers, 'None.');
      peers.update([...node.peers.values()]);
      rest.hidden = false;
      set(peerTitle, node.peers.size > 0 ? `WireGuard peers: ${online(node)} of ${node.peers.size} online` : 'WireGuard peers');
      // A new connection may bring another version, other facts and other commands.
      const now = `${node.status} ${node.since}`;
      if (connected !== undefined && connected !== now && node.status === 'online') load();
      connected = now;
    }
    if (!node && drawn >= 0) set(presence, badge('bad', 'removed'), ' It is no longer of this fleet.');
    const seen = new Set(past.map((event) => event.event?.id));
    const live = log.events.filter((event) => (event.host?.name === name || event.host?.id === name) && !seen.has(event.event?.id));
    events.update([...past, ...live].sort((a, b) => (a.event?.sequence ?? 0) - (b.event?.sequence ?? 0)));
  }

  let extra = {};
  async function load() {
    broken = false;
    try {
      const before = fleet.byName(name)?.version;
      const detail = await api.node(name, abort.signal);
      if (fleet.detail(detail, before)) fleet.unsure.add(detail.host.id);
      if (unseen) look();
      extra = { kernel: detail.host.os?.kernel, architecture: detail.host.architecture };
      set(said);
      redraw();
      const allowed = await api.commands(detail.host.name, abort.signal);
      drawCommands(detail.host.name, allowed, detail.secmon.commands?.length ?? 0);
    } catch (error) {
      if (error.name !== 'AbortError') failed(error);
    }
  }

  function failed(error) {
    broken = true;
    const near = (error.near ?? []).map((one) => h('li', {}, nodeLink(one)));
    set(said, notice('bad', `${error.message}`), near.length > 0 && h('p', {}, 'Did you mean:'), near.length > 0 && h('ul', {}, near));
    if (error.status === 404) set(commands);
  }

  function drawCommands(node, allowed, all) {
    const hidden = all - allowed.length;
    const open = new Set([...commands.querySelectorAll('details[open]')].map((one) => one.dataset.label));
    if (commands.contains(document.activeElement)) return; // Nobody's half-filled form is taken away.
    set(
      commands,
      allowed.length === 0 && h('p', { class: 'dim' }, all === 0 ? 'Its allowlist names no commands.' : `None that ${session.name} (${session.role}) may run.`),
      allowed.length > 0 && hidden > 0 && h('p', { class: 'dim small' }, `${hidden} more that ${session.name} may not run.`),
      allowed.map((command) => {
        const form = commandForm({
          node,
          command,
          run: (body) => {
            const run = runHere(node, command.label, body);
            here.prepend(run);
            // What has ended goes, the oldest first; what goes on stays.
            const ended = [...here.children].filter((one) => !one.matches('.going'));
            for (const one of ended.slice(MAX_ENDED)) one.remove();
            run.scrollIntoView({ block: 'nearest' });
            run.querySelector('button').focus({ preventScroll: true });
          },
          detach: (body) => background(node, command.label, body),
        });
        form.dataset.label = command.label;
        form.open = open.has(command.label);
        return form;
      }),
    );
  }

  async function background(node, label, body) {
    try {
      const job = await api.runDetached(node, label, body);
      location.hash = `#/jobs/${encodeURIComponent(job.secmon.command.job)}`;
    } catch (error) {
      here.prepend(notice('bad', `${label} was not started: ${error.message}.`));
    }
  }

  let unseen = false;
  async function look() {
    unseen = false;
    try {
      const found = await api.recent({ node: name }, TIMES, stream.last, MOST, abort.signal);
      past = found.events.filter((event) => event.event?.kind !== 'state');
      redraw();
    } catch (error) {
      if (error.name === 'AbortError') return;
      // It is looked for again when the node is.
      unseen = true;
      events.empty = `What happened there before is not shown: ${error.message}.`;
      redraw();
    }
  }

  // Shown once the node is known.
  const rest = h(
    'div',
    { hidden: true },
    h('div', { class: 'columns' },
      h('div', { class: 'card' }, h('h2', {}, 'Facts'), facts),
      h('div', { class: 'card' }, h('h2', {}, 'What is seen'), facets)),
    h('h2', {}, 'Logged in'), sessions.element,
    peerTitle, peers.element,
    h('h2', {}, 'Commands'), here, commands,
    h('h2', {}, 'Events'), events.element,
  );
  load();
  look();
  update();
  const element = h(
    'section',
    { class: 'node' },
    h('p', { class: 'crumb' }, h('a', { href: '#/' }, '‹ Fleet')),
    title, presence, said, wrong, rest,
  );
  return { title: name, element, update, tick: () => tick(element), close: () => abort.abort() };
}
