// Theory beside the measurements: the arithmetic of both models and what they hold, counted from their config.json. No page in here.
import { byLength, number, ROLES } from './sweep.js';
import { bytes } from './words.js';

/**
 * A count is [constant, a, b]: constant + a·x + b·x² multiply-adds or bytes, where x is what the x axis has (tokens of a text,
 * seconds of a clip, tokens of context behind the one that is written).
 */
export const at = ([constant, a, b], x) => constant + a * x + b * x * x;

/** Raised where a config.json lacks a number; no curve is drawn then. */
const missing = (name) => { throw new RangeError(`config.json has no ${name}`); };

/** Reads whole numbers of a config, by any of their names; a converted model has those of its mixer under "caldera". */
const reader = (config) => (...names) => {
  const found = names.map((name) => config.caldera?.[name] ?? config[name]).find((value) => Number.isInteger(value) && value >= 0);
  return found ?? DEFAULTS[names[0]]?.(config) ?? missing(names[0]);
};

/** What the engine takes where a mixer's settings are left out. */
const DEFAULTS = { expand: () => 2, d_conv: () => 4, dt_rank: ({ hidden_size: h }) => Math.ceil(h / 16), n_groups: () => 1 };

/** Channels of a Mamba mixer. */
const channelsOf = (config) => (config.model_type === 'mamba' ? reader(config)('intermediate_size') : reader(config)('expand') * reader(config)('hidden_size'));

/** Heads of a Mamba-2 mixer, all their channels, and the states' vectors beside them. */
function headsOf(config) {
  const of = reader(config);
  const heads = of('num_heads');
  return { heads, channels: heads * of('head_dim'), sides: 2 * of('n_groups') * of('d_state', 'state_size') };
}

/**
 * What mixes the tokens in one layer, for each token: `a` multiply-adds whatever the length, `b` for each token of the length.
 *
 * - Softmax attention (Vaswani et al. 2017, arXiv:1706.03762, table 1): the four projections 4h², scores and their
 *   weighted sum 2h for each token that is looked at.
 * - Linformer (Wang et al. 2020, arXiv:2006.04768, section 4): the same projections, 2kh to fold a token's key and value into
 *   the k rows, 2kh to look at these.
 * - Mamba (Gu and Dao 2023, arXiv:2312.00752, section 3): d = expand·h channels of N states; projections in 2dh, convolution
 *   d·d_conv, step and both state vectors d(r + 2N), the step's widening rd, recurrence 3dN (decay, input, output), projection out dh.
 * - Bidirectional Mamba-2 (Dao and Gu 2024, arXiv:2405.21060, section 7): in both directions projections in h(2d + 2GN + heads),
 *   convolution (d + 2GN)·d_conv, recurrence 3dN, projection out dh.
 */
function mixing(mixer, config) {
  const of = reader(config);
  const h = of('hidden_size');
  if (mixer === 'softmax') return { a: 4 * h * h, b: 2 * h };
  if (mixer === 'linformer') return { a: 4 * h * h + 4 * of('k') * h, b: 0 };
  const [states, kernel] = [of('d_state', 'state_size'), of('d_conv', 'conv_kernel')];
  if (mixer === 'mamba') {
    const channels = channelsOf(config);
    const rank = of('dt_rank', 'time_step_rank');
    return { a: 3 * channels * h + channels * kernel + channels * (rank + 2 * states) + rank * channels + 3 * channels * states, b: 0 };
  }
  if (mixer === 'bimamba2') {
    const { heads, channels, sides } = headsOf(config);
    return { a: 2 * (h * (2 * channels + sides + heads) + (channels + sides) * kernel + 3 * channels * states + channels * h), b: 0 };
  }
  return missing(`formula for the mixer ${mixer}`);
}

/** For each token of all layers: the mixer and the two matrices of the feed-forward part, 2hf; Mamba by itself has no such part. */
function layers({ mixer }, config) {
  const of = reader(config);
  const { a, b } = mixing(mixer, config);
  const wide = config.model_type === 'mamba' ? 0 : 2 * of('hidden_size') * of('intermediate_size');
  const count = of('num_hidden_layers', 'n_layer');
  return { a: count * (a + wide), b: count * b };
}

/** A text classifier: all layers for each token; pooling and classes once, too little to count. */
function text(facts) {
  const { a, b } = layers(facts, facts.config);
  return [0, a, b];
}

/**
 * One more token of a language model behind a context: all layers and the head for one token, and attention over the context.
 * As every number takes part once, this is also how many weights and cached values are read for it.
 */
function token(facts) {
  const { a, b } = layers(facts, facts.config);
  return [a + reader(facts.config)('hidden_size') * reader(facts.config)('vocab_size'), b, 0];
}

/**
 * A second of sound in a Wav2Vec2 (Baevski et al. 2020, arXiv:2006.11477): convolutions that make frames, their projection, the
 * positional convolution (its groups divide the channels), all layers for each frame, and the head where it transcribes.
 */
function clip(facts) {
  const { config } = facts;
  const of = reader(config);
  const [h, frames] = [of('hidden_size'), facts.sampling_rate / facts.hop];
  let rate = facts.sampling_rate;
  let [front, channels] = [0, 1];
  config.conv_dim.forEach((out, i) => {
    rate /= config.conv_stride[i];
    front += rate * out * channels * config.conv_kernel[i];
    channels = out;
  });
  const positions = h * (h / of('num_conv_pos_embedding_groups')) * of('num_conv_pos_embeddings');
  const head = facts.transcribes ? h * of('vocab_size') : h * of('classifier_proj_size');
  const { a, b } = layers(facts, config);
  return [0, front + frames * (channels * h + positions + a + head), frames * frames * b];
}

