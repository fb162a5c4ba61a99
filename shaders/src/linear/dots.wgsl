// C = A Bt + bias where one operand has few rows, as for one token or a few classes: 8 threads a row of the other operand,
// which is read once. Both operands have their depth side by side, in fours.
@group(0) @binding(0) var<storage, read_write> a: array<{{ a_four }}>; // ({{ few }}, k)
@group(0) @binding(1) var<storage, read_write> b: array<{{ b_four }}>; // (many, k)
@group(0) @binding(2) var<storage, read_write> c: array<f32>; // one value for each pair of rows
{{ bias_binding }}
@group(0) @binding({{ info_binding }}) var<storage, read_write> info: array<u32>; // many, k / 4, distance in C of the few, of the many

// (few, rows of b, their threads)
var<workgroup> partial: array<f32, {{ few }}u * {{ threads }}u>;

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let first = (group.y * groups.x + group.x) * {{ threads }}u / 8u;
  let fours = info[1];
  let at = min(first + thread / 8u, info[0] - 1u) * fours;
  //@ for i in 0..{{ few }}
  var sum_@i = 0.0;
  //@ end
  for (var four = thread % 8u; four < fours; four += 8u) {
    let value = {{ b_unpack }}(b[at + four]);
    //@ for i in 0..{{ few }}
    sum_@i += dot({{ a_unpack }}(a[@iu * fours + four]), value);
    //@ end
  }
  //@ for i in 0..{{ few }}
  partial[@iu * {{ threads }}u + thread] = sum_@i;
  //@ end
  workgroupBarrier();
  // A thread for each value: at most 8 of the few for each of the rows.
  let row = thread / 8u;
  let i = thread % 8u;
  if (i < {{ few }}u && first + row < info[0]) {
    var sum = 0.0;
    for (var part = 0u; part < 8u; part++) { sum += partial[i * {{ threads }}u + row * 8u + part]; }
    let few = i;
    let many = first + row;
    c[few * info[2] + many * info[3]] = sum + {{ bias }};
  }
}
