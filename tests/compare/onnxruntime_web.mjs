// The page's engine against onnxruntime-web: the same weights, in one tab of headless Chromium, on the same adapter.
//
//   npm ci --prefix tests/browser && npm install --no-save --prefix out/ort onnxruntime-web@1.30.0
//   python tests/compare/export_onnx.py --model web/pairs/NAME/transformer --out out/onnx/model.onnx
//   node tests/compare/onnxruntime_web.mjs --pair web/pairs/NAME --onnx out/onnx/model.onnx --ort out/ort/node_modules/onnxruntime-web/dist
//        --engine cpu|webgpu --lengths 64,128,256,512 --runs 7 --json out/onnxruntime-cpu.json
//
// Both answer one text of exactly `length` tokens, batch 1. The two take turns within every length and each goes first every
// other time; the figure is the ratio of the medians. onnxruntime-web runs on one thread, as the page's engine does. --warm N: passes of
// either before, where one takes minutes.
//
// --profile FOLDER (WebGPU): instead of the comparison, one pass of each with every dispatch timed on the device: a table by kernel,
// and in FOLDER the times as JSON and the kernels' programs.
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({
  options: {
    pair: { type: 'string' }, onnx: { type: 'string' }, ort: { type: 'string' }, json: { type: 'string' },
    engine: { type: 'string', default: 'cpu' }, lengths: { type: 'string', default: '64,128,256,512' }, runs: { type: 'string', default: '7' },
    warm: { type: 'string', default: '2' }, profile: { type: 'string' },
  },
});
for (const name of ['pair', 'onnx', 'ort']) {
  if (!options[name]) { console.error(`--${name} is missing; the head of this file shows a whole command`); process.exit(2); }
}

const { dist, serve, withPairs, launch } = await import(pathToFileURL(path.join(import.meta.dirname, '../browser/support/site.mjs')));

/** Every file below a folder as {path: bytes}. */
function folder(dir, prefix = '') {
  return Object.fromEntries(fs.readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => {
    const file = path.join(entry.parentPath, entry.name);
    return [prefix + path.relative(dir, file), fs.readFileSync(file)];
  }));
}

const name = path.basename(path.resolve(options.pair));
const overlay = withPairs({ [name]: folder(options.pair) });
for (const file of fs.readdirSync(options.ort).filter((file) => /\.(mjs|wasm)$/.test(file))) {
  overlay[`ort/${file}`] = fs.readFileSync(path.join(options.ort, file));
}
overlay['onnx/model.onnx'] = fs.readFileSync(options.onnx);
const kernelTimes = fs.readFileSync(path.join(import.meta.dirname, 'kernel_times.js'), 'utf8');
if (options.profile) overlay['page/worker.js'] = Buffer.from(`${kernelTimes}\n${fs.readFileSync(path.join(dist, 'page', 'worker.js'), 'utf8')}`);
overlay['compare.html'] = Buffer.from('<!doctype html><meta charset="utf-8"><title>compare</title>');

