// The page: starts the engine, loads pairs, and ties tabs and forms to them.
import { showPair } from './about.js';
import { takeFiles } from './drop.js';
import { EngineClient } from './engine.js';
import { language } from './language.js';
import { asked, baseOf, shipped } from './pairs.js';
import { prepare, showResults } from './results.js';
import { speech } from './speech.js';
import { parseLengths, toCsv, toResult } from './sweep.js';
import { makeTabs } from './tabs.js';
import { text } from './text.js';
import { adapterLine, browser, bytes } from './words.js';

/** What the tabs are for, in their order; elements with data-kind belong to those that it names. */
const kinds = [text, language, speech];

const $ = (id) => document.getElementById(id);
const parameters = new URLSearchParams(location.search);
const engine = new EngineClient();

/** What the engine said of itself, the loaded pair, the last sweep. */
let started = null;
let loaded = null;
let result = null;
let measuring = null;
/** The tab's kind, every shipped pair, and the lengths of the address until another tab is chosen. */
let kind = kinds[0];
let pairs = [];
let lengthsAsked = parameters.get('lengths');

/** The one line that says what goes on; `state` is working, ready or error. */
function say(text, state = 'ready', retry = null) {
  $('status').textContent = text;
  $('state').dataset.state = state;
  $('retry').hidden = !retry;
  $('retry').onclick = retry;
  if (state !== 'working') $('progress').hidden = true;
}

/** Buttons that need a free engine; most need a loaded pair too. */
function allow(free) {
  $('run').disabled = !(free && loaded);
  $('pair-select').disabled = !free || ['none', undefined].includes($('pair-select').selectedOptions[0]?.value);
  kind.allow(Boolean(free && loaded));
  tabs.allow(free);
}

/** Shows an error and a way on: after a fatal one a fresh engine is started first. */
function failed(error, again) {
  const way = error.fatal ? ' The button starts the engine again.' : '';
  say(`${error.message}${/[.!?]$/.test(error.message) ? '' : '.'}${way}`, 'error', async () => {
    if (error.fatal && !(await start())) return;
    await again();
  });
  allow(!error.fatal);
}

const tabs = makeTabs($('tabs'), kinds, (id) => {
  lengthsAsked = null;
  turnTo(kinds.find((one) => one.id === id));
  loadFirst();
});

/** Turns to the tab of a kind and offers its pairs; none is loaded yet. */
function turnTo(next) {
  kind = next;
  tabs.select(kind.id);
  for (const node of document.querySelectorAll('[data-kind]')) node.hidden = !node.dataset.kind.split(' ').includes(kind.id);
  prepare(kind.view);
  const names = pairs.filter(({ task }) => kind.fits(task)).map(({ name }) => name);
  $('pair-select').replaceChildren(...names.map((name) => new Option(name, name)));
}

/** Adds a pair to the list, chosen. */
function offer(label, value) {
  const select = $('pair-select');
  [...select.options].filter((option) => [value, 'none'].includes(option.value)).forEach((option) => option.remove());
  select.append(new Option(label, value, true, true));
}

async function start() {
  say('Starting the engine…', 'working');
  try {
    started = await engine.start(parameters.get('engine'));
  } catch (error) {
    failed(error, choose);
    return false;
  }
  const { adapter, versions } = started;
  $('adapter').textContent = adapterLine(adapter);
  $('adapter').dataset.engine = adapter.engine;
  if (adapter.software) $('adapter').dataset.software = '';
  $('versions').textContent = `Caldera ${versions.caldera} · Burn ${versions.burn} · ${browser()}`;
  return true;
}

/** Loads a pair `from` {base} or {files}, runs its first sample, and says so. True where all went well. */
async function load(from, name) {
  // The engine takes one call after another: what is under way there ends first.
  measuring?.abort();
  measuring = loaded = null;
  allow(false);
  kind.clear();
  $('results').hidden = true;
  say(name ? `Loading the pair “${name}”…` : 'Loading your pair…', 'working');
  try {
    const reply = await engine.call('load', { from, name }, ({ text, done, total }) => {
      $('progress').hidden = false;
      $('progress').value = total ? done / total : 0;
      // The line is a live region: one message a stage, the bar tells the rest.
      if ($('status').dataset.stage !== text) say(`${text} (${bytes(total)} in all)…`, 'working');
      $('status').dataset.stage = text;
    });
    loaded = { ...reply, name: reply.pair.name || name };
  } catch (error) {
    failed(error, () => load(from, name));
    return false;
  } finally {
    delete $('status').dataset.stage;
  }
  const own = kinds.find(({ id }) => id === loaded.transformer.kind);
  if (own !== kind) {
    // The visitor's own files, or an unlisted pair that the address names: only now it is known what they are.
    const { text: label, value } = $('pair-select').selectedOptions[0];
    turnTo(own);
    offer(label, value);
    kind.clear();
  }
  showPair(loaded);
  const most = kind.maxLength(loaded);
  $('lengths').value = lengthsAsked ?? kind.defaultLengths(most).join(', ');
  $('lengths-hint').textContent = kind.limit(most);
  $('lengths-hint').classList.remove('warn');
  kind.show(loaded);
  const { read_ms: read, prepare_ms: prepared } = loaded.times;
  return kind.run(`“${loaded.name}” is ready: read in ${(read / 1000).toFixed(1)} s, prepared in ${(prepared / 1000).toFixed(1)} s.`);
}

