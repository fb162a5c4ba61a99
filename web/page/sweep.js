// The comparison over length: what is measured in which order, and what is made of it. No page in here.

export const ROLES = ['transformer', 'linear'];

/** One timed batch lasts about this long, so that a rounded clock and the read weigh little. */
const BATCH_MS = 40;
const MOST_FORWARDS = 64;

/** What lengths are given in: words for one, the least, and what a pair has no more of. */
export const TOKENS = { unit: 'tokens', least: 2, most: 'tokens that this pair has positions for' };

/** "64, 128 256" → {lengths: [64, 128, 256], refused: [sentences]}. Sorted, each once. */
export function parseLengths(text, maxLength, { least, most } = TOKENS) {
  const refused = [];
  const lengths = new Set();
  for (const word of text.split(/[\s,;]+/).filter(Boolean)) {
    const length = Number(word);
    if (!Number.isInteger(length) || length < least) refused.push(`“${word}” is not a length: a whole number from ${least} is.`);
    else if (length > maxLength) refused.push(`${number(length)} is longer than the ${number(maxLength)} ${most}; it is left out.`);
    else lengths.add(length);
  }
  return { lengths: [...lengths].sort((a, b) => a - b), refused };
}

/** 64, 128, … up to what the pair takes. */
export function defaultLengths(maxLength) {
  const lengths = [];
  for (let length = 64; length <= Math.min(maxLength, 8192); length *= 2) lengths.push(length);
  return lengths.length ? lengths : [maxLength];
}

/** Value below which a share `q` of the sorted values lies, straight between neighbours. */
export function quantile(sorted, q) {
  const at = (sorted.length - 1) * q;
  const low = Math.floor(at);
  return sorted[low] + (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]) * (at - low);
}

export function summarise(times) {
  const sorted = [...times].sort((a, b) => a - b);
  return { median_ms: quantile(sorted, 0.5), p10_ms: quantile(sorted, 0.1), p90_ms: quantile(sorted, 0.9) };
}

/** How many forwards share one read, where one takes `ms`. */
const batch = (ms) => Math.max(1, Math.min(MOST_FORWARDS, Math.round(BATCH_MS / Math.max(ms, 0.01))));

/** Batches that the GPU's own timestamps are taken of. */
const TIMESTAMPED = 3;

/** The median of what `ask` gives of the GPU's own timestamps, null where it gave none. */
export async function timestamped(ask, signal) {
  const all = [];
  for (let i = 0; i < TIMESTAMPED; i += 1) {
    signal?.throwIfAborted();
    all.push(await ask());
  }
  const values = all.filter(Number.isFinite).sort((a, b) => a - b);
  return values.length ? quantile(values, 0.5) : null;
}

/**
 * Runs the sweep. `call(method, params)` reaches the engine; `report({done, total, text, points})` after each step;
 * a raised `signal` ends it after the pass under way, and what is whole by then is kept. `timestamps` says that the GPU tells
 * its own time, `unit` is for what is said meanwhile, and `more(length)` gives further columns of a point.
 */
