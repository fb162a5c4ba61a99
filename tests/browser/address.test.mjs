// Pairs by address: what may be written, how a download goes on, what is refused before it begins.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { placeOf } from '../../web/page/address.js';
import { elsewhere } from './support/elsewhere.mjs';
import { makeLanguagePair, makePair } from './support/pair.mjs';
import { agree, launch, open, serve, settled, withPairs } from './support/site.mjs';

const MODEL = 'transformer/model.safetensors';
const PAGE = 'https://here.example/caldera/?model=x';

test('what an address may be', () => {
  const hub = 'https://huggingface.co/owner/name/resolve';
  for (const [written, base, label] of [
    ['owner/name', `${hub}/main/`, 'owner/name'],
    [' owner/name@v1.2 ', `${hub}/v1.2/`, 'owner/name@v1.2'],
    ['owner/name@refs/pr/3', `${hub}/refs%2Fpr%2F3/`, 'owner/name@refs/pr/3'],
    ['https://huggingface.co/owner/name', `${hub}/main/`, 'owner/name'],
    ['https://huggingface.co/owner/name/tree/main', `${hub}/main/`, 'owner/name'],
    ['https://hf.co/owner/name/tree/dev/pairs/one', `${hub}/dev/pairs/one/`, 'owner/name@dev/pairs/one'],
    ['https://huggingface.co/owner/name/blob/main/one/pair.json', `${hub}/main/one/`, 'owner/name/one'],
    ['https://huggingface.co/owner/name/resolve/refs%2Fpr%2F3/', `${hub}/refs%2Fpr%2F3/`, 'owner/name@refs/pr/3'],
    ['https://some.host/a/pair', 'https://some.host/a/pair/', 'some.host/a/pair'],
    ['https://some.host/a/pair/pair.json#top', 'https://some.host/a/pair/', 'some.host/a/pair'],
    ['http://localhost:8000', 'http://localhost:8000/', 'localhost:8000'],
  ]) {
    assert.deepEqual(placeOf(written, PAGE), { base, label }, written);
    assert.deepEqual(placeOf(base, PAGE), { base, label }, `${base} means itself`);
  }
  for (const [written, said] of [
    ['', /no address/], ['name', /no address.*owner\/name/], ['../secret', /no address/], ['a/b/c', /no address/],
    ['ftp://some.host/pair', /does not begin with https/], ['javascript:alert(1)', /does not begin with https/],
    ['http://some.host/pair', /some\.host is named with http/], ['https://me:word@some.host/', /password/],
    ['https://some.host/pair?token=1', /question mark/], ['https://huggingface.co/datasets/a/b', /no model on Hugging Face/],
    ['https://huggingface.co/owner/na%me', /“https:.*na%me” has a % that stands for no character/],
    ['https://huggingface.co/', /no model on Hugging Face/], ['https://here.example/caldera/', /this page itself/],
  ]) assert.throws(() => placeOf(written, PAGE), said, written);
});

