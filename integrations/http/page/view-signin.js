// Signing in: a token becomes the cookie of a session, and is kept nowhere else.

import * as api from './api.js';
import { field, h, notice, set } from './dom.js';

/** `why`: what ended the session before, if one did. */
export function signInView({ why, signedIn }) {
  const token = h('input', { type: 'password', name: 'token', required: true, autocomplete: 'off', spellcheck: 'false', autocapitalize: 'off' });
  const button = h('button', { type: 'submit', class: 'primary' }, 'Sign in');
  const said = h('div', { class: 'said' }, why && notice('warn', why));

  async function submit(event) {
    event.preventDefault();
    const given = token.value.trim();
    if (!given) {
      set(said, notice('bad', 'Paste a token first.'));
      token.focus();
      return;
    }
    button.disabled = true;
    set(said, notice('dim', 'Asking …'));
    try {
      await api.signIn(given);
      token.value = '';
      await signedIn();
    } catch (error) {
      set(said, notice('bad', reason(error)));
      token.focus();
      token.select();
    } finally {
      button.disabled = false;
    }
  }

  const element = h(
    'form',
    { class: 'card signin', onsubmit: submit, novalidate: true },
    h('h1', {}, 'Sign in'),
    h('p', {}, 'With a token of this bridge. Whoever runs it makes one by:'),
    h('pre', { class: 'code' }, 'secmon http token add NAME'),
    field('Token', token, 'It is not kept in this browser; a cookie that scripts cannot read takes its place.'),
    said,
    button,
  );
  return { title: 'Sign in', element, focus: token };
}

function reason(error) {
  if (error.status === 401 || error.status === 403) return 'This token is not known here: it may be mistyped, revoked or expired.';
  if (error.status === 429) return `Too many attempts.${error.retryAfter ? ` Try again in ${error.retryAfter} s.` : ' Try again later.'}`;
  return `Signing in failed: ${error.message}.`;
}
