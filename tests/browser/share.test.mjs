// What is done with a sweep: theory, picture, link, archive; scores and samples beside it.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { load } from './support/modules.mjs';
import { makeLanguagePair, makePair, makeSpeechPair, writePair } from './support/pair.mjs';
import { dist, launch, open, serve, settled, withPairs } from './support/site.mjs';

const { settingsOf } = await load('share.js');

let site, browser;
before(async () => {
  site = await serve(withPairs({ fixture: makePair({ positions: 256 }), words: makeLanguagePair(), digits: makeSpeechPair() }));
  browser = await launch({ webgpu: false });
});
after(async () => { await browser?.close(); await site?.close(); });

/** The page after a sweep. */
async function swept(query = 'pair=fixture&lengths=32,64,128&runs=2', options = {}) {
  const { page, trouble } = await open(browser, site.address, `?${query}&autorun=sweep`, options);
  await page.locator('#result').waitFor({ state: 'attached', timeout: 120_000 });
  await settled(page);
  return { page, trouble };
}

const download = async (page, id) => {
  const [file] = await Promise.all([page.waitForEvent('download'), page.getByTestId(id).click()]);
  return [file.suggestedFilename(), fs.readFileSync(await file.path())];
};

for (const [pair, lengths, unit] of [['fixture', '32,64,128', 'tokens'], ['words', '32,64,128', 'tokens'], ['digits', '1,2,4', 'seconds']]) {
  test(`theory of ${pair}: off at first, then dashed lines through the last points of both plots, in the legend and in words`, async () => {
    const { page, trouble } = await swept(`pair=${pair}&lengths=${lengths}&runs=2`);
    assert.equal(await page.locator('.beside.theory').count(), 0);
    assert.equal(await page.getByTestId('theory-words').innerText(), '');
    await page.getByTestId('theory').check();
    await page.locator('#plot-time .beside.theory.l').waitFor({ state: 'attached' });
    assert.equal(await page.locator('#plot-time .beside.theory').count(), 2);
    assert.equal(await page.locator('#plot-memory .beside.theory').count(), 2);
    // Of a language model all that is held follows from its configuration: at contexts that fill the cache, the measured bytes.
    if (pair === 'words') {
      const [counts, points] = await page.evaluate(() => [JSON.parse(localStorage['caldera-runs'])[0].theory.memory, JSON.parse(document.getElementById('result').textContent).points]);
      for (const { model, length, state_bytes } of points) assert.equal(counts[model][0] + counts[model][1] * length, state_bytes, `${model} at ${length}`);
    }
    for (const [plot, key] of [['time', 't'], ['time', 'l'], ['memory', 't'], ['memory', 'l']]) {
      const [dash, theory, line] = await page.evaluate(([where, one]) => {
        const of = (kind) => document.querySelector(`#plot-${where} .${kind}.${one} .line`);
        return [getComputedStyle(of('theory')).strokeDasharray, of('theory').getAttribute('d'), of('series').getAttribute('d')];
      }, [plot, key]);
      assert.notEqual(dash, 'none');
      const end = (d) => d.split('L').at(-1).split(' ').map(Number);
      end(theory).forEach((value, i) => assert.ok(Math.abs(value - end(line)[i]) < 0.2, `${theory} ends where ${line} does`));
    }
    assert.match(await page.locator('#key').innerText(), /Transformer, theory/);
    assert.match(await page.getByTestId('theory-words').innerText(), new RegExp(`not measured: arithmetic alone.* at \\d+ ${unit}.*Memory beside it`));
    await page.getByTestId('theory').uncheck();
    await page.locator('.beside.theory').first().waitFor({ state: 'detached' });
    assert.deepEqual(trouble, []);
    await page.close();
  });
}

