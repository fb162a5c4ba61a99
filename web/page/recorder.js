// Runs in the audio thread: hands samples on, a twentieth of a second at a time.

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.samples = new Float32Array(Math.ceil(sampleRate / 20));
    this.count = 0;
    this.stopped = false;
    this.port.onmessage = () => { this.stopped = true; this.send(true); };
  }

  send(last) {
    this.port.postMessage({ samples: this.samples.slice(0, this.count), last });
    this.count = 0;
  }

  process([[samples]]) {
    if (this.stopped) return false;
    for (const sample of samples ?? []) {
      this.samples[this.count] = sample;
      this.count += 1;
      if (this.count === this.samples.length) this.send(false);
    }
    return true;
  }
}

registerProcessor('recorder', Recorder);
