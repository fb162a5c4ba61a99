// The comparison over context: what is measured in which order, and what is made of it. No page in here.
import { chance, crossover, even, growth, number, quantile, roughly, ROLES, share, SLOPE, summarise, timedByLength, timestamped } from './sweep.js';

/** One timed batch of steps lasts about this long, so that a rounded clock and the read weigh little. */
const BATCH_MS = 60;
const MOST_STEPS = 64;
/** A prefill that takes longer than this by the length before is left out: the state is made without it. */
const LONGEST_PREFILL_MS = 20_000;
/** A prefill that took less than this is run once more: the first one compiled or fetched what it needs. */
const SHORT_MS = 4000;
/** One that takes less than this then is run so often in all, and the median counts. */
const BRIEF_MS = 500;
const PREFILLS = 3;

/** Contexts are kept from their prefill to the last round as long as they all take no more than this. */
const KEEP_BYTES = 400e6;

/** 256, 512, … 8,192, as far as the pair goes. */
export function defaultContexts(maxLength) {
  const contexts = [256, 512, 1024, 2048, 4096, 8192].filter((context) => context <= maxLength);
  return contexts.length ? contexts : [maxLength];
}

/** What a prefill will take by an earlier one: attention grows with the square of the length at worst. */
const expected = (role, length, before) => (before ? before.ms * (length / before.length) ** (role === 'linear' ? 1 : 2) : 0);

/**
 * Runs the sweep: first every context's prefill, then rounds of steps over all contexts and both models, so that a busy
 * moment of the device meets all of them and no slope comes from it. `call(method, params)` reaches the engine;
 * `report({done, total, text, points})` after each step; a raised `signal` ends it after the step under way, and the
 * rounds that are whole by then are kept. `timestamps` says that the GPU tells its own time: that comes last, and is left out where it is stopped.
 */
export async function runDecodeSweep(given) {
  const { call, signal } = given;
  const whole = { points: [] };
  try {
    await measure(given, whole);
  } catch (error) {
    if (!signal?.aborted || error !== signal.reason) {
      // Nobody waits for it: the engine may be gone, and why is what counts.
      call('release', {}).catch(() => {});
      throw error;
    }
  }
  await call('release', {});
  return whole.points;
}

