// The page's copy of itself in the list of what is kept on this device: how large it is, and how it goes and comes back.
import { copySize, isRefused, keepCopy, removeCopy } from './offline.js';
import { bytes } from './words.js';

const $ = (id) => document.getElementById(id);

/** Ties the buttons; gives a function that shows how things stand. */
export function makeCopy() {
  async function refresh() {
    const [size, refused] = [await copySize(), isRefused()];
    $('copy').hidden = !size && !refused;
    $('copy-size').textContent = size ? `${bytes(size)}: this page and the pairs of its own that were opened, so that they need no connection.`
      : 'none, as you chose; the page needs a connection each time.';
    $('copy-remove').hidden = !size;
    $('copy-keep').hidden = Boolean(size) || !refused;
  }
  $('copy-remove').addEventListener('click', async () => {
    if (navigator.onLine === false) {
      $('copy-said').textContent = 'This device is not connected to a network, and without its copy the page could not be opened again. Connect it first.';
      return;
    }
    if (await removeCopy()) location.reload();
    else $('copy-said').textContent = 'The browser did not let go of the copy; remove this site’s data in the browser’s settings.';
  });
  $('copy-keep').addEventListener('click', async () => {
    $('copy-said').textContent = 'The copy is being made…';
    await keepCopy();
    await refresh();
    $('copy-said').textContent = $('copy-remove').hidden ? 'The browser keeps no copy of this page.' : 'A copy is kept.';
    if (document.activeElement === document.body) $('own-summary').focus();
  });
  $('own').addEventListener('toggle', refresh);
  refresh();
  return refresh;
}
