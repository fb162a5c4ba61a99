// Both plots as one PNG: title, legend, plots, and of what, where and when they were measured.
import { chart, heightOf } from './plot.js';

/** Widths in CSS pixels; the picture has twice as many. */
const PLOT = 560;
const EDGE = 28;
const GAP = 24;
const WIDTH = 2 * EDGE + 2 * PLOT + GAP;
const SCALE = 2;

/** What the style sheet gives a shape. As attributes they are no inline styles, which the page's policy forbids. */
const LOOKS = ['fill', 'stroke', 'stroke-width', 'stroke-dasharray', 'stroke-linejoin', 'stroke-linecap', 'stroke-opacity', 'fill-opacity', 'opacity', 'visibility'];
const FONT = ['font-family', 'font-size', 'font-weight'];

/** An SVG that looks by itself as it does on this page. */
function standalone(svg) {
  const copy = svg.cloneNode(true);
  const copies = copy.querySelectorAll('*');
  svg.querySelectorAll('*').forEach((node, i) => {
    const style = getComputedStyle(node);
    for (const name of node.localName === 'text' ? [...LOOKS, ...FONT] : LOOKS) copies[i].setAttribute(name, style.getPropertyValue(name));
  });
  const [, , width, height] = svg.getAttribute('viewBox').split(' ');
  copy.setAttribute('width', width * SCALE);
  copy.setAttribute('height', height * SCALE);
  return new XMLSerializer().serializeToString(copy);
}

async function load(svg) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  return image;
}

/** Words in lines of at most `width` pixels. */
export function wrap(text, width, measure) {
  const lines = [];
  for (const word of text.split(' ')) {
    const longer = lines.length ? `${lines.at(-1)} ${word}` : word;
    if (lines.length && measure(longer) <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

/** Draws one entry of the legend, gives its width. */
function mark(draw, { style, text }, colour, x, y) {
  draw.strokeStyle = draw.fillStyle = colour;
  draw.lineWidth = style === 'measured' ? 2.4 : 1.3;
  draw.setLineDash(style === 'theory' ? [6, 4] : []);
  draw.globalAlpha = 1;
  draw.beginPath();
  draw.moveTo(x, y - 4.5);
  draw.lineTo(x + 26, y - 4.5);
  draw.stroke();
  draw.setLineDash([]);
  return 34 + draw.measureText(text).width + 22;
}

/**
 * The picture as a PNG's Blob: `title` and `lines` of text, `legend` as results.js gives it, and `figures`, two of what plot.js
 * draws. Colours are those that the page has at the moment, light or dark.
 */
export async function picture({ title, lines, legend, figures }) {
  const stage = document.createElement('div');
  stage.className = 'plot sr-only';
  stage.setAttribute('aria-hidden', 'true');
  const plots = figures.map((figure) => stage.appendChild(chart(PLOT, figure)));
  document.body.append(stage);
  let images;
  try {
    images = await Promise.all(plots.map((svg) => load(standalone(svg))));
  } finally {
    stage.remove();
  }
  const page = getComputedStyle(document.documentElement);
  const colour = (name) => page.getPropertyValue(`--${name}`).trim();
  const family = getComputedStyle(document.body).fontFamily;
  const canvas = document.createElement('canvas');
  const draw = canvas.getContext('2d');
  const font = (size, weight = 400) => { draw.font = `${weight} ${size}px ${family}`; };
  const width = (text) => draw.measureText(text).width;
  font(21, 600);
  const titles = wrap(title, WIDTH - 2 * EDGE, width);
  font(13);
  const notes = lines.filter(Boolean).flatMap((line) => wrap(line, WIDTH - 2 * EDGE, width));
  // The legend in as many rows as it needs.
  const rows = [[]];
  let room = WIDTH - 2 * EDGE;
  for (const entry of legend) {
    const wide = 56 + width(entry.text);
    if (wide > room && rows.at(-1).length) { rows.push([]); room = WIDTH - 2 * EDGE; }
    room -= wide;
    rows.at(-1).push(entry);
  }
  const height = EDGE + titles.length * 28 + 8 + rows.length * 22 + 12 + 22 + heightOf(PLOT) + 16 + notes.length * 19 + EDGE - 8;
  // Sizing a canvas sets its context back.
  [canvas.width, canvas.height] = [WIDTH * SCALE, height * SCALE];
  draw.scale(SCALE, SCALE);
  draw.fillStyle = colour('paper');
  draw.fillRect(0, 0, WIDTH, height);
  let y = EDGE;
  font(21, 600);
  draw.fillStyle = colour('ink');
  for (const line of titles) { draw.fillText(line, EDGE, y + 18); y += 28; }
  y += 8;
  font(13);
  for (const row of rows) {
    let x = EDGE;
    for (const entry of row) {
      const wide = mark(draw, entry, colour(entry.key), x, y + 15);
      draw.fillStyle = colour('ink');
      draw.fillText(entry.text, x + 34, y + 15);
      x += wide;
    }
    y += 22;
  }
  y += 12;
  figures.forEach(({ title: caption }, i) => {
    const x = EDGE + i * (PLOT + GAP);
    font(14, 600);
    draw.fillStyle = colour('ink');
    draw.fillText(caption, x, y + 12);
    draw.drawImage(images[i], x, y + 22, PLOT, heightOf(PLOT));
  });
  y += 22 + heightOf(PLOT) + 16;
  font(13);
  draw.fillStyle = colour('soft');
  for (const line of notes) { draw.fillText(line, EDGE, y + 13); y += 19; }
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('this browser gave no picture'))), 'image/png');
  });
}
