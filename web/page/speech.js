// The tab of speech models: one clip, from the microphone, a file or a sample, and what both hear in it.
import { showSamples } from './about.js';
import { against, onClasses, onTranscripts } from './agreement.js';
import { showAgreement, showAnswers, wait } from './answers.js';
import { decode, play, resample } from './audio.js';
import { record } from './microphone.js';
import { byLength, growth, inWords, number, runSweep, SLOPE } from './sweep.js';
import { waveform } from './waveform.js';
import { bytes, time } from './words.js';

const $ = (id) => document.getElementById(id);

/** Seconds that a recording may have, and that are heard and measured at the most. */
const RECORDING = 60;
const LONGEST = 120;
const SECONDS = [1, 2, 4, 8, 16, 32, 64];

/** Below this a recording is taken for silence. */
const SILENCE = 1e-3;

const seconds = (value) => `${Number(value.toFixed(value < 10 ? 2 : 1))}\u00a0s`;
const unit = 's';

/** Frames that a clip of so many seconds has. */
const framesOf = ({ sampling_rate: rate, least_samples: least, hop }, length) => Math.max(0, Math.floor((length * rate - least) / hop) + 1);

/** How both grow with the length, in a sentence; nothing for a single length. */
function growthInWords(points) {
  const rows = byLength(points);
  if (rows.length < 2) return '';
  const [transformer, linear] = growth(points);
  return `From ${number(rows[0][0])} to ${number(rows.at(-1)[0])} s of audio, the transformer comes to take ${transformer}, the linear model ${linear}. `
    + `${SLOPE}: 1 is in proportion to the length, 2 with its square.`;
}

