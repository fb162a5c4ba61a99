// The page's side of the worker: calls that give promises, one worker at a time.

export class EngineError extends Error {
  /** `fatal`: the worker is of no use any more. `cpu`: the CPU engine may do what the GPU did not. `action`: what trying again is called. */
  constructor({ message, fatal, cpu = false, action }) { super(message); Object.assign(this, { fatal, cpu, action }); }
}

export class EngineClient {
  #worker = null;
  #calls = new Map();
  #next = 1;
  #broken;

  /** `broken(error)` hears of a failure between two calls, which no call can tell. */
  constructor(broken) { this.#broken = broken; }

  /** Whether there is a worker that may be asked: after a fatal failure, only a fresh one may. */
  get usable() { return this.#worker !== null; }

  /** Starts a fresh worker; the old one, its device and its memory go. `force` names an engine, `why` says in the page's words where that was asked for. */
  async start(force, why) {
    this.stop();
    const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
    this.#worker = worker;
    const fail = (error) => {
      if (worker !== this.#worker) return;
      const idle = !this.#calls.size;
      this.stop(error);
      if (idle) this.#broken(new EngineError({ ...error, fatal: true }));
    };
    worker.addEventListener('message', ({ data }) => {
      if (data.broken) return fail(data.broken);
      const call = this.#calls.get(data.id);
      if (!call) return;
      if (data.progress) return call.onProgress?.(data.progress);
      this.#calls.delete(data.id);
      if (!data.error) return call.resolve(data.ok);
      call.reject(new EngineError(data.error));
      // Whatever waits behind this call would wait for ever.
      if (data.error.fatal) this.stop(data.error);
    });
    worker.addEventListener('error', (event) => {
      event.preventDefault();
      fail({ message: event.message || 'The engine could not be loaded; check the connection and try again.' });
    });
    worker.addEventListener('messageerror', () => fail({ message: 'An answer of the engine could not be read, as happens when memory runs out.' }));
    return this.call('start', { force, why });
  }

  /** Ends the worker and every call that waits for it. */
  stop({ message = 'The engine was stopped.', cpu } = {}) {
    this.#worker?.terminate();
    this.#worker = null;
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const call of calls) call.reject(new EngineError({ message, fatal: true, cpu }));
  }

  call(method, params, onProgress) {
    if (!this.#worker) return Promise.reject(new EngineError({ message: 'The engine is not running.', fatal: true }));
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve, reject, onProgress });
      this.#worker.postMessage({ id, method, params });
    });
  }

  /** Ends the text under way after its token; the call that asked for it gives what is there. */
  interrupt() { this.#worker?.postMessage({ method: 'stop' }); }
}
