// Whether two models agree, and with what was said, in words. No page in here.

/** Of two classifiers: {same, words}. */
export function onClasses({ transformer, linear }) {
  const apart = Math.max(...transformer.probabilities.map(([, share], i) => Math.abs(share - (linear.probabilities[i]?.[1] ?? 0))));
  const same = transformer.label === linear.label;
  return { same, words: `${same ? 'They agree' : 'They disagree'}; their probabilities lie at most ${(100 * apart).toFixed(1)} points apart.` };
}

const wordsOf = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}'’\s]/gu, ' ').split(/\s+/).filter(Boolean);

/** Words that have to be replaced, added or taken away to make `reference` of `heard` (Levenshtein): {errors, words} of the reference. */
export function wordErrors(reference, heard) {
  const [said, got] = [wordsOf(reference), wordsOf(heard)];
  let row = [0, ...got.map((_, i) => i + 1)];
  for (const [i, word] of said.entries()) {
    const next = [i + 1];
    for (const [j, other] of got.entries()) next.push(Math.min(row[j] + (word === other ? 0 : 1), row[j + 1] + 1, next[j] + 1));
    row = next;
  }
  return { errors: row.at(-1), words: said.length };
}

function quality({ errors, words }) {
  if (words === 1) return errors ? 'got it wrong' : 'got it right';
  return errors ? `made ${errors === 1 ? 'one mistake' : `${errors} mistakes`} in ${words} words` : 'got every word right';
}

/** Of two models that transcribe. */
export function onTranscripts({ transformer, linear }) {
  const same = wordsOf(transformer.label).join(' ') === wordsOf(linear.label).join(' ');
  return { same, words: same ? 'They heard the same.' : 'They heard different things.' };
}

/** How both did against what was said; nothing where that is not known. */
export function against(reference, { transformer, linear }) {
  if (!reference) return '';
  const [first, second] = [transformer, linear].map(({ label }) => quality(wordErrors(reference, label)));
  return ` The sample says “${reference}”: ${first === second ? `both ${first}` : `the transformer ${first}, the linear model ${second}`}.`;
}
