// A clip as a picture: for each column the lowest and the highest sample.

/** Draws `samples` into a canvas, anew when its width or the colours change. */
export function waveform(canvas, samples, label) {
  canvas.setAttribute('aria-label', label);
  canvas.dataset.samples = samples.length;
  const draw = () => render(canvas, samples);
  canvas.redraw?.();
  const size = new ResizeObserver(draw);
  const dark = matchMedia('(prefers-color-scheme: dark)');
  size.observe(canvas);
  dark.addEventListener('change', draw);
  canvas.redraw = () => { size.disconnect(); dark.removeEventListener('change', draw); };
}

function render(canvas, samples) {
  const scale = devicePixelRatio || 1;
  const [width, height] = [Math.max(1, Math.round(canvas.clientWidth * scale)), Math.max(1, Math.round(canvas.clientHeight * scale))];
  Object.assign(canvas, { width, height });
  const pen = canvas.getContext('2d');
  const style = getComputedStyle(canvas);
  pen.fillStyle = style.getPropertyValue('--line');
  pen.fillRect(0, Math.floor(height / 2), width, Math.max(1, Math.round(scale)));
  if (!samples.length) return;
  pen.fillStyle = style.color;
  // Quiet clips are drawn larger; what is no number is left out.
  let top = 0;
  for (const sample of samples) if (Math.abs(sample) > top && Number.isFinite(sample)) top = Math.abs(sample);
  const factor = (height / 2 - scale) / Math.max(top, 0.02);
  for (let x = 0; x < width; x += 1) {
    const from = Math.floor(x * samples.length / width);
    const to = Math.max(from + 1, Math.floor((x + 1) * samples.length / width));
    let [low, high] = [Infinity, -Infinity];
    for (let i = from; i < to; i += 1) { if (samples[i] < low) low = samples[i]; if (samples[i] > high) high = samples[i]; }
    if (!Number.isFinite(low) || !Number.isFinite(high)) continue;
    pen.fillRect(x, height / 2 - high * factor, 1, Math.max(scale, (high - low) * factor));
  }
}
