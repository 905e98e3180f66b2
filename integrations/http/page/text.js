// Text made safe to look at, and numbers and times for people. Pure: no document, no network.

// What could steer or mislead the eye, as `text::printable` of the command line has it: controls, bidirectional overrides and isolates,
// line and paragraph separators, zero-width characters, tags.
const UNSAFE =
  /[\\\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]|[\u{e0000}-\u{e007f}]/gu;
const NAMED = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' };

function escaped(c) {
  if (NAMED[c]) return NAMED[c];
  const code = c.codePointAt(0);
  const hex = code.toString(16);
  return code < 0x80 ? `\\x${hex.padStart(2, '0')}` : `\\u{${hex}}`;
}

/** Any text on one line: what cannot be seen is written as an escape, and no escape can be forged. */
export function printable(text) {
  return String(text).replace(UNSAFE, escaped);
}

/** As `printable`, for output of commands: tabs stay, and a backslash is one, for such text is full of them. */
export function printableLine(text) {
  return text.replace(UNSAFE, (c) => (c === '\\' || c === '\t' ? c : escaped(c)));
}

const DATE_TIME = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const TIME = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const MINUTE = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const DAY_TIME = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });

/** The milliseconds of an RFC 3339 time; NaN where it is none. */
export function millis(rfc3339) {
  return Date.parse(rfc3339 ?? '');
}

/** The local time, with the day where it was not today; `now` in milliseconds. */
export function clock(rfc3339, now = Date.now()) {
  const time = millis(rfc3339);
  if (Number.isNaN(time)) return '–';
  return new Date(time).toDateString() === new Date(now).toDateString() ? TIME.format(time) : DAY_TIME.format(time);
}

/** `14:05` of milliseconds. */
export const minuteOf = (time) => MINUTE.format(time);

/** The local time in full, and as the hub said it. */
export function fullTime(rfc3339) {
  const time = millis(rfc3339);
  return Number.isNaN(time) ? String(rfc3339 ?? '') : `${DATE_TIME.format(time)} (${rfc3339})`;
}

/** `45 s`, `12 min`, `3 h`, `5 d`. */
export function duration(milliseconds) {
  const s = Math.max(0, Math.round(milliseconds / 1000));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129_600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} d`;
}

/** `1.4 ms`, `2.31 s` of nanoseconds. */
export function nanos(ns) {
  if (ns < 1e9) return `${(ns / 1e6).toFixed(ns < 1e7 ? 1 : 0)} ms`;
  return ns < 9e10 ? `${(ns / 1e9).toFixed(2)} s` : duration(ns / 1e6);
}

/** `512 B`, `1.4 MiB`. */
export function bytes(count) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** `1 node`, `2 nodes`. */
export function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString()} ${count === 1 ? one : many}`;
}

/** A pattern of names, `web*` (`*` and `?` are wildcards), as a test; empty: all. Several stand apart by spaces or commas. */
export function globs(patterns) {
  const all = patterns.split(/[\s,]+/).filter(Boolean).map((pattern) => {
    const source = [...pattern].map((c) => (c === '*' ? '.*' : c === '?' ? '.' : c.replace(/[\\^$.*+?()[\]{}|]/, '\\$&')));
    return new RegExp(`^${source.join('')}$`, 'su');
  });
  return all.length === 0 ? () => true : (name) => all.some((one) => one.test(name));
}
