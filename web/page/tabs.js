// Tabs as the ARIA pattern has them: one of them in the Tab order, arrows move between them, Enter and Space choose.

/** `list` is the element with role tablist; `choose(id)` is called when a tab is picked by hand. */
export function makeTabs(list, kinds, choose) {
  const tabs = kinds.map(({ id, label }) => {
    const tab = document.createElement('button');
    Object.assign(tab, { type: 'button', id: `tab-${id}`, textContent: label, role: 'tab' });
    tab.setAttribute('aria-controls', 'panel');
    tab.dataset.testid = `tab-${id}`;
    // Loading a pair takes a while, so that moving to a tab does not choose it yet.
    tab.addEventListener('click', () => { if (tab.getAttribute('aria-disabled') !== 'true' && tab.getAttribute('aria-selected') !== 'true') choose(id); });
    return tab;
  });
  list.replaceChildren(...tabs);
  const reach = (one) => tabs.forEach((tab) => { tab.tabIndex = tab === one ? 0 : -1; });
  list.addEventListener('keydown', (event) => {
    const at = tabs.indexOf(document.activeElement);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (at < 0 || next === undefined) return;
    event.preventDefault();
    const tab = tabs.at(next % tabs.length);
    reach(tab);
    tab.focus();
  });
  return {
    /** Marks a tab as the chosen one. */
    select(id) {
      const one = tabs.find((tab) => tab.id === `tab-${id}`);
      for (const tab of tabs) tab.setAttribute('aria-selected', tab === one);
      reach(one);
      document.getElementById('panel').setAttribute('aria-labelledby', one.id);
    },
    /** While the engine is busy, tabs stay where they are; they keep their focus, unlike disabled buttons. */
    allow(free) { for (const tab of tabs) tab.setAttribute('aria-disabled', !free); },
  };
}
