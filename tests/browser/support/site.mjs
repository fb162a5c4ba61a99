// A static server of the built page, with files of the tests' own laid over it; and the browser.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import zlib from 'node:zlib';
import { chromium } from 'playwright-core';

export const root = fileURLToPath(new URL('../../../', import.meta.url));
export const dist = path.join(root, 'dist');

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.wasm': 'application/wasm', '.svg': 'image/svg+xml', '.wav': 'audio/wav' };

/** What hosts compress; weights and clips are sent as they are. */
const COMPRESSED = /\.(html|js|css|json|svg|wasm)$/;

/**
 * `overlay` gives bytes by path, and wins over what lies in dist/. The page stands under a sub-path, as on project sites. As hosts do, it says 304 to a browser
 * that has the file already, and with `pack` compresses what they compress; `sent(name, bytes)` hears of files that go out, and how many bytes that takes.
 */
export async function serve(overlay = {}, { base = '/caldera/', pack = false, sent = () => {} } = {}) {
  const packed = new Map();
  if (!fs.existsSync(path.join(dist, 'index.html'))) throw new Error('dist/index.html is missing: build the page first (cargo xtask test --only wasm)');
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    const name = pathname.startsWith(base) ? decodeURIComponent(pathname.slice(base.length)) || 'index.html' : null;
    const file = name && path.join(dist, path.normalize(`/${name}`));
    const bytes = name && (overlay[name] ?? (fs.existsSync(file) && fs.statSync(file).isFile() ? fs.readFileSync(file) : null));
    if (!bytes) { response.writeHead(404, { 'content-type': 'text/plain' }).end('no such file'); return; }
    const etag = `"${createHash('sha1').update(bytes).digest('hex')}"`;
    if (request.headers['if-none-match'] === etag) { response.writeHead(304, { etag }).end(); return; }
    const small = pack && COMPRESSED.test(name);
    if (small && !packed.has(etag)) packed.set(etag, zlib.gzipSync(bytes, { level: 9 }));
    const body = small ? packed.get(etag) : bytes;
    sent(name, body.length);
    response.writeHead(200, {
      'content-type': TYPES[path.extname(name)] ?? 'application/octet-stream', 'content-length': body.length, etag, ...(small && { 'content-encoding': 'gzip' }) }).end(body);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  // A test that fails leaves its server behind, which must not keep the process waiting.
  server.unref();
  return { address: `http://localhost:${server.address().port}${base}`, close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); }) };
}

/** An overlay that holds these pairs and names them in pairs/index.json. */
export function withPairs(pairs) {
  const overlay = { 'pairs/index.json': Buffer.from(JSON.stringify({ pairs: Object.keys(pairs) })) };
  for (const [name, files] of Object.entries(pairs)) {
    for (const [file, bytes] of Object.entries(files)) overlay[`pairs/${name}/${file}`] = bytes;
  }
  return overlay;
}

function executable() {
  const named = process.env.CHROMIUM;
  if (named) return named;
  const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
  const folders = (process.env.PATH ?? '').split(path.delimiter);
  const found = folders.flatMap((folder) => names.map((name) => path.join(folder, name))).find((file) => fs.existsSync(file));
  const others = ['/Applications/Google Chrome.app/Contents/MacOS/Google Chrome', 'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe'];
  const file = found ?? others.find((other) => fs.existsSync(other));
  if (!file) throw new Error('no Chromium found: install it, or name it in the variable CHROMIUM');
  return file;
}

const FLAGS = ['--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

/** Headless Chromium; WebGPU on its software adapter, or off; `flags` of a test's own. */
export function launch({ webgpu = true, flags = [] } = {}) {
  return chromium.launch({
    executablePath: executable(),
    // Containers give root no sandbox.
    chromiumSandbox: false,
    args: ['--headless=new', ...FLAGS, ...flags, ...(webgpu ? ['--enable-unsafe-webgpu'] : ['--disable-features=WebGPU', '--disable-gpu'])],
  });
}

/** Opens the page and collects what should not happen: errors, CSP reports, requests to other hosts than those in `elsewhere`. `browser` may be a context. */
export async function open(browser, address, query = '', { elsewhere = [], ...options } = {}) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, ...options });
  const trouble = [];
  page.on('pageerror', (error) => trouble.push(`page error: ${error}`));
  page.on('console', (message) => { if (message.type() === 'error') trouble.push(`console: ${message.text()}`); });
  page.on('request', (request) => {
    const { origin, protocol } = new URL(request.url());
    if (/^https?:$/.test(protocol) && ![new URL(address).origin, ...elsewhere].includes(origin)) trouble.push(`request elsewhere: ${request.url()}`);
  });
  await page.goto(address + query);
  return { page, trouble };
}

/** Says yes to what the page asks before it loads the pair of a link from another site. */
export const agree = (page) => page.getByRole('button', { name: /^Load it from/ }).click();

/** Waits until the page's state is one of `states`; gives the status text. */
export async function settled(page, states = ['ready'], timeout = 120_000) {
  await page.waitForFunction((wanted) => wanted.includes(document.getElementById('state')?.dataset.state), states, { timeout });
  return page.getByTestId('status').innerText();
}
