// What went wrong in the engine, in words that say what to do. Fatal is what the worker does not survive.

const GPU_LOST = 'The GPU was lost, as happens when its driver restarts, the computer sleeps or its memory runs out';
const GPU_FULL = 'The GPU has no memory left for this pair or this length. Close what else uses the GPU, take a shorter input, or go on with the CPU';

/** MiB, for people. */
const mib = (bytes) => Math.max(1, Math.round(bytes / 2 ** 20)).toLocaleString('en-US');

/**
 * {message, fatal, cpu, action} of an error. `panic` is the engine's last panic; `exhausted()` the bytes that the wasm memory had no room
 * for, if so; `reading` names the file of weights under way, if there is one; `running` says whether there is an engine to go on with,
 * `gpu` whether it is on the GPU. `cpu` says that the CPU engine may do where the GPU did not, `action` what another try would do, where that is not all from the start.
 */
export function explain(error, { panic, exhausted, reading, running, gpu }) {
  const message = error?.message ?? String(error);
  const short = exhausted();
  if (short && (panic || error instanceof WebAssembly.RuntimeError)) {
    return {
      message: `${reading ? `${reading}: the` : 'The'} memory of this tab is used up: ${mib(short)} MiB more were needed, and a page gets 4 GiB at most. ` +
        `Take a ${reading ? '' : 'shorter input or a '}smaller pair`,
      fatal: true,
    };
  }
  const said = panic ?? message;
  if (/device (is |was )?(lost|poisoned)|poisoned/i.test(said)) {
    console.warn(said);
    return { message: GPU_LOST, fatal: true, cpu: true };
  }
  if (/Out of Memory|OutOfMemory/.test(said)) return { message: GPU_FULL, fatal: true, cpu: true };
  // On the GPU it may be a driver that refuses a shader: the CPU engine has none.
  if (panic) return { message: `The engine stopped: ${panic}`, fatal: true, cpu: gpu };
  if (error instanceof WebAssembly.RuntimeError) return { message: `The engine stopped (${error.message})`, fatal: true, cpu: gpu };
  return { message, fatal: !running, cpu: error?.cpu, action: error?.action };
}
