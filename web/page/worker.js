// The one worker that owns the device. Calls come as {id, method, params} and are answered in order: {id, ok} or {id, error}; {broken} tells of what breaks in between.
import init, { Engine, exhausted } from '../caldera-web.js';
import { describe, findAdapter } from './adapter.js';
import { freeBuffers } from './buffers.js';
import { explain } from './faults.js';
import { refuseUnfit } from './fits.js';
import { mayBeBytes, openSource } from './source.js';
import { pour } from './tensors.js';
import { inTurn } from './turns.js';
import { warmUp } from './warm.js';

let engine = null;
let adapter = null;
let source = null;
/** The file of weights under way, for messages. */
let reading = null;
/** A source that was looked at and not loaded yet, with what it was opened for. */
let surveyed = null;
let listed = [];
let current = null;
let queue = Promise.resolve();

const ROLES = ['transformer', 'linear'];
const WEIGHTS = 'model.safetensors';

/** How far a stage is: `size` in bytes where it is of bytes. Not more often than a bar shows. */
function progress(text, done, total, size) {
  const now = performance.now();
  if (text === told.text && now - told.at < 40 && done < total) return;
  told = { text, at: now };
  postMessage({ id: current, progress: { text, done, total, size } });
}
let told = {};

/** Raised by the one message that is heard at once: a text under way ends after its token. */
let stopped = false;

/** Lets the worker hear its messages. A timer would be held back to 4 ms. */
const turn = () => new Promise((resolve) => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => { port1.close(); resolve(); };
  port2.postMessage(null);
});

/** Puts one model on the device: its small files whole, its weights as they arrive. `report` hears the bytes so far. */
async function loadSide(side, wanted, report) {
  const files = {};
  let done = 0;
  const own = wanted.filter(({ path }) => path.startsWith(`${side}/`));
  for (const { path } of own.filter(({ path }) => path !== `${side}/${WEIGHTS}`)) {
    files[path] = await source.bytes(path);
    report(done += files[path].length);
  }
  const weights = own.find(({ path }) => path === `${side}/${WEIGHTS}`);
  if (!weights) throw new Error(`${source.name}/${side}/${WEIGHTS}: expected it in the pair, found none. Export the pair again.`);
  const read = async () => {
    reading = `${source.name}/${weights.path}`;
    engine.begin(side, files, weights.size);
    await pour(await source.stream(weights.path), { engine, file: reading, size: weights.size, report: (bytes) => report(done + bytes) });
    const config = files[`${side}/config.json`];
    const facts = await engine.finish();
    reading = null;
    return { ...facts, config: config ? JSON.parse(new TextDecoder().decode(config)) : {} };
  };
  try {
    return await read();
  } catch (error) {
    // A copy that was kept may have gone bad: once more, from where it came.
    if (globalThis.calderaPanic || !mayBeBytes(error) || !(await source.doubt(weights.path, error))) throw error;
    return read();
  }
}

/** Opens what `from` names; pauses on the way are told as progress. */
const opened = (from, name) => openSource(from, name, (text) => progress(text, 0, 0));