export async function runSweep({ call, lengths, runs, report, signal, timestamps = false, unit = TOKENS.unit, more = () => ({}) }) {
  const points = [];
  const total = lengths.length * 2 * (4 + runs + (timestamps ? 1 : 0));
  let done = 0;
  const step = async (text, work) => {
    signal?.throwIfAborted();
    report({ done, total, text, points });
    const value = await work();
    done += 1;
    return value;
  };
  const name = (role) => (role === 'linear' ? 'linear model' : 'transformer');
  /** Measures one length into `of`, where what there is stays when it is broken off. */
  const measure = async (length, of, order) => {
    for (const role of order) {
      const one = of[role];
      one.first_ms = await step(`${length} ${unit}: first run of the ${name(role)}`, () => call('measure', { role, length, forwards: 1, once: true }));
      one.peak_bytes = await step(`${length} ${unit}: memory of the ${name(role)}`, () => call('peak', { role, length }));
      // Twice: the first says how many share a read, but the read itself weighs in it where a pass is short.
      one.forwards = 1;
      for (let warm = 0; warm < 2; warm += 1) {
        const { forwards } = one;
        one.forwards = batch(await step(`${length} ${unit}: warming up the ${name(role)}`, () => call('measure', { role, length, forwards })));
      }
    }
    for (let run = 0; run < runs; run += 1) {
      // In turn, and each goes first every other time.
      for (const role of run % 2 ? [...order].reverse() : order) {
        const { forwards } = of[role];
        of[role].times.push(await step(`${length} ${unit}: run ${run + 1} of ${runs}`, () => call('measure', { role, length, forwards })));
      }
    }
    for (const role of timestamps ? order : []) {
      const { forwards } = of[role];
      const ask = () => call('device', { role, length, forwards });
      of[role].device = { device_ms: await step(`${length} ${unit}: GPU timestamps of the ${name(role)}`, () => timestamped(ask, signal)) };
    }
  };
  for (const [at, length] of lengths.entries()) {
    const of = Object.fromEntries(ROLES.map((role) => [role, { length, model: role, times: [], device: {} }]));
    try {
      // What both need is built by whoever comes first: the other one at the next length.
      await measure(length, of, at % 2 ? [...ROLES].reverse() : ROLES);
    } catch (error) {
      if (!signal?.aborted || error !== signal.reason) throw error;
    }
    if (ROLES.some((role) => !of[role].times.length)) break;
    for (const role of ROLES) {
      const { model, times, first_ms, forwards, peak_bytes, device } = of[role];
      points.push({ length, model, ...summarise(times), first_ms, runs: times.length, peak_bytes, forwards, ...device, ...more(length) });
    }
    report({ done, total, text: `${length} ${unit} done`, points });
  }
  return points;
}

/** [[length, {transformer, linear}], …] of the lengths that both have, in order. */
export const byLength = (points) => {
  const table = new Map();
  for (const point of points) table.set(point.length, { ...table.get(point.length), [point.model]: point });
  return [...table].filter(([, row]) => row.transformer && row.linear).sort(([a], [b]) => a - b);
};

/** The same, of the lengths where the browser's clock told both times: what sentences can be made of. */
export const timedByLength = (points) => byLength(points).filter(([, row]) => ROLES.every((role) => row[role].median_ms > 0));

/**
 * The length from which on the linear model is faster at every greater measured length: the first measured one where it
 * always is, else read off between two measured lengths on logarithmic axes; null where it is not faster at the longest, or
 * only by as little as is called the same time.
 */
export function crossover(points) {
  const rows = timedByLength(points);
  let from = rows.length;
  while (from > 0 && rows[from - 1][1].linear.median_ms < rows[from - 1][1].transformer.median_ms) from -= 1;
  if (from === rows.length || even(rows.at(-1)[1])) return null;
  if (from === 0) return rows[0][0];
  const gap = ([, row]) => Math.log(row.linear.median_ms / row.transformer.median_ms);
  const [before, after] = [gap(rows[from - 1]), gap(rows[from])];
  const share = before / (before - after);
  const [low, high] = [Math.log(rows[from - 1][0]), Math.log(rows[from][0])];
  const length = Math.exp(low + (high - low) * share);
  return length < 10 ? Number(length.toPrecision(2)) : Math.round(length);
}

export const number = (value) => value.toLocaleString('en-US');

/** How much of `what` the linear model takes where the transformer takes `value` times as much. */
export function share(value, what) {
  const plain = (factor) => (factor >= 9.5 ? Math.round(factor) : factor.toFixed(1).replace(/\.0$/, ''));
  if (Math.abs(Math.log(value)) < 0.03) return `the same ${what}`;
  if (value < 0.95) return `${plain(1 / value)} times the ${what}`;
  return value < 1.95 ? `${Math.round(100 / value)} % of the ${what}` : `1/${plain(value)} of the ${what}`;
}

/** A word of caution where the two cannot be told apart. */
export function chance(row) {
  const within = (one, other) => one.median_ms >= other.p10_ms && one.median_ms <= other.p90_ms;
  return within(row.linear, row.transformer) || within(row.transformer, row.linear)
    ? ' One median lies in the other’s band there, so the difference in time may be chance.' : '';
}

