// Another site that holds a pair, on an origin of its own: counts what is asked of it, and fails as hosts and connections do.
import { createHash } from 'node:crypto';
import http from 'node:http';

/**
 * Serves `files` (bytes by path) below /pair/. What comes back can be changed under way: `cors` and `ranges` say whether it allows other sites and parts of files,
 * `breaks` after how many bytes of an answer to a path its connection ends (a list: one answer each), `types` and `down` answer with another type or status.
 * `log` holds every request: {method, path, range, status, sent}.
 */
export async function elsewhere(files) {
  const site = { files, cors: true, ranges: true, breaks: {}, types: {}, down: {}, log: [] };
  const server = http.createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname).replace(/^\/pair\//, '');
    const entry = { method: request.method, path, range: request.headers.range ?? null, status: 0, sent: 0 };
    site.log.push(entry);
    const answer = (status, headers, body) => {
      entry.status = status;
      const breakAfter = status < 300 && request.method === 'GET' ? site.breaks[path]?.shift() : undefined;
      response.writeHead(status, { ...(site.cors && { 'access-control-allow-origin': '*', 'access-control-expose-headers': 'etag' }), ...headers, 'content-length': body.length });
      entry.sent = Math.min(breakAfter ?? body.length, body.length);
      if (breakAfter === undefined || breakAfter >= body.length) { response.end(body); return; }
      // What was written arrives before the connection ends.
      response.write(body.subarray(0, breakAfter), () => setTimeout(() => response.destroy(), 50));
    };
    const bytes = site.files[path];
    if (site.down[path]) { answer(site.down[path], { 'content-type': 'text/plain' }, Buffer.from('not now')); return; }
    if (!bytes) { answer(404, { 'content-type': 'text/plain' }, Buffer.from('no such file')); return; }
    const headers = { 'content-type': site.types[path] ?? 'application/octet-stream', etag: `"${createHash('sha1').update(bytes).digest('hex').slice(0, 12)}"`, 'cache-control': 'no-cache' };
    const wanted = site.ranges && /^bytes=(\d+)-(\d*)$/.exec(entry.range ?? '');
    if (!wanted) { answer(200, headers, bytes); return; }
    const [from, to] = [Number(wanted[1]), wanted[2] ? Math.min(Number(wanted[2]) + 1, bytes.length) : bytes.length];
    if (from >= bytes.length) { answer(416, { 'content-range': `bytes */${bytes.length}` }, Buffer.alloc(0)); return; }
    answer(206, { ...headers, 'content-range': `bytes ${from}-${to - 1}/${bytes.length}` }, bytes.subarray(from, to));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  server.unref();
  const origin = `http://localhost:${server.address().port}`;
  return Object.assign(site, {
    origin, address: `${origin}/pair/`,
    /** Requests of a path, headers of weights left out. */
    asked: (path) => site.log.filter((one) => one.path === path && !(/model\.safetensors$/.test(path) && isHeader(one))),
    close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); }),
  });
}

/** The two small reads that come before a download: eight bytes, and what they give the length of. */
const isHeader = ({ range }) => /^bytes=(0-7|8-\d+)$/.test(range ?? '');
