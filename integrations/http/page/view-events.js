// The live stream: filters, pause, a plot, and every event down to its JSON.

import * as api from './api.js';
import { field, h, notice, say, set, setText } from './dom.js';
import { EventList, legend } from './event-list.js';
import { sentence, SEVERITIES, severity, SEVERITY_WORDS } from './sentence.js';
import { globs, plural } from './text.js';
import { Timeline } from './timeline.js';

/** By the first word of a type. */
const KINDS = [
  ['session', 'Logins'],
  ['auth', 'Auth log'],
  ['wg', 'WireGuard'],
  ['command', 'Commands'],
  ['node', 'Nodes'],
  ['facet', 'Sight'],
  ['other', 'Gaps, access'],
];
const KNOWN = new Set(KINDS.map(([kind]) => kind));
const kindOf = (event) => {
  const kind = (event.secmon?.type ?? '').split('.')[0];
  return KNOWN.has(kind) ? kind : 'other';
};

/** What is looked back at, the longest that has no more than MOST events. */
const TIMES = [
  { since: '1h', ms: 3_600_000 },
  { since: '10m', ms: 600_000 },
  { since: '1m', ms: 60_000 },
];
const MOST = 3000;
/** So many may wait while the list stands still; as many as the page keeps. */
const MAX_WAITING = 10_000;

export function eventsView({ log, query, redraw }) {
  const node = h('input', { type: 'search', value: query.get('node') ?? '', placeholder: 'web*, db1', oninput: redraw, spellcheck: 'false', autocapitalize: 'off' });
  const text = h('input', { type: 'search', value: query.get('text') ?? '', placeholder: 'user, address, word', oninput: redraw, spellcheck: 'false', autocapitalize: 'off' });
  const least = h('select', { onchange: redraw }, h('option', { value: '' }, 'everything'), h('option', { value: 'warn' }, 'failed, changed or worse'), h('option', { value: 'bad' }, SEVERITY_WORDS.bad));
  const kinds = new Map(KINDS.map(([kind]) => [kind, h('input', { type: 'checkbox', checked: true, onchange: redraw })]));
  const list = new EventList({ label: 'Events', empty: () => (log.events.length > 0 ? 'No event is like that.' : 'Nothing has happened yet. What happens is shown here at once.') });
  const timeline = new Timeline();
  const said = h('div', {});
  const waiting = h('span', { role: 'status' });
  const pause = h('button', { type: 'button', 'aria-pressed': 'false', onclick: toggle }, 'Pause');
  let paused; // { events, arrived } as they stood.
  const loading = new AbortController();

  function toggle() {
    paused = paused ? undefined : { events: log.events.slice(), arrived: log.arrived };
    pause.setAttribute('aria-pressed', String(Boolean(paused)));
    setText(pause, paused ? 'Go on' : 'Pause');
    say(paused ? 'Paused' : 'Going on');
    update();
  }

  function passes() {
    const onNode = globs(node.value.trim());
    const words = text.value.trim().toLowerCase();
    const grave = { '': SEVERITIES, warn: ['bad', 'warn'], bad: ['bad'] }[least.value];
    return (event) =>
      kinds.get(kindOf(event)).checked &&
      grave.includes(severity(event)) &&
      onNode(event.host?.name ?? 'hub') &&
      (!words || `${sentence(event)} ${event.secmon?.type} ${event.message ?? ''} ${event.host?.name ?? ''}`.toLowerCase().includes(words));
  }

  function update() {
    const now = (paused?.events ?? log.events).filter(passes());
    list.update(now);
    timeline.update(now, log.from);
    const count = paused ? log.arrived - paused.arrived : 0;
    const lost = count - MAX_WAITING;
    setText(waiting, !paused ? '' : lost > 0 ? `${plural(count, 'event')} waiting; the oldest ${lost.toLocaleString()} will not be shown` : `${plural(count, 'event')} waiting`);
  }

  async function look() {
    try {
      const { events, from, words } = await api.recent({}, TIMES, MOST, loading.signal);
      if (words) log.addPast(events, from);
      if (words !== TIMES[0].since) {
        const why = words ? `only the last ${words} are` : 'nothing that was before is';
        set(said, notice('warn', `So much has happened that ${why} shown; secmon watch --since has more.`));
      }
      redraw();
    } catch (error) {
      if (error.name !== 'AbortError') set(said, notice('warn', `What happened before this page was opened is not shown: ${error.message}.`));
    }
  }

  if (!log.lookedBack) {
    log.lookedBack = true;
    look();
  }
  update();
  const element = h(
    'section',
    {},
    h('h1', {}, 'Events'),
    said,
    h('div', { class: 'filters' }, field('Nodes', node), field('Find', text), field('Show', least)),
    h('fieldset', { class: 'kinds' }, h('legend', {}, 'Kinds'), KINDS.map(([kind, name]) => field(name, kinds.get(kind), undefined, { checkbox: true }))),
    timeline.element,
    h('div', { class: 'bar' }, pause, waiting, legend(SEVERITIES)),
    list.element,
  );
  return { title: 'Events', element, update, tick: () => timeline.update((paused?.events ?? log.events).filter(passes()), log.from), close: () => loading.abort() };
}
