// The body of a function that returns what is wrong with the page as it stands, as a list of sentences.
const wrong = [];
const seen = (e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true });
const where = (e) => `${e.tagName.toLowerCase()}${e.id ? `#${e.id}` : ''}.${e.getAttribute('class') ?? ''} "${(e.textContent ?? '').trim().slice(0, 30)}"`;
const all = (selector) => [...document.querySelectorAll(selector)].filter(seen);

if (!document.documentElement.lang) wrong.push('the page has no language');
if (!document.title) wrong.push('the page has no title');
if (all('h1').length !== 1) wrong.push(`${all('h1').length} h1`);
if (all('main').length !== 1) wrong.push('not one main');

// Names (Accessible Name and Description Computation, the part of it that we use).
function nameOf(e) {
  const labelled = e.getAttribute('aria-labelledby');
  if (labelled) return labelled.split(' ').map((id) => document.getElementById(id)?.textContent ?? '').join(' ').trim();
  const own = e.getAttribute('aria-label');
  if (own) return own;
  if (e.labels?.length) return [...e.labels].map((label) => label.textContent).join(' ').trim();
  return (e.textContent || e.getAttribute('title') || '').trim();
}
for (const e of all('a, button, input, select, textarea, summary, dialog, nav, [role=group], [role=region], [role=log], [role=img]')) {
  if (!nameOf(e)) wrong.push(`without a name: ${where(e)}`);
}
for (const e of all('input, select, textarea')) if (!e.labels?.length) wrong.push(`without a label: ${where(e)}`);
for (const e of all('img')) if (e.getAttribute('alt') === null) wrong.push(`without alt: ${where(e)}`);

// References and ids.
const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
for (const id of new Set(ids.filter((one, i) => ids.indexOf(one) !== i))) wrong.push(`two have the id ${id}`);
for (const name of ['aria-labelledby', 'aria-describedby', 'for']) {
  for (const e of document.querySelectorAll(`[${name}]`)) {
    for (const id of e.getAttribute(name).split(' ')) if (!document.getElementById(id)) wrong.push(`${name}=${id} of ${where(e)} leads nowhere`);
  }
}

// Headings go down one by one.
let level = 0;
for (const e of all('h1, h2, h3, h4')) {
  const at = Number(e.tagName[1]);
  if (at > level + 1) wrong.push(`h${at} behind h${level}: ${where(e)}`);
  level = at;
}

// What scrolls is reached by keys.
for (const e of all('*')) {
  const style = getComputedStyle(e);
  const scrolls = /auto|scroll/.test(style.overflowY + style.overflowX) && (e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1);
  if (scrolls && e.tabIndex < 0 && e !== document.documentElement && e !== document.body && !e.querySelector('a, button') && e.tagName !== 'TEXTAREA') wrong.push(`scrolls, but not by keys: ${where(e)}`);
}

// Contrast.
const parse = (colour) => (colour.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
const over = ([r, g, b, a = 1], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
function ground(e) {
  const layers = [];
  for (let at = e; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if ((colour[3] ?? 1) > 0) layers.push(colour);
    if ((colour[3] ?? 1) === 1) break;
  }
  return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
}
const light = (colour) => {
  const [r, g, b] = colour.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
for (const e of all('body *')) {
  const text = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim());
  if (!text || e.disabled || e.closest('.unseen, .skip, noscript, option')) continue;
  const style = getComputedStyle(e);
  const below = ground(e);
  const [a, b] = [light(over(parse(style.color), below)), light(below)].sort((x, y) => y - x);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < (large ? 3 : 4.5)) wrong.push(`contrast ${ratio.toFixed(2)}: ${where(e)}`);
}
return wrong;
