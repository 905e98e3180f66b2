// The fleet at a glance: what is online, who is logged in where, what cannot be seen.

import { age, badge, field, h, nodeLink, set, tick } from './dom.js';
import { clockOff, facetWords, online, unavailable } from './fleet-state.js';
import { byNumber, byText, Table } from './table.js';
import { globs, nanos, plural } from './text.js';

/** So many sessions are named in a row; the node's page has all. */
const NAMED = 3;

const STATUS = {
  online: ['good', 'online'],
  away: ['bad', 'away'],
  expected: ['dim', 'expected'],
  unknown: ['dim', 'unknown'],
};
const RANK = { away: 0, unknown: 1, expected: 2, online: 3 };

/** A node's presence, as a word with its colour. */
export const status = (node) => badge(...(STATUS[node.status] ?? STATUS.unknown));

/** What is wrong with a node, in words. */
export function troubles(node) {
  const out = unavailable(node).map((facet) => [`cannot see ${facetWords(facet.name)}`, `${facet.reason ?? ''}${facet.remedy ? `; ${facet.remedy}` : ''}`]);
  if (clockOff(node)) {
    const way = node.clockOffset > 0 ? 'ahead of' : 'behind';
    out.push([`clock ${nanos(Math.abs(node.clockOffset))} ${way} the hub's`, 'Set up time synchronisation there.']);
  }
  if (node.stale) out.push(['may be out of date', 'Its state is being fetched anew.']);
  return out;
}

function who(node) {
  const sessions = [...node.sessions.values()];
  if (sessions.length === 0) {
    const { status: seen } = node.facets.sessions ?? {};
    return h('span', { class: 'dim' }, seen === 'ready' ? 'nobody' : seen === 'not_monitored' ? 'not watched' : seen === 'unavailable' ? 'unknown' : '–');
  }
  const named = sessions.slice(0, NAMED).map(({ user, tty, remote }) => {
    const place = [tty && ` ${tty}`, remote && ` from ${remote}`].filter(Boolean).join('');
    return h('li', {}, h('b', {}, user ?? 'somebody'), h('span', { class: 'dim' }, place));
  });
  const more = sessions.length - named.length;
  return h('ul', { class: 'plain' }, named, more > 0 && h('li', {}, `and ${more} more`));
}

function peers(node) {
  if (node.peers.size === 0) return h('span', { class: 'dim' }, '–');
  const count = online(node);
  return h('span', { class: count < node.peers.size ? 'some' : '' }, `${count}/${node.peers.size} online`);
}

const CHIPS = [
  ['all', 'Nodes', (c) => c.nodes, () => true],
  ['online', 'Online', (c) => c.online, (node) => node.status === 'online'],
  ['away', 'Away', (c) => c.away, (node) => node.status === 'away' || node.status === 'unknown'],
  ['expected', 'Expected', (c) => c.expected, (node) => node.status === 'expected'],
  ['sessions', 'Logged in', (c) => c.sessions, (node) => node.sessions.size > 0],
  ['wg', 'WireGuard', (c) => `${c.peersOnline}/${c.peers}`, (node) => node.peers.size > 0],
  ['blind', 'Cannot see', (c) => c.blind, (node) => unavailable(node).length > 0],
  ['clock', 'Clock off', (c) => c.clock, clockOff],
];

export function fleetView({ fleet }) {
  let chosen = CHIPS[0];
  const filter = h('input', { type: 'search', placeholder: 'name, system, user, address', oninput: () => search(), spellcheck: 'false', autocapitalize: 'off' });
  const chips = CHIPS.map((chip) => {
    const number = h('b', {}, '0');
    const press = () => {
      chosen = chosen === chip ? CHIPS[0] : chip;
      search();
    };
    return { chip, number, button: h('button', { type: 'button', class: `chip ${chip[0]}`, onclick: press }, number, h('span', {}, chip[1])) };
  });
  const table = new Table({
    label: 'Nodes',
    what: ['node', 'nodes'],
    columns: [
      { label: 'Node', sort: byText((node) => node.name) },
      { label: 'Status', sort: (a, b) => RANK[a.status] - RANK[b.status] || a.since.localeCompare(b.since) },
      { label: 'Logged in', sort: byNumber((node) => node.sessions.size) },
      { label: 'WireGuard', sort: byNumber((node) => node.peers.size) },
      { label: 'Troubles', sort: byNumber((node) => troubles(node).length) },
    ],
    key: (node) => node.id,
    version: (node) => node.version,
    row: (node) => [
      [nodeLink(node.name), h('span', { class: 'dim small' }, node.os)],
      [status(node), ' ', h('span', { class: 'dim' }, node.since ? ['for ', age(node.since)] : '')],
      who(node),
      peers(node),
      troubles(node).map(([what, why]) => h('span', { class: 'trouble', title: why }, what)),
    ],
    empty: () => {
      if (fleet.nodes.size > 0) return 'No node is like that.';
      return fleet.complete ? 'No nodes yet. On the hub, secmon enroll NAME prints the line to paste on a server.' : 'Reading what stands …';
    },
  });

  const found = h('p', { class: 'dim small', role: 'status' });

  function search() {
    table.first();
    update();
  }

  function update() {
    const counts = fleet.counts();
    for (const { chip, number, button } of chips) {
      const value = chip[2](counts);
      const text = typeof value === 'number' ? value.toLocaleString() : value;
      if (number.textContent !== text) set(number, text);
      button.setAttribute('aria-pressed', String(chip === chosen));
      button.classList.toggle('zero', value === 0);
    }
    const matches = matcher(filter.value);
    const nodes = [...fleet.nodes.values()].filter((node) => chosen[3](node) && matches(node));
    table.update(nodes);
    const all = nodes.length === fleet.nodes.size;
    set(found, all ? '' : `${plural(nodes.length, 'node')} of ${fleet.nodes.size.toLocaleString()}`);
  }

  update();
  const element = h(
    'section',
    {},
    h('h1', {}, 'Fleet'),
    h('div', { class: 'chips', role: 'group', 'aria-label': 'Show only' }, chips.map(({ button }) => button)),
    h('div', { class: 'filters' }, field('Find', filter), found),
    table.element,
  );
  return { title: 'Fleet', element, update, tick: () => tick(element), busy: () => fleet.nodes.size > 1000 };
}

// A name with wildcards, or any part of what is shown of a node.
function matcher(text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return () => true;
  const isGlob = /[*?]/.test(wanted) && globs(wanted);
  return (node) => {
    if (isGlob) return isGlob(node.name.toLowerCase());
    const sessions = [...node.sessions.values()].flatMap((s) => [s.user, s.remote]);
    return [node.name, node.os, node.address, node.agent, ...sessions].some((part) => part?.toLowerCase().includes(wanted));
  };
}
