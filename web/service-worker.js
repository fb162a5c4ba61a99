// Lets the page open and answer without a connection. The files of this site are kept by their content: precache.js, written when the page is built, gives the
// SHA-256 of every one, and this worker serves exactly those. Another build is another worker. It fetches what has changed while the old one goes on
// serving the old files, and takes over when no page of the old build is open, so that a page never gets files of two builds.
//
// Files of other sites are not its business, nor is what precache.js does not name.
importScripts('precache.js');

/** {path: SHA-256} of every file of the build. */
const FILES = new Map(Object.entries(self.PRECACHE));
const SHELF = `caldera ${new URL(self.registration.scope).pathname}`;

/** The page has to be there at once. What pairs there are comes when it is idle, and a pair itself when it has been opened. */
const isPage = (path) => !path.startsWith('pairs/');
/** The name of the pair that a file is of, beyond being listed. */
const pairOf = (path) => /^pairs\/([^/]+)\/(?!pair\.json$)/.exec(path)?.[1] ?? null;
const keyOf = (sum) => new URL(`kept/${sum}`, self.registration.scope).href;

async function sumOf(bytes) {
  const digest = await crypto.subtle.digest('SHA-256', bytes);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Keeps a response under the sum of its bytes, if that is the expected one. */
async function keep(shelf, path, response) {
  const bytes = await response.arrayBuffer();
  if (!response.ok || await sumOf(bytes) !== FILES.get(path)) return false;
  // Headers stay, as those that isolate the page; the bytes are unpacked by now.
  const headers = new Headers(response.headers);
  headers.delete('content-encoding');
  // So that the page can say how much is kept without reading all of it.
  headers.set('content-length', bytes.byteLength);
  await shelf.put(keyOf(FILES.get(path)), new Response(bytes, { headers }));
  return true;
}

/** Fetches those of `paths` that are not here yet. False where one is not what the build says. */
async function bring(paths) {
  const shelf = await caches.open(SHELF);
  for (const path of paths) {
    if (await shelf.match(keyOf(FILES.get(path)))) continue;
    // Asks the server whether the browser's own copy is still right, instead of trusting it.
    const response = await fetch(new URL(path, self.registration.scope), { cache: 'no-cache' });
    if (!(await keep(shelf, path, response))) return false;
  }
  return true;
}

self.addEventListener('install', (event) => {
  event.waitUntil((async () => {
    if (!(await bring([...FILES.keys()].filter(isPage)))) {
      // The host is half way through an update, or changes files: this build is not installed, the next visit tries again.
      throw new Error('a file of the page is not the one that precache.js names');
    }
  })());
});

self.addEventListener('activate', (event) => {
  event.waitUntil((async () => {
    const shelf = await caches.open(SHELF);
    const wanted = new Set([...FILES.values()].map(keyOf));
    for (const request of await shelf.keys()) if (!wanted.has(request.url)) await shelf.delete(request);
  })());
});

/** {kept, all}: names of the pairs of which every file is here, and of all pairs of the build. */
async function wholePairs() {
  const all = new Set([...FILES.keys()].map(pairOf).filter(Boolean));
  const missing = new Set();
  const shelf = await caches.open(SHELF);
  for (const [path, sum] of FILES) if (pairOf(path) && !(await shelf.match(keyOf(sum)))) missing.add(pairOf(path));
  return { kept: [...all].filter((name) => !missing.has(name)), all: [...all] };
}

/** The file of the build that a request is for; none where it is for something else. */
function pathOf(request) {
  const { origin, pathname } = new URL(request.url);
  const scope = new URL(self.registration.scope);
  if (request.method !== 'GET' || origin !== scope.origin || !pathname.startsWith(scope.pathname)) return null;
  const path = decodeURIComponent(pathname.slice(scope.pathname.length)) || 'index.html';
  return FILES.has(path) ? path : null;
}

/** Files whose kept copy was right when this worker first gave it out; browsers end workers soon after a page is loaded. */
const sound = new Set();

/** The kept copy of a file, if it is there and still what it was. */
async function keptCopy(shelf, path) {
  const here = await shelf.match(keyOf(FILES.get(path)));
  // A pair's files are checked by the page, against pair.json.
  if (!here || pairOf(path) || sound.has(path)) return here;
  if (await sumOf(await here.clone().arrayBuffer()) !== FILES.get(path)) {
    await shelf.delete(keyOf(FILES.get(path)));
    return null;
  }
  sound.add(path);
  return here;
}

async function answer(event, path) {
  const shelf = await caches.open(SHELF).catch(() => null);
  // Asked past the caches: the kept copy was found to be wrong.
  const here = event.request.cache === 'reload' ? null : shelf && await keptCopy(shelf, path).catch(() => null);
  if (here) return here;
  const response = await fetch(event.request);
  if (shelf && response.status === 200) event.waitUntil(keep(shelf, path, response.clone()).catch(() => false));
  return response;
}

self.addEventListener('fetch', (event) => {
  const path = pathOf(event.request);
  if (path) event.respondWith(answer(event, path));
});

self.addEventListener('message', (event) => {
  const [port] = event.ports;
  event.waitUntil((async () => {
    if (event.data.pairs) {
      const wanted = [...FILES.keys()].filter((path) => !isPage(path) && (!pairOf(path) || event.data.pairs.includes(pairOf(path))));
      // One that fails is no reason to go without the others.
      for (const path of wanted) await bring([path]).catch(() => false);
      port.postMessage(await wholePairs());
    } else if (event.data === 'take over') {
      const pages = await self.clients.matchAll({ type: 'window', includeUncontrolled: true });
      const own = pages.filter(({ url }) => url.startsWith(self.registration.scope));
      // First the answer: the change waits for what the old worker is doing, and the page need not.
      port.postMessage(own.length <= 1);
      if (own.length <= 1) await self.skipWaiting();
    }
  })());
});
