// What the page makes of its measurements; no browser needed.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { root } from './support/site.mjs';

const source = fs.readFileSync(path.join(root, 'web', 'page', 'sweep.js'));
const sweep = await import(`data:text/javascript;base64,${source.toString('base64')}`);

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
  assert.match(sweep.inWords(points([[1, 1, 2], [16, 10, 4]]), 's'), /^From about 3\.3 s on, the linear model is faster\. At 16 it takes/);
  const said = [];
  const result = await sweep.runSweep({
    lengths: [2], runs: 1, unit: 's', more: (length) => ({ frames: 50 * length }), call: async () => 1, report: ({ text }) => said.push(text) });
  assert.deepEqual(result.map(({ frames }) => frames), [100, 100]);
  assert.match(said[0], /^2 s: first run/);
  assert.match(sweep.toCsv(sweep.toResult({ points: result })), /,peak_bytes,frames\n2,transformer,.*,100\n/);
});

test('words', () => {
  assert.equal(sweep.inWords(points([[64, 1, 2], [8192, 110, 10]])), 'From about 190 tokens on, the linear model is faster. At 8,192 it takes 1/11 of the time and 1/20 of the working memory.');
  assert.match(sweep.inWords(points([[64, 1, 2], [128, 1, 2]])), /Up to 128 tokens the transformer is faster.* At 128 the linear model takes 2 times the time and/);
  assert.match(sweep.inWords(points([[64, 100, 99]])), /At 64 it takes the same time/);
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
  const timed = calls.slice(6, 12).map(([, role]) => role);
  assert.deepEqual(timed, ['transformer', 'linear', 'linear', 'transformer', 'transformer', 'linear']);
  assert.ok(calls[6][2] > 1, 'short passes share a read');
});

test('a stopped sweep keeps whole lengths only', async () => {
  const abort = new AbortController();
  let calls = 0;
  const result = await sweep.runSweep({
    lengths: [64, 128], runs: 2, report: () => {}, signal: abort.signal,
    call: async () => { calls += 1; if (calls === 12) abort.abort(); return 1; },
  });
  assert.deepEqual([...new Set(result.map((one) => one.length))], [64]);
});

test('CSV has a line a point', () => {
  const csv = sweep.toCsv(sweep.toResult({ points: points([[64, 1, 2]]) }));
  assert.equal(csv.split('\n').length, 4);
});
