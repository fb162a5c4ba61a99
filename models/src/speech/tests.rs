//! What a speech model promises beside the numbers of the stored cases.

use std::path::PathBuf;

use burn::tensor::Tensor;
use caldera_shaders::Lengths;
use caldera_shaders::tolerance::relative_rms;
use serde_json::json;

use super::*;
use crate::{BiMamba2Options, ForwardOptions, WeightDtype, convert_to_bimamba2};

const ALL: [&str; 4] = [
    "wav2vec2-tiny-group",
    "wav2vec2-tiny-group-classifier",
    "wav2vec2-tiny-layer",
    "wav2vec2-tiny-layer-classifier",
];

const STATES: ForwardOptions = ForwardOptions {
    hidden_states: true,
    dropout: false,
};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package lies"))
        .join("../tests/fixtures/models")
        .join(name)
}

fn load(name: &str) -> SpeechModel {
    SpeechModel::load(&fixture(name), &Device::flex()).unwrap()
}

fn student(name: &str, seed: u64) -> SpeechModel {
    let teacher = load(name);
    let mut options = BiMamba2Options::usual(&teacher, seed);
    (options.mamba2.head_dim, options.mamba2.num_heads) = (8, 4);
    options.mamba2.d_state = 16;
    convert_to_bimamba2(&teacher, &options).unwrap()
}

/// Every style with every head, and a student of each.
fn kinds() -> Vec<SpeechModel> {
    let students = ALL.into_iter().map(|name| student(name, 5));
    ALL.into_iter().map(load).chain(students).collect()
}

/// Two tones and some noise.
fn clip(samples: usize, salt: u32) -> Vec<f32> {
    let noise = |i: u32| ((i.wrapping_mul(2_654_435_761) ^ salt) >> 8) as f32 / (1 << 24) as f32;
    (0..samples as u32)
        .map(|i| {
            let t = i as f32 / 8000.0;
            (t * 900.0 + salt as f32).sin() + 0.5 * (t * 5000.0).sin() + 0.2 * (noise(i) - 0.5)
        })
        .collect()
}

