// The tab of language models: one prompt, two texts, one after the other so that each has the device for itself.
import { element, showSamples } from './about.js';
import { body, wait } from './answers.js';
import { enable } from './controls.js';
import { decodeInWords, defaultContexts, growthInWords, runDecodeSweep } from './decode.js';
import { number, ROLES, TOKENS } from './sweep.js';
import { bytes, modelLine, time } from './words.js';

const $ = (id) => document.getElementById(id);
const NAMES = { transformer: 'The transformer', linear: 'The linear model' };
const STOPS = {
  end: 'it ended the text', length: 'as many as asked for', asked: 'stopped',
  positions: 'it has no position for more',
};

const perSecond = (ms) => (ms ? `${Number((1000 / ms).toPrecision(3)).toLocaleString('en-US')} tokens/s` : '–');

/** What a pair writes by itself when it is opened: enough to see both speeds, and no longer than this for each model. */
const FIRST_TOKENS = 40;
const FIRST_MS = 4000;

/** A card with the prompt in it, and how to fill in the rest as it comes. */
function card(role, prompt, facts) {
  const words = element('span', 'new');
  // On a phone there is no room for `more`.
  const figure = (name, more = '') => {
    const value = element('dd', '', '–');
    return [value, element('div', '', element('dt', '', name, element('span', 'more', more)), value)];
  };
  const [speed, speedBox] = figure('Speed');
  const [prefill, prefillBox] = figure('Prefill');
  const [held, heldBox] = figure(...(facts.mixer === 'softmax' ? ['KV cache', ', growing'] : ['State', ', constant']));
  speed.className = 'speed';
  const fine = element('p', 'fine', modelLine(facts));
  const story = element('p', 'story', element('span', 'prompt', prompt), words);
  story.tabIndex = 0;
  story.setAttribute('role', 'group');
  story.setAttribute('aria-label', `${NAMES[role]}’s text`);
  body('texts', role).replaceChildren(element('dl', 'figures', speedBox, prefillBox, heldBox), story, fine);
  // News of a fast model come many to a frame, and each that was shown would lay the page out once more.
  let [unseen, last, frame] = ['', null, 0];
  const draw = () => {
    frame = 0;
    if (!last) return;
    words.append(unseen);
    unseen = '';
    prefill.textContent = time(last.prefill_ms);
    speed.textContent = perSecond(last.decode_ms_per_token);
    held.textContent = bytes(last.state_bytes);
    story.scrollTop = story.scrollHeight;
  };
  return {
    news(news) {
      unseen += news.text;
      last = news;
      frame ||= requestAnimationFrame(draw);
    },
    done({ tokens, prompt_tokens, stop }, why = STOPS[stop]) {
      cancelAnimationFrame(frame);
      draw();
      fine.textContent = `${number(prompt_tokens)} + ${number(tokens)} tokens, ${why} · ${modelLine(facts)}`;
    },
  };
}

const refuse = (role, message) => body('texts', role).replaceChildren(element('p', 'refused', `${message}.`));

/** Both texts in a sentence. */
function compare({ transformer, linear }) {
  if (!transformer?.decode_ms_per_token || !linear?.decode_ms_per_token) return '';
  const faster = transformer.decode_ms_per_token / linear.decode_ms_per_token;
  const speed = Math.abs(Math.log(faster)) < 0.05 ? 'The linear model wrote at about the same speed'
    : faster > 1 ? `The linear model wrote ${faster.toFixed(1)} times as fast` : `At this length the linear model wrote ${faster.toFixed(2)} times as fast`;
  return `${speed}, and held ${bytes(linear.state_bytes)} of the text where the transformer held ${bytes(transformer.state_bytes)}.`;
}

