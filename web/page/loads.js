// What is asked of the engine anew: it is started where there is none, and of several loads only the last one counts.
import { stoppable } from './status.js';

/**
 * `start()` starts the engine; `stopped(again)` is told that the visitor has ended a load, and the engine with it. `say(text)` says what goes on.
 */
export function makeLoads(engine, { start, stopped, say }) {
  /** The number of what was asked for last, whether the worker is at a load, and the start of the engine that there is. */
  let turns = 0;
  let loading = false;
  let starting = null;

  /** What was asked for before is nobody's any more; gives a function that says whether this one is not, either. A load goes with its worker. */
  function overtake() {
    const turn = turns += 1;
    if (loading) engine.stop();
    loading = false;
    return () => turn !== turns;
  }

  /** Sees to an engine that can be asked; throws where none can be started. */
  function awake() {
    if (!engine.usable) starting = start();
    return starting;
  }

  /**
   * A call for what is not loaded yet: `doing` is said meanwhile, `news` hears how far it is, and `again` is offered where the visitor stops it. Gives null
   * where that happened, or something else was asked for.
   */
  async function anew(method, given, { doing, again, news }) {
    const late = overtake();
    stoppable(() => {
      overtake();
      engine.stop();
      stoppable(null);
      stopped(again);
    });
    try {
      await awake();
      if (late()) return null;
      say(doing);
      loading = method === 'load';
      const reply = await engine.call(method, given, (progress) => late() || news?.(progress));
      return late() ? null : reply;
    } catch (error) {
      if (late()) return null;
      throw error;
    } finally {
      if (!late()) {
        loading = false;
        stoppable(null);
      }
    }
  }

  return { overtake, awake, anew };
}
