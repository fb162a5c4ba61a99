// Measuring only while somebody may be looking: browsers hold back what a hidden tab does, the GPU's work included.

/** Resolves when the page is visible, or `signal` is raised. */
function visible(signal) {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !signal?.aborted) return;
      document.removeEventListener('visibilitychange', look);
      signal?.removeEventListener('abort', look);
      resolve();
    };
    document.addEventListener('visibilitychange', look);
    signal?.addEventListener('abort', look);
    look();
  });
}

/**
 * `call` with timings of a visible tab only: it waits while the tab is hidden, and what was under way when it was hidden is
 * measured again. What can happen but once ({once: true} among the parameters) is kept as it came. `pause` and `resume` say so;
 * a `signal` that is raised meanwhile ends the wait, and nothing more is measured.
 */
export const whileVisible = (call, { signal, pause, resume }) => async (method, given) => {
  for (;;) {
    if (document.hidden && !signal?.aborted) {
      pause();
      await visible(signal);
      signal?.throwIfAborted();
      resume();
    }
    let hidden = false;
    const note = () => { hidden ||= document.hidden; };
    document.addEventListener('visibilitychange', note);
    try {
      const value = await call(method, given);
      if (!hidden || given?.once || signal?.aborted) return value;
    } finally {
      document.removeEventListener('visibilitychange', note);
    }
  }
};
