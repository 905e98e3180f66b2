// The only way in which text gets onto the page: as text, made printable. No markup is ever made of data.

import { clock, fullTime, millis, duration, printable } from './text.js';

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'value') element.value = value;
    else if (name === 'checked') element.checked = value;
    else if (value === true) element.setAttribute(name, '');
    else element.setAttribute(name, name === 'href' || name === 'pattern' ? value : printable(value));
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children.flat(3)) {
    if (child === undefined || child === null || child === false || child === '') continue;
    element.append(child instanceof Node ? child : document.createTextNode(printable(child)));
  }
}

/** An element with attributes (`onclick` and its like are listeners, false and undefined leave one out) and children. */
export const h = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);

/** The same of SVG. */
export const svg = (name, attributes, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

/** Puts these in the place of all that an element has. */
export function set(element, ...children) {
  element.replaceChildren();
  add(element, children);
}

/** Sets a text only where it changed: a reader's place and a screen reader's patience are spared. */
export function setText(element, text) {
  const safe = printable(text);
  if (element.textContent !== safe) element.textContent = safe;
}

/** A local time, with all of it as its title. */
export function time(rfc3339) {
  if (!rfc3339) return '–';
  return h('time', { datetime: rfc3339, title: fullTime(rfc3339) }, clock(rfc3339));
}

/** How long ago, with all of it as its title; `tick` keeps it right. */
export function age(rfc3339) {
  if (!rfc3339) return '–';
  return h('time', { datetime: rfc3339, title: fullTime(rfc3339), 'data-age': true }, duration(Date.now() - millis(rfc3339)));
}

/** Brings the ages below an element up to date. */
export function tick(root) {
  const now = Date.now();
  for (const element of root.querySelectorAll('time[data-age]')) {
    setText(element, duration(now - millis(element.getAttribute('datetime'))));
  }
}

/** A label of a fixed kind: `good`, `bad`, `warn`, `dim`. */
export const badge = (kind, ...children) => h('span', { class: `badge ${kind}` }, ...children);

/** A notice that says what is wrong. */
export const notice = (kind, ...children) => h('p', { class: `notice ${kind}`, role: kind === 'bad' ? 'alert' : 'status' }, ...children);

/** A link to a node's page. */
export const nodeLink = (name) => h('a', { href: `#/node/${encodeURIComponent(name)}` }, name);

/** Says something to who does not see the page. */
export function say(text) {
  setText(document.getElementById('say'), text);
}

/** Calls `draw` at most once per frame, however often it is asked to; hidden pages draw when they are seen again. */
export function perFrame(draw) {
  let waits = false;
  return () => {
    if (waits) return;
    waits = true;
    requestAnimationFrame(() => {
      waits = false;
      draw();
    });
  };
}

let ids = 0;
/** An id that no other element has. */
export const freshId = (of) => `${of}-${(ids += 1)}`;

/** A labelled control; what is said of it is read with it. */
export function field(label, control, hint, { checkbox = false } = {}) {
  control.id ||= freshId('field');
  const hintId = hint ? `${control.id}-hint` : undefined;
  if (hintId) control.setAttribute('aria-describedby', hintId);
  const name = h('label', { for: control.id }, label);
  return h(
    'div',
    { class: checkbox ? 'field check' : 'field' },
    checkbox ? [control, name] : [name, control],
    hint && h('span', { class: 'hint', id: hintId }, hint),
  );
}
