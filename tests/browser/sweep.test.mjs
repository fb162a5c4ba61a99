// What the page makes of its measurements; no browser needed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { load } from './support/modules.mjs';

const sweep = await load('sweep.js');
const turns = await load('turns.js');

const point = (length, model, median_ms, peak_bytes = 1000) => ({ length, model, median_ms, p10_ms: median_ms, p90_ms: median_ms, first_ms: median_ms, runs: 1, peak_bytes });
const points = (rows) => rows.flatMap(([length, transformer, linear]) => [point(length, 'transformer', transformer, 20 * length), point(length, 'linear', linear, length)]);

test('quantiles lie straight between neighbours', () => {
  assert.deepEqual(sweep.summarise([4, 1, 3, 2, 5]), { median_ms: 3, p10_ms: 1.4, p90_ms: 4.6 });
  assert.deepEqual(sweep.summarise([7]), { median_ms: 7, p10_ms: 7, p90_ms: 7 });
});

test('lengths: sorted, once each, others refused in words', () => {
  assert.deepEqual(sweep.parseLengths('128, 64 64;256', 512), { lengths: [64, 128, 256], refused: [] });
  const { lengths, refused } = sweep.parseLengths('1,-5,x,1.5,1024,512', 512);
  assert.deepEqual(lengths, [512]);
  assert.equal(refused.length, 5);
  assert.match(refused[4], /1,024 is longer than the 512 tokens/);
  assert.deepEqual(sweep.defaultLengths(512), [64, 128, 256, 512]);
  assert.deepEqual(sweep.defaultLengths(40), [40]);
});

test('the crossover lies where the linear model is faster from then on', () => {
  assert.equal(sweep.crossover(points([[64, 1, 2], [256, 4, 2]])), 128, 'halfway on logarithmic axes');
  assert.equal(sweep.crossover(points([[64, 3, 2], [128, 4, 2]])), 64, 'faster throughout');
  assert.equal(sweep.crossover(points([[64, 3, 2], [128, 1, 2]])), null, 'slower at the longest');
  assert.equal(sweep.crossover(points([[64, 3, 2], [128, 1, 2], [256, 4, 2]])) > 128, true, 'an early lead does not count');
  assert.equal(sweep.crossover([]), null);
  const same = points([[64, 1, 2], [128, 100, 99]]);
  assert.equal(sweep.crossover(same), null, 'none where the words say that both take the same time');
  assert.match(sweep.inWords(same), /both models take the same time/);
});

test('the slope is that of the power law', () => {
  const rows = points([[256, 1, 3], [512, 2, 3], [2048, 8, 3]]);
  assert.ok(Math.abs(sweep.slope(rows, 'transformer') - 1) < 1e-9);
  assert.ok(Math.abs(sweep.slope(rows, 'linear')) < 1e-9);
  assert.equal(sweep.slope(rows.slice(0, 2), 'linear'), null);
  assert.deepEqual(sweep.growth(rows), ['8.0 times the time (slope 1.00)', '1.0 times the time (slope 0.00)']);
});

test('lengths in seconds', async () => {
  const unit = { unit: 's', least: 1, most: 'seconds that are measured here' };
  const { lengths, refused } = sweep.parseLengths('1 0.5 200 64', 120, unit);
  assert.deepEqual(lengths, [1, 64]);
  assert.deepEqual(refused, ['“0.5” is not a length: a whole number from 1 is.', '200 is longer than the 120 seconds that are measured here; it is left out.']);
  assert.equal(sweep.crossover(points([[1, 1, 2], [16, 10, 4]])), 3.3, 'between small lengths not a whole number');
  assert.match(sweep.inWords(points([[1, 1, 2], [16, 10, 4]]), 's'), /^From about 3\.3 s on, the linear model is faster\. At 16 s it takes/);
  const said = [];
  const result = await sweep.runSweep({
    lengths: [2], runs: 1, unit: 's', more: (length) => ({ frames: 50 * length }), call: async () => 1, report: ({ text }) => said.push(text) });
  assert.deepEqual(result.map(({ frames }) => frames), [100, 100]);
  assert.match(said[0], /^2 s: first run/);
  assert.match(sweep.toCsv(sweep.toResult({ points: result })), /,peak_bytes,forwards,frames\n2,transformer,.*,100\n/);
});

