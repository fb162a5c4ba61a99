// The tab of speech models: one clip, from the microphone, a file or a sample, and what both hear in it.
import { showSamples } from './about.js';
import { against, onClasses, onTranscripts } from './agreement.js';
import { showAgreement, showAnswers, wait } from './answers.js';
import { decode, play, resample } from './audio.js';
import { enable } from './controls.js';
import { record } from './microphone.js';
import { growth, inWords, number, runSweep, SLOPE, timedByLength } from './sweep.js';
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
  const rows = timedByLength(points);
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

  /** {name, samples, rate, cut, text, credit}: what was heard last; and what runs at the moment. */
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
    enable($('record'), free || this.recording !== null);
    enable($('play'), free || this.playing !== null);
    for (const control of [$('audio'), ...$('clips').children]) enable(control, free);
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
    const length = clip ? clip.samples.length / clip.rate : 0;
    waveform($('wave'), clip?.samples ?? [], clip ? `Waveform: ${clip.name}, ${seconds(length)}` : 'Waveform: no clip yet');
    const parts = clip ? [clip.name, seconds(length), `${number(clip.rate)}\u00a0samples a second`] : ['No clip yet.'];
    if (clip?.note) parts.push(clip.note);
    if (clip?.cut) parts.push(`only the first ${seconds(length)} of ${seconds(clip.cut)} are heard`);
    if (clip?.credit) parts.push(clip.credit);
    $('wave-caption').textContent = parts.join(' · ');
  },

  /** A file's sound as the pair takes it, cut to what fits. */
  decode: (bytes, name, loaded) => decode(bytes, loaded.transformer.sampling_rate, name, speech.maxLength(loaded)),

  /** Gets a clip by `get(loaded)` and has it heard; what cannot be had is said, and the clip before stays. */
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
    this.clip = { ...clip, rate: loaded.transformer.sampling_rate };
    $('play').hidden = false;
    this.draw();
    return this.listen(ready, before);
  },

  /** An audio file of the visitor's own. */
  read(file) {
    return this.hear(`Reading ${file.name}…`, async (loaded) => ({
      name: file.name, ...await this.decode(await file.arrayBuffer(), file.name, loaded) }));
  },

  /** A sample of the pair. */
  sample({ audio, text, label, credit }, ready) {
    return this.hear(`Reading the sample ${audio}…`, async (loaded) => {
      const read = await this.page.call('clip', { path: audio });
      const decoded = await this.decode(read.buffer, audio, loaded);
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
    const most = Math.min(RECORDING, this.maxLength(loaded));
    const rate = loaded.transformer.sampling_rate;
    let dropped = false;
    let running = null;
    // Stands from the first click on, so that there is one recording at a time.
    this.recording = { stop: () => running?.stop(), drop: () => { dropped = true; running?.stop(); } };
    page.allow(false);
    page.say('Asking for the microphone…', 'working');
    let heard;
    try {
      running = await record(most, ({ level, seconds: length }) => {
        $('level').value = level;
        $('elapsed').textContent = `${length.toFixed(1)} s of ${most} s`;
      });
      if (dropped) running.stop();
      else {
        $('record').textContent = 'Stop';
        $('level-box').hidden = false;
        page.say(`Recording, up to ${most} seconds; the button stops it.`, 'working');
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
    const words = heard.full ? ` The recording was stopped at ${most} seconds.` : silent ? ' The recording is silent: is the microphone switched off?' : '';
    await this.hear('Reading the recording…', async () => {
      if (!heard.samples.length) throw new Error('Nothing was recorded: the microphone gave no sound before it was stopped');
      return { name: 'Your recording', samples: (await resample(heard.samples, heard.rate, rate)).slice(0, most * rate) };
    }, `Both models have listened.${words}`);
  },

  play() {
    if (this.playing) { this.playing(); return; }
    if (!this.clip) return;
    $('play').textContent = 'Stop playing';
    const stop = play(this.clip.samples, this.clip.rate, () => {
      // A clip that was stopped for the next one has nothing more to say.
      if (this.playing === stop) this.playing = null;
      $('play').textContent = 'Play';
    });
    this.playing = () => { this.playing = null; stop(); };
  },

  /** A pair has been opened: its first sample is heard. `ready` is what to say then; true where all went well. */
  async run(ready) {
    if (this.samples[0]) return this.sample(this.samples[0], ready);
    this.page.say(`${ready} Record something, or choose an audio file.`);
    return true;
  },

  /** What both hear in the clip; true where all went well, else the clip `before` comes back. */
  async listen(ready = 'Both models have listened.', before = null) {
    const { page, clip } = this;
    const { loaded } = page;
    page.say('Both models are listening…', 'working');
    try {
      const answers = await page.call('hear', { samples: clip.samples });
      if (page.loaded !== loaded) return false;
      showAnswers('heard', answers, loaded, ({ seconds: length, frames, ms }) =>
        `${seconds(length)} of sound, ${number(frames)} frames, ${number(Number((1000 * length / ms).toPrecision(2)))} times as fast as spoken`);
      const { same, words } = loaded.transformer.transcribes ? onTranscripts(answers) : onClasses(answers);
      showAgreement('hearing', { same, words: words + against(clip.text, answers) }, answers);
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
