// The line at the top: what goes on, how far it is, and what can be done about it.

const $ = (id) => document.getElementById(id);
const buttons = ['stop-load', 'retry', 'retry-cpu'].map($);

/** The buttons come and go; the focus of one that goes passes to one that is there, else to what stands below. */
function keepFocus() {
  const held = document.activeElement;
  if (!buttons.includes(held)) return;
  // Not before all that happens now has happened.
  setTimeout(() => {
    if (held.hidden && [held, document.body].includes(document.activeElement)) (buttons.find((button) => !button.hidden) ?? $('panel')).focus({ preventScroll: true });
  });
}

/** Says what goes on; `state` is working, ready or error. `retry` is what its button does, `action` what the button is called; `cpu` goes on with the CPU engine. */
export function say(text, state = 'ready', retry = null, action = 'Try again', cpu = null) {
  keepFocus();
  $('status').textContent = text;
  $('state').dataset.state = state;
  $('retry').hidden = !retry;
  $('retry').onclick = () => retry();
  $('retry').textContent = action;
  $('retry-cpu').hidden = !cpu;
  $('retry-cpu').onclick = () => cpu();
  if (state !== 'working') $('progress').hidden = true;
}

/** How far a stage is that is called `text`. The line is a live region: one message a stage, the bar tells the rest. */
let stage = '';
export function sayProgress(text, share, more = '') {
  $('progress').hidden = false;
  $('progress').value = share;
  if (text !== stage) say(`${text}${more}…`, 'working');
  stage = text;
}

/** A load begins that `stop` ends, or is over. */
export function stoppable(stop) {
  keepFocus();
  stage = '';
  $('stop-load').hidden = !stop;
  $('stop-load').onclick = stop;
}