test('words', () => {
  assert.equal(sweep.inWords(points([[64, 1, 2], [8192, 110, 10]])), 'From about 190 tokens on, the linear model is faster. At 8,192 it takes 1/11 of the time and 1/20 of the working memory.');
  assert.match(sweep.inWords(points([[64, 1, 2], [128, 1, 2]])), /Up to 128 tokens the transformer is faster.* At 128 the linear model takes 2 times the time and/);
  assert.equal(sweep.inWords(points([[64, 2, 3]])), 'At 64 tokens the transformer is faster. At 64 the linear model takes 1.5 times the time and 1/20 of the working memory.');
  assert.equal(sweep.inWords(points([[64, 100, 99]])), 'At 64 tokens both models take the same time. The linear model takes 1/20 of the working memory.');
  assert.match(sweep.inWords(points([[64, 1, 2], [128, 100, 99]])), /^At 128 tokens both models take the same time: the conversion does not pay/);
  assert.match(sweep.inWords(points([[64, 3, 2], [128, 1, 2]])), /^At 128 tokens the transformer is faster/, 'it was not up to there');
  assert.match(sweep.inWords(points([[64, 1, 1.7], [1024, 10, 6]])), /^From about \d+0 tokens on/, 'no more exact than it is known');
  assert.match(sweep.inWords(points([[64, 96, 100]])), /At 64 the linear model takes 104 % of the time and/, 'not “1 times”');
  const close = points([[64, 10, 9]]).map((one) => ({ ...one, p10_ms: 5, p90_ms: 15 }));
  assert.match(sweep.inWords(close), /may be chance/);
});

test('runs the models in turn, and puts the first run aside', async () => {
  const calls = [];
  let clock = 0;
  const result = await sweep.runSweep({
    lengths: [64, 128], runs: 3, report: () => {},
    call: async (method, given) => { calls.push([method, given.role, given.forwards]); clock += 1; return method === 'peak' ? 5 : clock; },
  });
  assert.equal(result.length, 4);
  assert.deepEqual(result.map((one) => one.runs), [3, 3, 3, 3]);
  assert.equal(result[0].first_ms, 1);
  assert.equal(result[0].forwards, calls[8][2], 'how many forwards shared a read');
  const timed = calls.slice(8, 14).map(([, role]) => role);
  assert.deepEqual(timed, ['transformer', 'linear', 'linear', 'transformer', 'transformer', 'linear']);
  assert.ok(calls[8][2] > 1, 'short passes share a read');
});

test('forwards that share a read are counted by a batch, where the read weighs less', async () => {
  const asked = [];
  // A pass takes 1 ms, a read 9.
  await sweep.runSweep({
    lengths: [64], runs: 1, report: () => {},
    call: async (method, { role, forwards }) => { if (method === 'measure' && role === 'linear') asked.push(forwards); return (forwards + 9) / forwards; },
  });
  assert.deepEqual(asked, [1, 1, 4, 12]);
});

test('GPU timestamps are asked for where there are some, and missing ones are none', async () => {
  const methods = [];
  const call = (values) => async (method) => { methods.push(method); return method === 'device' ? values.shift() : 1; };
  const options = { lengths: [64], runs: 1, report: () => {} };
  const result = await sweep.runSweep({ ...options, timestamps: true, call: call([3, 1, 2, undefined, undefined, undefined]) });
  assert.deepEqual(result.map(({ device_ms }) => device_ms), [2, null]);
  assert.match(sweep.toCsv(sweep.toResult({ points: result })), /,peak_bytes,forwards,device_ms\n/);
  methods.length = 0;
  assert.ok(!('device_ms' in (await sweep.runSweep({ ...options, call: call([]) }))[0]) && !methods.includes('device'));
});

test('a stopped sweep keeps whole lengths only', async () => {
  const abort = new AbortController();
  let calls = 0;
  const result = await sweep.runSweep({
    lengths: [64, 128], runs: 2, report: () => {}, signal: abort.signal,
    call: async () => { calls += 1; if (calls === 16) abort.abort(); return 1; },
  });
  assert.deepEqual([...new Set(result.map((one) => one.length))], [64]);
});

