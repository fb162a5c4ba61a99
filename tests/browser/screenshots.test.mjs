// Pictures for people, into out/screenshots; and no sideways scrolling at any width.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { makeLanguagePair, makePair, makeSpeechPair } from './support/pair.mjs';
import { launch, open, root, serve, settled, withPairs } from './support/site.mjs';

const folder = path.join(root, 'out', 'screenshots');
let site, browser;
before(async () => {
  fs.mkdirSync(folder, { recursive: true });
  // The shipped pairs where they were made, else random weights.
  const tasks = JSON.parse(fs.readFileSync(path.join(root, 'web', 'pairs', 'index.json'))).pairs
    .map((name) => path.join(root, 'dist', 'pairs', name, 'pair.json')).filter((file) => fs.existsSync(file)).map((file) => JSON.parse(fs.readFileSync(file)).task);
  const all = ['text-classification', 'language-modeling', 'automatic-speech-recognition'].every((task) => tasks.includes(task));
  site = await serve(all ? {} : withPairs({ fixture: makePair({ positions: 512 }), words: makeLanguagePair({ positions: 8192, hidden: 64, wide: 128 }), digits: makeSpeechPair() }));
  browser = await launch({ webgpu: false });
});
after(async () => { await browser?.close(); await site?.close(); });

const TABS = { text: 'lengths=64,128,256,512', language: 'lengths=256,512,1024,2048', speech: 'lengths=1,2,4,8,16' };

for (const [width, height] of [[1280, 800], [390, 844]]) {
  for (const colorScheme of ['light', 'dark']) {
    for (const [tab, lengths] of Object.entries(TABS)) {
      test(`${width}x${height} ${colorScheme}, ${tab}`, async () => {
        const { page, trouble } = await open(browser, site.address, `?tab=${tab}&${lengths}&runs=5&autorun=sweep`, { viewport: { width, height }, colorScheme });
        const shot = (name, options) => page.screenshot({ path: path.join(folder, `${width}x${height}-${colorScheme}-${tab}-${name}.png`), ...options });
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
}
