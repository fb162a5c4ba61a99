//! Files that arrive in pieces.

use burn::tensor::{Device, DeviceKind};
use caldera_shaders::widen;
use half::{bf16, f16};

use super::*;
use crate::pair::{PairFile, hexadecimal};
use crate::{LanguageModel, SpeechModel, TextModel};
use sha2::{Digest, Sha256};

const FILE: &str = "dir/model.safetensors";

/// What becomes of a file that arrives in pieces of `piece` bytes.
fn streamed(bytes: &[u8], size: u64, piece: usize) -> Result<DeviceTensors, ModelError> {
    streamed_to(&Device::flex(), bytes, size, piece)
}

fn streamed_to(
    device: &Device,
    bytes: &[u8],
    size: u64,
    piece: usize,
) -> Result<DeviceTensors, ModelError> {
    let mut stream = WeightStream::new(FILE, size, device);
    for part in bytes.chunks(piece) {
        stream.push(part)?;
    }
    stream.finish()
}

fn message(bytes: &[u8], size: usize, piece: usize) -> String {
    streamed(bytes, size as u64, piece).unwrap_err().to_string()
}

fn values(tensors: &DeviceTensors, name: &str) -> Vec<f32> {
    let blocks = tensors.get(name).unwrap().blocks.iter();
    let values = blocks.map(|block| {
        widen(block.clone())
            .into_data()
            .try_to_vec::<f32>()
            .unwrap()
    });
    values.collect::<Vec<_>>().concat()
}

#[test]
fn every_tensor_arrives_however_the_file_is_cut() {
    for name in ["bert-tiny", "gpt-neox-tiny", "wav2vec2-tiny-layer"] {
        let bytes = std::fs::read(fixture(name).join("model.safetensors")).unwrap();
        let want = read_safetensors(&bytes, FILE).unwrap();
        for piece in [1, 7, 4096, bytes.len()] {
            let mut stream = WeightStream::new(FILE, bytes.len() as u64, &Device::flex());
            bytes
                .chunks(piece)
                .for_each(|part| stream.push(part).unwrap());
            let arrived = stream.arrived();
            assert_eq!(arrived.sha256, hexadecimal(&Sha256::digest(&bytes)));
            let listed = PairFile::describe("a", &bytes);
            listed.verify_arrived(&arrived, "p").unwrap();
            let found = stream.finish().unwrap();
            for (name, tensor) in &want {
                assert_eq!(found.get(name).unwrap().shape, tensor.shape);
                let same = values(&found, name) == tensor.to_f32().unwrap();
                assert!(same, "{name} in pieces of {piece}");
            }
        }
    }
}

#[test]
fn a_model_is_the_same_by_either_way() {
    let device = Device::flex();
    let folder = |name: &str| Checkpoint::read(&fixture(name)).unwrap();
    let arrived = |name: &str| {
        let bytes = std::fs::read(fixture(name).join("model.safetensors")).unwrap();
        streamed(&bytes, bytes.len() as u64, 1000).unwrap()
    };
    for name in ["bert-tiny", "roberta-tiny"] {
        let model = TextModel::from_device(&folder(name), &arrived(name), &device).unwrap();
        assert!(model.to_checkpoint().unwrap().tensors == folder(name).tensors);
    }
    let name = "gpt-neox-tiny";
    let model = LanguageModel::from_device(&folder(name), &arrived(name), &device).unwrap();
    assert!(model.to_checkpoint().unwrap().tensors == folder(name).tensors);
    let name = "wav2vec2-tiny-group";
    let model = SpeechModel::from_device(&folder(name), &arrived(name), &device).unwrap();
    assert!(model.to_checkpoint().unwrap().tensors == folder(name).tensors);
}

#[test]
fn floats_of_any_width_arrive_as_f32_and_whole_numbers_are_left_aside() {
    let header = r#"{"d":{"dtype":"F64","shape":[2],"data_offsets":[0,16]},
        "h":{"dtype":"F16","shape":[3],"data_offsets":[16,22]},"none":{"dtype":"F32","shape":[0,4],"data_offsets":[22,22]},
        "b":{"dtype":"BF16","shape":[1,1],"data_offsets":[22,24]},"i":{"dtype":"I64","shape":[],"data_offsets":[24,32]}}"#;
    let mut data: Vec<u8> = [0.5f64, -3.0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let halves = [f16::from_f32(1.5), f16::from_bits(1), f16::NEG_INFINITY];
    data.extend(halves.iter().flat_map(|v| v.to_le_bytes()));
    data.extend(bf16::from_f32(-2.5).to_le_bytes());
    data.extend(7i64.to_le_bytes());
    let bytes = container(header, &data);
    let gpu = Device::wgpu(DeviceKind::DefaultDevice);
    for (device, piece) in (1..20)
        .map(|piece| (Device::flex(), piece))
        .chain([(gpu, 5)])
    {
        let found = streamed_to(&device, &bytes, bytes.len() as u64, piece).unwrap();
        assert_eq!(values(&found, "d"), [0.5, -3.0]);
        let halves = [1.5, 2f32.powi(-24), f32::NEG_INFINITY];
        assert_eq!(values(&found, "h"), halves);
        assert_eq!(values(&found, "b"), [-2.5]);
        assert!(values(&found, "none").is_empty());
        let whole = found.get("i").unwrap();
        assert!(whole.dtype == StoredDtype::I64 && whole.blocks.is_empty());
    }
}

#[test]
fn a_file_that_ends_early_or_lies_is_refused_with_the_tensor() {
    let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}"#;
    let bytes = container(header, &[0; 16]);
    let size = bytes.len();
    for piece in [1, 5, size] {
        let cut = message(&bytes[..size - 3], size, piece);
        let named = cut.contains("dir/model.safetensors: tensor `b`: expected data up to byte 16");
        assert!(named && cut.contains("found 13 bytes"), "{cut}");
        let cut = message(&bytes[..20], size, piece);
        assert!(
            cut.contains(&format!("expected {size} bytes, found 20")),
            "{cut}"
        );
        // The size that was announced is the file's: the header is refused before any tensor arrives.
        let short = message(&bytes, size - 4, piece);
        assert!(
            short.contains("tensor `b`: expected data up to byte 16, found 12 bytes"),
            "{short}"
        );
        let long = message(&bytes, size + 4, piece);
        assert!(
            long.contains("its tensors take 16 bytes, but 20 bytes follow"),
            "{long}"
        );
        let lying = container(&header.replace("[8,16]", "[12,20]"), &[0; 20]);
        let lying = message(&lying, lying.len(), piece);
        assert!(
            lying.contains("tensor `b`: expected its data to begin at byte 8, found 12"),
            "{lying}"
        );
    }
    let text = message(b"<!doctype html>", 15, 4);
    assert!(text.contains("damaged safetensors file"), "{text}");
}
