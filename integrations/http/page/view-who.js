// Who is logged in where.

import { age, field, h, nodeLink, tick } from './dom.js';
import { facetWords, unavailable } from './fleet-state.js';
import { byText, Table } from './table.js';
import { plural } from './text.js';

export function whoView({ fleet }) {
  const filter = h('input', { type: 'search', placeholder: 'user, node, address', oninput: () => search(), spellcheck: 'false', autocapitalize: 'off' });
  const blind = h('p', { class: 'notice warn', hidden: true });
  const table = new Table({
    label: 'Sessions',
    what: ['session', 'sessions'],
    columns: [
      { label: 'User', sort: byText(({ session }) => session.user ?? '') },
      { label: 'Node', sort: byText(({ node }) => node.name) },
      { label: 'From', sort: byText(({ session }) => session.remote ?? '') },
      { label: 'Terminal' },
      { label: 'Since', sort: (a, b) => b.session.since.localeCompare(a.session.since) },
      { label: 'Kind', sort: byText(({ session }) => session.kind) },
    ],
    key: ({ node, session }) => `${node.id} ${session.id}`,
    version: ({ session }) => session,
    row: ({ node, session }) => [
      session.user ?? 'somebody',
      nodeLink(node.name),
      session.remote ?? h('span', { class: 'dim' }, 'here'),
      session.tty ?? '–',
      age(session.since),
      [session.kind, session.service && h('span', { class: 'dim' }, ` ${session.service}`)],
    ],
    empty: () => (fleet.complete ? 'Nobody is logged in, as far as can be seen.' : 'Reading what stands …'),
  });

  function search() {
    table.first();
    update();
  }

  function update() {
    const wanted = filter.value.trim().toLowerCase();
    const all = [];
    let unseen = 0;
    for (const node of fleet.nodes.values()) {
      if (unavailable(node).some((facet) => facet.name === 'sessions')) unseen += 1;
      for (const session of node.sessions.values()) {
        const parts = [session.user, node.name, session.remote];
        if (!wanted || parts.some((part) => part?.toLowerCase().includes(wanted))) all.push({ node, session });
      }
    }
    blind.hidden = unseen === 0;
    blind.textContent = `Of ${plural(unseen, 'node')} the ${facetWords('sessions')} cannot be seen.`;
    table.update(all);
  }

  update();
  const element = h('section', {}, h('h1', {}, 'Logged in'), blind, h('div', { class: 'filters' }, field('Find', filter)), table.element);
  return { title: 'Logged in', element, update, tick: () => tick(element), busy: () => fleet.nodes.size > 1000 };
}
