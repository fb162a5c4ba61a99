// What the page makes of its measurements over context; no browser needed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { load } from './support/modules.mjs';

const decode = await load('decode.js');

const point = (length, model, median_ms, state_bytes) => ({ length, model, median_ms, p10_ms: median_ms, p90_ms: median_ms, decode_ms_per_token: median_ms, state_bytes });
const points = (rows) => rows.flatMap(([length, transformer, linear]) => [point(length, 'transformer', transformer, 20 * length), point(length, 'linear', linear, 1024)]);

/** An engine that answers at once; `prefill` gives the milliseconds of a prefill. */
const engine = (calls, prefill = () => 10, state = () => 100) => async (method, given) => {
  calls.push([method, given]);
  if (method === 'decode') return given.role === 'linear' ? 2 : 0.02 * given.length;
  return { prefill_ms: given.prefill ? prefill(given) : null, first_ms: 5, state_bytes: state(given), peak_bytes: 1000 };
};

test('contexts as far as the pair goes', () => {
  assert.deepEqual(decode.defaultContexts(Infinity), [256, 512, 1024, 2048, 4096, 8192]);
  assert.deepEqual(decode.defaultContexts(512), [256, 512]);
  assert.deepEqual(decode.defaultContexts(96), [96]);
});

test('words', () => {
  const rows = points([[256, 1, 2], [1024, 4, 2]]);
  assert.equal(decode.decodeInWords(rows), 'From a context of about 510 tokens on, the linear model writes faster; at 1,024 it takes 1/2 of the time for a token and holds 1/20 of the memory.');
  assert.match(decode.growthInWords(rows), /^From 256 to 1,024 tokens .* the transformer 4\.0 times the time \(slope 1\.00\), the linear model 1\.0 times the time \(slope 0\.00\)\./);
  assert.match(decode.growthInWords(points([[256, 1, 2], [1024, 4, 1.999]])), /\(slope 0\.00\)\. The/);
  assert.match(decode.growthInWords(points([[256, 1, 2], [1024, 4, 1]])), /\(slope −0\.50\)\. The/);
  assert.equal(decode.growthInWords(rows.slice(0, 2)), '');
  assert.equal(decode.decodeInWords(points([[256, 1, 2]])), 'At a context of 256 tokens the transformer writes faster: the linear model takes 2 times the time for a token and holds 1/5 of the memory.');
  assert.match(decode.decodeInWords(points([[256, 3, 2], [512, 4, 2]])), /^The linear model writes faster at every context from 256 tokens on; at 512 it takes/);
  const close = points([[256, 10, 9]]).map((one) => ({ ...one, p10_ms: 5, p90_ms: 15 }));
  assert.match(decode.decodeInWords(close), /may be chance/);
  assert.equal(decode.decodeInWords(points([[256, 100, 99]])), 'At a context of 256 tokens both models take the same time for a token; the linear model holds 1/5 of the memory.');
  assert.equal(decode.decodeInWords([]), '');
});

test('prefills first, then rounds over all contexts with the models in turn', async () => {
  const calls = [];
  const result = await decode.runDecodeSweep({ lengths: [256, 512], runs: 2, report: () => {}, call: engine(calls) });
  assert.deepEqual(result.map(({ length, model, runs }) => [length, model, runs]), [[256, 'transformer', 2], [256, 'linear', 2], [512, 'transformer', 2], [512, 'linear', 2]]);
  assert.deepEqual(result[0], {
    length: 256, model: 'transformer', median_ms: 5.12, p10_ms: 5.12, p90_ms: 5.12, first_ms: 5, runs: 2, peak_bytes: 1000, forwards: 12,
    prefill_ms: 10, decode_ms_per_token: 5.12, state_bytes: 100 });
  const timed = calls.filter(([method, { tokens }]) => method === 'decode' && tokens > 2).map(([, { role, length }]) => `${role[0]}${length}`);
  assert.deepEqual(timed, ['t256', 'l256', 't512', 'l512', 'l256', 't256', 'l512', 't512']);
  assert.equal(calls.filter(([method]) => method === 'hold').length, 16, 'a first prefill and three that count');
  assert.deepEqual(calls.filter(([method, { tokens }]) => method === 'decode' && tokens === 2).map(([, { role, length }]) => `${role[0]}${length}`), ['t256', 'l256', 'l512', 't512'], 'who is first takes turns');
  assert.deepEqual(calls.at(-1), ['release', {}]);
});