fn run(model: &SpeechModel, clips: &[&[f32]]) -> SpeechOutput {
    model.forward(
        &SpeechBatch::new(clips, &model.config, &model.device()),
        &STATES,
    )
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

fn assert_close<const D: usize>(got: Tensor<D>, want: Tensor<D>, limit: f64, what: &str) {
    assert_eq!(got.dims(), want.dims(), "{what}");
    let apart = relative_rms(&values(got), &values(want));
    assert!(apart < limit, "{what}: {apart}");
}

#[test]
fn saving_gives_the_same_names_and_bytes() {
    for (name, count) in ALL.into_iter().zip([35132, 35501, 35436, 35805]) {
        let stored = Checkpoint::read(&fixture(name)).unwrap();
        let model = load(name);
        assert_eq!(model.num_parameters(), count, "{name}");
        let saved = model.to_checkpoint().unwrap();
        assert!(stored.tensors.keys().eq(saved.tensors.keys()), "{name}");
        assert!(stored.tensors == saved.tensors, "{name}: other values");
        for (key, value) in stored.config.as_object().unwrap() {
            assert_eq!(Some(value), saved.config.get(key), "{name}: {key}");
        }
    }
}

#[test]
fn names_of_older_pytorch_are_read() {
    for name in ["wav2vec2-tiny-group", "wav2vec2-tiny-layer"] {
        let old = SpeechModel::load(&fixture(name).join("legacy"), &Device::flex()).unwrap();
        let new = load(name).to_checkpoint().unwrap();
        assert!(
            old.to_checkpoint().unwrap().tensors == new.tensors,
            "{name}"
        );
    }
}

#[test]
fn folders_go_out_and_come_back() {
    for mut model in kinds() {
        model.set_file("vocab.json", b"{\"<pad>\": 0}".to_vec());
        for (dtype, limit) in [(WeightDtype::F32, 1e-12), (WeightDtype::F16, 1e-2)] {
            let dir = tempfile::tempdir().unwrap();
            let saved = model.to_checkpoint().unwrap();
            saved.write(dir.path(), dtype).unwrap();
            let again = SpeechModel::load(dir.path(), &Device::flex()).unwrap();
            assert_eq!(again.config.mixer, model.config.mixer);
            assert_eq!(again.files, model.files);
            let clip = clip(3000, 1);
            let logits = |model: &SpeechModel| run(model, &[&clip]).logits.unwrap();
            assert_close(logits(&again), logits(&model), limit, &format!("{dtype:?}"));
        }
    }
}

#[test]
fn mixers_have_the_names_of_the_papers_code() {
    let student = student("wav2vec2-tiny-layer", 1);
    let mut names = Vec::new();
    student.visit(&mut |name, _| {
        names.extend(
            name.split_once("layers.2.attention.")
                .map(|n| n.1.to_string()),
        )
    });
    let parts = [
        "in_proj.weight",
        "conv1d.weight",
        "conv1d.bias",
        "dt_bias",
        "A_log",
        "D",
        "norm.weight",
        "out_proj.weight",
    ];
    let both = ["fw_mamba", "bw_mamba"].into_iter();
    let want: Vec<String> = both
        .flat_map(|d| parts.map(|part| format!("{d}.{part}")))
        .collect();
    assert_eq!(names, want);
    let saved = student.to_checkpoint().unwrap();
    let of = |direction: &str| {
        let name = format!("wav2vec2.encoder.layers.0.attention.{direction}.in_proj.weight");
        saved.tensors[&name].clone()
    };
    assert!(
        of("fw_mamba") != of("bw_mamba"),
        "the directions start apart"
    );
}

#[test]
fn a_student_keeps_everything_else() {
    let teacher = load("wav2vec2-tiny-group").to_checkpoint().unwrap();
    let student = student("wav2vec2-tiny-group", 2).to_checkpoint().unwrap();
    for (name, tensor) in &teacher.tensors {
        let replaced = name.contains(".attention.");
        assert_eq!(
            student.tensors.get(name),
            (!replaced).then_some(tensor),
            "{name}"
        );
    }
    let twice = SpeechModel::from_checkpoint(&student, &Device::flex()).unwrap();
    let again = convert_to_bimamba2(&twice, &BiMamba2Options::usual(&twice, 1));
    assert!(again.unwrap_err().to_string().contains("bimamba2"));
}

#[test]
fn padding_changes_nothing_but_in_the_group_norm() {
    let (long, short) = (clip(5000, 1), clip(3100, 2));
    for model in kinds() {
        if model.config.feat_extract_norm == FeatureNorm::Group {
            continue;
        }
        let both = run(&model, &[&long, &short]);
        let alone = run(&model, &[&short]);
        let frames = model.config.frames(short.len());
        for (i, (state, want)) in both
            .hidden_states
            .iter()
            .zip(alone.hidden_states)
            .enumerate()
        {
            let got = state.clone().narrow(0, 1, 1).narrow(1, 0, frames);
            assert_close(
                got,
                want,
                1e-5,
                &format!("{} state {i}", model.config.mixer.name()),
            );
        }
    }
}

#[test]
fn mixers_with_states_leave_nothing_in_the_padding() {
    let model = student("wav2vec2-tiny-layer", 3);
    let x = Tensor::<3>::ones([2, 9, 32], &Device::flex());
    let y = model.encoder.layers[0]
        .mixer
        .forward(x, &Lengths::new(vec![9, 4]), 4, &mut |_| {});
    let padding = values(y.narrow(0, 1, 1).narrow(1, 4, 5));
    assert!(padding.iter().all(|&x| x == 0.0));
}

#[test]
fn features_in_chunks_are_the_same() {
    let (one, two) = (clip(9000, 1), clip(9000, 4));
    for name in ALL {
        let model = load(name);
        let batch = SpeechBatch::new(&[&one, &two], &model.config, &model.device());
        let features = |bytes: usize| {
            let (samples, windows) = (batch.input_values.clone(), batch.windows.as_ref());
            model
                .encoder
                .features
                .in_chunks(samples, windows, &model.config, bytes)
        };
        let whole = features(usize::MAX);
        for bytes in [1, 100_000] {
            assert_close(features(bytes), whole.clone(), 1e-6, name);
        }
    }
}

/// A norm that is known from the windows beforehand must not lose digits where a filter passes little of the signal.
#[test]
fn the_group_norm_of_a_smooth_signal_is_exact() {
    let smooth: Vec<f32> = (0..8000)
        .map(|i| (i as f32 * 0.01).sin() + 1e-4 * clip(8000, 3)[i % 97])
        .collect();
    let mut config = load("wav2vec2-tiny-group").config;
    config.conv_layers.truncate(1);
    config.feat_extract_activation = crate::layers::Activation::Relu;
    let model = SpeechModel::random(config, 3, &Device::flex());
    let batch = SpeechBatch::new(&[&smooth], &model.config, &model.device());
    let got = model.encoder.features.forward(
        batch.input_values.clone(),
        batch.windows.as_ref(),
        &model.config,
    );
    let [_, frames, channels] = got.dims();
    let filters = values(model.encoder.features.layers[0].conv.weight.clone());
    let mut want = vec![0.0; frames * channels];
    for c in 0..channels {
        let of = |t: usize| -> f64 {
            (0..10)
                .map(|k| filters[c * 10 + k] * f64::from(smooth[t * 5 + k]))
                .sum()
        };
        let all: Vec<f64> = (0..frames).map(of).collect();
        let mean = all.iter().sum::<f64>() / frames as f64;
        let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / frames as f64;
        for (t, x) in all.iter().enumerate() {
            want[t * channels + c] = ((x - mean) / (variance + 1e-5).sqrt()).max(0.0);
        }
    }
    let apart = relative_rms(&values(got), &want);
    assert!(apart < 1e-5, "{apart}");
}

#[test]
fn silence_and_the_shortest_clip_are_finite() {
    let silence = vec![0.0; 2000];
    for model in kinds() {
        let least = clip(model.config.least_samples(), 1);
        assert_eq!(model.config.frames(least.len()), 1);
        assert_eq!(model.config.frames(least.len() - 1), 0);
        for clip in [&silence, &least] {
            let logits = values(run(&model, &[clip]).logits.unwrap());
            assert!(logits.iter().all(|x| x.is_finite()));
        }
        let refused = |clip: &[f32]| model.validate(&[clip]).unwrap_err().to_string();
        assert!(refused(&least[1..]).contains("at least 400 samples"));
        let mut broken = silence.clone();
        broken[7] = f32::NAN;
        assert!(refused(&broken).contains("found NaN at 7"));
    }
}

#[test]
fn every_parameter_gets_a_gradient() {
    let (long, short) = (clip(5000, 1), clip(3100, 2));
    for model in kinds() {
        let model = model.trainable();
        let batch = SpeechBatch::new(&[&long, &short], &model.config, &model.device());
        let [_, frames, _] = model.forward(&batch, &STATES).last_hidden_state.dims();
        let masked: Vec<bool> = (0..2 * frames).map(|i| i % 5 == 1).collect();
        let out = model.forward(&batch.with_masked(&masked), &STATES);
        let gradients = out.logits.unwrap().square().mean().backward();
        model.visit(&mut |name, parameter| {
            let gradient = parameter.grad(&gradients);
            let gradient = values(gradient.unwrap_or_else(|| panic!("{name}: no gradient")));
            assert!(
                gradient.iter().all(|g| g.is_finite()) && gradient.iter().any(|&g| g != 0.0),
                "{name}"
            );
        });
    }
}

#[test]
fn weights_that_were_packed_follow_their_parameters() {
    let clip = clip(3000, 1);
    for mut model in kinds() {
        let before = values(run(&model, &[&clip]).logits.unwrap());
        model.visit_mut(&mut |name, mut parameter| {
            if name.contains("conv") && name.contains("weight") {
                let doubled = parameter.as_ref().flat() * 1.5;
                parameter.set_flat(doubled);
            }
        });
        let after = values(run(&model, &[&clip]).logits.unwrap());
        let fresh = SpeechModel::from_checkpoint(&model.to_checkpoint().unwrap(), &Device::flex());
        let fresh = values(run(&fresh.unwrap(), &[&clip]).logits.unwrap());
        assert_ne!(before, after);
        assert_eq!(fresh, after);
    }
}

#[test]
fn hidden_frames_are_replaced() {
    let model = load("wav2vec2-tiny-layer");
    let (one, other) = (clip(4000, 1), clip(4000, 9));
    let frames = model.config.frames(4000);
    let hidden = |clip: &[f32]| {
        let batch = SpeechBatch::new(&[clip], &model.config, &model.device());
        let out = model.forward(&batch.with_masked(&vec![true; frames]), &STATES);
        values(out.logits.unwrap())
    };
    assert_eq!(hidden(&one), hidden(&other), "nothing of the clip is left");
}

#[test]
fn heads_are_put_on_and_replaced() {
    let model = load("wav2vec2-tiny-layer").with_classifier(vec!["no".into(), "yes".into()], 1);
    assert_eq!(
        run(&model, &[&clip(3000, 1)]).logits.unwrap().dims(),
        [1, 1, 2]
    );
    let model = model.with_ctc_head(7, 2);
    assert_eq!(
        run(&model, &[&clip(3000, 1)]).logits.unwrap().dims(),
        [1, 9, 7]
    );
    let bare = json!({"model_type": "wav2vec2", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_conv_pos_embedding_groups": 4, "conv_dim": [8, 8], "conv_kernel": [4, 2], "conv_stride": [2, 2]});
    let bare = SpeechConfig::from_value(bare, "config.json").unwrap();
    let bare = SpeechModel::random(bare, 1, &Device::flex());
    assert!(run(&bare, &[&clip(300, 1)]).logits.is_none());
    let mut names = 0;
    bare.with_ctc_head(5, 1)
        .visit(&mut |name, _| names += usize::from(name.starts_with("wav2vec2.")));
    assert!(names > 20);
}

#[test]
fn wrong_configurations_name_the_key() {
    let stored = Checkpoint::read(&fixture("wav2vec2-tiny-layer"))
        .unwrap()
        .config;
    for (key, value, expected) in [
        ("model_type", json!("hubert"), "wav2vec2"),
        ("add_adapter", json!(true), "adapter"),
        ("use_weighted_layer_sum", json!(true), "over all layers"),
        ("conv_kernel", json!([3, 3]), "as conv_dim has"),
        ("conv_stride", json!([5, 2, 2, 2, 2, 2, 0]), "at least 1"),
        (
            "num_conv_pos_embedding_groups",
            json!(5),
            "a divisor of hidden_size 32",
        ),
        ("feat_extract_norm", json!("batch"), "group or layer"),
        ("ctc_loss_reduction", json!("median"), "sum or mean"),
        ("caldera", json!({"mixer": "mamba"}), "bimamba2"),
    ] {
        let mut config = stored.clone();
        config[key] = value;
        let error = SpeechConfig::from_value(config, "m/config.json")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("m/config.json") && error.contains(expected),
            "{key}: {error}"
        );
    }
}
