// What stands above both models' results: the pair's facts and its samples.
import { bytes } from './words.js';

const $ = (id) => document.getElementById(id);

export function element(name, className, ...children) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

/** What the loaded pair does, in a sentence, and from what it was made, to unfold. */
export function showPair({ pair, name }) {
  const about = [];
  if (pair.data?.name) about.push(`Data: ${pair.data.name}${pair.data.licence ? ` (${pair.data.licence})` : ''}.`);
  if (pair.licence) about.push(`Weights: ${pair.licence}.`);
  const size = (pair.files ?? []).reduce((sum, file) => sum + file.size, 0);
  if (size) about.push(`${bytes(size)} in ${pair.files.length} files.`);
  const first = pair.description || (about.length ? '' : `“${name}” has no pair.json: its files were taken as they are, unchecked.`);
  $('pair-about').textContent = first;
  $('pair-more').hidden = !about.length;
  $('pair-facts').textContent = about.length ? [pair.description, ...about].filter(Boolean).join(' ') : '';
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
