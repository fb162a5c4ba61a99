// The tab of text classifiers: one question, two answers.
import { showSamples } from './about.js';
import { onClasses } from './agreement.js';
import { showAgreement, showAnswers, wait } from './answers.js';
import { enable } from './controls.js';
import { defaultLengths, inWords, number, runSweep, TOKENS } from './sweep.js';
import { bytes, time } from './words.js';

const $ = (id) => document.getElementById(id);

/** Other tabs' tasks; whatever else there is are texts with an answer. */
const OTHERS = ['language-modeling', 'automatic-speech-recognition', 'audio-classification'];

function fill({ text, pair }, loaded) {
  $('text').value = text;
  $('second').value = pair ?? '';
  $('second-field').hidden = !pair && !loaded?.pair.samples.some((sample) => sample.pair);
  $('text-label').textContent = $('second-field').hidden ? 'Text' : 'First text';
}

export const text = {
  id: 'text',
  label: 'Text',
  /** Whether a pair of this task belongs here. */
  fits: (task) => !OTHERS.includes(task),
  maxLength: ({ transformer, linear }) => Math.min(transformer.max_length, linear.max_length),
  limit: (most) => `This pair has positions for up to ${number(most)} tokens.`,
  defaultLengths,
  runSweep,

  view: {
    lengths: TOKENS,
    heading: 'Measure over length', field: 'Lengths, in tokens', x: 'Tokens', axis: 'length in tokens',
    timeCaption: 'Time for one text', memoryCaption: 'Working memory, weights left out',
    note: 'Time for one text and working memory, by its length. A ratio above 1 means that the linear model is faster.',
    words: inWords,
    memory: (point) => point.peak_bytes,
    columns: ['median', 'p10–p90', 'first run', 'memory'],
    cells: (point) => [time(point.median_ms), `${time(point.p10_ms)} – ${time(point.p90_ms)}`, time(point.first_ms), bytes(point.peak_bytes)],
  },

  /** Ties the form to `page`, which has call, say, allow, failed, reload, loaded and busy. */
  connect(page) {
    this.page = page;
    $('question').addEventListener('submit', (event) => { event.preventDefault(); this.run(); });
    $('text').addEventListener('keydown', (event) => { if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) this.run(); });
  },

  allow(free) {
    for (const button of [$('answer'), ...$('samples').children]) enable(button, free);
  },

  clear() {
    wait('answers', 'Its answer appears here.');
    $('agreement').textContent = '';
  },

  /** A pair has been loaded: its samples, the first of them in the field. */
  show(loaded) {
    showSamples($('samples'), loaded.pair.samples, (sample) => { fill(sample, loaded); this.run(); });
    fill(loaded.pair.samples[0] ?? { text: 'A story that takes its time, and is all the better for it.' }, loaded);
  },

  /** Both answers; `ready` is what to say then. True where all went well. */
  async run(ready = 'Both models have answered.') {
    const { page } = this;
    const { loaded } = page;
    if (!loaded || page.busy) return false;
    page.allow(false);
    page.say('Both models are reading…', 'working');
    const question = { text: $('text').value, second: $('second-field').hidden ? '' : $('second').value };
    try {
      const answers = await page.call('answer', question);
      // Another pair has been brought in between.
      if (page.loaded !== loaded) return false;
      showAnswers('answers', answers, loaded, ({ tokens, truncated }) => `${number(tokens)} tokens${truncated ? ', cut to what it takes' : ''}`);
      const sample = loaded.pair.samples?.find(({ text }) => text === question.text);
      const { same, words } = onClasses(answers);
      showAgreement('agreement', { same, words: `${words}${sample?.label ? ` The data says: ${sample.label}.` : ''}` }, answers);
      page.say(ready);
      page.allow(true);
      return true;
    } catch (error) {
      if (page.loaded === loaded) page.failed(error, error.fatal ? page.reload : () => this.run());
      return false;
    }
  },
};
