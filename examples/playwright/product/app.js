// What the page does at each path: the form's fields, the request to stile, and the words for its answer.
import { api } from '/config.js';

const token = new URLSearchParams(location.hash.slice(1)).get('token');

const pages = {
  '/sign-up': {
    title: 'Sign up',
    fields: ['email', 'password'],
    send: ({ email, password }) => post('/auth/register', { email, password }),
    done: () => 'Welcome! Please look into your mailbox.',
  },
  '/log-in': {
    title: 'Log in',
    fields: ['email', 'password'],
    send: ({ email, password }) => post('/auth/login', { email, password }),
    done: ({ user }) => `Hello, ${user.email}${user.is_verified ? ' (verified)' : ''}`,
  },
  '/forgot': {
    title: 'Forgot your password?',
    fields: ['email'],
    send: ({ email }) => post('/auth/password-reset/request', { email }),
    done: ({ message }) => message,
  },
  '/reset-password': {
    title: 'Choose a new password',
    fields: ['password'],
    send: ({ password }) => post('/auth/password-reset/confirm', { token, new_password: password }),
    done: () => 'Your password is changed.',
  },
  '/verify-email': {
    title: 'Confirm your address',
    fields: [],
    send: () => post('/auth/verify-email', { token }),
    done: () => 'Your address is confirmed.',
  },
};

async function post(path, body) {
  const answer = await fetch(api + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const json = await answer.json();
  if (answer.ok) return json;
  if (answer.status === 429) throw new Error(`Too many tries. Please wait ${json.retry_after} seconds.`);
  throw new Error(json.errors?.[0]?.message ?? json.detail);
}

const page = pages[location.pathname] ?? pages['/log-in'];
const form = document.querySelector('form');
const status = document.querySelector('[role=status]');
document.querySelector('h1').textContent = page.title;
form.querySelector('button').textContent = page.title;
for (const label of form.querySelectorAll('label')) label.hidden = !page.fields.includes(label.dataset.field);
form.hidden = false;
form.addEventListener('submit', async (event) => {
  event.preventDefault();
  status.textContent = '';
  try {
    status.textContent = page.done(await page.send(Object.fromEntries(new FormData(form))));
  } catch (error) {
    status.textContent = error.message;
  }
});
