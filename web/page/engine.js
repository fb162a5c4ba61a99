// The page's side of the worker: calls that give promises, one worker at a time.

export class EngineError extends Error {
  constructor({ message, fatal }) { super(message); this.fatal = fatal; }
}

export class EngineClient {
  #worker = null;
  #calls = new Map();
  #next = 1;

  /** Starts a fresh worker; the old one, its device and its memory go. */
  async start(force) {
    this.stop();
    const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
    this.#worker = worker;
    worker.addEventListener('message', ({ data }) => {
      const call = this.#calls.get(data.id);
      if (!call) return;
      if (data.progress) return call.onProgress?.(data.progress);
      this.#calls.delete(data.id);
      if (data.error) call.reject(new EngineError(data.error)); else call.resolve(data.ok);
    });
    worker.addEventListener('error', (event) => {
      event.preventDefault();
      this.#failAll(event.message || 'The engine could not be loaded; reload the page to try again.');
    });
    return this.call('start', { force });
  }

  stop() {
    this.#worker?.terminate();
    this.#worker = null;
    this.#failAll('The engine was stopped.');
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

  #failAll(message) {
    for (const call of this.#calls.values()) call.reject(new EngineError({ message, fatal: true }));
    this.#calls.clear();
  }
}
