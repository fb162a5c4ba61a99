// The tab of language models: both write, the sweep over context, bad input; and the tabs themselves.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { makeLanguagePair, makePair, writePair } from './support/pair.mjs';
import { launch, open, serve, settled, withPairs } from './support/site.mjs';

const POSITIONS = 512;
const pairs = () => ({ fixture: makePair(), words: makeLanguagePair({ positions: POSITIONS }), gaps: makeLanguagePair({ name: 'gaps', without: 'ÃQ' }) });
const CPU = '?engine=cpu&tab=language';

/** The export's shape is a promise to whoever reads it. */
function checkResult(result, { engine, lengths, runs }) {
  assert.deepEqual(Object.keys(result).sort(), ['adapter', 'browser', 'crossover_length', 'date', 'pair', 'points', 'prepare_ms', 'runs_asked', 'source', 'versions']);
  assert.equal(result.adapter.engine, engine);
  assert.equal(result.pair, 'words');
  assert.deepEqual(result.points.map(({ length, model }) => [length, model]), lengths.flatMap((length) => [[length, 'transformer'], [length, 'linear']]));
  for (const point of result.points) {
    const device = result.adapter.timestamps ? ['device_ms'] : [];
    assert.deepEqual(Object.keys(point).sort(), ['decode_ms_per_token', ...device, 'first_ms', 'forwards', 'length', 'median_ms', 'model', 'p10_ms', 'p90_ms', 'peak_bytes', 'prefill_ms', 'runs', 'state_bytes']);
    assert.equal(point.runs, runs);
    assert.equal(point.decode_ms_per_token, point.median_ms);
    // A step of these tiny models can be shorter than one of the browser's clock, which counts tenths of a millisecond.
    assert.ok(point.p10_ms >= 0 && point.p10_ms <= point.median_ms && point.median_ms <= point.p90_ms, JSON.stringify(point));
    assert.ok(point.prefill_ms >= 0 && point.first_ms >= 0 && point.peak_bytes > 0, JSON.stringify(point));
    // 2 layers: keys and values of 32 floats a token; 64 channels with 3 inputs and 16 states each.
    assert.equal(point.state_bytes, point.model === 'linear' ? 2 * 64 * 19 * 4 : 2 * 2 * 32 * 4 * point.length);
  }
}

