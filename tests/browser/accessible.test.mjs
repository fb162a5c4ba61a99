// For everybody: axe-core finds nothing, the keyboard reaches everything, live regions speak once, motion is spared.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { makeLanguagePair, makePair, makeSpeechPair } from './support/pair.mjs';
import { launch, open, serve, settled, withPairs } from './support/site.mjs';

const axe = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const PAIRS = { text: 'fixture', language: 'words', speech: 'digits' };
const LENGTHS = { text: '32,64', language: '32,64', speech: '1,2' };

let site, browser;
before(async () => {
  site = await serve(withPairs({ fixture: makePair({ positions: 256 }), words: makeLanguagePair(), digits: makeSpeechPair() }));
  browser = await launch({ webgpu: false });
});
after(async () => { await browser?.close(); await site?.close(); });

/** What axe-core finds, in a line each. */
async function violations(page) {
  await page.evaluate(axe);
  const { violations: found, passes } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  assert.ok(passes.length > 20, 'it looked');
  return found.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')}: ${failureSummary}`));
}

for (const [width, height] of [[1280, 800], [390, 844]]) {
  for (const colorScheme of ['light', 'dark']) {
    for (const [tab, pair] of Object.entries(PAIRS)) {
      test(`axe finds nothing: ${tab}, ${width} ${colorScheme}`, async () => {
        const { page } = await open(browser, site.address, `?pair=${pair}&lengths=${LENGTHS[tab]}&runs=1`, { viewport: { width, height }, colorScheme, reducedMotion: 'reduce' });
        await settled(page);
        assert.deepEqual(await violations(page), [], 'before a sweep');
        await page.getByTestId('run').click();
        await page.locator('#result').waitFor({ state: 'attached', timeout: 120_000 });
        await settled(page);
        await page.getByTestId('theory').check();
        await page.getByTestId('check').click();
        await page.getByTestId('checked').getByText(/Both models/).waitFor();
        for (const summary of await page.locator('summary').all()) await summary.click();
        await page.getByRole('button', { name: /^Lay over/ }).first().click();
        assert.deepEqual(await violations(page), [], 'after one, all opened');
        await page.close();
      });
    }
  }
}

test('contrast themes: bars, legend, lines, tabs and the switch can still be told', async () => {
  const { page } = await open(browser, site.address, '?pair=fixture&lengths=32,64&runs=1', { forcedColors: 'active' });
  await settled(page);
  await page.getByTestId('run').click();
  await page.locator('#result').waitFor({ state: 'attached', timeout: 120_000 });
  await settled(page);
  await page.getByTestId('theory').check();
  const seen = await page.evaluate(() => {
    const look = (selector, name, part) => getComputedStyle(document.querySelector(selector), part).getPropertyValue(name);
    return {
      ground: look('body', 'background-color'),
      fill: look('.fill', 'background-color'), track: look('.track', 'border-top-width'),
      keys: ['.t', '.l'].map((one) => look(`.key .measured${one}`, 'background-color', '::before')),
      theory: look('.key .theory', 'border-top-style', '::before'),
      lines: ['.t', '.l'].map((one) => look(`#plot-time .series${one} .line`, 'stroke')),
      chosen: look('[role=tab][aria-selected=true]', 'border-bottom-color'), other: look('[role=tab][aria-selected=false]', 'border-bottom-color'),
      adapter: look('.adapter', 'border-top-width', '::before'),
      box: look('#theory', 'appearance'),
      buttons: ['#answer', '#run', '#check', '.chip', '.skip', 'label[for=archive-file]', '[role=tab]'].map((one) => look(one, 'color')),
    };
  });
  const apart = (one, what) => assert.notEqual(one, seen.ground, `${what}: ${JSON.stringify(seen)}`);
  apart(seen.fill, 'bars');
  [...seen.keys, ...seen.lines].forEach((colour) => apart(colour, 'legend and lines'));
  // Behind text lies the ground, whatever the button's own is.
  seen.buttons.forEach((colour) => apart(colour, 'buttons'));
  assert.notEqual(seen.lines[0], seen.lines[1]);
  apart(seen.chosen, 'the chosen tab');
  assert.equal(seen.other, seen.ground, 'no other tab is underlined');
  assert.deepEqual([seen.track, seen.theory, seen.adapter, seen.box], ['1px', 'dashed', '2px', 'auto']);
  if (process.env.KEEP_PICTURES) await page.screenshot({ path: `${process.env.KEEP_PICTURES}/contrast.png`, fullPage: true });
  await page.close();
});

