// The page without a connection, and a new build of it in place of the old one.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import vm from 'node:vm';
import { makePair } from './support/pair.mjs';
import { built, precache, sums } from './support/precache.mjs';
import { dist, launch, open, serve, settled, withPairs } from './support/site.mjs';

let browser;
before(async () => { browser = await launch({ webgpu: false }); });
after(() => browser?.close());

/** The page's own files without the shipped pairs. */
const shell = Object.fromEntries(Object.entries(built()).filter(([name]) => !name.startsWith('pairs/')));

/** A build of the page: these pairs, and files changed. */
function build(pairs, changed = {}) {
  const overlay = { ...withPairs(pairs), ...changed };
  return { ...overlay, 'precache.js': precache({ ...shell, ...overlay }) };
}

/** Runs `run` with a site of one build and a context for all visits. `publish` puts another build in its place. */
const visits = (name, run, pairs = { fixture: makePair() }) => test(name, async () => {
  const overlay = build(pairs);
  const sent = [];
  const site = await serve(overlay, { pack: true, sent: (file) => sent.push(file) });
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  let served = true;
  try {
    await run({
      context, overlay, sent,
      visit: (query) => open(context, site.address, query),
      publish: (next) => { for (const file of Object.keys(overlay)) delete overlay[file]; Object.assign(overlay, next); },
      unplug: async () => { served = false; await site.close(); },
    });
  } finally {
    await context.close();
    if (served) await site.close();
  }
});

/** What a file of the page is kept under. */
const wordsSum = sums({ words: shell['page/words.js'] }).words;

const kept = (page) => page.getByTestId('offline').filter({ hasText: 'work without a connection' }).waitFor({ timeout: 60_000 });

/** Another build: the same page, but its title and what the engine's worker says are marked. */
function marked(mark) {
  const index = fs.readFileSync(path.join(dist, 'index.html'), 'utf8').replace('<title>', `<title>${mark} `);
  const client = fs.readFileSync(path.join(dist, 'page', 'engine.js'), 'utf8');
  return build({ fixture: makePair() }, { 'index.html': Buffer.from(index), 'page/engine.js': Buffer.from(`${client}\nglobalThis.mark = '${mark}';\n`) });
}
const marks = (page) => page.evaluate(() => [document.title.split(' ')[0], globalThis.mark ?? null]);

test('the built page comes with the sums of its files', () => {
  const context = { self: {} };
  vm.runInNewContext(fs.readFileSync(path.join(dist, 'precache.js'), 'utf8'), context);
  assert.deepEqual({ ...context.self.PRECACHE }, sums(built()), 'build the page again (cargo xtask precache)');
});

visits('opens and answers without a connection after the first visit', async ({ visit, unplug }) => {
  const first = await visit();
  await settled(first.page);
  await kept(first.page);
  await first.page.close();
  await unplug();
  const { page, trouble } = await visit('?pair=fixture');
  assert.match(await settled(page), /“fixture” is ready/);
  await page.getByTestId('text').fill('the film was fine');
  await page.getByTestId('answer').click();
  await page.getByText('6 tokens').first().waitFor();
  await page.reload();
  assert.match(await settled(page), /“fixture” is ready/);
  // The browser itself says that it could not look for a new build.
  assert.deepEqual([...first.trouble, ...trouble].filter((one) => !/service-worker\.js/.test(one)), []);
});

visits('a new build takes the place of the old one, whole', async ({ visit, publish }) => {
  const { page, trouble } = await visit();
  await kept(page);
  publish(marked('new'));
  await page.reload();
  assert.deepEqual(await marks(page), ['Caldera:', null], 'first the build that is kept');
  assert.match(await settled(page), /“fixture” is ready/);
  await page.getByTestId('offline').filter({ hasText: 'A new version of this page is here' }).waitFor({ timeout: 60_000 });
  await page.reload();
  await page.waitForFunction(() => document.title.startsWith('new'));
  await settled(page);
  assert.deepEqual(await marks(page), ['new', 'new']);
  assert.deepEqual(trouble, []);
});

