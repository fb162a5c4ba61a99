// What can go wrong while loading, and the way on from there; local files.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { elsewhere } from './support/elsewhere.mjs';
import { load } from './support/modules.mjs';
import { makeLanguagePair, makePair, makeSpeechPair, writePair } from './support/pair.mjs';
import { dist, launch, open, serve, settled, withPairs } from './support/site.mjs';

let browser;
before(async () => { browser = await launch({ webgpu: false }); });
after(() => browser?.close());

/** A pair with one file replaced. */
const altered = (file, change) => {
  const files = makePair({ name: 'bad' });
  files[file] = change(files[file]);
  return files;
};

/** Loads an altered pair, expects the message, mends it, and goes on with the button. */
async function mends(files, message) {
  const overlay = withPairs({ bad: files });
  const site = await serve(overlay);
  const { page } = await open(browser, site.address);
  const said = await settled(page, ['error']);
  assert.match(said, message);
  assert.ok(await page.getByTestId('answer').isDisabled());
  Object.assign(overlay, withPairs({ bad: makePair({ name: 'bad' }) }));
  await page.getByRole('button', { name: 'Try again' }).click();
  assert.match(await settled(page), /bad.* is ready/);
  await page.close();
  await site.close();
}

const MODEL = 'linear/model.safetensors';

test('a corrupted model file: named, with both sums; the button loads it again', () => mends(
  altered(MODEL, (bytes) => { const copy = Buffer.from(bytes); copy[copy.length >> 1] ^= 1; return copy; }),
  /bad\/linear\/model\.safetensors: expected SHA-256 [0-9a-f]{64}, found [0-9a-f]{64}/));

test('a truncated model file: both sizes', () => mends(
  altered(MODEL, (bytes) => bytes.subarray(0, bytes.length - 100)), /linear\/model\.safetensors: expected \d+ bytes .*found \d+/));

test('a model file that is too long', () => mends(
  altered(MODEL, (bytes) => Buffer.concat([bytes, bytes])), /linear\/model\.safetensors: expected \d+ bytes .*found more/));

test('a missing file', () => mends(
  altered('transformer/config.json', () => undefined), /transformer\/config\.json: the server has no such file \(404\)/));

test('a pair.json that is no JSON', async () => {
  const files = altered('pair.json', () => Buffer.from('{ "name": '));
  const site = await serve(withPairs({ bad: files }));
  const { page } = await open(browser, site.address, '?pair=bad');
  assert.match(await settled(page, ['error']), /bad\/pair\.json: not valid JSON/);
  await page.close();
  await site.close();
});

test('an unknown pair in the address; the shipped one can be picked', async () => {
  const site = await serve(withPairs({ fixture: makePair() }));
  const { page } = await open(browser, site.address, '?pair=nowhere');
  assert.match(await settled(page, ['error']), /nowhere\/pair\.json: the server has no such file/);
  await page.locator('#pair-select').selectOption('fixture');
  assert.match(await settled(page), /fixture.* is ready/);
  await page.goto(`${site.address}?pair=../secret`);
  assert.match(await settled(page, ['error']), /not the name of a pair/);
  await page.close();
  await site.close();
});

test('a page without pairs asks for files; a folder of them loads, weights checked', async () => {
  const site = await serve(withPairs({}));
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pair-'));
  try {
    writePair(makePair({ name: 'mine' }), folder);
    const { page, trouble } = await open(browser, site.address);
    assert.match(await settled(page), /No pair comes with this copy/);
    await page.getByTestId('folder').setInputFiles(folder);
    await page.getByText('“mine” is ready').waitFor();
    assert.match(await page.getByTestId('answer-linear').innerText(), /14 tokens/);
    // A folder without pair.json is taken as it is.
    fs.rmSync(path.join(folder, 'pair.json'));
    await page.getByTestId('folder').setInputFiles(folder);
    await page.getByText('unchecked').waitFor();
    await settled(page);
    // Files without their folders cannot be told apart.
    await page.getByTestId('files').setInputFiles([path.join(folder, MODEL)]);
    assert.match(await settled(page, ['error']), /No pair among these files/);
    await page.locator('#pair-select').waitFor();
    assert.deepEqual(trouble, []);
    await page.close();
  } finally {
    fs.rmSync(folder, { recursive: true });
    await site.close();
  }
});