/** Puts the points of all whole rounds into `whole`. */
async function measure({ call, lengths, runs, report, signal, timestamps = false }, whole) {
  const total = lengths.length * (2 * (2 + PREFILLS) + 2 * runs + (timestamps ? 2 : 0));
  let done = 0;
  const step = async (text, work) => {
    signal?.throwIfAborted();
    report({ done, total, text, points: whole.points });
    const value = await work();
    done += 1;
    return value;
  };
  const before = {};
  let kept = 0;
  const rows = [];
  for (const [at, length] of lengths.entries()) {
    const row = { length, kept: true };
    const context = `Context of ${number(length)}`;
    // What both need is built by whoever comes first: the other one at the next context.
    for (const role of at % 2 ? [...ROLES].reverse() : ROLES) {
      const one = row[role] = { times: [] };
      const name = role === 'linear' ? 'linear model' : 'transformer';
      const prefill = expected(role, length, before[role]) <= LONGEST_PREFILL_MS;
      const hold = () => call('hold', { role, length, prefill });
      one.held = await step(`${context}: ${prefill ? 'first prefill' : 'memory'} of the ${name}`, hold);
      one.first_ms = one.held.first_ms;
      const times = [];
      const again = () => prefill && (times.length ? times[0] < BRIEF_MS && times.length < PREFILLS : one.held.prefill_ms < SHORT_MS);
      while (again()) {
        one.held = await step(`${context}: prefill of the ${name}`, hold);
        times.push(one.held.prefill_ms);
      }
      done += PREFILLS - times.length;
      if (times.length) one.held.prefill_ms = quantile(times.sort((a, b) => a - b), 0.5);
      if (prefill) before[role] = { length, ms: one.held.prefill_ms };
      const warm = await step(`${context}: warming up the ${name}`, () => call('decode', { role, length, tokens: 2 }));
      // The steps of a batch lie close to the context that they stand for.
      const most = Math.max(1, Math.min(MOST_STEPS, Math.floor(length / 8)));
      one.tokens = Math.max(1, Math.min(most, Math.round(BATCH_MS / Math.max(warm, 0.01))));
      kept += one.held.state_bytes;
    }
    row.kept = kept <= KEEP_BYTES;
    if (!row.kept) {
      for (const role of ROLES) kept -= row[role].held.state_bytes;
      await call('release', { length });
    }
    rows.push(row);
  }
  for (let run = 0; run < runs; run += 1) {
    for (const row of rows) {
      const { length } = row;
      // In turn, and each goes first every other time.
      for (const role of run % 2 ? [...ROLES].reverse() : ROLES) {
        const { tokens, times } = row[role];
        times.push(await step(`Run ${run + 1} of ${runs}: context of ${number(length)}`, async () => {
          if (!row.kept) {
            await call('hold', { role, length, prefill: false });
            signal?.throwIfAborted();
          }
          return call('decode', { role, length, tokens });
        }));
      }
      if (!row.kept) await call('release', { length });
    }
    // Only now: a round that was broken off counts for none.
    whole.points = rows.flatMap((row) => pointsOf(row, run + 1));
    report({ done, total, text: `Run ${run + 1} of ${runs}`, points: whole.points });
  }
  if (!timestamps) return;
  try {
    for (const row of rows) {
      const { length } = row;
      for (const role of ROLES) {
        const one = row[role];
        one.device = await step(`Context of ${number(length)}: GPU timestamps`, async () => {
          if (!row.kept) await call('hold', { role, length, prefill: false });
          const ask = () => call('decode_device', { role, length, tokens: one.tokens });
          return { device_ms: await timestamped(ask, signal) };
        });
      }
      if (!row.kept) await call('release', { length });
    }
  } catch (error) {
    // All rounds are whole: without timestamps they still count.
    if (error.fatal || signal?.aborted) throw error;
    return;
  }
  whole.points = rows.flatMap((row) => pointsOf(row, runs));
}

/** Both models' points of a context, by their first `runs` runs. */
function pointsOf(row, runs) {
  return ROLES.map((model) => {
    const { times, tokens, held, first_ms, device } = row[model];
    const figures = summarise(times.slice(0, runs));
    return {
      length: row.length, model, ...figures, first_ms, runs, peak_bytes: held.peak_bytes, forwards: tokens,
      prefill_ms: held.prefill_ms, decode_ms_per_token: figures.median_ms, state_bytes: held.state_bytes, ...device };
  });
}

/** The result in a few sentences. */
export function decodeInWords(points) {
  const rows = timedByLength(points);
  if (!rows.length) return '';
  const cross = crossover(points);
  const [[shortest], [longest, row]] = [rows[0], rows.at(-1)];
  const holds = `holds ${share(row.transformer.state_bytes / row.linear.state_bytes, 'memory')}`;
  if (even(row)) return `At a context of ${number(longest)} tokens both models take the same time for a token; the linear model ${holds}.`;
  let words;
  if (cross === null) words = `At a context of ${number(longest)} tokens the transformer writes faster`;
  else if (cross !== shortest) words = `From a context of about ${roughly(cross)} tokens on, the linear model writes faster`;
  else words = rows.length > 1 ? `The linear model writes faster at every context from ${number(cross)} tokens on` : `At a context of ${number(cross)} tokens the linear model writes faster`;
  const time = share(row.transformer.median_ms / row.linear.median_ms, 'time for a token');
  return `${words}${cross === null ? ': the linear model' : `; at ${number(longest)} it`} takes ${time} and ${holds}.${chance(row)}`;
}

/** How both grow with the context, in a sentence; nothing for a single context. */
export function growthInWords(points) {
  const rows = timedByLength(points);
  if (rows.length < 2) return '';
  const [transformer, linear] = growth(points);
  return `From ${number(rows[0][0])} to ${number(rows.at(-1)[0])} tokens of context, one more token comes to take the transformer ${transformer}, the linear model ${linear}. `
    + `${SLOPE}: 1 is in proportion to the context, 0 not at all.`;
}
