// Memory stays flat: after answers, sweeps, and pairs that come and go; and what loading takes at the most.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { makeLanguagePair, makePair, makeSpeechPair } from './support/pair.mjs';
import { launch, open, serve, settled, withPairs } from './support/site.mjs';

const POSITIONS = 64;
const SMALL = { hidden: 32, layers: 1, heads: 2, wide: 64, positions: POSITIONS, k: 16 };

/** Counts the device's live buffers in the worker: made, and neither destroyed nor collected. */
const COUNT_BUFFERS = `
  globalThis.buffers = 0;
  if (globalThis.GPUDevice) {
    const collected = new FinalizationRegistry(() => { globalThis.buffers -= 1; });
    const { createBuffer } = GPUDevice.prototype;
    GPUDevice.prototype.createBuffer = function (...given) {
      const buffer = createBuffer.apply(this, given);
      globalThis.buffers += 1;
      collected.register(buffer, undefined, buffer);
      return buffer;
    };
    const { destroy } = GPUBuffer.prototype;
    GPUBuffer.prototype.destroy = function () { if (collected.unregister(this)) globalThis.buffers -= 1; return destroy.apply(this); };
  }`;

/** Opens the page; `held()` gives what page, worker, wasm and GPU hold, after a collection. */
async function opened(browser, address, query = '') {
  const { page, trouble } = await open(browser, address, query);
  await settled(page);
  const session = await page.context().newCDPSession(page);
  await session.send('HeapProfiler.enable');
  await session.send('Performance.enable');
  const held = async () => {
    // What the page and its script hold of each other goes in turns.
    for (let i = 0; i < 3; i += 1) await session.send('HeapProfiler.collectGarbage');
    const { metrics } = await session.send('Performance.getMetrics');
    const value = (name) => metrics.find((metric) => metric.name === name).value;
    const engine = await page.evaluate(() => caldera.call('memory'));
    const buffers = await page.workers()[0].evaluate(() => globalThis.buffers ?? 0);
    return { page: value('JSHeapUsedSize'), nodes: value('Nodes'), listeners: value('JSEventListeners'), ...engine, buffers };
  };
  return { page, trouble, held };
}

/** What `after` holds more than `before` must be less than `room` allows; the wasm memory may not grow at all, unless `room` says so. Buffers out of use are freed by the hundred. */
function assertFlat(before, after, room = {}) {
  const allowed = { page: 400_000, nodes: 120, listeners: 10, wasm_bytes: 0, allocated_bytes: 20_000, reserved_bytes: 0, used_bytes: 0, buffers: 600, ...room };
  for (const [what, bytes] of Object.entries(allowed)) {
    const grown = (after[what] ?? 0) - (before[what] ?? 0);
    assert.ok(grown <= bytes, `${what} grew by ${grown}, allowed ${bytes}: ${JSON.stringify({ before, after })}`);
  }
}

