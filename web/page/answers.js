// Two answers side by side, whatever they are to.
import { element } from './about.js';
import { ROLES } from './sweep.js';
import { modelLine, percent, time } from './words.js';

/** Where a model's answer goes in the element `container`. */
export const body = (container, role) => document.querySelector(`#${container} .answer.${role === 'linear' ? 'l' : 't'} .body`);

/** Nothing yet: `words` stand in both places. */
export function wait(container, words) {
  for (const role of ROLES) body(container, role).replaceChildren(element('p', 'waiting', words));
}

/** The five likeliest classes. */
function bars(probabilities) {
  const best = Math.max(...probabilities.map(([, share]) => share));
  const list = element('dl', 'bars');
  for (const [label, share] of [...probabilities].sort((a, b) => b[1] - a[1]).slice(0, 5)) {
    const bar = element('span', 'fill');
    bar.style.inlineSize = `${100 * share}%`;
    list.append(element('dt', share === best ? 'best' : '', label),
      element('dd', '', element('span', 'track', bar), element('span', 'share', percent(share))));
  }
  return list;
}

/**
 * Both answers, {label, probabilities, ms, passes, first} each, with what `fine` says of one; `loaded` has the models' facts.
 * An answer without probabilities is a text.
 */
export function showAnswers(container, answers, loaded, fine) {
  for (const role of ROLES) {
    const { label, probabilities, ms, passes, first } = answers[role];
    const counted = passes > 1 ? `median of ${passes} passes` : `one pass${first ? ', the first' : ''}`;
    const words = element('strong', '', label || 'nothing');
    if (!label) words.className = 'none';
    // A long text scrolls within its place.
    if (label.length > 300) Object.assign(words, { tabIndex: 0, role: 'group', ariaLabel: 'What it heard' });
    body(container, role).replaceChildren(
      element('p', probabilities.length ? 'label' : 'label heard', words, element('span', 'took', time(ms))),
      ...(probabilities.length ? [bars(probabilities)] : []),
      element('p', 'fine', `${fine(answers[role])} · ${counted} · ${modelLine(loaded[role])}`),
    );
  }
}

/** A sentence on both under their answers; `same` marks it. Who hears the page is told both answers with it, in one go. */
export function showAgreement(id, { same, words }, answers) {
  const line = document.getElementById(id);
  const [transformer, linear] = ROLES.map((role) => `${answers[role].label || 'nothing'}${answers[role].ms ? ` in ${time(answers[role].ms)}` : ''}`);
  line.replaceChildren(element('span', 'sr-only', `Transformer: ${transformer}; linear model: ${linear}. `), words);
  line.dataset.agree = same;
}