describe('a pair on another site', () => {
  let site, browser;
  before(async () => {
    site = await serve(withPairs({ fixture: makePair() }));
    browser = await launch({ webgpu: false });
  });
  after(async () => { await browser?.close(); await site?.close(); });

  /** Runs a test with another site, a fresh context of the browser, and a way to open the page on that site's pair, agreed to. */
  const withElsewhere = (name, run) => test(name, async () => {
    const other = await elsewhere(makePair({ name: 'far' }));
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
    try {
      const visit = async (query = `?model=${other.address}`) => {
        const visited = await open(context, site.address, query, { elsewhere: [other.origin] });
        if (query) await agree(visited.page);
        return visited;
      };
      await run({ other, context, visit });
    } finally {
      await context.close();
      await other.close();
    }
  });
  const size = () => makePair({ name: 'far' })[MODEL].length;

  withElsewhere('loads by ?model=, with no request that another site would have to allow first', async ({ other, visit }) => {
    const { page, trouble } = await visit();
    assert.match(await settled(page), /“far” is ready/);
    assert.match(await page.getByTestId('answer-linear').innerText(), /14 tokens/);
    assert.equal(await page.locator('#pair-select').inputValue(), `address:${other.address}`);
    assert.ok(other.log.every(({ method }) => method === 'GET'), JSON.stringify(other.log));
    assert.equal(other.asked(MODEL).length, 1);
    assert.deepEqual(trouble, []);
  });

  withElsewhere('a link asks before another site hears of the visit; the keyboard can say yes, and another pair is a way out', async ({ other, context }) => {
    const { page, trouble } = await open(context, site.address, `?model=${other.address}`, { elsewhere: [other.origin] });
    const said = await settled(page);
    const { host } = new URL(other.address);
    assert.match(said, new RegExp(`asks for “${host}/pair”, a pair of models on ${host}\\. Nothing has been asked of that host yet`));
    assert.equal(await page.getByTestId('status').getAttribute('aria-live'), 'polite');
    await page.getByTestId('offline').filter({ hasText: 'without a connection' }).waitFor({ timeout: 60_000 });
    assert.deepEqual(other.log, [], 'nothing was asked');
    await page.locator('#pair-select').selectOption('fixture');
    await page.getByText('“fixture” is ready').waitFor();
    assert.ok(await page.getByRole('button', { name: /^Load it from/ }).isHidden());
    await page.reload();
    const button = page.getByRole('button', { name: `Load it from ${host}`, exact: true });
    await button.focus();
    assert.deepEqual(other.log, []);
    await page.keyboard.press('Enter');
    await page.getByText('“far” is ready').waitFor();
    // What is here whole already needs no word.
    await page.reload();
    await page.getByText('“far” is ready').waitFor();
    assert.deepEqual(trouble, []);
  });

  withElsewhere('the comparison that a link asks for is run on its own pair, after the word, and on no other', async ({ other, context }) => {
    const { page, trouble } = await open(context, site.address, `?model=${other.address}&autorun=sweep&lengths=16,32&runs=1`, { elsewhere: [other.origin] });
    await settled(page);
    await page.locator('#pair-select').selectOption('fixture');
    await page.getByText('“fixture” is ready').waitFor();
    await page.waitForTimeout(300);
    assert.ok(await page.locator('#cancel').isHidden(), 'the visitor’s own choice is not measured');
    await page.reload();
    const load = page.getByRole('button', { name: /^Load it from/ });
    await load.waitFor();
    await load.click();
    await page.getByText('The comparison is done.').waitFor({ timeout: 60_000 });
    const result = JSON.parse(await page.locator('script#result').textContent());
    assert.equal(result.pair, 'far');
    assert.deepEqual(result.points.map(({ length }) => length), [16, 16, 32, 32]);
    assert.deepEqual(trouble, []);
  });

  withElsewhere('a pair on the page’s own site needs no word', async ({ context }) => {
    const { page, trouble } = await open(context, site.address, `?model=${site.address}pairs/fixture`);
    assert.match(await settled(page), /“fixture” is ready/);
    assert.deepEqual(trouble, []);
  });

  withElsewhere('loads by the field; what is no address is said beside it', async ({ other, visit }) => {
    const { page, trouble } = await visit('');
    assert.match(await settled(page), /“fixture” is ready/);
    await page.locator('#own-summary').click();
    await page.getByTestId('model').fill('no address');
    await page.getByTestId('model-load').click();
    assert.match(await page.getByTestId('model-said').innerText(), /“no address” is no address\. Write a Hugging Face repository/);
    assert.ok(await page.getByTestId('answer').isEnabled(), 'the loaded pair stays');
    await page.getByTestId('model').fill(`${other.address}pair.json`);
    await page.getByTestId('model').press('Enter');
    await page.getByText('“far” is ready').waitFor();
    await page.locator('#pair-select').selectOption('fixture');
    await page.getByText('“fixture” is ready').waitFor();
    assert.deepEqual(trouble, []);
  });

  withElsewhere('a Hugging Face repository, at a revision', async ({ other, context, visit }) => {
    const asked = [];
    await context.route('https://huggingface.co/**', (route) => {
      const { pathname } = new URL(route.request().url());
      asked.push(pathname);
      const bytes = other.files[pathname.replace('/owner/name/resolve/v1/', '')];
      return route.fulfill(bytes ? { body: bytes, headers: { 'access-control-allow-origin': '*' } } : { status: 404, headers: { 'access-control-allow-origin': '*' } });
    });
    const { page } = await visit('?model=owner/name@v1');
    assert.match(await settled(page), /“far” is ready/);
    assert.ok(asked.length > 6 && asked.every((path) => path.startsWith('/owner/name/resolve/v1/')), asked.join(' '));
  });

  withElsewhere('a connection that breaks is taken up where it stopped', async ({ other, visit }) => {
    other.breaks[MODEL] = [undefined, undefined, 30_000, 50_000];
    const { page } = await visit();
    assert.match(await settled(page), /“far” is ready/);
    const asked = other.asked(MODEL);
    assert.deepEqual(asked.map(({ range, status }) => [range, status]), [[null, 200], ['bytes=30000-', 206], ['bytes=80000-', 206]]);
    assert.equal(asked.reduce((sum, { sent }) => sum + sent, 0), size(), 'no byte came twice');
  });

  withElsewhere('a server that answers “not now” is asked again', async ({ other, visit }) => {
    other.down[MODEL] = 503;
    const { page } = await visit();
    await page.waitForFunction(() => /trying again/.test(document.getElementById('status').textContent));
    delete other.down[MODEL];
    assert.match(await settled(page), /“far” is ready/);
  });

  withElsewhere('a connection that stays broken: said, and the button goes on from there; so does the page after a reload', async ({ other, visit }) => {
    other.breaks[MODEL] = [undefined, undefined, 30_000, ...Array(8).fill(0)];
    const { page } = await visit();
    const said = await settled(page, ['error'], 30_000);
    assert.ok(said.includes(`transformer/model.safetensors: the connection broke after 30,000 of ${size().toLocaleString('en-US')} bytes, and 4 more tries did not help.`), said);
    const tries = other.asked(MODEL).length;
    assert.equal(tries, 5);
    other.breaks[MODEL] = [undefined, undefined, 40_000, ...Array(8).fill(0)];
    await page.getByRole('button', { name: 'Go on' }).click();
    await settled(page, ['error'], 30_000);
    assert.equal(other.asked(MODEL)[tries].range, 'bytes=30000-');
    other.breaks[MODEL] = [];
    await page.reload();
    await agree(page);
    await page.getByText('“far” is ready').waitFor();
    assert.equal(other.asked(MODEL).at(-1).range, 'bytes=70000-');
  });

  withElsewhere('a server without ranges sends the file anew', async ({ other, visit }) => {
    other.ranges = false;
    // Without ranges the early look at the header costs one answer that is not read.
    other.breaks[MODEL] = [undefined, 30_000];
    const { page } = await visit();
    assert.match(await settled(page), /“far” is ready/);
    assert.deepEqual(other.log.filter(({ path }) => path === MODEL).map(({ range, status }) => [range, status]), [['bytes=0-7', 200], [null, 200], ['bytes=30000-', 200]]);
  });

  withElsewhere('a file that changes under way is not glued together', async ({ other, visit }) => {
    const right = other.files[MODEL];
    const wrong = Buffer.from(right);
    wrong[20_000] ^= 1;
    other.files[MODEL] = wrong;
    other.breaks[MODEL] = [undefined, undefined, 30_000, ...Array(4).fill(0)];
    const { page } = await visit();
    await settled(page, ['error'], 30_000);
    // Another version now, and a new visit: what was kept of the old one is dropped.
    other.files[MODEL] = right;
    other.breaks[MODEL] = [];
    await page.reload();
    await agree(page);
    await page.getByText('“far” is ready').waitFor();
    assert.deepEqual(other.asked(MODEL).slice(-2).map(({ range }) => range), ['bytes=30000-', null]);
  });

  withElsewhere('a corrupted file is named with both sums and not kept', async ({ other, visit }) => {
    const right = other.files[MODEL];
    other.files[MODEL] = Buffer.from(right);
    other.files[MODEL][right.length >> 1] ^= 1;
    const { page } = await visit();
    assert.match(await settled(page, ['error']), /transformer\/model\.safetensors: expected SHA-256 [0-9a-f]{64}, found [0-9a-f]{64}/);
    assert.equal(other.asked(MODEL).length, 1, 'what was downloaded just now is not downloaded again');
    other.files[MODEL] = right;
    await page.getByRole('button', { name: 'Try again' }).click();
    assert.match(await settled(page), /“far” is ready/);
  });

  withElsewhere('no pair there, a web page instead, a private one, another site that allows nothing: each is said', async ({ other, visit }) => {
    const { page } = await visit(`?model=${other.origin}/nothing`);
    assert.match(await settled(page, ['error']), /no pair\.json at http:.*\(404\)\. A pair is a folder with pair\.json.*caldera export/);
    other.types['pair.json'] = 'text/html';
    await page.goto(`${site.address}?model=${other.address}`);
    await agree(page);
    assert.match(await settled(page, ['error']), /a web page came instead/);
    other.types = {};
    other.down['pair.json'] = 403;
    await page.getByRole('button', { name: 'Try again' }).click();
    await page.getByText('signing in (403)').waitFor();
    other.down['pair.json'] = 429;
    await page.getByRole('button', { name: 'Try again' }).click();
    await page.getByText('the server cannot give it now (429)').waitFor();
    other.down = {};
    other.cors = false;
    await page.getByRole('button', { name: 'Try again' }).click();
    await page.getByText(/does not let other sites read its files \(CORS\)/).waitFor();
    await page.goto(`${site.address}?model=http://some.host/pair`);
    assert.match(await settled(page, ['error']), /some\.host is named with http/);
    await page.getByRole('button', { name: 'Load a pair of this page' }).click();
    await page.getByText('“fixture” is ready').waitFor();
  });
});

