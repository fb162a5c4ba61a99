// Which GPU there is, what it says of itself, and whether the kernels fit it.

/** What the kernels are written for: WebGPU's default limits, which adapters in compatibility mode may lack. */
const NEEDED = {
  maxComputeInvocationsPerWorkgroup: 256, maxComputeWorkgroupStorageSize: 16384, maxStorageBuffersPerShaderStage: 8,
  maxStorageBufferBindingSize: 2 ** 27, maxComputeWorkgroupsPerDimension: 65535,
};

/** What an adapter has too little of, in words; null where it has enough. */
function lacking({ limits }) {
  const low = Object.entries(NEEDED).find(([name, least]) => limits[name] < least);
  return low ? `its ${low[0]} is ${limits[low[0]]}, and the kernels need ${low[1]}` : null;
}

/** Why WebGPU cannot be used, or the adapter that can. */
export async function findAdapter() {
  if (!isSecureContext) return { why: 'WebGPU needs https or localhost, and this page came over plain http' };
  if (!navigator.gpu) return { why: 'this browser has no WebGPU, or it is switched off' };
  try {
    const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
    if (!adapter) return { why: 'this browser has WebGPU but found no adapter for it' };
    const low = lacking(adapter);
    return low ? { why: `the adapter offers too little: ${low}` } : { adapter };
  } catch (error) {
    return { why: `asking for an adapter failed (${error.message})` };
  }
}

const LIMITS = ['maxBufferSize', 'maxStorageBufferBindingSize', 'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupStorageSize', 'maxComputeWorkgroupsPerDimension', 'maxStorageBuffersPerShaderStage'];

/** What the page and its exports say of an adapter. */
export function describe(adapter) {
  const info = adapter.info ?? {};
  const words = [info.vendor, info.architecture, info.device, info.description].filter(Boolean);
  return {
    engine: 'webgpu',
    vendor: info.vendor ?? '', architecture: info.architecture ?? '', device: info.device ?? '', description: info.description ?? '',
    // The flag is young, so the two software adapters in use are known by name as well.
    software: Boolean(info.isFallbackAdapter ?? adapter.isFallbackAdapter)
      || words.some((word) => /swiftshader|llvmpipe|lavapipe|basic render/i.test(word)),
    limits: Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]])),
    features: [...adapter.features].sort(),
    timestamps: adapter.features.has('timestamp-query'),
  };
}
