// Weights of 16 bits: on a GPU they stay so and are unpacked in the kernels, on the CPU engine they become f32. Both say the same.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { makeLanguagePair, makePair, makeSpeechPair } from './support/pair.mjs';
import { launch, open, serve, settled, withPairs } from './support/site.mjs';

const ROLES = ['transformer', 'linear'];
const PAIRS = {
  text: makePair({ name: 'text', hidden: 128, heads: 4, wide: 512, layers: 2, positions: 128, k: 32, dtype: 'F16' }),
  language: makeLanguagePair({ name: 'language', hidden: 128, wide: 512, positions: 128, dtype: 'F16' }),
  speech: makeSpeechPair({ name: 'speech', hidden: 64, wide: 256, labels: ['yes', 'no', 'maybe'], dtype: 'F16' }),
};

let site, browser;
before(async () => { site = await serve(withPairs(PAIRS)); browser = await launch(); });
after(async () => { await browser?.close(); await site?.close(); });

/** What both models of a pair say on an engine, and what the engine holds. */
async function said(kind, engine) {
  const { page, trouble } = await open(browser, site.address, `?pair=${kind}&engine=${engine}`);
  assert.match(await settled(page, ['ready', 'error'], 240_000), /is ready/);
  const heard = await page.evaluate(async ({ kind, ROLES }) => {
    const { call } = globalThis.caldera;
    const memory = await call('memory');
    if (kind === 'text') return { memory, answers: await call('answer', { text: 'a warm and bright story', once: true }) };
    if (kind === 'speech') return { memory, answers: await call('hear', { samples: Float32Array.from({ length: 8000 }, (_, i) => Math.sin(i * 0.21)), once: true }) };
    const answers = {};
    for (const role of ROLES) answers[role] = await call('generate', { role, prompt: 'the king', options: { max_new_tokens: 6 } });
    return { memory, answers };
  }, { kind, ROLES });
  assert.deepEqual(trouble, []);
  await page.close();
  return heard;
}

for (const kind of Object.keys(PAIRS)) {
  test(`${kind} models say the same with packed weights as with f32`, async () => {
    const [gpu, cpu] = [await said(kind, 'webgpu'), await said(kind, 'cpu')];
    for (const role of ROLES) {
      const [packed, wide] = [gpu.answers[role], cpu.answers[role]];
      if (kind === 'language') { assert.ok(wide.text.length > 0); assert.equal(packed.text, wide.text); continue; }
      assert.ok(wide.probabilities.length > 1);
      wide.probabilities.forEach(([label, probability], i) => {
        assert.equal(packed.probabilities[i][0], label);
        assert.ok(Math.abs(packed.probabilities[i][1] - probability) < 1e-3, `${role}, ${label}: ${packed.probabilities[i][1]} and ${probability}`);
      });
    }
    const stored = ROLES.reduce((sum, side) => sum + PAIRS[kind][`${side}/model.safetensors`].length, 0);
    console.log(`${kind}: ${stored} bytes of files, ${gpu.memory.used_bytes} in use on the GPU`);
    // Norms, biases, convolutions and scans are widened, so that they take twice as much; they are most of this small speech model.
    if (kind !== 'speech') assert.ok(gpu.memory.used_bytes < 1.25 * stored, `${gpu.memory.used_bytes} bytes in use for ${stored}`);
  });
}
