
// What the kernels over rows share: sizes, which block of rows a workgroup has, and what a query sees.
// info: Lq, Lk, H, workgroups, blocks of a sample and head, scale as f32 bits; then [B] real queries, [B] real keys
const CAUSAL = {{ causal }};
const P = {{ width }}u;
const P4 = {{ width4 }}u;
const TILE = {{ tile }}u;
const THREADS = {{ threads }}u;
const BLOCK = {{ threads }}u * {{ rows }}u;
const SIZES = 6u;

var<workgroup> plan: vec4<u32>;

struct Place {
    queries_len: u32,
    keys_len: u32,
    heads: u32,
    // Sample, head, and first row of the block.
    b: u32,
    h: u32,
    first: u32,
    // The dispatch may be larger than the work.
    exists: bool,
}

fn place_of(group_id: vec3<u32>, groups: vec3<u32>) -> Place {
    let group = group_id.y * groups.x + group_id.x;
    let heads = info[2];
    let blocks = info[4];
    return Place(info[0], info[1], heads, group / (heads * blocks), group / blocks % heads, group % blocks * BLOCK, group < info[3]);
}

// Real queries and keys of a sample that exists.
fn real(at: Place) -> vec2<u32> {
    let batch = info[3] / (at.heads * info[4]);
    return min(vec2<u32>(info[SIZES + at.b], info[SIZES + batch + at.b]), vec2<u32>(at.queries_len, at.keys_len));
}

// (keys that any query of the block sees, real queries, real keys, whether the group exists)
fn plan_queries(at: Place) -> vec4<u32> {
    if (!at.exists) {
        return vec4<u32>(0u);
    }
    let size = real(at);
    var end = size.y;
    if (CAUSAL) {
        end = min(end, at.first + BLOCK);
    }
    return vec4<u32>(select(0u, end, at.first < size.x), size, 1u);
}

// (first query that any key of the block is seen by, end of the real queries, real keys, whether the group exists)
fn plan_keys(at: Place) -> vec4<u32> {
    if (!at.exists) {
        return vec4<u32>(0u);
    }
    let size = real(at);
    let begin = select(0u, at.first / TILE * TILE, CAUSAL);
    return vec4<u32>(begin, select(0u, size.x, at.first < size.y), size.y, 1u);
}

// Keys that query `i` sees, from the first one on.
fn visible_keys(i: u32, size: vec4<u32>) -> u32 {
    if (i >= size.y) {
        return 0u;
    }
    return select(size.z, min(size.z, i + 1u), CAUSAL);
}
