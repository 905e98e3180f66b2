// What a command prints, as it comes: both streams apart by look, bytes as UTF-8, what cannot be seen made visible, bounded.

import { h, set } from './dom.js';
import { bytes, printableLine } from './text.js';

/** So many lines are kept; what is older goes, and how much went is said. */
const MAX_LINES = 5000;
/** A line that is longer is broken: a browser that lays out a megabyte in one line hangs. */
const MAX_LINE = 4000;

/** The bytes of a piece in Base64. */
export function decodeBase64(text) {
  const binary = atob(text);
  const out = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) out[i] = binary.charCodeAt(i);
  return out;
}

/** Bytes of two streams into lines `{stream, text, bytes, open}`, at most MAX_LINES; pure. */
export class Lines {
  lines = [];
  droppedBytes = 0;
  #decoders = {};

  add(stream, data) {
    // A character may lie across two pieces: each stream has a decoder that remembers.
    this.#decoders[stream] ??= new TextDecoder('utf-8', { ignoreBOM: true });
    this.#text(stream, this.#decoders[stream].decode(data, { stream: true }));
  }

  /** What a stream ended with in the middle of a character. */
  end() {
    for (const [stream, decoder] of Object.entries(this.#decoders)) this.#text(stream, decoder.decode());
    this.#decoders = {};
  }

  #text(stream, text) {
    const parts = text.split('\n');
    parts.forEach((part, i) => {
      const ends = i < parts.length - 1;
      let rest = part;
      do {
        const line = this.#openLine(stream);
        const room = MAX_LINE - line.text.length;
        // No character is cut in two.
        const cut = rest.length > room && /[\ud800-\udbff]/.test(rest[room - 1] ?? '') ? room + 1 : room;
        const piece = rest.slice(0, cut);
        rest = rest.slice(cut);
        line.text += piece;
        line.bytes += encoded(piece);
        line.version += 1;
        if (rest) line.open = false;
      } while (rest);
      if (ends) {
        const line = this.#openLine(stream);
        line.open = false;
        line.bytes += 1;
      }
    });
    const last = this.lines.at(-1);
    if (last?.open && last.text === '') this.lines.pop();
    this.#bound();
  }

  #openLine(stream) {
    const last = this.lines.at(-1);
    if (last?.open && last.stream === stream) return last;
    if (last) last.open = false;
    const line = { stream, text: '', bytes: 0, open: true, version: 0 };
    this.lines.push(line);
    // Within one large piece, too, no more is held than a few times what is kept.
    if (this.lines.length > MAX_LINES * 2) this.#bound();
    return line;
  }

  #bound() {
    const over = this.lines.length - MAX_LINES;
    if (over <= 0) return;
    for (const line of this.lines.splice(0, over)) this.droppedBytes += line.bytes;
  }
}

const ENCODER = new TextEncoder();
const encoded = (text) => ENCODER.encode(text).length;

/** An element that shows them. */
export class Output {
  lines = new Lines();
  #drawn = new Map();
  #waits = false;

  constructor(label) {
    this.dropped = h('p', { class: 'dim small', hidden: true });
    this.pre = h('div', { class: 'output', tabindex: '0', role: 'log', 'aria-live': 'off', 'aria-label': label });
    this.element = h('div', {}, this.dropped, this.pre);
  }

  /** Takes a `run_output` line. It resolves when the page has drawn, so that a fast command waits for a slow screen. */
  async add({ stream, data }) {
    this.lines.add(stream, decodeBase64(data));
    this.#soon();
    this.count = (this.count ?? 0) + data.length;
    if (this.count > 256 * 1024 && !document.hidden) {
      this.count = 0;
      await new Promise(requestAnimationFrame);
    }
  }

  end() {
    this.lines.end();
    this.#soon();
  }

  #soon() {
    if (this.#waits) return;
    this.#waits = true;
    requestAnimationFrame(() => {
      this.#waits = false;
      this.#draw();
    });
  }

  #draw() {
    const { pre } = this;
    // Who has scrolled up to read is not pulled down.
    const atEnd = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 24;
    const { lines, droppedBytes } = this.lines;
    const kept = new Set(lines);
    for (const [line, { element }] of this.#drawn) {
      if (kept.has(line)) break;
      element.remove();
      this.#drawn.delete(line);
    }
    for (const line of lines) {
      const drawn = this.#drawn.get(line);
      if (drawn?.version === line.version) continue;
      const element = drawn?.element ?? h('div', { class: line.stream });
      element.textContent = printableLine(line.text);
      if (!drawn) pre.append(element);
      this.#drawn.set(line, { element, version: line.version });
    }
    this.dropped.hidden = droppedBytes === 0;
    if (droppedBytes > 0) set(this.dropped, `Earlier output dropped here, ${bytes(droppedBytes)}; a job keeps more.`);
    if (atEnd) pre.scrollTop = pre.scrollHeight;
  }
}
