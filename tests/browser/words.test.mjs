// Numbers in words; no browser needed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { load } from './support/modules.mjs';

const { bytes, time } = await load('words.js');
const plain = (text) => text.replaceAll('\u00a0', ' ');

test('times: two or three digits, never an exponent', () => {
  for (const [ms, words] of [
    [0, 'too short to time'], [0.004, '4 µs'], [0.0512, '51 µs'], [0.0994, '99 µs'], [0.0995, '0.0995 ms'], [0.1, '0.1 ms'], [12.34, '12.3 ms'],
    [99.96, '100 ms'], [999.4, '999 ms'], [999.6, '1 s'], [4200, '4.2 s'],
  ]) assert.equal(plain(time(ms)), words, ms);
  for (let ms = 0.0005; ms < 1e5; ms *= 1.003) assert.match(plain(time(ms)), /^[\d.]+ (µs|ms|s)$/, ms);
});

test('bytes: decimal units, never an exponent', () => {
  for (const [count, words] of [[0, '0 B'], [999, '999 B'], [1234, '1.2 kB'], [99_960, '100 kB'], [999_700, '1 MB'], [1.234e9, '1.2 GB']]) assert.equal(plain(bytes(count)), words, count);
});