visits('a new build opens by its button, but not under another tab', async ({ visit, publish }) => {
  const first = await visit();
  await kept(first.page);
  publish(marked('new'));
  await first.page.reload();
  const second = await visit();
  await first.page.getByTestId('renew').waitFor({ timeout: 60_000 });
  await first.page.getByTestId('renew').click();
  await first.page.getByText('close its other tabs to open it').waitFor();
  assert.deepEqual(await marks(first.page), ['Caldera:', null]);
  await second.page.close();
  await first.page.getByTestId('renew').click();
  await first.page.waitForFunction(() => document.title.startsWith('new'));
  await settled(first.page);
  assert.deepEqual(await marks(first.page), ['new', 'new']);
});

visits('a host half way through an update is not kept; the old build goes on', async ({ visit, publish, overlay }) => {
  const { page } = await visit();
  await kept(page);
  // The sums are those of the new build, a file is still the old one.
  publish(marked('new'));
  const late = overlay['page/engine.js'];
  delete overlay['page/engine.js'];
  await page.reload();
  await settled(page);
  const states = await page.evaluate(async () => {
    const registration = await navigator.serviceWorker.getRegistration();
    const worker = registration.installing;
    if (worker) await new Promise((resolve) => { worker.onstatechange = () => { if (['installed', 'redundant'].includes(worker.state)) resolve(); }; });
    return [registration.installing?.state ?? null, registration.waiting?.state ?? null];
  });
  assert.deepEqual(states, [null, null]);
  await page.reload();
  await settled(page);
  assert.deepEqual(await marks(page), ['Caldera:', null]);
  // Looks for a new build now, and waits for what comes of it: a browser that is still at it takes the next look for the same.
  const look = () => page.evaluate(async () => {
    const registration = await navigator.serviceWorker.getRegistration();
    await registration.update().catch(() => {});
    while (registration.installing) await new Promise((resolve) => { setTimeout(resolve, 50); });
  });
  await look();
  overlay['page/engine.js'] = late;
  await page.reload();
  await page.getByTestId('offline').filter({ hasText: /connection|new version/ }).waitFor({ timeout: 60_000 });
  await look();
  await page.getByTestId('renew').waitFor({ timeout: 60_000 });
});

visits('a shipped pair that the host serves damaged is named, not kept, and loaded when it is whole', async ({ visit, overlay }) => {
  const MODEL = 'pairs/fixture/linear/model.safetensors';
  const whole = overlay[MODEL];
  overlay[MODEL] = Buffer.from(whole);
  overlay[MODEL][whole.length >> 1] ^= 1;
  const { page } = await visit();
  assert.match(await settled(page, ['error']), /linear\/model\.safetensors: expected SHA-256/);
  await page.getByTestId('offline').filter({ hasText: 'The page works without a connection now.' }).waitFor({ timeout: 60_000 });
  // Now with the service worker in between.
  await page.reload();
  assert.match(await settled(page, ['error']), /linear\/model\.safetensors: expected SHA-256/);
  overlay[MODEL] = whole;
  await page.getByRole('button', { name: 'Try again' }).click();
  assert.match(await settled(page), /“fixture” is ready/);
});

visits('a pair comes when it is opened, and needs no connection from then on', async ({ visit, sent, unplug }) => {
  const { page } = await visit();
  await page.getByTestId('offline').filter({ hasText: 'The page works without a connection now, with the pair “fixture”; any other once it has been opened.' }).waitFor({ timeout: 60_000 });
  assert.deepEqual(sent.filter((file) => file.startsWith('pairs/other/') && file !== 'pairs/other/pair.json'), []);
  // The page came by the folder's address, its file has one of its own.
  assert.deepEqual(sent.filter((file, i) => sent.indexOf(file) < i), ['index.html'], 'sent twice');
  await page.locator('#pair-select').selectOption('other');
  await page.getByText('“other” is ready').waitFor();
  await kept(page);
  await page.close();
  await unplug();
  for (const pair of ['fixture', 'other']) assert.match(await settled((await visit(`?pair=${pair}`)).page), new RegExp(`“${pair}” is ready`));
}, { fixture: makePair(), other: makePair({ name: 'other', k: 16 }) });

visits('a pair that was not opened: without a connection the page says what is missing', async ({ visit, unplug }) => {
  const { page } = await visit();
  await page.getByTestId('offline').filter({ hasText: 'with the pair “fixture”' }).waitFor({ timeout: 60_000 });
  await page.close();
  await unplug();
  const { page: next } = await visit();
  assert.match(await settled(next), /“fixture” is ready/);
  await next.locator('#pair-select').selectOption('other');
  await next.waitForFunction(() => document.getElementById('state').dataset.state === 'error', null, { timeout: 60_000 });
  assert.match(await next.getByTestId('status').innerText(), /other\/.*check the connection/i);
  await next.locator('#pair-select').selectOption('fixture');
  await next.getByText('“fixture” is ready').waitFor();
}, { fixture: makePair(), other: makePair({ name: 'other', k: 16 }) });