const site = await serve(overlay);
const browser = await launch({ webgpu: options.engine === 'webgpu' });
try {
  const page = await browser.newPage();
  if (options.profile) await page.addInitScript(kernelTimes);
  page.on('pageerror', (error) => console.error('[page]', String(error)));
  page.on('console', (message) => { if (message.type() !== 'log') console.error('[console]', message.text().slice(0, 2000)); });
  // Our engine lives in its worker, onnxruntime-web in the page.
  const scope = (side) => (side === 'caldera' ? page.workers()[0] : page);
  await page.exposeFunction('kernelsOf', (side, method) => scope(side).evaluate((method) => globalThis.kernelTimes[method](), method));
  await page.goto(`${site.address}compare.html`);
  const result = await page.evaluate(async ({ name, engine, lengths, runs, warm, profile, base }) => {
    const { EngineClient } = await import(`${base}page/engine.js`);
    const ort = await import(`${base}ort/${engine === 'webgpu' ? 'ort.webgpu.min.mjs' : 'ort.wasm.min.mjs'}`);
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.wasmPaths = `${base}ort/`;
    const ours = new EngineClient();
    const { adapter } = await ours.start(engine === 'cpu' ? 'cpu' : null);
    if (adapter.engine !== engine) throw new Error(`the page's engine runs on ${adapter.engine}, ${engine} was asked for (${adapter.why ?? ''})`);
    const { transformer } = await ours.call('load', { from: { base: `${location.origin}${base}pairs/${name}/` }, name });
    const session = await ort.InferenceSession.create(`${base}onnx/model.onnx`, {
      executionProviders: [engine === 'cpu' ? 'wasm' : 'webgpu'], graphOptimizationLevel: 'all',
    });
    const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
    const points = [];
    for (const length of lengths.filter((length) => length <= transformer.max_length)) {
      const ids = BigInt64Array.from({ length }, (_, i) => BigInt(5 + (i * 7919) % 900));
      const feeds = { input_ids: new ort.Tensor('int64', ids, [1, length]), attention_mask: new ort.Tensor('int64', new BigInt64Array(length).fill(1n), [1, length]) };
      const turns = {
        caldera: () => ours.call('measure', { role: 'transformer', length, forwards: 1 }),
        onnxruntime: async () => {
          const start = performance.now();
          const output = await session.run(feeds);
          await output.logits.getData();
          return performance.now() - start;
        },
      };
      const times = { caldera: [], onnxruntime: [] };
      if (profile) {
        for (const side of Object.keys(turns)) { await turns[side](); await turns[side](); }
        const kernels = {};
        for (const side of Object.keys(turns)) {
          await globalThis.kernelsOf(side, 'start');
          times[side] = await turns[side]();
          kernels[side] = await globalThis.kernelsOf(side, 'stop');
        }
        points.push({ length, times, kernels });
        continue;
      }
      for (const side of Object.keys(turns)) for (let i = 0; i < warm; i += 1) await turns[side]();
      for (let run = 0; run < runs; run += 1) {
        for (const side of run % 2 ? ['onnxruntime', 'caldera'] : ['caldera', 'onnxruntime']) times[side].push(await turns[side]());
      }
      const point = { length, caldera_ms: median(times.caldera), onnxruntime_ms: median(times.onnxruntime) };
      points.push({ ...point, ratio: point.caldera_ms / point.onnxruntime_ms, times });
    }
    return { adapter, versions: { onnxruntime: ort.env.versions?.common }, points };
  }, { name, engine: options.engine, lengths: options.lengths.split(',').map(Number), runs: Number(options.runs), warm: Number(options.warm), profile: Boolean(options.profile), base: new URL(site.address).pathname });
  console.log(`${name}, ${options.engine} engine (${[result.adapter.vendor, result.adapter.architecture, result.adapter.device].filter(Boolean).join(' ')}), onnxruntime-web ${result.versions.onnxruntime ?? ''}`);
  if (options.profile) {
    fs.mkdirSync(options.profile, { recursive: true });
    for (const { length, times, kernels } of result.points) {
      for (const [side, rows] of Object.entries(kernels)) {
        const sum = (what) => rows.reduce((total, row) => total + row[what], 0);
        console.log(`${length} tokens, ${side}: ${times[side].toFixed(0)} ms, of them ${sum('ms').toFixed(0)} in ${sum('count')} dispatches`);
        for (const { kernel, count, groups, ms } of rows.slice(0, 14)) {
          console.log(`${ms.toFixed(1).padStart(10)} ms ${String(count).padStart(5)} × ${String(groups).padStart(8)} groups  ${kernel}`);
          const code = await scope(side).evaluate((name) => globalThis.kernelTimes.code(name), kernel);
          fs.writeFileSync(path.join(options.profile, `${side}-${kernel.replace(/[^\w]+/g, '_').slice(0, 60)}.wgsl`), code ?? '');
        }
      }
    }
    fs.writeFileSync(path.join(options.profile, 'kernels.json'), JSON.stringify(result, null, 1));
  } else for (const { length, caldera_ms, onnxruntime_ms, ratio } of result.points) {
    console.log(`${String(length).padStart(6)} tokens: caldera ${caldera_ms.toFixed(1)} ms, onnxruntime-web ${onnxruntime_ms.toFixed(1)} ms, ratio ${ratio.toFixed(2)}`);
  }
  if (options.json) {
    fs.mkdirSync(path.dirname(options.json), { recursive: true });
    fs.writeFileSync(options.json, JSON.stringify({ pair: name, engine: options.engine, browser: browser.version(), ...result }, null, 1));
  }
} finally {
  await browser.close();
  await site.close();
}