test('the browser’s own bars take the page’s ground, light and dark', async () => {
  for (const colorScheme of ['light', 'dark']) {
    const { page } = await open(browser, site.address, '?pair=fixture', { colorScheme });
    const [ground, theme] = await page.evaluate(() => {
      const pen = document.createElement('canvas').getContext('2d');
      const meta = [...document.querySelectorAll('meta[name=theme-color]')].find(({ media }) => matchMedia(media).matches);
      return [getComputedStyle(document.documentElement).getPropertyValue('--paper'), meta.content].map((colour) => { pen.fillStyle = colour.trim(); return pen.fillStyle; });
    });
    assert.equal(theme, ground);
    await page.close();
  }
});

test('axe finds nothing while an error is shown', async () => {
  const { page } = await open(browser, site.address, '?pair=none-such');
  await settled(page, ['error']);
  assert.deepEqual(await violations(page), []);
  await page.close();
});

/** The element that has the focus, in words, and whether one can see that it has. */
const focused = (page) => page.evaluate(() => {
  const node = document.activeElement;
  const label = node.id && document.querySelector(`label[for="${node.id}"]`);
  const shown = label && label.classList.contains('button') ? label : node;
  const style = getComputedStyle(shown);
  const box = shown.getBoundingClientRect();
  return { id: node.id || node.textContent.trim().slice(0, 30), visible: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 && box.width > 1 && box.bottom > 0 && box.top < innerHeight };
});

/** Presses Tab until `id` has the focus; every stop on the way has to be seen. */
async function tabTo(page, id, key = 'Tab') {
  const way = [];
  for (let i = 0; i < 60; i += 1) {
    await page.keyboard.press(key);
    const now = await focused(page);
    assert.ok(now.visible, `the focus on ${now.id} can be seen`);
    way.push(now.id);
    if (now.id === id) return way;
  }
  return assert.fail(`${id} is not reached: ${way.join(', ')}`);
}

