// A sweep's sentence, plots and table.
import { crossover, inWords, number, ROLES } from './sweep.js';
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

function table({ points }) {
  const head = document.createElement('thead');
  head.append(
    row([{ text: 'Tokens', rows: 2, scope: 'col' },
      { text: 'Transformer', span: 4, scope: 'colgroup', className: 't start' }, { text: 'Linear model', span: 4, scope: 'colgroup', className: 'l start' },
      { text: 'Ratio of times', rows: 2, scope: 'col', className: 'start' }], 'th'),
    row(ROLES.flatMap(() => ['median', 'p10–p90', 'first run', 'memory'].map((text) => ({ text, scope: 'col', className: text === 'median' ? 'start' : '' }))), 'th'),
  );
  const body = document.createElement('tbody');
  for (const length of [...new Set(points.map((point) => point.length))]) {
    const of = (role) => points.find((point) => point.length === length && point.model === role);
    const cells = (point) => [{ text: time(point.median_ms), className: 'main start' }, `${time(point.p10_ms)} – ${time(point.p90_ms)}`, time(point.first_ms), bytes(point.peak_bytes)];
    const ratio = of('transformer').median_ms / of('linear').median_ms;
    body.append(row([{ text: number(length), head: true, scope: 'row' }, ...cells(of('transformer')), ...cells(of('linear')),
      { text: `${ratio.toFixed(ratio < 10 ? 2 : 0)}×`, className: ratio > 1 ? 'faster start' : 'start' }]));
  }
  $('table').replaceChildren(head, body);
}

/** Shows what was measured so far. */
export function showResults(result) {
  const { points } = result;
  $('results').hidden = false;
  const words = inWords(points);
  $('verdict').textContent = words;
  const cross = crossover(points);
  const first = points[0]?.length;
  const series = (pick) => ROLES.map((role) => ({
    key: role === 'linear' ? 'l' : 't', name: NAMES[role], points: points.filter((point) => point.model === role).map(pick) }));
  plot($('plot-time'), {
    series: series((point) => ({ x: point.length, y: point.median_ms, low: point.p10_ms, high: point.p90_ms })),
    format: time, cross: cross !== null && cross !== first ? { x: cross } : null,
    label: `Time for one text against its length, both axes logarithmic. ${words}`,
  });
  plot($('plot-memory'), {
    series: series((point) => ({ x: point.length, y: Math.max(point.peak_bytes, 1) })),
    format: bytes, cross: null, label: 'Working memory against length, both axes logarithmic; the table below has the figures.',
  });
  table(result);
}
