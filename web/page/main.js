// The page: starts the engine, loads pairs, and ties tabs and forms to them.
import { showPair } from './about.js';
import { placeOf } from './address.js';
import { makeRun } from './archive.js';
import { enable } from './controls.js';
import { makeCopy } from './copy.js';
import { takeFiles } from './drop.js';
import { EngineClient } from './engine.js';
import { language } from './language.js';
import { makeLoads } from './loads.js';
import { keepPair, renewed, stayUsable } from './offline.js';
import { makeOutcome } from './outcome.js';
import { makeOwn } from './own.js';
import { asked, baseOf, shipped, sourceOf } from './pairs.js';
import { makeCheck, showScores } from './quality.js';
import { prepare } from './results.js';
import { settingsOf } from './share.js';
import { speech } from './speech.js';
import { say, sayProgress } from './status.js';
import { parseLengths, toResult } from './sweep.js';
import { makeTabs } from './tabs.js';
import { text } from './text.js';
import { arithmetic } from './theory.js';
import { brokenOff, noteLoading } from './unfinished.js';
import { whileVisible } from './visibility.js';
import { adapterLine, browser, bytes } from './words.js';

/** What the tabs are for, in their order; elements with data-kind belong to those that it names. */
const kinds = [text, language, speech];

/** After so long without an engine a fresh start is offered. */
const SLOW_START_MS = 20_000;

const $ = (id) => document.getElementById(id);
const parameters = new URLSearchParams(location.search);
// Whoever is at work hears of a failure by the next call.
const engine = new EngineClient((error) => { if (free) failed(error, page.reload); });

/** The engine that is asked for, and where that was. */
let wish = { engine: parameters.get('engine'), why: 'asked for in the address' };
/** What the engine said of itself, the loaded pair. */
let started = null;
let loaded = null;
let measuring = null;
/** Whether nobody uses the engine. */
let free = false;
/** The tab's kind, every shipped pair, and the lengths of the address until another tab is chosen. */
let kind = kinds[0];
let pairs = [];
let lengthsAsked = parameters.get('lengths');
/** The pair whose load ended with the tab. */
let suspect = brokenOff();

/** Buttons that need a free engine; most need a loaded pair too. Another pair can be picked at any time. */
function allow(value) {
  free = value;
  const usable = Boolean(free && loaded);
  enable($('run'), usable);
  kind.allow(usable);
  check.allow(usable);
  tabs.allow(free);
}

/** Shows an error and a way on. A fatal one has taken the engine and what was loaded with it: `again` begins with a fresh one. */
function failed(error, again, action = error.action) {
  if (error.fatal) loaded = null;
  const way = error.fatal ? ' “Try again” starts the engine anew.' : '';
  const onCpu = () => {
    wish = { engine: 'cpu', why: 'chosen here, in place of the GPU' };
    engine.stop();
    loaded = null;
    again();
  };
  say(`${error.message}${/[.!?]$/.test(error.message) ? '' : '.'}${way}`, 'error', again, action, error.cpu ? onCpu : null);
  allow(true);
}