for (const engine of ['cpu', 'webgpu']) {
  describe(`with the ${engine} engine`, () => {
    const rounds = Number(process.env.ROUNDS) || 200;
    let site, browser;
    before(async () => {
      const pairs = { fixture: makePair(SMALL), other: makePair({ ...SMALL, name: 'other', dtype: 'F16' }) };
      const small = { hidden: 16, layers: 1, wide: 32 };
      Object.assign(pairs, { words: makeLanguagePair({ ...small, positions: 64 }), digits: makeSpeechPair(small) });
      site = await serve(withPairs(pairs));
      browser = await launch({ webgpu: engine === 'webgpu' });
    });
    after(async () => { await browser?.close(); await site?.close(); });

    test(`${rounds} answers in a row`, async () => {
      const { page, trouble, held } = await opened(browser, site.address);
      await page.workers()[0].evaluate(COUNT_BUFFERS);
      const answers = (count) => page.evaluate(async (count) => {
        for (let i = 0; i < count; i += 1) {
          document.getElementById('answer').click();
          await new Promise((resolve) => {
            const look = () => (document.getElementById('state').dataset.state === 'ready' ? resolve() : setTimeout(look, 1));
            look();
          });
          if (!document.getElementById('agreement').textContent) throw new Error('no answer');
        }
      }, count);
      await answers(5);
      const before = await held();
      await answers(rounds);
      assertFlat(before, await held());
      assert.deepEqual(trouble, []);
      await page.close();
    });

    test(`${rounds} runs of a sweep`, async () => {
      const { page, trouble, held } = await opened(browser, site.address, '?lengths=16,64');
      await page.workers()[0].evaluate(COUNT_BUFFERS);
      const sweep = async (runs) => {
        await page.getByTestId('runs').fill(String(runs));
        await page.getByTestId('run').click();
        await page.getByText('The comparison is done').waitFor({ timeout: 240_000 });
        // The line is the same after the next one.
        await page.evaluate(() => { document.getElementById('status').textContent = ''; });
      };
      await sweep(5);
      const before = await held();
      await sweep(rounds);
      assertFlat(before, await held());
      assert.deepEqual(trouble, []);
      await page.close();
    });

    test('pairs of every kind, loaded and left again and again', async () => {
      const { page, trouble, held } = await opened(browser, site.address);
      await page.workers()[0].evaluate(COUNT_BUFFERS);
      const round = async () => {
        for (const [tab, pair] of [['Text', 'other'], ['Text', 'fixture'], ['Language', 'words'], ['Speech', 'digits']]) {
          await page.getByRole('tab', { name: tab }).click();
          await settled(page);
          await page.locator('#pair-select').selectOption(pair);
          await settled(page);
          assert.match(await page.locator('#pair-about').innerText(), /./);
        }
      };
      // A round on a software adapter takes some seconds, the first one half a minute, for its pipelines are built then; ROUNDS asks for more.
      const loads = Number(process.env.ROUNDS) || (engine === 'cpu' ? 15 : 8);
      await round();
      await round();
      const before = await held();
      for (let i = 0; i < loads; i += 1) await round();
      // Sizes of kernels are kept on the device for the next pass; a pair takes a hundred times as much. How high the heap
      // was at its fullest depends on how the files' pieces arrived, so it may rise by one step. What is allocated may rise by as
      // much as a table that doubles: on WebGPU one does so by 29 kB some time in the first rounds, and none in the forty after.
      assertFlat(before, await held(), { reserved_bytes: 100_000, used_bytes: 10_000, wasm_bytes: 640 * 1024, allocated_bytes: engine === 'cpu' ? 20_000 : 45_000 });
      assert.deepEqual(trouble, []);
      await page.close();
    });

    test('loading 16-bit weights takes little more than the largest tensor', async () => {
      const large = makePair({ name: 'large', hidden: 256, layers: 4, heads: 4, wide: 1024, positions: 256, k: 64, dtype: 'F16' });
      const more = await serve(withPairs({ fixture: makePair(SMALL), large }));
      const { page, held } = await opened(browser, more.address);
      const before = await held();
      await page.locator('#pair-select').selectOption('large');
      await page.getByText('“large” is ready').waitFor({ timeout: 240_000 });
      const after = await held();
      const files = ['transformer', 'linear'].reduce((sum, side) => sum + large[`${side}/model.safetensors`].length, 0);
      const grown = after.wasm_bytes - before.wasm_bytes;
      // 1024 x 256 halves and, on the CPU engine, once more as f32: it keeps all weights so.
      const largest = 1024 * 256 * 6;
      const kept = engine === 'cpu' ? 2 * files : 0;
      console.log(`${engine}: ${files} bytes of files, wasm memory grew by ${grown} to ${after.wasm_bytes}`);
      assert.ok(grown <= kept + largest + 4_000_000, `grew by ${grown} for ${files} bytes of 16-bit weights`);
      assert.ok(files > largest * 5, 'the file is large enough to tell');
      await page.close();
      await more.close();
    });
  });
}
