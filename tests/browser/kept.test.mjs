// What is kept of pairs by address: used at the next visit, listed with its size, removed on demand, mended when it is broken, done without when refused.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { elsewhere } from './support/elsewhere.mjs';
import { makePair } from './support/pair.mjs';
import { agree, dist, launch, open, serve, settled, withPairs } from './support/site.mjs';

const MODEL = 'linear/model.safetensors';
let browser;
before(async () => { browser = await launch({ webgpu: false }); });
after(() => browser?.close());

/** Runs `run` with another site that holds the pair “far”, and one context for all visits: `visit` says yes to that site, `again` is not asked. `spoil` is added to the worker. */
const visits = (name, run, { spoil = '' } = {}) => test(name, async () => {
  const overlay = withPairs({});
  if (spoil) overlay['page/worker.js'] = Buffer.from(`${fs.readFileSync(path.join(dist, 'page', 'worker.js'), 'utf8')}\n${spoil}`);
  const site = await serve(overlay);
  const other = await elsewhere(makePair({ name: 'far' }));
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const again = (query = `?model=${other.address}`) => open(context, site.address, query, { elsewhere: [other.origin] });
  const visit = async () => {
    const visited = await again();
    await agree(visited.page);
    return visited;
  };
  try {
    await run({ other, visit, again });
  } finally {
    await context.close();
    await other.close();
    await site.close();
  }
});

/** Names and sizes in the folder of the one pair that is kept. */
const stored = (page) => page.evaluate(async () => {
  const found = {};
  const pairs = await (await navigator.storage.getDirectory()).getDirectoryHandle('pairs');
  for await (const folder of pairs.values()) for await (const file of folder.values()) found[file.name] = (await file.getFile()).size;
  return found;
});
const sumOf = (files, file) => JSON.parse(files['pair.json']).files.find((one) => one.path === file).sha256;

/** Overwrites `bytes` at `at` of a kept file. */
const spoilKept = (page, name, at, bytes) => page.evaluate(async ([file, position, data]) => {
  const pairs = await (await navigator.storage.getDirectory()).getDirectoryHandle('pairs');
  for await (const folder of pairs.values()) {
    const writable = await (await folder.getFileHandle(file)).createWritable({ keepExistingData: true });
    await writable.write({ type: 'write', position, data: new Uint8Array(data) });
    await writable.close();
  }
}, [name, at, bytes]);

visits('a second visit downloads nothing but pair.json, and none at all is needed', async ({ other, visit, again }) => {
  const first = await visit();
  await settled(first.page);
  await first.page.close();
  other.log.length = 0;
  const second = await again();
  assert.match(await settled(second.page), /“far” is ready/);
  assert.deepEqual(other.log.map(({ path: file }) => file), ['pair.json']);
  assert.deepEqual([...first.trouble, ...second.trouble], []);
  await second.page.close();
  await other.close();
  const third = await again();
  assert.match(await settled(third.page), /“far” is ready.*Its address could not be reached, so this is the copy kept on this device/);
  assert.match(await third.page.getByTestId('answer-linear').innerText(), /14 tokens/);
});

visits('listed with its size, loaded from the list, removed', async ({ other, visit }) => {
  const { page, trouble } = await visit();
  await settled(page);
  const size = Object.values(await stored(page)).reduce((sum, one) => sum + one, 0);
  const shown = `${Math.round(size / 1000)}\u00a0kB`;
  await page.locator('#own-summary').filter({ hasText: `Bring your own · ${shown} kept` }).waitFor();
  await page.locator('#own-summary').click();
  assert.equal(await page.getByTestId('kept-total').innerText(), `One pair, ${shown}.`);
  const label = other.address.replace(/^http:\/\/|\/$/g, '');
  await page.evaluate(() => { document.querySelector('#kept-list li').id = 'before'; });
  await page.getByRole('button', { name: `Load: ${label}` }).press('Enter');
  assert.match(await settled(page), /“far” is ready/);
  // The list is drawn anew, and whoever came by keyboard is still there.
  await page.locator('#before').waitFor({ state: 'detached' });
  await page.waitForFunction((name) => document.activeElement.getAttribute('aria-label') === name, `Load: ${label}`);
  await page.getByRole('button', { name: `Remove ${label}` }).click();
  await page.getByTestId('kept-said').filter({ hasText: 'Removed.' }).waitFor();
  assert.ok(await page.getByTestId('kept').isHidden());
  assert.deepEqual(await stored(page), {});
  assert.deepEqual(trouble, []);
});

visits('two pairs: both are removed by one button', async ({ other, visit }) => {
  for (const [file, bytes] of Object.entries(makePair({ name: 'second', hidden: 32 }))) other.files[`second/${file}`] = bytes;
  const { page } = await visit();
  await settled(page);
  await page.goto(`${page.url()}second`);
  await agree(page);
  assert.match(await settled(page), /“second” is ready/);
  await page.locator('#own-summary').click();
  await page.getByTestId('kept-total').filter({ hasText: /^2 pairs, / }).waitFor();
  await page.getByTestId('kept-clear').click();
  assert.equal(await page.getByTestId('kept-clear').innerText(), 'Remove all: press again');
  assert.match(await page.getByTestId('kept-total').innerText(), /^2 pairs, /, 'asks again');
  await page.getByTestId('kept-clear').click();
  await page.getByTestId('kept-said').filter({ hasText: 'All kept pairs are removed.' }).waitFor();
  assert.deepEqual(await stored(page), {});
});

