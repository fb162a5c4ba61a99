//! One token after another, against whole sequences.

use burn::tensor::DeviceKind;
use proptest::prelude::*;

use super::*;

/// Logits [B, L, V]: a prefill of `prefill` tokens, then steps. Those of earlier positions are left out.
fn stepwise(model: &LanguageModel, rows: &[Vec<u32>], prefill: usize) -> (Tensor<3>, DecodeState) {
    let ids = ids(rows, &model.device());
    let [b, l] = ids.dims();
    let (first, mut state) = model.prefill(ids.clone().narrow(1, 0, prefill));
    let mut all = vec![first];
    for t in prefill..l {
        let token = ids.clone().narrow(1, t, 1).reshape([b]);
        all.push(model.step(token, &mut state));
        assert_eq!(state.tokens(), t + 1);
    }
    (Tensor::stack(all, 1), state)
}

fn steps_agree(model: &LanguageModel, length: usize, prefill: usize, limit: f64) {
    let rows = [sample(length, 5), sample(length, 6)];
    let want = logits(model, &rows).narrow(1, prefill - 1, length - prefill + 1);
    let (got, _) = stepwise(model, &rows, prefill);
    let what = format!("{} from {prefill} to {length}", model.config.mixer.name());
    assert_close(got, want, limit, &what);
}

#[test]
fn steps_give_the_logits_of_the_whole_sequence() {
    for model in kinds() {
        // Over the edges of the cache: 16, 32, 64, and the last position.
        for (length, prefill) in [(40, 1), (20, 15), (34, 16), (96, 60), (5, 5)] {
            steps_agree(&model, length, prefill, 1e-5);
        }
    }
}

#[test]
fn steps_agree_on_wgpu() {
    let device = Device::wgpu(DeviceKind::DefaultDevice);
    for model in kinds() {
        steps_agree(&model.to_device(&device), 21, 14, 1e-4);
    }
}

#[test]
fn a_cache_grows_by_doubling_and_a_mamba_state_does_not() {
    let model = load("gpt-neox-tiny");
    // Keys and values of 3 layers, 32 values a token, two samples.
    let bytes = |tokens: usize| 2 * 3 * 2 * tokens * 32 * 4;
    let rows = [sample(96, 1), sample(96, 2)];
    for (tokens, capacity) in [
        (3, 16),
        (16, 16),
        (17, 32),
        (32, 32),
        (40, 64),
        (65, 96),
        (96, 96),
    ] {
        let rows = rows.clone().map(|row| row[..tokens].to_vec());
        assert_eq!(
            stepwise(&model, &rows, 2).1.bytes(),
            bytes(capacity),
            "{tokens}"
        );
        assert_eq!(
            stepwise(&model, &rows, tokens).1.bytes(),
            bytes(capacity),
            "{tokens}"
        );
    }
    // 3 layers, 2 x 32 channels, 3 inputs of the convolution and 16 states, two samples.
    for name in ["gpt-neox-tiny", "gpt-neox-tiny-sequential"] {
        let model = student(name, 1);
        for tokens in [1, 30] {
            let rows = rows.clone().map(|row| row[..tokens].to_vec());
            assert_eq!(
                stepwise(&model, &rows, 1).1.bytes(),
                3 * 2 * 64 * (3 + 16) * 4
            );
        }
    }
}

#[test]
fn a_state_can_be_kept_and_gone_on_from_twice() {
    for model in kinds() {
        let rows = [sample(12, 1)];
        let (_, kept) = stepwise(&model, &rows, 3);
        let go = |token: i64| {
            let mut state = kept.clone();
            let token = Tensor::from_data(TensorData::new(vec![token], [1]), &model.device());
            values(model.step(token, &mut state))
        };
        let (a, b) = (go(7), go(200));
        assert_ne!(a, b);
        assert_eq!(a, go(7));
    }
}

#[test]
fn a_rewound_cache_gives_the_same_step_again() {
    let model = load("gpt-neox-tiny");
    let rows = [sample(20, 1)];
    let (_, mut state) = stepwise(&model, &rows, 20);
    let go = |state: &mut DecodeState, token: i64| {
        let token = Tensor::from_data(TensorData::new(vec![token], [1]), &model.device());
        values(model.step(token, state))
    };
    let want = go(&mut state, 7);
    state.rewind(1);
    assert_ne!(go(&mut state, 200), want);
    state.rewind(1);
    assert_eq!((go(&mut state, 7), state.tokens()), (want, 21));
}

