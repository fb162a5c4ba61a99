// The microphone: samples as they come, until somebody stops it or its time is up.

const WHY = {
  NotAllowedError: 'The page may not use the microphone: its permission was denied. Allow it beside the address, then record again',
  SecurityError: 'The page may not use the microphone: this site is not allowed to. Open it by itself, over https or on localhost',
  NotFoundError: 'No microphone was found. Connect one, or choose an audio file',
  NotReadableError: 'The microphone gives no sound: most likely another program holds it. Close that program, then record again',
};

async function ask() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error(isSecureContext
      ? 'This browser gives pages no microphone; choose an audio file'
      : 'A microphone needs https or localhost, and this page came over plain http; choose an audio file');
  }
  try {
    // What calls need harms recognition.
    return await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false } });
  } catch (error) {
    throw new Error(WHY[error.name] ?? `The microphone could not be opened (${error.message})`);
  }
}

/**
 * Starts to record, `seconds` at most. `heard({level, seconds})` comes several times a second, the level from 0 to 1.
 * Gives {stop, done}: `done` is a promise of {samples, rate, full}, `full` where the time was up.
 */
export async function record(seconds, heard) {
  const stream = await ask();
  const context = new AudioContext();
  const close = () => {
    for (const track of stream.getTracks()) track.stop();
    return context.close();
  };
  let node;
  try {
    await context.audioWorklet.addModule(new URL('./recorder.js', import.meta.url));
    await context.resume();
    node = new AudioWorkletNode(context, 'recorder', { channelCount: 1, channelCountMode: 'explicit' });
  } catch (error) {
    await close();
    throw new Error(`The recording could not be started (${error.message})`);
  }
  const rate = context.sampleRate;
  const most = Math.round(seconds * rate);
  const parts = [];
  let count = 0;
  const stop = () => node.port.postMessage('stop');
  const done = new Promise((resolve) => {
    node.port.onmessage = ({ data: { samples, last } }) => {
      const part = samples.subarray(0, most - count);
      parts.push(part);
      count += part.length;
      heard({ level: samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0), seconds: count / rate });
      if (!last && count < most) return;
      node.port.onmessage = null;
      const all = new Float32Array(count);
      let at = 0;
      for (const one of parts) { all.set(one, at); at += one.length; }
      close().then(() => resolve({ samples: all, rate, full: count >= most }));
    };
  });
  // Unplugged: what was recorded until then is kept.
  for (const track of stream.getTracks()) track.addEventListener('ended', stop);
  context.createMediaStreamSource(stream).connect(node);
  // Silent, but only what leads to the destination is sure to run.
  node.connect(context.destination);
  return { stop, done };
}
