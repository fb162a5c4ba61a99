// A small pair with random weights: real files in the layout of `caldera export`, the same bytes every time.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { tones, wav } from './wav.mjs';

const WORDS = ('the a of and to in is it that was for on as with his they at be this from have or by one had not but what all were when we ' +
  'there can an your which their said if do will each about how up out them then she many some so these would other into has more two ' +
  'film story plot actor scene good bad great poor fine dull bright slow fast warm cold long short old new light dark').split(' ');
const SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]'];

/** Even numbers in [0, 1) from a seed (mulberry32). */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function tokenizer() {
  const vocab = Object.fromEntries([...SPECIAL, ...WORDS].map((word, id) => [word, id]));
  const special = (token) => ({ SpecialToken: { id: token, type_id: 0 } });
  const one = [special('[CLS]'), { Sequence: { id: 'A', type_id: 0 } }, special('[SEP]')];
  return {
    version: '1.0', truncation: null, padding: null,
    added_tokens: SPECIAL.map((content, id) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })),
    normalizer: { type: 'Lowercase' }, pre_tokenizer: { type: 'Whitespace' },
    post_processor: {
      type: 'TemplateProcessing', single: one,
      pair: [...one, { Sequence: { id: 'B', type_id: 1 } }, { SpecialToken: { id: '[SEP]', type_id: 1 } }],
      special_tokens: Object.fromEntries(['[CLS]', '[SEP]'].map((token) => [token, { id: token, ids: [vocab[token]], tokens: [token] }])),
    },
    decoder: null,
    model: { type: 'WordLevel', vocab, unk_token: '[UNK]' },
  };
}

/** Names and shapes of a BERT with classifier; `k` adds a Linformer's projections. */
function shapes({ hidden, layers, wide, positions, classes, k }) {
  const of = {};
  const linear = (name, out, input) => { of[`${name}.weight`] = [out, input]; of[`${name}.bias`] = [out]; };
  const norm = (name) => { of[`${name}.weight`] = [hidden]; of[`${name}.bias`] = [hidden]; };
  of['bert.embeddings.word_embeddings.weight'] = [SPECIAL.length + WORDS.length, hidden];
  of['bert.embeddings.position_embeddings.weight'] = [positions, hidden];
  of['bert.embeddings.token_type_embeddings.weight'] = [2, hidden];
  norm('bert.embeddings.LayerNorm');
  for (let layer = 0; layer < layers; layer += 1) {
    const name = `bert.encoder.layer.${layer}`;
    for (const part of ['query', 'key', 'value']) linear(`${name}.attention.self.${part}`, hidden, hidden);
    if (k) for (const part of ['proj_k', 'proj_v']) of[`${name}.attention.self.${part}`] = [positions, k];
    linear(`${name}.attention.output.dense`, hidden, hidden);
    norm(`${name}.attention.output.LayerNorm`);
    linear(`${name}.intermediate.dense`, wide, hidden);
    linear(`${name}.output.dense`, hidden, wide);
    norm(`${name}.output.LayerNorm`);
  }
  linear('bert.pooler.dense', hidden, hidden);
  linear('classifier', classes, hidden);
  return of;
}

/** Names and shapes of a GPT-NeoX; `states` puts Mamba mixers in place of its attention. */
function languageShapes({ hidden, layers, wide, vocab, states }) {
  const of = {};
  const linear = (name, out, input) => { of[`${name}.weight`] = [out, input]; of[`${name}.bias`] = [out]; };
  const norm = (name) => { of[`${name}.weight`] = [hidden]; of[`${name}.bias`] = [hidden]; };
  of['gpt_neox.embed_in.weight'] = [vocab, hidden];
  for (let layer = 0; layer < layers; layer += 1) {
    const name = `gpt_neox.layers.${layer}`;
    norm(`${name}.input_layernorm`);
    if (states) {
      const [mamba, channels, rank] = [`${name}.attention.mamba`, 2 * hidden, Math.ceil(hidden / 16)];
      of[`${mamba}.in_proj.weight`] = [2 * channels, hidden];
      of[`${mamba}.conv1d.weight`] = [channels, 1, 4];
      of[`${mamba}.conv1d.bias`] = [channels];
      of[`${mamba}.x_proj.weight`] = [rank + 2 * states, channels];
      linear(`${mamba}.dt_proj`, channels, rank);
      of[`${mamba}.A_log`] = [channels, states];
      of[`${mamba}.D`] = [channels];
      of[`${mamba}.out_proj.weight`] = [hidden, channels];
    } else {
      linear(`${name}.attention.query_key_value`, 3 * hidden, hidden);
      linear(`${name}.attention.dense`, hidden, hidden);
    }
    norm(`${name}.post_attention_layernorm`);
    linear(`${name}.mlp.dense_h_to_4h`, wide, hidden);
    linear(`${name}.mlp.dense_4h_to_h`, hidden, wide);
  }
  norm('gpt_neox.final_layer_norm');
  of['embed_out.weight'] = [vocab, hidden];
  return of;
}

