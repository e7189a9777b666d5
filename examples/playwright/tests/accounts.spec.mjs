import { expect, mail, test } from '../stile.mjs';

const PASSWORD = 'correct-horse-battery-9';

async function fill(page, path, { email, password }) {
  await page.goto(path);
  await submit(page, { email, password });
}

async function submit(page, { email, password }) {
  if (email) await page.getByLabel('E-mail').fill(email);
  if (password) await page.getByLabel('Password').fill(password);
  await page.getByRole('button').click();
}

async function signUp(page, email) {
  await fill(page, '/sign-up', { email, password: PASSWORD });
  await expect(page.getByRole('status')).toHaveText('Welcome! Please look into your mailbox.');
}

test('signs up, proves the address by the mailed link, logs in', async ({ page, email }) => {
  await signUp(page, email);
  await fill(page, '/log-in', { email, password: PASSWORD });
  await expect(page.getByRole('status')).toHaveText(`Hello, ${email}`);

  await page.goto((await mail(email)).link);
  await page.getByRole('button', { name: 'Confirm your address' }).click();
  await expect(page.getByRole('status')).toHaveText('Your address is confirmed.');

  await fill(page, '/log-in', { email, password: PASSWORD });
  await expect(page.getByRole('status')).toHaveText(`Hello, ${email} (verified)`);
});

test('resets a forgotten password by the mailed link, once', async ({ page, email }) => {
  await signUp(page, email);
  await fill(page, '/forgot', { email });
  await expect(page.getByRole('status')).not.toBeEmpty();

  const { link } = await mail(email);
  await page.goto(link);
  await submit(page, { password: 'another-horse-battery-9' });
  await expect(page.getByRole('status')).toHaveText('Your password is changed.');

  await fill(page, '/log-in', { email, password: PASSWORD });
  await expect(page.getByRole('status')).toHaveText('Incorrect email or password');
  await fill(page, '/log-in', { email, password: 'another-horse-battery-9' });
  await expect(page.getByRole('status')).toHaveText(`Hello, ${email} (verified)`);

  await page.goto(link);
  await submit(page, { password: 'a-third-horse-battery-9' });
  await expect(page.getByRole('status')).toContainText('invalid or has expired');
});

test('refuses a password that is too easy', async ({ page, email }) => {
  await fill(page, '/sign-up', { email, password: 'password' });
  await expect(page.getByRole('status')).not.toBeEmpty();
  await expect(page.getByRole('status')).not.toContainText('Welcome');
});