#[test]
fn a_blank_state_is_as_large_as_a_real_one_and_can_be_gone_on_from() {
    for model in kinds() {
        for tokens in [1, 20, 64, 95] {
            let (_, real) = model.prefill(ids(&[sample(tokens, 1)], &model.device()));
            let mut blank = DecodeState::blank(&model, tokens);
            assert_eq!((blank.bytes(), blank.tokens()), (real.bytes(), tokens));
            let token = Tensor::from_data(TensorData::new(vec![5i64], [1]), &model.device());
            let logits = values(model.step(token, &mut blank));
            assert!(logits.iter().all(|x| x.is_finite()));
        }
    }
}

#[test]
#[should_panic(expected = "frozen")]
fn a_model_that_is_trained_does_not_decode() {
    let model = load("gpt-neox-tiny").trainable();
    model.prefill(ids(&[sample(3, 1)], &model.device()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    /// A sample alone gives what it gives in a padded batch, whatever the padding holds.
    #[test]
    fn padding_changes_nothing(lengths in prop::collection::vec(1usize..40, 1..4), padding in 0u32..320, kind in 0usize..7) {
        let model = kinds().swap_remove(kind);
        let rows: Vec<_> = lengths.iter().enumerate().map(|(i, &n)| sample(n, i as u32)).collect();
        let run = |rows: &[Vec<u32>]| {
            model.forward(&LanguageBatch::new(rows, padding, &model.device()), &STATES)
        };
        let together = run(&rows);
        for (i, one) in rows.iter().enumerate() {
            let alone = run(std::slice::from_ref(one));
            let cut = |x: &Tensor<3>| x.clone().narrow(0, i, 1).narrow(1, 0, one.len());
            prop_assert_eq!(alone.hidden_states.len(), model.config.num_hidden_layers + 1);
            for (a, t) in alone.hidden_states.iter().zip(&together.hidden_states) {
                prop_assert!(relative_rms(&values(cut(t)), &values(a.clone())) < 1e-5);
            }
            let apart = relative_rms(&values(cut(&together.logits)), &values(alone.logits));
            prop_assert!(apart < 1e-5, "sample {i}: {apart}");
        }
    }

    /// What comes later changes nothing before it.
    #[test]
    fn no_position_sees_a_later_one(length in 2usize..30, kind in 0usize..7, token in 0u32..320) {
        let model = kinds().swap_remove(kind);
        let (before, mut after) = (sample(length, 1), sample(length, 1));
        after[length - 1] = token;
        let cut = |row: Vec<u32>| values(logits(&model, &[row]).narrow(1, 0, length - 1));
        prop_assert!(relative_rms(&cut(after), &cut(before)) < 1e-6);
    }
}

/// Milliseconds a token at the width and vocabulary of Pythia-160m, two of its twelve layers.
#[test]
#[ignore = "a measurement, not a check: run with --ignored --nocapture"]
fn cost_of_a_token_at_the_width_of_pythia() {
    let mut config = load("gpt-neox-tiny").config;
    (
        config.vocab_size,
        config.hidden_size,
        config.num_hidden_layers,
    ) = (50304, 768, 2);
    let LanguageArchitecture::GptNeoX(neox) = &mut config.architecture else {
        panic!("a GPT-NeoX")
    };
    (neox.num_attention_heads, neox.intermediate_size) = (12, 3072);
    neox.max_position_embeddings = 2048;
    let transformer = LanguageModel::random(config, 1, &Device::flex()).unwrap();
    let mut blocks = 0;
    transformer.visit(&mut |name, _| blocks += usize::from(name.contains('[')));
    assert_eq!(
        blocks, 4,
        "147 MiB each: two blocks of the embeddings, two of the head"
    );
    let usual = MambaOptions::usual(&transformer, 1);
    let student = convert_to_mamba(&transformer, &usual).unwrap();
    for model in [transformer, student] {
        for context in [64, 1024] {
            let start = std::time::Instant::now();
            let (logits, mut state) = model.prefill(ids(&[sample(context, 1)], &model.device()));
            values(logits);
            let prefill = start.elapsed();
            let start = std::time::Instant::now();
            for _ in 0..10 {
                let token = Tensor::from_data(TensorData::new(vec![7_i64], [1]), &model.device());
                values(model.step(token, &mut state));
            }
            println!(
                "{} after {context}: prefill {prefill:.2?}, a token {:.2?}, {} bytes",
                model.config.mixer.name(),
                start.elapsed() / 10,
                state.bytes()
            );
        }
    }
}
