// Times every dispatch on WebGPU by timestamp queries: run in a scope (page or worker) before anything asks for a device.
// `kernelTimes.start()`, then the work, then `await kernelTimes.stop()`: [{kernel, count, groups, ms}], the most first.
// A dispatch gets a compute pass of its own, so the sum of the times is a little above what the work takes without this.
(() => {
  const CAPACITY = 4096;
  const names = new WeakMap();
  const kernels = new Map();
  let device = null;
  let queries = null;
  let dispatches = null;

  const before = (prototype, method, change) => {
    const original = prototype[method];
    prototype[method] = function (...given) { return change.call(this, (...changed) => original.apply(this, changed), ...given); };
  };

  before(GPUAdapter.prototype, 'requestDevice', async function (request, description = {}) {
    const requiredFeatures = [...new Set([...(description.requiredFeatures ?? []), 'timestamp-query'])];
    device = await request({ ...description, requiredFeatures });
    queries = device.createQuerySet({ type: 'timestamp', count: CAPACITY });
    return device;
  });
  before(GPUDevice.prototype, 'createShaderModule', (create, description) => {
    const shader = create(description);
    names.set(shader, description.code);
    return shader;
  });
  const named = (create, description) => {
    const { module, entryPoint, constants } = description.compute;
    const code = names.get(module) ?? '';
    // A kernel is known by its program and constants: a number and, where there is one, its label.
    const key = JSON.stringify([code, entryPoint, constants]);
    if (!kernels.has(key)) kernels.set(key, { name: `${kernels.size} ${description.label || module.label || entryPoint || ''}`.trim(), code });
    const give = (pipeline) => { names.set(pipeline, kernels.get(key).name); return pipeline; };
    const made = create(description);
    return made instanceof Promise ? made.then(give) : give(made);
  };
  before(GPUDevice.prototype, 'createComputePipeline', named);
  before(GPUDevice.prototype, 'createComputePipelineAsync', named);

  before(GPUCommandEncoder.prototype, 'beginComputePass', function (begin, description) {
    if (!dispatches) return begin(description);
    let pipeline = null;
    const groups = new Map();
    const one = (queue) => {
      const at = dispatches.length;
      const timestampWrites = 2 * at + 1 < CAPACITY
        ? { querySet: queries, beginningOfPassWriteIndex: 2 * at, endOfPassWriteIndex: 2 * at + 1 } : undefined;
      const pass = begin({ ...description, timestampWrites });
      pass.setPipeline(pipeline);
      for (const [index, given] of groups) pass.setBindGroup(index, ...given);
      queue(pass);
      pass.end();
    };
    return {
      label: '',
      setPipeline(given) { pipeline = given; },
      setBindGroup(index, ...given) { groups.set(index, given); },
      dispatchWorkgroups(x, y = 1, z = 1) {
        one((pass) => pass.dispatchWorkgroups(x, y, z));
        dispatches.push({ kernel: names.get(pipeline), groups: x * y * z });
      },
      dispatchWorkgroupsIndirect(...given) {
        one((pass) => pass.dispatchWorkgroupsIndirect(...given));
        dispatches.push({ kernel: names.get(pipeline), groups: 0 });
      },
      pushDebugGroup() {}, popDebugGroup() {}, insertDebugMarker() {}, end() {},
    };
  });

  globalThis.kernelTimes = {
    start() { dispatches = []; },
    async stop() {
      const taken = dispatches;
      dispatches = null;
      const count = Math.min(2 * taken.length, CAPACITY);
      const usage = GPUBufferUsage;
      const resolved = device.createBuffer({ size: 8 * CAPACITY, usage: usage.QUERY_RESOLVE | usage.COPY_SRC });
      const read = device.createBuffer({ size: 8 * CAPACITY, usage: usage.MAP_READ | usage.COPY_DST });
      const encoder = device.createCommandEncoder();
      encoder.resolveQuerySet(queries, 0, count, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, read, 0, 8 * CAPACITY);
      device.queue.submit([encoder.finish()]);
      await read.mapAsync(GPUMapMode.READ);
      const times = new BigUint64Array(read.getMappedRange());
      const sums = new Map();
      taken.forEach(({ kernel, groups }, i) => {
        const sum = sums.get(kernel) ?? { kernel, count: 0, groups: 0, ms: 0 };
        sum.count += 1;
        sum.groups += groups;
        if (2 * i + 1 < count) sum.ms += Number(times[2 * i + 1] - times[2 * i]) / 1e6;
        sums.set(kernel, sum);
      });
      return [...sums.values()].sort((a, b) => b.ms - a.ms);
    },
    /** The program of a kernel by its name. */
    code: (name) => [...kernels.values()].find((kernel) => kernel.name === name)?.code,
  };
})();
