// Pairs by address: what the visitor names is looked at, asked about where it is large, loaded, and kept on this device.
import { placeOf } from './address.js';
import { forget, kept } from './kept.js';
import { element } from './about.js';
import { makeSure } from './sure.js';
import { bytes } from './words.js';

/** From this size on, a download waits for the visitor's word. */
const ASK_BYTES = 200e6;
const SCHEME = 'address:';

const $ = (id) => document.getElementById(id);

function button(text, label, act) {
  const node = element('button', 'chip', text);
  node.type = 'button';
  node.setAttribute('aria-label', label);
  node.addEventListener('click', act);
  return node;
}

/** One kept pair in a line: what it is, how large, and what can be done with it. */
function line({ key, label, address, bytes: size, total, done }, { bring, remove }) {
  const words = done ? bytes(size) : `${bytes(size)} of ${bytes(Math.max(total, size))}, unfinished`;
  const load = done ? 'Load' : 'Go on';
  const node = element('li', '', element('span', 'kept-name', label), element('span', 'kept-size', words),
    button(load, `${load}: ${label}`, () => bring(address)), button('Remove', `Remove ${label}`, () => remove(key)));
  node.dataset.key = key;
  return node;
}

/**
 * Ties the address field and the list of kept pairs to the page: {bring(text), propose(text), address(value), refresh}. `page` gives anew, say, allow, failed, offer and
 * loadPair.
 */
export function makeOwn(page) {
  async function refresh() {
    const pairs = await kept();
    const size = pairs.reduce((sum, pair) => sum + pair.bytes, 0);
    $('kept').hidden = !pairs.length;
    $('own-summary').textContent = `Bring your own${pairs.length ? ` · ${bytes(size)} kept` : ''}`;
    $('kept-total').textContent = `${pairs.length === 1 ? 'One pair' : `${pairs.length} pairs`}, ${bytes(size)}.`;
    // Whoever is at a pair's line by keyboard stays there, at its first button where the one that was pressed has another name now.
    const { activeElement: at } = document;
    const { key } = at.closest('#kept-list li')?.dataset ?? {};
    $('kept-list').replaceChildren(...pairs.map((pair) => line(pair, { bring, remove })));
    const buttons = key ? [...$('kept-list').querySelectorAll(`[data-key="${key}"] button`)] : [];
    (buttons.find((one) => one.textContent === at.textContent) ?? buttons[0])?.focus({ preventScroll: true });
  }

  async function remove(key) {
    try {
      await forget(key);
      $('kept-said').textContent = key ? 'Removed.' : 'All kept pairs are removed.';
    } catch {
      $('kept-said').textContent = 'It is being read or downloaded just now; remove it when that is done.';
    }
    await refresh();
    // The button that was pressed is gone with its line.
    if (document.activeElement === document.body) $('own-summary').focus();
  }

  async function load({ base, label }) {
    page.offer(label, SCHEME + base);
    const fine = await page.loadPair({ address: base }, label);
    await refresh();
    return fine;
  }

  /** The place that a text means, null where it means none, which is said. */
  function understood(text) {
    try {
      return placeOf(text);
    } catch (error) {
      page.failed(error, () => { page.forgetAsked(); return page.reload(); }, 'Load a pair of this page');
      return null;
    }
  }

  /** What a link asks for: another site hears nothing of this visit before the visitor says so, unless what it has is here already. True where all went well. */
  async function propose(text) {
    const place = understood(text);
    if (!place) return false;
    const { base, label } = place;
    const { origin, host } = new URL(base);
    if (origin === location.origin || (await kept()).some(({ address, done }) => done && address === base)) return bring(text);
    page.offer(label, SCHEME + base);
    page.say(`The link to this page asks for “${label}”, a pair of models on ${host}. Nothing has been asked of that host yet: loading fetches pair.json from there and `
      + 'the files that it lists, and its owner can see that you do.', 'ready', () => bring(text), `Load it from ${host}`);
    page.allow(true);
    return false;
  }

  /** Looks at the pair behind an address, asks before a large download, and loads it. True where all went well. */
  async function bring(text) {
    const place = understood(text);
    if (!place) return false;
    const { base, label } = place;
    if (!page.loaded) page.offer(label, SCHEME + base);
    page.halt();
    page.allow(false);
    const again = () => bring(base);
    let found;
    try {
      found = await page.anew('survey', { from: { address: base }, name: label }, { doing: `Looking at “${label}”…`, again });
    } catch (error) {
      page.failed(error, again);
      return false;
    }
    // Something else was asked for meanwhile.
    if (!found) return false;
    if (found.missing <= ASK_BYTES) return load(place);
    const part = found.missing < found.total ? ` (${bytes(found.total - found.missing)} of it are here already)` : '';
    page.say(`“${label}” holds ${bytes(found.total)}${part}. It is downloaded once and kept on this device.`, 'ready', () => load(place), `Download ${bytes(found.missing)}`);
    page.allow(true);
    return false;
  }

  $('model-form').addEventListener('submit', (event) => {
    event.preventDefault();
    try {
      placeOf($('model').value);
      $('model-said').textContent = '';
    } catch (error) {
      $('model-said').textContent = error.message;
      $('model').focus();
      return;
    }
    bring($('model').value);
  });
  makeSure($('kept-clear'), () => remove());
  $('own').addEventListener('toggle', refresh);
  refresh();

  return { bring, propose, refresh, address: (value) => (value?.startsWith(SCHEME) ? value.slice(SCHEME.length) : null) };
}