/** Bytes of a number on the device: weights may be stored in fewer, what is computed is not. */
const FLOAT = 4;

/**
 * What a language model holds of its context, all layers: keys and values, 2h for each token; or, however long the context, d
 * channels with N states and the d_conv - 1 inputs before.
 */
function held({ mixer, config }) {
  const of = reader(config);
  const count = FLOAT * of('num_hidden_layers', 'n_layer');
  if (mixer === 'softmax') return [0, count * 2 * of('hidden_size'), 0];
  if (mixer === 'mamba') return [count * channelsOf(config) * (of('d_conv', 'conv_kernel') - 1 + of('d_state', 'state_size')), 0, 0];
  return missing(`formula for what the mixer ${mixer} holds`);
}

/** The most numbers that a token has in a layer at once: what one of its matrices takes and gives. */
function widest({ mixer, config }) {
  const of = reader(config);
  const mixed = () => { const { heads, channels, sides } = headsOf(config); return 2 * channels + sides + heads; };
  return of('hidden_size') + Math.max(of('intermediate_size'), mixer === 'bimamba2' ? mixed() : 3 * of('hidden_size'));
}

/** The widest activations of a text: neither model stores anything that grows with the square. */
const passing = (facts) => [0, FLOAT * widest(facts), 0];

/** The widest activations of a second of sound: mostly those of the first convolutions, whose frames are the shortest. */
function sounding(facts) {
  const { config, sampling_rate: rate, hop } = facts;
  let [length, channels] = [rate, 1];
  const stages = config.conv_dim.map((out, i) => {
    const into = length * channels;
    length /= config.conv_stride[i];
    channels = out;
    return into + length * channels;
  });
  return [0, FLOAT * Math.max(...stages, rate / hop * widest(facts)), 0];
}

/** By what the engine calls a kind of model: multiply-adds, and bytes. */
const COUNTS = { text: { work: text, room: passing }, language: { work: token, room: held }, speech: { work: clip, room: sounding } };

/**
 * {transformer, linear} counts of multiply-adds of a loaded pair, and `memory`, the same of bytes, where `absolute` says that it is
 * all that is held, and no shape alone. Null where a number is missing.
 */
export function arithmetic(loaded) {
  try {
    const of = (what) => Object.fromEntries(ROLES.map((role) => [role, COUNTS[loaded[role].kind][what](loaded[role])]));
    return { ...of('work'), memory: { ...of('room'), absolute: loaded.transformer.kind === 'language' } };
  } catch {
    return null;
  }
}

/** The x from which on the transformer needs more than the linear model; null where it never or always does. */
export function equal({ transformer, linear }) {
  const [c, b, a] = transformer.map((value, i) => value - linear[i]);
  if (!a) return b > 0 && c < 0 ? -c / b : null;
  const root = (-b + Math.sqrt(b * b - 4 * a * c)) / (2 * a);
  return root > 0 ? root : null;
}

const median = (point) => point.median_ms;

/**
 * Both models' curves, scaled so that each meets what `pick` gives of its own point at the longest measured length, or as they
 * are where counts are `absolute`: {anchor, curves: {role: [{x, y}]}}; null below two lengths. Between the ends there are enough
 * points for a smooth line.
 */
export function curves(counts, points, pick = median) {
  const rows = byLength(points);
  if (!counts || rows.length < 2) return null;
  const [first, [anchor, last]] = [rows[0][0], rows.at(-1)];
  const STEPS = 40;
  const of = (role) => {
    const scale = counts.absolute ? 1 : pick(last[role]) / at(counts[role], anchor);
    return Array.from({ length: STEPS + 1 }, (_, i) => {
      const x = first * (anchor / first) ** (i / STEPS);
      return { x, y: scale * at(counts[role], x) };
    });
  };
  return { anchor, curves: Object.fromEntries(ROLES.map((role) => [role, of(role)])) };
}

/** What the curves are, in words; `x` is what the axis counts, `unit` one of it. */
export function theoryInWords(counts, points, unit) {
  const drawn = curves(counts, points);
  if (!drawn) return '';
  const { anchor } = drawn;
  const first = byLength(points)[0][0];
  const [transformer, linear] = ROLES.map((role) => {
    const grown = at(counts[role], anchor) / at(counts[role], first);
    return `${grown >= 9.95 ? number(Math.round(grown)) : grown.toFixed(1)} times`;
  });
  const cross = equal(counts);
  const where = cross === null ? `The linear model needs ${at(counts.linear, anchor) < at(counts.transformer, anchor) ? 'fewer' : 'more'} of them at every length.`
    : `Both need as many at about ${number(Number(cross.toPrecision(2)))} ${unit}, the transformer more beyond.`;
  return `Dashed, and not measured: arithmetic alone, counted from the two models’ configurations. Each curve is scaled to meet its model’s median at ${number(anchor)} ${unit}, `
    + `so only its shape is theory. From ${number(first)} to ${number(anchor)} ${unit} the transformer comes to need ${transformer} the multiply-adds, the linear model ${linear}. ${where}`
    + (counts.memory ? ` ${memoryInWords(counts.memory, anchor, unit)}` : '');
}

/** What the memory's curves are. */
function memoryInWords({ transformer, linear, absolute }, anchor, unit) {
  if (!absolute) {
    return `Memory beside it: the widest numbers on their way through a model, in proportion to the length in both, since neither keeps a matrix of length × length; `
      + `scaled to what each took at ${number(anchor)} ${unit}.`;
  }
  return `Memory beside it is counted too, and not scaled: keys and values of the transformer take ${bytes(transformer[1])} for each of the ${unit} in the context, `
    + `the linear model’s state ${bytes(linear[0])} at every context. The transformer’s buffers double when they are full, so that up to twice as much is held.`;
}
