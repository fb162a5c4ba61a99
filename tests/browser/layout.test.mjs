// Nothing jumps: what comes while the page loads, answers and measures finds its place free. And the first screen holds the answers.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { makeLanguagePair, makePair, makeSpeechPair } from './support/pair.mjs';
import { launch, open, serve, settled, withPairs } from './support/site.mjs';

const TABS = { text: ['fixture', '32,64,128', 'answer'], language: ['words', '32,64,128', 'write'], speech: ['digits', '1,2,4', null] };
/** What Core Web Vitals call good is 0.1. */
const MOST = 0.05;

let site, browser;
before(async () => {
  site = await serve(withPairs({ fixture: makePair({ positions: 256 }), words: makeLanguagePair(), digits: makeSpeechPair() }));
  browser = await launch({ webgpu: false });
});
after(async () => { await browser?.close(); await site?.close(); });

for (const [width, height] of [[1280, 800], [390, 844]]) {
  for (const [tab, [pair, lengths, again]] of Object.entries(TABS)) {
    test(`nothing jumps: ${tab}, ${width}x${height}`, async () => {
      const page = await browser.newPage({ viewport: { width, height } });
      await page.addInitScript(() => {
        globalThis.shifts = [];
        const name = (node) => (node?.nodeType === 1 ? `${node.localName}#${node.id}.${node.className}` : String(node?.nodeName));
        new PerformanceObserver((list) => {
          for (const { value, hadRecentInput, sources } of list.getEntries()) {
            if (!hadRecentInput) globalThis.shifts.push([value, ...sources.map(({ node, previousRect: { y: from }, currentRect: { y: to } }) => `${name(node)} ${from}→${to}`)]);
          }
        }).observe({ type: 'layout-shift', buffered: true });
      });
      /** The sum of the shifts since the last call, with where they were. */
      const shifts = async () => {
        await page.waitForTimeout(300);
        const all = await page.evaluate(() => globalThis.shifts.splice(0));
        return [all.reduce((sum, [value]) => sum + value, 0), JSON.stringify(all)];
      };
      const still = async (when) => { const [sum, where] = await shifts(); assert.ok(sum < MOST, `${when}: ${sum.toFixed(3)} ${where}`); return sum; };
      await page.goto(`${site.address}?pair=${pair}&lengths=${lengths}&runs=2`);
      await settled(page);
      let total = await still('loading');
      if (again) { await page.getByTestId(again).click(); await page.waitForTimeout(50); await settled(page); } else {
        await page.locator('#clips button').last().click();
        await page.waitForTimeout(50);
        await settled(page);
      }
      total += await still('answering');
      await page.getByTestId('run').click();
      await page.getByTestId('verdict').scrollIntoViewIfNeeded();
      await page.locator('#result').waitFor({ state: 'attached', timeout: 120_000 });
      await settled(page);
      total += await still('measuring');
      assert.ok(total < MOST, `all together ${total}`);
      await page.close();
    });
  }
}

test('the browser counts a shift where there is one', async () => {
  const page = await browser.newPage();
  await page.goto(site.address);
  await settled(page);
  const value = await page.evaluate(() => new Promise((resolve) => {
    new PerformanceObserver((list) => resolve(list.getEntries()[0].value)).observe({ type: 'layout-shift' });
    document.body.prepend(Object.assign(document.createElement('div'), { textContent: 'x', style: 'height: 300px' }));
    document.body.firstChild.style.height = '300px';
  }));
  assert.ok(value > MOST);
  await page.close();
});

for (const [width, height] of [[1280, 800], [390, 844]]) {
  for (const tab of Object.keys(TABS)) {
    test(`both answers and their times are on the first screen, unscrolled: ${tab}, ${width}x${height}`, async () => {
      const [pair] = TABS[tab];
      const { page } = await open(browser, site.address, `?pair=${pair}`, { viewport: { width, height } });
      await settled(page);
      assert.equal(await page.evaluate(() => scrollY), 0);
      const figures = await page.locator(`section[data-kind="${tab}"] .answer`).locator('.label, .took, .figures').all();
      assert.ok(figures.length >= 2);
      for (const figure of figures) {
        const { x, y, width: wide, height: high } = await figure.boundingBox();
        assert.ok(y > 0 && y + high <= height && x >= 0 && x + wide <= width, `${x}, ${y} + ${wide} x ${high}`);
      }
      await page.close();
    });
  }
}
