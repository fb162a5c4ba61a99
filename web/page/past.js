// The list of past runs: choose one to lay over the plots or to open, delete, export, take one from a file.
import { element } from './about.js';
import { Archive, MOST, readFile, writeFile } from './archive.js';
import { save } from './share.js';
import { makeSure } from './sure.js';
import { engineLine, moment } from './words.js';

const $ = (id) => document.getElementById(id);
const KINDS = { text: 'Text', language: 'Language model', speech: 'Speech' };
const LARGEST_FILE = 5e6;

/** "64 to 512 tokens" of a run. */
function reach({ kind, result: { points } }) {
  const lengths = points.map(({ length }) => length);
  const [low, high] = [Math.min(...lengths), Math.max(...lengths)].map((value) => value.toLocaleString('en-US'));
  const unit = { text: 'tokens', language: 'tokens of context', speech: 's' }[kind];
  return `${low === high ? low : `${low} to ${high}`} ${unit}`;
}

/**
 * Ties the section to `page`: kind() is that of the run on show, measuring() whether there will be more of it, open(run) shows
 * one in its place, lay(run) shows one beside it, null none.
 */
export function makePastRuns(page) {
  const archive = new Archive();
  let laid = null;
  const say = (words) => { $('archive-said').textContent = words; };

  function button(words, label, act) {
    const one = element('button', 'quiet small', words);
    one.type = 'button';
    one.setAttribute('aria-label', label);
    one.addEventListener('click', act);
    return one;
  }

  function entry(run) {
    const { result: { pair, adapter, browser } } = run;
    const name = `${pair}, ${moment(run.date)}`;
    const lay = button(laid === run.id ? 'Take away' : 'Lay over', `${laid === run.id ? 'Take away' : 'Lay over the plots'}: ${name}`, () => {
      laid = laid === run.id ? null : run.id;
      page.lay(laid ? run : null);
      list();
      say(laid ? `${name} is laid over the plots, in thin lines.` : `${name} is taken away.`);
      focus(run.id, 'lay');
    });
    lay.dataset.act = 'lay';
    lay.disabled = page.kind() !== run.kind;
    if (lay.disabled) lay.title = 'It can be laid over plots of the same kind, once there are some.';
    const open = button('Open', `Open: ${name}`, () => { page.open(run); list(); say(`${name} is open.`); });
    open.disabled = page.measuring();
    const remove = button('Delete', `Delete: ${name}`, () => {
      if (laid === run.id) { laid = null; page.lay(null); }
      archive.remove(run.id);
      list();
      say(`${name} is deleted.`);
      $('archive-summary').focus();
    });
    const item = element('li', '', element('p', '', element('strong', '', pair), ` · ${KINDS[run.kind]}, ${reach(run)}`),
      element('p', 'hint', `${moment(run.date)} · ${engineLine(adapter)} · ${browser}`), element('div', 'row', lay, open, remove));
    item.dataset.id = run.id;
    return item;
  }

  /** The list is made anew; whoever pressed a button in it stays there. */
  const focus = (id, act) => $('archive-list').querySelector(`[data-id="${CSS.escape(id)}"] [data-act="${act}"]`)?.focus();

  function list() {
    const runs = archive.list();
    $('archive-summary').textContent = `Past runs on this device${runs.length ? ` (${runs.length})` : ''}`;
    $('archive-note').textContent = archive.refused
      ? 'This browser does not let the page keep anything here, so runs are there until the page is closed. Save what you need.'
      : runs.length ? `Kept by this browser for this page, up to ${MOST} runs, and sent nowhere.` : 'None yet: every finished comparison is kept here, by this browser for this page, and sent nowhere.';
    $('archive-list').replaceChildren(...runs.map(entry));
    for (const id of ['archive-save', 'archive-clear']) $(id).disabled = !runs.length;
  }

  $('archive').addEventListener('toggle', list);
  addEventListener('storage', list);
  $('archive-save').addEventListener('click', () => save(writeFile(archive.list()), 'application/json', 'caldera-runs.json'));
  makeSure($('archive-clear'), () => {
    archive.clear();
    laid = null;
    page.lay(null);
    list();
    say('All past runs are deleted.');
    $('archive-summary').focus();
  });
  $('archive-file').addEventListener('change', async ({ target }) => {
    const [file] = target.files;
    target.value = '';
    if (!file) return;
    try {
      if (file.size > LARGEST_FILE) throw new Error('it is larger than any result of this page');
      const runs = readFile(await file.text(), new Date(file.lastModified));
      archive.add(...runs);
      if (runs.length === 1 && !page.measuring()) page.open(runs[0]);
      list();
      say(runs.length === 1 ? `${file.name} is added to the list.` : `${file.name}: ${runs.length} runs are added to the list.`);
    } catch (error) {
      say(`${file.name} cannot be opened: ${error.message}. Choose a JSON file that this page saved.`);
    }
  });
  list();
  return {
    /** Adds a run that has just been measured. */
    keep(run) { archive.add(run); list(); },
    list,
  };
}
