// The plan of a workgroup of a product over the chunks of heads or groups ({{ owners }}). Behind it comes block_product.

// B, L, H, P, G, N, chunks, workgroups, tiles down, tiles right, whether there is a state before the first chunk
@group(0) @binding({{ info }}) var<storage, read_write> info: array<u32>;

struct Plan {
  exists: u32,  // whether there is such a group
  terms_0: u32, // of the sum; 0 where the group does not exist
  terms_1: u32, // of the second one
  rows: u32,    // of the result
  columns: u32, // of the result
  row0: u32,
  column0: u32,
  tile: u32,    // tile number along the columns
  first: u32,   // the chunk's first position in [B * L]
  count: u32,   // its positions
  cell: u32,    // its number in [B * chunks]
  owner: u32,   // head or group
  group: u32,   // of the head; divided here, because adapters without integer division spend more on one than on 32 sums
  sharing: u32, // heads of a group
  heads: u32,
  width: u32,
  groups: u32,
  state: u32,
}

fn make_plan(number: u32) -> Plan {
  if (number >= info[7]) {
    return Plan();
  }
  let len = info[1];
  let heads = info[2];
  let width = info[3];
  let groups = info[4];
  let state = info[5];
  let chunks = info[6];
  let owners = {{ owners }};
  let tiles = info[8] * info[9];
  let cell = number / (tiles * owners);
  let start = cell % chunks * 64u;
  let count = min(64u, len - start);
  let owner = number / tiles % owners;
  let empty = {{ empty }}; // whether the chunk's state is of zeros, or nobody asks for it
  return Plan(
    1u,
    {{ terms_0 }},
    {{ terms_1 }},
    {{ rows }},
    {{ columns }},
    number % tiles / info[9] * 64u,
    number % info[9] * 64u,
    number % info[9],
    cell / chunks * len + start,
    count,
    cell,
    owner,
    owner / (heads / groups),
    heads / groups,
    heads,
    width,
    groups,
    state,
  );
}

