// What can go wrong while loading, and the way on from there; local files.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { makePair, writePair } from './support/pair.mjs';
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

test('a lost GPU: said in words, and the button starts the engine again', async () => {
  const overlay = withPairs({ fixture: makePair() });
  // The worker as it is, but its device can be reached and destroyed.
  const worker = fs.readFileSync(path.join(dist, 'page', 'worker.js'), 'utf8');
  overlay['page/worker.js'] = Buffer.from(`${worker}
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (...given) { return globalThis.device = await request.apply(this, given); };`);
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
