// What an event says, as a sentence, and how grave it is. Pure. The words are those of `secmon watch`.

/** What grave means: `bad` someone should look at, `warn` did not go well, `good` went well, `info` all else. */
const GRAVE = {
  'access.denied': 'bad',
  'auth.sudo_denied': 'bad',
  'auth.su_failed': 'bad',
  'auth.account_changed': 'warn',
  'auth.failed': 'warn',
  'auth.invalid_user': 'warn',
  'auth.probe': 'warn',
  'auth.accepted': 'good',
  'command.refused': 'bad',
  'facet.ready': 'good',
  'facet.unavailable': 'bad',
  gap: 'bad',
  'node.connected': 'good',
  'node.disconnected': 'bad',
  'node.removed': 'warn',
  'session.opened': 'good',
  unreadable: 'bad',
  'wg.peer_added': 'warn',
};

/** `good`, `info`, `warn` or `bad`. */
export function severity(event) {
  if (event.secmon?.trusted === false) return 'bad';
  const of = GRAVE[event.secmon?.type];
  if (of) return of;
  const outcome = event.event?.outcome;
  return outcome === 'failure' ? 'warn' : outcome === 'success' ? 'good' : 'info';
}

export const SEVERITIES = ['bad', 'warn', 'good', 'info'];
export const SEVERITY_WORDS = { bad: 'needs a look', warn: 'failed or changed', good: 'went well', info: 'other' };

const on = (before, value) => (value === undefined || value === null || value === '' ? '' : `${before}${value}`);
const host = (source) => source?.ip ?? source?.address;
const from = (event) => on(' from ', host(event.source)) + on(' port ', event.source?.port);
const FACET = { sessions: 'sessions', wg_peers: 'WireGuard peers', auth_log: 'the auth log' };

