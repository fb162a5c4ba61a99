// The page: starts the engine, loads a pair, and ties the forms to it.
import { EngineClient } from './engine.js';
import { showAnswers, showPair, showSamples, waitForAnswers } from './answers.js';
import { asked, baseOf, chosen, dropped, shipped } from './pairs.js';
import { showResults } from './results.js';
import { defaultLengths, number, parseLengths, runSweep, toCsv, toResult } from './sweep.js';
import { adapterLine, browser, bytes } from './words.js';

const $ = (id) => document.getElementById(id);
const parameters = new URLSearchParams(location.search);
const engine = new EngineClient();

/** What the engine said of itself, the loaded pair, the last sweep. */
let started = null;
let loaded = null;
let result = null;
let measuring = null;

/** The one line that says what goes on; `state` is working, ready or error. */
function say(text, state = 'ready', retry = null) {
  $('status').textContent = text;
  $('state').dataset.state = state;
  $('retry').hidden = !retry;
  $('retry').onclick = retry;
  if (state !== 'working') $('progress').hidden = true;
}

/** Buttons that need a loaded pair and a free engine. */
function allow(free) {
  $('answer').disabled = $('run').disabled = !(free && loaded);
  $('pair-select').disabled = !free || $('pair-select').options.length === 0;
  for (const button of $('samples').children) button.disabled = !(free && loaded);
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

/** Loads a pair `from` {base} or {files}, answers its first sample, and says so. True where all went well. */
async function load(from, name) {
  measuring?.abort();
  loaded = null;
  allow(false);
  waitForAnswers();
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
  const { pair, transformer, linear, times } = loaded;
  showPair(loaded);
  const maxLength = Math.min(transformer.max_length, linear.max_length);
  const lengths = parameters.get('lengths') ?? defaultLengths(maxLength).join(', ');
  $('lengths').value = lengths;
  $('lengths-hint').textContent = `This pair has positions for up to ${number(maxLength)} tokens.`;
  showSamples(pair.samples, (sample) => { fill(sample); ask(); });
  fill(pair.samples[0] ?? { text: 'A story that takes its time, and is all the better for it.' });
  const ready = `“${loaded.name}” is ready: read in ${(times.read_ms / 1000).toFixed(1)} s, prepared in ${(times.prepare_ms / 1000).toFixed(1)} s.`;
  return await ask(ready);
}

function fill({ text, pair }) {
  $('text').value = text;
  $('second').value = pair ?? '';
  $('second-field').hidden = !pair && !loaded?.pair.samples.some((sample) => sample.pair);
  $('text-label').textContent = $('second-field').hidden ? 'Text' : 'First text';
}

async function ask(ready = 'Both models have answered.') {
  if (!loaded || measuring) return false;
  allow(false);
  say('Both models are reading…', 'working');
  const question = { text: $('text').value, second: $('second-field').hidden ? '' : $('second').value };
  try {
    showAnswers(await engine.call('answer', question), loaded);
    say(ready);
    allow(true);
    return true;
  } catch (error) {
    failed(error, error.fatal ? reload : ask);
    return false;
  }
}

async function sweep() {
  if (!loaded || measuring) return;
  const maxLength = Math.min(loaded.transformer.max_length, loaded.linear.max_length);
  const { lengths, refused } = parseLengths($('lengths').value, maxLength);
  const runs = Math.max(1, Math.min(200, Math.round(Number($('runs').value)) || 7));
  $('runs').value = runs;
  $('lengths-hint').textContent = refused.length ? refused.join(' ') : `This pair has positions for up to ${number(maxLength)} tokens.`;
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
    adapter: started.adapter, browser: browser(), versions: started.versions, pair: loaded.name, points });
  let shown = 0;
  try {
    const points = await runSweep({
      call: (method, given) => engine.call(method, given),
      lengths, runs, signal,
      report: ({ done, total, text, points: sofar }) => {
        $('sweep-progress').value = done / total;
        $('sweep-doing').textContent = text;
        if (sofar.length > shown) { shown = sofar.length; showResults(gather(sofar)); }
      },
    });
    result = gather(points);
    if (points.length) showResults(result);
    publish(result);
    say(signal.aborted ? 'Stopped; what was measured until then is kept.' : 'The comparison is done.');
    allow(true);
  } catch (error) {
    failed(error, error.fatal ? reload : sweep);
  } finally {
    measuring = null;
    $('cancel').hidden = true;
    $('meter').hidden = true;
  }
  allow($('state').dataset.state === 'ready');
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
const reload = () => (last ? load(last.from, last.name) : choose());
function loadPair(from, name) {
  last = { from, name };
  return load(from, name);
}

/** Lists the shipped pairs and loads the one that the address asks for, or the first. */
async function choose() {
  const select = $('pair-select');
  let wanted;
  const names = await shipped();
  try {
    wanted = asked(parameters);
  } catch (error) {
    failed(error, () => { parameters.delete('pair'); return choose(); });
    return false;
  }
  if (wanted && !names.includes(wanted)) names.push(wanted);
  select.replaceChildren(...names.map((name) => new Option(name, name, false, name === wanted)));
  if (!names.length) {
    select.replaceChildren(new Option('none shipped', ''));
    $('own').open = true;
    say('No pair comes with this copy of the page. Choose the folder of an exported pair below.');
    return false;
  }
  return loadPair({ base: baseOf(select.value) }, select.value);
}

function bring(files) {
  if (!files.length) return;
  const select = $('pair-select');
  [...select.options].filter((option) => option.value === '').forEach((option) => option.remove());
  select.append(new Option('your own files', '', true, true));
  loadPair({ files }, '');
}

$('pair-select').addEventListener('change', ({ target }) => { if (target.value) loadPair({ base: baseOf(target.value) }, target.value); });
$('question').addEventListener('submit', (event) => { event.preventDefault(); ask(); });
$('sweep-form').addEventListener('submit', (event) => { event.preventDefault(); sweep(); });
$('cancel').addEventListener('click', () => measuring?.abort());
$('save-json').addEventListener('click', () => save(`${JSON.stringify(result, null, 2)}\n`, 'application/json', `caldera-${result.pair}.json`));
$('save-csv').addEventListener('click', () => save(toCsv(result), 'text/csv', `caldera-${result.pair}.csv`));
for (const id of ['folder', 'files']) $(id).addEventListener('change', ({ target }) => { bring(chosen(target)); target.value = ''; });
$('text').addEventListener('keydown', (event) => { if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) ask(); });

let inside = 0;
addEventListener('dragenter', (event) => { if (event.dataTransfer?.types.includes('Files')) { inside += 1; $('drop').hidden = false; } });
addEventListener('dragleave', () => { inside -= 1; if (inside <= 0) { inside = 0; $('drop').hidden = true; } });
addEventListener('dragover', (event) => event.preventDefault());
addEventListener('drop', async (event) => {
  event.preventDefault();
  inside = 0;
  $('drop').hidden = true;
  try { bring(await dropped(event.dataTransfer)); } catch (error) { failed(error, choose); }
});

// Tests and curious visitors: the engine by hand.
globalThis.caldera = { call: (method, given) => engine.call(method, given) };

if (parameters.has('runs')) $('runs').value = parameters.get('runs');
if (await start() && await choose() && parameters.get('autorun') === 'sweep') await sweep();