const tabs = makeTabs($('tabs'), kinds, (id) => {
  lengthsAsked = null;
  sweepAsked = false;
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
  $('pair-select').disabled = !names.length;
}

/** Adds a pair to the list, chosen. */
function offer(label, value) {
  const select = $('pair-select');
  [...select.options].filter((option) => [value, 'none'].includes(option.value)).forEach((option) => option.remove());
  select.append(new Option(label, value, true, true));
  select.disabled = false;
}

async function start() {
  say('Starting the engine…', 'working');
  started = await engine.start(wish.engine, wish.why);
  const { adapter, versions } = started;
  $('adapter').textContent = adapterLine(adapter);
  $('adapter').dataset.engine = adapter.engine;
  $('adapter').toggleAttribute('data-software', adapter.software);
  $('versions').textContent = `Caldera ${versions.caldera} · Burn ${versions.burn} · ${browser()}`;
}

const loads = makeLoads(engine, {
  start,
  say: (text) => say(text, 'working'),
  stopped(again) {
    loaded = null;
    noteLoading();
    kind.clear();
    say('Stopped. Choose another pair, or load this one again.', 'ready', again, 'Load it again');
    allow(true);
  },
});

/** Loads a pair `from` {base} or {files}, runs its first sample, and says so. True where all went well. */
async function load(from, name) {
  const again = () => loadPair(from, name);
  const place = from.address ?? from.base;
  endMeasuring();
  loaded = null;
  allow(false);
  kind.clear();
  outcome.clear();
  const before = suspect;
  suspect = null;
  if (place && place === before) {
    say(`The browser closed this page while “${name}” was loading, most likely for want of memory. Choose a smaller pair, or load it again.`, 'error', again, 'Load it again');
    allow(true);
    return false;
  }
  noteLoading(place);
  let reply;
  try {
    reply = await loads.anew('load', { from, name }, {
      doing: name ? `Loading the pair “${name}”…` : 'Loading your pair…', again,
      news: ({ text, done, total, size }) => sayProgress(text, total ? done / total : 0, size ? ` (${bytes(size)} in all)` : '') });
  } catch (error) {
    noteLoading();
    failed(error, again);
    return false;
  }
  if (!reply) return false;
  noteLoading();
  loaded = { ...reply, name: reply.pair.name || name, source: sourceOf(from, name) };
  const own = kinds.find(({ id }) => id === loaded.transformer.kind);
  if (own !== kind) {
    // The visitor's own files, or an unlisted pair that the address names: only now it is known what they are.
    const { text: label, value } = $('pair-select').selectedOptions[0];
    turnTo(own);
    offer(label, value);
    kind.clear();
  }
  showPair(loaded);
  showScores(loaded);
  const most = kind.maxLength(loaded);
  $('lengths').value = lengthsAsked ?? kind.defaultLengths(most).join(', ');
  $('lengths-hint').textContent = kind.limit(most);
  $('lengths-hint').classList.remove('warn');
  kind.show(loaded);
  const { read_ms: read, prepare_ms: prepared } = loaded.times;
  const notices = loaded.notices.map((notice) => ` ${notice}`).join('');
  allow(true);
  return kind.run(`“${loaded.name}” is ready: read in ${(read / 1000).toFixed(1)} s, prepared in ${(prepared / 1000).toFixed(1)} s.${notices}`);
}

async function sweep() {
  if (!loaded || !free) return;
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
  const mine = measuring = new AbortController();
  const { signal } = mine;
  allow(false);
  measures(true);
  say(`Measuring ${lengths.length === 1 ? 'one length' : `${lengths.length} lengths`}…`, 'working');
  const theory = arithmetic(pair);
  const { source, times: { prepare_ms } } = pair;
  const gather = (points) => makeRun({ kind: kind.id, theory, result: toResult({
    adapter: started.adapter, browser: browser(), versions: started.versions, pair: pair.name,
    date: new Date().toISOString(), source, prepare_ms, runs_asked: runs, points }) });
  let shown = '';
  outcome.show(gather([]), lengths);
  try {
    const points = await kind.runSweep({
      call: whileVisible((method, given) => engine.call(method, given), {
        signal,
        pause: () => say('Paused: this tab is hidden, and its figures would not count. The comparison goes on when it is shown again.', 'working'),
        resume: () => say('Measuring goes on…', 'working'),
      }),
      timestamps: started.adapter.timestamps, lengths, runs, signal,
      report: ({ done, total, text, points: sofar }) => {
        $('sweep-progress').value = done / total;
        $('sweep-doing').textContent = text;
        const state = `${sofar.length} ${sofar.at(-1)?.runs}`;
        if (sofar.length && state !== shown && loaded === pair) { shown = state; outcome.show(gather(sofar), lengths); }
      },
    });
    if (loaded !== pair) return;
    outcome.finish(gather(points));
    if (measuring !== mine) return;
    say(signal.aborted ? 'Stopped; what was measured until then is kept.' : 'The comparison is done.');
    allow(true);
  } catch (error) {
    if (loaded !== pair) return;
    outcome.fail();
    if (measuring === mine) failed(error, error.fatal ? page.reload : sweep);
  } finally {
    if (measuring === mine) endMeasuring();
  }
}

/** Nothing is measured any more: what goes on of a sweep is not the page's any longer. */
function endMeasuring() {
  if (!measuring) return;
  measuring.abort();
  measuring = null;
  measures(false);
}

/** Measuring begins or ends: one button takes the other's place, and its focus. */
function measures(on) {
  const [comes, goes] = on ? ['cancel', 'run'] : ['run', 'cancel'];
  const focused = document.activeElement === $(goes);
  $(comes).hidden = false;
  if (focused) $(comes).focus();
  $(goes).hidden = true;
  $('meter').hidden = !on;
  $('lengths-hint').hidden = on && !$('lengths-hint').classList.contains('warn');
}

/** The choice of the first pair that is under way. */
let choosing = null;

/** The pair last asked for, for another try after a failure. */
let last = null;
/** Whether the address asks for a comparison: of the pair that it names, whenever that is there, and of no other. */
let sweepAsked = parameters.get('autorun') === 'sweep';
let sweeping = null;
function isAsked(from, name) {
  if (parameters.has('model')) return from.address === placeOf(parameters.get('model')).base;
  return Boolean(from.base) && (!parameters.get('pair') || name === parameters.get('pair'));
}
async function loadPair(from, name) {
  last = { from, name };
  const fine = await load(from, name);
  if (fine && sweepAsked && isAsked(from, name)) {
    sweepAsked = false;
    sweeping = sweep();
  }
  return fine;
}
async function loadShipped(name) {
  const fine = await loadPair({ base: baseOf(name) }, name);
  if (fine) keepPair(name).then(showCopy);
  return fine;
}

/** Loads the first pair of the tab. */
async function loadFirst() {
  const name = $('pair-select').options[0]?.value;
  if (name) return loadShipped(name);
  loads.overtake();
  endMeasuring();
  loaded = last = null;
  kind.clear();
  outcome.clear();
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
  allow(false);
  pairs = await shipped();
  const given = kinds.find(({ id }) => id === parameters.get('tab'));
  // Pairs can be picked whatever becomes of the engine.
  turnTo(given ?? kinds[0]);
  const late = loads.overtake();
  const anew = () => { loads.overtake(); engine.stop(); choosing = page.reload(); };
  const slow = setTimeout(() => {
    if (!late()) say(`The engine is not here after ${SLOW_START_MS / 1000} seconds: its file may be stuck on the way. It is still waited for.`, 'working', anew, 'Start again');
  }, SLOW_START_MS);
  try {
    await loads.awake();
  } catch (error) {
    if (!late()) failed(error, choose);
    return false;
  } finally {
    clearTimeout(slow);
  }
  if (late()) return false;
  if (parameters.has('model')) return own.propose(parameters.get('model'));
  let wanted;
  try {
    wanted = asked(parameters);
  } catch (error) {
    failed(error, () => { page.forgetAsked(); return choose(); });
    return false;
  }
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
  sweepAsked = false;
  offer('your own files', '');
  loadPair({ files }, '');
}

/** What a tab may do with the page. */
const page = {
  call: (method, given, news) => engine.call(method, given, news),
  anew: loads.anew,
  interrupt: () => engine.interrupt(),
  reload: () => (last ? loadPair(last.from, last.name) : choose()),
  /** The address may have asked for what cannot be had. */
  forgetAsked: () => {
    sweepAsked = false;
    for (const name of ['model', 'pair']) parameters.delete(name);
  },
  halt: endMeasuring,
  say, allow, failed, offer, loadPair,
  get loaded() { return loaded; },
  get busy() { return !free; },
};
for (const one of kinds) one.connect(page);
const check = makeCheck(page);
const outcome = makeOutcome((id) => kinds.find((one) => one.id === id).view,
  ({ result }, opened) => settingsOf(result, pairs.map(({ name }) => name), opened));
const own = makeOwn(page);
const showCopy = makeCopy();
takeFiles({ bring, receive }, (error) => say(`${error.message}.`, 'error'));

$('pair-select').addEventListener('change', ({ target: { value } }) => {
  const address = own.address(value);
  sweepAsked &&= Boolean(address);
  if (address) own.bring(address);
  else if (value) loadShipped(value);
});
$('sweep-form').addEventListener('submit', (event) => { event.preventDefault(); sweep(); });
$('cancel').addEventListener('click', () => {
  measuring?.abort();
  say('Stopping after the pass under way…', 'working');
});

// Tests and curious visitors: the engine by hand.
globalThis.caldera = { call: (method, given, news) => engine.call(method, given, news) };

if (parameters.has('runs')) $('runs').value = parameters.get('runs');
if (!(await renewed())) {
  choosing = choose();
  // A start that was slow may have been begun again.
  for (let seen = null; seen !== choosing;) {
    seen = choosing;
    await seen;
  }
  await sweeping;
  stayUsable().then(showCopy);
}
