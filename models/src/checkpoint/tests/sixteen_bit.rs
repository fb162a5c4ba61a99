//! Models whose weights stay in 16 bits on a GPU, against the same weights as f32 on the CPU.

use burn::tensor::{DType, Device, DeviceKind, Int, Tensor, TensorData};
use caldera_shaders::tolerance::relative_rms;

use super::*;
use crate::{
    DeviceTensors, ForwardOptions, LanguageModel, ParameterRef, Parameters, SpeechBatch,
    SpeechModel, TextBatch, TextModel, WeightStream,
};

/// The fixture's folder as 16 bits in memory, and its weights as they arrive on `device`.
fn halved(name: &str, device: &Device) -> (Checkpoint, DeviceTensors) {
    let whole = Checkpoint::read(&fixture(name)).unwrap();
    let files = whole.to_files(WeightDtype::F16).unwrap();
    let (_, weights) = files
        .iter()
        .find(|(name, _)| name == "model.safetensors")
        .expect("a folder has weights");
    let checkpoint = Checkpoint {
        tensors: read_safetensors(weights, "f").unwrap(),
        ..whole
    };
    let mut stream = WeightStream::new("f", weights.len() as u64, device);
    weights
        .chunks(4096)
        .for_each(|part| stream.push(part).unwrap());
    (checkpoint, stream.finish().unwrap())
}

/// Values that a model keeps in 16 bits, of all its values.
fn share_packed(model: &impl Parameters) -> f64 {
    let mut packed = 0;
    model.visit(&mut |_, parameter| {
        if let ParameterRef::Two(matrix) = parameter
            && matrix.dtype() == DType::F16
        {
            packed += parameter.num_elements();
        }
    });
    packed as f64 / model.num_parameters() as f64
}

/// `answer` gives what a model says: of the folder on the CPU, then of the weights that arrived on the GPU.
fn agree<M: Parameters>(
    name: &str,
    packed: f64,
    model: impl Fn(&Checkpoint, Option<&DeviceTensors>, &Device) -> M,
    answer: impl Fn(&M, &Device) -> Tensor<1>,
) {
    let (cpu, gpu) = (Device::flex(), Device::wgpu(DeviceKind::DefaultDevice));
    let (checkpoint, arrived) = halved(name, &gpu);
    let wide = model(&checkpoint, None, &cpu);
    let narrow = model(&checkpoint, Some(&arrived), &gpu);
    let share = share_packed(&narrow);
    assert!(
        share > packed && share_packed(&wide) == 0.0,
        "{name}: {share} of the values in 16 bits"
    );
    let values = |x: Tensor<1>| x.into_data().iter::<f64>().collect::<Vec<_>>();
    let (got, want) = (values(answer(&narrow, &gpu)), values(answer(&wide, &cpu)));
    let apart = relative_rms(&got, &want);
    assert!(apart < 1e-4, "{name}: relative RMS {apart:e}");
    // They go out as they came, and train as f32.
    let mut stored = Vec::new();
    wide.visit(&mut |_, parameter| stored.push(values(parameter.flat())));
    let mut stored = stored.into_iter();
    narrow.visit(&mut |name, parameter| {
        assert_eq!(Some(values(parameter.flat())), stored.next(), "{name}");
    });
    assert_eq!(share_packed(&narrow.trainable()), 0.0, "{name}");
}

#[test]
fn text_models() {
    for name in ["bert-tiny", "roberta-tiny"] {
        agree(
            name,
            0.5,
            |checkpoint, arrived, device| match arrived {
                Some(tensors) => TextModel::from_device(checkpoint, tensors, device).unwrap(),
                None => TextModel::from_checkpoint(checkpoint, device).unwrap(),
            },
            |model, device| {
                let ids = [(5..42).collect(), vec![7, 9, 11]];
                let batch = TextBatch::new(&ids, None, model.config.pad_token_id, device);
                let output = model.forward(&batch, &ForwardOptions::default());
                output.last_hidden_state.reshape([-1])
            },
        );
    }
}

#[test]
fn language_models() {
    for name in ["gpt-neox-tiny", "mamba-tiny", "mamba2-tiny"] {
        agree(
            name,
            0.5,
            |checkpoint, arrived, device| match arrived {
                Some(tensors) => LanguageModel::from_device(checkpoint, tensors, device).unwrap(),
                None => LanguageModel::from_checkpoint(checkpoint, device).unwrap(),
            },
            |model, device| {
                let ids: Vec<i32> = (0..24).map(|i| 2 + i * 37 % 200).collect();
                let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, 24]), device);
                let (logits, mut state) = model.prefill(ids.clone());
                // One token multiplies by other kernels than many.
                let next = model.step(ids.narrow(1, 3, 1).reshape([1]), &mut state);
                Tensor::cat(vec![logits, next], 0).reshape([-1])
            },
        );
    }
}

#[test]
fn speech_models() {
    for name in ["wav2vec2-tiny-group", "wav2vec2-tiny-layer"] {
        agree(
            name,
            0.2,
            |checkpoint, arrived, device| match arrived {
                Some(tensors) => SpeechModel::from_device(checkpoint, tensors, device).unwrap(),
                None => SpeechModel::from_checkpoint(checkpoint, device).unwrap(),
            },
            |model, device| {
                let clip: Vec<f32> = (0..3000).map(|i| (i as f32 * 0.11).sin()).collect();
                let batch = SpeechBatch::new(&[&clip], &model.config, device);
                let output = model.forward(&batch, &Default::default());
                output.logits.expect("a CTC head").reshape([-1])
            },
        );
    }
}
