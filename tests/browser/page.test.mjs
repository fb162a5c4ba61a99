// The page as somebody uses it: loads, answers, measures; with WebGPU on a software adapter, and on the CPU engine.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { makePair } from './support/pair.mjs';
import { launch, open, root, serve, settled, withPairs } from './support/site.mjs';

const POSITIONS = 256;
const keys = (object) => Object.keys(object).sort();

/** The export's shape is a promise to whoever reads it. */
function checkResult(result, { engine, lengths, runs }) {
  assert.deepEqual(keys(result), ['adapter', 'browser', 'crossover_length', 'date', 'pair', 'points', 'prepare_ms', 'runs_asked', 'source', 'versions']);
  assert.equal(result.adapter.engine, engine);
  assert.match(result.browser, /\d/);
  assert.equal(result.pair, 'fixture');
  const locked = fs.readFileSync(path.join(root, 'Cargo.lock'), 'utf8').match(/name = "burn"\nversion = "([^"]+)"/)[1];
  assert.equal(result.versions.burn, locked, 'web/src/engine/mod.rs names the version of Burn');
  assert.deepEqual(result.points.map(({ length, model }) => [length, model]), lengths.flatMap((length) => [[length, 'transformer'], [length, 'linear']]));
  for (const point of result.points) {
    const device = result.adapter.timestamps ? ['device_ms'] : [];
    assert.deepEqual(keys(point), [...device, 'first_ms', 'forwards', 'length', 'median_ms', 'model', 'p10_ms', 'p90_ms', 'peak_bytes', 'runs']);
    if (device.length && point.device_ms !== null) assert.ok(point.device_ms > 0 && point.device_ms < 10 * point.p90_ms, JSON.stringify(point));
    assert.equal(point.runs, runs);
    assert.ok(point.p10_ms > 0 && point.p10_ms <= point.median_ms && point.median_ms <= point.p90_ms, JSON.stringify(point));
    // 0 where one pass is shorter than a step of the browser's clock.
    assert.ok(point.first_ms >= 0 && Number.isInteger(point.peak_bytes) && point.peak_bytes > 0, JSON.stringify(point));
  }
  assert.deepEqual(result.source, { kind: 'shipped', name: 'fixture' });
  assert.ok(Date.now() - new Date(result.date) < 600_000 && result.prepare_ms > 0 && result.runs_asked === runs, JSON.stringify(result));
  assert.ok(result.points.every(({ forwards }) => Number.isInteger(forwards) && forwards > 0));
  assert.ok(result.crossover_length === null || Number.isInteger(result.crossover_length));
}

for (const engine of ['webgpu', 'cpu']) {
  describe(`with the ${engine} engine`, () => {
    let site, browser;
    before(async () => {
      site = await serve(withPairs({ fixture: makePair({ positions: POSITIONS }), other: makePair({ name: 'other' }) }));
      browser = await launch({ webgpu: engine === 'webgpu' });
    });
    after(async () => { await browser?.close(); await site?.close(); });

    test('loads the first pair, answers its first sample, and another text', async () => {
      const { page, trouble } = await open(browser, site.address);
      assert.match(await settled(page), /fixture.* is ready/);
      const adapter = await page.getByTestId('adapter').innerText();
      if (engine === 'webgpu') assert.match(adapter, /^WebGPU on .*software adapter/);
      else assert.match(adapter, /CPU engine .*without WebGPU: this browser has/, 'says why there is no WebGPU');
      for (const side of ['transformer', 'linear']) {
        const text = await page.getByTestId(`answer-${side}`).innerText();
        assert.match(text, /negative|positive/);
        assert.match(text, /\d\s%/);
        assert.match(text, /14 tokens/);
        assert.match(text, /\d\s(µs|ms|s)\b|too short/);
      }
      assert.match(await page.getByTestId('agreement').innerText(), /They (dis)?agree/);
      await page.getByTestId('text').fill('the film was fine');
      await page.getByTestId('answer').click();
      await page.getByText('6 tokens').first().waitFor();
      await settled(page);
      assert.match(await page.getByTestId('answer-linear').innerText(), /6 tokens/);
      assert.deepEqual(trouble, []);
      await page.close();
    });

    test('a text longer than the model takes is cut, and says so', async () => {
      const { page, trouble } = await open(browser, site.address);
      await settled(page);
      await page.getByRole('button', { name: /300 words/ }).click();
      await page.getByText('256 tokens, cut').first().waitFor();
      assert.deepEqual(trouble, []);
      await page.close();
    });

    test('sweeps without a click', async () => {
      const { page, trouble } = await open(browser, site.address, '?pair=fixture&lengths=64,128&runs=5&autorun=sweep');
      const node = page.locator('script#result[type="application/json"]');
      await node.waitFor({ state: 'attached', timeout: 240_000 });
      checkResult(JSON.parse(await node.textContent()), { engine, lengths: [64, 128], runs: 5 });
      assert.match(await page.getByTestId('verdict').innerText(), /tokens/);
      assert.equal(await page.getByTestId('table').locator('tbody tr').count(), 2);
      assert.equal(await page.locator('.plot svg .series .line').count(), 4);
      assert.match(await settled(page), /done/);
      assert.deepEqual(trouble, []);
      await page.close();
    });
  });
}

