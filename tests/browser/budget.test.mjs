// What a first visit costs with the pairs that the page comes with, on the tab that opens by itself: bytes over the wire until both
// models have answered, and until nothing more comes by itself; processor time until it can be used.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { dist, launch, serve, settled } from './support/site.mjs';

const MOST_BYTES = 12e6;
const MOST_CPU_S = 3;

/** Other work on the machine makes a visit dearer, never cheaper: the least of these counts. */
const VISITS = 3;

let site;
/** [name, bytes over the wire] of the files that went out; one that goes out twice is there twice. */
const wire = [];
before(async () => { site = await serve({}, { pack: true, sent: (name, bytes) => wire.push([name, bytes]) }); });
after(() => site?.close());

/** Seconds of processor time of all renderers: main threads, workers and the compiler's threads. */
async function cpu(session) {
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  return processInfo.filter(({ type }) => type === 'renderer').reduce((sum, { cpuTime }) => sum + cpuTime, 0);
}

const shipped = JSON.parse(fs.readFileSync(path.join(dist, 'pairs', 'index.json'))).pairs.filter((name) => fs.existsSync(path.join(dist, 'pairs', name, 'pair.json')));

/** A visit of a browser that has nothing yet: {sent, idle: files that came until it is ready and until it is idle, took: seconds until it is ready}. */
async function visit() {
  const browser = await launch({ webgpu: false });
  try {
    const session = await browser.newBrowserCDPSession();
    const page = await browser.newPage();
    wire.length = 0;
    const before = await cpu(session);
    await page.goto(site.address);
    await settled(page);
    const [sent, took] = [[...wire], await cpu(session) - before];
    await page.getByTestId('offline').filter({ hasText: 'without a connection' }).waitFor({ timeout: 60_000 });
    await page.waitForTimeout(1000);
    return { sent, idle: [...wire], took };
  } finally {
    await browser.close();
  }
}

const sum = (files) => files.reduce((all, [, bytes]) => all + bytes, 0);
const mb = (bytes) => (bytes / 1e6).toFixed(2);

test('a first visit, until both models have answered and until nothing more comes', { skip: !shipped.length && 'no pair was shipped' }, async () => {
  const visits = [];
  for (let i = 0; i < VISITS; i += 1) visits.push(await visit());
  const [{ sent, idle }] = visits;
  const took = Math.min(...visits.map((one) => one.took));
  const [total, whole] = [sent, idle].map(sum);
  console.log(`first visit: ${mb(total)} MB over the wire until both have answered, ${mb(whole)} MB until nothing more comes, ${visits.map((one) => one.took.toFixed(2)).join(', ')} s of processor time`);
  console.log(idle.sort(([, a], [, b]) => b - a).slice(0, 6).map(([name, bytes]) => `  ${name}: ${mb(bytes)} MB`).join('\n'));
  assert.ok(sent.some(([name]) => name.endsWith('.wasm')), 'the engine was fetched');
  assert.ok(sent.some(([name]) => name.endsWith('.safetensors')), 'a pair was loaded');
  assert.ok(whole >= total && whole < MOST_BYTES, `${whole} bytes`);
  assert.ok(took > 0.1, 'time was counted');
  assert.ok(took < MOST_CPU_S, `${took.toFixed(2)} s`);
});