test('lying weights in a folder without pair.json: the tensor is named', async () => {
  const site = await serve(withPairs({}));
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pair-'));
  try {
    const files = makePair();
    delete files['pair.json'];
    const config = JSON.parse(files['linear/config.json']);
    files['linear/config.json'] = Buffer.from(JSON.stringify({ ...config, intermediate_size: 256 }));
    writePair(files, folder);
    const { page } = await open(browser, site.address);
    await settled(page);
    await page.getByTestId('folder').setInputFiles(folder);
    assert.match(await settled(page, ['error']), /linear\/model\.safetensors: tensor `.*intermediate\.dense\.weight`: expected shape/);
    await page.close();
  } finally {
    fs.rmSync(folder, { recursive: true });
    await site.close();
  }
});

/** The page's worker with a script behind it; browser and page go on as they are. */
const withWorker = (script) => ({ 'page/worker.js': Buffer.from(`${fs.readFileSync(path.join(dist, 'page', 'worker.js'), 'utf8')}\n${script}`) });

/** Lets a test reach the worker's device. */
const DEVICE = `
  const request = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = async function (...given) { return globalThis.device = await request.apply(this, given); };`;

test('a GPU without memory: said in words; the button of the CPU engine goes on', async () => {
  const site = await serve({ ...withPairs({ fixture: makePair() }), ...withWorker(DEVICE) });
  const withGpu = await launch();
  try {
    const { page } = await open(withGpu, site.address);
    await settled(page);
    // What a browser sends when a buffer could not be had.
    await page.workers()[0].evaluate(() => {
      const error = new GPUOutOfMemoryError('no memory for a buffer');
      setTimeout(() => globalThis.device.dispatchEvent(new GPUUncapturedErrorEvent('uncapturederror', { error })));
    });
    // Said at once, and not by the next answer.
    assert.match(await settled(page, ['error']), /The GPU has no memory left.*go on with the CPU/);
    await page.getByRole('button', { name: 'Go on with the CPU' }).click();
    assert.match(await settled(page), /fixture.* is ready/);
    assert.match(await page.getByTestId('adapter').innerText(), /CPU engine/);
    assert.ok(await page.getByRole('button', { name: 'Go on with the CPU' }).isHidden());
  } finally {
    await withGpu.close();
    await site.close();
  }
});

test('an adapter that offers too little: the CPU engine, and why', async () => {
  const site = await serve({ ...withPairs({ fixture: makePair() }), ...withWorker(`
    const { get } = Object.getOwnPropertyDescriptor(GPUAdapter.prototype, 'limits');
    Object.defineProperty(GPUAdapter.prototype, 'limits', { get() {
      return new Proxy(get.call(this), { get: (limits, name) => (name === 'maxStorageBuffersPerShaderStage' ? 4 : limits[name]) });
    } });`) });
  const withGpu = await launch();
  try {
    const { page, trouble } = await open(withGpu, site.address);
    assert.match(await settled(page), /fixture.* is ready/);
    assert.match(await page.getByTestId('adapter').innerText(), /CPU engine .*offers too little: its maxStorageBuffersPerShaderStage is 4, and the kernels need 8/);
    assert.deepEqual(trouble, []);
  } finally {
    await withGpu.close();
    await site.close();
  }
});

/** Whole numbers as wasm writes them. */
const leb = (value) => (value < 128 ? [value] : [(value & 127) | 128, ...leb(value >>> 7)]);
function readLeb(bytes, at) {
  let [value, shift] = [0, 0];
  for (;;) {
    const byte = bytes[at];
    value |= (byte & 127) << shift;
    at += 1;
    if (byte < 128) return [value >>> 0, at];
    shift += 7;
  }
}

/** The engine with so many pages of 64 KiB more than it begins with, and no more. */
function withMemory(pages) {
  const wasm = fs.readFileSync(path.join(dist, 'caldera-web_bg.wasm'));
  for (let at = 8; at < wasm.length;) {
    const [size, content] = readLeb(wasm, at + 1);
    if (wasm[at] === 5) {
      const [least] = readLeb(wasm, content + 2);
      const limited = [1, 1, ...leb(least), ...leb(least + pages)];
      return Buffer.concat([wasm.subarray(0, at), Buffer.from([5, ...leb(limited.length), ...limited]), wasm.subarray(content + size)]);
    }
    at = content + size;
  }
  throw new Error('no memory section in the engine');
}

