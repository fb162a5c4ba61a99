// What becomes of a sweep: shown with what was asked for beside it, kept, saved and passed on.
import { makePastRuns } from './past.js';
import { picture } from './picture.js';
import { figures, legend, provenance, showRun } from './results.js';
import { makeSharing, save } from './share.js';
import { toCsv } from './sweep.js';
import { theoryInWords } from './theory.js';

const $ = (id) => document.getElementById(id);
const SAVING = ['save-png', 'save-csv', 'save-json', 'copy-link', 'share'];

/** The JSON where programs that drive this page find it. */
function publish(data) {
  let node = $('result');
  if (!node) {
    node = document.createElement('script');
    node.type = 'application/json';
    node.id = 'result';
    document.body.append(node);
  }
  node.textContent = JSON.stringify(data);
}

/**
 * `viewOf(kind)` gives a tab's view; `settings(run, opened)` what a link to a run's pair needs, as share.js takes it: one that has
 * just been measured, or was opened from the past.
 */
export function makeOutcome(viewOf, settings) {
  let run = null;
  let past = null;
  let note;
  let measuring = false;
  // To be asked for again on every visit: what is drawn unasked is measured.
  $('theory').checked = false;

  const beside = () => ({ past: past?.kind === run?.kind ? past : null, theory: $('theory').checked });
  const show = (more = {}) => {
    if (!run) return;
    showRun(run, viewOf(run.kind), { beside: beside(), note, ...more });
    for (const id of SAVING) $(id).disabled = measuring;
  };

  const sharing = makeSharing(() => {
    const { points } = run.result;
    const now = settings(run, Boolean(note));
    return typeof now === 'string' ? now : {
      ...now, tab: run.kind, lengths: [...new Set(points.map(({ length }) => length))], runs: run.result.runs_asked ?? Math.max(...points.map((point) => point.runs)) };
  }, () => viewOf(run.kind).words(run.result.points));

  const runs = makePastRuns({
    kind: () => run?.kind,
    measuring: () => measuring,
    /** Shows a past run as if it had just been measured. */
    open(chosen) {
      sharing.clear();
      [run, note] = [chosen, 'Opened, not just measured: '];
      show({ final: true });
      $('results').scrollIntoView({ block: 'start' });
    },
    lay(chosen) { past = chosen; show({ final: !measuring }); },
  });

  $('theory').addEventListener('change', () => show({ final: !measuring }));
  const name = () => `caldera-${run.result.pair.replaceAll(/[^\w.-]+/g, '-')}`;
  $('save-json').addEventListener('click', () => save(`${JSON.stringify(run.result, null, 2)}\n`, 'application/json', `${name()}.json`));
  $('save-csv').addEventListener('click', () => save(toCsv(run.result), 'text/csv', `${name()}.csv`));
  $('save-png').addEventListener('click', async () => {
    const view = viewOf(run.kind);
    const { points } = run.result;
    const shown = { ...beside(), theory: $('theory').checked && !$('theory').disabled };
    const unit = view.lengths.unit === 's' ? 'seconds' : view.lengths.unit;
    const lines = [shown.theory && theoryInWords(run.theory, points, unit), shown.past && `Thin: ${provenance(shown.past)}`, `Measured in a browser by Caldera: ${provenance(run)}`];
    try {
      save(await picture({ title: view.words(points), lines, legend: legend(shown), figures: figures(run, view, shown) }), 'image/png', `${name()}.png`);
    } catch (error) {
      $('share-said').textContent = `The picture could not be drawn (${error.message}); CSV and JSON have the figures.`;
    }
  });

  return {
    /** What there is of a run that is being measured over `lengths`. */
    show(sofar, lengths) {
      const first = !measuring;
      [run, note, measuring] = [sofar, undefined, true];
      show({ lengths });
      if (first) { sharing.clear(); runs.list(); }
    },
    /** A run is whole, or as much of it as there will be; `null` where there is nothing. */
    finish(whole) {
      measuring = false;
      run = whole;
      publish(whole.result);
      if (!whole.result.points.length) { this.clear(); return; }
      show({ final: true });
      runs.keep(whole);
    },
    /** Another pair or tab comes. */
    clear() {
      measuring = false;
      run = null;
      $('results').hidden = true;
      sharing.clear();
      runs.list();
    },
    /** A run broke off: what is shown of it is not to stand. */
    fail() {
      measuring = false;
      if (!run?.result.points.length) { this.clear(); return; }
      show({ final: true });
      runs.list();
    },
  };
}
