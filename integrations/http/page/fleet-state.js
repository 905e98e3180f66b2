// What stands: nodes, their facets, who is logged in, WireGuard peers; made of a snapshot and of the events behind it. Pure.

const FACETS = ['sessions', 'wg_peers', 'auth_log'];

/** From this on a clock is said to be off: what it stamps can no longer be ordered by eye. */
const CLOCK_OFF_NS = 2e9;

const peerKey = (wg) => `${wg.interface} ${wg.public_key}`;

function fresh(id, name) {
  return { id, name, os: '', status: 'unknown', since: '', facets: {}, sessions: new Map(), peers: new Map(), version: 0 };
}

export class Fleet {
  /** Nodes by id. */
  nodes = new Map();
  /** Ids of nodes of which an event did not say all: they are to be asked for. */
  unsure = new Set();
  /** Whether a whole snapshot has been taken in. */
  complete = false;

  #seen = null; // While a snapshot comes: the ids in it.

  /** Takes an event in; says whether anything that is shown changed. */
  take(event) {
    return event.event?.kind === 'state' ? this.#state(event) : this.#happened(event);
  }

  /** A snapshot begins anew: what does not come in it is no more. */
  snapshotBegins() {
    this.#seen = new Set();
  }

  /** What the snapshot did not name is gone. */
  snapshotEnded() {
    if (!this.#seen) return;
    for (const id of this.nodes.keys()) if (!this.#seen.has(id)) this.nodes.delete(id);
    this.#seen = null;
    this.complete = true;
  }

  #of(event) {
    const { id, name } = event.host ?? {};
    if (!id) return undefined;
    let node = this.nodes.get(id);
    if (!node) {
      node = fresh(id, name);
      this.nodes.set(id, node);
    }
    node.name = name;
    node.version += 1;
    return node;
  }

  #state(event) {
    const node = this.#of(event);
    if (!node) return false;
    const s = event.secmon;
    switch (s.type) {
      case 'node.state':
        if (!this.#seen) this.snapshotBegins();
        this.#seen.add(node.id);
        node.sessions.clear();
        node.peers.clear();
        this.#summary(node, event);
        break;
      case 'facet.state':
        node.facets[s.facet.name] = s.facet;
        break;
      case 'session.state':
        node.sessions.set(s.session.id, s.session);
        break;
      case 'wg.peer_state':
        node.peers.set(peerKey(s.wg), s.wg);
        break;
      default:
    }
    return true;
  }

  #summary(node, { host, secmon }) {
    node.os = host.os?.full ?? '';
    node.hostname = host.hostname ?? '';
    node.status = secmon.status;
    node.since = secmon.since;
    node.agent = secmon.agent ?? '';
    node.address = secmon.address ?? '';
    node.clockOffset = secmon.clock_offset_ns ?? 0;
    node.commands = secmon.command_count ?? 0;
    node.stale = secmon.stale === true;
    node.facets = { ...secmon.facets };
  }

  #happened(event) {
    const s = event.secmon ?? {};
    const type = s.type ?? '';
    if (!/^(node|facet|session|wg)\./.test(type)) {
      // A hole in what came: whatever stands may have changed in it.
      if (type === 'gap' && event.host?.id) this.unsure.add(event.host.id);
      return false;
    }
    if (type === 'node.removed') return this.nodes.delete(event.host?.id);
    const node = this.#of(event);
    if (!node) return false;
    if (type.startsWith('node.')) this.#presence(node, type, event);
    else if (type.startsWith('facet.')) {
      node.facets[s.facet.name] = s.facet;
      // What a facet sees when it becomes ready is state, and in no event.
      if (type === 'facet.ready') this.unsure.add(node.id);
      else if (s.facet.name === 'sessions') node.sessions.clear();
      else if (s.facet.name === 'wg_peers') node.peers.clear();
    } else if (type === 'session.opened') node.sessions.set(s.session.id, s.session);
    else if (type === 'session.closed') node.sessions.delete(s.session.id);
    else if (type === 'wg.peer_removed') node.peers.delete(peerKey(s.wg));
    else node.peers.set(peerKey(s.wg), s.wg);
    return true;
  }

  #presence(node, type, event) {
    const told = event.secmon.node ?? {};
    node.since = event['@timestamp'];
    if (type === 'node.enrolled') node.status = 'expected';
    if (type === 'node.disconnected') node.status = 'away';
    if (type === 'node.connected') {
      node.status = 'online';
      Object.assign(node, { address: told.address ?? '', agent: told.agent ?? '' });
      if (!node.os) this.unsure.add(node.id);
    }
  }

  /** What a request for a node said, all of it. Says whether events came in between: then it is to be asked for again. */
  detail(detail, versionBefore) {
    const node = this.#of(detail);
    if (!node) return false;
    const late = versionBefore !== undefined && node.version - 1 !== versionBefore;
    this.#summary(node, detail);
    node.sessions = new Map((detail.secmon.sessions ?? []).map((session) => [session.id, session]));
    node.peers = new Map((detail.secmon.wg_peers ?? []).map((peer) => [peerKey(peer), peer]));
    return late;
  }

  /** What a list says of all nodes; sessions and peers are left as they are. */
  list(summaries) {
    const listed = new Set(summaries.map((summary) => summary.host.id));
    for (const id of this.nodes.keys()) if (!listed.has(id)) this.nodes.delete(id);
    for (const summary of summaries) {
      const node = this.#of(summary);
      const before = node.facets;
      this.#summary(node, summary);
      const counts = { sessions: node.sessions.size, wg_peers: node.peers.size };
      for (const [facet, held] of Object.entries(counts)) {
        const { status, count } = node.facets[facet] ?? {};
        if (status === 'ready' && count !== held && before[facet]?.count !== undefined) this.unsure.add(node.id);
      }
    }
  }

  byName(name) {
    for (const node of this.nodes.values()) if (node.name === name || node.id === name) return node;
    return undefined;
  }

  /** The numbers at the top. */
  counts() {
    const out = { nodes: this.nodes.size, online: 0, away: 0, expected: 0, sessions: 0, users: new Set(), peers: 0, peersOnline: 0, blind: 0, clock: 0 };
    for (const node of this.nodes.values()) {
      if (node.status in out) out[node.status] += 1;
      out.sessions += node.sessions.size;
      for (const session of node.sessions.values()) if (session.user) out.users.add(session.user);
      out.peers += node.peers.size;
      out.peersOnline += online(node);
      if (unavailable(node).length > 0) out.blind += 1;
      if (clockOff(node)) out.clock += 1;
    }
    return { ...out, users: out.users.size };
  }
}

/** How many of a node's WireGuard peers are online. */
export function online(node) {
  let count = 0;
  for (const peer of node.peers.values()) if (peer.online) count += 1;
  return count;
}

/** The facets of a node that cannot be seen, with their reasons. */
export function unavailable(node) {
  return FACETS.filter((name) => node.facets[name]?.status === 'unavailable').map((name) => ({ name, ...node.facets[name] }));
}

/** Whether a node's clock is so wrong that its times mislead. Only of one that is connected is it known. */
export const clockOff = (node) => node.status === 'online' && Math.abs(node.clockOffset ?? 0) > CLOCK_OFF_NS;

const WORDS = { sessions: 'logins', wg_peers: 'WireGuard', auth_log: 'auth log' };
/** What people call a facet. */
export const facetWords = (name) => WORDS[name] ?? name;
export { FACETS };
