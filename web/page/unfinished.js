// The pair that is being loaded, noted for the case that the browser ends the tab under it: the next start does not load it again unasked.

const KEY = 'caldera-loading';

/** `place` is where the pair comes from; nothing where the load is over. */
export function noteLoading(place) {
  try {
    if (place) sessionStorage.setItem(KEY, place); else sessionStorage.removeItem(KEY);
  } catch { /* No storage: such a pair is loaded again. */ }
}

/** The place of a load that broke off with the tab, once. */
export function brokenOff() {
  try {
    const place = sessionStorage.getItem(KEY);
    noteLoading();
    return place;
  } catch {
    return null;
  }
}

// Whoever leaves or reloads the page has not lost it.
addEventListener('pagehide', () => noteLoading());
