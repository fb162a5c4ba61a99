// The arithmetic of the theory curves, held against the matrices that the models really have; no browser needed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { load } from './support/modules.mjs';
import { makeLanguagePair, makePair, makeSpeechPair } from './support/pair.mjs';

const theory = await load('theory.js');

/** Facts as the worker gives them. */
const facts = (files, side, more) => ({ config: JSON.parse(files[`${side}/config.json`]), ...more });

/** Names and shapes of a model file. */
function shapes(files, side) {
  const bytes = files[`${side}/model.safetensors`];
  const header = JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))));
  return Object.entries(header).filter(([name]) => name !== '__metadata__').map(([name, { shape }]) => [name, shape]);
}

/** Numbers in all weights whose names match: each meets each token once. */
const weights = (files, side, pattern) => shapes(files, side).filter(([name]) => pattern.test(name) && /weight\d?$/.test(name))
  .reduce((sum, [, shape]) => sum + (shape.length > 1 ? shape.reduce((a, b) => a * b) : 0), 0);

test('a text classifier: every matrix of the layers once a token, attention with the square', () => {
  const files = makePair({ hidden: 32, layers: 3, wide: 96, k: 16 });
  const counts = theory.arithmetic({
    transformer: facts(files, 'transformer', { kind: 'text', mixer: 'softmax' }), linear: facts(files, 'linear', { kind: 'text', mixer: 'linformer' }) });
  const matrices = weights(files, 'transformer', /encoder\.layer/);
  assert.deepEqual(counts.transformer, [0, matrices, 3 * 2 * 32]);
  assert.deepEqual(counts.linear, [0, matrices + 3 * 4 * 16 * 32, 0]);
  // Scores and their sum over L tokens are as much as over k rows twice, once to fold, once to look.
  assert.equal(theory.equal(counts), 2 * 16);
});

test('a token of a language model: every matrix and the head once, the cache for each token of the context', () => {
  const [hidden, states] = [32, 16];
  const files = makeLanguagePair({ hidden, layers: 2, wide: 64, states });
  const counts = theory.arithmetic({
    transformer: facts(files, 'transformer', { kind: 'language', mixer: 'softmax' }), linear: facts(files, 'linear', { kind: 'language', mixer: 'mamba' }) });
  const all = (side) => weights(files, side, /gpt_neox\.layers|embed_out/);
  assert.deepEqual(counts.transformer, [all('transformer'), 2 * 2 * hidden, 0]);
  assert.deepEqual(counts.linear, [all('linear') + 2 * 3 * (2 * hidden) * states, 0, 0]);
});

test('a second of sound: the layers for each frame, both directions of Mamba-2', () => {
  const files = makeSpeechPair();
  const config = JSON.parse(files['linear/config.json']);
  const hop = config.conv_stride.reduce((a, b) => a * b);
  const more = { kind: 'speech', transcribes: true, sampling_rate: 16000, hop };
  const counts = theory.arithmetic({ transformer: facts(files, 'transformer', { ...more, mixer: 'softmax' }), linear: facts(files, 'linear', { ...more, mixer: 'bimamba2' }) });
  const frames = 16000 / hop;
  const { hidden_size: h, num_hidden_layers: count, caldera: { num_heads, head_dim, d_state } } = config;
  assert.equal(counts.transformer[2], frames ** 2 * count * 2 * h);
  assert.equal(counts.linear[2], 0);
  // What both have in front of and behind the layers falls out of the difference.
  const layer = (side) => weights(files, side, /encoder\.layers/);
  const scan = count * 2 * 3 * num_heads * head_dim * d_state;
  assert.equal(Math.round(counts.linear[1] - counts.transformer[1]), Math.round(frames * (layer('linear') + scan - layer('transformer'))));
  let rate = 16000;
  let front = 0;
  for (const [i, stride] of config.conv_stride.entries()) { rate /= stride; front += rate * weights(files, 'linear', new RegExp(`conv_layers\\.${i}\\.conv`)); }
  const positions = shapes(files, 'linear').find(([name]) => name.endsWith('weight.original1'))[1].reduce((a, b) => a * b);
  const rest = positions + weights(files, 'linear', /feature_projection\.projection|lm_head/);
  assert.ok(Math.abs(counts.linear[1] - (front + frames * (rest + layer('linear') + scan))) < 1e-6 * counts.linear[1]);
});

test('memory of a language model: a cache that grows by a token, a state that does not, in bytes as they are', () => {
  const [hidden, layers, states] = [32, 2, 16];
  const files = makeLanguagePair({ hidden, layers, states });
  const { memory } = theory.arithmetic({
    transformer: facts(files, 'transformer', { kind: 'language', mixer: 'softmax' }), linear: facts(files, 'linear', { kind: 'language', mixer: 'mamba' }) });
  assert.deepEqual(memory.transformer, [0, 2 * layers * hidden * 4, 0]);
  // Channels of the convolution, three inputs each, and their states.
  assert.deepEqual(memory.linear, [layers * 2 * hidden * (3 + states) * 4, 0, 0]);
  assert.ok(memory.absolute);
  const { curves } = theory.curves(memory, points, () => 1);
  assert.equal(curves.transformer.at(-1).y, 1024 * memory.transformer[1], 'drawn as counted');
  assert.equal(curves.linear[0].y, memory.linear[0]);
});