async function sweep() {
  if (!loaded || measuring) return;
  // Files may be dropped meanwhile, and another pair with them.
  const [pair, { view, limit }] = [loaded, kind];
  const most = kind.maxLength(pair);
  const { lengths, refused } = parseLengths($('lengths').value, most, view.lengths);
  const runs = Math.max(1, Math.min(200, Math.round(Number($('runs').value)) || 7));
  $('runs').value = runs;
  $('lengths-hint').textContent = refused.length ? refused.join(' ') : limit(most);
  $('lengths-hint').classList.toggle('warn', refused.length > 0);
  if (!lengths.length) {
    say(`Nothing to measure: ${refused.join(' ') || 'give at least one length.'}`, 'error');
    return;
  }
  measuring = new AbortController();
  const { signal } = measuring;
  allow(false);
  $('cancel').hidden = false;
  $('meter').hidden = false;
  say(`Measuring ${lengths.length === 1 ? 'one length' : `${lengths.length} lengths`}…`, 'working');
  const gather = (points) => toResult({
    adapter: started.adapter, browser: browser(), versions: started.versions, pair: pair.name, points });
  let shown = '';
  try {
    const points = await kind.runSweep({
      call: (method, given) => engine.call(method, given),
      lengths, runs, signal,
      report: ({ done, total, text, points: sofar }) => {
        $('sweep-progress').value = done / total;
        $('sweep-doing').textContent = text;
        const state = `${sofar.length} ${sofar.at(-1)?.runs}`;
        if (sofar.length && state !== shown && loaded === pair) { shown = state; showResults(gather(sofar), view); }
      },
    });
    if (loaded !== pair) return;
    result = gather(points);
    if (points.length) showResults(result, view);
    publish(result);
    say(signal.aborted ? 'Stopped; what was measured until then is kept.' : 'The comparison is done.');
    allow(true);
  } catch (error) {
    if (loaded === pair) failed(error, error.fatal ? page.reload : sweep);
  } finally {
    measuring = null;
    $('cancel').hidden = true;
    $('meter').hidden = true;
  }
  if (loaded === pair) allow($('state').dataset.state === 'ready');
}

/** The JSON where programs that drive this page find it. */
function publish(data) {
  let node = $('result');
  if (!node) {
    node = document.createElement('script');
    node.type = 'application/json';
    node.id = 'result';
    document.body.append(node);
  }
  node.textContent = JSON.stringify(data);
}

function save(text, type, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** The pair last asked for, for another try after a failure. */
let last = null;
function loadPair(from, name) {
  last = { from, name };
  return load(from, name);
}
const loadShipped = (name) => loadPair({ base: baseOf(name) }, name);

/** Loads the first pair of the tab. */
async function loadFirst() {
  const name = $('pair-select').options[0]?.value;
  if (name) return loadShipped(name);
  measuring?.abort();
  measuring = loaded = last = null;
  kind.clear();
  $('pair-select').replaceChildren(new Option('none shipped', 'none'));
  $('pair-about').textContent = $('lengths-hint').textContent = '';
  $('own').open = true;
  const which = pairs.length ? `pair for the tab “${kind.label}”` : 'pair';
  say(`No ${which} comes with this copy of the page. Choose the folder of an exported pair below.`);
  allow(true);
  return false;
}

/** Lists the shipped pairs and loads the one that the address asks for, else the first of its tab, else the first. */
async function choose() {
  pairs = await shipped();
  let wanted;
  try {
    wanted = asked(parameters);
  } catch (error) {
    turnTo(kind);
    failed(error, () => { parameters.delete('pair'); return choose(); });
    return false;
  }
  const given = kinds.find(({ id }) => id === parameters.get('tab'));
  const listed = pairs.find(({ name }) => name === wanted);
  const first = listed ?? (given ? null : pairs[0]);
  turnTo(first ? kinds.find((one) => one.fits(first.task)) : given ?? kinds[0]);
  if (!wanted) return loadFirst();
  if (!listed) offer(wanted, wanted);
  $('pair-select').value = wanted;
  return loadShipped(wanted);
}

/** Files that were dropped: a clip where the tab takes one, else a pair. */
function receive(files) {
  if (!kind.receive?.(files)) bring(files);
}

function bring(files) {
  if (!files.length) return;
  offer('your own files', '');
  loadPair({ files }, '');
}

/** What a tab may do with the page. */
const page = {
  call: (method, given, news) => engine.call(method, given, news),
  interrupt: () => engine.interrupt(),
  reload: () => (last ? load(last.from, last.name) : choose()),
  say, allow, failed,
  get loaded() { return loaded; },
  get busy() { return Boolean(measuring); },
};
for (const one of kinds) one.connect(page);
takeFiles({ bring, receive }, (error) => failed(error, choose));

$('pair-select').addEventListener('change', ({ target }) => { if (target.value) loadShipped(target.value); });
$('sweep-form').addEventListener('submit', (event) => { event.preventDefault(); sweep(); });
$('cancel').addEventListener('click', () => measuring?.abort());
$('save-json').addEventListener('click', () => save(`${JSON.stringify(result, null, 2)}\n`, 'application/json', `caldera-${result.pair}.json`));
$('save-csv').addEventListener('click', () => save(toCsv(result), 'text/csv', `caldera-${result.pair}.csv`));

// Tests and curious visitors: the engine by hand.
globalThis.caldera = { call: (method, given) => engine.call(method, given) };

if (parameters.has('runs')) $('runs').value = parameters.get('runs');
if (await start() && await choose() && parameters.get('autorun') === 'sweep') await sweep();
