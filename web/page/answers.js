// The pair's facts, the sample texts, and the two answers side by side.
import { bytes, modelLine, number, percent, time } from './words.js';

const $ = (id) => document.getElementById(id);

function element(name, className, ...children) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

const card = (role) => document.querySelector(`.answer.${role === 'linear' ? 'l' : 't'} .body`);

export function waitForAnswers() {
  for (const role of ['transformer', 'linear']) card(role).replaceChildren(element('p', 'waiting', 'Its answer appears here.'));
  $('agreement').textContent = '';
}

const scores = (table = {}) => Object.entries(table)
  .map(([name, value]) => `${name.replaceAll('_', ' ')} ${value >= 0 && value <= 1 ? percent(value) : Number(value.toPrecision(4))}`).join(', ');

/** One paragraph about the loaded pair: what it does, how well, from what. */
export function showPair({ pair, name }) {
  const about = [];
  if (pair.description) about.push(pair.description);
  const [teacher, student] = [scores(pair.scores?.teacher), scores(pair.scores?.student)];
  if (teacher && student) about.push(`On held-out data: transformer ${teacher}; linear model ${student}.`);
  const data = pair.data?.name ? `Data: ${pair.data.name}${pair.data.licence ? ` (${pair.data.licence})` : ''}.` : '';
  if (data) about.push(data);
  if (pair.licence) about.push(`Weights: ${pair.licence}.`);
  const size = (pair.files ?? []).reduce((sum, file) => sum + file.size, 0);
  if (size) about.push(`${bytes(size)}.`);
  if (!about.length) about.push(`“${name}” has no pair.json: its files were taken as they are, unchecked.`);
  $('pair-about').textContent = about.join(' ');
}

/** A button for each sample. */
export function showSamples(samples = [], choose) {
  $('samples').replaceChildren(...samples.slice(0, 6).map((sample, i) => {
    const words = sample.text.split(/\s+/);
    const short = words.slice(0, 4).join(' ');
    const button = element('button', 'chip', samples.length && words.length > 40 ? `Sample ${i + 1} · ${words.length} words` : `${short}${words.length > 4 ? '…' : ''}`);
    button.type = 'button';
    button.title = sample.text.slice(0, 200);
    button.addEventListener('click', () => choose(sample));
    return button;
  }));
}

function fillCard(role, answer, facts) {
  const body = card(role);
  const best = Math.max(...answer.probabilities.map(([, share]) => share));
  const bars = element('dl', 'bars');
  const sorted = [...answer.probabilities].sort((a, b) => b[1] - a[1]).slice(0, 5);
  for (const [label, share] of sorted) {
    const bar = element('span', 'fill');
    bar.style.inlineSize = `${100 * share}%`;
    bars.append(element('dt', share === best ? 'best' : '', label),
      element('dd', '', element('span', 'track', bar), element('span', 'share', percent(share))));
  }
  const cut = answer.truncated ? ', cut to what it takes' : '';
  body.replaceChildren(
    element('p', 'label', element('strong', '', answer.label), element('span', 'took', time(answer.ms))),
    bars,
    element('p', 'fine', `${number(answer.tokens)} tokens${cut}${answer.passes > 1 ? ` · median of ${answer.passes} passes` : ''} · ${modelLine(facts)}`),
  );
}

export function showAnswers(answers, { transformer, linear, pair }) {
  fillCard('transformer', answers.transformer, transformer);
  fillCard('linear', answers.linear, linear);
  const same = answers.transformer.label === answers.linear.label;
  const apart = Math.max(...answers.transformer.probabilities.map(([, share], i) => Math.abs(share - (answers.linear.probabilities[i]?.[1] ?? 0))));
  const sample = pair.samples?.find(({ text }) => text === document.getElementById('text').value);
  const truth = sample?.label ? ` The data says: ${sample.label}.` : '';
  $('agreement').textContent = `${same ? 'They agree' : 'They disagree'}; their probabilities lie at most ${(100 * apart).toFixed(1)} points apart.${truth}`;
  $('agreement').dataset.agree = same;
}
