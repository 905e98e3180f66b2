// A readable page made of /openapi.json (OpenAPI 3.1): endpoints, parameters, bodies, answers, schemas, and a curl line for each.

import { badge, field, h, notice, set } from './dom.js';

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];
const main = document.getElementById('main');
document.getElementById('skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});

let doc;
const named = (ref) => ref.replace(/^#\/components\/\w+\//, '');
const resolve = (thing) => (thing?.$ref ? (thing.$ref.split('/').slice(1).reduce((at, part) => at?.[part.replaceAll('~1', '/').replaceAll('~0', '~')], doc) ?? {}) : (thing ?? {}));

/** A schema in a few words, with a link to a named one. */
function typeOf(schema) {
  if (!schema) return 'anything';
  if (schema.$ref) return h('a', { href: `#schema-${named(schema.$ref)}` }, named(schema.$ref));
  const many = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (many) return many.flatMap((one, i) => [i > 0 && (schema.allOf ? ' and ' : ' or '), typeOf(one)]);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
  const type = [schema.type].flat().filter(Boolean).join(' or ') || 'anything';
  if (type.startsWith('array')) return ['list of ', typeOf(schema.items)];
  return schema.format ? `${type} (${schema.format})` : type;
}

// The descriptions are Markdown; of it only code marks are shown as such, the rest reads well as it is.
function words(text) {
  return (text ?? '').split(/\n{2,}/).filter(Boolean).map((paragraph) =>
    h('p', {}, paragraph.replaceAll('\n', ' ').split('`').map((part, i) => (i % 2 ? h('code', {}, part) : part))));
}
const inline = (text) => (text ?? '').replaceAll('\n', ' ').split('`').map((part, i) => (i % 2 ? h('code', {}, part) : part));

function table(heads, rows, label) {
  return h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': label },
    h('table', {}, h('thead', {}, h('tr', {}, heads.map((head) => h('th', { scope: 'col' }, head)))),
      h('tbody', {}, rows.map(([first, ...rest]) => h('tr', {}, h('th', { scope: 'row' }, first), rest.map((cell) => h('td', {}, cell)))))));
}

function curl(method, path, parameters, body) {
  const filled = path.replace(/\{(\w+)\}/g, (_, name) => name.toUpperCase());
  const query = parameters.filter((p) => p.in === 'query' && p.required).map((p) => `${p.name}=${p.name.toUpperCase()}`).join('&');
  const lines = [`curl -H "Authorization: Bearer $TOKEN"`];
  if (method !== 'get') lines.push(`-X ${method.toUpperCase()}`);
  const content = Object.values(body.content ?? {})[0];
  if (content) lines.push(`--json '${JSON.stringify(example(content))}'`);
  lines.push(`'${location.origin}${filled}${query && `?${query}`}'`);
  return lines.join(' \\\n  ');
}

function example(content) {
  if (content.example !== undefined) return content.example;
  const schema = resolve(content.schema);
  if (schema.example !== undefined) return schema.example;
  if (schema.examples?.length) return schema.examples[0];
  return sample(schema, 0);
}

function sample(given, depth) {
  const schema = resolve(given);
  if (schema.example !== undefined) return schema.example;
  if (schema.default !== undefined) return schema.default;
  if (schema.enum) return schema.enum[0];
  if (schema.oneOf || schema.anyOf) return sample((schema.oneOf ?? schema.anyOf).find((one) => one.type !== 'null'), depth);
  const type = [schema.type].flat().find((one) => one !== 'null');
  if (type === 'object') return depth > 3 ? {} : Object.fromEntries(Object.entries(schema.properties ?? {}).map(([name, one]) => [name, sample(one, depth + 1)]));
  return { array: [], integer: 0, number: 0, boolean: false }[type] ?? 'string';
}

function operation(path, method, op, shared) {
  const parameters = [...shared, ...(op.parameters ?? [])].map(resolve);
  const body = resolve(op.requestBody);
  const id = `${method}-${path.replace(/[^a-z0-9]+/gi, '-')}`;
  const answers = Object.entries(op.responses ?? {}).map(([status, given]) => {
    const response = resolve(given);
    const kinds = Object.entries(response.content ?? {}).map(([kind, content]) => h('div', {}, h('code', {}, kind), content.schema ? [': ', typeOf(content.schema)] : ''));
    return [badge(status < '300' ? 'good' : status < '400' ? 'info' : 'warn', status), inline(response.description), kinds.length ? kinds : '–'];
  });
  return h('details', { class: 'command', id },
    h('summary', {}, badge(method === 'get' ? 'info' : 'good', method.toUpperCase()), h('code', {}, path), h('span', {}, op.summary ?? '')),
    words(op.description),
    parameters.length > 0 && [h('h4', {}, 'Parameters'), table(['Name', 'Where', 'Type', 'What'], parameters.map((p) => [[p.name, p.required ? ' (needed)' : ''], p.in, typeOf(p.schema), inline(p.description)]), `Parameters of ${path}`)],
    body.content && [h('h4', {}, 'Body'), Object.entries(body.content).map(([kind, content]) => h('p', {}, h('code', {}, kind), ': ', typeOf(content.schema)))],
    h('h4', {}, 'Answers'), table(['Status', 'What', 'Content'], answers, `Answers of ${path}`),
    h('h4', {}, 'Example'), pre(curl(method, path, parameters, body)));
}

// Of text with lines of its own each line is a text.
function pre(text) {
  return h('pre', { class: 'code', tabindex: '0' }, text.split('\n').flatMap((line, i) => [i > 0 && h('br'), line]));
}

function schemaOf([name, schema]) {
  const rows = Object.entries(schema.properties ?? {}).map(([field_, one]) => [[field_, schema.required?.includes(field_) ? '' : ' (optional)'], typeOf(one), inline(one.description)]);
  return h('details', { class: 'command', id: `schema-${name}` }, h('summary', {}, h('code', {}, name)), words(schema.description),
    rows.length > 0 ? table(['Field', 'Type', 'What'], rows, `Fields of ${name}`) : h('p', {}, typeOf(schema)));
}

function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.tagName !== 'DETAILS') return;
  target.open = true;
  target.scrollIntoView();
  target.querySelector('summary').focus();
}