for (const colorScheme of ['light', 'dark']) {
  test(`saves a picture of both plots, ${colorScheme}, under the page's policy`, async () => {
    const { page, trouble } = await swept(undefined, { colorScheme });
    await page.getByTestId('theory').check();
    const [name, png] = await download(page, 'save-png');
    assert.equal(name, 'caldera-fixture.png');
    if (process.env.KEEP_PICTURES) fs.writeFileSync(path.join(process.env.KEEP_PICTURES, `picture-${colorScheme}.png`), png);
    const seen = await page.evaluate(async (data) => {
      const image = new Image();
      image.src = `data:image/png;base64,${data}`;
      await image.decode();
      const canvas = Object.assign(document.createElement('canvas'), { width: image.width, height: image.height });
      const draw = canvas.getContext('2d');
      draw.drawImage(image, 0, 0);
      const { data: pixels } = draw.getImageData(0, 0, image.width, image.height);
      const rgb = (css) => { draw.fillStyle = css; draw.fillRect(0, 0, 1, 1); return [...draw.getImageData(0, 0, 1, 1).data.slice(0, 3)].join(); };
      const style = getComputedStyle(document.documentElement);
      const counts = {};
      for (let i = 0; i < pixels.length; i += 4) { const key = `${pixels[i]},${pixels[i + 1]},${pixels[i + 2]}`; counts[key] = (counts[key] ?? 0) + 1; }
      return { size: [image.width, image.height], ...Object.fromEntries(['paper', 't', 'l', 'ink', 'soft', 'line'].map((name) => [name, counts[rgb(style.getPropertyValue(`--${name}`))] ?? 0])) };
    }, png.toString('base64'));
    assert.ok(seen.size[0] > 2000 && seen.size[1] > 800, JSON.stringify(seen));
    assert.ok(seen.paper > 0.5 * seen.size[0] * seen.size[1], `the page's ground: ${JSON.stringify(seen)}`);
    // Lines of both models, axes, and text in both shades are drawn in the page's colours.
    for (const colour of ['t', 'l', 'ink', 'soft', 'line']) assert.ok(seen[colour] > 300, `${colour}: ${JSON.stringify(seen)}`);
    assert.deepEqual(trouble, []);
    await page.close();
  });
}

test('a link that opens the same settings, copied or shown', async () => {
  const { page, trouble } = await swept('tab=text&pair=fixture&lengths=32,64&runs=3&engine=cpu', { permissions: ['clipboard-read', 'clipboard-write'] });
  await page.getByTestId('copy-link').click();
  await page.getByText('The link is copied').waitFor();
  const link = await page.evaluate(() => navigator.clipboard.readText());
  assert.equal(link, `${site.address}?tab=text&pair=fixture&lengths=32,64&runs=3&engine=cpu`);
  assert.deepEqual(trouble, []);
  await page.goto(link);
  await settled(page);
  assert.equal(await page.getByTestId('lengths').inputValue(), '32,64');
  assert.equal(await page.getByTestId('runs').inputValue(), '3');
  assert.equal(await page.locator('#pair-select').inputValue(), 'fixture');
  await page.close();
});

test('what a link needs, by where the pair came from and what it was measured on', () => {
  const of = (source, engine = 'webgpu') => ({ pair: 'nice name', source, adapter: { engine } });
  const shipped = ['demo', 'old'];
  assert.deepEqual(settingsOf(of({ kind: 'shipped', name: 'demo' }, 'cpu'), shipped, true), { pair: 'demo', engine: 'cpu' });
  assert.deepEqual(settingsOf(of({ kind: 'shipped', name: 'unlisted' }), shipped, false), { pair: 'unlisted', engine: null });
  assert.match(settingsOf(of({ kind: 'shipped', name: 'unlisted' }), shipped, true), /“nice name” does not come with this page/);
  assert.deepEqual(settingsOf(of({ kind: 'address', address: 'https://some.host/p/' }), shipped, true), { given: { model: 'https://some.host/p/' }, engine: null });
  assert.match(settingsOf(of({ kind: 'files' }), shipped, false), /^This pair came from your own files/);
  assert.match(settingsOf(of({ kind: 'files' }), shipped, true), /^This run is of files that somebody chose/);
  assert.deepEqual(settingsOf({ ...of(undefined), pair: 'old' }, shipped, true), { pair: 'old', engine: null }, 'of an older page');
});

