// Events per minute over the last hour, as bars by how grave they are; the same as a table for who does not see bars.

import { h, set, setText, svg } from './dom.js';
import { SEVERITIES, SEVERITY_WORDS, severity } from './sentence.js';
import { minuteOf, plural } from './text.js';

const MINUTES = 60;
const MINUTE = 60_000;
const HEIGHT = 60;
/** Bars stand this far apart; a bar's place is 10 wide. */
const GAP = 1.5;

/** Counts by minute, oldest first: `{start, good, info, warn, bad, all}` each. Pure. */
export function perMinute(events, now) {
  const last = Math.floor(now / MINUTE);
  const first = last - MINUTES + 1;
  const out = Array.from({ length: MINUTES }, (_, i) => ({ start: (first + i) * MINUTE, good: 0, info: 0, warn: 0, bad: 0, all: 0 }));
  for (const event of events) {
    // A clock that is ahead puts its events into the last minute rather than nowhere.
    const i = Math.min(Math.floor(Date.parse(event['@timestamp']) / MINUTE), last) - first;
    if (!(i >= 0)) continue;
    out[i][severity(event)] += 1;
    out[i].all += 1;
  }
  return out;
}

export class Timeline {
  #drawn = '';

  constructor() {
    this.bars = svg('g');
    this.unknown = svg('rect', { class: 'unknown', x: 0, y: 0, height: HEIGHT });
    this.plot = svg('svg', { class: 'plot', viewBox: `0 0 ${MINUTES * 10} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' }, this.unknown, this.bars);
    this.from = h('span');
    this.most = h('span');
    this.to = h('span', {}, 'now');
    this.rows = h('tbody');
    const heads = ['Minute', ...SEVERITIES.map((one) => SEVERITY_WORDS[one])];
    this.table = h(
      'details',
      { class: 'numbers', ontoggle: () => this.#tell() },
      h('summary', {}, 'The plot as a table'),
      h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Events per minute' },
        h('table', {}, h('thead', {}, h('tr', {}, heads.map((head) => h('th', { scope: 'col' }, head)))), this.rows)),
    );
    this.element = h('figure', { class: 'timeline' }, h('figcaption', {}, 'Events per minute'), this.plot, h('div', { class: 'axis' }, this.from, this.most, this.to), this.table);
  }

  /** Draws these; before `known` (milliseconds) nobody looked. */
  update(events, known, now = Date.now()) {
    this.minutes = perMinute(events, now);
    const drawn = JSON.stringify([this.minutes, Math.floor(known / MINUTE)]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const most = Math.max(1, ...this.minutes.map((minute) => minute.all));
    const unknown = Math.min(MINUTES, Math.max(0, Math.floor((known - this.minutes[0].start) / MINUTE)));
    this.unknown.setAttribute('width', String(unknown * 10));
    set(this.bars, this.minutes.map((minute, i) => this.#bar(minute, i, most)));
    setText(this.from, minuteOf(this.minutes[0].start));
    setText(this.most, `most in a minute: ${Math.max(...this.minutes.map((minute) => minute.all))}`);
    this.#summary(unknown);
    this.#tell();
  }

  #bar(minute, i, most) {
    let top = HEIGHT;
    return SEVERITIES.filter((one) => minute[one] > 0).map((one) => {
      // What is there is seen, however little it is beside the rest.
      const height = Math.max(2, (minute[one] / most) * (HEIGHT - 4));
      top = Math.max(0, top - height);
      const words = `${minuteOf(minute.start)}: ${minute[one]} ${SEVERITY_WORDS[one]}`;
      return svg('rect', { class: one, x: i * 10 + GAP / 2, y: top, width: 10 - GAP, height }, svg('title', {}, words));
    });
  }

  #summary(unknown) {
    const sum = (of) => this.minutes.reduce((total, minute) => total + minute[of], 0);
    const parts = SEVERITIES.map((one) => [sum(one), SEVERITY_WORDS[one]]).filter(([count]) => count > 0);
    const peak = this.minutes.reduce((a, b) => (b.all > a.all ? b : a));
    const words = [`${plural(sum('all'), 'event')} in the last hour`];
    if (parts.length > 0) words.push(parts.map(([count, of]) => `${count} ${of}`).join(', '), `most at ${minuteOf(peak.start)}: ${peak.all}`);
    if (unknown > 0) words.push(`of the first ${plural(unknown, 'minute')} nothing was loaded`);
    this.plot.setAttribute('aria-label', words.join('; '));
  }

  #tell() {
    if (!this.table.open) return;
    const rows = this.minutes.filter((minute) => minute.all > 0).reverse();
    const cells = (minute) => SEVERITIES.map((one) => h('td', {}, String(minute[one])));
    set(this.rows, rows.map((minute) => h('tr', {}, h('th', { scope: 'row' }, minuteOf(minute.start)), cells(minute))));
  }
}
