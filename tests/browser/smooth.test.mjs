// The page never blocks: no task of its own over 50 ms while a pair loads, answers and is measured.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { makeLanguagePair, makePair, makeSpeechPair } from './support/pair.mjs';
import { launch, open, serve, settled, withPairs } from './support/site.mjs';

let site, browser;
before(async () => {
  // Large enough for loading and passes to take a while in the worker.
  const text = makePair({ hidden: 256, layers: 3, heads: 4, wide: 1024, positions: 512, k: 64, dtype: 'F16' });
  site = await serve(withPairs({ fixture: text, words: makeLanguagePair(), digits: makeSpeechPair() }));
  browser = await launch({ webgpu: false });
});
after(async () => { await browser?.close(); await site?.close(); });

/** Notes every long task of the page from its beginning on. */
const NOTE = () => {
  globalThis.longTasks = [];
  new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) globalThis.longTasks.push({ at: Math.round(startTime), ms: duration, doing: document.getElementById('status')?.textContent });
  }).observe({ type: 'longtask', buffered: true });
};

/** Opens the page with the observer in it, so that its own start-up is counted too. */
async function observed(query = '') {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  await context.addInitScript(NOTE);
  const page = await context.newPage();
  await page.goto(site.address + query);
  return page;
}

/** Long tasks since the last time. */
async function longTasks(page) {
  await page.waitForTimeout(200);
  return page.evaluate(() => globalThis.longTasks.splice(0));
}

/** What `use` gives must be no long tasks. A task's time is that of the clock: on a busy machine one may wait, but not the same one each time. */
async function staysFree(use) {
  const found = [];
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const tasks = await use();
    if (!tasks.length) return;
    found.push(tasks);
  }
  assert.fail(`long tasks each time: ${JSON.stringify(found)}`);
}

test('a blocked page is noticed', async () => {
  const page = await observed();
  await settled(page);
  await longTasks(page);
  await page.evaluate(() => setTimeout(() => { const end = performance.now() + 100; while (performance.now() < end); }));
  const tasks = await longTasks(page);
  assert.ok(tasks.some(({ ms }) => ms >= 95), JSON.stringify(tasks));
  await page.context().close();
});

test('loading leaves the page free', () => staysFree(async () => {
  const page = await observed();
  assert.match(await settled(page), /fixture.* is ready/);
  const tasks = await longTasks(page);
  await page.context().close();
  return tasks;
}));

test('answering and measuring leave the page free', async () => {
  const page = await observed();
  await settled(page);
  await longTasks(page);
  await staysFree(async () => {
    await page.getByRole('button', { name: /300 words/ }).click();
    await page.getByText('302 tokens').first().waitFor();
    await settled(page);
    return longTasks(page);
  });
  await page.getByTestId('lengths').fill('64, 128, 256, 512');
  await staysFree(async () => {
    await page.getByTestId('run').click();
    await page.getByText('The comparison is done').waitFor({ timeout: 240_000 });
    await page.evaluate(() => { document.getElementById('status').textContent = ''; });
    return longTasks(page);
  });
  await page.context().close();
});

test('writing and listening leave the page free', async () => {
  const page = await observed();
  await settled(page);
  for (const tab of ['Speech', 'Language']) {
    await longTasks(page);
    await staysFree(async () => {
      await page.getByRole('tab', { name: 'Text' }).click();
      await settled(page);
      await page.getByRole('tab', { name: tab }).click();
      assert.match(await settled(page), /is ready/);
      return longTasks(page);
    });
  }
  await staysFree(async () => {
    await page.getByTestId('write').click();
    // It may be done before one could look for its button.
    await page.waitForTimeout(50);
    await settled(page);
    assert.doesNotMatch(await page.getByTestId('text-transformer').innerText(), /on opening/);
    return longTasks(page);
  });
  await page.context().close();
});