test('where copying is refused the link is shown, and sharing is offered only where there is any', async () => {
  const page = await browser.newPage();
  await page.addInitScript(() => Object.defineProperty(Navigator.prototype, 'clipboard', { get: () => undefined }));
  await page.addInitScript(() => { delete Navigator.prototype.share; });
  await page.goto(`${site.address}?pair=fixture&lengths=32&runs=1&autorun=sweep`);
  await page.locator('#result').waitFor({ state: 'attached' });
  assert.ok(await page.getByTestId('share').isHidden());
  await page.getByTestId('copy-link').click();
  assert.match(await page.getByTestId('share-link').inputValue(), /\?tab=text&pair=fixture&lengths=32&runs=1&engine=cpu$/);
  assert.match(await page.getByTestId('share-said').innerText(), /ready for you to copy/);
  await page.close();
});

test('shares through the device', async () => {
  const page = await browser.newPage();
  await page.addInitScript(() => { Navigator.prototype.share = async (given) => { globalThis.shared = given; }; });
  await page.goto(`${site.address}?pair=fixture&lengths=32&runs=1&autorun=sweep`);
  await page.locator('#result').waitFor({ state: 'attached' });
  await page.getByTestId('share').click();
  const { url, text } = await page.evaluate(() => globalThis.shared);
  assert.match(url, /pair=fixture/);
  assert.equal(text, await page.getByTestId('verdict').innerText());
  await page.close();
});

test('own files have no link, and it says so', async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'caldera-own-'));
  writePair(makePair({ positions: 256, name: 'mine' }), path.join(folder, 'mine'));
  const { page, trouble } = await open(browser, site.address, '?lengths=32&runs=1');
  await settled(page);
  await page.getByTestId('folder').setInputFiles(path.join(folder, 'mine'));
  await page.getByText('“mine” is ready').waitFor();
  await page.getByTestId('run').click();
  await page.locator('#result').waitFor({ state: 'attached' });
  await page.getByTestId('copy-link').click();
  assert.match(await page.getByTestId('share-said').innerText(), /your own files, which no link can reach/);
  assert.ok(await page.getByTestId('share-link').isHidden());
  assert.deepEqual(trouble, []);
  await page.close();
  fs.rmSync(folder, { recursive: true });
});