test('memory of a text: the widest matrix of a layer, in proportion to the length in both', () => {
  const of = (options) => {
    const files = makePair(options);
    return theory.arithmetic({
      transformer: facts(files, 'transformer', { kind: 'text', mixer: 'softmax' }), linear: facts(files, 'linear', { kind: 'text', mixer: 'linformer' }) }).memory;
  };
  assert.deepEqual(of({ hidden: 32, wide: 128 }), { transformer: [0, 4 * (32 + 128), 0], linear: [0, 4 * (32 + 128), 0], absolute: false });
  assert.deepEqual(of({ hidden: 32, wide: 64 }).transformer, [0, 4 * (32 + 3 * 32), 0], 'query, key and value are wider than that');
});

test('memory of a second of sound: the first convolution, its samples and its frames', () => {
  const files = makeSpeechPair();
  const { conv_dim: [dim], conv_stride } = JSON.parse(files['linear/config.json']);
  const more = { kind: 'speech', transcribes: true, sampling_rate: 8000, hop: conv_stride.reduce((a, b) => a * b) };
  const { memory } = theory.arithmetic({ transformer: facts(files, 'transformer', { ...more, mixer: 'softmax' }), linear: facts(files, 'linear', { ...more, mixer: 'bimamba2' }) });
  const [first, second] = [8000 + 8000 / conv_stride[0] * dim, 8000 / conv_stride[0] * dim * (1 + 1 / conv_stride[1])];
  assert.deepEqual(memory.transformer, [0, 4 * Math.max(first, second), 0]);
  assert.deepEqual(memory.linear, memory.transformer);
});

test('a config without a number gives no curves', () => {
  const files = makePair({});
  const model = facts(files, 'transformer', { kind: 'text', mixer: 'softmax' });
  assert.equal(theory.arithmetic({ transformer: model, linear: { ...model, mixer: 'unheard of' } }), null);
  delete model.config.intermediate_size;
  assert.equal(theory.arithmetic({ transformer: model, linear: model }), null);
  assert.equal(theory.curves(null, []), null);
});

const point = (length, model, median_ms) => ({ length, model, median_ms });
const counts = { transformer: [0, 100, 1], linear: [0, 200, 0] };
const points = [[64, 5, 9], [1024, 700, 50]].flatMap(([length, t, l]) => [point(length, 'transformer', t), point(length, 'linear', l)]);

test('curves meet the medians at the longest length, and nowhere else on purpose', () => {
  const { anchor, curves } = theory.curves(counts, points);
  assert.equal(anchor, 1024);
  assert.ok(Math.abs(curves.transformer.at(-1).y - 700) < 1e-9 && Math.abs(curves.linear.at(-1).y - 50) < 1e-9);
  assert.ok(Math.abs(curves.transformer[0].x - 64) < 1e-9);
  assert.ok(Math.abs(curves.transformer[0].y - 700 * (100 * 64 + 64 ** 2) / (100 * 1024 + 1024 ** 2)) < 1e-9);
  assert.equal(theory.curves(counts, points.slice(0, 2)), null, 'a single length has no shape');
  const memory = theory.curves({ transformer: [0, 8, 0], linear: [0, 8, 0] }, points, ({ model }) => (model === 'linear' ? 512 : 2048)).curves;
  assert.deepEqual([memory.transformer.at(-1).y, memory.linear.at(-1).y, memory.linear[0].y], [2048, 512, 32], 'memory meets what was held');
});

test('words: not measured, where it was scaled, what grows how', () => {
  const words = theory.theoryInWords(counts, points, 'tokens');
  assert.match(words, /^Dashed, and not measured/);
  assert.match(words, /median at 1,024 tokens/);
  assert.match(words, /From 64 to 1,024 tokens the transformer comes to need 110 times the multiply-adds, the linear model 16 times/);
  assert.match(words, /Both need as many at about 100 tokens, the transformer more beyond/);
  assert.match(theory.theoryInWords({ ...counts, linear: [0, 50, 0] }, points, 'tokens'), /The linear model needs fewer of them at every length/);
  const words2 = (memory) => theory.theoryInWords({ ...counts, memory }, points, 'tokens').replaceAll('\u00a0', ' ');
  assert.match(words2({ transformer: [0, 6144, 0], linear: [117_000, 0, 0], absolute: true }),
    /not scaled: keys and values of the transformer take 6\.1 kB for each of the tokens in the context, the linear model’s state 117 kB at every context/);
  assert.match(words2({ transformer: [0, 8, 0], linear: [0, 8, 0], absolute: false }), /in proportion to the length in both.*scaled to what each took at 1,024 tokens\.$/);
});
