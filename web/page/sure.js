// A button for what cannot be taken back: the first press asks, the second does it.

export function makeSure(button, act) {
  const words = button.textContent;
  let sure = false;
  const unsure = () => { sure = false; button.textContent = words; };
  button.addEventListener('blur', unsure);
  button.addEventListener('click', () => {
    if (!sure) { sure = true; button.textContent = `${words}: press again`; return; }
    unsure();
    act();
  });
}
