// A model's weights on their way from a source into the engine: in pieces, so that the file never lies in memory whole.
import { Changed, DownloadError } from './download.js';

/** After so many bytes the device gets time to take them: what waits for it lies in the wasm memory, which never shrinks. */
const SETTLE_BYTES = 8 << 20;

/**
 * Feeds a stream of `size` bytes to the engine; `file` is named in messages, `report` hears the bytes so far. A shorter
 * one is left for the engine to refuse: it knows which tensor is cut.
 */
export async function pour(stream, { engine, file, size, report }) {
  const reader = stream.getReader();
  let at = 0;
  let waiting = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => {
        if (error instanceof DownloadError || error instanceof Changed) throw error;
        throw new Error(`${file}: it stopped after ${at} of ${size} bytes (${error.message}). Check the connection and try again.`);
      });
      if (done) return;
      if (at + value.length > size) throw new Error(`${file}: expected ${size} bytes as pair.json says, found more. Export the pair again.`);
      engine.feed(value);
      at += value.length;
      waiting += value.length;
      if (waiting >= SETTLE_BYTES) {
        await engine.settle();
        waiting = 0;
      }
      report(at);
    }
  } finally {
    // Nothing is left of a stream that was read to its end; what failed need not arrive any more.
    reader.cancel().catch(() => {});
  }
}
