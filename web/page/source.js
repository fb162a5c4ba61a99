// Where a pair's files come from: this site, an address that the visitor named, or files that the visitor chose. Same calls for all:
//
//   description()             bytes of pair.json, undefined where files of the visitor's have none
//   guess()                   files of a pair that lists none
//   bytes(path)               a small file, whole
//   stream(path)              a file's bytes as they arrive
//   part(path, start, end)    some of a file's bytes, null where they cannot be had by themselves
//   missing()                 bytes that are not on this device yet
//   doubt(path, error)        the file was not what pair.json says: true where fetching it anew may help
//   notices                   what the visitor should know of how it went
import { Changed, DownloadError, download, part, whole } from './download.js';
import { refusalOf, shelfOf, sum } from './kept.js';

const FILES = ['config.json', 'model.safetensors', 'tokenizer.json', 'preprocessor_config.json', 'tokenizer_config.json', 'vocab.json'];
const NEEDED = ['transformer', 'linear'].flatMap((side) => FILES.map((file) => `${side}/${file}`));

const A_PAIR = 'A pair is a folder with pair.json, transformer/ and linear/ in it: `caldera export` writes it from a model and the linear model that was made of it.';

/** A stream of what a generator gives; nothing is fetched ahead of who reads. */
const streamOf = (generator) => new ReadableStream({
  async pull(controller) {
    const { done, value } = await generator.next();
    if (done) controller.close(); else controller.enqueue(value);
  },
  cancel: () => generator.return(),
}, { highWaterMark: 0 });

