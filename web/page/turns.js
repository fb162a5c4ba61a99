// Both models' answers to one input and what they took: side by side on a device that is warm, and never long on one that is slow. No page in here.
import { quantile, ROLES } from './sweep.js';

/** Passes that count, at the most, and what all of them may take together, in ms. */
const PASSES = 5;
const ALL_MS = 1500;
/** Where the first pass of both took longer, it is the one that counts: nobody is to wait for another. */
const FIRST_MS = 1000;

/**
 * Both models' answers by `ask(role)`. `ms` of each becomes the median of its `passes`. The first pass of each counts for none where there is time
 * for more: it may have built kernels for this length. `first` says that there was no time. With `once` nobody asks for the time, and one pass has to do.
 */
export async function inTurn(ask, { once = false, clock = () => performance.now() } = {}) {
  const answers = {};
  const rounds = [];
  const start = clock();
  let end = start;
  let took = 0;
  do {
    const round = {};
    // Each goes first every other time.
    for (const role of rounds.length % 2 ? [...ROLES].reverse() : ROLES) {
      answers[role] = await ask(role);
      round[role] = answers[role].ms;
    }
    rounds.push(round);
    [took, end] = [clock() - end, clock()];
  } while (!once && rounds.length <= PASSES && (rounds.length === 1 ? took < FIRST_MS : end - start + took < ALL_MS));
  const first = rounds.length === 1;
  const counted = first ? rounds : rounds.slice(1);
  for (const role of ROLES) {
    const ms = quantile(counted.map((round) => round[role]).sort((a, b) => a - b), 0.5);
    Object.assign(answers[role], { ms, passes: counted.length, first });
  }
  return answers;
}
