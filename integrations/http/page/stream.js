// The one stream of events that everything on the page is fed from: its state is told, and it never has a hole in silence.
//
// EventSource resumes by itself (it sends the id of what it had last as Last-Event-ID). It gives up on any answer but 200 and cannot say
// which it was; then the session is asked for, and a new one begins behind the last id.

import * as api from './api.js';
import { duration } from './text.js';

/** How often the bridge is asked whether it has its hub, and still knows us. */
const ASK_EVERY_MS = 5000;
/** Pauses between attempts of our own: doubled, with jitter. */
const FIRST_PAUSE_MS = 1000;
const MAX_PAUSE_MS = 15_000;
/** A page that did not run for so long was asleep, and its connection may only look alive. */
const ASLEEP_MS = 60_000;

/** A snapshot in which nothing came for so long is over. */
const QUIET_MS = 2000;

function parsed(message) {
  try {
    return JSON.parse(message.data);
  } catch {
    return undefined; // Not of ours; the bridge sends JSON alone.
  }
}

export class Stream extends EventTarget {
  /** `connecting`, `live`, `reconnecting`, `hub-away`. */
  state = 'connecting';
  /** When it was live last, in milliseconds. */
  since = Date.now();
  /** The id of what came last. */
  last = '';

  #source;
  #timer;
  #asking;
  #pause = FIRST_PAUSE_MS;
  #open = false;
  #hub = true;
  #closed = false;
  #checked = Date.now();
  #quiet;
  #again;

  /** `onEvent(event)`, `onSnapshot()` where a snapshot begins, `onProgress()` where it has ended or nothing matched. */
  constructor({ onEvent, onSnapshot, onProgress }) {
    super();
    Object.assign(this, { onEvent, onSnapshot, onProgress });
  }

  start() {
    this.#connect();
    this.#asking = setInterval(() => this.#ask(), ASK_EVERY_MS);
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#quiet);
    clearInterval(this.#asking);
    this.#source?.close();
    this.#again?.close();
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#source?.close();
    const query = this.last ? { since: this.last } : { snapshot: 'true' };
    if (!this.last) this.onSnapshot();
    const source = new EventSource(api.url(['events'], query));
    this.#source = source;
    // Of an empty fleet a snapshot has nothing that could say that it has ended.
    const heard = () => {
      clearTimeout(this.#quiet);
      if (!this.last) this.#quiet = setTimeout(() => this.onProgress(), QUIET_MS);
    };
    source.addEventListener('open', () => {
      if (source !== this.#source) return;
      heard();
      this.#open = true;
      this.#pause = FIRST_PAUSE_MS;
      this.#tell();
      this.#ask();
    });
    source.addEventListener('message', (message) => {
      if (source !== this.#source) return;
      heard();
      const event = parsed(message);
      if (event) this.onEvent(event);
      this.#reached(message);
    });
    source.addEventListener('progress', (message) => {
      if (source === this.#source) this.#reached(message, true);
    });
    source.addEventListener('error', () => {
      if (source === this.#source) this.#lost(source.readyState === EventSource.CLOSED);
    });
  }

  // A message carries the id that came last, be it with this one or with one before.
  #reached({ lastEventId }, always = false) {
    const moved = lastEventId && lastEventId !== this.last;
    if (moved) this.last = lastEventId;
    if (moved || always) this.onProgress();
  }

  /** Reads what stands once more, beside the stream: after a hole in it. What came twice changes nothing. */
  snapshotAgain() {
    if (this.#again || this.#closed) return;
    const again = new EventSource(api.url(['events'], { snapshot: 'true' }));
    this.#again = again;
    this.onSnapshot();
    const ended = () => {
      clearTimeout(timer);
      again.close();
      this.#again = undefined;
      this.onProgress();
    };
    let timer = setTimeout(ended, QUIET_MS * 5);
    again.addEventListener('error', ended);
    again.addEventListener('progress', ended);
    again.addEventListener('message', (message) => {
      const event = parsed(message);
      if (event?.event?.kind !== 'state') return ended();
      this.onEvent(event);
      if (message.lastEventId) return ended();
      clearTimeout(timer);
      timer = setTimeout(ended, QUIET_MS);
      return undefined;
    });
  }

  async #lost(givenUp) {
    this.#open = false;
    this.#tell();
    if (!givenUp) return;
    const pause = this.#pause * (0.5 + Math.random());
    this.#pause = Math.min(this.#pause * 2, MAX_PAUSE_MS);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (!this.#closed) this.#connect();
    }, pause);
    // A 401 leads to the sign-in from there.
    await api.session().catch(() => {});
  }

  async #ask() {
    if (this.#closed || document.hidden) return;
    // A laptop that slept: its connection may look alive for minutes.
    const slept = Date.now() - this.#checked > ASLEEP_MS;
    this.#checked = Date.now();
    if (slept && this.#open) this.#connect();
    try {
      const { hub } = await api.session();
      this.#hub = hub?.connected !== false;
    } catch {
      return; // The stream itself will tell, and a 401 has its own way.
    }
    this.#tell();
  }

  #tell() {
    if (this.#closed) return;
    const state = this.#open ? (this.#hub ? 'live' : 'hub-away') : this.last || this.state !== 'connecting' ? 'reconnecting' : 'connecting';
    if (state === this.state) return;
    if (this.state === 'live' || state === 'live') this.since = Date.now();
    this.state = state;
    this.dispatchEvent(new Event('state'));
  }

  /** What to say of it. */
  words() {
    const ago = duration(Date.now() - this.since);
    switch (this.state) {
      case 'live':
        return 'live';
      case 'hub-away':
        return `hub away for ${ago}`;
      case 'reconnecting':
        return `reconnecting … for ${ago}`;
      default:
        return 'connecting …';
    }
  }
}
