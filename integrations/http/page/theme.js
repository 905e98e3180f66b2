// Light or dark, before anything is drawn. Nothing but this choice is ever kept in the browser.
'use strict';

(() => {
  const KEY = 'secmon-theme';
  const read = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // Storage may be forbidden; then the system's choice holds.
    }
  };
  const dark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  };
  const chosen = read();
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;

  document.addEventListener('DOMContentLoaded', () => {
    const button = document.createElement('button');
    button.type = 'button';
    button.id = 'theme';
    button.className = 'quiet';
    const show = () => {
      button.textContent = dark() ? 'Light' : 'Dark';
      button.setAttribute('aria-label', dark() ? 'Use light colours' : 'Use dark colours');
    };
    button.addEventListener('click', () => {
      const next = dark() ? 'light' : 'dark';
      document.documentElement.dataset.theme = next;
      try {
        localStorage.setItem(KEY, next);
      } catch {
        // It holds until the page is left.
      }
      show();
    });
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', show);
    show();
    document.getElementById('tools').append(button);
  });
})();
