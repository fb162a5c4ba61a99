// The two answers to a text, side by side.
import { element } from './about.js';
import { modelLine, number, percent, time } from './words.js';

const $ = (id) => document.getElementById(id);

const card = (role) => document.querySelector(`#answers .answer.${role === 'linear' ? 'l' : 't'} .body`);

export function waitForAnswers() {
  for (const role of ['transformer', 'linear']) card(role).replaceChildren(element('p', 'waiting', 'Its answer appears here.'));
  $('agreement').textContent = '';
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
