// The page without a connection: has the service worker keep this build and the pairs that were opened, and changes to a new build between visits.

const $ = (id) => document.getElementById(id);

/** Where the service worker keeps the files of this page; see web/service-worker.js. */
const SHELF = `caldera ${new URL('.', location.href).pathname}`;
/** Stands in localStorage where the visitor wants no copy. */
const REFUSED = 'caldera-no-copy';

/** Shipped pairs that were opened on this visit, and the worker that keeps them once there is one. */
const opened = new Set();
let keeper = null;

/** Asks a service worker and gives its answer. */
const ask = (worker, question) => new Promise((resolve) => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = ({ data }) => { port1.close(); resolve(data); };
  worker.postMessage(question, [port2]);
});

/** Resolves when a worker has reached one of `states`. */
const reached = (worker, states) => new Promise((resolve) => {
  const look = () => { if (states.includes(worker.state)) resolve(worker.state); };
  worker.addEventListener('statechange', look);
  look();
});

/** What a promise gives, or `otherwise` after some time: no worker that is stuck may hold the page up. */
const within = (ms, promise, otherwise) => Promise.race([promise, new Promise((resolve) => { setTimeout(resolve, ms, otherwise); })]);

/** Opens the build that waits, if no other tab shows the old one: a page that is open keeps the files it was made for. */
async function takeOver(waiting) {
  const changed = new Promise((resolve) => { navigator.serviceWorker.addEventListener('controllerchange', () => resolve(true), { once: true }); });
  // Whenever the change comes, this page is of the old build.
  changed.then(() => location.reload());
  if (!(await within(2000, ask(waiting, 'take over'), false))) return false;
  return within(5000, changed, false);
}

/** Changes to a build that came during the last visit, before anything of this one has begun. True where the page is about to be loaded again. */
export async function renewed() {
  try {
    const registration = await navigator.serviceWorker?.getRegistration();
    return Boolean(registration?.waiting && navigator.serviceWorker.controller && await takeOver(registration.waiting));
  } catch {
    return false;
  }
}

function offerNew(worker) {
  $('offline').textContent = 'A new version of this page is here; it opens with the next visit.';
  $('renew').hidden = false;
  $('renew').onclick = async () => {
    if (!(await takeOver(worker))) $('offline').textContent = 'A new version of this page is here; close its other tabs to open it.';
  };
}

/** Has the pairs kept that were opened, and says in the foot of the page what works without a connection. */
async function keepOpened() {
  const { kept, all } = await ask(keeper, { pairs: [...opened] });
  if (!$('renew').hidden) return;
  const names = kept.map((name) => `“${name}”`).join(', ');
  $('offline').textContent = !kept.length ? 'The page works without a connection now.'
    : kept.length === all.length ? 'The page and its pairs work without a connection now.'
      : `The page works without a connection now, with the ${kept.length === 1 ? 'pair' : 'pairs'} ${names}; any other once it has been opened.`;
}

/** A pair that comes with the page has been opened: from now on it is to need no connection either. */
export async function keepPair(name) {
  opened.add(name);
  if (keeper) await keepOpened();
}

/**
 * Has this build kept, and the pairs that were opened: called when the page is ready, so that nothing that the visitor waits for is held up. Where the browser
 * keeps nothing, or the visitor wants nothing kept, the page works as before.
 */
export async function stayUsable() {
  if (!navigator.serviceWorker) return;
  try {
    if (isRefused()) {
      // Another tab may have kept something after it was removed.
      await caches.delete(SHELF);
      $('offline').textContent = 'No copy of the page is kept, as you chose.';
      return;
    }
    const registration = await navigator.serviceWorker.register('service-worker.js', { updateViaCache: 'none' });
    const watch = async (worker) => {
      const settled = ['installed', 'activating', 'activated', 'redundant'];
      if (worker && navigator.serviceWorker.controller && await reached(worker, settled) === 'installed') offerNew(worker);
    };
    registration.addEventListener('updatefound', () => watch(registration.installing));
    watch(registration.waiting ?? registration.installing);
    const worker = registration.active ?? registration.installing ?? registration.waiting;
    if (await reached(worker, ['activated', 'redundant']) !== 'activated') return;
    keeper = worker;
    await keepOpened();
  } catch {
    // No service worker, or no room: nothing is lost but that.
  }
}

/** Whether the visitor wants no copy kept. */
export function isRefused() {
  try { return localStorage.getItem(REFUSED) !== null; } catch { return false; }
}

/** Bytes of the copy that is kept; 0 where there is none. */
export async function copySize() {
  try {
    if (!(await caches.has(SHELF))) return 0;
    const shelf = await caches.open(SHELF);
    const files = await shelf.matchAll();
    const sizes = await Promise.all(files.map(async (file) => Number(file.headers.get('content-length')) || (await file.blob()).size));
    return sizes.reduce((sum, size) => sum + size, 0);
  } catch {
    return 0;
  }
}

/** Lets go of the copy, for the visits to come as well. This page is to be loaded again then. False where the browser refuses. */
export async function removeCopy() {
  try {
    // Where nothing can be remembered, the next visit keeps a copy again.
    try { localStorage.setItem(REFUSED, ''); } catch { /* As said. */ }
    keeper = null;
    await (await navigator.serviceWorker.getRegistration())?.unregister();
    await caches.delete(SHELF);
    return true;
  } catch {
    return false;
  }
}

/** Keeps a copy again. */
export async function keepCopy() {
  localStorage.removeItem(REFUSED);
  await stayUsable();
}