test('a stop before the first run of a length asks for nothing more', async () => {
  for (const at of [1, 2, 3, 4, 5, 8, 9]) {
    const abort = new AbortController();
    let calls = 0;
    const result = await sweep.runSweep({
      lengths: [64], runs: 5, timestamps: true, report: () => {}, signal: abort.signal, call: async () => { calls += 1; if (calls === at) abort.abort(); return 1; } });
    assert.deepEqual([calls, result], [at, []]);
  }
});

test('what breaks a sweep is told, a stopped one too', async () => {
  const abort = new AbortController();
  const call = async () => { abort.abort(); throw new Error('no such length'); };
  await assert.rejects(sweep.runSweep({ lengths: [64], runs: 1, report: () => {}, signal: abort.signal, call }), /no such length/);
});

test('who is first at a length takes turns', async () => {
  const first = [];
  await sweep.runSweep({ lengths: [64, 128, 256], runs: 1, report: () => {}, call: async (method, { role, once }) => { if (once) first.push(role[0]); return 1; } });
  assert.deepEqual(first, ['t', 'l', 'l', 't', 't', 'l']);
});

/** Answers that take what `times` gives, on a clock of their own: {answers, asked}. */
async function inTurn(times, options) {
  let now = 0;
  const asked = [];
  const answers = await turns.inTurn(async (role) => {
    asked.push(role[0]);
    const ms = times(role, asked.length);
    now += ms;
    return { ms };
  }, { clock: () => now, ...options });
  return { answers, asked: asked.join('') };
}

test('an answer’s time: the first pass of each aside, then five of them in turn', async () => {
  const { answers, asked } = await inTurn((role, at) => (at <= 2 ? 300 : role === 'linear' ? 3 : 5));
  assert.equal(asked, 'tllttllttllt');
  assert.deepEqual(answers, { transformer: { ms: 5, passes: 5, first: false }, linear: { ms: 3, passes: 5, first: false } });
});

test('an answer’s time: as many passes as there is time for, one on a slow device, one where nobody asks', async () => {
  assert.deepEqual((await inTurn(() => 200)).answers.linear, { ms: 200, passes: 2, first: false });
  assert.deepEqual((await inTurn(() => 450)).answers.linear, { ms: 450, passes: 1, first: false });
  assert.deepEqual((await inTurn(() => 500)).answers.linear, { ms: 500, passes: 1, first: true });
  assert.deepEqual((await inTurn(() => 1, { once: true })).answers.linear, { ms: 1, passes: 1, first: true });
});

test('CSV has a line a point', () => {
  const csv = sweep.toCsv(sweep.toResult({ points: points([[64, 1, 2]]) }));
  assert.equal(csv.split('\n').length, 4);
});

test('a result says when, of what and how it was measured, beside what it always had', () => {
  const more = { date: '2026-01-02T03:04:05.000Z', source: { kind: 'shipped', name: 'demo' }, prepare_ms: 12, runs_asked: 7 };
  const result = sweep.toResult({ adapter: {}, browser: 'b', versions: {}, pair: 'demo', points: points([[64, 1, 2]]), ...more });
  assert.deepEqual(Object.keys(result), ['adapter', 'browser', 'versions', 'pair', 'date', 'source', 'prepare_ms', 'runs_asked', 'points', 'crossover_length']);
  assert.deepEqual([result.date, result.source, result.crossover_length], [more.date, more.source, null]);
});

test('a length that the clock is too coarse for is in no sentence', () => {
  const rows = [point(32, 'transformer', 0), point(32, 'linear', 0), point(64, 'transformer', 1), point(64, 'linear', 0), point(128, 'transformer', 2), point(128, 'linear', 1)];
  assert.equal(sweep.crossover(rows), 128);
  assert.match(sweep.inWords(rows), /128 tokens/);
  assert.doesNotMatch(sweep.inWords(rows), /Infinity|NaN/);
  assert.equal(sweep.inWords(rows.slice(0, 4)), '');
});
