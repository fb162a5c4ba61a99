// Which pairs there are: those that the site ships, and what the visitor brings.

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

export const baseOf = (name) => new URL(`pairs/${name}/`, document.baseURI).href;

async function json(address) {
  try {
    const response = await fetch(address);
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

/** The shipped pairs that are really there, {name, task}, in the order of pairs/index.json. */
export async function shipped() {
  const index = await json(new URL('pairs/index.json', document.baseURI));
  const names = (index?.pairs ?? []).filter((name) => NAME.test(name));
  const found = await Promise.all(names.map((name) => json(`${baseOf(name)}pair.json`)));
  return names.map((name, i) => ({ name, task: found[i]?.task })).filter((_, i) => found[i]);
}

/** The pair that the address asks for; null when it asks for none, an error for a name that cannot be one. */
export function asked(parameters) {
  const name = parameters.get('pair');
  if (name === null) return null;
  if (!NAME.test(name)) throw new Error(`“${name}” in the address is not the name of a pair.`);
  return name;
}

/** Where a pair came from, to be kept with its results; `from` as source.js takes it. */
export function sourceOf({ files, address }, name) {
  if (files) return { kind: 'files' };
  return address ? { kind: 'address', address } : { kind: 'shipped', name };
}

/** Files of an <input>, with their paths. */
export const chosen = (input) => [...input.files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));

/** Files and folders that were dropped, with their paths. */
export async function dropped(transfer) {
  // All at once: the items are gone after the first wait. A file that lies in no folder has no entry everywhere.
  const items = [...transfer.items].filter(({ kind }) => kind === 'file').map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const files = items.filter((item) => item instanceof File).map((file) => ({ path: file.name, file }));
  const entries = items.filter((item) => item && !(item instanceof File));
  async function walk(entry, path) {
    if (entry.isFile) {
      files.push({ path: path + entry.name, file: await new Promise((resolve, reject) => entry.file(resolve, reject)) });
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      // A browser gives a folder in portions.
      const portion = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!portion.length) break;
      for (const child of portion) await walk(child, `${path}${entry.name}/`);
    }
  }
  for (const entry of entries) await walk(entry, '');
  return files;
}
