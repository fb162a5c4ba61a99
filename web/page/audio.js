// Audio files and recordings as what models take: one channel at their sampling rate. Nothing leaves the device.

/** More than any clip that a model here could take; decoded, it would fill the tab's memory. */
const MOST_BYTES = 300e6;

function offline(length, rate) {
  try {
    return new OfflineAudioContext(1, Math.max(1, length), rate);
  } catch {
    throw new Error(`This browser cannot bring audio to the model's ${rate.toLocaleString('en-US')} samples a second`);
  }
}

/** The mean of all channels, of the first `length` samples. */
function mono(buffer, length) {
  const samples = buffer.getChannelData(0).slice(0, length);
  for (let channel = 1; channel < buffer.numberOfChannels; channel += 1) {
    const more = buffer.getChannelData(channel);
    for (let i = 0; i < samples.length; i += 1) samples[i] += more[i];
  }
  if (buffer.numberOfChannels > 1) for (let i = 0; i < samples.length; i += 1) samples[i] /= buffer.numberOfChannels;
  return samples;
}

/** What to tell of a WAV file that ends before its header says; browsers read what is there. */
function cutOff(bytes) {
  const view = new DataView(bytes);
  if (view.byteLength < 12 || view.getUint32(0) !== 0x52494646) return '';
  const size = view.getUint32(4, true);
  // Programs that write as they record leave the largest number there is.
  return size + 8 > view.byteLength && size < 0xffffff00 ? 'the file ends early, and what is there is heard' : '';
}

/**
 * {samples, note, cut} of a file's `bytes` (an ArrayBuffer), as one channel at `rate`, of `most` seconds at the most; `cut` are the seconds of a file that has more.
 * `name` is for messages.
 */
export async function decode(bytes, rate, name, most = Infinity) {
  if (!bytes.byteLength) throw new Error(`${name}: the file is empty; choose another`);
  if (bytes.byteLength > MOST_BYTES) {
    throw new Error(`${name}: the file has ${Math.round(bytes.byteLength / 1e6)} MB, and this page reads up to ${MOST_BYTES / 1e6}; choose a shorter clip`);
  }
  const note = cutOff(bytes);
  const context = offline(1, rate);
  let buffer;
  try {
    // It also brings the clip to the context's rate.
    buffer = await context.decodeAudioData(bytes);
  } catch {
    throw new Error(`${name}: this browser finds no audio in it that it can read; choose a WAV, FLAC, MP3, Ogg or M4A file`);
  }
  if (!buffer.length) throw new Error(`${name}: it holds no sound, its length is 0; record or export it again`);
  const length = Math.min(buffer.length, most * rate);
  return { samples: mono(buffer, length), note, cut: length < buffer.length ? buffer.length / rate : 0 };
}

/** Samples of one channel at `from` samples a second, brought to `to`. */
export async function resample(samples, from, to) {
  if (from === to || !samples.length) return samples;
  const context = offline(Math.ceil(samples.length * to / from), to);
  const buffer = context.createBuffer(1, samples.length, from);
  buffer.copyToChannel(samples, 0);
  const source = context.createBufferSource();
  source.buffer = buffer;
  source.connect(context.destination);
  source.start();
  return (await context.startRendering()).getChannelData(0);
}

/** Plays samples; gives a function that stops them. `ended` is called in either case. */
export function play(samples, rate, ended) {
  const context = new AudioContext();
  const buffer = context.createBuffer(1, samples.length, rate);
  buffer.copyToChannel(samples, 0);
  const source = context.createBufferSource();
  source.buffer = buffer;
  source.connect(context.destination);
  source.onended = () => { context.close(); ended(); };
  source.start();
  return () => source.stop();
}
