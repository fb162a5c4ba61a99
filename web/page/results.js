// A sweep's sentence, plots and table. What they are of is the view's business: see text.js, language.js and speech.js.
import { crossover, number, ROLES } from './sweep.js';
import { plot } from './plot.js';
import { bytes, time } from './words.js';

const $ = (id) => document.getElementById(id);
const NAMES = { transformer: 'Transformer', linear: 'Linear model' };

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

function table({ points }, view) {
  const head = document.createElement('thead');
  head.append(
    row([{ text: view.x, rows: 2, scope: 'col' },
      ...ROLES.map((role) => ({ text: NAMES[role], span: view.columns.length, scope: 'colgroup', className: `${role === 'linear' ? 'l' : 't'} start` })),
      { text: 'Ratio of times', rows: 2, scope: 'col', className: 'start' }], 'th'),
    row(ROLES.flatMap(() => view.columns.map((text, i) => ({ text, scope: 'col', className: i ? '' : 'start' }))), 'th'),
  );
  const body = document.createElement('tbody');
  for (const length of [...new Set(points.map((point) => point.length))]) {
    const of = (role) => points.find((point) => point.length === length && point.model === role);
    const cells = (point) => view.cells(point).map((text, i) => (i ? text : { text, className: 'main start' }));
    const ratio = of('transformer').median_ms / of('linear').median_ms;
    body.append(row([{ text: number(length), head: true, scope: 'row' }, ...cells(of('transformer')), ...cells(of('linear')),
      { text: `${ratio.toFixed(ratio < 10 ? 2 : 0)}×`, className: ratio > 1 ? 'faster start' : 'start' }]));
  }
  $('table').replaceChildren(head, body);
}

/** Puts the view's words where the results will stand. */
export function prepare(view) {
  $('results').hidden = true;
  $('sweep-heading').textContent = view.heading;
  $('lengths-label').textContent = view.field;
  $('time-caption').textContent = view.timeCaption;
  $('memory-caption').textContent = view.memoryCaption;
  $('table-note').textContent = view.note;
  $('drop-words').textContent = view.drop ?? 'Drop the pair’s folder or files';
}

/** Shows what was measured so far. */
export function showResults(result, view) {
  const { points } = result;
  $('results').hidden = false;
  const words = view.words(points);
  $('verdict').textContent = words;
  $('detail').textContent = view.detail?.(points) ?? '';
  const cross = crossover(points);
  const first = points[0]?.length;
  const series = (pick) => ROLES.map((role) => ({
    key: role === 'linear' ? 'l' : 't', name: NAMES[role], points: points.filter((point) => point.model === role).map(pick) }));
  plot($('plot-time'), {
    series: series((point) => ({ x: point.length, y: point.median_ms, low: point.p10_ms, high: point.p90_ms })),
    format: time, cross: cross !== null && cross !== first ? { x: cross } : null, axis: view.axis, unit: view.lengths.unit,
    label: `${view.timeCaption}, by ${view.axis}, both axes logarithmic. ${words}`,
  });
  plot($('plot-memory'), {
    series: series((point) => ({ x: point.length, y: Math.max(view.memory(point), 1) })),
    format: bytes, cross: null, axis: view.axis, unit: view.lengths.unit, label: `${view.memoryCaption}, by ${view.axis}, both axes logarithmic; the table below has the figures.`,
  });
  table(result, view);
}
