// What the page weighs over the wire: wasm, JavaScript, HTML and CSS, gzipped; the pairs come on top.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import zlib from 'node:zlib';
import { dist } from './support/site.mjs';

test('the page is under 6 MB gzipped', () => {
  const sizes = fs.readdirSync(dist, { recursive: true }).filter((file) => /\.(wasm|js|html|css|svg)$/.test(file))
    .map((file) => [file, zlib.gzipSync(fs.readFileSync(path.join(dist, file)), { level: 9 }).length]);
  const total = sizes.reduce((sum, [, size]) => sum + size, 0);
  console.log(`gzipped: ${(total / 1e6).toFixed(2)} MB`);
  assert.ok(total > 1e5, 'there is a page');
  assert.ok(total < 6e6, JSON.stringify(sizes));
});
