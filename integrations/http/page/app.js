// The page as a whole: who is signed in, which view is shown, and one stream that feeds them all.

import * as api from './api.js';
import { h, notice, perFrame, say, set, setText } from './dom.js';
import { EventLog } from './event-log.js';
import { Fleet } from './fleet-state.js';
import { Stream } from './stream.js';
import { eventsView } from './view-events.js';
import { fleetView } from './view-fleet.js';
import { jobsView } from './view-jobs.js';
import { nodeView } from './view-node.js';
import { signInView } from './view-signin.js';
import { whoView } from './view-who.js';

const PAGES = [
  ['#/', 'Fleet', 'fleet'],
  ['#/who', 'Logged in', 'who'],
  ['#/events', 'Events', 'events'],
  ['#/jobs', 'Jobs', 'jobs'],
];
const VIEWS = { '': fleetView, who: whoView, node: nodeView, events: eventsView, jobs: jobsView };

/** Ages and the state of the connection are brought up to date so often. */
const TICK_MS = 1000;
/** With a large fleet a view is drawn no oftener than this. */
const BUSY_MS = 500;
/** So many nodes are asked for one by one; of more a snapshot is read. */
const MAX_ASKED = 20;
/** What no event tells (clocks, versions, facts) is fetched so often, while the page is seen. */
const LIST_EVERY_MS = 120_000;

const $ = (id) => document.getElementById(id);
const main = $('main');
let context; // What views are given, while somebody is signed in.
let view;
let drawn = 0;

const draw = perFrame(() => {
  if (!view?.update) return;
  const wait = view.busy?.() ? drawn + BUSY_MS - Date.now() : 0;
  if (wait > 0) {
    setTimeout(draw, wait);
    return;
  }
  view.update();
  drawn = Date.now();
});

function show(next, { focus = true } = {}) {
  view?.close?.();
  view = next;
  document.title = `${next.title} – secmon`;
  set(main, next.element);
  window.scrollTo(0, 0);
  if (next.focus) next.focus.focus();
  else if (focus) {
    main.focus({ preventScroll: true });
    say(next.title);
  }
}

function route({ focus = true } = {}) {
  if (!context) return;
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
  const parts = path.split('/').map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  const make = VIEWS[parts[0]];
  if (!make) {
    location.replace('#/');
    return;
  }
  show(make({ ...context, name: parts[1], query: new URLSearchParams(query) }), { focus });
  for (const link of $('nav').querySelectorAll('a')) {
    const here = link.getAttribute('href').split('/')[1] === (parts[0] === 'node' ? '' : parts[0]);
    if (here) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
}

function drawConnection() {
  if (!context) return;
  const { stream } = context;
  const line = $('connection');
  line.className = stream.state;
  // What is shown is as it was: a green label must not look like the present.
  main.classList.toggle('stale', ['reconnecting', 'hub-away'].includes(stream.state));
  setText(line, stream.words());
  // A reader is told of a change, not of each second.
  line.setAttribute('aria-live', 'off');
}

/** Asks for what the events did not say. */
async function ask() {
  const { fleet, stream } = context;
  if (fleet.unsure.size === 0 || context.asking) return;
  if (fleet.unsure.size > MAX_ASKED) {
    fleet.unsure.clear();
    stream.snapshotAgain();
    return;
  }
  const of = context;
  of.asking = true;
  try {
    for (const id of [...fleet.unsure]) {
      fleet.unsure.delete(id);
      const before = fleet.nodes.get(id)?.version;
      if (before === undefined) continue;
      const late = fleet.detail(await api.node(id), before);
      if (late) fleet.unsure.add(id);
      draw();
    }
  } catch {
    // It is away, or hidden from us by now; the next list tells.
  } finally {
    of.asking = false;
  }
}

async function list() {
  if (!context || document.hidden || context.stream.state !== 'live') return;
  const of = context;
  try {
    const nodes = await api.nodes();
    if (of !== context) return;
    of.fleet.list(nodes);
    draw();
  } catch {
    // The stream says what is wrong.
  }
}

function begin(session) {
  const fleet = new Fleet();
  const log = new EventLog();
  const stream = new Stream({
    onSnapshot: () => fleet.snapshotBegins(),
    onProgress: () => {
      fleet.snapshotEnded();
      draw();
    },
    onEvent: (event) => {
      fleet.take(event);
      if (event.event?.kind !== 'state' && log.add(event)) view?.onEvent?.(event);
      // A hole of our own: what stands may have changed in it.
      if (event.secmon?.type === 'gap' && !event.host) stream.snapshotAgain();
      draw();
    },
  });
  stream.addEventListener('state', () => {
    drawConnection();
    say(stream.words());
    if (stream.state === 'live') list();
    draw();
  });
  context = { session, fleet, log, stream, redraw: draw };
  $('connection').hidden = false;
  const nav = $('nav');
  nav.hidden = false;
  set(nav, PAGES.map(([href, text]) => h('a', { href }, text)), h('a', { href: '/api' }, 'API'));
  $('account')?.remove();
  const account = h('button', { type: 'button', class: 'quiet', id: 'account', title: `${session.name} (${session.role})`, onclick: leave }, 'Sign out');
  $('tools').append(account);
  stream.start();
  drawConnection();
  route({ focus: false });
}

function end() {
  context?.stream.close();
  context = undefined;
  $('connection').hidden = true;
  main.classList.remove('stale');
  $('nav').hidden = true;
  $('account')?.remove();
}

async function leave() {
  // Before the bridge cuts it off.
  end();
  try {
    await api.signOut();
    signIn('You are signed out.');
  } catch (error) {
    if (error.status === 401) signIn('You are signed out.');
    else await start(`Signing out failed: ${error.message}. You are still signed in.`);
  }
}

function signIn(why) {
  show(signInView({ why, signedIn: async () => begin(await api.session()) }));
}

async function start(problem) {
  try {
    begin(await api.session(true));
    if (problem) main.prepend(notice('bad', problem));
  } catch (error) {
    const away = error.status !== 401;
    signIn(away ? (problem ?? `The bridge did not say who you are: ${error.message}.`) : undefined);
  }
}

api.whenSignedOut(() => {
  if (!context) return;
  end();
  signIn('The session has ended: sign in again.');
});
window.addEventListener('hashchange', () => {
  // The skip link is no page.
  if (location.hash !== '#main') route();
});
$('skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
document.addEventListener('visibilitychange', () => draw());
setInterval(() => {
  if (document.hidden || !context) return;
  drawConnection();
  view?.tick?.();
  ask();
}, TICK_MS);
setInterval(list, LIST_EVERY_MS);
start();