function word(value) {
  const text = String(value);
  return /^[^\s="']+$/u.test(text) ? text : JSON.stringify(text);
}

/** `tail lines=50 file=auth.log`. */
export function commandWords(label, args = {}) {
  return [label, ...Object.entries(args).map(([name, value]) => `${name}=${word(value)}`)].join(' ');
}

/** How a run ended, of its `run_ended` line: `exited with 3`. */
export function endWords({ end, exit_code: code, signal, message }) {
  switch (end) {
    case 'exited':
      return `exited with ${code}`;
    case 'signalled':
      return `was ended by signal ${signal}`;
    case 'timed_out':
      return 'was ended by its timeout';
    case 'cancelled':
      return 'was cancelled';
    case 'too_much_output':
      return 'was ended because it printed too much';
    default:
      return `failed${on(': ', message)}`;
  }
}

function facet(s) {
  const what = FACET[s.facet?.name] ?? s.facet?.name;
  return s.facet?.status === 'unavailable'
    ? `cannot see ${what}: ${s.facet.reason ?? ''}${on('; ', s.facet.remedy)}`
    : `now sees ${what}`;
}

function sessions(e, s) {
  const { user, tty, remote, sources = [] } = s.session ?? {};
  const what = s.type === 'session.closed' ? 'logged out' : s.type === 'session.opened' ? 'logged in' : 'is logged in';
  return `${user ?? 'somebody'} ${what}${on(' on ', tty)}${on(' from ', remote)}${sources.length ? ` (${sources.join(', ')})` : ''}`;
}

function wireguard(s) {
  const { interface: name, public_key: key, endpoint, allowed_ips: ips = [] } = s.wg ?? {};
  const does = { 'wg.peer_added': 'was added', 'wg.peer_removed': 'was removed', 'wg.peer_changed': 'was changed', 'wg.peer_online': 'is online' };
  const networks = /online|offline/.test(s.type) || ips.length === 0 ? '' : `, networks ${ips.join(' ')}`;
  return `${name} peer ${key} ${does[s.type] ?? 'is offline'}${on(', endpoint ', endpoint)}${networks}`;
}

function auth(e, s) {
  const user = e.user?.name ?? 'somebody';
  const target = e.user?.target?.name;
  const method = s.ssh?.method;
  const program = e.process?.name;
  const command = s.sudo?.command ?? e.process?.command_line;
  const said = {
    'auth.accepted': () => `accepted ${method ?? 'login'} for ${user}`,
    'auth.failed': () => `failed ${method ?? 'login'} for ${user}`,
    'auth.invalid_user': () => (method ? `failed ${method} for invalid user ${user}` : e.event.reason ? `${user} may not log in` : `invalid user ${user}`),
    'auth.disconnected': () => (e.user?.name ? `${user} disconnected` : 'connection ended'),
    'auth.session_opened': () => pam('opened', e, s),
    'auth.session_closed': () => pam('closed', e, s),
    'auth.sudo': () => (command ? `${user} ran ${command}` : `${user} used ${program}`) + on(' as ', target),
    'auth.sudo_denied': () => `${user} may not run ${command ?? program}${on(' as ', target)}`,
    'auth.su': () => (command ? `${user} ran ${command} as ${target}` : `${user} became ${target ?? 'somebody else'}`),
    'auth.su_failed': () => (command ? `${user} may not run ${command}` : `${user} failed to become ${target ?? 'somebody else'}`),
  }[s.type];
  let out;
  if (said) {
    out = said() + on(' on ', s.tty) + on(' in ', s.cwd) + from(e) + on(', key ', s.ssh?.fingerprint) + on(': ', e.event?.reason);
  } else {
    out = `${program}: ${e.message ?? ''}`;
    if (host(e.source) && !out.includes(host(e.source))) out += from(e);
  }
  if (s.count > 1) out += ` (${s.count} times)`;
  if (s.trusted === false) out += ` [FORGED: not written by ${program}]`;
  return out;
}

function pam(verb, e, s) {
  const target = e.user?.target?.name;
  const by = e.user?.name;
  const who = target && by && target !== by ? ` for ${target} by ${by}` : on(' for ', target ?? by);
  return `${s.pam?.service ?? e.process?.name} session ${verb}${who}`;
}

function command(e, s) {
  const c = s.command ?? {};
  const by = e.user?.name ?? `uid ${e.user?.id}`;
  const what = commandWords(c.label, c.args);
  const end = () => endWords({ end: c.end, exit_code: e.process?.exit_code, signal: c.signal, message: c.message });
  switch (s.type) {
    case 'command.started':
      return `${by} started ${what} (job ${c.job})`;
    case 'command.finished':
      return `${what} of ${by} ${end()} (job ${c.job})`;
    case 'command.refused':
      return `${by} was refused ${what}${on(': ', c.message)}`;
    default:
      return `${by} queued ${what} (job ${c.job})`;
  }
}

function node(e, s) {
  const n = s.node ?? {};
  switch (s.type) {
    case 'node.enrolled':
      return n.replaced ? 'enrolled anew; its old papers are refused' : 'enrolled';
    case 'node.removed':
      return `removed by ${e.user?.name ?? `uid ${e.user?.id}`}`;
    case 'node.connected':
      return `connected from ${n.address} (version ${n.agent})`;
    default:
      return `disconnected${on(': ', n.reason)}`;
  }
}

/** What an event says. */
export function sentence(event) {
  const s = event.secmon ?? {};
  const type = s.type ?? '';
  if (type === 'gap') {
    const count = s.gap?.count === undefined ? 'records' : `${s.gap.count} records`;
    return `${count} missing here${on(': ', s.gap?.reason)}`;
  }
  if (type === 'access.denied') return `${event.user?.name ?? `uid ${event.user?.id}`} was denied ${s.access?.request}${on(': ', s.access?.reason)}`;
  if (type === 'unreadable') return `a record that this secmon cannot read${on(': ', s.unreadable?.reason)}`;
  switch (type.split('.')[0]) {
    case 'facet':
      return facet(s);
    case 'session':
      return sessions(event, s);
    case 'wg':
      return wireguard(s);
    case 'auth':
      return auth(event, s);
    case 'command':
      return command(event, s);
    case 'node':
      return node(event, s);
    default:
      // Of a hub that is newer than this page.
      return event.message ?? type;
  }
}