/** A pair whose weights, by their headers and by pair.json, hold a table of `rows` x 1024; only the headers are there. */
function largePair(rows, files = makePair({ name: 'large' }), table = 'bert.embeddings.position_embeddings.weight') {
  const about = JSON.parse(files['pair.json']);
  const weights = files[MODEL];
  const length = Number(weights.readBigUInt64LE(0));
  const header = JSON.parse(weights.subarray(8, 8 + length));
  const end = Math.max(...Object.values(header).map(({ data_offsets: [, last] }) => last));
  header[table] = { dtype: 'F32', shape: [rows, 1024], data_offsets: [end, end + rows * 4096] };
  const text = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  files[MODEL] = Buffer.concat([size, text, Buffer.alloc(1000)]);
  about.files.find(({ path }) => path === MODEL).size = 8 + text.length + end + rows * 4096;
  files['pair.json'] = Buffer.from(JSON.stringify(about));
  return files;
}

describe('what does not fit is refused before it is downloaded', () => {
  let site;
  before(async () => { site = await serve(withPairs({})); });
  after(() => site?.close());

  async function refuses({ webgpu, rows, files = largePair(rows) }, check) {
    const browser = await launch({ webgpu });
    const other = await elsewhere(files);
    try {
      const { page } = await open(browser, site.address, `?model=${other.address}`, { elsewhere: [other.origin] });
      await agree(page);
      await check(page, other);
      assert.deepEqual(other.asked(MODEL), [], 'nothing of the weights but their header was asked for');
    } finally {
      await browser.close();
      await other.close();
    }
  }

  test('models beyond the page’s memory, on the CPU engine', () => refuses({ webgpu: false, rows: 1_000_000 }, async (page) => {
    assert.match(await settled(page, ['error']), /its two models take 4\.1 GB as 32-bit floats, and on the CPU engine a page has 3\.8 GB for them/);
    assert.ok(await page.locator('#retry-cpu').isHidden());
  }));

  test('a tensor beyond the adapter’s limits, on WebGPU; the CPU engine takes over', () => refuses({ webgpu: true, rows: 600_000 }, async (page) => {
    assert.match(await settled(page, ['error']), /transformer\/model\.safetensors: tensor `bert\.embeddings\.position_embeddings\.weight` takes 2,344 MiB .*binds at most [\d,]+ MiB at once\. The CPU engine has no such limit\./);
    await page.locator('#retry-cpu').click();
    await page.getByRole('button', { name: 'Download 2.5 GB' }).waitFor();
    assert.match(await page.getByTestId('adapter').innerText(), /CPU engine/);
  }));

  for (const [table, make] of [['embed_out.weight', makeLanguagePair], ['bert.embeddings.word_embeddings.weight', makePair]]) {
    test(`a token table may be larger (${table}): the engine holds it in blocks`, async () => {
      const files = largePair(600_000, make({ name: 'large' }), table);
      await refuses({ webgpu: true, files }, (page) => page.getByRole('button', { name: /^Download 2\.\d GB$/ }).waitFor());
    });
  }

  test('a large one is downloaded after a word, with its size said before', () => refuses({ webgpu: false, rows: 60_000 }, async (page) => {
    assert.match(await settled(page), /“localhost:\d+\/pair” holds 247\sMB\. It is downloaded once and kept on this device\./);
    assert.ok(await page.getByRole('button', { name: 'Download 247 MB' }).isVisible());
  }));
});
