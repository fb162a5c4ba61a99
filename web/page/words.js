// Numbers and facts in words. A number and its unit stay on one line (\u00a0).
export { number } from './sweep.js';

/** 0.004 → "4 µs", 12.3 → "12.3 ms", 4200 → "4.2 s". Browsers round their clock to 0.1 ms and more, so nothing is 0. */
export function time(ms) {
  if (ms === 0) return 'too short to time';
  if (ms < 0.0995) return `${Number((ms * 1000).toPrecision(2))}\u00a0µs`;
  if (ms < 999.5) return `${ms >= 100 ? Math.round(ms) : Number(ms.toPrecision(3))}\u00a0ms`;
  return `${Number((ms / 1000).toPrecision(3))}\u00a0s`;
}

/** Decimal units, as file managers give them. */
export function bytes(count) {
  const units = ['B', 'kB', 'MB', 'GB'];
  let at = 0;
  while (count >= 999.5 && at < units.length - 1) { count /= 1000; at += 1; }
  return `${count >= 100 || at === 0 ? Math.round(count) : Number(count.toPrecision(2))}\u00a0${units[at]}`;
}

export const percent = (share) => `${(100 * share).toFixed(share > 0.9995 || share < 0.0005 ? 0 : 1)}\u00a0%`;

export function adapterLine(adapter) {
  if (adapter.engine === 'cpu') {
    return `CPU engine (WebAssembly with simd128, one thread), without WebGPU: ${adapter.why}.`;
  }
  const name = [adapter.vendor, adapter.architecture, adapter.device].filter(Boolean).join(' ') || 'unnamed adapter';
  const extra = adapter.description && !name.includes(adapter.description) ? `, ${adapter.description}` : '';
  const software = adapter.software ? ' A software adapter: its figures say nothing about a GPU.' : '';
  return `WebGPU on ${name}${extra}.${software}`;
}

/** The same for a run: what it was measured on, in a few words. */
export function engineLine({ engine, vendor, architecture, device, description, software }) {
  if (engine === 'cpu') return 'CPU engine, one thread';
  return `WebGPU on ${[vendor, architecture, device].filter(Boolean).join(' ') || description || 'unnamed adapter'}${software ? ' (software adapter)' : ''}`;
}

/** "23 Nov 2026, 14:05", in the visitor's time zone. */
export const moment = (date) => new Date(date).toLocaleString('en-GB', { day: 'numeric', month: 'short', year: 'numeric', hour: '2-digit', minute: '2-digit' });

/** Name and version of the browser, as far as it tells. */
export function browser() {
  const brands = navigator.userAgentData?.brands?.filter(({ brand }) => !/not.?a.?brand/i.test(brand)) ?? [];
  const named = brands.find(({ brand }) => brand !== 'Chromium') ?? brands[0];
  if (named) return `${named.brand} ${named.version}`;
  const agent = navigator.userAgent;
  const found = /(Firefox|Edg|OPR|Chrome)\/([\d.]+)/.exec(agent) ?? /Version\/([\d.]+).*(Safari)/.exec(agent);
  if (!found) return agent;
  return found[2] === 'Safari' ? `Safari ${found[1]}` : `${found[1]} ${found[2]}`;
}

const FAMILIES = { roberta: 'RoBERTa', gpt_neox: 'GPT-NeoX', mamba: 'Mamba', wav2vec2: 'Wav2Vec2' };
const MIXERS = { softmax: 'softmax attention', linformer: 'Linformer', mamba: 'Mamba', bimamba2: 'bidirectional Mamba-2' };

/** One or two sentences about a model for its card. */
export function modelLine({ family, mixer, k, d_state: states, layers, hidden_size, parameters, weight_bytes }) {
  const size = parameters >= 1e6 ? `${(parameters / 1e6).toFixed(1)}\u00a0M` : number3(parameters);
  const kind = `${MIXERS[mixer] ?? mixer}${k ? `, k = ${k}` : ''}${states ? `, ${states} states` : ''}`;
  return `${FAMILIES[family] ?? family.toUpperCase()} · ${kind} · ${layers}\u00a0×\u00a0${hidden_size} · ${size} parameters · ${bytes(weight_bytes)}`;
}

const number3 = (value) => (value >= 1000 ? `${Math.round(value / 1000)}\u00a0k` : String(value));