visits('a kept file of the page that went bad is fetched anew', async ({ visit }) => {
  const { page } = await visit();
  await kept(page);
  const spoil = () => page.evaluate(async (sum) => {
    const [name] = await caches.keys();
    const shelf = await caches.open(name);
    const [request] = (await shelf.keys()).filter(({ url }) => url.endsWith(sum));
    const response = await shelf.match(request);
    const text = await response.text();
    await shelf.put(request, new Response(text.replace('export', 'exporT'), { headers: response.headers }));
    return text.length;
  }, wordsSum);
  assert.ok(await spoil() > 100);
  // A worker that has looked at a file trusts it while it runs; browsers end it soon.
  const session = await page.context().newCDPSession(page);
  await session.send('ServiceWorker.enable');
  await session.send('ServiceWorker.stopAllWorkers');
  await page.reload();
  assert.match(await settled(page), /“fixture” is ready/);
  const now = await page.evaluate(async (sum) => {
    const shelf = await caches.open((await caches.keys())[0]);
    const [request] = (await shelf.keys()).filter(({ url }) => url.endsWith(sum));
    return request ? (await shelf.match(request)).text() : '';
  }, wordsSum);
  assert.match(now, /export/);
});

visits('the copy is listed with its size, removed, stays away, and comes back when it is wanted', async ({ visit, context }) => {
  const { page, trouble } = await visit();
  await kept(page);
  await page.locator('#own-summary').click();
  const held = await page.evaluate(async () => {
    let all = 0;
    for (const response of await (await caches.open((await caches.keys())[0])).matchAll()) all += (await response.arrayBuffer()).byteLength;
    return all;
  });
  assert.ok(held > 1e6);
  const shown = page.getByTestId('copy-size').filter({ hasText: /^[\d.]+\sMB: this page and the pairs/ });
  await shown.waitFor();
  assert.ok(Math.abs(parseFloat(await shown.innerText()) * 1e6 - held) < 0.06 * held, `${await shown.innerText()} of ${held}`);
  await Promise.all([page.waitForEvent('load'), page.getByTestId('copy-remove').click()]);
  assert.match(await settled(page), /“fixture” is ready/);
  await page.getByTestId('offline').filter({ hasText: 'No copy of the page is kept, as you chose.' }).waitFor();
  const left = () => page.evaluate(async () => [(await caches.keys()).length, (await navigator.serviceWorker.getRegistrations()).length]);
  assert.deepEqual(await left(), [0, 0]);
  await page.reload();
  await settled(page);
  assert.deepEqual(await left(), [0, 0]);
  await page.locator('#own-summary').click();
  await page.getByTestId('copy-size').filter({ hasText: 'none, as you chose' }).waitFor();
  await page.getByTestId('copy-keep').click();
  await page.getByTestId('copy-said').filter({ hasText: 'A copy is kept.' }).waitFor({ timeout: 60_000 });
  await kept(page);
  await shown.waitFor();
  // Without a network there would be no way back.
  await context.setOffline(true);
  await page.getByTestId('copy-remove').click();
  await page.getByTestId('copy-said').filter({ hasText: 'not connected to a network' }).waitFor();
  assert.deepEqual(await left(), [1, 1]);
  assert.deepEqual(trouble, []);
});

visits('kept copies of a shipped pair’s files that went bad are fetched anew', async ({ visit }) => {
  const { page } = await visit();
  await kept(page);
  const spoilt = await page.evaluate(async () => {
    let count = 0;
    for (const name of await caches.keys()) {
      const shelf = await caches.open(name);
      for (const request of await shelf.keys()) {
        const bytes = new Uint8Array(await (await shelf.match(request)).arrayBuffer());
        // Weights, and a model's configuration.
        if (!/"bert\.|"architectures"/.test(new TextDecoder().decode(bytes.subarray(0, 40)))) continue;
        bytes[bytes.length >> 1] ^= 1;
        await shelf.put(request, new Response(bytes));
        count += 1;
      }
    }
    return count;
  });
  assert.equal(spoilt, 4);
  await page.reload();
  assert.match(await settled(page), /“fixture” is ready/);
});
