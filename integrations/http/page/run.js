// A run of a command while somebody watches: started, its output, its end; and how to end it.

import * as api from './api.js';
import { badge, h, notice, say, set } from './dom.js';
import { Output } from './output.js';
import { commandWords, endWords } from './sentence.js';
import { bytes, nanos } from './text.js';

/** Runs that go on, so that leaving the page can be asked about. */
const going = new Set();
window.addEventListener('beforeunload', (event) => {
  if (going.size > 0) event.preventDefault();
});

/** What a run took. */
export function usageWords(usage) {
  if (!usage) return '';
  const cpu = usage.user_ns + usage.system_ns;
  return `${nanos(usage.wall_ns)}, ${nanos(cpu)} of CPU, ${bytes(usage.max_rss_bytes)} of memory, ${bytes(usage.output_bytes)} printed`;
}

/** A badge for an end. */
export const endBadge = (end) => badge(end.end === 'exited' && end.exit_code === 0 ? 'good' : 'bad', endWords(end));

/** Starts it and returns an element that shows it. `body`: `{args, stdin}`. */
export function runHere(node, label, body) {
  const words = commandWords(label, body.args);
  const abort = new AbortController();
  const output = new Output(`Output of ${words} on ${node}`);
  const state = h('span', { role: 'status' }, badge('info', 'starting …'));
  const cancel = h('button', { type: 'button', onclick: () => abort.abort() }, 'Cancel');
  const close = h('button', { type: 'button', class: 'quiet', hidden: true, onclick: () => element.remove() }, 'Close');
  const said = h('div', {});
  const element = h(
    'article',
    { class: 'run', 'aria-label': `${words} on ${node}` },
    h('header', {}, h('h3', {}, words), state, cancel, close),
    output.element,
    said,
  );

  async function follow() {
    let end;
    going.add(element);
    try {
      for await (const line of api.run(node, label, body, abort.signal)) {
        if (line.started) set(state, badge('info', line.started.pid ? `running, process ${line.started.pid}` : 'running'));
        else if (line.stream) await output.add(line);
        else if (line.end) end = line;
        else if (line.detail) throw new api.Problem(line.status ?? 0, line.detail, line.code);
      }
      if (!end) throw new api.Problem(0, 'the connection ended before the command did; the node ends it then', 'cut');
      set(state, endBadge(end));
      set(said, end.usage && h('p', { class: 'dim small' }, usageWords(end.usage)));
      say(`${words} ${endWords(end)}`);
    } catch (error) {
      if (abort.signal.aborted) {
        set(state, badge('warn', 'cancelled'));
        say(`${words} was cancelled`);
      } else {
        set(state, badge('bad', 'failed'));
        set(said, notice('bad', `${error.message ?? error}`));
      }
    } finally {
      output.end();
      going.delete(element);
      // The button that had the focus goes; its place is taken by the next.
      const focused = document.activeElement === cancel;
      cancel.hidden = true;
      close.hidden = false;
      if (focused) close.focus();
    }
  }
  follow();
  return element;
}
