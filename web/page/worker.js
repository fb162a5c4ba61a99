// The one worker that owns the device. Calls come as {id, method, params} and are answered in order: {id, ok} or {id, error}.
import init, { Engine } from '../caldera-web.js';
import { openSource } from './source.js';

let engine = null;
let source = null;
let listed = [];
let current = null;
let queue = Promise.resolve();

const progress = (text, done, total) => postMessage({ id: current, progress: { text, done, total } });

/** Why WebGPU cannot be used, or the adapter that can. */
async function findAdapter() {
  if (!isSecureContext) return { why: 'WebGPU needs https or localhost, and this page came over plain http' };
  if (!navigator.gpu) return { why: 'this browser has no WebGPU, or it is switched off' };
  try {
    const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
    return adapter ? { adapter } : { why: 'this browser has WebGPU but found no adapter for it' };
  } catch (error) {
    return { why: `asking for an adapter failed (${error.message})` };
  }
}

const LIMITS = ['maxBufferSize', 'maxStorageBufferBindingSize', 'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupStorageSize', 'maxComputeWorkgroupsPerDimension', 'maxStorageBuffersPerShaderStage'];

function describe(adapter) {
  const info = adapter.info ?? {};
  const words = [info.vendor, info.architecture, info.device, info.description].filter(Boolean);
  return {
    engine: 'webgpu',
    vendor: info.vendor ?? '', architecture: info.architecture ?? '', device: info.device ?? '', description: info.description ?? '',
    // The flag is young, so the two software adapters in use are known by name as well.
    software: Boolean(info.isFallbackAdapter ?? adapter.isFallbackAdapter)
      || words.some((word) => /swiftshader|llvmpipe|lavapipe|basic render/i.test(word)),
    limits: Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]])),
    features: [...adapter.features].sort(),
  };
}

const warmUp = {
  text: (side, { max_length: most }) => engine.measure(side, Math.min(64, most), 1),
  async language(side, { max_length: most }) {
    const length = Math.min(64, most ?? 64);
    await engine.hold(side, length, true);
    await engine.decode(side, length, 2);
    engine.release();
  },
  speech: (side, { max_seconds: most }) => engine.measure(side, Math.min(2, Math.floor(most)), 1),
};

/** Both models' answers by `ask(role)`. Short ones are given several times, in turn, and their time is the median of those. */
async function inTurn(ask) {
  const roles = ['transformer', 'linear'];
  const answers = {};
  const times = { transformer: [], linear: [] };
  let passes = 1;
  for (let pass = 0; pass < passes; pass += 1) {
    for (const role of roles) {
      answers[role] = await ask(role);
      times[role].push(answers[role].ms);
    }
    if (pass === 0 && roles.every((role) => answers[role].ms < 100)) passes = 5;
  }
  for (const role of roles) {
    answers[role].ms = times[role].sort((a, b) => a - b)[passes >> 1];
    answers[role].passes = passes;
  }
  return answers;
}

/** Raised by the one message that is heard at once: a text under way ends after its token. */
let stopped = false;

/** Lets the worker hear its messages. A timer would be held back to 4 ms. */
const turn = () => new Promise((resolve) => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => { port1.close(); resolve(); };
  port2.postMessage(null);
});

