// Where a pair's files come from: an address, or files that the visitor chose. Same calls for both.

const FILES = ['config.json', 'model.safetensors', 'tokenizer.json', 'preprocessor_config.json', 'tokenizer_config.json', 'vocab.json'];
const NEEDED = ['transformer', 'linear'].flatMap((side) => FILES.map((file) => `${side}/${file}`));

/** A page behind an address that does not exist is often answered with HTML and status 200. */
const isPage = (response) => (response.headers.get('content-type') ?? '').startsWith('text/html');

class Remote {
  constructor(base, name) { this.base = base; this.name = name; }

  async get(path) {
    const address = new URL(path, this.base);
    let response;
    try {
      response = await fetch(address);
    } catch {
      throw new Error(`${this.name}/${path}: could not be fetched; check the connection and try again.`);
    }
    if (!response.ok || isPage(response)) {
      throw new Error(`${this.name}/${path}: the server has no such file (${response.status}).`);
    }
    return response;
  }

  async description() { return new Uint8Array(await (await this.get('pair.json')).arrayBuffer()); }

  guess() { throw new Error(`${this.name}/pair.json: it lists no files.`); }

  /** Bytes of a file of `size` bytes; longer and shorter ones are given as they come, for the engine to refuse. */
  async read(path, size, report) {
    const response = await this.get(path);
    const reader = response.body.getReader();
    let bytes = new Uint8Array(size);
    let at = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (at + value.length > size) {
        await reader.cancel();
        throw new Error(`${this.name}/${path}: expected ${size} bytes as pair.json says, found more. Export the pair again.`);
      }
      bytes.set(value, at);
      at += value.length;
      report(at);
    }
    return at === size ? bytes : bytes.subarray(0, at);
  }
}

class Local {
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

  async read(path, size, report) {
    const file = this.file(path);
    let bytes;
    try {
      bytes = new Uint8Array(await file.arrayBuffer());
    } catch (error) {
      throw new Error(`${this.name}/${path}: cannot be read (${error.message}).`);
    }
    report(bytes.length);
    return bytes;
  }
}

export function openSource(from, name) {
  return from.files ? new Local(from.files) : new Remote(from.base, name);
}
