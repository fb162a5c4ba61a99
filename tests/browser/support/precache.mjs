// What `cargo xtask precache` writes, for folders that exist only in a test.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { dist } from './site.mjs';

/** Every file of the built page by its path, those that hosts do not serve and the service worker's own left out. */
export function built() {
  const names = fs.readdirSync(dist, { recursive: true }).map((name) => name.split(path.sep).join('/'))
    .filter((name) => fs.statSync(path.join(dist, name)).isFile() && !/(^|\/)\./.test(name) && !['precache.js', 'service-worker.js'].includes(name));
  return Object.fromEntries(names.map((name) => [name, fs.readFileSync(path.join(dist, name))]));
}

/** {path: SHA-256} of files. */
export const sums = (files) => Object.fromEntries(Object.entries(files).map(([name, bytes]) => [name, createHash('sha256').update(bytes).digest('hex')]));

/** precache.js for files by path. */
export const precache = (files) => Buffer.from(`self.PRECACHE = ${JSON.stringify(sums(files))};\n`);