test('a length that the memory of the tab has no room for: said, and a shorter one measured after the button', async () => {
  const long = makePair({ positions: 4096, wide: 512 });
  const site = await serve({ ...withPairs({ fixture: long }), 'caldera-web_bg.wasm': withMemory(160) });
  const { page } = await open(browser, site.address);
  await settled(page);
  await page.getByTestId('lengths').fill('4096');
  await page.getByTestId('run').click();
  assert.match(await settled(page, ['error']), /The memory of this tab is used up: \d+ MiB more were needed.*Take a shorter input/);
  await page.getByRole('button', { name: 'Try again' }).click();
  assert.match(await settled(page), /fixture.* is ready/);
  await page.getByTestId('lengths').fill('64');
  await page.getByTestId('run').click();
  await page.getByText('The comparison is done').waitFor();
  await page.close();
  await site.close();
});

test('a pair that the memory of the tab has no room for: its file is named, another pair can be picked', async () => {
  const large = makePair({ name: 'large', hidden: 512, layers: 3, heads: 8, wide: 2048, k: 32 });
  const site = await serve({ ...withPairs({ fixture: makePair(), large }), 'caldera-web_bg.wasm': withMemory(300) });
  const { page } = await open(browser, site.address, '?pair=large');
  assert.match(await settled(page, ['error']), /large\/(transformer|linear)\/model\.safetensors: .*(expected \d+ MiB of free memory|memory of this tab is used up).*smaller pair/);
  await page.locator('#pair-select').selectOption('fixture');
  assert.match(await settled(page), /fixture.* is ready/);
  await page.close();
  await site.close();
});

test('a worker that breaks while it measures: said, and the button starts it again', async () => {
  const site = await serve(withPairs({ fixture: makePair() }));
  const { page } = await open(browser, site.address);
  await settled(page);
  await page.getByTestId('runs').fill('100');
  await page.getByTestId('run').click();
  await page.getByTestId('cancel').waitFor();
  await page.workers()[0].evaluate(() => { setTimeout(() => { throw new Error('the worker broke'); }); });
  assert.match(await settled(page, ['error']), /the worker broke/);
  await page.getByRole('button', { name: 'Try again' }).click();
  assert.match(await settled(page), /fixture.* is ready/);
  await page.close();
  await site.close();
});

