// GPU buffers that the engine has let go of. wgpu destroys none of them in a browser: their memory stays taken until the collector
// finds the small objects that stand for them, and nothing tells it that there is reason to look.

/** So many buffers, or bytes of them, may be made before the collector is called. */
const MOST_BUFFERS = 512;
const MOST_BYTES = 256e6;

let buffers = 0;
let bytes = 0;

if (globalThis.GPUDevice) {
  const { createBuffer } = GPUDevice.prototype;
  GPUDevice.prototype.createBuffer = function (descriptor) {
    buffers += 1;
    bytes += descriptor.size;
    return createBuffer.call(this, descriptor);
  };
}

/** Has buffers that are out of use freed, where enough were made since the last time or `now` is set. */
export async function freeBuffers(now = false) {
  if (!buffers || !(now || buffers > MOST_BUFFERS || bytes > MOST_BYTES)) return;
  buffers = bytes = 0;
  // No page can call the collector. Large blocks that are dropped at once make it run; nothing is ever written to them.
  for (let block = 0; block < 4; block += 1) {
    try { new ArrayBuffer(64e6); } catch { return; }
    await new Promise((resolve) => { setTimeout(resolve); });
  }
}