test('through the whole page with the keyboard alone', async () => {
  const { page, trouble } = await open(browser, site.address, '?lengths=32,64&runs=2', { permissions: ['clipboard-write'] });
  await settled(page);
  await page.keyboard.press('Tab');
  assert.equal((await focused(page)).id, 'Skip to the two models');
  assert.ok((await focused(page)).visible);
  await page.keyboard.press('Enter');
  // Going there is the browser's own doing, which a key press does not wait for.
  await page.waitForURL(/#panel$/);
  await page.waitForFunction(() => document.activeElement.id === 'panel');
  // Tabs: arrows move, Enter chooses.
  await tabTo(page, 'tab-text', 'Shift+Tab');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowRight');
  assert.equal((await focused(page)).id, 'tab-speech');
  await page.keyboard.press('Enter');
  await page.getByText('“digits” is ready').waitFor();
  assert.equal((await focused(page)).id, 'tab-speech');
  await page.keyboard.press('Home');
  await page.keyboard.press('Enter');
  await page.getByText('“fixture” is ready').waitFor();
  // Another text, answered.
  await tabTo(page, 'text');
  await page.keyboard.press('Control+A');
  await page.keyboard.type('the film was fine');
  await tabTo(page, 'answer');
  await page.keyboard.press('Enter');
  await page.getByText('6 tokens').first().waitFor();
  await settled(page);
  // A sample.
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.getByText('14 tokens').first().waitFor();
  await settled(page);
  await tabTo(page, 'check');
  await page.keyboard.press('Enter');
  await page.getByTestId('checked').getByText(/Both models/).waitFor();
  await settled(page);
  // A sweep, stopped; the focus goes with the button's place.
  await tabTo(page, 'runs');
  await page.keyboard.press('Control+A');
  await page.keyboard.type('200');
  await tabTo(page, 'run');
  await page.keyboard.press('Enter');
  await page.getByTestId('cancel').waitFor();
  assert.equal((await focused(page)).id, 'cancel');
  await page.keyboard.press('Enter');
  assert.match(await settled(page), /Stopped/);
  assert.equal((await focused(page)).id, 'run');
  await tabTo(page, 'runs', 'Shift+Tab');
  await page.keyboard.press('Control+A');
  await page.keyboard.type('2');
  await page.keyboard.press('Enter');
  await page.getByText('The comparison is done').waitFor();
  await tabTo(page, 'theory');
  await page.keyboard.press('Space');
  await page.getByTestId('theory-words').getByText(/not measured/).waitFor();
  await tabTo(page, 'save-csv');
  const [file] = await Promise.all([page.waitForEvent('download'), page.keyboard.press('Enter')]);
  assert.equal(file.suggestedFilename(), 'caldera-fixture.csv');
  await tabTo(page, 'copy-link');
  await page.keyboard.press('Enter');
  await page.getByTestId('share-said').getByText(/copied/).waitFor();
  await tabTo(page, 'archive-summary');
  await page.keyboard.press('Enter');
  await page.getByTestId('archive-list').locator('li').first().waitFor();
  assert.equal((await tabTo(page, 'archive-file')).at(-1), 'archive-file');
  assert.deepEqual(trouble, []);
  await page.close();
});

/** What the live regions say from now on, in order; those that are off say nothing. */
const listen = (page) => page.addInitScript(() => {
  globalThis.said = [];
  const heard = (node) => {
    const region = (node.nodeType === 1 ? node : node.parentElement)?.closest('[aria-live], [role="status"]');
    if (!region || region.getAttribute('aria-live') === 'off' || region.closest('[hidden]')) return;
    const text = region.textContent.trim();
    if (text && globalThis.said.at(-1)?.[1] !== text) globalThis.said.push([region.id, text]);
  };
  new MutationObserver((changes) => { for (const { target, addedNodes, type } of changes) if (type === 'characterData' || addedNodes.length) heard(target); })
    .observe(document, { subtree: true, childList: true, characterData: true });
});

test('live regions say each stage once', async () => {
  const page = await browser.newPage();
  await listen(page);
  await page.goto(`${site.address}?pair=fixture&lengths=16,32,64&runs=3`);
  await settled(page);
  const status = (said) => said.filter(([id]) => id === 'status').map(([, text]) => text);
  // That the page works offline is said when its copy is complete, whatever goes on then.
  let offline = 0;
  const heard = async () => {
    const all = await page.evaluate(() => globalThis.said.splice(0));
    offline += all.filter(([id]) => id === 'offline').length;
    assert.ok(offline <= 1, JSON.stringify(all));
    return all.filter(([id]) => id !== 'offline');
  };
  let said = await heard();
  for (const stage of [/^Starting the engine/, /^Loading the pair/, /^Reading the transformer/, /^Reading the linear/, /^Preparing the kernels/, /^Both models are reading/, /is ready/]) {
    assert.equal(status(said).filter((text) => stage.test(text)).length, 1, `${stage} in ${status(said).join(' | ')}`);
  }
  assert.equal(said.filter(([id]) => id === 'agreement').length, 1);
  assert.match(said.find(([id]) => id === 'agreement')[1], /Transformer: .* in .*; linear model: .* in .*They/);
  await page.getByTestId('run').click();
  await page.locator('#result').waitFor({ state: 'attached' });
  await settled(page);
  said = await heard();
  assert.deepEqual(status(said), ['Measuring 3 lengths…', 'The comparison is done.']);
  assert.equal(said.filter(([id]) => id === 'verdict').length, 1, JSON.stringify(said));
  assert.equal(said.length, 3, JSON.stringify(said));
  await page.getByTestId('theory').check();
  await page.getByTestId('theory-words').getByText(/not measured/).waitFor();
  said = await heard();
  assert.deepEqual(said.map(([id]) => id), ['theory-words'], 'the verdict is not read again');
  await page.close();
});

test('motion only where it is wanted', async () => {
  for (const [reducedMotion, still] of [['reduce', true], ['no-preference', false]]) {
    const { page } = await open(browser, site.address, '?pair=fixture', { reducedMotion });
    await settled(page);
    const moving = await page.evaluate(() => [...document.querySelectorAll('*')].filter((node) => {
      const { transitionDuration, animationName } = getComputedStyle(node);
      return transitionDuration.split(',').some((one) => parseFloat(one) > 0) || animationName !== 'none';
    }).map((node) => node.className));
    assert.equal(moving.length === 0, still, `${reducedMotion}: ${moving}`);
    await page.close();
  }
});
