// A sorted, paged table whose rows are redrawn only where they changed: ten thousand nodes are no burden to who reads or scrolls.

import { h, set, setText } from './dom.js';
import { plural } from './text.js';

/** Rows on one page. */
const PAGE = 100;

const ORDER = new Intl.Collator('en', { numeric: true });
/** By text, numbers in it by value: web2 before web10. */
export const byText = (of) => (a, b) => ORDER.compare(of(a), of(b));
/** The greater first. */
export const byNumber = (of) => (a, b) => of(b) - of(a);

export class Table {
  #items = [];
  #columns;
  #row;
  #key;
  #version;
  #page = 0;
  #sort;
  #backwards = false;
  #rows = new Map();

  /** `columns`: `{label, sort}` each, the first of which names the row; `row(item)`: a cell's children for each; `key(item)`, and `version(item)`, which
   * changes when its row does; `empty`: what is said where there is nothing; `what`: one and many; `by`: the label it is sorted by at first. */
  constructor({ label, columns, row, key, version, empty, what = ['row', 'rows'], by = undefined }) {
    Object.assign(this, { label, empty, what });
    this.#columns = columns;
    this.#row = row;
    this.#key = key;
    this.#version = version;
    this.#sort = columns.find((column) => column.label === by) ?? columns.find((column) => column.sort);
    this.heads = columns.map((column) => this.#head(column));
    this.body = h('tbody', { role: 'rowgroup' });
    this.table = h(
      'table',
      { role: 'table', 'aria-label': label },
      h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, this.heads)),
      this.body,
    );
    this.order = this.#orderChoice();
    this.nothing = h('p', { class: 'notice dim', hidden: true });
    this.place = h('span', { role: 'status' });
    this.before = h('button', { type: 'button', onclick: () => this.#turn(-1) }, 'Previous');
    this.after = h('button', { type: 'button', onclick: () => this.#turn(1) }, 'Next');
    this.pager = h('nav', { class: 'pager', 'aria-label': `Pages of ${label}` }, this.before, this.place, this.after);
    this.element = h('div', { class: 'sheet' }, this.order, this.table, this.nothing, this.pager);
  }

  #head(column) {
    const content = column.sort ? h('button', { type: 'button', class: 'sort', onclick: () => this.#by(column) }, column.label) : column.label;
    return h('th', { scope: 'col', role: 'columnheader' }, content);
  }

  // On a narrow screen the heads are not there to be pressed.
  #orderChoice() {
    const sorted = this.#columns.filter((column) => column.sort);
    if (sorted.length < 2) return false;
    const choose = (event) => this.#by(sorted[event.target.selectedIndex], false);
    return h('label', { class: 'order' }, 'Sort by ', h('select', { onchange: choose }, sorted.map((column) => h('option', { selected: column === this.#sort }, column.label))));
  }

  #by(column, backwards = this.#sort === column && !this.#backwards) {
    this.#sort = column;
    this.#backwards = backwards;
    this.#page = 0;
    this.#draw();
  }

  #turn(by) {
    this.#page += by;
    this.#draw();
    this.element.scrollIntoView({ block: 'start' });
  }

  /** To the first page: what is looked for changed. */
  first() {
    this.#page = 0;
  }

  /** Shows these. */
  update(items) {
    this.#items = items;
    this.#draw();
  }

  #draw() {
    const { sort } = this.#sort ?? {};
    const tie = this.#columns[0].sort;
    const order = sort && ((a, b) => (this.#backwards ? -sort(a, b) : sort(a, b)) || (tie ? tie(a, b) : 0));
    const sorted = order ? this.#items.toSorted(order) : this.#items;
    const pages = Math.max(1, Math.ceil(sorted.length / PAGE));
    this.#page = Math.min(Math.max(0, this.#page), pages - 1);
    const first = this.#page * PAGE;
    this.#show(sorted.slice(first, first + PAGE));
    this.heads.forEach((head, i) => {
      const by = this.#columns[i] === this.#sort;
      head.setAttribute('aria-sort', by ? (this.#backwards ? 'descending' : 'ascending') : 'none');
    });
    const none = sorted.length === 0;
    this.table.hidden = none;
    if (this.order) this.order.hidden = none;
    this.nothing.hidden = !none;
    if (none) setText(this.nothing, typeof this.empty === 'function' ? this.empty() : this.empty);
    this.pager.hidden = pages === 1;
    this.before.disabled = this.#page === 0;
    this.after.disabled = this.#page === pages - 1;
    const [one, many] = this.what;
    const to = Math.min(first + PAGE, sorted.length);
    setText(this.place, `${(first + 1).toLocaleString()}–${to.toLocaleString()} of ${plural(sorted.length, one, many)}`);
  }

  #show(items) {
    const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
    const rows = new Map();
    let at = this.body.firstElementChild;
    for (const item of items) {
      const key = this.#key(item);
      const row = this.#rows.get(key) ?? { element: h('tr', { role: 'row' }), version: undefined };
      const version = this.#version(item);
      if (row.version !== version) this.#fill(row, item, version);
      rows.set(key, row);
      if (row.element === at) at = at.nextElementSibling;
      else this.body.insertBefore(row.element, at);
    }
    for (const [key, row] of this.#rows) if (!rows.has(key)) row.element.remove();
    this.#rows = rows;
    // A row that moved lost the focus that was in it.
    if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
  }

  #fill(row, item, version) {
    const had = row.element.contains(document.activeElement);
    row.version = version;
    const cells = this.#row(item).map((content, i) => {
      const name = i === 0 ? 'th' : 'td';
      const attributes = { role: i === 0 ? 'rowheader' : 'cell', scope: i === 0 && 'row', 'data-label': this.#columns[i].label };
      // On a narrow screen a cell is its label beside one thing.
      return h(name, attributes, i === 0 ? content : h('div', {}, content));
    });
    set(row.element, cells);
    if (had) row.element.querySelector('a, button')?.focus({ preventScroll: true });
  }
}
