// What of a pair this device could not take, known from the headers of its weights before anything else is read.

/** A page's memory ends at 4 GiB; what the passes need stays free. */
const MEMORY = 2 ** 32;
const SPARE = 2 ** 29;
/** A longer header is left for the engine to judge. */
const LONGEST_HEADER = 8 << 20;
const SIDES = ['transformer', 'linear'];
/** The engine holds these in blocks of rows (`is_token_table`), so that they need not be bound whole. */
const TOKEN_TABLE = /^(gpt_neox\.embed_in|embed_out|backbone\.embeddings|lm_head|.*embeddings\.word_embeddings)\.weight$/;

const mib = (bytes) => Math.ceil(bytes / 2 ** 20).toLocaleString('en-US');
const gb = (bytes) => (bytes / 1e9).toFixed(1);

/** {name, bytes} of every tensor, as 32-bit floats. Null for what is no header: the engine says what is wrong with it. */
export function tensorsOf(header) {
  try {
    const entries = Object.entries(JSON.parse(new TextDecoder().decode(header))).filter(([name]) => name !== '__metadata__');
    const tensors = entries.map(([name, { shape }]) => ({ name, bytes: 4 * shape.reduce((product, n) => product * n, 1) }));
    return tensors.every(({ bytes }) => Number.isFinite(bytes) && bytes >= 0) ? tensors : null;
  } catch {
    return null;
  }
}

/** The tensors of a source's file by two small reads; null where the source gives no parts of files. */
async function readTensors(source, path) {
  const length = await source.part(path, 0, 8);
  if (length?.length !== 8) return null;
  const size = Number(new DataView(length.buffer, length.byteOffset, 8).getBigUint64(0, true));
  if (!size || size > LONGEST_HEADER) return null;
  const header = await source.part(path, 8, 8 + size);
  return header && tensorsOf(header);
}

/**
 * Throws where a pair cannot fit, before it is read: a tensor that the adapter cannot bind whole, or models beyond the page's memory. `adapter` is {engine, limits};
 * an error with `cpu` says that the CPU engine may take it.
 */
export async function refuseUnfit(source, adapter) {
  const models = [];
  for (const side of SIDES) {
    const path = `${side}/model.safetensors`;
    const tensors = source.files.has(path) ? await readTensors(source, path) : null;
    // Without headers, the engine refuses after reading.
    if (!tensors) return;
    models.push({ path, tensors });
  }
  const all = models.flatMap(({ tensors }) => tensors).reduce((sum, { bytes }) => sum + bytes, 0);
  const fitsMemory = all <= MEMORY - SPARE;
  if (adapter.engine === 'cpu') {
    if (fitsMemory) return;
    throw new Error(`${source.name}: its two models take ${gb(all)} GB as 32-bit floats, and on the CPU engine a page has ${gb(MEMORY - SPARE)} GB for them. Take a smaller pair, or a browser with WebGPU.`);
  }
  const most = Math.min(adapter.limits.maxStorageBufferBindingSize, adapter.limits.maxBufferSize);
  for (const { path, tensors } of models) {
    const large = tensors.find(({ name, bytes }) => bytes > most && !TOKEN_TABLE.test(name));
    if (!large) continue;
    const way = fitsMemory ? 'The CPU engine has no such limit.' : 'It is too large for the CPU engine as well; take a smaller pair.';
    throw Object.assign(
      new Error(`${source.name}/${path}: tensor \`${large.name}\` takes ${mib(large.bytes)} MiB as 32-bit floats, and this adapter binds at most ${mib(most)} MiB at once. ${way}`),
      { cpu: fitsMemory });
  }
}