export const speech = {
  id: 'speech',
  label: 'Speech',
  fits: (task) => ['automatic-speech-recognition', 'audio-classification'].includes(task),
  maxLength: ({ transformer, linear }) => Math.floor(Math.min(LONGEST, transformer.max_seconds, linear.max_seconds)),
  limit: (most) => `Up to ${number(most)} seconds${most < LONGEST ? ', which is what this device has room for' : ''}.`,
  defaultLengths: (most) => (most > 1 ? SECONDS.filter((length) => length <= most) : [most]),
  runSweep(given) {
    const { transformer } = this.page.loaded;
    return runSweep({ ...given, unit, more: (length) => ({ frames: framesOf(transformer, length) }) });
  },

  view: {
    lengths: { unit, least: 1, most: 'seconds that are measured here' },
    heading: 'Measure over length', field: 'Lengths, in seconds', x: 'Seconds', axis: 'length in seconds', drop: 'Drop an audio file, or a pair’s folder',
    timeCaption: 'Time for one clip', memoryCaption: 'Working memory, weights left out',
    note: 'Time for one clip and working memory, by its length. A ratio above 1 means that the linear model is faster.',
    words: (points) => inWords(points, unit),
    detail: growthInWords,
    memory: (point) => point.peak_bytes,
    columns: ['median', 'p10–p90', 'first run', 'memory'],
    cells: (point) => [time(point.median_ms), `${time(point.p10_ms)} – ${time(point.p90_ms)}`, time(point.first_ms), bytes(point.peak_bytes)],
  },

  /** {name, samples, cut, text, credit}: what was heard last; and what runs at the moment. */
  clip: null,
  recording: null,
  playing: null,

  connect(page) {
    this.page = page;
    $('record').addEventListener('click', () => (this.recording ? this.recording.stop() : this.record()));
    $('audio').addEventListener('change', ({ target }) => { const [file] = target.files; if (file) this.read(file); target.value = ''; });
    $('play').addEventListener('click', () => this.play());
  },

  allow(free) {
    $('record').disabled = !free && !this.recording;
    $('audio').disabled = !free;
    $('play').disabled = !free && !this.playing;
    for (const button of $('clips').children) button.disabled = !free;
  },

  /** Another pair or tab comes: nothing is recorded or played any longer. */
  clear() {
    this.recording?.drop();
    this.playing?.();
    this.clip = null;
    wait('heard', 'What it hears appears here.');
    $('hearing').textContent = '';
    $('play').hidden = true;
    this.draw();
  },

  /** A pair has been loaded: its samples, the first of them ready to be heard. */
  show({ pair }) {
    this.samples = pair.samples.filter(({ audio }) => audio);
    const named = this.samples.map((sample) => ({ ...sample, text: sample.text || sample.label || sample.audio }));
    showSamples($('clips'), named, (sample) => this.sample(sample));
  },

  draw() {
    const { clip } = this;
    const length = clip ? clip.samples.length / this.rate : 0;
    waveform($('wave'), clip?.samples ?? [], clip ? `Waveform: ${clip.name}, ${seconds(length)}` : 'Waveform: no clip yet');
    const parts = clip ? [clip.name, seconds(length), `${number(this.rate)}\u00a0samples a second`] : ['No clip yet.'];
    if (clip?.note) parts.push(clip.note);
    if (clip?.cut) parts.push(`only the first ${seconds(length)} of ${seconds(clip.cut)} are heard`);
    if (clip?.credit) parts.push(clip.credit);
    $('wave-caption').textContent = parts.join(' · ');
  },

  get rate() { return this.page.loaded?.transformer.sampling_rate; },

  /** Puts a clip in place, cut to what fits. */
  take(clip) {
    const length = this.page.loaded && this.maxLength(this.page.loaded) * this.rate;
    const cut = clip.samples.length > length ? clip.samples.length / this.rate : 0;
    this.clip = { ...clip, cut, samples: cut ? clip.samples.slice(0, length) : clip.samples };
    $('play').hidden = false;
    this.draw();
  },

  /** Gets a clip by `get` and has it heard; what cannot be had is said, and the clip before stays. */
  async hear(doing, get, ready) {
    const { page } = this;
    const { loaded } = page;
    if (!loaded || page.busy) return false;
    this.playing?.();
    page.allow(false);
    page.say(doing, 'working');
    let clip;
    try {
      clip = await get(loaded);
    } catch (error) {
      if (page.loaded !== loaded) return false;
      if (error.fatal) { page.failed(error, page.reload); return false; }
      page.say(`${error.message}${/[.!?]$/.test(error.message) ? '' : '.'}`, 'error');
      page.allow(true);
      return false;
    }
    if (page.loaded !== loaded) return false;
    const before = this.clip;
    this.take(clip);
    return this.run(ready, before);
  },

  /** An audio file of the visitor's own. */
  read(file) {
    return this.hear(`Reading ${file.name}…`, async () => ({
      name: file.name, ...await decode(await file.arrayBuffer(), this.rate, file.name) }));
  },

  /** A sample of the pair. */
  sample({ audio, text, label, credit }, ready) {
    return this.hear(`Reading the sample ${audio}…`, async (loaded) => {
      const read = await this.page.call('clip', { path: audio });
      const decoded = await decode(read.buffer, loaded.transformer.sampling_rate, audio);
      return { ...decoded, name: `Sample ${audio.split('/').at(-1)}`, text: loaded.transformer.transcribes ? text : label ?? text, credit };
    }, ready);
  },

  /** Files dropped on the page; false where they are no clip. */
  receive(files) {
    if (files.some(({ path }) => /(^|\/)(pair\.json$|transformer\/|linear\/)/.test(path))) return false;
    // Before there is a pair, a clip has nobody to listen to it; anything else may be one.
    if (!this.page.loaded) return files.every(({ file }) => file.type.startsWith('audio/'));
    if (files.length && !this.recording) this.read(files[0].file);
    return true;
  },

  async record() {
    const { page } = this;
    const { loaded } = page;
    if (!loaded || page.busy || this.recording) return;
    this.playing?.();
    let dropped = false;
    let running = null;
    // Stands from the first click on, so that there is one recording at a time.
    this.recording = { stop: () => running?.stop(), drop: () => { dropped = true; running?.stop(); } };
    page.allow(false);
    page.say('Asking for the microphone…', 'working');
    let heard;
    try {
      running = await record(Math.min(RECORDING, this.maxLength(loaded)), ({ level, seconds: length }) => {
        $('level').value = level;
        $('elapsed').textContent = `${length.toFixed(1)} s of ${RECORDING} s`;
      });
      if (dropped) running.stop();
      else {
        $('record').textContent = 'Stop';
        $('level-box').hidden = false;
        page.say(`Recording, up to ${RECORDING} seconds; the button stops it.`, 'working');
      }
      heard = await running.done;
    } catch (error) {
      if (!dropped) page.say(`${error.message}.`, 'error', () => this.record());
      heard = null;
    } finally {
      this.recording = null;
      $('record').textContent = 'Record';
      $('level-box').hidden = true;
    }
    if (dropped || page.loaded !== loaded) return;
    page.allow(true);
    if (!heard) return;
    const silent = heard.samples.every((sample) => Math.abs(sample) < SILENCE);
    const words = heard.full ? ` The recording was stopped at ${RECORDING} seconds.` : silent ? ' The recording is silent: is the microphone switched off?' : '';
    await this.hear('Reading the recording…', async () => {
      if (!heard.samples.length) throw new Error('Nothing was recorded: the microphone gave no sound before it was stopped');
      return { name: 'Your recording', samples: await resample(heard.samples, heard.rate, loaded.transformer.sampling_rate) };
    }, `Both models have listened.${words}`);
  },

  play() {
    if (this.playing) { this.playing(); return; }
    if (!this.clip) return;
    $('play').textContent = 'Stop playing';
    const stop = play(this.clip.samples, this.rate, () => {
      // A clip that was stopped for the next one has nothing more to say.
      if (this.playing === stop) this.playing = null;
      $('play').textContent = 'Play';
    });
    this.playing = () => { this.playing = null; stop(); };
  },

  /** What both hear; `ready` is what to say then. True where all went well, else the clip `before` comes back. */
  async run(ready = 'Both models have listened.', before = null) {
    const { page } = this;
    if (!page.loaded || page.busy) return false;
    if (!this.clip) {
      if (this.samples[0]) return this.sample(this.samples[0], ready);
      page.say(`${ready} Record something, or choose an audio file.`);
      page.allow(true);
      return true;
    }
    const { loaded } = page;
    const { clip } = this;
    page.allow(false);
    page.say('Both models are listening…', 'working');
    try {
      const answers = await page.call('hear', { samples: clip.samples });
      if (page.loaded !== loaded) return false;
      showAnswers('heard', answers, loaded, ({ seconds: length, frames, ms }) =>
        `${seconds(length)} of sound, ${number(frames)} frames, ${number(Number((1000 * length / ms).toPrecision(2)))} times as fast as spoken`);
      const { same, words } = loaded.transformer.transcribes ? onTranscripts(answers) : onClasses(answers);
      showAgreement('hearing', { same, words: words + against(clip.text, answers) });
      page.say(ready);
      page.allow(true);
      return true;
    } catch (error) {
      if (page.loaded !== loaded) return false;
      if (error.fatal) { page.failed(error, page.reload); return false; }
      this.clip = before;
      this.draw();
      $('play').hidden = !before;
      page.say(`${clip.name}: ${error.message}.`, 'error');
      page.allow(true);
      return false;
    }
  },
};
