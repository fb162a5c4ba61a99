//! A GPT-NeoX with Mamba mixers.

use super::*;

#[test]
fn everything_but_attention_is_kept() {
    for name in ["gpt-neox-tiny", "gpt-neox-tiny-sequential"] {
        let before = load(name).to_checkpoint().unwrap();
        let after = student(name, 1).to_checkpoint().unwrap();
        for (name, tensor) in &before.tensors {
            let attention = name.contains(".attention.");
            assert_eq!(
                after.tensors.get(name),
                Some(tensor).filter(|_| !attention),
                "{name}"
            );
        }
        let expected = [
            ("A_log", vec![64, 16]),
            ("D", vec![64]),
            ("conv1d.bias", vec![64]),
            ("conv1d.weight", vec![64, 1, 4]),
            ("dt_proj.bias", vec![64]),
            ("dt_proj.weight", vec![64, 2]),
            ("in_proj.weight", vec![128, 32]),
            ("out_proj.weight", vec![32, 64]),
            ("x_proj.weight", vec![34, 64]),
        ];
        for layer in 0..3 {
            let prefix = format!("gpt_neox.layers.{layer}.attention.");
            let found = after.tensors.iter().filter_map(|(name, tensor)| {
                let part = name.strip_prefix(&prefix)?.strip_prefix("mamba.")?;
                Some((part, tensor.shape.clone()))
            });
            assert!(found.eq(expected.iter().cloned()), "layer {layer}");
        }
        let caldera = &after.config["caldera"];
        assert_eq!(caldera["mixer"], "mamba");
        let sizes = ["d_state", "d_conv", "expand", "dt_rank"].map(|key| caldera[key].as_u64());
        assert_eq!(sizes, [16, 4, 2, 2].map(Some));
        assert_eq!(after.config["model_type"], "gpt_neox");
        assert_eq!(after.tokenizer, before.tokenizer);
    }
}

#[test]
fn mixers_start_as_their_source_does() {
    let saved = |seed| {
        student("gpt-neox-tiny", seed)
            .to_checkpoint()
            .unwrap()
            .tensors
    };
    let (tensors, other) = (saved(1), saved(2));
    assert!(tensors == saved(1));
    let part = |layer: usize, name: &str| {
        let name = format!("gpt_neox.layers.{layer}.attention.mamba.{name}");
        assert!(
            name.ends_with("A_log") || name.ends_with(".D") || tensors[&name] != other[&name],
            "{name} follows the seed"
        );
        tensors[&name].to_f32().unwrap()
    };
    for layer in 0..3 {
        let rows = part(layer, "A_log");
        let close = |a: f32, b: f64| (a as f64 - b).abs() < 1e-6;
        assert!(
            rows.iter()
                .enumerate()
                .all(|(i, &a)| close(a, ((i % 16 + 1) as f64).ln()))
        );
        assert!(part(layer, "D").iter().all(|&d| d == 1.0));
        let steps = part(layer, "dt_proj.bias");
        let steps: Vec<f64> = steps.iter().map(|&b| (b as f64).exp().ln_1p()).collect();
        assert!(
            steps.iter().all(|s| (0.000999..0.1001).contains(s)),
            "{steps:?}"
        );
        let low = steps.iter().filter(|&&s| s < 0.01).count();
        assert!(
            (18..46).contains(&low),
            "half of 64 below the geometric mean, found {low}"
        );
        for (name, bound) in [
            ("dt_proj.weight", 2f32),
            ("in_proj.weight", 32.0),
            ("x_proj.weight", 64.0),
            ("out_proj.weight", 64.0),
            ("conv1d.weight", 4.0),
            ("conv1d.bias", 4.0),
        ] {
            let values = part(layer, name);
            let largest = values.iter().fold(0f32, |m, v| m.max(v.abs())) * bound.sqrt();
            assert!((0.9..1.0001).contains(&largest), "{name}: {largest}");
            let mean = values.iter().sum::<f32>() / values.len() as f32 * bound.sqrt();
            assert!(mean.abs() < 0.25, "{name}: {mean}");
        }
    }
    assert_ne!(part(0, "in_proj.weight"), part(1, "in_proj.weight"));
}

#[test]
fn only_transformers_are_converted() {
    let teacher = load("gpt-neox-tiny");
    let usual = MambaOptions::usual(&teacher, 1);
    for model in [student("gpt-neox-tiny", 1), load("mamba-tiny")] {
        let message = convert_to_mamba(&model, &usual).unwrap_err().to_string();
        assert!(message.contains("mamba"), "{message}");
    }
    for (key, mamba) in [
        (
            "d_state",
            MambaConfig {
                d_state: 0,
                ..usual.mamba
            },
        ),
        (
            "d_conv",
            MambaConfig {
                d_conv: 1,
                ..usual.mamba
            },
        ),
        (
            "expand",
            MambaConfig {
                expand: 0,
                ..usual.mamba
            },
        ),
        (
            "dt_rank",
            MambaConfig {
                dt_rank: 0,
                ..usual.mamba
            },
        ),
    ] {
        let options = MambaOptions { mamba, ..usual };
        let message = convert_to_mamba(&teacher, &options)
            .unwrap_err()
            .to_string();
        assert!(message.contains(key), "{message}");
    }
}

#[test]
fn other_sizes_go_out_and_come_back() {
    let teacher = load("gpt-neox-tiny");
    let mamba = MambaConfig {
        d_state: 5,
        d_conv: 3,
        expand: 1,
        dt_rank: 3,
        conv_bias: false,
        proj_bias: true,
    };
    let model = convert_to_mamba(&teacher, &MambaOptions { mamba, seed: 1 }).unwrap();
    let saved = model.to_checkpoint().unwrap();
    let again = LanguageModel::from_checkpoint(&saved, &Device::flex()).unwrap();
    assert_eq!(again.config, model.config);
    let rows = [sample(11, 1)];
    assert_eq!(values(logits(&again, &rows)), values(logits(&model, &rows)));
}