test('a hidden tab: the sweep waits, says so, and measures again what was under way', async () => {
  const site = await serve(withPairs({ fixture: makePair() }));
  const { page, trouble } = await open(browser, site.address);
  await settled(page);
  const show = (hidden) => page.evaluate((value) => {
    Object.defineProperty(document, 'hidden', { value, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);
  await page.getByTestId('lengths').fill('64');
  await page.getByTestId('runs').fill('200');
  await page.getByTestId('run').click();
  await page.getByText(/run \d\d of 200/).waitFor();
  await show(true);
  await page.getByText('Paused: this tab is hidden').waitFor();
  const doing = await page.locator('#sweep-doing').innerText();
  await page.waitForTimeout(500);
  assert.equal(await page.locator('#sweep-doing').innerText(), doing, 'nothing is measured meanwhile');
  await show(false);
  await page.getByText('Measuring goes on').waitFor();
  await page.getByText('The comparison is done').waitFor();
  assert.equal(JSON.parse(await page.locator('#result').textContent()).points[0].runs, 200);
  // Hidden again, and stopped there.
  await page.getByTestId('run').click();
  await page.getByText(/run \d\d of 200/).waitFor();
  await show(true);
  await page.getByText('Paused: this tab is hidden').waitFor();
  await page.getByTestId('cancel').click();
  await page.getByText('Stopped;').waitFor();
  assert.deepEqual(trouble, []);
  await page.close();
  await site.close();
});

test('a lost GPU: said in words, and the button starts the engine again', async () => {
  // The worker as it is, but its device can be reached and destroyed.
  const overlay = { ...withPairs({ fixture: makePair() }), ...withWorker(DEVICE) };
  const site = await serve(overlay);
  const withGpu = await launch();
  try {
    const { page } = await open(withGpu, site.address);
    await settled(page);
    await page.workers()[0].evaluate(() => { globalThis.device.destroy(); return globalThis.device.lost; });
    await page.getByTestId('answer').click();
    assert.match(await settled(page, ['error']), /The GPU was lost/);
    await page.getByRole('button', { name: 'Try again' }).click();
    assert.match(await settled(page), /fixture.* is ready/);
    assert.match(await page.getByTestId('adapter').innerText(), /^WebGPU/);
  } finally {
    await withGpu.close();
    await site.close();
  }
});

/** The engine stops for good at the next call. */
const breakEngine = (page) => page.workers()[0].evaluate(() => { globalThis.calderaPanic = 'a shader was refused'; });

test('after the engine has stopped another pair can be picked or named, files can be chosen, another tab can be turned to', async () => {
  const site = await serve(withPairs({ fixture: makePair(), other: makePair({ name: 'other' }), words: makeLanguagePair() }));
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pair-'));
  const far = await elsewhere(makePair({ name: 'far' }));
  const { page } = await open(browser, site.address);
  try {
    await settled(page);
    const stops = async (button) => {
      await breakEngine(page);
      await page.getByTestId(button).click();
      assert.match(await settled(page, ['error']), /The engine stopped: a shader was refused\. “Try again” starts the engine anew\./);
      assert.ok(await page.getByTestId(button).isDisabled());
      assert.ok(await page.locator('#retry-cpu').isHidden(), 'it is the CPU engine already');
    };
    await stops('answer');
    await page.locator('#pair-select').selectOption('other');
    await page.getByText('“other” is ready').waitFor();
    await stops('check');
    writePair(makePair({ name: 'mine' }), folder);
    await page.getByTestId('folder').setInputFiles(folder);
    await page.getByText('“mine” is ready').waitFor();
    await stops('answer');
    await page.locator('#own-summary').click();
    await page.getByTestId('model').fill(far.address);
    await page.getByTestId('model').press('Enter');
    await page.getByText('“far” is ready').waitFor();
    await stops('answer');
    await page.getByTestId('tab-language').click();
    await page.getByText('“words” is ready').waitFor();
    await stops('write');
    await page.getByRole('button', { name: 'Try again' }).click();
    await page.getByText('“words” is ready').waitFor();
    assert.ok(await page.getByTestId('write').isEnabled());
  } finally {
    fs.rmSync(folder, { recursive: true });
    await page.close();
    await far.close();
    await site.close();
  }
});

test('a shader that the driver refuses: the CPU engine goes on, and stays', async () => {
  const site = await serve(withPairs({ fixture: makePair(), other: makePair({ name: 'other' }) }));
  const withGpu = await launch();
  try {
    const { page } = await open(withGpu, site.address);
    await settled(page);
    await breakEngine(page);
    await page.getByTestId('answer').click();
    assert.match(await settled(page, ['error']), /The engine stopped: a shader was refused/);
    await page.getByRole('button', { name: 'Go on with the CPU' }).click();
    await page.getByText('“fixture” is ready').waitFor();
    const adapter = () => page.getByTestId('adapter').innerText();
    assert.match(await adapter(), /CPU engine .*without WebGPU: chosen here, in place of the GPU\./);
    await breakEngine(page);
    await page.getByTestId('answer').click();
    await settled(page, ['error']);
    assert.ok(await page.locator('#retry-cpu').isHidden());
    await page.locator('#pair-select').selectOption('other');
    await page.getByText('“other” is ready').waitFor();
    assert.match(await adapter(), /CPU engine .*chosen here/);
  } finally {
    await withGpu.close();
    await site.close();
  }
});

/** Lets a test have the engine's calls of a method throw, once the worker is told so. */
const REFUSE = (method) => `
  const { ${method}: real } = Engine.prototype;
  Engine.prototype.${method} = function (...given) {
    if (globalThis.refuse) throw new Error('it is refused here');
    return real.apply(this, given);
  };`;

test('a sweep that is refused leaves everything in use', async () => {
  const site = await serve({ ...withPairs({ fixture: makePair() }), ...withWorker(REFUSE('measure')) });
  const { page } = await open(browser, site.address, '?lengths=16&runs=2');
  await settled(page);
  const refuse = (value) => page.workers()[0].evaluate((given) => { globalThis.refuse = given; }, value);
  await refuse(true);
  await page.getByTestId('run').click();
  assert.match(await settled(page, ['error']), /it is refused here/);
  for (const button of ['run', 'answer', 'check']) assert.ok(await page.getByTestId(button).isEnabled(), button);
  assert.equal(await page.getByTestId('tab-text').getAttribute('aria-disabled'), 'false');
  assert.ok(await page.getByTestId('cancel').isHidden());
  await refuse(false);
  await page.getByRole('button', { name: 'Try again' }).click();
  await page.getByText('The comparison is done').waitFor();
  await page.close();
  await site.close();
});

for (const method of ['hold', 'decode']) {
  test(`an engine that stops in “${method}” of a sweep over context: its own words are said`, async () => {
    const site = await serve({ ...withPairs({ words: makeLanguagePair() }), ...withWorker(`
      const { ${method}: real } = Engine.prototype;
      Engine.prototype.${method} = function (...given) {
        if (!globalThis.refuse) return real.apply(this, given);
        globalThis.calderaPanic = 'no room for the context';
        throw new WebAssembly.RuntimeError('unreachable');
      };`) });
    const { page } = await open(browser, site.address, '?lengths=16,32&runs=2');
    await settled(page);
    await page.workers()[0].evaluate(() => { globalThis.refuse = true; });
    await page.getByTestId('run').click();
    assert.match(await settled(page, ['error']), /^The engine stopped: no room for the context\./);
    await page.getByRole('button', { name: 'Try again' }).click();
    assert.match(await settled(page), /“words” is ready/);
    await page.close();
    await site.close();
  });
}

test('a pair that is brought during a sweep: the new one’s sweep is its own', async () => {
  const site = await serve(withPairs({ fixture: makePair(), other: makePair({ name: 'other' }) }));
  const { page, trouble } = await open(browser, site.address, '?lengths=32,64&runs=200');
  await settled(page);
  await page.getByTestId('run').click();
  await page.locator('#sweep-doing').getByText(/first run|run \d+ of/).waitFor();
  await page.locator('#pair-select').selectOption('other');
  await page.getByText('“other” is ready').waitFor();
  assert.ok(await page.getByTestId('cancel').isHidden());
  await page.getByTestId('run').click();
  await page.locator('#sweep-doing').getByText(/run \d\d of 200/).waitFor();
  assert.ok(await page.getByTestId('cancel').isVisible());
  await page.getByTestId('cancel').click();
  assert.match(await settled(page), /Stopped;/);
  assert.match(await page.getByTestId('provenance').innerText(), /other/);
  assert.deepEqual(trouble, []);
  await page.close();
  await site.close();
});

test('a pair that is picked while another loads takes its place', async () => {
  const site = await serve(withPairs({ fixture: makePair(), slow: makePair({ name: 'slow' }), other: makePair({ name: 'other', vocab: 200 }) }));
  const { page, trouble } = await open(browser, site.address);
  await settled(page);
  // Its weights never come.
  await page.route('**/pairs/slow/linear/model.safetensors', () => {});
  await page.locator('#pair-select').selectOption('slow');
  // Which of the two is said depends on whether the bytes of the second one’s config count before its weights hang.
  await page.getByText(/^Reading the (transformer|linear model)/).waitFor();
  await page.locator('#pair-select').selectOption('other');
  await page.getByText('“other” is ready').waitFor();
  assert.equal(await page.locator('#pair-select').inputValue(), 'other');
  assert.match(await page.getByTestId('answer-linear').innerText(), /tokens/);
  assert.deepEqual(trouble, []);
  await page.close();
  await site.close();
});

test('an engine whose file hangs can be started again', async () => {
  const site = await serve(withPairs({ fixture: makePair() }));
  const page = await browser.newPage({ serviceWorkers: 'block' });
  await page.clock.install();
  const file = '**/caldera-web_bg.wasm';
  await page.route(file, () => {});
  await page.goto(site.address);
  await page.getByText('Starting the engine…').waitFor();
  await page.clock.runFor(19_000);
  assert.ok(await page.locator('#retry').isHidden());
  await page.clock.runFor(2_000);
  await page.getByText(/^The engine is not here after 20 seconds: its file may be stuck on the way\. It is still waited for\.$/).waitFor();
  await page.unroute(file);
  await page.getByRole('button', { name: 'Start again' }).click();
  await page.getByText('“fixture” is ready').waitFor();
  assert.match(await page.getByTestId('answer-linear').innerText(), /tokens/);
  await page.close();
  await site.close();
});

test('a load that hangs can be stopped; another pair can be picked, or the same once more', async () => {
  const site = await serve(withPairs({ fixture: makePair(), slow: makePair({ name: 'slow' }) }));
  const { page } = await open(browser, site.address);
  await settled(page);
  const weights = '**/pairs/slow/linear/model.safetensors';
  const focused = () => page.evaluate(() => document.activeElement.id);
  await page.route(weights, () => {});
  await page.locator('#pair-select').selectOption('slow');
  await page.getByTestId('stop-load').focus();
  await page.keyboard.press('Enter');
  assert.match(await settled(page), /^Stopped\. Choose another pair, or load this one again\.$/);
  assert.equal(await focused(), 'retry', 'the focus goes on');
  assert.ok(await page.getByTestId('stop-load').isHidden());
  assert.ok(await page.getByTestId('answer').isDisabled());
  await page.locator('#pair-select').selectOption('fixture');
  await page.getByText('“fixture” is ready').waitFor();
  await page.locator('#pair-select').selectOption('slow');
  await page.getByTestId('stop-load').click();
  await page.unroute(weights);
  await page.locator('#retry').focus();
  await page.keyboard.press('Enter');
  await page.getByText('“slow” is ready').waitFor();
  assert.notEqual(await focused(), '', 'it is not lost');
  await page.close();
  await site.close();
});

test('a pair under which the browser closed the tab is not loaded again unasked', async () => {
  const site = await serve(withPairs({ fixture: makePair(), other: makePair({ name: 'other' }) }));
  const context = await browser.newContext();
  // What a tab that was ended leaves behind.
  await context.addInitScript((pair) => { if (!sessionStorage['test-began']) Object.assign(sessionStorage, { 'test-began': 1, 'caldera-loading': pair }); }, `${site.address}pairs/fixture/`);
  const { page } = await open(context, site.address);
  assert.match(await settled(page, ['error']), /The browser closed this page while “fixture” was loading, most likely for want of memory\. Choose a smaller pair, or load it again\./);
  await page.locator('#pair-select').selectOption('other');
  await page.getByText('“other” is ready').waitFor();
  await page.reload();
  await page.getByText('“fixture” is ready').waitFor();
  // Who reloads the page while a pair loads has not lost it.
  await page.route('**/linear/model.safetensors', () => {});
  await page.reload();
  await page.waitForFunction(() => sessionStorage['caldera-loading']);
  await page.unroute('**/linear/model.safetensors');
  await page.reload();
  await page.getByText('“fixture” is ready').waitFor();
  assert.equal(await page.evaluate(() => sessionStorage['caldera-loading']), undefined);
  await context.close();
  await site.close();
});

test('nothing else runs while the samples are compared', async () => {
  const site = await serve(withPairs({ fixture: makePair(), digits: makeSpeechPair() }));
  const { page, trouble } = await open(browser, site.address);
  await settled(page);
  await page.evaluate(() => {
    globalThis.asked = [];
    const { postMessage } = Worker.prototype;
    Worker.prototype.postMessage = function (message) { globalThis.asked.push(message.method); postMessage.call(this, message); };
  });
  await page.evaluate(() => {
    document.getElementById('check').click();
    document.getElementById('text').dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', ctrlKey: true, bubbles: true }));
    document.getElementById('sweep-form').requestSubmit();
  });
  await page.getByTestId('checked').getByText(/Both models/).waitFor();
  const samples = JSON.parse(makePair()['pair.json']).samples.length;
  assert.deepEqual(await page.evaluate(() => globalThis.asked), Array(samples).fill('answer'));
  assert.deepEqual(trouble, []);
  await page.close();
  await site.close();
});

test('buttons that rest keep the focus, and do nothing', async () => {
  const site = await serve(withPairs({ fixture: makePair(), words: makeLanguagePair() }));
  const { page } = await open(browser, site.address);
  await settled(page);
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent);
  for (const id of ['answer', 'run']) {
    await page.locator(`#${id}`).focus();
    const before = await focused();
    await page.evaluate((name) => { const button = document.getElementById(name); button.setAttribute('aria-disabled', 'true'); }, id);
    await page.keyboard.press('Enter');
    assert.match(await page.getByTestId('status').innerText(), /is ready/, `${id} rests`);
    await page.evaluate((name) => document.getElementById(name).setAttribute('aria-disabled', 'false'), id);
    assert.equal(await focused(), before);
  }
  const chip = page.locator('#samples button').last();
  const name = await chip.innerText();
  await chip.focus();
  await page.keyboard.press('Enter');
  await page.waitForTimeout(100);
  await settled(page);
  assert.equal(await focused(), name);
  await page.getByTestId('answer').focus();
  await page.keyboard.press('Enter');
  await page.waitForTimeout(100);
  assert.match(await settled(page), /have answered/);
  assert.equal(await focused(), 'answer');
  await page.getByTestId('tab-language').click();
  await page.getByText('“words” is ready').waitFor();
  await page.getByTestId('tokens').fill('100000');
  await page.getByTestId('write').focus();
  await page.keyboard.press('Enter');
  await page.getByTestId('stop').focus();
  await page.keyboard.press('Enter');
  await settled(page);
  assert.equal(await focused(), 'write');
  await page.close();
  await site.close();
});

test('text that is dragged falls into a field, and is no file', async () => {
  const site = await serve(withPairs({ fixture: makePair() }));
  const { page } = await open(browser, site.address);
  await settled(page);
  const drop = (file) => page.evaluate((withFile) => {
    const dataTransfer = new DataTransfer();
    if (withFile) dataTransfer.items.add(new File(['x'], 'x.txt')); else dataTransfer.setData('text/plain', 'a word');
    return ['dragenter', 'dragover', 'drop'].map((kind) =>
      document.getElementById('text').dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true })));
  }, file);
  // True where nothing was prevented, so that the browser does what it does.
  assert.deepEqual(await drop(false), [true, true, true]);
  assert.ok(await page.locator('#drop').isHidden());
  assert.match(await page.getByTestId('status').innerText(), /is ready/);
  assert.deepEqual(await drop(true), [true, false, false]);
  assert.match(await settled(page, ['error']), /No pair among these files/);
  await page.close();
  await site.close();
});