/** The pieces of a file on this device. */
async function* piecesOf(file, name) {
  const reader = file.stream().getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error) => { throw new Changed(`${name}: its kept copy cannot be read (${error.message}).`); });
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function gather(pieces) {
  const parts = [];
  for await (const piece of pieces) parts.push(piece);
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** Files beside the page. The service worker keeps them; see web/service-worker.js. */
class Site {
  notices = [];
  #doubted = new Set();

  constructor(base, name, news) { Object.assign(this, { base, name, news, files: new Map() }); }

  async description() { return this.learn(await whole(new URL('pair.json', this.base), `${this.name}/pair.json`)); }

  /** Takes sizes and sums from pair.json; what is wrong with it is the engine's to say. */
  learn(bytes) {
    try {
      const { files } = JSON.parse(new TextDecoder().decode(bytes));
      this.files = new Map(files.map((file) => [file.path, { ...file, sha256: String(file.sha256).toLowerCase() }]));
    } catch {
      this.files = new Map();
    }
    return bytes;
  }

  guess() { throw new Error(`${this.name}/pair.json: it lists no files.`); }

  async missing() { return this.total(); }

  /** Bytes of both models. */
  total() { return [...this.files.values()].filter(({ path }) => /^(transformer|linear)\//.test(path)).reduce((all, { size }) => all + size, 0); }

  /** How a file is fetched: past every cache where it was wrong before. */
  from(path, options) {
    const { size } = this.files.get(path);
    return download(new URL(path, this.base), {
      file: `${this.name}/${path}`, size, cache: this.#doubted.has(path) ? 'reload' : 'default',
      waiting: (ms, at) => this.news(`The connection broke at ${Math.floor((100 * at) / size)} %: trying again`), ...options });
  }

  pieces(path) { return this.from(path); }

  /** A small file is checked at once, and fetched anew where a kept copy may be at fault. */
  async bytes(path) {
    let bytes = null;
    let changed = null;
    try {
      bytes = await gather(this.pieces(path));
      // Without a secure context there is no sum, and no cache of ours either.
      if (!globalThis.crypto?.subtle || await sum(bytes) === this.files.get(path).sha256) return bytes;
    } catch (error) {
      if (!(error instanceof Changed)) throw error;
      changed = error;
    }
    if (await this.doubt(path, changed)) return gather(this.pieces(path));
    if (changed) throw changed;
    return bytes;
  }

  stream(path) { return streamOf(this.pieces(path)); }

  part(path, start, end) { return part(new URL(path, this.base), { start, end }); }

  /** Once a file: the copy of a cache may be at fault. */
  async doubt(path) {
    const first = !this.#doubted.has(path);
    this.#doubted.add(path);
    return first;
  }
}

/** Files of an address that the visitor named; what comes from there is kept on this device. */
class Address extends Site {
  #shelf = null;
  #described = null;
  /** Files of which something came from this device. */
  #used = new Set();
  /** Settles when the file under way has been let go of. */
  #free = Promise.resolve();
  #refused = false;
  #json = null;

  constructor(base, name, news) {
    super(base, name, news);
    this.own = true;
  }

  async description() {
    if (this.#json) return this.#json;
    const { shelf, refused } = await shelfOf(this.base);
    this.#shelf = shelf ?? null;
    if (refused) this.#refuse(refused);
    const file = `${this.name}/pair.json`;
    let bytes;
    try {
      bytes = await whole(new URL('pair.json', this.base), file, 'no-cache');
    } catch (error) {
      bytes = await this.#shelf?.description();
      if (!bytes) throw error.status && !error.passing ? this.#noPair(error) : error;
      this.notices.push(error.status ? `Its address answers ${error.status} now, so this is the copy kept on this device.` : 'Its address could not be reached, so this is the copy kept on this device.');
    }
    this.#json = this.learn(bytes);
    return bytes;
  }

  #noPair({ status, message }) {
    const address = new URL('pair.json', this.base);
    const why = status === 401 && address.hostname === 'huggingface.co' ? 'Hugging Face has no such repository, or keeps it private (401)'
      : status === 401 || status === 403 ? message : `no pair.json at ${address} (${status === 200 ? 'a web page came instead' : status})`;
    return new DownloadError(`${this.name}: ${why}. ${A_PAIR}`);
  }

  /** Nothing more is kept, for this reason; said once. */
  #refuse(why) {
    if (!this.#refused) this.notices.push(`It could not be kept on this device (${why}), so the next visit may download it again.`);
    this.#refused = true;
  }

  /** Keeps pair.json before the first file, and lets go of what it does not list. */
  #describe() {
    const sums = new Set([...this.files.values()].map(({ sha256 }) => sha256));
    return this.#described ??= (async () => {
      try {
        await this.#shelf?.describe({ address: this.base, label: this.name }, this.#json, sums);
      } catch (error) {
        this.#refuse(refusalOf(error));
        this.#shelf = null;
      }
    })();
  }

  async missing() {
    let missing = this.total();
    for (const file of this.files.values()) if (/^(transformer|linear)\//.test(file.path)) missing -= Math.min(file.size, await this.#shelf?.length(file) ?? 0);
    return missing;
  }

  async part(path, start, end) {
    const file = await this.#shelf?.whole(this.files.get(path));
    if (file) return new Uint8Array(await file.slice(start, end).arrayBuffer());
    return super.part(path, start, end);
  }

  async* pieces(path) {
    await this.#free;
    let release;
    this.#free = new Promise((resolve) => { release = resolve; });
    let growing = null;
    try {
      const file = this.files.get(path);
      await this.#describe();
      const here = await this.#shelf?.whole(file);
      if (here) {
        this.#used.add(path);
        yield* piecesOf(here, `${this.name}/${path}`);
        return;
      }
      growing = await this.#grow(file);
      const start = growing?.size ?? 0;
      if (start) {
        this.#used.add(path);
        yield* growing.kept();
      }
      const version = start ? await growing.version() : '';
      let fresh = null;
      for await (const piece of this.from(path, { start, version, cache: 'no-store', begun: (now) => { if (now !== version) fresh = now; } })) {
        if (growing && !(await this.#append(growing, piece, fresh))) growing = null;
        fresh = null;
        yield piece;
      }
      await growing?.close({ done: growing.size === file.size });
      growing = null;
    } catch (error) {
      if (error instanceof Changed) {
        await growing?.discard();
        growing = null;
      }
      throw error;
    } finally {
      await growing?.close();
      release();
    }
  }

  async #grow(file) {
    try {
      return this.#shelf && !this.#refused ? await this.#shelf.grow(file) : null;
    } catch (error) {
      this.#refuse(refusalOf(error));
      return null;
    }
  }

  async #append(growing, piece, version) {
    try {
      if (version) await growing.setVersion(version);
      growing.append(piece);
      return true;
    } catch (error) {
      this.#refuse(refusalOf(error));
      await growing.discard();
      return false;
    }
  }

  async doubt(path, error) {
    await this.#free;
    await this.#shelf?.discard(this.files.get(path));
    return this.#used.delete(path) || error instanceof Changed;
  }
}

class Local {
  notices = [];
  own = true;

  /** `files` are {path, file}; the folder that holds the pair may lie anywhere in the paths. */
  constructor(files) {
    const marker = files.find(({ path }) => /(^|\/)pair\.json$/.test(path)) ?? files.find(({ path }) => /(^|\/)transformer\//.test(path));
    if (!marker) {
      throw new Error('No pair among these files: expected pair.json with transformer/ and linear/ beside it. Choose the folder that caldera export wrote.');
    }
    const root = marker.path.replace(/(pair\.json|transformer\/.*)$/, '');
    this.files = new Map(files.filter(({ path }) => path.startsWith(root)).map(({ path, file }) => [path.slice(root.length), file]));
    this.name = root.split('/').filter(Boolean).pop() ?? 'your pair';
  }

  file(path) {
    // Files chosen one by one come without their folders, where two of each name cannot be told apart.
    const file = this.files.get(path);
    if (!file) throw new Error(`${this.name}/${path}: it is not among the chosen files. Choose the whole folder of the pair.`);
    return file;
  }

  async description() {
    return this.files.has('pair.json') ? new Uint8Array(await this.files.get('pair.json').arrayBuffer()) : undefined;
  }

  guess() {
    return NEEDED.filter((path) => this.files.has(path)).map((path) => ({ path, size: this.files.get(path).size }));
  }

  async missing() { return 0; }

  async bytes(path) {
    const file = this.file(path);
    try {
      return new Uint8Array(await file.arrayBuffer());
    } catch (error) {
      throw new Error(`${this.name}/${path}: cannot be read (${error.message}).`);
    }
  }

  async stream(path) { return this.file(path).stream(); }

  async part(path, start, end) {
    try {
      return new Uint8Array(await this.file(path).slice(start, end).arrayBuffer());
    } catch {
      return null;
    }
  }

  async doubt() { return false; }
}

/** `from` is {base} of a shipped pair, {address} of another folder, or {files: [{path, file}]}; `news` hears of pauses on the way. */
export function openSource(from, name, news = () => {}) {
  if (from.files) return new Local(from.files);
  return from.address ? new Address(from.address, name, news) : new Site(from.base, name, news);
}

/** Whether an error may come of the file's bytes; a connection that broke and an engine that stopped are no fault of theirs. */
export const mayBeBytes = (error) => !(error instanceof DownloadError || error instanceof WebAssembly.RuntimeError);
