// What makes the pages handier. Every one of them works without it.
'use strict';

const all = (what) => document.querySelectorAll(what);
const one = (what) => document.querySelector(what);

// The token of a mailed link stands behind the #, where no server sees it: into the form with it, and out of the address.
function takeToken() {
  const holder = one('[data-token-field]');
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (!holder || !token) return;
  history.replaceState(null, '', location.pathname + location.search);
  holder.querySelector('input').value = token;
  holder.hidden = true;
  const next = [...all('main form input:not([type=hidden])')].find((input) => !holder.contains(input));
  (next || one('main form button')).focus();
  tellOfToken(token, holder);
}

// Whose password, and for how long; a link that is no longer good is said to be so before anybody thinks up a password.
async function tellOfToken(token, holder) {
  const place = one('[data-about-token]');
  if (!place) return;
  try {
    const answer = await fetch(place.dataset.aboutToken, {
      method: 'POST',
      credentials: 'omit',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ token }),
    });
    if (!answer.ok) return;
    const about = await answer.json();
    if (about.valid) {
      const minutes = Math.max(1, Math.floor(about.expires_in_seconds / 60));
      place.textContent = `For ${about.email}. The link is good for ${minutes} more minute${minutes === 1 ? '' : 's'}.`;
    } else {
      place.textContent = 'This link is not good any more: it works once and only for a while. Ask for a new one below.';
      holder.hidden = false;
      holder.querySelector('input').value = '';
    }
  } catch {
    // The form itself will tell.
  }
}

function inWords(seconds) {
  if (seconds <= 90) return `${seconds} second${seconds === 1 ? '' : 's'}`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')} minutes`;
  const minutes = Math.ceil(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// A limit's refusal: counts down, and keeps the button of the form beside it from being pressed in vain meanwhile.
function countDown(place) {
  const end = Date.now() + Number(place.dataset.wait) * 1000;
  const news = place.parentElement.querySelector('[data-wait-news]');
  const button = (place.closest('.alert') ?? place).parentElement.querySelector('form button.main');
  const tell = (text) => { if (news) news.textContent = text; };
  if (button) button.disabled = true;
  const step = () => {
    const left = Math.ceil((end - Date.now()) / 1000);
    if (left > 0) {
      place.querySelector('strong').textContent = inWords(left);
      // Not every second aloud.
      if (left === 30 || left === 10) tell(`${left} seconds left`);
      setTimeout(step, 250);
      return;
    }
    place.textContent = 'You can try again now.';
    tell('You can try again now.');
    place.closest('.alert')?.classList.replace('bad', 'good');
    if (button) button.disabled = false;
  };
  step();
}

function peek(input) {
  const holder = document.createElement('div');
  const button = document.createElement('button');
  holder.className = 'with-peek';
  button.className = 'peek';
  button.type = 'button';
  const show = (visible) => {
    input.type = visible ? 'text' : 'password';
    button.textContent = visible ? 'Hide' : 'Show';
    button.setAttribute('aria-label', visible ? 'Hide the password' : 'Show the password');
  };
  const focused = document.activeElement === input;
  input.replaceWith(holder);
  holder.append(input, button);
  if (focused) input.focus();
  button.addEventListener('click', () => show(input.type === 'password'));
  // Password managers and the next reader of the screen know it as a password.
  input.form.addEventListener('submit', () => show(false));
  show(false);
}

// Times as the reader's clock shows them.
function localTime(place) {
  const at = new Date(place.dateTime);
  if (!isNaN(at)) place.textContent = at.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
}

function copyButton(place) {
  if (!navigator.clipboard) return;
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'plain';
  button.textContent = 'Copy';
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(place.textContent);
    button.textContent = 'Copied';
  });
  place.after(button);
}

one('.tabs [aria-current]')?.scrollIntoView({ inline: 'center', block: 'nearest' });
all('time').forEach(localTime);
all('[data-copy]').forEach(copyButton);
all('input[type=password]').forEach(peek);
all('[data-wait]').forEach(countDown);
takeToken();
