// One file over the network, taken up again where a connection broke.

/** Waits before another try, in ms; the count begins anew whenever bytes have come. */
const PAUSES = [500, 1000, 2000, 4000];

/** A connection that gives no byte for so long is taken for broken, in ms: many hang without ever ending. */
const STALL = 30_000;

/** A failure on the way here, told in full: nothing is to be added to its message. */
export class DownloadError extends Error {
  /** `resumable` where another try goes on behind the bytes that came. */
  constructor(message, { resumable = false } = {}) { super(message); this.action = resumable ? 'Go on' : undefined; }
}

/** The file is no longer the one whose first bytes were taken: what came is of no use. */
export class Changed extends Error {}

/** What a promise gives; where it takes longer than `ms`, its request is ended, which makes it fail. */
async function patiently(promise, ms, request) {
  const timer = setTimeout(() => request.abort(), ms);
  try { return await promise; } finally { clearTimeout(timer); }
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** What tells one version of a file from another, as far as the server says it; scripts may always read the date. */
export const versionOf = (headers) => headers.get('etag') ?? headers.get('last-modified') ?? '';

/** A page behind an address that does not exist is often answered with HTML and status 200. */
const isPage = (response) => (response.headers.get('content-type') ?? '').startsWith('text/html');

/** Words for a fetch that gave no response; scripts are not told why. */
export function unreachable(address, file) {
  if (globalThis.navigator?.onLine === false) return `${file}: this device is not connected to a network. Connect it and try again.`;
  const { origin, host } = new URL(address);
  if (origin === globalThis.location?.origin) return `${file}: could not be fetched; check the connection and try again.`;
  return `${file}: ${host} gave no answer that this page may read. Either it cannot be reached, or it does not let other sites read its files (CORS). `
    + 'Check the address and the connection; if they are right, download the pair’s folder and choose it here.';
}

/** Whether another try may help. */
const passing = (status) => status === 408 || status === 429 || status >= 500;

function refusal(response, file) {
  const { status } = response;
  if (passing(status)) return `${file}: the server cannot give it now (${status}); try again in a while.`;
  if (status === 401 || status === 403) return `${file}: the server lets nobody read it without signing in (${status}); a private pair can be downloaded and its folder chosen here.`;
  return `${file}: the server has no such file (${isPage(response) && response.ok ? 'it sent a web page' : status}).`;
}

/**
 * Bytes `start` to `end` of a file (to its end without one), or null where the server does not give parts.
 * Nothing is tried twice: who asks for a part can do without.
 */
export async function part(address, { start, end, cache }) {
  let response;
  try {
    response = await fetch(address, { headers: { range: `bytes=${start}-${end - 1}` }, cache, signal: AbortSignal.timeout(STALL) });
  } catch {
    return null;
  }
  if (response.status !== 206) {
    await response.body?.cancel();
    return null;
  }
  try {
    return new Uint8Array(await response.arrayBuffer());
  } catch {
    return null;
  }
}

/** A whole small file in one try, which has as long as a stalled connection. Throws a DownloadError. */
export async function whole(address, file, cache) {
  let response;
  try {
    response = await fetch(address, { cache, signal: AbortSignal.timeout(STALL) });
    if (response.ok && !isPage(response)) return new Uint8Array(await response.arrayBuffer());
  } catch {
    throw new DownloadError(unreachable(address, file));
  }
  throw Object.assign(new DownloadError(refusal(response, file)), { status: response.status, passing: passing(response.status) });
}

/**
 * The bytes of a file of `size` bytes from byte `start` on, in pieces, as an async generator. A connection that breaks is taken up again, with a `Range`
 * request behind the last byte; a server that knows no ranges sends the file anew, and what came already is passed over.
 *
 * `version` is that of the bytes before `start`; `begun(version)` hears the version of those that come. A file that is no longer the same throws
 * `Changed`. Versions are compared here instead of being sent as `If-Range`: that header makes browsers ask the other site for leave first, which few hosts give.
 * A connection that is silent for `stall` ms is given up. `waiting(ms)` hears of every pause. A file that ends early or late is given as it comes: who knows its sum refuses it.
 */
export async function* download(address, { file, size, start = 0, version = '', cache, begun = () => {}, waiting = () => {}, pauses = PAUSES, stall = STALL }) {
  let at = start;
  let tries = 0;
  for (;;) {
    let broken = 'the connection broke';
    let answered = false;
    let reader = null;
    const before = at;
    const request = new AbortController();
    try {
      // Without a range at the start: the browser's own cache then has a say.
      const asked = fetch(address, { cache, signal: request.signal, ...(at > 0 && { headers: { range: `bytes=${at}-` } }) });
      const response = await patiently(asked, stall, request);
      if (response.status === 416) throw new Changed(`${file}: it has become shorter; load it again.`);
      if (passing(response.status)) {
        broken = `the server answered ${response.status}`;
        answered = true;
        await response.body?.cancel();
      } else {
        if (!response.ok || isPage(response)) throw new DownloadError(refusal(response, file));
        const now = versionOf(response.headers);
        if (at > 0 && version && now && now !== version) throw new Changed(`${file}: it has changed since its first part came; load it again.`);
        if (now) begun(version = now);
        reader = response.body.getReader();
        let skip = response.status === 206 ? 0 : at;
        for (;;) {
          const { done, value } = await patiently(reader.read(), stall, request);
          if (done) break;
          if (skip >= value.length) { skip -= value.length; continue; }
          const piece = skip ? value.subarray(skip) : value;
          skip = 0;
          at += piece.length;
          tries = 0;
          yield piece;
        }
        // All that this answer promised has come. A server may give a range in portions, as long as there is something in them.
        if (at >= size || response.status !== 206 || at === before) return;
        continue;
      }
    } catch (error) {
      if (error instanceof DownloadError || error instanceof Changed) throw error;
      if (request.signal.aborted) broken = `nothing came for ${stall / 1000} s`;
    } finally {
      // Also where the reader of this generator has had enough.
      reader?.cancel().catch(() => {});
    }
    if (tries === pauses.length) {
      if (!at && !answered) throw new DownloadError(unreachable(address, file));
      const came = at ? ` after ${at.toLocaleString('en-US')} of ${size.toLocaleString('en-US')} bytes` : '';
      throw new DownloadError(`${file}: ${broken}${came}, and ${pauses.length} more tries did not help. Check the connection, then go on.`, { resumable: at > 0 });
    }
    const wait = pauses[tries];
    tries += 1;
    waiting(wait, at);
    await pause(wait);
  }
}
