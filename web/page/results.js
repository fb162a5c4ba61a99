// A sweep's sentence, plots and table. What they are of is the view's business: see text.js, language.js and speech.js.
import { crossover, number, ROLES } from './sweep.js';
import { plot } from './plot.js';
import { curves, theoryInWords } from './theory.js';
import { bytes, engineLine, moment, time } from './words.js';

const $ = (id) => document.getElementById(id);
const NAMES = { transformer: 'Transformer', linear: 'Linear model' };
const keyOf = (role) => (role === 'linear' ? 'l' : 't');

function row(cells, tag = 'td') {
  const line = document.createElement('tr');
  for (const cell of cells) {
    const node = document.createElement(cell?.head ? 'th' : tag);
    const { text = cell, span, rows, scope, className } = typeof cell === 'object' ? cell : {};
    node.textContent = text;
    if (span) node.colSpan = span;
    if (rows) node.rowSpan = rows;
    if (scope) node.scope = scope;
    if (className) node.className = className;
    line.append(node);
  }
  return line;
}

/** A row for each length, those to come included, so that nothing moves when they do. */
function table({ points }, view, lengths) {
  const head = document.createElement('thead');
  head.append(
    row([{ text: view.x, rows: 2, scope: 'col' },
      ...ROLES.map((role) => ({ text: NAMES[role], span: view.columns.length, scope: 'colgroup', className: `${keyOf(role)} start` })),
      { text: 'Ratio of times', rows: 2, scope: 'col', className: 'start' }], 'th'),
    row(ROLES.flatMap(() => view.columns.map((text, i) => ({ text, scope: 'col', className: i ? '' : 'start' }))), 'th'),
  );
  const body = document.createElement('tbody');
  for (const length of lengths) {
    const of = (role) => points.find((point) => point.length === length && point.model === role);
    const [transformer, linear] = ROLES.map(of);
    const cells = (point) => (point ? view.cells(point) : view.columns.map(() => '…')).map((text, i) => (i ? text : { text, className: 'main start' }));
    const ratio = transformer && linear ? transformer.median_ms / linear.median_ms : null;
    body.append(row([{ text: number(length), head: true, scope: 'row' }, ...cells(transformer), ...cells(linear),
      { text: ratio === null ? '…' : `${ratio.toFixed(ratio < 10 ? 2 : 0)}×`, className: ratio > 1 ? 'faster start' : 'start' }]));
  }
  $('table').replaceChildren(head, body);
}

/** Puts the view's words where a sweep is asked for; what was measured before goes. */
export function prepare(view) {
  $('results').hidden = true;
  $('sweep-heading').textContent = view.heading;
  $('lengths-label').textContent = view.field;
  $('drop-words').textContent = view.drop ?? 'Drop the pair’s folder or files';
}

/** Of what and where a run was measured, and when. */
export const provenance = ({ date, result: { pair, adapter, browser } }) => `${pair} · ${engineLine(adapter)} · ${browser} · ${moment(date)}`;

/**
 * What both plots show of a run: [{title, series, beside, …}], as plot.js takes it. `past` is another run of the same kind to lay
 * beside it, `theory` whether to draw the curves of arithmetic.
 */
export function figures({ result: { points }, theory: counts }, view, { past = null, theory = false } = {}) {
  const lines = (all, pick) => ROLES.map((role) => ({ key: keyOf(role), name: NAMES[role], points: all.filter(({ model }) => model === role).map(pick) }));
  const before = (pick) => (past ? lines(past.result.points, pick).map((one) => ({ ...one, style: 'past' })) : []);
  const cross = crossover(points);
  const axes = { axis: view.axis, unit: view.lengths.unit };
  const room = (point) => Math.max(view.memory(point), 1);
  const [took, held] = [(point) => ({ x: point.length, y: point.median_ms }), (point) => ({ x: point.length, y: room(point) })];
  const dashed = (drawn) => (drawn ? ROLES.map((role) => ({ key: keyOf(role), style: 'theory', points: drawn.curves[role] })) : []);
  return [
    {
      ...axes, title: view.timeCaption, format: time, cross: cross !== null && cross !== points[0]?.length ? { x: cross } : null,
      series: lines(points, (point) => ({ ...took(point), low: point.p10_ms, high: point.p90_ms })),
      beside: [...before(took), ...dashed(theory && curves(counts, points))],
      label: `${view.timeCaption}, by ${view.axis}, both axes logarithmic. ${view.words(points)}`,
    },
    {
      ...axes, title: view.memoryCaption, format: bytes, cross: null, series: lines(points, held),
      // Runs that were kept by older pages have no counts of it.
      beside: [...before(held), ...dashed(theory && curves(counts?.memory, points, room))],
      label: `${view.memoryCaption}, by ${view.axis}, both axes logarithmic; the table below has the figures.`,
    },
  ];
}

/** The legend: [{key, style, text}]. */
export function legend({ past = null, theory = false } = {}) {
  const of = (style, text) => ROLES.map((role) => ({ key: keyOf(role), style, text: text(NAMES[role]) }));
  return [...of('measured', (name) => name), ...(past ? of('past', (name) => `${name}, past run`) : []), ...(theory ? of('theory', (name) => `${name}, theory`) : [])];
}

const put = (id, text) => { if ($(id).textContent !== text) $(id).textContent = text; };

/**
 * Shows a run, or what there is of it so far; `lengths` are all that are measured. `beside` is as in `figures`; `final` has the
 * verdict read out, once.
 */
export function showRun(run, view, { lengths, beside = {}, final = false, note = 'Measured: ' } = {}) {
  const { points } = run.result;
  $('results').hidden = false;
  $('results').setAttribute('aria-busy', !final);
  $('results').dataset.kind = run.kind;
  // A text that stands there already is not read out: when it becomes final it is put anew.
  if (final && $('verdict').getAttribute('aria-live') === 'off') $('verdict').replaceChildren();
  $('verdict').setAttribute('aria-live', final ? 'polite' : 'off');
  put('verdict', points.length ? view.words(points) : 'Measuring…');
  put('detail', view.detail?.(points) ?? '');
  $('detail').hidden = !view.detail;
  const possible = Boolean(run.theory) && new Set(points.map(({ length }) => length)).size > 1;
  $('theory').disabled = !possible;
  const theory = possible && Boolean(beside.theory);
  const shown = { past: beside.past, theory };
  put('theory-words', theory ? theoryInWords(run.theory, points, view.lengths.unit === 's' ? 'seconds' : view.lengths.unit) : '');
  put('past-words', beside.past ? `Thin: ${provenance(beside.past)}. ${view.words(beside.past.result.points)}` : '');
  put('provenance', note + provenance(run));
  $('key').replaceChildren(...legend(shown).map(({ key, style, text }) => {
    const item = document.createElement('span');
    item.className = `${key} ${style}`;
    item.textContent = text;
    return item;
  }));
  const [first, second] = figures(run, view, shown);
  for (const [id, figure] of [['time', first], ['memory', second]]) {
    $(`${id}-caption`).textContent = figure.title;
    if (points.length) plot($(`plot-${id}`), figure);
    else { $(`plot-${id}`).redraw?.disconnect(); $(`plot-${id}`).replaceChildren(); }
  }
  $('table-note').textContent = view.note;
  table(run.result, view, lengths ?? [...new Set(points.map(({ length }) => length))]);
}
