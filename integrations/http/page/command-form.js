// A form made of what a node says that a command takes; and the question before it runs.

import { field, freshId, h, notice, set } from './dom.js';
import { commandWords } from './sentence.js';
import { bytes, duration } from './text.js';

function control(arg) {
  const required = arg.default === undefined && arg.type !== 'bool';
  switch (arg.type) {
    case 'integer':
      return h('input', { type: 'number', step: 1, min: arg.min, max: arg.max, value: arg.default ?? '', required, inputmode: 'numeric' });
    case 'choice': {
      const options = arg.values.map((value) => option(value));
      if (required) options.unshift(h('option', { value: '' }, 'choose …'));
      const choice = h('select', { required }, options);
      choice.value = arg.default ?? '';
      return choice;
    }
    case 'bool':
      return h('input', { type: 'checkbox', checked: arg.default === 'true' });
    default:
      return h('input', { type: 'text', value: arg.default ?? '', required, spellcheck: 'false', autocapitalize: 'off', autocomplete: 'off' });
  }
}

// The value is sent as it is; only what is seen is made printable.
function option(value) {
  const out = h('option', {}, value);
  out.value = value;
  return out;
}

function hint(arg) {
  const takes = {
    integer: () => `a number from ${arg.min} to ${arg.max}`,
    string: () => `${arg.min_length} to ${arg.max_length} characters like ${arg.pattern}`,
    path: () => `a path below ${arg.below}`,
  }[arg.type];
  return [arg.description, takes?.()].filter(Boolean).join(': ');
}

/** What is wrong with a value, in words; the node decides, this only spares a way. */
function wrong(arg, value) {
  if (value === '' && arg.default === undefined) return 'is needed';
  if (arg.type === 'integer' && !(/^-?\d+$/.test(value) && Number(value) >= arg.min && Number(value) <= arg.max)) return `must be a number from ${arg.min} to ${arg.max}`;
  if (arg.type === 'string') {
    const length = [...value].length;
    if (length < arg.min_length || length > arg.max_length) return `must have ${arg.min_length} to ${arg.max_length} characters`;
    try {
      if (!new RegExp(`^(?:${arg.pattern})$`, 'u').test(value)) return `must be like ${arg.pattern}`;
    } catch {
      // Its dialect is not JavaScript's; the node knows it.
    }
  }
  return undefined;
}

function sent(arg, input) {
  if (arg.type === 'bool') return input.checked;
  if (arg.type === 'integer') {
    const number = Number(input.value);
    // Beyond 2^53 a number would not be the one that was typed.
    return Number.isSafeInteger(number) ? number : input.value.trim();
  }
  return input.value;
}

function encode(text) {
  let binary = '';
  for (const byte of new TextEncoder().encode(text)) binary += String.fromCharCode(byte);
  return btoa(binary);
}

/** `run(body)` and `detach(body)` are called once it is confirmed. */
export function commandForm({ node, command, run, detach }) {
  const args = command.args.map((arg) => ({ arg, input: control(arg) }));
  const stdin = command.stdin && h('textarea', { rows: 3, spellcheck: 'false' });
  const said = h('div', {});

  function body() {
    const out = {};
    for (const { arg, input } of args) {
      const problem = arg.type === 'bool' ? undefined : wrong(arg, input.value);
      input.setAttribute('aria-invalid', String(Boolean(problem)));
      if (problem) {
        set(said, notice('bad', `${arg.name} ${problem}.`));
        input.focus();
        return undefined;
      }
      out[arg.name] = sent(arg, input);
    }
    set(said);
    return { args: out, ...(stdin && stdin.value ? { stdin: encode(stdin.value) } : {}) };
  }

  async function submit(event) {
    event.preventDefault();
    const act = event.submitter?.value === 'detach' ? detach : run;
    const given = body();
    if (given && (await confirmed({ node, words: commandWords(command.label, given.args), background: act === detach }))) act(given);
  }

  const limits = [`at most ${duration(command.timeout_ms)}`, command.max_output_bytes && bytes(command.max_output_bytes), command.concurrency && `${command.concurrency} at once`];
  const controls = args.map(({ arg, input }) => field(arg.name, input, hint(arg), { checkbox: arg.type === 'bool' }));
  const summary = h('summary', {}, h('b', {}, command.label), command.description && h('span', {}, command.description));
  return h(
    'details',
    { class: 'command' },
    summary,
    h(
      'form',
      { onsubmit: submit, novalidate: true, 'aria-label': command.label },
      controls,
      stdin && field('Standard input', stdin, 'What the command reads.'),
      said,
      h('div', { class: 'bar' },
        h('button', { type: 'submit', class: 'primary', value: 'run' }, 'Run …'),
        h('button', { type: 'submit', value: 'detach' }, 'Run in the background …'),
        h('span', { class: 'dim small' }, limits.filter(Boolean).join(', '))),
    ),
  );
}

/** Asks; Escape says no. */
export function confirmed({ node, words, background, question = 'Run this command?', yes = 'Run' }) {
  return new Promise((resolve) => {
    const title = freshId('ask');
    const dialog = h(
      'dialog',
      { 'aria-labelledby': title, onclose: () => (dialog.remove(), resolve(dialog.returnValue === 'yes')) },
      h('form', { method: 'dialog' },
        h('h2', { id: title }, question),
        h('dl', {}, h('dt', {}, 'Node'), h('dd', {}, node), h('dt', {}, 'Command'), h('dd', {}, h('code', {}, words))),
        background && h('p', {}, 'It goes on by itself; its output is kept with the job.'),
        h('div', { class: 'bar' },
          h('button', { type: 'submit', class: 'primary', value: 'yes', autofocus: true }, yes),
          h('button', { type: 'submit', value: 'no' }, 'Not now'))),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}
