// Past runs: what is kept of a sweep, where, and what is taken from a file. No page in here.

const KEY = 'caldera-runs';

/** More than these are not kept: the oldest goes first. */
export const MOST = 100;

/** What a sweep was of, by what its points have; files that this page saved do not say it. */
function kindOf(points) {
  if (points.every((point) => 'state_bytes' in point)) return 'language';
  return points.every((point) => 'frames' in point) ? 'speech' : 'text';
}

const NUMBERS = ['length', 'median_ms', 'p10_ms', 'p90_ms', 'first_ms', 'runs', 'peak_bytes'];
const LARGEST = 1e15;

function checkPoint(point, i) {
  const bad = (what) => { throw new Error(`point ${i + 1}: ${what}`); };
  if (!point || typeof point !== 'object') bad('is no object');
  if (!['transformer', 'linear'].includes(point.model)) bad('“model” is neither transformer nor linear');
  for (const name of NUMBERS) {
    if (!Number.isFinite(point[name]) || point[name] < 0 || point[name] > LARGEST) bad(`“${name}” is not a number that a measurement can have`);
  }
  if (!(point.length > 0 && point.median_ms > 0)) bad('length and median are above zero in every measurement');
  if (!(point.p10_ms <= point.median_ms && point.median_ms <= point.p90_ms)) bad('the median lies outside its band');
  for (const [name, value] of Object.entries(point)) {
    if (name !== 'model' && value !== null && !Number.isFinite(value)) bad(`“${name}” is no number`);
  }
  if ('state_bytes' in point && !(point.state_bytes >= 0)) bad('“state_bytes” is no number');
}

function checkResult(result) {
  const bad = (what) => { throw new Error(what); };
  if (!result || typeof result !== 'object' || !Array.isArray(result.points)) bad('it has no list “points”');
  if (!result.points.length || result.points.length > 1000) bad('“points” has to hold between 1 and 1,000 measurements');
  result.points.forEach(checkPoint);
  for (const name of ['pair', 'browser']) if (typeof result[name] !== 'string') bad(`“${name}” is no text`);
  if (!['webgpu', 'cpu'].includes(result.adapter?.engine)) bad('“adapter” names no engine');
  // Results of older pages have neither.
  if (result.date !== undefined && Number.isNaN(new Date(result.date).getTime())) bad('“date” is no date');
  if (result.source !== undefined && !isSource(result.source)) bad('“source” says not where the pair is from');
  const seen = new Set(result.points.map(({ length, model }) => `${length} ${model}`));
  if (seen.size < result.points.length) bad('a length appears twice for one model');
  for (const { length } of result.points) {
    for (const model of ['transformer', 'linear']) if (!seen.has(`${length} ${model}`)) bad(`at ${length} the ${model} is missing`);
  }
}

/** Where a pair came from: with this page, from an address, from files of the visitor's. */
const isSource = (source) => source?.kind === 'files' || (source?.kind === 'shipped' && typeof source.name === 'string')
  || (source?.kind === 'address' && typeof source.address === 'string');

const isCount = (count) => Array.isArray(count) && count.length === 3 && count.every(Number.isFinite);
const areCounts = (counts) => Boolean(counts) && isCount(counts.transformer) && isCount(counts.linear);
const isTheory = (theory) => areCounts(theory) && (theory.memory === undefined || areCounts(theory.memory));

/** A finished sweep as it is kept: {id, date, kind, result, theory}. `theory` are the models' counts, or null; `date` is for results that have none. */
export function makeRun({ result, kind, theory = null, date: otherwise = new Date() }) {
  const date = result.date === undefined ? otherwise : new Date(result.date);
  return { id: `${date.getTime().toString(36)}-${Math.random().toString(36).slice(2, 8)}`, date: date.toISOString(), kind, result, theory };
}

function readRun(run) {
  const date = new Date(run?.date);
  if (Number.isNaN(date.getTime())) throw new Error('“date” is no date');
  checkResult(run.result);
  return { ...makeRun({ result: run.result, kind: kindOf(run.result.points), theory: isTheory(run.theory) ? run.theory : null, date }), ...(typeof run.id === 'string' ? { id: run.id } : {}) };
}

/** The runs in a file's text: one result as “Save as JSON” writes it, of the file's `date` where it says none, or an export of the archive. */
export function readFile(text, date = new Date()) {
  let json;
  try { json = JSON.parse(text); } catch { throw new Error('it is no JSON'); }
  if (json?.caldera_runs !== undefined) {
    if (!Array.isArray(json.caldera_runs)) throw new Error('“caldera_runs” is no list');
    return json.caldera_runs.map((run, i) => {
      try { return readRun(run); } catch (error) { throw new Error(`run ${i + 1}: ${error.message}`); }
    });
  }
  checkResult(json);
  return [makeRun({ result: json, kind: kindOf(json.points), date })];
}

/** An export that `readFile` takes again. */
export const writeFile = (runs) => `${JSON.stringify({ caldera_runs: runs }, null, 1)}\n`;

/**
 * The runs kept on this device. Where `storage` refuses (private windows, blocked site data, no room), `refused` says so and the
 * runs of this visit are still there.
 */
export class Archive {
  #storage;
  #runs = [];
  refused = false;

  /** `storage` gives a Storage, or throws. */
  constructor(storage = () => localStorage) {
    try {
      this.#storage = storage();
      this.#read();
    } catch {
      this.refused = true;
    }
  }

  #read() {
    if (this.refused) return;
    const text = this.#storage.getItem(KEY);
    // What was spoilt from outside is left out, not shown.
    this.#runs = (text ? parse(text) : []).flatMap((run) => { try { return [readRun(run)]; } catch { return []; } });
  }

  #write() {
    if (this.refused) return;
    try {
      if (this.#runs.length) this.#storage.setItem(KEY, JSON.stringify(this.#runs)); else this.#storage.removeItem(KEY);
    } catch {
      this.refused = true;
    }
  }

  /** The newest first. Read anew each time: another tab may have added some. */
  list() {
    try { this.#read(); } catch { this.refused = true; }
    return [...this.#runs].sort((a, b) => (a.date < b.date ? 1 : -1));
  }

  /** Adds runs; those that are there already stay once. */
  add(...runs) {
    const known = new Set(this.list().map(({ id }) => id));
    this.#runs = [...this.#runs, ...runs.filter(({ id }) => !known.has(id))].sort((a, b) => (a.date < b.date ? -1 : 1)).slice(-MOST);
    this.#write();
  }

  remove(id) {
    this.list();
    this.#runs = this.#runs.filter((run) => run.id !== id);
    this.#write();
  }

  clear() {
    this.#runs = [];
    this.#write();
  }
}

function parse(text) {
  try {
    const runs = JSON.parse(text);
    return Array.isArray(runs) ? runs : [];
  } catch {
    return [];
  }
}
