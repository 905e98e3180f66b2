// Jobs: what goes on by itself, its output, and how to end it.

import * as api from './api.js';
import { confirmed } from './command-form.js';
import { age, badge, field, h, nodeLink, notice, set, tick, time } from './dom.js';
import { Output } from './output.js';
import { endBadge, usageWords } from './run.js';
import { commandWords } from './sentence.js';
import { byText, Table } from './table.js';
import { bytes } from './text.js';

const STATES = ['queued', 'sent', 'running', 'finished', 'failed', 'cancelled', 'expired', 'lost'];
const LOOKS = { queued: 'dim', sent: 'dim', running: 'info', finished: 'good', failed: 'bad', cancelled: 'warn', expired: 'warn', lost: 'bad' };
const GOING = new Set(['queued', 'sent', 'running']);
/** Events come in bursts; the list is fetched once for all of one. */
const SOON_MS = 300;
/** So many are asked for. */
const LIMIT = 500;

const idOf = (job) => job.secmon.command.job;
const wordsOf = (job) => commandWords(job.secmon.command.label, job.secmon.command.args);
const stateOf = (job) => badge(LOOKS[job.secmon.job.state] ?? 'dim', job.secmon.job.state);

function endOf(job) {
  const { command } = job.secmon;
  return command.end && { end: command.end, exit_code: job.process?.exit_code, signal: command.signal, message: command.message };
}

function cancelButton(job, done) {
  if (!GOING.has(job.secmon.job.state)) return false;
  const act = async () => {
    if (!(await confirmed({ node: job.host.name, words: wordsOf(job), question: 'Cancel this job?', yes: 'Cancel the job' }))) return;
    try {
      await api.cancelJob(idOf(job));
      done();
    } catch (error) {
      done(error);
    }
  };
  return h('button', { type: 'button', onclick: act, 'aria-label': `Cancel ${wordsOf(job)} on ${job.host.name}` }, 'Cancel');
}

/** Calls `act` soon after an event about a command; returns what ends that. */
function onCommands(act, mine = () => true) {
  let timer;
  return {
    onEvent: (event) => {
      if (!event.secmon?.type?.startsWith('command.') || !mine(event)) return;
      clearTimeout(timer);
      timer = setTimeout(act, SOON_MS);
    },
    end: () => clearTimeout(timer),
  };
}

export function jobsView(context) {
  return context.name ? jobView(context) : listView();
}

function listView() {
  const abort = new AbortController();
  const state = h('select', { onchange: () => load() }, h('option', { value: '' }, 'all'), STATES.map((one) => h('option', { value: one }, one)));
  const said = h('div', {});
  let loaded = false;
  const table = new Table({
    label: 'Jobs',
    what: ['job', 'jobs'],
    by: 'Made',
    columns: [
      { label: 'Command' },
      { label: 'Node', sort: byText((job) => job.host.name) },
      { label: 'State', sort: (a, b) => STATES.indexOf(a.secmon.job.state) - STATES.indexOf(b.secmon.job.state) },
      { label: 'By', sort: byText((job) => job.user?.name ?? '') },
      { label: 'Made', sort: (a, b) => b.secmon.job.made.localeCompare(a.secmon.job.made) },
      { label: 'Output' },
      { label: 'Action' },
    ],
    key: idOf,
    version: (job) => JSON.stringify(job.secmon),
    row: (job) => [
      h('a', { href: `#/jobs/${encodeURIComponent(idOf(job))}` }, wordsOf(job)),
      nodeLink(job.host.name),
      [stateOf(job), ' ', endOf(job) && endBadge(endOf(job))],
      job.user?.name ?? `uid ${job.user?.id}`,
      [age(job.secmon.job.made), ' ago'],
      bytes(job.secmon.job.output_bytes),
      cancelButton(job, (error) => (error ? set(said, notice('bad', `It was not cancelled: ${error.message}.`)) : load())) || h('span', { class: 'dim' }, '–'),
    ],
    empty: () => (loaded ? 'No jobs. A command that is run in the background becomes one.' : 'Asking …'),
  });

  async function load() {
    try {
      const { jobs, more } = await api.jobs({ state: state.value, limit: LIMIT }, abort.signal);
      loaded = true;
      set(said, more && notice('warn', `Only ${LIMIT} are shown; secmon jobs has more.`));
      table.update(jobs);
    } catch (error) {
      if (error.name !== 'AbortError') set(said, notice('bad', `${error.message}`));
    }
  }

  const soon = onCommands(load);
  table.update([]);
  load();
  const element = h('section', {}, h('h1', {}, 'Jobs'), h('div', { class: 'filters' }, field('State', state)), said, table.element);
  const close = () => {
    abort.abort();
    soon.end();
  };
  return { title: 'Jobs', element, onEvent: soon.onEvent, tick: () => tick(element), close };
}

function jobView({ name: id }) {
  const abort = new AbortController();
  const head = h('div', {});
  const said = h('div', {});
  const output = new Output('Output of the job');

  function draw(job) {
    const { job: j, command } = job.secmon;
    const rows = [
      ['Node', nodeLink(job.host.name)], ['By', job.user?.name ?? `uid ${job.user?.id}`], ['With', command.agent],
      ['Made', time(j.made)], ['Started', j.started && time(j.started)], ['Ended', j.ended && time(j.ended)], ['Waits until', j.state === 'queued' && j.expires && time(j.expires)],
      ['Output', `${bytes(j.output_bytes)}${j.dropped_bytes ? `, ${bytes(j.dropped_bytes)} of it no longer kept` : ''}`], ['Took', usageWords(command.usage)], ['Id', idOf(job)],
    ];
    set(
      head,
      h('h1', {}, wordsOf(job)),
      h('p', { class: 'presence', role: 'status' }, stateOf(job), ' ', endOf(job) && endBadge(endOf(job)), ' ', cancelButton(job, (error) => (error ? set(said, notice('bad', `It was not cancelled: ${error.message}.`)) : load()))),
      h('dl', { class: 'facts card' }, rows.filter(([, value]) => value).map(([label, value]) => h('div', {}, h('dt', {}, label), h('dd', {}, value)))),
    );
  }

  async function load() {
    try {
      draw(await api.job(id));
    } catch (error) {
      set(said, notice('bad', `${error.message}`));
    }
  }

  async function follow() {
    try {
      for await (const line of api.jobOutput(id, abort.signal)) {
        if (line.stream) await output.add(line);
        else if (line.missing) set(said, notice('warn', `${bytes(line.missing)} of the output are no longer kept.`));
        else if (line.secmon) draw(line);
      }
      output.end();
    } catch (error) {
      if (error.name !== 'AbortError') set(said, notice('bad', `The output ended early: ${error.message}. Reload to see it again.`));
    }
  }

  const soon = onCommands(load, (event) => event.secmon.command?.job === id);
  load();
  follow();
  const element = h('section', {}, h('p', { class: 'crumb' }, h('a', { href: '#/jobs' }, '‹ Jobs')), head, said, h('h2', {}, 'Output'), output.element);
  const close = () => {
    abort.abort();
    soon.end();
  };
  return { title: 'Job', element, onEvent: soon.onEvent, close };
}