test('past runs: kept over visits, laid over, opened, exported, deleted', async () => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  await context.addInitScript(() => Object.defineProperty(Navigator.prototype, 'clipboard', { get: () => undefined }));
  const visit = async (query) => {
    const page = await context.newPage();
    await page.goto(`${site.address}?${query}&autorun=sweep`);
    await page.locator('#result').waitFor({ state: 'attached', timeout: 120_000 });
    await settled(page);
    return page;
  };
  await (await visit('pair=fixture&lengths=16,32&runs=1')).close();
  await (await visit('pair=digits&lengths=1,2&runs=1')).close();
  const page = await visit('pair=fixture&lengths=32,64&runs=2');
  await page.getByText('Past runs on this device (3)').click();
  const items = page.getByTestId('archive-list').locator('li');
  assert.equal(await items.count(), 3);
  assert.match(await items.nth(1).innerText(), /digits · Speech, 1 to 2 s/);
  assert.ok(await items.nth(1).getByRole('button', { name: /^Lay over/ }).isDisabled(), 'seconds are no tokens');

  await items.nth(2).getByRole('button', { name: /^Lay over/ }).click();
  await page.locator('#plot-time .beside.past').first().waitFor({ state: 'attached' });
  assert.equal(await page.locator('.plot .beside.past').count(), 4);
  assert.match(await page.getByTestId('past-words').innerText(), /^Thin: fixture · CPU engine/);
  assert.match(await page.locator('#plot-time svg').innerHTML(), />16</, 'its lengths are on the axis');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Take away');
  await page.keyboard.press('Enter');
  await page.locator('.beside.past').first().waitFor({ state: 'detached' });

  await items.nth(1).getByRole('button', { name: /^Open/ }).click();
  await page.getByTestId('copy-link').click();
  assert.match(await page.getByTestId('share-said').innerText(), /./);
  assert.match(await page.getByTestId('share-link').inputValue(), /\?tab=speech&pair=digits&lengths=1,2&runs=1&engine=cpu$/, 'the link is of what is shown');
  assert.match(await page.getByTestId('provenance').innerText(), /^Opened, not just measured: digits/);
  assert.match(await page.getByTestId('table').innerText(), /Seconds/);
  assert.equal(await page.getByTestId('table').locator('tbody tr').count(), 2);
  const [, json] = await download(page, 'save-json');
  const opened = JSON.parse(json);
  assert.deepEqual([opened.pair, opened.source, opened.runs_asked, opened.crossover_length !== undefined], ['digits', { kind: 'shipped', name: 'digits' }, 1, true]);
  assert.ok(opened.prepare_ms > 0 && opened.points.every(({ forwards }) => forwards >= 1), json.toString());
  assert.ok(Math.abs(Date.now() - new Date(opened.date)) < 600_000, opened.date);

  const [name, text] = await download(page, 'archive-save');
  assert.equal(name, 'caldera-runs.json');
  assert.equal(JSON.parse(text).caldera_runs.length, 3);
  await items.nth(0).getByRole('button', { name: /^Delete/ }).click();
  assert.equal(await items.count(), 2);
  await page.getByTestId('archive-clear').click();
  assert.equal(await items.count(), 2, 'asks again');
  await page.getByTestId('archive-clear').click();
  assert.equal(await items.count(), 0);
  assert.equal(await page.evaluate(() => localStorage.length), 0);

  await page.getByTestId('archive-file').setInputFiles({ name: 'runs.json', mimeType: 'application/json', buffer: text });
  await page.getByText('runs.json: 3 runs are added').waitFor();
  assert.equal(await items.count(), 3);
  await page.getByTestId('archive-file').setInputFiles({ name: 'one.json', mimeType: 'application/json', buffer: json });
  await page.getByText('one.json is added').waitFor();
  assert.equal(await items.count(), 4);
  // A file's own date is that of its writing: what the result says counts.
  assert.deepEqual(await page.evaluate(() => JSON.parse(localStorage['caldera-runs']).map(({ date, result }) => date === result.date)), [true, true, true, true]);
  await page.getByTestId('archive-file').setInputFiles({ name: 'bad.json', mimeType: 'application/json', buffer: Buffer.from('{"points": []}') });
  await page.getByTestId('archive-said').getByText(/bad\.json cannot be opened: .*Choose a JSON file that this page saved/).waitFor();
  assert.equal(await items.count(), 4);
  await context.close();
});

test('where storage is refused the page works, and says that runs are not kept', async () => {
  const page = await browser.newPage();
  await page.addInitScript(() => Object.defineProperty(globalThis, 'localStorage', { get() { throw new DOMException('denied', 'SecurityError'); } }));
  await page.goto(`${site.address}?pair=fixture&lengths=32&runs=1&autorun=sweep`);
  await page.locator('#result').waitFor({ state: 'attached' });
  assert.match(await settled(page), /done/);
  await page.locator('#archive-summary').click();
  assert.match(await page.locator('#archive-note').innerText(), /does not let the page keep anything/);
  assert.equal(await page.getByTestId('archive-list').locator('li').count(), 1);
  await page.close();
});

for (const [pair, said] of [['fixture', /^Both models give the same answer on (all|\d of) 3 samples\.$/], ['digits', /^Both models hear the same in (all|\d of) 2 samples\.$/],
  ['words', /^Both models find the same next token likeliest at (all|\d+ of) \d+ places/]]) {
  test(`scores of ${pair}, and both models on all its samples`, async () => {
    const { page, trouble } = await open(browser, site.address, `?pair=${pair}`);
    await settled(page);
    assert.equal(await page.getByTestId('scores').locator('tbody tr').count(), 2);
    assert.match(await page.locator('#scores-note').innerText(), /^From the pair’s card, measured when the pair was made \(none\)\.$/);
    await page.getByTestId('check').click();
    await page.getByTestId('checked').getByText(/Both models/).waitFor();
    assert.match(await page.getByTestId('checked').innerText(), said);
    assert.match(await settled(page), /compared/);
    assert.deepEqual(trouble, []);
    await page.close();
  });
}