/** Finite values as 16-bit floats, cut rather than rounded; what is too small becomes 0. */
const halves = (values) => Uint16Array.from(new Uint32Array(values.buffer), (bits) => {
  const exponent = ((bits >>> 23) & 255) - 112;
  return ((bits >>> 16) & 0x8000) | (exponent > 0 ? (exponent << 10) | ((bits >>> 13) & 0x3ff) : 0);
});

function safetensors(of, dtype = 'F32') {
  const header = {};
  const parts = [];
  let at = 0;
  for (const [name, shape] of Object.entries(of)) {
    const count = shape.reduce((product, n) => product * n, 1);
    // Seeded by name, so that both models share what they share.
    const next = random([...name].reduce((sum, letter) => (Math.imul(sum, 31) + letter.charCodeAt(0)) | 0, 7));
    const norm = /(LayerNorm|layernorm|layer_norm)\.weight$/.test(name);
    const values = Float32Array.from({ length: count }, () => (norm ? 1 : 0) + (next() - 0.5) * (shape.length > 1 ? 0.5 : 0.1));
    const stored = dtype === 'F16' ? halves(values) : values;
    parts.push(Buffer.from(stored.buffer));
    header[name] = { dtype, shape, data_offsets: [at, at += stored.byteLength] };
  }
  const json = Buffer.from(JSON.stringify(header).padEnd(Math.ceil(JSON.stringify(header).length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, ...parts]);
}

/** Every file of the pair by its path. */
export function makePair({ name = 'fixture', hidden = 64, layers = 2, heads = 4, wide = 128, positions = 256, k = 32, dtype = 'F32' } = {}) {
  const config = {
    architectures: ['BertForSequenceClassification'], model_type: 'bert', hidden_size: hidden, num_hidden_layers: layers,
    num_attention_heads: heads, intermediate_size: wide, hidden_act: 'gelu', max_position_embeddings: positions, type_vocab_size: 2,
    vocab_size: SPECIAL.length + WORDS.length, layer_norm_eps: 1e-12, pad_token_id: 0, initializer_range: 0.02,
    hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.1, torch_dtype: 'float32', id2label: { 0: 'negative', 1: 'positive' }, label2id: { negative: 0, positive: 1 },
  };
  const files = {};
  for (const [side, extra] of [['transformer', {}], ['linear', { caldera: { mixer: 'linformer', k, sharing: 'none' } }]]) {
    files[`${side}/config.json`] = Buffer.from(JSON.stringify({ ...config, ...extra }, null, 2));
    files[`${side}/model.safetensors`] = safetensors(shapes({ hidden, layers, wide, positions, classes: 2, k: side === 'linear' ? k : 0 }), dtype);
    files[`${side}/tokenizer.json`] = Buffer.from(JSON.stringify(tokenizer()));
  }
  return describe(files, {
    name, task: 'text-classification', description: 'Random weights, for tests: its answers mean nothing.',
    scores: { teacher: { accuracy: 0.5 }, student: { accuracy: 0.5 } },
    labels: ['negative', 'positive'],
    samples: [
      { text: 'a warm and bright story with a great actor in each scene', label: 'positive' },
      { text: 'the plot is slow and the film was long and dull', label: 'negative' },
      { text: Array.from({ length: 300 }, (_, i) => WORDS[(i * 7) % WORDS.length]).join(' ') },
    ],
  });
}

/** A tokenizer of bytes and a few joined ones; `without` leaves out the tokens with any of these letters. */
function byteTokenizer(without = '') {
  const tokenizer = JSON.parse(fs.readFileSync(new URL('../../fixtures/models/gpt-neox-tiny/tokenizer.json', import.meta.url)));
  const has = (token) => [...without].some((letter) => token.includes(letter));
  const { model } = tokenizer;
  model.vocab = Object.fromEntries(Object.entries(model.vocab).filter(([token, id]) => id < 2 || !has(token)));
  model.merges = model.merges.filter((merge) => !has(typeof merge === 'string' ? merge : merge.join('')));
  return tokenizer;
}

/** A pair of language models: a GPT-NeoX and a student of it with Mamba mixers, both of random weights. */
export function makeLanguagePair({ name = 'words', hidden = 32, layers = 2, heads = 2, wide = 64, positions = 512, vocab = 320, states = 16, without = '', dtype = 'F32' } = {}) {
  const config = {
    architectures: ['GPTNeoXForCausalLM'], model_type: 'gpt_neox', hidden_size: hidden, num_hidden_layers: layers, num_attention_heads: heads,
    intermediate_size: wide, hidden_act: 'gelu', max_position_embeddings: positions, rotary_pct: 0.25, rotary_emb_base: 10000, vocab_size: vocab,
    layer_norm_eps: 1e-5, initializer_range: 0.02, use_parallel_residual: true, attention_bias: true, tie_word_embeddings: false, eos_token_id: 0,
  };
  const files = {};
  for (const [side, extra, d_state] of [['transformer', {}, 0], ['linear', { caldera: { mixer: 'mamba', d_state: states } }, states]]) {
    files[`${side}/config.json`] = Buffer.from(JSON.stringify({ ...config, ...extra }, null, 2));
    files[`${side}/model.safetensors`] = safetensors(languageShapes({ hidden, layers, wide, vocab, states: d_state }), dtype);
    files[`${side}/tokenizer.json`] = Buffer.from(JSON.stringify(byteTokenizer(without)));
  }
  return describe(files, {
    name, task: 'language-modeling', description: 'Random weights, for tests: its texts mean nothing.',
    scores: { teacher: { perplexity: 320 }, student: { perplexity: 320 } },
    samples: [{ text: 'Once upon a time' }, { text: 'the ' }],
  });
}

const FEATURES = { dim: 16, kernels: [10, 8, 4, 4], strides: [5, 4, 4, 4] };
const CHARACTERS = Object.fromEntries(['<pad>', '<s>', '</s>', '<unk>', '|', ...'efghinorstuvwxz'].map((token, id) => [token, id]));

/** Names and shapes of a Wav2Vec2 with stable layer norm; `mamba` puts bidirectional Mamba-2 in place of its attention, `labels` a classifier on it. */
function speechShapes({ hidden, layers, wide, mamba, labels }) {
  const of = {};
  const linear = (name, out, input) => { of[`${name}.weight`] = [out, input]; of[`${name}.bias`] = [out]; };
  const norm = (name, width = hidden) => { of[`${name}.weight`] = [width]; of[`${name}.bias`] = [width]; };
  const { dim, kernels } = FEATURES;
  kernels.forEach((kernel, i) => {
    const name = `wav2vec2.feature_extractor.conv_layers.${i}`;
    of[`${name}.conv.weight`] = [dim, i ? dim : 1, kernel];
    of[`${name}.conv.bias`] = [dim];
    norm(`${name}.layer_norm`, dim);
  });
  norm('wav2vec2.feature_projection.layer_norm', dim);
  linear('wav2vec2.feature_projection.projection', hidden, dim);
  of['wav2vec2.encoder.pos_conv_embed.conv.bias'] = [hidden];
  of['wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original0'] = [1, 1, 16];
  of['wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original1'] = [hidden, hidden / 4, 16];
  for (let layer = 0; layer < layers; layer += 1) {
    const name = `wav2vec2.encoder.layers.${layer}`;
    for (const direction of mamba ? ['fw_mamba', 'bw_mamba'] : []) {
      const [part, mixed] = [`${name}.attention.${direction}`, hidden + 2 * mamba.d_state];
      of[`${part}.in_proj.weight`] = [hidden + mixed + mamba.num_heads, hidden];
      of[`${part}.conv1d.weight`] = [mixed, 1, 4];
      of[`${part}.conv1d.bias`] = [mixed];
      for (const one of ['dt_bias', 'A_log', 'D']) of[`${part}.${one}`] = [mamba.num_heads];
      of[`${part}.norm.weight`] = [hidden];
      of[`${part}.out_proj.weight`] = [hidden, hidden];
    }
    if (!mamba) for (const part of ['k_proj', 'v_proj', 'q_proj', 'out_proj']) linear(`${name}.attention.${part}`, hidden, hidden);
    norm(`${name}.layer_norm`);
    linear(`${name}.feed_forward.intermediate_dense`, wide, hidden);
    linear(`${name}.feed_forward.output_dense`, hidden, wide);
    norm(`${name}.final_layer_norm`);
  }
  norm('wav2vec2.encoder.layer_norm');
  if (labels) { linear('projector', 20, hidden); linear('classifier', labels.length, 20); }
  else linear('lm_head', Object.keys(CHARACTERS).length, hidden);
  return of;
}

/** A pair of speech models: a Wav2Vec2 and a student of it with bidirectional Mamba-2, both of random weights; with `labels` they classify. */
export function makeSpeechPair({ name = 'digits', hidden = 32, layers = 2, wide = 64, rate = 8000, labels = null, dtype = 'F32' } = {}) {
  const { dim, kernels, strides } = FEATURES;
  const config = {
    architectures: [labels ? 'Wav2Vec2ForSequenceClassification' : 'Wav2Vec2ForCTC'], model_type: 'wav2vec2', hidden_size: hidden, num_hidden_layers: layers,
    num_attention_heads: 2, intermediate_size: wide, hidden_act: 'gelu', layer_norm_eps: 1e-5, feat_extract_norm: 'layer', feat_extract_activation: 'gelu',
    conv_bias: true, conv_dim: kernels.map(() => dim), conv_kernel: kernels, conv_stride: strides, num_conv_pos_embeddings: 16, num_conv_pos_embedding_groups: 4,
    do_stable_layer_norm: true, classifier_proj_size: 20, vocab_size: Object.keys(CHARACTERS).length, pad_token_id: 0,
    ...(labels ? { id2label: { ...labels }, label2id: Object.fromEntries(labels.map((label, id) => [label, id])) } : {}),
  };
  const mamba = { num_heads: 2, head_dim: hidden / 2, d_state: 16 };
  const files = {};
  for (const [side, sizes] of [['transformer', null], ['linear', mamba]]) {
    files[`${side}/config.json`] = Buffer.from(JSON.stringify({ ...config, ...(sizes ? { caldera: { mixer: 'bimamba2', ...sizes } } : {}) }, null, 2));
    files[`${side}/model.safetensors`] = safetensors(speechShapes({ hidden, layers, wide, mamba: sizes, labels }), dtype);
    files[`${side}/preprocessor_config.json`] = Buffer.from(JSON.stringify({ feature_extractor_type: 'Wav2Vec2FeatureExtractor', sampling_rate: rate, do_normalize: true, return_attention_mask: true }));
    if (!labels) files[`${side}/vocab.json`] = Buffer.from(JSON.stringify(CHARACTERS));
  }
  files['samples/seven.wav'] = wav([tones(1.5, rate)], { rate });
  files['samples/three-one.wav'] = wav([tones(2.25, rate, 330)], { rate });
  const credit = 'made for the tests, CC0';
  return describe(files, {
    name, task: labels ? 'audio-classification' : 'automatic-speech-recognition', description: 'Random weights, for tests: what they hear means nothing.',
    scores: { teacher: { wer: 1 }, student: { wer: 1 } }, labels: labels ?? [],
    samples: [{ text: 'seven', label: labels?.[0], audio: 'samples/seven.wav', credit }, { text: 'three one', label: labels?.[1], audio: 'samples/three-one.wav', credit }],
  });
}

/** Adds pair.json: what is said of the pair, and every file with its sum. */
function describe(files, about) {
  const listed = Object.entries(files).map(([file, bytes]) => ({ path: file, size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }));
  const data = { name: 'none', licence: 'CC0-1.0', source: 'tests/browser/support/pair.mjs' };
  files['pair.json'] = Buffer.from(`${JSON.stringify({ ...about, data, licence: 'CC0-1.0', files: listed }, null, 2)}\n`);
  return files;
}

/** Writes a pair's files into a folder. */
export function writePair(files, folder) {
  for (const [file, bytes] of Object.entries(files)) {
    const target = path.join(folder, file);
    fs.mkdirSync(path.dirname(target), { recursive: true });
    fs.writeFileSync(target, bytes);
  }
}
