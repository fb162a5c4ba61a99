// Past runs as they are kept and read; no browser needed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { load } from './support/modules.mjs';

const { Archive, makeRun, MOST, readFile, writeFile } = await load('archive.js');

const point = (length, model, more = {}) => ({ length, model, median_ms: 2, p10_ms: 1, p90_ms: 3, first_ms: 9, runs: 7, peak_bytes: 1000, ...more });
const result = (more = {}, of = {}) => ({
  adapter: { engine: 'cpu' }, browser: 'Chromium 1', versions: {}, pair: 'demo', crossover_length: null,
  points: [point(64, 'transformer', of), point(64, 'linear', of)], ...more });
const run = (at, kind = 'text') => makeRun({ result: result(), kind, date: new Date(at) });

/** A browser's storage; `room` is how many letters fit. */
function memory(room = Infinity) {
  const items = new Map();
  return {
    items,
    getItem: (key) => items.get(key) ?? null,
    setItem(key, value) { if (value.length > room) throw new DOMException('full', 'QuotaExceededError'); items.set(key, value); },
    removeItem: (key) => items.delete(key),
  };
}

test('keeps runs over visits, newest first, each once, the oldest goes', () => {
  const storage = memory();
  const [old, young] = [run(1e12), run(1.5e12)];
  new Archive(() => storage).add(young, old);
  const archive = new Archive(() => storage);
  assert.deepEqual(archive.list(), [young, old]);
  archive.add(old);
  assert.equal(archive.list().length, 2);
  archive.remove(young.id);
  assert.deepEqual(new Archive(() => storage).list(), [old]);
  archive.add(...Array.from({ length: MOST }, (_, i) => run(1.6e12 + i)));
  assert.equal(archive.list().length, MOST);
  assert.ok(!archive.list().some(({ id }) => id === old.id));
  archive.clear();
  assert.equal(storage.items.size, 0, 'nothing stays behind');
});

test('sees what another tab has kept', () => {
  const storage = memory();
  const [here, there] = [new Archive(() => storage), new Archive(() => storage)];
  here.add(run(1e12));
  there.add(run(2e12));
  assert.equal(here.list().length, 2);
});

test('storage that is refused or full: runs of this visit stay, and it says so', () => {
  const shut = new Archive(() => { throw new DOMException('denied', 'SecurityError'); });
  assert.ok(shut.refused);
  shut.add(run(1e12));
  assert.equal(shut.list().length, 1);
  const full = new Archive(() => memory(10));
  assert.ok(!full.refused);
  full.add(run(1e12));
  assert.ok(full.refused);
  assert.equal(full.list().length, 1);
});

test('what was spoilt in the storage is left out', () => {
  const storage = memory();
  const archive = new Archive(() => storage);
  archive.add(run(1e12));
  const [key] = storage.items.keys();
  const [good] = JSON.parse(storage.items.get(key));
  storage.items.set(key, JSON.stringify([good, { ...good, id: 'x', result: { points: 7 } }, null]));
  assert.deepEqual(archive.list(), [good]);
  storage.items.set(key, '{');
  assert.deepEqual(archive.list(), []);
});

test('reads a saved result, by its kind, and an export', () => {
  const date = new Date(1e12);
  const [text] = readFile(JSON.stringify(result()), date);
  assert.deepEqual([text.kind, text.date, text.result.pair], ['text', date.toISOString(), 'demo']);
  assert.equal(readFile(JSON.stringify(result({}, { frames: 49 })))[0].kind, 'speech');
  assert.equal(readFile(JSON.stringify(result({}, { state_bytes: 5, prefill_ms: null })))[0].kind, 'language');
  const dated = result({ date: '2026-01-02T03:04:05.000Z', source: { kind: 'shipped', name: 'demo' } });
  assert.equal(readFile(JSON.stringify(dated), date)[0].date, dated.date, 'the date of the measurement, not of the file');
  assert.deepEqual(readFile(JSON.stringify(dated), date)[0].result, dated);
  assert.equal(makeRun({ result: dated, kind: 'text' }).date, dated.date);
  const theory = { transformer: [0, 1, 2], linear: [0, 3, 0] };
  const memory = { transformer: [0, 8, 0], linear: [9, 0, 0], absolute: true };
  const runs = [run(1e12), makeRun({ result: result(), kind: 'text', theory }), makeRun({ result: result(), kind: 'text', theory: { ...theory, memory } })];
  assert.deepEqual(readFile(writeFile(runs)), runs);
  const [spoilt] = readFile(writeFile([{ ...runs[2], theory: { ...theory, memory: { linear: 'x' } } }]));
  assert.equal(spoilt.theory, null);
});

for (const [what, text, message] of [
  ['no JSON', 'hello', /it is no JSON/],
  ['another JSON', '{"name": "x"}', /no list “points”/],
  ['null', 'null', /no list “points”/],
  ['no points', JSON.stringify(result({ points: [] })), /between 1 and 1,000/],
  ['an unknown model', JSON.stringify(result({ points: [point(64, 'rnn')] })), /point 1: “model” is neither/],
  ['a text for a number', JSON.stringify(result({}, { median_ms: '<b>' })), /point 1: “median_ms” is not a number/],
  ['a negative time', JSON.stringify(result({}, { p10_ms: -1 })), /point 1: “p10_ms”/],
  ['a median beside its band', JSON.stringify(result({}, { median_ms: 4 })), /outside its band/],
  ['a text in a further column', JSON.stringify(result({}, { frames: 'x' })), /“frames” is no number/],
  ['a model left out', JSON.stringify(result({ points: [point(64, 'linear')] })), /at 64 the transformer is missing/],
  ['a length twice', JSON.stringify(result({ points: [point(64, 'linear'), point(64, 'linear')] })), /appears twice/],
  ['a date that is none', JSON.stringify(result({ date: 'yesterday' })), /“date” is no date/],
  ['a source without its address', JSON.stringify(result({ source: { kind: 'address' } })), /“source” says not where/],
  ['no adapter', JSON.stringify(result({ adapter: null })), /names no engine/],
  ['a bad run in an export', JSON.stringify({ caldera_runs: [run(1e12), { date: 'x' }] }), /run 2: “date” is no date/],
]) {
  test(`refuses ${what}`, () => assert.throws(() => readFile(text), message));
}