/** How a model's time grows with the length: the slope of the straight line through the medians on logarithmic axes. */
export function slope(points, role) {
  const all = points.filter(({ model, median_ms }) => model === role && median_ms > 0).map(({ length, median_ms }) => [Math.log(length), Math.log(median_ms)]);
  if (all.length < 2) return null;
  const mean = (at) => all.reduce((sum, one) => sum + one[at], 0) / all.length;
  const [x, y] = [mean(0), mean(1)];
  return all.reduce((sum, one) => sum + (one[0] - x) * (one[1] - y), 0) / all.reduce((sum, one) => sum + (one[0] - x) ** 2, 0);
}

/** "90 times the time (slope 1.08)" of both models, from the shortest to the longest of `points`. */
export function growth(points) {
  const rows = timedByLength(points);
  const [[, short], [, long]] = [rows[0], rows.at(-1)];
  return ROLES.map((role) => {
    const grown = long[role].median_ms / short[role].median_ms;
    // A typographic minus, and none before a zero.
    const steep = slope(points, role).toFixed(2).replace(/^-0\.00$/, '0.00').replace('-', '−');
    return `${grown >= 9.95 ? Math.round(grown) : grown.toFixed(1)} times the time (slope ${steep})`;
  });
}

/** What a slope is. */
export const SLOPE = 'The slope is that of the straight line through the medians on logarithmic axes';

/** Whether the linear model takes as long as the transformer, to what words can tell. */
export const even = ({ transformer, linear }) => Math.abs(Math.log(transformer.median_ms / linear.median_ms)) < 0.03;

/** A crossover in words: it is read off a line, and no more exact than this. */
export const roughly = (length) => number(Number(length.toPrecision(2)));

/** The result in a sentence or two. */
export function inWords(points, unit = TOKENS.unit) {
  const rows = timedByLength(points);
  if (!rows.length) return '';
  const cross = crossover(points);
  const [longest, row] = rows.at(-1);
  const [first] = rows[0];
  const memory = row.transformer.peak_bytes / row.linear.peak_bytes;
  const room = Number.isFinite(memory) && memory > 0 ? share(memory, 'working memory') : '';
  const there = `${number(longest)}${unit === 's' ? ' s' : ''}`;
  if (even(row)) {
    const words = `At ${number(longest)} ${unit} both models take the same time${rows.length > 1 ? ': the conversion does not pay in time up to there' : ''}.`;
    return room ? `${words} The linear model takes ${room}.` : words;
  }
  const ahead = rows.some(([, { transformer, linear }]) => linear.median_ms < transformer.median_ms);
  let words;
  if (cross === null && rows.length === 1) words = `At ${number(longest)} ${unit} the transformer is faster.`;
  else if (cross === null) words = `${ahead ? `At ${number(longest)}` : `Up to ${number(longest)}`} ${unit} the transformer is faster: the conversion does not pay for itself here.`;
  else if (cross !== first) words = `From about ${roughly(cross)} ${unit} on, the linear model is faster.`;
  else words = rows.length > 1 ? `The linear model is faster at every length from ${number(cross)} ${unit} on.` : `At ${number(cross)} ${unit} the linear model is faster.`;
  const time = share(row.transformer.median_ms / row.linear.median_ms, 'time');
  return `${words} At ${there} ${cross === null ? 'the linear model' : 'it'} takes ${time}${room ? ` and ${room}` : ''}.${chance(row)}`;
}

/** The JSON to export. `more` says when, of what and how it was measured: `date`, `source` of the pair, `prepare_ms` of its kernels, `runs_asked`. */
export function toResult({ adapter, browser, versions, pair, points, ...more }) {
  return { adapter, browser, versions, pair, ...more, points, crossover_length: crossover(points) };
}

/** A line a point; a sweep may have columns of its own behind the common ones. */
export function toCsv(result) {
  const common = ['length', 'model', 'median_ms', 'p10_ms', 'p90_ms', 'first_ms', 'runs', 'peak_bytes'];
  const columns = [...new Set([...common, ...Object.keys(result.points[0] ?? {})])];
  return [columns.join(','), ...result.points.map((point) => columns.map((column) => point[column] ?? '').join(','))].join('\n') + '\n';
}