for (const engine of ['webgpu', 'cpu']) {
  describe(`with the ${engine} engine`, () => {
    let site, browser;
    before(async () => {
      site = await serve(withPairs(pairs()));
      browser = await launch({ webgpu: engine === 'webgpu' });
    });
    after(async () => { await browser?.close(); await site?.close(); });

    test('loads the first pair of the tab and lets both write', async () => {
      const { page, trouble } = await open(browser, site.address, '?tab=language');
      assert.match(await settled(page), /words.* is ready/);
      assert.equal(await page.getByTestId('prompt').inputValue(), 'Once upon a time');
      for (const side of ['transformer', 'linear']) {
        const text = await page.getByTestId(`text-${side}`).innerText();
        assert.match(text, /Once upon a time/);
        assert.match(text, /\d tokens\/s/);
        assert.match(text, /Prefill\s+(too short|[\d.]+\s(µs|ms|s))/);
        assert.match(text, side === 'linear' ? /State, constant\s+9.7\skB/ : /KV cache, growing\s+\d+\skB/);
        assert.match(text, /\+ 40 tokens, a short text on opening|ended the text|stopped after 4\ss on opening/);
      }
      assert.match(await page.getByTestId('comparison').innerText(), /held .* where the transformer held/);
      assert.deepEqual(trouble, []);
      await page.close();
    });

    test('sweeps without a click', async () => {
      const { page, trouble } = await open(browser, site.address, '?pair=words&lengths=32,64&runs=2&autorun=sweep');
      const node = page.locator('script#result[type="application/json"]');
      await node.waitFor({ state: 'attached', timeout: 240_000 });
      checkResult(JSON.parse(await node.textContent()), { engine, lengths: [32, 64], runs: 2 });
      assert.match(await page.getByTestId('verdict').innerText(), /writes faster|the same time for a token/);
      assert.match(await page.locator('#detail').innerText(), /From 32 to 64 tokens of context/);
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
    site = await serve(withPairs(pairs()));
    browser = await launch({ webgpu: false });
  });
  after(async () => { await browser?.close(); await site?.close(); });

  const write = async (page, { prompt, tokens, temperature, seed }) => {
    if (prompt !== undefined) await page.getByTestId('prompt').fill(prompt);
    if (tokens !== undefined) await page.getByTestId('tokens').fill(String(tokens));
    if (temperature !== undefined) await page.getByTestId('temperature').fill(String(temperature));
    if (seed !== undefined) await page.getByTestId('seed').fill(String(seed));
    await page.getByTestId('write').click();
    const said = await settled(page, ['ready', 'error']);
    const of = async (side) => page.locator(`[data-testid="text-${side}"] .body`).innerText();
    return { said, transformer: await of('transformer'), linear: await of('linear') };
  };
  const story = (page, side) => page.locator(`[data-testid="text-${side}"] .new`).innerText();

  test('a seed gives its text again; temperature 0 needs none', async () => {
    const { page, trouble } = await open(browser, site.address, CPU);
    await settled(page);
    const texts = async (given) => { await write(page, { tokens: 24, ...given }); return [await story(page, 'transformer'), await story(page, 'linear')]; };
    const first = await texts({ temperature: 1, seed: 3 });
    assert.deepEqual(await texts({ seed: 3 }), first);
    assert.notDeepEqual(await texts({ seed: 4 }), first);
    const greedy = await texts({ temperature: 0, seed: 5 });
    assert.deepEqual(await texts({ seed: 6 }), greedy);
    assert.deepEqual(trouble, []);
    await page.close();
  });

  test('an empty prompt is refused in words', async () => {
    const { page, trouble } = await open(browser, site.address, CPU);
    await settled(page);
    const { said, transformer, linear } = await write(page, { prompt: '' });
    for (const message of [said, transformer, linear]) assert.match(message, /The prompt is empty: expected at least one token, found none/);
    const again = await write(page, { prompt: 'the', tokens: 4 });
    assert.match(again.said, /Both models have written/);
    assert.deepEqual(trouble, []);
    await page.close();
  });

  test('a prompt beyond the positions: the transformer refuses it, the linear model goes on', async () => {
    const { page } = await open(browser, site.address, CPU);
    await settled(page);
    const { said, transformer, linear } = await write(page, { prompt: '0123456789'.repeat(60), tokens: 5 });
    assert.match(said, /The transformer: The prompt has 600 tokens, and this model has positions for 512 \(max_position_embeddings\)/);
    assert.match(transformer, /Shorten the prompt/);
    assert.match(linear, /600 \+ 5 tokens/);
    // Up to the last position it writes, and says why it stops.
    const full = await write(page, { prompt: '0123456789'.repeat(51), tokens: 50, temperature: 0 });
    assert.match(full.transformer, /510 \+ 3 tokens, it has no position for more|ended the text/);
    await page.close();
  });

  test('bytes that the tokenizer lacks are named', async () => {
    const { page } = await open(browser, site.address, '?engine=cpu&pair=gaps');
    await settled(page);
    const { said } = await write(page, { prompt: 'Is it für Queen' });
    assert.match(said, /The prompt: the tokenizer has no token for “ü” \(character 8\)/);
    assert.match((await write(page, { prompt: 'A Queen' })).said, /no token for “Q” \(character 3\)/);
    await page.close();
  });

  test('a tokenizer that is larger than the embedding', async () => {
    const other = await serve(withPairs({ small: makeLanguagePair({ name: 'small', vocab: 300 }) }));
    const { page } = await open(browser, other.address, '?engine=cpu');
    assert.match(await settled(page, ['error']), /small\/transformer\/tokenizer\.json: expected token ids below the model's vocab_size 300, found ids up to 319/);
    assert.ok(await page.getByTestId('write').isDisabled());
    await page.close();
    await other.close();
  });

  test('a text can be stopped and is kept', async () => {
    const { page } = await open(browser, site.address, CPU);
    await settled(page);
    await page.getByTestId('tokens').fill('100000');
    await page.getByTestId('temperature').fill('1');
    await page.getByTestId('write').click();
    await page.waitForFunction(() => document.querySelector('[data-testid="text-transformer"] .new')?.textContent.length > 20);
    await page.getByTestId('stop').click();
    assert.match(await settled(page), /Stopped|have written/);
    assert.ok((await story(page, 'transformer')).length > 20);
    assert.ok(await page.getByTestId('write').isEnabled());
    await page.close();
  });

  test('contexts beyond the positions are refused; the sweep can be stopped, and saved', async () => {
    const { page } = await open(browser, site.address, `${CPU}&lengths=16,1024&runs=2&autorun=sweep`);
    await page.locator('#result').waitFor({ state: 'attached' });
    assert.match(await page.locator('#lengths-hint').innerText(), /1,024 is longer than the 512 tokens/);
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByTestId('save-csv').click()]);
    const csv = fs.readFileSync(await download.path(), 'utf8');
    assert.match(csv, /^length,model,median_ms,p10_ms,p90_ms,first_ms,runs,peak_bytes,forwards,prefill_ms,decode_ms_per_token,state_bytes\n16,transformer,/);
    assert.equal(csv.trim().split('\n').length, 3);
    await page.getByTestId('lengths').fill('16, 256');
    await page.getByTestId('runs').fill('200');
    await page.getByTestId('run').click();
    await page.getByTestId('cancel').click();
    assert.match(await settled(page), /Stopped/);
    assert.match((await write(page, { tokens: 3 })).said, /have written/);
    await page.close();
  });

  test('a pair that is brought while the last one writes or is measured takes its place', async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pair-'));
    const { page, trouble } = await open(browser, site.address, `${CPU}&lengths=64,256&runs=200`);
    try {
      writePair(makeLanguagePair({ name: 'mine' }), folder);
      await settled(page);
      await page.getByTestId('run').click();
      await page.locator('#sweep-doing').getByText('Run').waitFor();
      await page.getByTestId('folder').setInputFiles(folder);
      await page.getByText('“mine” is ready').waitFor();
      assert.ok(await page.getByTestId('cancel').isHidden());
      await page.getByTestId('tokens').fill('100000');
      await page.getByTestId('write').click();
      await page.locator('[data-testid="text-transformer"] .new').waitFor();
      writePair(makePair({ name: 'texts' }), folder);
      await page.getByTestId('folder').setInputFiles(folder);
      await page.getByText('“texts” is ready').waitFor();
      assert.equal(await page.getByTestId('tab-text').getAttribute('aria-selected'), 'true');
      assert.deepEqual(await page.locator('#pair-select option').allInnerTexts(), ['fixture', 'your own files']);
      assert.ok(await page.getByTestId('answer').isEnabled());
      assert.deepEqual(trouble, []);
    } finally {
      fs.rmSync(folder, { recursive: true });
      await page.close();
    }
  });

  test('tabs: arrows move, Enter chooses, each loads the first pair of its task', async () => {
    const { page, trouble } = await open(browser, site.address, '?engine=cpu');
    assert.match(await settled(page), /fixture.* is ready/);
    const tab = (id) => page.getByTestId(`tab-${id}`);
    assert.deepEqual([await tab('text').getAttribute('aria-selected'), await tab('language').getAttribute('tabindex')], ['true', '-1']);
    assert.ok(await page.locator('#tell').isHidden());
    assert.deepEqual(await page.locator('#pair-select option').allInnerTexts(), ['fixture']);
    await tab('text').focus();
    await page.keyboard.press('ArrowRight');
    assert.ok(await tab('language').evaluate((node) => node === document.activeElement && node.tabIndex === 0));
    assert.match(await page.getByTestId('status').innerText(), /fixture/, 'an arrow loads nothing');
    await page.keyboard.press('Enter');
    await page.getByText('“words” is ready').waitFor();
    assert.ok(await page.locator('#ask').isHidden());
    assert.equal(await page.locator('#panel').getAttribute('aria-labelledby'), 'tab-language');
    assert.deepEqual(await page.locator('#pair-select option').allInnerTexts(), ['words', 'gaps']);
    await page.keyboard.press('Home');
    await page.keyboard.press('Space');
    await page.getByText('“fixture” is ready').waitFor();
    assert.ok(await page.getByTestId('answer').isEnabled());
    // An address that names a pair opens its tab.
    await page.goto(`${site.address}?engine=cpu&pair=gaps`);
    assert.match(await settled(page), /gaps.* is ready/);
    assert.equal(await tab('language').getAttribute('aria-selected'), 'true');
    assert.deepEqual(trouble, []);
    await page.close();
  });

  test('a tab without a pair says so, and an unlisted pair finds its tab', async () => {
    const overlay = withPairs({ fixture: makePair(), words: makeLanguagePair() });
    overlay['pairs/index.json'] = Buffer.from('{"pairs": ["fixture"]}');
    const other = await serve(overlay);
    const { page } = await open(browser, other.address, CPU);
    assert.match(await settled(page), /No pair for the tab “Language model” comes with this copy/);
    await page.getByTestId('tab-text').click();
    await page.getByText('“fixture” is ready').waitFor();
    await page.goto(`${other.address}?engine=cpu&pair=words`);
    assert.match(await settled(page), /words.* is ready/);
    assert.equal(await page.getByTestId('tab-language').getAttribute('aria-selected'), 'true');
    await page.close();
    await other.close();
  });
});
