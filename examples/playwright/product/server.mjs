// The pretended product: one page, served to the browser, that talks to stile. STILE_URL and PORT come from outside.
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';

const stile = process.env.STILE_URL ?? 'http://localhost:8000';
const port = Number(process.env.PORT ?? 3000);
const file = (name) => readFile(new URL(name, import.meta.url));

createServer(async (request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost');
  if (pathname === '/config.js') {
    response.setHeader('content-type', 'text/javascript');
    response.end(`export const api = ${JSON.stringify(`${stile}/api/v1`)};\n`);
  } else if (pathname === '/app.js') {
    response.setHeader('content-type', 'text/javascript');
    response.end(await file('app.js'));
  } else {
    // Every other path is the page; app.js looks at the path. The links in stile's mails lead here (FRONTEND_URL).
    response.setHeader('content-type', 'text/html; charset=utf-8');
    response.end(await file('index.html'));
  }
}).listen(port, 'localhost', () => console.log(`the product is at http://localhost:${port}`));