test('a connection that goes silent is given up and taken up again', async () => {
  const { download } = await load('download.js');
  const bytes = Buffer.alloc(4000, 7);
  const asked = [];
  const server = http.createServer((request, response) => {
    const [, from] = /^bytes=(\d+)-/.exec(request.headers.range ?? '') ?? [null, 0];
    asked.push(Number(from));
    response.writeHead(from ? 206 : 200, { 'content-length': bytes.length - from });
    // The first answer stops half way and stays open, the second gives nothing at all.
    if (asked.length === 1) response.write(bytes.subarray(0, 1500));
    else if (asked.length === 2) response.flushHeaders();
    else response.end(bytes.subarray(from));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const address = `http://127.0.0.1:${server.address().port}/file`;
    const get = async (options) => {
      let came = 0;
      for await (const piece of download(address, { file: 'file', size: bytes.length, pauses: [5, 5], stall: 100, ...options })) came += piece.length;
      return came;
    };
    assert.equal(await get(), bytes.length);
    assert.deepEqual(asked, [0, 1500, 1500]);
    asked.length = 0;
    await assert.rejects(get({ pauses: [] }), /file: nothing came for 0\.1 s after 1,500 of 4,000 bytes/);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test('an engine that cannot be loaded: said, and loaded by the button once it can', async () => {
  const overlay = { ...withPairs({ fixture: makePair() }), 'caldera-web_bg.wasm': Buffer.from('no wasm') };
  const site = await serve(overlay);
  const { page } = await open(browser, site.address);
  assert.match(await settled(page, ['error']), /WebAssembly/);
  delete overlay['caldera-web_bg.wasm'];
  await page.getByRole('button', { name: 'Try again' }).click();
  assert.match(await settled(page), /fixture.* is ready/);
  await page.close();
  await site.close();
});
