// Controls that rest while the engine is at work. They keep the focus, unlike disabled ones, which drop it to the top of the page.

// A pointer, a key, a label and Enter in a form's field all come as a click.
document.addEventListener('click', (event) => {
  if (!event.target.closest?.('[aria-disabled="true"]')) return;
  event.preventDefault();
  event.stopImmediatePropagation();
}, true);

/** Lets a control be used, or rest. */
export function enable(control, free) {
  control.disabled = false;
  control.setAttribute('aria-disabled', !free);
}
