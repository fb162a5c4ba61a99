// `cargo xtask bench`: the page's sweep over length in headless Chromium, without a click.
//   node xtask/sweep.mjs --pair demo --lengths 64,128 --runs 5 --out FILE.json [--picture FILE.png] [--cpu]
import fs from 'node:fs';
import { parseArgs } from 'node:util';
import { launch, open, serve, settled } from '../tests/browser/support/site.mjs';

const { values } = parseArgs({
  options: {
    pair: { type: 'string', default: 'demo' },
    lengths: { type: 'string', default: '64,128,256,512' },
    runs: { type: 'string', default: '5' },
    out: { type: 'string' },
    picture: { type: 'string' },
    cpu: { type: 'boolean', default: false },
  },
});

const site = await serve();
const browser = await launch({ webgpu: !values.cpu });
try {
  const query = new URLSearchParams({ pair: values.pair, lengths: values.lengths, runs: values.runs, autorun: 'sweep' });
  const { page, trouble } = await open(browser, site.address, `?${query}`);
  const status = page.getByTestId('status');
  const result = page.locator('#result');
  // A state of error ends the wait as well: its message is the reason.
  await Promise.race([
    result.waitFor({ state: 'attached', timeout: 1_200_000 }),
    settled(page, ['error'], 1_200_000).then((text) => { throw new Error(`the page says: ${text}`); }),
  ]);
  console.log(await page.getByTestId('adapter').innerText());
  console.log(await status.innerText());
  const json = JSON.stringify(JSON.parse(await result.textContent()), null, 2);
  if (values.out) fs.writeFileSync(values.out, `${json}\n`);
  else console.log(json);
  if (values.picture) await page.screenshot({ path: values.picture, fullPage: true });
  if (trouble.length > 0) throw new Error(trouble.join('\n'));
} finally {
  await browser.close();
  await site.close();
}