function draw() {
  const groups = new Map();
  for (const [path, item] of Object.entries(doc.paths ?? {})) {
    for (const method of METHODS.filter((one) => item[one])) {
      const tag = item[method].tags?.[0] ?? 'api';
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push({ text: `${method} ${path} ${item[method].summary ?? ''}`.toLowerCase(), element: operation(path, method, item[method], item.parameters ?? []) });
    }
  }
  const all = [...groups.values()].flat();
  const find = h('input', { type: 'search', placeholder: 'nodes, events, POST', oninput: () => {
    const wanted = find.value.trim().toLowerCase();
    for (const { text, element } of all) element.hidden = !text.includes(wanted);
  } });
  const schemas = Object.entries(doc.components?.schemas ?? {});
  set(main,
    h('h1', {}, `${doc.info?.title ?? 'HTTP API'} ${doc.info?.version ?? ''}`),
    words(doc.info?.description),
    h('p', {}, 'The description that this page is made of: ', h('a', { href: '/openapi.json' }, '/openapi.json'), ' (OpenAPI ', doc.openapi ?? '', ').'),
    h('div', { class: 'filters' }, field('Find', find)),
    [...groups].map(([tag, operations]) => [h('h2', {}, tag), operations.map(({ element }) => element)]),
    schemas.length > 0 && [h('h2', {}, 'Schemas'), schemas.map(schemaOf)]);
  reveal();
}

async function start() {
  try {
    const response = await fetch('/openapi.json', { headers: { Accept: 'application/json' } });
    if (response.status === 401) {
      set(main, h('h1', {}, 'HTTP API'), notice('warn', 'The description of the API is shown to who is signed in.'), h('p', {}, h('a', { href: '/' }, 'Sign in')));
      return;
    }
    if (!response.ok) throw new Error(`the answer was ${response.status}`);
    doc = await response.json();
    draw();
  } catch (error) {
    set(main, h('h1', {}, 'HTTP API'), notice('bad', `The description of the API could not be read: ${error.message}.`));
  }
}

window.addEventListener('hashchange', reveal);
start();