visits('files that a new pair.json does not list any more go', async ({ other, visit }) => {
  const { page } = await visit();
  await settled(page);
  const old = sumOf(other.files, MODEL);
  assert.ok((await stored(page))[old] > 0);
  Object.assign(other.files, makePair({ name: 'far', k: 16 }));
  other.log.length = 0;
  await page.reload();
  assert.match(await settled(page), /“far” is ready/);
  const now = await stored(page);
  assert.equal(now[old], undefined);
  assert.equal(now[sumOf(other.files, MODEL)], other.files[MODEL].length);
  assert.deepEqual(other.asked('transformer/model.safetensors'), [], 'what stayed the same is not downloaded again');
});

for (const [kind, file, at] of [['weights', MODEL, 50_000], ['a small file', 'linear/config.json', 100]]) {
  visits(`${kind}, kept and gone bad: fetched again once, and no more than that file`, async ({ other, visit }) => {
    const { page } = await visit();
    await settled(page);
    await spoilKept(page, sumOf(other.files, file), at, [1, 2, 3, 4, 5]);
    other.log.length = 0;
    await page.reload();
    assert.match(await settled(page), /“far” is ready/);
    assert.deepEqual(other.log.filter(({ range }) => !range).map((one) => one.path), ['pair.json', file]);
    other.log.length = 0;
    await page.reload();
    await settled(page);
    assert.deepEqual(other.log.map((one) => one.path), ['pair.json'], 'the mended copy is kept');
  });
}

visits('kept weights gone bad, and bad at their address too: named', async ({ other, visit }) => {
  const { page } = await visit();
  await settled(page);
  await spoilKept(page, sumOf(other.files, MODEL), 50_000, [1, 2, 3, 4, 5]);
  other.files[MODEL] = Buffer.from(other.files[MODEL]);
  other.files[MODEL][60_000] ^= 1;
  other.log.length = 0;
  await page.reload();
  assert.match(await settled(page, ['error']), /linear\/model\.safetensors: expected SHA-256/);
  assert.equal(other.asked(MODEL).length, 1);
});

visits('a browser that keeps nothing: the pair loads, and the page says so', async ({ visit }) => {
  const { page, trouble } = await visit();
  const said = await settled(page);
  assert.match(said, /“far” is ready.*It could not be kept on this device \(the browser lets this page keep nothing\), so the next visit may download it again\./);
  assert.ok(await page.getByTestId('kept').isHidden());
  assert.deepEqual(trouble, []);
}, { spoil: "StorageManager.prototype.getDirectory = async () => { throw new DOMException('no', 'SecurityError'); };" });

visits('no room left half way: the pair loads, the page says so, and nothing half-kept stays', async ({ other, visit }) => {
  const { page, trouble } = await visit();
  const said = await settled(page);
  assert.match(said, /“far” is ready.*It could not be kept on this device \(the browser gives this page no more room\)/);
  const kept = await stored(page);
  assert.equal(kept[sumOf(other.files, 'transformer/model.safetensors')], undefined);
  assert.ok(other.asked('transformer/model.safetensors').length === 1, 'downloaded once');
  assert.deepEqual(trouble, []);
}, { spoil: `
  const write = FileSystemSyncAccessHandle.prototype.write;
  let room = 60_000;
  FileSystemSyncAccessHandle.prototype.write = function (bytes, options) {
    if (bytes.length > room) throw new DOMException('no room', 'QuotaExceededError');
    room -= bytes.length;
    return write.call(this, bytes, options);
  };` });

visits('a folder of rubbish where pairs are kept does not stop a load', async ({ visit, again }) => {
  const { page } = await again('');
  await settled(page);
  await page.evaluate(async () => {
    const pairs = await (await navigator.storage.getDirectory()).getDirectoryHandle('pairs', { create: true });
    await pairs.getFileHandle('a file', { create: true });
    const folder = await pairs.getDirectoryHandle('0123', { create: true });
    for (const name of ['pair.json', 'about.json']) {
      const writable = await (await folder.getFileHandle(name, { create: true })).createWritable();
      await writable.write('{');
      await writable.close();
    }
  });
  const { page: next, trouble } = await visit();
  assert.match(await settled(next), /“far” is ready/);
  await next.locator('#own-summary').click();
  await next.getByTestId('kept-total').filter({ hasText: /^2 pairs, / }).waitFor();
  await next.getByTestId('kept-clear').click();
  await next.getByTestId('kept-clear').click();
  await next.getByTestId('kept-said').filter({ hasText: 'All kept pairs are removed.' }).waitFor();
  assert.ok(await next.getByTestId('kept').isHidden());
  assert.deepEqual(trouble, []);
});