test('tokens are told apart by their ids: an end and a part of a character have no text', async () => {
  const { page } = await open(browser, site.address, '?pair=words');
  await settled(page);
  const ids = await page.evaluate(async () => {
    const news = [];
    await globalThis.caldera.call('generate', { role: 'linear', prompt: 'the ', options: { max_new_tokens: 5, temperature: 1, seed: 3 } }, ({ id }) => news.push(id));
    return news;
  });
  assert.ok(ids.length && ids.every((id) => Number.isInteger(id) && id >= 0 && id < 320), JSON.stringify(ids));
  await page.close();

  // The same text from both, and other tokens behind it.
  const worker = fs.readFileSync(path.join(dist, 'page', 'worker.js'), 'utf8');
  const wordless = worker.replace('methods[method](params ?? {})', `(method === 'generate' && params.options.max_new_tokens === 1
    ? (postMessage({ id, progress: { id: params.role === 'linear' ? 7 : 8, text: '' } }), { text: '' }) : methods[method](params ?? {}))`);
  assert.notEqual(wordless, worker);
  const other = await serve({ ...withPairs({ words: makeLanguagePair() }), 'page/worker.js': Buffer.from(wordless) });
  const { page: second } = await open(browser, other.address, '?pair=words');
  await settled(second);
  await second.getByTestId('check').click();
  await second.getByTestId('checked').getByText(/likeliest at 0 of \d+ places/).waitFor();
  await second.close();
  await other.close();
});

for (const pair of ['fixture', 'words', 'digits']) {
  test(`the comparison on samples shows how far it is, and can be stopped: ${pair}`, async () => {
    const worker = fs.readFileSync(path.join(dist, 'page', 'worker.js'), 'utf8');
    const slow = worker.replace('const ok = await', "if (['answer', 'hear', 'generate'].includes(method)) await new Promise((resolve) => { setTimeout(resolve, 300); });\n      const ok = await");
    assert.notEqual(slow, worker);
    const other = await serve({ ...withPairs({ fixture: makePair({ positions: 256 }), words: makeLanguagePair(), digits: makeSpeechPair() }), 'page/worker.js': Buffer.from(slow) });
    const { page, trouble } = await open(browser, other.address, `?pair=${pair}`);
    await settled(page);
    const has = (id) => page.evaluate((one) => document.activeElement.id === one, id);
    await page.getByTestId('check').focus();
    await page.keyboard.press('Enter');
    await page.getByTestId('check-meter').getByText(/(Sample|Prompt) 1 of \d/).waitFor();
    assert.ok(await page.getByTestId('check').isHidden());
    assert.ok(await has('check-stop'), 'the focus goes along');
    await page.waitForFunction(() => document.getElementById('check-progress').value > 0);
    await page.keyboard.press('Enter');
    assert.match(await settled(page), /Stopped; what was compared until then is kept/);
    assert.match(await page.getByTestId('checked').innerText(), /^Stopped: so far only\. Both models/);
    assert.ok(await page.getByTestId('check-meter').isHidden() && await has('check'));
    assert.ok(await page.getByTestId('run').isEnabled());
    assert.deepEqual(trouble, []);
    await page.close();
    await other.close();
  });
}

test('what the samples show is counted from the answers', async () => {
  const { page } = await open(browser, site.address, '?pair=fixture');
  await settled(page);
  const same = await page.evaluate(async () => {
    const { samples } = await (await fetch('pairs/fixture/pair.json')).json();
    let count = 0;
    for (const { text } of samples) {
      const { transformer, linear } = await globalThis.caldera.call('answer', { text, second: '' });
      if (transformer.label === linear.label) count += 1;
    }
    return count;
  });
  await page.getByTestId('check').click();
  await page.getByTestId('checked').getByText(/Both models/).waitFor();
  assert.match(await page.getByTestId('checked').innerText(), new RegExp(`on ${same === 3 ? 'all' : `${same} of`} 3 samples`));
  await page.close();
});