const methods = {
  /** Takes WebGPU where it can be had, unless `force` is "cpu". */
  async start({ force }) {
    await init();
    let why = force === 'cpu' ? 'asked for in the address' : null;
    if (!why) {
      const found = await findAdapter();
      why = found.why;
      if (found.adapter) {
        try {
          engine = await Engine.start('webgpu');
          return { adapter: describe(found.adapter), versions: Engine.versions() };
        } catch (error) {
          why = `the adapter gave no device (${error.message})`;
        }
      }
    }
    engine = await Engine.start('cpu');
    return {
      adapter: { engine: 'cpu', vendor: '', architecture: 'wasm', device: 'simd128, one thread', description: '', software: false, limits: {}, features: [], why },
      versions: Engine.versions(),
    };
  },

  /** Opens a pair and loads both models: {pair, transformer, linear, times}. `from` is {base} or {files: [{path, file}]}. */
  async load({ from, name }) {
    source = openSource(from, name);
    const json = await source.description();
    const pair = engine.open(json, source.name) ?? { name: source.name, task: '', files: [], samples: [], labels: [] };
    listed = pair.files;
    const wanted = pair.files.length ? pair.files : await source.guess();
    const total = wanted.reduce((sum, file) => sum + file.size, 0);
    if (total > 3e9) throw new Error(`The pair holds ${(total / 1e9).toFixed(1)} GB; this page can take up to 3 GB.`);
    const result = { pair, times: { read_ms: 0, prepare_ms: 0 } };
    let done = 0;
    for (const side of ['transformer', 'linear']) {
      const label = side === 'linear' ? 'linear model' : 'transformer';
      const files = {};
      let start = performance.now();
      for (const file of wanted.filter((file) => file.path.startsWith(`${side}/`))) {
        files[file.path] = await source.read(file.path, file.size, (bytes) => progress(`Reading the ${label}`, done + bytes, total));
        done += files[file.path].length;
      }
      result.times.read_ms += performance.now() - start;
      progress(`Preparing the ${label}`, done, total);
      start = performance.now();
      result[side] = await engine.load(side, files);
      result.times.prepare_ms += performance.now() - start;
    }
    progress('Warming up', total, total);
    const start = performance.now();
    // So that the first answer's time is the model's and not the compiler's.
    for (const side of ['transformer', 'linear']) await warmUp[result[side].kind](side, result[side]);
    result.times.prepare_ms += performance.now() - start;
    return result;
  },

  /** Both answers to a text. */
  answer: ({ text, second }) => inTurn((role) => engine.answer(role, text, second || undefined)),
  /** What both hear in samples of one channel. */
  hear: ({ samples }) => inTurn((role) => engine.hear(role, samples)),
  /** The bytes of a sample's clip. */
  async clip({ path }) {
    const file = listed.find((one) => one.path === path);
    if (!file) throw new Error(`${path}: the pair has no such file.`);
    const bytes = await source.read(path, file.size, () => {});
    engine.verify(path, bytes);
    return bytes;
  },
  measure: ({ role, length, forwards }) => engine.measure(role, length, forwards),
  peak: ({ role, length }) => engine.peak_bytes(role, length),

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
  release: ({ length }) => engine.release(length),

  check: ({ path, files }) => engine.check_case(path, files),
};

/** What went wrong, in words; a panic ends the wasm instance, so its worker is of no use afterwards. */
function explain(error) {
  const panic = globalThis.calderaPanic;
  if (panic) return { message: `The engine stopped: ${panic}`, fatal: true };
  if (error instanceof WebAssembly.RuntimeError) {
    return { message: `The engine stopped (${error.message}); most likely the memory of this tab is used up`, fatal: true };
  }
  const message = error?.message ?? String(error);
  if (/device (is |was )?(lost|poisoned)|poisoned/i.test(message)) {
    console.warn(message);
    return { message: 'The GPU was lost, as happens when its driver restarts, the computer sleeps or its memory runs out', fatal: true };
  }
  // Without a started engine there is none to go on with.
  return { message, fatal: !engine };
}

function fail(error) {
  if (current !== null) postMessage({ id: current, error: explain(error) });
  current = null;
}

// A panic inside a future reaches neither the caller's promise nor its catch.
addEventListener('error', (event) => fail(event.error ?? event));
addEventListener('unhandledrejection', (event) => fail(event.reason));

addEventListener('message', ({ data: { id, method, params } }) => {
  if (method === 'stop') { stopped = true; return; }
  queue = queue.then(async () => {
    current = id;
    try {
      const ok = await methods[method](params ?? {});
      if (current === id) postMessage({ id, ok });
    } catch (error) {
      fail(error);
    }
    current = null;
  });
});
