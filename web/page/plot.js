// A small chart on logarithmic axes, drawn as SVG: a line and a band for each model, the crossover marked; thin and dashed
// lines beside them for what was measured before and for theory.
import { number } from './sweep.js';

const SVG = 'http://www.w3.org/2000/svg';

function add(parent, name, attributes = {}, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return parent.appendChild(node);
}

/** Round values between `low` and `high`, the fewer a decade the wider the range. */
function ticks(low, high) {
  const decades = Math.log10(high / low);
  const steps = decades > 4 ? [1] : decades > 2 ? [1, 3] : decades > 0.9 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 7];
  const values = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const step of steps) values.push(step * 10 ** power);
  }
  return values.filter((value) => value >= low * 0.999 && value <= high * 1.001);
}

/**
 * Draws into `container`, anew on every change of its width. `what` has
 * series: [{key: 't'|'l', name, points: [{x, y, low, high}]}]; beside: [{key, style: 'past'|'theory', points: [{x, y}]}], lines of
 * their own without marks; format(value) words a y value; cross is {x, y} or null; axis names the x axis, unit what it counts.
 */
export function plot(container, what) {
  const draw = () => container.replaceChildren(chart(Math.max(240, container.clientWidth), what));
  container.redraw?.disconnect();
  let width = 0;
  container.redraw = new ResizeObserver(() => {
    if (Math.abs(container.clientWidth - width) < 1) return;
    width = container.clientWidth;
    draw();
  });
  container.redraw.observe(container);
}

/** How high a chart of this width is; the style sheet keeps as much room for it. */
export const heightOf = (width) => Math.round(Math.min(320, Math.max(220, width * 0.62)));

/** The chart itself; `plot` says what is in it. */
export function chart(width, { series, beside = [], format, cross, label, axis = 'length in tokens', unit = 'tokens' }) {
  const height = heightOf(width);
  const margin = { top: 18, right: 16, bottom: 38, left: 58 };
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', label);
  const all = [...series, ...beside].flatMap((one) => one.points);
  // A theory's points are there for a smooth line, not to be read off.
  const marked = [...series, ...beside.filter(({ style }) => style === 'past')].flatMap((one) => one.points);
  const xs = [...new Set(marked.map((point) => point.x))].sort((a, b) => a - b);
  const ys = all.flatMap((point) => [point.low ?? point.y, point.high ?? point.y]).filter((value) => value > 0);
  let [low, high] = [Math.min(...ys) / 1.25, Math.max(...ys) * 1.25];
  if (high / low < 4) { const centre = Math.sqrt(low * high); [low, high] = [centre / 2, centre * 2]; }
  let [left, right] = [xs[0], xs.at(-1)];
  if (left === right) { left /= 2; right *= 2; }
  const x = (value) => margin.left + (width - margin.left - margin.right) * Math.log(value / left) / Math.log(right / left);
  const y = (value) => height - margin.bottom - (height - margin.top - margin.bottom) * Math.log(Math.max(value, low) / low) / Math.log(high / low);

  const axes = add(svg, 'g', { class: 'axes' });
  for (const value of ticks(low, high)) {
    add(axes, 'line', { x1: margin.left, x2: width - margin.right, y1: y(value), y2: y(value) });
    add(axes, 'text', { x: margin.left - 8, y: y(value) + 4, 'text-anchor': 'end' }, format(value));
  }
  let last = -Infinity;
  for (const value of xs) {
    add(axes, 'line', { x1: x(value), x2: x(value), y1: height - margin.bottom, y2: height - margin.bottom + 4, class: 'tick' });
    if (x(value) - last < 40) continue;
    last = x(value);
    add(axes, 'text', { x: x(value), y: height - margin.bottom + 18, 'text-anchor': value === xs.at(-1) && xs.length > 1 ? 'end' : 'middle' }, number(value));
  }
  add(axes, 'text', { x: (margin.left + width - margin.right) / 2, y: height - 4, 'text-anchor': 'middle' }, axis);

  if (cross) {
    const mark = add(svg, 'g', { class: 'cross' });
    add(mark, 'line', { x1: x(cross.x), x2: x(cross.x), y1: margin.top - 4, y2: height - margin.bottom });
    const near = x(cross.x) > width * 0.7;
    add(mark, 'text', { x: x(cross.x) + (near ? -6 : 6), y: margin.top + 6, 'text-anchor': near ? 'end' : 'start' }, `crossover ${number(cross.x)}`);
  }

  const path = (points, value) => points.map((point, i) => `${i ? 'L' : 'M'}${x(point.x).toFixed(1)} ${y(value(point)).toFixed(1)}`).join('');
  for (const { key, style, points } of beside) {
    add(add(svg, 'g', { class: `beside ${style} ${key}` }), 'path', { class: 'line', d: path(points, (point) => point.y) });
  }
  for (const { key, points } of series) {
    const group = add(svg, 'g', { class: `series ${key}` });
    if (points.length > 1 && points[0].low !== undefined) {
      const back = [...points].reverse().map((point) => `L${x(point.x).toFixed(1)} ${y(point.low).toFixed(1)}`).join('');
      add(group, 'path', { class: 'band', d: `${path(points, (point) => point.high)}${back}Z` });
    }
    add(group, 'path', { class: 'line', d: path(points, (point) => point.y) });
    for (const point of points) add(group, key === 't' ? 'circle' : 'rect', key === 't'
      ? { cx: x(point.x), cy: y(point.y), r: 3.5 }
      : { x: x(point.x) - 3.2, y: y(point.y) - 3.2, width: 6.4, height: 6.4 });
  }

  // The nearest length under the pointer, with both values.
  const hover = add(svg, 'g', { class: 'hover', visibility: 'hidden' });
  const rule = add(hover, 'line', { y1: margin.top, y2: height - margin.bottom });
  const box = add(hover, 'rect', { y: margin.top, width: 150, height: 20 + 16 * series.length, rx: 4 });
  const lines = [add(hover, 'text', { class: 'head', y: margin.top + 16 }), ...series.map(({ key }, i) => add(hover, 'text', { class: key, y: margin.top + 33 + 16 * i }))];
  svg.addEventListener('pointermove', (event) => {
    const at = (event.clientX - svg.getBoundingClientRect().left) * width / svg.clientWidth;
    const near = xs.reduce((best, value) => (Math.abs(x(value) - at) < Math.abs(x(best) - at) ? value : best));
    const start = x(near) > width / 2 ? x(near) - 158 : x(near) + 8;
    rule.setAttribute('x1', x(near)); rule.setAttribute('x2', x(near));
    box.setAttribute('x', start);
    lines.forEach((line) => line.setAttribute('x', start + 10));
    lines[0].textContent = `${number(near)} ${unit}`;
    series.forEach(({ name, points }, i) => {
      const point = points.find((candidate) => candidate.x === near);
      lines[i + 1].textContent = point ? `${name} ${format(point.y)}` : '';
    });
    hover.setAttribute('visibility', 'visible');
  });
  svg.addEventListener('pointerleave', () => hover.setAttribute('visibility', 'hidden'));
  return svg;
}
