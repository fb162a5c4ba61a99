// The tab of speech models: samples, files and the microphone; the sweep over seconds; bad input.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { makePair, makeSpeechPair, writePair } from './support/pair.mjs';
import { launch, open, root, serve, settled, withPairs } from './support/site.mjs';
import { tones, wav } from './support/wav.mjs';

const RATE = 8000;
const pairs = () => ({ fixture: makePair(), digits: makeSpeechPair({ rate: RATE }), names: makeSpeechPair({ name: 'names', labels: ['seven', 'three', 'nine'] }) });
const CPU = '?engine=cpu&tab=speech';
const FAKE = '--use-fake-device-for-media-stream';

const file = (name, buffer, mimeType = 'audio/wav') => ({ name, mimeType, buffer });

/** The export's shape is a promise to whoever reads it. */
function checkResult(result, { engine, lengths, runs }) {
  assert.deepEqual(Object.keys(result).sort(), ['adapter', 'browser', 'crossover_length', 'date', 'pair', 'points', 'prepare_ms', 'runs_asked', 'source', 'versions']);
  assert.equal(result.adapter.engine, engine);
  assert.equal(result.pair, 'digits');
  assert.deepEqual(result.points.map(({ length, model }) => [length, model]), lengths.flatMap((length) => [[length, 'transformer'], [length, 'linear']]));
  for (const point of result.points) {
    const device = result.adapter.timestamps ? ['device_ms'] : [];
    assert.deepEqual(Object.keys(point).sort(), [...device, 'first_ms', 'forwards', 'frames', 'length', 'median_ms', 'model', 'p10_ms', 'p90_ms', 'peak_bytes', 'runs']);
    assert.equal(point.runs, runs);
    assert.ok(point.p10_ms > 0 && point.p10_ms <= point.median_ms && point.median_ms <= point.p90_ms, JSON.stringify(point));
    // 0 where one pass is shorter than a step of the browser's clock.
    assert.ok(point.first_ms >= 0 && point.peak_bytes > 0, JSON.stringify(point));
    // The first frame takes 345 samples, each further one 320.
    assert.equal(point.frames, Math.floor((point.length * RATE - 345) / 320) + 1);
  }
}

/** Gives the tab a clip of the visitor's own; what the page says then, and both answers. */
async function choose(page, given) {
  await page.evaluate(() => { document.getElementById('state').dataset.state = 'working'; });
  await page.getByTestId('audio').setInputFiles(given);
  return heard(page);
}

async function heard(page) {
  const said = await settled(page, ['ready', 'error']);
  const of = (side) => page.locator(`[data-testid="heard-${side}"] .body`).innerText();
  return { said, caption: await page.getByTestId('wave-caption').innerText(), transformer: await of('transformer'), linear: await of('linear') };
}

/** Drops a file on the page. */
async function drop(page, { name, mimeType, buffer }) {
  await page.evaluate(() => { document.getElementById('state').dataset.state = 'working'; });
  await page.evaluate(({ name, type, bytes }) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([new Uint8Array(bytes)], name, { type }));
    for (const kind of ['dragenter', 'dragover', 'drop']) document.body.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
  }, { name, type: mimeType, bytes: [...buffer] });
  return heard(page);
}

