// Files of the visitor's own: chosen, or dropped anywhere on the page.
import { chosen, dropped } from './pairs.js';

const $ = (id) => document.getElementById(id);

/** `bring(files)` takes those that were chosen as a pair, `receive(files)` those that were dropped. */
export function takeFiles({ bring, receive }, failed) {
  for (const id of ['folder', 'files']) $(id).addEventListener('change', ({ target }) => { bring(chosen(target)); target.value = ''; });
  // Text that is dragged goes where the browser lets it: into the fields.
  const ofFiles = ({ dataTransfer }) => Boolean(dataTransfer?.types.includes('Files'));
  let inside = 0;
  addEventListener('dragenter', (event) => { if (ofFiles(event)) { inside += 1; $('drop').hidden = false; } });
  addEventListener('dragleave', () => { inside -= 1; if (inside <= 0) { inside = 0; $('drop').hidden = true; } });
  addEventListener('dragover', (event) => { if (ofFiles(event)) event.preventDefault(); });
  addEventListener('drop', async (event) => {
    inside = 0;
    $('drop').hidden = true;
    if (!ofFiles(event)) return;
    event.preventDefault();
    try { receive(await dropped(event.dataTransfer)); } catch (error) { failed(error); }
  });
}
