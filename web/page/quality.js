// Quality beside speed: the pair's held-out scores, and both models compared on its samples.
import { element } from './about.js';
import { onClasses, onTranscripts } from './agreement.js';
import { decode } from './audio.js';
import { enable } from './controls.js';
import { number, percent } from './words.js';

const $ = (id) => document.getElementById(id);

const METRICS = { wer: 'word error rate', cer: 'character error rate', agreement: 'agreement with the transformer' };
const SHARES = new Set(['accuracy', 'agreement', 'cer', 'wer']);
/** What stands among the scores and is none. */
const NOT_SCORES = new Set(['examples', 'seconds']);

const metric = (name) => METRICS[name] ?? name.replaceAll('_', ' ');
const figure = (name, value) => {
  if (!Number.isFinite(value)) return '–';
  return SHARES.has(name) && value >= 0 && value <= 1 ? percent(value) : String(Number(value.toPrecision(4)));
};

/** The scores of a pair's card in a table: a row each model. */
export function showScores({ pair }) {
  const { teacher = {}, student = {} } = pair.scores ?? {};
  const names = [...new Set([...Object.keys(teacher), ...Object.keys(student)])].filter((name) => !NOT_SCORES.has(name));
  const cell = (tag, text, scope) => Object.assign(element(tag, '', text), scope ? { scope } : {});
  // That the transformer agrees with itself says nothing.
  const row = (label, key, scores, own) => {
    const head = cell('th', label, 'row');
    head.className = key;
    const line = element('tr', '', head);
    for (const name of names) line.append(cell('td', own && name === 'agreement' ? '–' : figure(name, scores[name])));
    return line;
  };
  const { examples } = teacher;
  $('scores').closest('.scroll').hidden = !names.length;
  $('scores').replaceChildren(...(names.length ? [
    element('thead', '', element('tr', '', element('td'), ...names.map((name) => cell('th', metric(name), 'col')))),
    element('tbody', '', row('Transformer', 't', teacher, true), row('Linear model', 'l', student, false))] : []));
  $('scores-note').textContent = names.length
    ? `From the pair’s card, measured when the pair was made${examples ? `, on ${number(examples)} examples` : ''}${pair.data?.name ? ` (${pair.data.name})` : ''}.`
    : 'This pair comes without scores.';
  $('checked').textContent = '';
}

/** Each sample's answers, told apart by `compare`: [the same, of so many]. Ends early where `goes()` says so. */
async function onSamples(samples, ask, compare, { report, goes }) {
  let [same, of] = [0, 0];
  for (const sample of samples) {
    if (!goes()) break;
    report(of / samples.length, `Sample ${of + 1} of ${samples.length}`);
    if (compare(await ask(sample)).same) same += 1;
    of += 1;
  }
  return [same, of];
}

/** How many tokens the transformer goes on with behind each prompt, and after how many words at the most both are asked. */
const GOES_ON = 40;
const MOST_PLACES = 16;

/** Places in a text where the next word begins. */
export function placesOf(text) {
  const places = [...text.matchAll(/\S+(?=\s)/g)].map((match) => text.slice(0, match.index + match[0].length)).filter(Boolean);
  const step = Math.max(1, places.length / MOST_PLACES);
  return Array.from({ length: Math.min(places.length, MOST_PLACES) }, (_, i) => places[Math.floor(i * step)]);
}

/** On how many places both models find the same token likeliest: behind words of the prompts and of how the transformer goes on. */
async function onNextTokens(samples, call, { report, goes }) {
  const write = (role, prompt, max_new_tokens, news) => call('generate', { role, prompt, options: { max_new_tokens, temperature: 0, seed: 0 } }, news);
  // Tokens are told apart by their ids: one that ends a text has no words, and neither has a part of a character.
  const likeliest = async (role, place) => {
    let token;
    await write(role, place, 1, ({ id }) => { token = id; });
    return token;
  };
  let [same, of] = [0, 0];
  for (const [i, { text }] of samples.entries()) {
    const words = `Prompt ${i + 1} of ${samples.length}`;
    report(i / samples.length, words);
    const places = placesOf(text + (await write('transformer', text, GOES_ON)).text);
    for (const [at, place] of places.entries()) {
      report((i + at / places.length) / samples.length, words);
      if (!goes()) return [same, of];
      const [transformer, linear] = [await likeliest('transformer', place), await likeliest('linear', place)];
      of += 1;
      if (transformer === linear) same += 1;
    }
  }
  return [same, of];
}

/** "all 5 samples", "3 of 5 samples". */
const share = (same, of, what) => `${same === of ? `all ${number(of)}` : `${number(same)} of ${number(of)}`} ${what}`;

/** What is compared, by the kind of models, and how it is said. */
const CHECKS = {
  text: {
    run: (samples, call, progress) => onSamples(samples, ({ text, pair }) => call('answer', { text, second: pair ?? '', once: true }), onClasses, progress),
    words: (same, of) => `Both models give the same answer on ${share(same, of, 'samples')}.`,
  },
  speech: {
    run: (samples, call, progress, { transformer }) => onSamples(samples.filter(({ audio }) => audio), async ({ audio }) => {
      const read = await call('clip', { path: audio });
      return call('hear', { samples: (await decode(read.buffer, transformer.sampling_rate, audio)).samples, once: true });
    }, transformer.transcribes ? onTranscripts : onClasses, progress),
    words: (same, of) => `Both models hear the same in ${share(same, of, 'samples')}.`,
  },
  language: {
    run: onNextTokens,
    words: (same, of) => `Both models find the same next token likeliest at ${share(same, of, 'places')} in the sample prompts and in how the transformer goes on with them.`,
  },
};

/** A comparison begins or ends: one button takes the other's place, and its focus. */
function compares(on) {
  const [comes, goes] = on ? ['check-stop', 'check'] : ['check', 'check-stop'];
  const focused = document.activeElement === $(goes);
  $(comes).hidden = false;
  if (focused) $(comes).focus();
  $(goes).hidden = true;
  $('check-meter').hidden = !on;
}

/** Ties the buttons to `page`, as the tabs have it. */
export function makeCheck(page) {
  let under = null;
  $('check-stop').addEventListener('click', () => { under?.abort(); page.interrupt(); });
  $('check').addEventListener('click', async () => {
    const { loaded } = page;
    if (!loaded || page.busy) return;
    const { run, words } = CHECKS[loaded.transformer.kind];
    const { signal } = under = new AbortController();
    page.allow(false);
    compares(true);
    $('checked').textContent = '';
    page.say('Both models are compared on the samples…', 'working');
    const report = (share, text) => {
      $('check-progress').value = share;
      $('check-doing').textContent = text;
    };
    // Another pair may be brought meanwhile: it is not what is compared.
    const goes = () => !signal.aborted && page.loaded === loaded;
    try {
      const [same, of] = await run(loaded.pair.samples, page.call, { report, goes }, loaded);
      if (page.loaded !== loaded) return;
      $('checked').textContent = of ? `${signal.aborted ? 'Stopped: so far only. ' : ''}${words(same, of)}` : signal.aborted ? '' : 'There are no samples to compare them on.';
      page.say(signal.aborted ? 'Stopped; what was compared until then is kept.' : 'The samples are compared.');
      page.allow(true);
    } catch (error) {
      if (page.loaded === loaded) page.failed(error, page.reload);
    } finally {
      compares(false);
    }
  });
  return { allow(free) { enable($('check'), Boolean(free && page.loaded?.pair.samples?.length)); } };
}
