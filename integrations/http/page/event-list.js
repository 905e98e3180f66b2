// Events as a list, newest first: a line each, which opens to the event's JSON.

import { badge, h, set, setText, time } from './dom.js';
import { sentence, severity, SEVERITY_WORDS } from './sentence.js';
import { printable } from './text.js';

/** So many are drawn at first, and so many more each time that more are wanted. */
const STEP = 200;
/** No more than these: a page of more is slow, and the filter finds better than the eye. */
const MOST = 2000;

export class EventList {
  #rows = new Map();
  #shown = STEP;
  #events = [];

  /** `withNode`: whether each says which node it is of. */
  constructor({ label, withNode = true, empty }) {
    Object.assign(this, { withNode, empty });
    this.list = h('ol', { class: 'events', 'aria-label': label, reversed: true });
    this.nothing = h('p', { class: 'notice dim', hidden: true });
    this.more = h('button', { type: 'button', hidden: true, onclick: () => this.#more() }, 'Show more');
    this.element = h('div', {}, this.nothing, this.list, this.more);
  }

  #more() {
    const next = this.#shown;
    this.#shown = Math.min(this.#shown + STEP, MOST);
    this.update(this.#events);
    this.list.children[next]?.querySelector('summary')?.focus();
  }

  /** Shows these, given oldest first. */
  update(events) {
    this.#events = events;
    const rows = new Map();
    let at = this.list.firstElementChild;
    const first = Math.max(0, events.length - this.#shown);
    for (let i = events.length - 1; i >= first; i -= 1) {
      const event = events[i];
      const row = this.#rows.get(event) ?? this.#item(event);
      rows.set(event, row);
      if (row === at) at = at.nextElementSibling;
      else this.list.insertBefore(row, at);
    }
    for (const [event, row] of this.#rows) if (!rows.has(event)) row.remove();
    this.#rows = rows;
    this.more.hidden = first === 0 || this.#shown >= MOST;
    this.nothing.hidden = events.length > 0;
    if (events.length === 0) setText(this.nothing, typeof this.empty === 'function' ? this.empty() : this.empty);
  }

  #item(event) {
    const grave = severity(event);
    const body = h('div', { class: 'json' });
    const details = h(
      'details',
      { ontoggle: () => this.#toggle(details, body, event) },
      h(
        'summary',
        {},
        time(event['@timestamp']),
        this.withNode && h('span', { class: 'node' }, event.host?.name ?? 'hub'),
        h('span', { class: `badge ${grave}`, title: SEVERITY_WORDS[grave] }, event.secmon?.type ?? 'event'),
        h('span', { class: 'says' }, sentence(event)),
      ),
      body,
    );
    return h('li', { class: grave }, details);
  }

  #toggle(details, body, event) {
    if (!details.open) {
      set(body);
      return;
    }
    const name = event.host?.name;
    // Line by line, so that what is made visible in a line does not eat its end.
    const lines = JSON.stringify(event, null, 2).split('\n');
    const pre = h('pre', { tabindex: '0', 'aria-label': 'The event as JSON' });
    // JSON has its own escapes; only what it leaves as it is needs ours, and a backslash is not to be doubled again.
    pre.textContent = lines.map((line) => line.replace(/[^\\]+/gu, printable)).join('\n');
    set(body, name && h('p', {}, h('a', { href: `#/node/${encodeURIComponent(name)}` }, `To ${name}`)), pre);
  }
}

/** The legend of the colours. */
export const legend = (severities) =>
  h('ul', { class: 'legend', 'aria-label': 'Colours' }, severities.map((one) => h('li', {}, badge(one, SEVERITY_WORDS[one]))));
