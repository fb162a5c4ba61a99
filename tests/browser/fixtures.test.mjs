// The reference cases, by the same source as the native tests: kernels compiled by this browser, and the CPU engine in wasm.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { dist, launch, open, root, serve, settled, withPairs } from './support/site.mjs';

const fixtures = path.join(root, 'tests', 'fixtures');
// Losses and schedules belong to the trainer, which the page does not carry.
const FAMILIES = ['ops', 'models', 'tokenizers'];

const inside = (folder) => fs.readdirSync(folder, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile()).map((entry) => path.relative(folder, path.join(entry.parentPath ?? entry.path, entry.name)).replaceAll(path.sep, '/'));

const cases = FAMILIES.flatMap((family) => (fs.existsSync(path.join(fixtures, family))
  ? inside(path.join(fixtures, family)).filter((file) => file.endsWith('/case.json')).map((file) => `${family}/${path.posix.dirname(file)}`) : [])).sort();

/** Before the worker's code: counts the tiles with relaxed SIMD, or refuses them as an older browser does. */
const tiles = (refuse) => `
  globalThis.tiles = { made: 0, refused: 0 };
  WebAssembly.Module = new Proxy(WebAssembly.Module, {
    construct(Module, given) {
      globalThis.tiles[${refuse} ? 'refused' : 'made'] += 1;
      if (${refuse}) throw new WebAssembly.CompileError('invalid SIMD opcode');
      return new Module(...given);
    },
  });`;

for (const [engine, relaxed] of [['webgpu', true], ['cpu', true], ['cpu', false]]) {
  describe(`reference cases with the ${engine} engine${relaxed ? '' : ' without relaxed SIMD'}`, () => {
    let site, browser, page;
    before(async () => {
      const overlay = withPairs({});
      for (const name of cases) for (const file of inside(path.join(fixtures, name))) overlay[`fixtures/${name}/${file}`] = fs.readFileSync(path.join(fixtures, name, file));
      overlay['page/worker.js'] = Buffer.concat([Buffer.from(tiles(!relaxed)), fs.readFileSync(path.join(dist, 'page', 'worker.js'))]);
      site = await serve(overlay);
      browser = await launch({ webgpu: engine === 'webgpu' });
      ({ page } = await open(browser, site.address));
      await settled(page);
      assert.equal(await page.locator('#adapter').getAttribute('data-engine'), engine);
    });
    after(async () => { await browser?.close(); await site?.close(); });

    const checked = (name) => page.evaluate(async ({ path, names }) => {
      const files = {};
      for (const file of names) files[file] = new Uint8Array(await (await fetch(`fixtures/${path}/${file}`)).arrayBuffer());
      return globalThis.caldera.call('check', { path, files });
    }, { path: name, names: inside(path.join(fixtures, name)) });

    test('there are cases', () => assert.ok(cases.length >= 12, `found ${cases.length} in ${fixtures}`));

    for (const name of cases) {
      // A panic would leave the promise open: bounded.
      test(name, { timeout: 300_000 }, async () => {
        const report = await checked(name);
        assert.ok(report.known, `${name} is not known to the page's build`);
        assert.ok(report.passed, JSON.stringify(report, null, 1));
      });
    }

    if (engine === 'webgpu') {
      // Kernels that no model runs, and those of odd sizes, behind a state, in several parts: every operator and step by itself.
      for (const layout of ['software', 'hardware']) {
        test(`every operator and step against the CPU's, laid out for ${layout}`, { timeout: 600_000 }, async () => {
          await page.evaluate((adapter) => globalThis.caldera.call('tune', { adapter }), layout);
          const reports = await page.evaluate(async () => {
            const found = [];
            try {
              for (const name of await globalThis.caldera.call('twins', {})) found.push(await globalThis.caldera.call('twin', { name }));
            } finally {
              await globalThis.caldera.call('tune', { adapter: 'software' });
            }
            return found;
          });
          assert.ok(reports.length > 20, `${reports.length} operators`);
          for (const report of reports) assert.ok(report.known && report.passed && report.tensors.length, JSON.stringify(report, null, 1));
        });
      }

      // The software adapter of the tests is told to run what hardware gets, which differs in attention and in tiled products.
      for (const name of cases.filter((one) => /^ops\/softmax-attention|^models\/(bert|wav2vec2).*/.test(one))) {
        test(`${name}, laid out for hardware`, { timeout: 300_000 }, async () => {
          await page.evaluate(() => globalThis.caldera.call('tune', { adapter: 'hardware' }));
          const report = await checked(name);
          await page.evaluate(() => globalThis.caldera.call('tune', { adapter: 'software' }));
          assert.ok(report.passed, JSON.stringify(report, null, 1));
        });
      }
    }

    if (engine === 'cpu') {
      test('the products ran on the tile that the browser has', async () => {
        const { made, refused } = await page.workers()[0].evaluate(() => globalThis.tiles);
        assert.deepEqual({ made, refused }, relaxed ? { made: 1, refused: 0 } : { made: 0, refused: 1 });
      });
    }
  });
}
