// The reference cases, by the same source as the native tests: kernels compiled by this browser, and the CPU engine in wasm.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { launch, open, root, serve, settled, withPairs } from './support/site.mjs';

const fixtures = path.join(root, 'tests', 'fixtures');
// Losses and schedules belong to the trainer, which the page does not carry.
const FAMILIES = ['ops', 'models', 'tokenizers'];

const inside = (folder) => fs.readdirSync(folder, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile()).map((entry) => path.relative(folder, path.join(entry.parentPath ?? entry.path, entry.name)).replaceAll(path.sep, '/'));

const cases = FAMILIES.flatMap((family) => (fs.existsSync(path.join(fixtures, family))
  ? inside(path.join(fixtures, family)).filter((file) => file.endsWith('/case.json')).map((file) => `${family}/${path.posix.dirname(file)}`) : [])).sort();

for (const engine of ['webgpu', 'cpu']) {
  describe(`reference cases with the ${engine} engine`, () => {
    let site, browser, page;
    before(async () => {
      const overlay = withPairs({});
      for (const name of cases) for (const file of inside(path.join(fixtures, name))) overlay[`fixtures/${name}/${file}`] = fs.readFileSync(path.join(fixtures, name, file));
      site = await serve(overlay);
      browser = await launch({ webgpu: engine === 'webgpu' });
      ({ page } = await open(browser, site.address));
      await settled(page);
      assert.equal(await page.locator('#adapter').getAttribute('data-engine'), engine);
    });
    after(async () => { await browser?.close(); await site?.close(); });

    test('there are cases', () => assert.ok(cases.length >= 12, `found ${cases.length} in ${fixtures}`));

    for (const name of cases) {
      // A panic would leave the promise open: bounded.
      test(name, { timeout: 300_000 }, async () => {
        const report = await page.evaluate(async ({ path, names }) => {
          const files = {};
          for (const file of names) files[file] = new Uint8Array(await (await fetch(`fixtures/${path}/${file}`)).arrayBuffer());
          return globalThis.caldera.call('check', { path, files });
        }, { path: name, names: inside(path.join(fixtures, name)) });
        assert.ok(report.known, `${name} is not known to the page's build`);
        assert.ok(report.passed, JSON.stringify(report, null, 1));
      });
    }
  });
}