test('a prefill that would take too long is left out', async () => {
  const calls = [];
  const slow = ({ role, length }) => (role === 'linear' ? length : (length / 256) ** 2 * 6000);
  const result = await decode.runDecodeSweep({ lengths: [256, 512], runs: 1, report: () => {}, call: engine(calls, slow) });
  assert.deepEqual(result.map(({ prefill_ms }) => prefill_ms), [6000, 256, null, 512]);
});

test('what does not fit beside the others is made anew for each run', async () => {
  const calls = [];
  await decode.runDecodeSweep({ lengths: [256, 512], runs: 2, report: () => {}, call: engine(calls, () => 10, ({ length }) => (length > 256 ? 300e6 : 100)) });
  const blank = calls.filter(([method, { prefill }]) => method === 'hold' && prefill === false);
  assert.deepEqual(blank.map(([, { length }]) => length), [512, 512, 512, 512]);
  assert.equal(calls.filter(([method, { length }]) => method === 'release' && length === 512).length, 3);
});

test('the GPU’s own timestamps come last, the median of three, and stopping them loses no figure', async () => {
  const abort = new AbortController();
  const sweep = async (stopAt) => {
    const [calls, device] = [[], [3, 1, 2, 6, null, 4]];
    const quick = engine(calls);
    const result = await decode.runDecodeSweep({
      lengths: [256], runs: 1, timestamps: true, report: () => {}, signal: abort.signal,
      call: async (method, given) => {
        if (method !== 'decode_device') return quick(method, given);
        if (device.length === stopAt) abort.abort();
        return device.shift();
      } });
    return result.map(({ model, runs, device_ms: ms }) => [model, runs, ms]);
  };
  assert.deepEqual(await sweep(0), [['transformer', 1, 2], ['linear', 1, 5]]);
  assert.deepEqual(await sweep(4), [['transformer', 1, undefined], ['linear', 1, undefined]]);
});

test('a stopped sweep keeps whole rounds and lets everything go', async () => {
  const abort = new AbortController();
  const calls = [];
  const quick = engine(calls);
  const result = await decode.runDecodeSweep({
    lengths: [256, 512], runs: 5, report: () => {}, signal: abort.signal,
    call: async (method, given) => {
      if (calls.length === 26) abort.abort();
      return quick(method, given);
    },
  });
  assert.deepEqual(result.map(({ runs }) => runs), [1, 1, 1, 1]);
  assert.deepEqual(calls.at(-1), ['release', {}]);
});

test('a short prefill is the median of three, a longer one is run once more, a long one once', async () => {
  const run = async (times) => {
    const left = [...times];
    const [{ prefill_ms: ms }] = await decode.runDecodeSweep({
      lengths: [256], runs: 1, report: () => {}, call: engine([], ({ role }) => (role === 'linear' ? 1 : left.shift())) });
    assert.deepEqual(left, [], 'as often as that');
    return ms;
  };
  assert.equal(await run([900, 30, 10, 20]), 20);
  assert.equal(await run([900, 600]), 600);
  assert.equal(await run([5000]), 5000);
});

test('a stop while contexts are made asks for nothing more', async () => {
  const abort = new AbortController();
  const calls = [];
  const quick = engine(calls);
  const result = await decode.runDecodeSweep({
    lengths: [256, 512], runs: 5, report: () => {}, signal: abort.signal,
    call: async (method, given) => { if (calls.length === 2) abort.abort(); return quick(method, given); } });
  assert.deepEqual(result, []);
  assert.deepEqual(calls.map(([method]) => method), ['hold', 'hold', 'hold', 'release']);
});

test('what breaks a sweep is told, whatever becomes of the engine', async () => {
  for (const broken of ['hold', 'decode']) {
    const calls = [];
    const quick = engine(calls);
    const call = (method, given) => {
      if (method === 'release') return new Promise(() => {});
      return method === broken ? Promise.reject(new Error('the engine stopped')) : quick(method, given);
    };
    await assert.rejects(decode.runDecodeSweep({ lengths: [256], runs: 1, report: () => {}, call }), /^Error: the engine stopped$/);
  }
});