for (const engine of ['webgpu', 'cpu']) {
  describe(`with the ${engine} engine`, () => {
    let site, browser;
    before(async () => {
      site = await serve(withPairs(pairs()));
      browser = await launch({ webgpu: engine === 'webgpu' });
    });
    after(async () => { await browser?.close(); await site?.close(); });

    test('loads the first pair of the tab and hears its first sample', async () => {
      const { page, trouble } = await open(browser, site.address, '?tab=speech');
      // A software adapter on a busy machine takes its time.
      assert.match(await settled(page, ['ready'], 300_000), /digits.* is ready/);
      assert.equal(await page.locator('#adapter').getAttribute('data-engine'), engine);
      assert.equal(await page.getByTestId('tab-speech').getAttribute('aria-selected'), 'true');
      const { caption, transformer, linear } = await heard(page);
      assert.match(caption, /^Sample seven\.wav · 1\.5\ss · 8,000\ssamples a second · made for the tests, CC0$/);
      for (const text of [transformer, linear]) assert.match(text, /(\d\s(µs|ms|s)|too short to time)\s+1\.5\ss of sound, 37 frames, [\d.,]+ times as fast as spoken/);
      assert.match(linear, /bidirectional Mamba-2, 16 states/);
      assert.match(await page.getByTestId('hearing').innerText(), /They heard .* The sample says “seven”: .* wrong/);
      assert.match(await page.getByTestId('wave').getAttribute('aria-label'), /^Waveform: Sample seven\.wav, 1\.5\ss$/);
      assert.ok(await page.getByTestId('wave').evaluate((canvas) => {
        const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        return pixels.some((value) => value);
      }), 'the waveform is drawn');
      assert.deepEqual(trouble, []);
      await page.close();
    });

    test('sweeps over seconds without a click', async () => {
      const { page, trouble } = await open(browser, site.address, '?pair=digits&lengths=1,4&runs=2&autorun=sweep');
      const node = page.locator('script#result[type="application/json"]');
      await node.waitFor({ state: 'attached', timeout: 400_000 });
      checkResult(JSON.parse(await node.textContent()), { engine, lengths: [1, 4], runs: 2 });
      assert.match(await page.getByTestId('verdict').innerText(), / s (on, )?the (linear|transformer)|At 4/);
      assert.match(await page.locator('#detail').innerText(), /From 1 to 4 s of audio, the transformer comes to take .* \(slope/);
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
    browser = await launch({ webgpu: false, flags: [FAKE, '--use-fake-ui-for-media-stream'] });
  });
  after(async () => { await browser?.close(); await site?.close(); });

  test('a sample by its button; the first lengths; both by keyboard', async () => {
    const { page, trouble } = await open(browser, site.address, CPU);
    await settled(page);
    assert.equal(await page.getByTestId('lengths').inputValue(), '1, 2, 4, 8, 16, 32, 64');
    assert.match(await page.locator('#lengths-hint').innerText(), /Up to 120 seconds/);
    await page.getByRole('button', { name: 'three one' }).focus();
    await page.keyboard.press('Enter');
    await page.getByText('“three one”').waitFor();
    assert.match((await heard(page)).caption, /Sample three-one\.wav · 2\.25\ss/);
    await page.getByTestId('lengths').fill('0 2.5 121');
    await page.getByTestId('run').press('Enter');
    assert.match(await settled(page, ['error']), /“0” is not a length: a whole number from 1 .*“2\.5” .*121 is longer than the 120 seconds that are measured here/);
    assert.deepEqual(trouble, []);
    await page.close();
  });

  test('a classifier gives classes with their probabilities', async () => {
    const { page, trouble } = await open(browser, site.address, '?engine=cpu&pair=names');
    assert.match(await settled(page), /names.* is ready/);
    const { transformer, linear } = await heard(page);
    for (const text of [transformer, linear]) assert.match(text, /(seven|three|nine)[^]*\d\s%[^]*37 frames/);
    assert.match(await page.getByTestId('hearing').innerText(), /They (dis)?agree; .* points apart\. The sample says “seven”/);
    assert.deepEqual(trouble, []);
    await page.close();
  });

  test('a dropped file at another rate and in stereo is heard as its mean at the model’s rate', async () => {
    const { page, trouble } = await open(browser, site.address, CPU);
    await settled(page);
    const clip = tones(1, 44100);
    const mono = await drop(page, file('mono.wav', wav([clip], { rate: 44100 })));
    assert.match(mono.said, /Both models have listened/);
    assert.match(mono.caption, /^mono\.wav · 1\ss · 8,000\ssamples a second$/);
    assert.match(mono.linear, /1\ss of sound, 24 frames/);
    // Both channels beside their mean by as much: the mean is the same.
    const wobble = tones(1, 44100, 700).map((sample) => sample / 4);
    const stereo = await drop(page, file('stereo.wav', wav([clip.map((x, i) => x + wobble[i]), clip.map((x, i) => x - wobble[i])], { rate: 44100, float: true })));
    assert.match(stereo.caption, /^stereo\.wav · 1\ss/);
    const words = ({ linear }) => linear.split('\n')[0];
    assert.equal(words(stereo), words(mono));
    assert.equal(await page.getByTestId('hearing').innerText().then((text) => text.includes('The sample says')), false);
    assert.deepEqual(trouble, []);
    await page.close();
  });

  test('what cannot be heard is said, and the clip before stays', async () => {
    const { page } = await open(browser, site.address, CPU);
    await settled(page);
    const good = await choose(page, file('good.wav', wav([tones(1, RATE)], { rate: RATE, bits: 8 })));
    assert.match(good.said, /Both models have listened/);
    const nan = tones(1, RATE);
    nan[100] = NaN;
    for (const [given, message] of [
      [file('notes.txt', Buffer.from('These are words, not sounds.'), 'text/plain'), /notes\.txt: this browser finds no audio in it that it can read; choose a WAV/],
      [file('empty.wav', Buffer.alloc(0)), /empty\.wav: the file is empty/],
      [file('zero.wav', wav([[]], { rate: RATE })), /zero\.wav: (this browser finds no audio|it holds no sound)/],
      [file('still.wav', wav([tones(1, RATE)], { rate: 0 })), /still\.wav: this browser finds no audio/],
      [file('short.wav', wav([tones(0.01, RATE)], { rate: RATE })), /short\.wav: expected at least 345 samples \(0\.043 s, one frame\), found 80\. Give a longer clip/],
      [file('nan.wav', wav([nan], { rate: RATE, float: true })), /nan\.wav: expected finite samples, found NaN at sample 100 \(0\.013 s\)/],
    ]) {
      const { said, caption, linear } = await choose(page, given);
      assert.match(said, message);
      assert.deepEqual([caption, linear], [good.caption, good.linear], given.name);
    }
    const cut = await choose(page, file('cut.wav', wav([tones(1, RATE)], { rate: RATE }).subarray(0, 9044)));
    assert.match(cut.caption, /cut\.wav · 0\.5\d\ss .* the file ends early, and what is there is heard/);
    const long = await choose(page, file('long.wav', wav([tones(150, RATE)], { rate: RATE })));
    assert.match(long.caption, /only the first 120\ss of 150\ss are heard/);
    // Past the page's own checks the engine has the same answers.
    const said = await page.evaluate(() => Promise.all([new Float32Array(0), Float32Array.of(0, Infinity)].map((samples) =>
      globalThis.caldera.call('hear', { samples }).then(() => '', (error) => error.message))));
    assert.match(said[0], /empty clip/);
    assert.match(said[1], /found inf at sample 1/);
    await page.close();
  });

  test('the microphone: records until it is stopped, shows a level, plays', async () => {
    const { page, trouble } = await open(browser, site.address, CPU);
    await settled(page);
    await page.getByTestId('record').focus();
    await page.keyboard.press('Space');
    await page.getByText('Recording, up to 60 seconds').waitFor();
    assert.equal(await page.getByTestId('record').innerText(), 'Stop');
    assert.ok(await page.getByTestId('run').isDisabled());
    // The fake device beeps.
    await page.waitForFunction(() => document.getElementById('level').value > 0.05);
    await page.waitForFunction(() => parseFloat(document.getElementById('elapsed').textContent) > 1);
    await page.keyboard.press('Space');
    await page.getByText('Both models have listened').waitFor();
    const { caption, linear } = await heard(page);
    assert.match(caption, /^Your recording · [1-9][\d.]*\ss · 8,000\ssamples a second$/);
    assert.match(linear, /s of sound, \d+ frames/);
    assert.ok(await page.locator('#level-box').isHidden());
    await page.getByTestId('play').click();
    await page.getByRole('button', { name: 'Stop playing' }).click();
    await page.getByRole('button', { name: 'Play', exact: true }).waitFor();
    assert.deepEqual(trouble, []);
    await page.close();
  });

  test('another tab ends a recording', async () => {
    const { page, trouble } = await open(browser, site.address, CPU);
    await settled(page);
    await page.getByTestId('record').click();
    await page.getByText('Recording, up to 60 seconds').waitFor();
    // The tabs rest while it records; files of a pair may still come.
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pair-'));
    try {
      writePair(makeSpeechPair({ name: 'mine' }), folder);
      await page.getByTestId('folder').setInputFiles(folder);
      await page.getByText('“mine” is ready').waitFor();
      assert.equal(await page.getByTestId('record').innerText(), 'Record');
      // A folder without pair.json is taken as it is: no samples.
      fs.rmSync(path.join(folder, 'pair.json'));
      await page.getByTestId('folder').setInputFiles(folder);
      await page.getByText('unchecked').waitFor();
      assert.match(await settled(page), /Record something, or choose an audio file/);
      assert.equal(await page.getByTestId('wave-caption').innerText(), 'No clip yet.');
    } finally {
      fs.rmSync(folder, { recursive: true });
    }
    assert.deepEqual(trouble, []);
    await page.close();
  });
});

describe('without a microphone', () => {
  let site;
  before(async () => { site = await serve(withPairs(pairs())); });
  after(() => site?.close());

  for (const [what, flags, permissions, message] of [
    ['permission is denied', [FAKE, '--deny-permission-prompts'], [], /may not use the microphone: its permission was denied/],
    ['there is none', [], ['microphone'], /No microphone was found\. Connect one, or choose an audio file/],
  ]) {
    test(`${what}: said, and files are still heard`, async () => {
      const browser = await launch({ webgpu: false, flags });
      try {
        const { page } = await open(browser, site.address, CPU, { permissions });
        await settled(page);
        const before = await page.getByTestId('wave-caption').innerText();
        await page.getByTestId('record').click();
        assert.match(await settled(page, ['error']), message);
        assert.equal(await page.getByTestId('wave-caption').innerText(), before);
        assert.match((await choose(page, file('good.wav', wav([tones(1, RATE)], { rate: RATE })))).said, /Both models have listened/);
      } finally {
        await browser.close();
      }
    });
  }
});

describe('pairs that are not whole', () => {
  let browser;
  before(async () => { browser = await launch({ webgpu: false }); });
  after(() => browser?.close());

  const vocab = (change) => Buffer.from(JSON.stringify(change(JSON.parse(makeSpeechPair()['linear/vocab.json']))));
  const relisted = (files) => {
    // The sums of pair.json are of the files as they were; without it they are taken as they are.
    delete files['pair.json'];
    return files;
  };
  for (const [what, change, message] of [
    ['no vocab.json', (files) => { for (const side of ['transformer', 'linear']) delete files[`${side}/vocab.json`]; }, /transformer\/vocab\.json: expected the characters of the CTC head beside the weights, found none/],
    ['a vocab.json with more tokens than the head', (files) => { files['linear/vocab.json'] = vocab((all) => ({ ...all, q: 40 })); }, /linear\/vocab\.json: expected ids below vocab_size 20 of config\.json, found 40/],
    ['a vocab.json with another blank', (files) => { files['linear/vocab.json'] = vocab((all) => ({ ...all, '<pad>': all.x, x: 0 })); }, /linear\/vocab\.json: expected the blank of CTC at pad_token_id 0 of config\.json, found it at \d+/],
    ['no preprocessor_config.json', (files) => { for (const side of ['transformer', 'linear']) delete files[`${side}/preprocessor_config.json`]; }, /transformer\/preprocessor_config\.json: expected the sampling rate/],
    ['two sampling rates', (files) => { files['linear/preprocessor_config.json'] = Buffer.from('{"sampling_rate": 16000}'); }, /linear\/preprocessor_config\.json: expected sampling_rate 8000, which the transformer has, found 16000/],
  ]) {
    test(what, async () => {
      const site = await serve(withPairs({}));
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pair-'));
      try {
        const files = makeSpeechPair();
        change(files);
        writePair(relisted(files), folder);
        const { page } = await open(browser, site.address, CPU);
        await settled(page);
        await page.getByTestId('folder').setInputFiles(folder);
        assert.match(await settled(page, ['error']), message);
        await page.close();
      } finally {
        fs.rmSync(folder, { recursive: true });
        await site.close();
      }
    });
  }

  test('an altered clip of a sample is refused, and the pair can still be used', async () => {
    const files = makeSpeechPair();
    files['samples/seven.wav'] = Buffer.from(files['samples/seven.wav'].map((byte, i) => (i === 1000 ? byte ^ 1 : byte)));
    const site = await serve(withPairs({ digits: files }));
    const { page } = await open(browser, site.address, CPU);
    assert.match(await settled(page, ['error']), /digits\/samples\/seven\.wav: expected SHA-256 [0-9a-f]{64}, found/);
    await page.getByRole('button', { name: 'three one' }).click();
    assert.match(await settled(page), /Both models have listened/);
    await page.close();
    await site.close();
  });
});

const source = fs.readFileSync(path.join(root, 'web', 'page', 'agreement.js'));
const agreement = await import(`data:text/javascript;base64,${source.toString('base64')}`);

test('word errors', () => {
  const errors = (...given) => agreement.wordErrors(...given);
  assert.deepEqual(errors('three one', 'three one'), { errors: 0, words: 2 });
  assert.deepEqual(errors('Three, one!', 'three  one'), { errors: 0, words: 2 }, 'case and marks do not count');
  assert.deepEqual(errors('three one four', 'tree one'), { errors: 2, words: 3 });
  assert.deepEqual(errors('seven', ''), { errors: 1, words: 1 });
  assert.deepEqual(errors('', 'seven two'), { errors: 2, words: 0 });
  const heard = (transformer, linear) => ({ transformer: { label: transformer }, linear: { label: linear } });
  assert.equal(agreement.against('three one', heard('three one', 'three')), ' The sample says “three one”: the transformer got every word right, the linear model made one mistake in 2 words.');
  assert.equal(agreement.against('seven', heard('seven', 'seven')), ' The sample says “seven”: both got it right.');
  assert.deepEqual(agreement.onTranscripts(heard('One', 'one')), { same: true, words: 'They heard the same.' });
});
