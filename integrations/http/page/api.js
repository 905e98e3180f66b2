// Requests to the API of the bridge that served this page. The cookie of the session goes with them by itself; scripts cannot read it.

/** What the bridge refused, or that it could not be reached (`status` 0). */
export class Problem extends Error {
  constructor(status, detail, code, near = [], retryAfter = undefined) {
    super(detail);
    Object.assign(this, { status, code, near, retryAfter });
  }
}

/** A request goes unanswered no longer than this, unless what it asks for takes its time. */
const DEADLINE_MS = 30_000;

let onSignedOut = () => {};
/** What to do when the bridge no longer knows us. */
export function whenSignedOut(act) {
  onSignedOut = act;
}

async function problemOf(response) {
  let body = {};
  try {
    body = JSON.parse(await response.text());
  } catch {
    // Not of the bridge's own: a proxy before it.
  }
  const detail = typeof body.detail === 'string' && body.detail ? body.detail : `the answer was ${response.status} ${response.statusText}`;
  return new Problem(response.status, detail, body.code, Array.isArray(body.near) ? body.near : [], body.retry_after);
}

async function request(path, { method = 'GET', body, accept = 'application/json', signal, deadline = DEADLINE_MS, quiet = false } = {}) {
  const headers = { Accept: accept };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const signals = [signal, deadline ? AbortSignal.timeout(deadline) : undefined].filter(Boolean);
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signals.length > 0 ? AbortSignal.any(signals) : undefined,
      credentials: 'same-origin',
      redirect: 'error',
    });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    const why = error.name === 'TimeoutError' ? 'it did not answer in time' : 'it cannot be reached';
    throw new Problem(0, `the bridge did not do it: ${why}`, 'unreachable');
  }
  if (response.ok) return response;
  const problem = await problemOf(response);
  if (problem.status === 401 && !quiet) onSignedOut(problem);
  throw problem;
}

const json = async (path, options) => (await request(path, options)).json();

/** A path made of parts, and a query; parts and values may be anything. */
export function url(parts, query = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (one !== undefined && one !== '' && one !== false) search.append(name, one);
  }
  const text = search.toString();
  return `/v1/${parts.map(encodeURIComponent).join('/')}${text && `?${text}`}`;
}

export const session = (quiet = false) => json(url(['session']), { quiet, deadline: 8000 });
export const signIn = (token) => request(url(['session']), { method: 'POST', body: { token }, quiet: true });
export const signOut = () => request(url(['session']), { method: 'DELETE', quiet: true });
export const nodes = async () => (await json(url(['nodes']))).nodes;
export const node = (name, signal) => json(url(['nodes', name]), { signal });
export const commands = async (name, signal) => (await json(url(['nodes', name, 'commands']), { signal })).commands;
export const jobs = (query, signal) => json(url(['jobs'], query), { signal });
export const job = (id) => json(url(['jobs', id]));
export const cancelJob = (id) => json(url(['jobs', id, 'cancel']), { method: 'POST' });

/** Starts a job that goes on by itself. */
export const runDetached = (name, label, body) =>
  json(url(['nodes', name, 'commands', label], { detach: 'true' }), { method: 'POST', body });

/** What was logged since, at most `most` events, oldest first, and whether there are more. */
export async function past(query, most, signal) {
  const events = [];
  let after;
  while (events.length < most) {
    const limit = Math.min(500, most - events.length);
    const from = after === undefined ? {} : { after, since: undefined };
    const page = await json(url(['events'], { ...query, ...from, wait: '0s', limit }), { signal });
    events.push(...page.events);
    if (page.events.length === 0 || page.after === after) return { events, more: false };
    after = page.after;
  }
  return { events, more: true };
}

/** Runs a command; its lines come as they are printed. Aborting ends the run. */
export const run = (name, label, body, signal) =>
  lines(url(['nodes', name, 'commands', label]), { method: 'POST', body, signal });

/** The output of a job from its beginning, followed to its end. */
export const jobOutput = (id, signal) => lines(url(['jobs', id, 'output'], { follow: 'true' }), { signal });

/** A line of NDJSON is no longer than this: a piece of output is 64 KiB, in Base64. */
const MAX_LINE = 4 << 20;

/** The objects of an NDJSON answer, one by one; who is slow to take them slows the sender. */
async function* lines(path, options) {
  const response = await request(path, { ...options, accept: 'application/x-ndjson', deadline: 0 });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const parts = (rest + value).split('\n');
      rest = parts.pop();
      for (const part of parts) if (part.trim()) yield JSON.parse(part);
      if (rest.length > MAX_LINE) throw new Problem(0, 'the answer has a line that is far too long', 'answer');
    }
    if (rest.trim()) yield JSON.parse(rest);
  } finally {
    // Also where the reader of these lines stopped early: the bridge then ends what it does for us.
    reader.cancel().catch(() => {});
  }
}

/** As `past`, of the longest of these times that has no more than `most`: what was logged last, without a hole. */
export async function recent(query, times, most, signal) {
  for (const { since, ms } of times) {
    const from = Date.now() - ms;
    const { events, more } = await past({ ...query, since }, most, signal);
    if (!more) return { events, from, words: since };
  }
  return { events: [], from: Date.now(), words: undefined };
}