export const language = {
  id: 'language',
  label: 'Language model',
  fits: (task) => task === 'language-modeling',
  maxLength: ({ transformer, linear }) => Math.min(transformer.max_length ?? Infinity, linear.max_length ?? Infinity),
  limit: (most) => (most === Infinity ? 'This pair has no limit to its context.' : `The transformer of this pair has positions for up to ${number(most)} tokens.`),
  defaultLengths: defaultContexts,
  runSweep: runDecodeSweep,

  view: {
    lengths: TOKENS,
    heading: 'Measure over context', field: 'Contexts, in tokens', x: 'Context', axis: 'context in tokens',
    timeCaption: 'Time for one more token', memoryCaption: 'Memory held: KV cache against state',
    note: 'Time for one more token behind a context, its prefill, and what the model holds of it. A ratio above 1 means that the linear model is faster.',
    words: decodeInWords,
    detail: growthInWords,
    memory: (point) => point.state_bytes,
    columns: ['a token', 'p10–p90', 'prefill', 'held'],
    cells: (point) => [time(point.decode_ms_per_token), `${time(point.p10_ms)} – ${time(point.p90_ms)}`,
      point.prefill_ms === null ? 'left out' : time(point.prefill_ms), bytes(point.state_bytes)],
  },

  connect(page) {
    this.page = page;
    $('writing').addEventListener('submit', (event) => { event.preventDefault(); this.run(); });
    $('prompt').addEventListener('keydown', (event) => { if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) this.run(); });
    $('stop').addEventListener('click', () => this.stop());
  },

  allow(free) {
    for (const button of [$('write'), ...$('prompts').children]) enable(button, free);
  },

  clear() {
    this.stop();
    wait('texts', 'Its text appears here.');
    $('comparison').textContent = '';
  },

  show(loaded) {
    showSamples($('prompts'), loaded.pair.samples, (sample) => { $('prompt').value = sample.text; this.run(); });
    $('prompt').value = loaded.pair.samples[0]?.text ?? 'Once upon a time';
  },

  stop() {
    this.writing?.abort();
    this.page.interrupt();
  },

  options() {
    const value = (id, low, high, otherwise) => {
      const given = $(id).value.trim() === '' ? NaN : Number($(id).value);
      const kept = Number.isFinite(given) ? Math.min(high, Math.max(low, given)) : otherwise;
      $(id).value = kept;
      return kept;
    };
    return {
      max_new_tokens: Math.round(value('tokens', 1, 100_000, 100)), temperature: value('temperature', 0, 10, 0.8), seed: Math.round(value('seed', 0, 2 ** 32 - 1, 1)) };
  },

  /** Both texts; `ready` is what to say then, given when a pair is opened. True where all went well. */
  async run(ready) {
    const { page } = this;
    if (!page.loaded || page.busy || this.writing) return false;
    const { signal } = this.writing = new AbortController();
    const { loaded } = page;
    const [prompt, options] = [$('prompt').value, this.options()];
    const short = Boolean(ready) && options.max_new_tokens > FIRST_TOKENS;
    if (short) options.max_new_tokens = FIRST_TOKENS;
    page.allow(false);
    $('stop').hidden = false;
    $('comparison').textContent = '';
    wait('texts', 'Its turn comes.');
    const texts = {};
    const refused = {};
    try {
      for (const role of ROLES) {
        if (signal.aborted) { body('texts', role).replaceChildren(element('p', 'waiting', 'Stopped before its turn.')); continue; }
        page.say(`${NAMES[role]} is writing…`, 'working');
        const filled = card(role, prompt, loaded[role]);
        try {
          let first = null;
          let late = false;
          texts[role] = await page.call('generate', { role, prompt, options }, (news) => {
            filled.news(news);
            first ??= performance.now();
            late ||= Boolean(ready) && news.tokens > 1 && performance.now() - first > FIRST_MS;
            if (late) page.interrupt();
          });
          const { stop } = texts[role];
          filled.done(texts[role], stop === 'asked' && late ? `stopped after ${time(FIRST_MS)} on opening` : stop === 'length' && short ? 'a short text on opening' : undefined);
          // Another pair has been brought in between.
          if (page.loaded !== loaded) return false;
        } catch (error) {
          if (error.fatal || page.loaded !== loaded) throw error;
          refused[role] = error.message;
          refuse(role, error.message);
        }
      }
      $('comparison').textContent = compare(texts);
      const messages = Object.entries(refused);
      if (messages.length) {
        const same = messages.length === 2 && messages[0][1] === messages[1][1];
        page.say(same ? `${messages[0][1]}.` : messages.map(([role, message]) => `${NAMES[role]}: ${message}.`).join(' '), 'error');
      } else {
        page.say(signal.aborted ? 'Stopped; what was written until then is kept.' : ready ?? 'Both models have written.');
      }
      page.allow(true);
      return !messages.length;
    } catch (error) {
      if (page.loaded === loaded) page.failed(error, page.reload);
      return false;
    } finally {
      this.writing = null;
      if (document.activeElement === $('stop')) $('write').focus();
      $('stop').hidden = true;
    }
  },
};