describe('on the CPU engine', () => {
  let site, browser;
  before(async () => {
    site = await serve(withPairs({ fixture: makePair({ positions: POSITIONS }), other: makePair({ name: 'other' }) }));
    browser = await launch();
  });
  after(async () => { await browser?.close(); await site?.close(); });

  test('?engine=cpu takes it where WebGPU is there, and says so', async () => {
    const { page } = await open(browser, site.address, '?engine=cpu');
    await settled(page);
    assert.match(await page.getByTestId('adapter').innerText(), /CPU engine .*asked for in the address/);
    await page.close();
  });

  test('lengths beyond the positions are refused with a message, the others measured', async () => {
    const { page, trouble } = await open(browser, site.address, '?engine=cpu&runs=1');
    await settled(page);
    await page.getByTestId('lengths').fill('64 512, many');
    await page.getByTestId('run').click();
    await page.getByTestId('table').locator('tbody tr').first().waitFor();
    const hint = await page.locator('#lengths-hint').innerText();
    assert.match(hint, /512 is longer than the 256 tokens/);
    assert.match(hint, /“many” is not a length/);
    assert.match(await settled(page), /done/);
    await page.getByTestId('lengths').fill('512');
    await page.getByTestId('run').click();
    assert.match(await settled(page, ['error']), /Nothing to measure: 512 is longer/);
    assert.deepEqual(trouble, []);
    await page.close();
  });

  test('a sweep can be stopped and keeps what it has', async () => {
    const { page } = await open(browser, site.address, '?engine=cpu&lengths=32,256&runs=200');
    await settled(page);
    await page.getByTestId('run').click();
    await page.getByTestId('cancel').click();
    assert.match(await settled(page), /Stopped/);
    await page.getByTestId('answer').click();
    assert.match(await settled(page), /answered/);
    await page.close();
  });

  test('saves JSON and CSV', async () => {
    const { page } = await open(browser, site.address, '?engine=cpu&lengths=16,32&runs=2&autorun=sweep');
    await page.getByTestId('save-json').waitFor();
    await page.locator('#result').waitFor({ state: 'attached' });
    const save = async (id) => {
      const [download] = await Promise.all([page.waitForEvent('download'), page.getByTestId(id).click()]);
      return [download.suggestedFilename(), fs.readFileSync(await download.path(), 'utf8')];
    };
    const [name, json] = await save('save-json');
    assert.equal(name, 'caldera-fixture.json');
    checkResult(JSON.parse(json), { engine: 'cpu', lengths: [16, 32], runs: 2 });
    const [, csv] = await save('save-csv');
    assert.equal(csv.trim().split('\n').length, 5);
    assert.match(csv, /^length,model,median_ms,p10_ms,p90_ms,first_ms,runs,peak_bytes,forwards\n16,transformer,/);
    await page.close();
  });

  test('another pair can be picked', async () => {
    const { page } = await open(browser, site.address, '?engine=cpu');
    await settled(page);
    await page.locator('#pair-select').selectOption('other');
    await page.getByText('“other” is ready').waitFor();
    await page.close();
  });
});