const methods = {
  /** Takes WebGPU where it can be had, unless `force` is "cpu"; `asked` says where that was asked for. */
  async start({ force, why: asked }) {
    await init();
    let why = force === 'cpu' ? asked : null;
    if (!why) {
      const found = await findAdapter();
      why = found.why;
      if (found.adapter) {
        try {
          adapter = describe(found.adapter);
          engine = await Engine.start('webgpu', adapter.software);
          return { adapter, versions: Engine.versions() };
        } catch (error) {
          why = `the adapter gave no device (${error.message})`;
        }
      }
    }
    engine = await Engine.start('cpu');
    adapter = { engine: 'cpu', vendor: '', architecture: 'wasm', device: 'simd128, one thread', description: '', software: false, limits: {}, features: [], why };
    return { adapter, versions: Engine.versions() };
  },

  /** Looks at a pair without loading it: {total, missing} in bytes. Throws where it cannot be had, or cannot fit this device. */
  async survey({ from, name }) {
    const found = opened(from, name);
    await found.description();
    await refuseUnfit(found, adapter);
    surveyed = { address: from.address, found };
    return { total: found.total(), missing: await found.missing() };
  },

  /**
   * Opens a pair and loads both models: {pair, transformer, linear, times, notices}. `from` is {base} of a shipped pair, {address} of another folder or
   * {files: [{path, file}]}.
   */
  async load({ from, name }) {
    const known = from.address && surveyed?.address === from.address;
    source = known ? surveyed.found : opened(from, name);
    surveyed = null;
    const json = await source.description();
    const pair = engine.open(json, source.name) ?? { name: source.name, task: '', files: [], samples: [], labels: [] };
    listed = pair.files;
    // The pair before is gone; its memory may be needed for this one.
    await freeBuffers(true);
    const wanted = pair.files.length ? pair.files : await source.guess();
    if (source.own && !known) await refuseUnfit(source, adapter);
    const total = wanted.reduce((sum, file) => sum + file.size, 0);
    const doing = source.own && await source.missing() ? 'Downloading' : 'Reading';
    const result = { pair, times: { read_ms: 0, prepare_ms: 0 } };
    let done = 0;
    for (const side of ROLES) {
      const label = side === 'linear' ? 'linear model' : 'transformer';
      const start = performance.now();
      result[side] = await loadSide(side, wanted, (bytes) => progress(`${doing} the ${label}`, done + bytes, total, total));
      done += wanted.reduce((sum, { path, size }) => sum + (path.startsWith(`${side}/`) ? size : 0), 0);
      result.times.read_ms += performance.now() - start;
    }
    const start = performance.now();
    // So that the first answer's time is the model's and not the compiler's.
    const facts = { transformer: result.transformer, linear: result.linear };
    await warmUp(engine, adapter.engine === 'webgpu' && !adapter.software, facts, (passes, all) => progress('Preparing the kernels', passes, all));
    result.times.prepare_ms = performance.now() - start;
    result.notices = source.notices;
    return result;
  },

  /** Both answers to a text; with `once` their times do not matter. */
  answer: ({ text, second, once }) => inTurn((role) => engine.answer(role, text, second || undefined), { once }),
  /** What both hear in samples of one channel. */
  hear: ({ samples, once }) => inTurn((role) => engine.hear(role, samples), { once }),
  /** The bytes of a sample's clip. */
  async clip({ path }) {
    const file = listed.find((one) => one.path === path);
    if (!file) throw new Error(`${path}: the pair has no such file.`);
    const bytes = await source.bytes(path);
    engine.verify(path, bytes);
    return bytes;
  },
  measure: ({ role, length, forwards }) => engine.measure(role, length, forwards),
  device: ({ role, length, forwards }) => engine.device_ms(role, length, forwards),
  peak: ({ role, length }) => engine.peak_bytes(role, length),
  memory: () => engine.memory(),

  /** One model's text; its news come as progress. */
  async generate({ role, prompt, options }) {
    const id = current;
    stopped = false;
    return engine.generate(role, prompt, options, async (news) => {
      postMessage({ id, progress: news });
      await turn();
      return !stopped;
    });
  },
  hold: ({ role, length, prefill }) => engine.hold(role, length, prefill),
  decode: ({ role, length, tokens }) => engine.decode(role, length, tokens),
  decode_device: ({ role, length, tokens }) => engine.decode_device_ms(role, length, tokens),
  release: ({ length }) => engine.release(length),

  check: ({ path, files }) => engine.check_case(path, files),
  twins: () => Engine.twins(),
  twin: ({ name }) => engine.check_twin(name),
  /** Lays kernels out for "hardware" or "software" adapters, whichever this is. */
  tune: ({ adapter: kind }) => Engine.tune(kind),
};

/** Bytes that the wasm memory had no room for; none before there is an instance. */
function shortOf() {
  try { return exhausted(); } catch { return undefined; }
}

/** Answers the call under way with what went wrong. What was `uncaught` leaves an engine that nobody can vouch for. */
function fail(error, uncaught = false) {
  const explained = explain(error, {
    panic: globalThis.calderaPanic, exhausted: shortOf, reading, running: Boolean(engine) && !uncaught, gpu: adapter?.engine === 'webgpu' });
  if (current !== null) postMessage({ id: current, error: explained });
  else if (uncaught) postMessage({ broken: explained });
  current = null;
  reading = null;
}

// A panic inside a future reaches neither the caller's promise nor its catch.
addEventListener('error', (event) => {
  // The page hears of it from here, in words.
  event.preventDefault();
  fail(event.error ?? event, true);
});
addEventListener('unhandledrejection', ({ reason }) => fail(reason, Boolean(globalThis.calderaPanic) || reason instanceof WebAssembly.RuntimeError));

addEventListener('message', ({ data: { id, method, params } }) => {
  if (method === 'stop') { stopped = true; return; }
  queue = queue.then(async () => {
    current = id;
    try {
      // What broke between two calls has broken the engine too.
      if (globalThis.calderaPanic) throw new Error(globalThis.calderaPanic);
      const ok = await methods[method](params ?? {});
      await freeBuffers();
      if (current === id) postMessage({ id, ok });
    } catch (error) {
      fail(error);
    }
    current = null;
  });
});
