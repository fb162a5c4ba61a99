// Sound for tests: a few tones that come and go, and WAV files of them.

/** `seconds` of tones that come and go, as floats. */
export const tones = (seconds, rate, pitch = 220) => Float32Array.from({ length: Math.round(seconds * rate) }, (_, i) => {
  const at = i / rate;
  return 0.4 * Math.sin(2 * Math.PI * pitch * at) * Math.abs(Math.sin(2 * Math.PI * 2 * at)) + 0.1 * Math.sin(2 * Math.PI * 3.1 * pitch * at);
});

/** A WAV file of `channels` (arrays of equal length), 16-bit, 8-bit or with `float` 32-bit. */
export function wav(channels, { rate, bits = 16, float = false }) {
  const width = float ? 4 : bits / 8;
  const count = channels[0].length;
  const data = Buffer.alloc(count * channels.length * width);
  for (let i = 0; i < count; i += 1) {
    channels.forEach((samples, channel) => {
      const at = (i * channels.length + channel) * width;
      if (float) data.writeFloatLE(samples[i], at);
      else if (bits === 8) data.writeUInt8(Math.round(127.5 + 127 * samples[i]), at);
      else data.writeInt16LE(Math.round(32767 * samples[i]), at);
    });
  }
  const header = Buffer.alloc(44);
  header.write('RIFF', 0);
  header.writeUInt32LE(36 + data.length, 4);
  header.write('WAVEfmt ', 8);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(float ? 3 : 1, 20);
  header.writeUInt16LE(channels.length, 22);
  header.writeUInt32LE(rate, 24);
  header.writeUInt32LE(rate * channels.length * width, 28);
  header.writeUInt16LE(channels.length * width, 32);
  header.writeUInt16LE(width * 8, 34);
  header.write('data', 36);
  header.writeUInt32LE(data.length, 40);
  return Buffer.concat([header, data]);
}
