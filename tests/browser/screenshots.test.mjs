// Pictures for people, into out/screenshots; and no sideways scrolling at any width.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { makePair } from './support/pair.mjs';
import { launch, open, root, serve, settled, withPairs } from './support/site.mjs';

const folder = path.join(root, 'out', 'screenshots');
let site, browser;
before(async () => {
  fs.mkdirSync(folder, { recursive: true });
  // The shipped demo pair where it was made, else random weights.
  const demo = path.join(root, 'dist', 'pairs', 'demo', 'pair.json');
  site = await serve(fs.existsSync(demo) ? {} : withPairs({ fixture: makePair({ positions: 512 }) }));
  browser = await launch({ webgpu: false });
});
after(async () => { await browser?.close(); await site?.close(); });

for (const [width, height] of [[1280, 800], [390, 844]]) {
  for (const colorScheme of ['light', 'dark']) {
    test(`${width}x${height} ${colorScheme}`, async () => {
      const { page, trouble } = await open(browser, site.address, '?lengths=64,128,256,512&runs=5&autorun=sweep', { viewport: { width, height }, colorScheme });
      const shot = (name, options) => page.screenshot({ path: path.join(folder, `${width}x${height}-${colorScheme}-${name}.png`), ...options });
      await page.locator('#result').waitFor({ state: 'attached', timeout: 240_000 });
      await settled(page);
      await page.evaluate(() => scrollTo(0, 0));
      await shot('first');
      await shot('whole', { fullPage: true });
      const [inner, content] = await page.evaluate(() => [innerWidth, document.documentElement.scrollWidth]);
      assert.ok(content <= inner, `content is ${content} px wide in a window of ${inner}`);
      assert.deepEqual(trouble, []);
      await page.close();
    });
  }
}
