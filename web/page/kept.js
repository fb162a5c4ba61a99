// Files of pairs by address, kept on this device in the origin's private file system, so that a second visit downloads nothing
// and a broken download goes on where it stopped. One folder an address; in it a file for each content:
//
//   pairs/ADDRESS_SUM/about.json     {address, label}
//                     pair.json      as it last came
//                     SHA256         a file of the pair, by its sum; shorter than pair.json says while its download is not done
//                     SHA256.version what its server called that version, while it is not done
//
// Whatever the storage refuses, loading goes on without it.

const ROOT = 'pairs';
const SUM = /^[0-9a-f]{64}$/;

/** SHA-256 in hexadecimal. */
export async function sum(bytes) {
  const digest = await crypto.subtle.digest('SHA-256', bytes);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function root(create = false) {
  const top = await navigator.storage.getDirectory();
  return top.getDirectoryHandle(ROOT, { create });
}

const keyOf = async (address) => (await sum(new TextEncoder().encode(address))).slice(0, 32);

/** A file of a folder, null where there is none. */
async function fileIn(folder, name) {
  try {
    return await (await folder.getFileHandle(name)).getFile();
  } catch {
    return null;
  }
}

async function remove(folder, name) {
  try { await folder.removeEntry(name); } catch { /* Not there, or another tab is at it: its own business. */ }
}

/** Writes a small file whole. Only workers may, so that everything is written from the engine's. */
async function put(folder, name, bytes) {
  const handle = await (await folder.getFileHandle(name, { create: true })).createSyncAccessHandle();
  try {
    handle.truncate(0);
    if (handle.write(bytes, { at: 0 }) !== bytes.length) throw new DOMException('no room', 'QuotaExceededError');
    handle.flush();
  } finally {
    handle.close();
  }
}

/** Why something could not be kept, in words that fit into brackets. */
export const refusalOf = (error) => (error?.name === 'QuotaExceededError' ? 'the browser gives this page no more room'
  : error?.name === 'NoModificationAllowedError' ? 'another tab is loading it' : 'the browser lets this page keep nothing');

/** A file whose download is under way, held by this tab alone. */
class Growing {
  constructor(folder, name, handle) { Object.assign(this, { folder, name, handle, size: handle.getSize() }); }

  /** The bytes that are there already, in pieces. */
  * kept(piece = 1 << 20) {
    const size = this.size;
    for (let at = 0; at < size;) {
      const bytes = new Uint8Array(Math.min(piece, size - at));
      const read = this.handle.read(bytes, { at });
      if (!read) return;
      at += read;
      yield bytes.subarray(0, read);
    }
  }

  async version() { return (await fileIn(this.folder, `${this.name}.version`))?.text() ?? ''; }

  async setVersion(version) { await put(this.folder, `${this.name}.version`, new TextEncoder().encode(version)); }

  /** Adds bytes at the end; throws where there is no room. */
  append(bytes) {
    if (this.handle.write(bytes, { at: this.size }) !== bytes.length) throw new DOMException('no room', 'QuotaExceededError');
    this.size += bytes.length;
  }

  /** Lets go of the file: what is there stays. */
  async close({ done = false } = {}) {
    try { this.handle.flush(); } finally { this.handle.close(); }
    if (done) await remove(this.folder, `${this.name}.version`);
  }

  /** Lets go of the file and of what is in it. */
  async discard() {
    this.handle.close();
    await remove(this.folder, this.name);
    await remove(this.folder, `${this.name}.version`);
  }
}

/** The kept files of one address. */
class Shelf {
  constructor(folder) { this.folder = folder; }

  async description() {
    const file = await fileIn(this.folder, 'pair.json');
    return file?.size ? new Uint8Array(await file.arrayBuffer()) : null;
  }

  /** Keeps pair.json, and lets go of files that it does not list any more. */
  async describe(about, bytes, sums) {
    await put(this.folder, 'about.json', new TextEncoder().encode(JSON.stringify(about)));
    await put(this.folder, 'pair.json', bytes);
    const names = [];
    for await (const name of this.folder.keys()) names.push(name);
    for (const name of names) if (SUM.test(name.slice(0, 64)) && !sums.has(name.slice(0, 64))) await remove(this.folder, name);
  }

  /** A file by its sum, null where it is not here whole. */
  async whole({ sha256, size }) {
    const file = SUM.test(sha256) ? await fileIn(this.folder, sha256) : null;
    return file?.size === size ? file : null;
  }

  /** Bytes that are here of a file. */
  async length({ sha256 }) { return (SUM.test(sha256) ? (await fileIn(this.folder, sha256))?.size : 0) ?? 0; }

  /** A file to be added to; throws where the storage refuses. */
  async grow({ sha256, size }) {
    if (!SUM.test(sha256)) throw new TypeError('expected a SHA-256');
    const handle = await (await this.folder.getFileHandle(sha256, { create: true })).createSyncAccessHandle();
    // Longer than it should be: nothing of it can be trusted.
    if (handle.getSize() > size) handle.truncate(0);
    return new Growing(this.folder, sha256, handle);
  }

  async discard({ sha256 }) {
    await remove(this.folder, sha256);
    await remove(this.folder, `${sha256}.version`);
  }
}

/** What is kept of an address: {shelf}, or {refused: why} where the storage refuses. */
export async function shelfOf(address) {
  try {
    const folder = await (await root(true)).getDirectoryHandle(await keyOf(address), { create: true });
    return { shelf: new Shelf(folder) };
  } catch (error) {
    return { refused: refusalOf(error) };
  }
}

async function describeFolder(key, folder) {
  let bytes = 0;
  const names = [];
  for await (const [name, handle] of folder.entries()) {
    if (handle.kind === 'file') { bytes += (await handle.getFile()).size; names.push(name); }
  }
  const parsed = async (name) => { try { return JSON.parse(await (await fileIn(folder, name)).text()); } catch { return null; } };
  const about = await parsed('about.json');
  const sizes = (await parsed('pair.json'))?.files ?? [];
  const done = sizes.length > 0 && (await Promise.all(sizes.map(async ({ path, sha256, size }) => !/^(transformer|linear)\//.test(path)
    || (names.includes(sha256) && (await fileIn(folder, sha256))?.size === size)))).every(Boolean);
  return { key, bytes, done, address: about?.address ?? '', label: about?.label ?? 'an unfinished pair', total: sizes.reduce((all, { size }) => all + size, 0) };
}

/** Every pair that is kept: {key, address, label, bytes, total, done}. Empty where the storage refuses. */
export async function kept() {
  try {
    const folders = [];
    for await (const [key, folder] of (await root()).entries()) if (folder.kind === 'directory') folders.push([key, folder]);
    return (await Promise.all(folders.map(([key, folder]) => describeFolder(key, folder)))).filter(({ bytes }) => bytes > 0);
  } catch {
    return [];
  }
}

/** Removes a kept pair, or all of them. Throws where a file is in use. */
export async function forget(key) {
  const folder = await root();
  const keys = [];
  if (key) keys.push(key); else for await (const name of folder.keys()) keys.push(name);
  for (const name of keys) await folder.removeEntry(name, { recursive: true });
}
