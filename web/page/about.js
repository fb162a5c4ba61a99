// What stands above both models' results: the pair's facts and its samples.
import { bytes, percent } from './words.js';

const $ = (id) => document.getElementById(id);

export function element(name, className, ...children) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

const METRICS = { wer: 'word error rate', cer: 'character error rate' };

const SHARES = new Set(['accuracy', 'agreement', 'cer', 'wer']);

const scores = (table = {}) => Object.entries(table)
  .filter(([name]) => name !== 'examples')
  .map(([name, value]) => `${METRICS[name] ?? name.replaceAll('_', ' ')} ${SHARES.has(name) && value <= 1 ? percent(value) : Number(value.toPrecision(4))}`).join(', ');

/** One paragraph about the loaded pair: what it does, how well, from what. */
export function showPair({ pair, name }) {
  const about = [];
  if (pair.description) about.push(pair.description);
  const [teacher, student] = [scores(pair.scores?.teacher), scores(pair.scores?.student)];
  const examples = pair.scores?.teacher?.examples;
  if (teacher && student) about.push(`On ${examples ? `${examples} held-out examples` : 'held-out data'}: transformer ${teacher}; linear model ${student}.`);
  const data = pair.data?.name ? `Data: ${pair.data.name}${pair.data.licence ? ` (${pair.data.licence})` : ''}.` : '';
  if (data) about.push(data);
  if (pair.licence) about.push(`Weights: ${pair.licence}.`);
  const size = (pair.files ?? []).reduce((sum, file) => sum + file.size, 0);
  if (size) about.push(`${bytes(size)}.`);
  if (!about.length) about.push(`“${name}” has no pair.json: its files were taken as they are, unchecked.`);
  $('pair-about').textContent = about.join(' ');
}

/** A button for each sample in `container`. */
export function showSamples(container, samples = [], choose) {
  container.replaceChildren(...samples.slice(0, 6).map((sample, i) => {
    const words = sample.text.trim().split(/\s+/);
    const short = words.slice(0, 4).join(' ');
    const button = element('button', 'chip', samples.length && words.length > 40 ? `Sample ${i + 1} · ${words.length} words` : `${short}${words.length > 4 ? '…' : ''}`);
    button.type = 'button';
    button.title = sample.text.slice(0, 200);
    button.addEventListener('click', () => choose(sample));
    return button;
  }));
}
