//! Folders in and out, and every way in which a file can be bad.

mod sixteen_bit;
mod stream;

use std::path::{Path, PathBuf};

use super::*;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package lies"))
        .join("../tests/fixtures/models")
        .join(name)
}

fn bert() -> Checkpoint {
    Checkpoint::read(&fixture("bert-tiny")).unwrap()
}

/// A safetensors file from a header and data.
fn container(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn refused(header: &str, data: &[u8]) -> String {
    read_safetensors(&container(header, data), "dir/model.safetensors")
        .unwrap_err()
        .to_string()
}

#[test]
fn what_is_read_is_what_is_written() {
    for name in ["bert-tiny", "bert-tiny-mean", "roberta-tiny"] {
        let before = Checkpoint::read(&fixture(name)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        before.write(dir.path(), WeightDtype::F32).unwrap();
        for file in ["model.safetensors", "tokenizer.json"] {
            let [old, new] = [fixture(name), dir.path().to_path_buf()]
                .map(|d| std::fs::read(d.join(file)).unwrap());
            assert!(old == new, "{name}/{file} came back different");
        }
        // Python prints some numbers otherwise (1e-05), so the settings are compared as values.
        let after = Checkpoint::read(dir.path()).unwrap();
        assert_eq!(after.config, before.config, "{name}/config.json");
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            3,
            "temporary files left behind"
        );
    }
}

#[test]
fn f16_halves_the_file_and_reads_back_as_f32() {
    let before = bert();
    let dir = tempfile::tempdir().unwrap();
    before.write(dir.path(), WeightDtype::F16).unwrap();
    let [old, new] = [fixture("bert-tiny"), dir.path().to_path_buf()].map(|d| {
        std::fs::metadata(d.join("model.safetensors"))
            .unwrap()
            .len()
    });
    assert!(
        new < old * 11 / 20,
        "{new} bytes of f16 against {old} of f32"
    );
    let after = Checkpoint::read(dir.path()).unwrap();
    assert_eq!(after.config["dtype"], "float16");
    for (name, tensor) in &before.tensors {
        assert_eq!(after.tensors[name].dtype, StoredDtype::F16);
        let [old, new] = [tensor, &after.tensors[name]].map(|t| t.to_f32().unwrap());
        let close = old
            .iter()
            .zip(&new)
            .all(|(a, b)| (a - b).abs() <= 5e-4 * a.abs().max(1e-3));
        assert!(close, "{name} changed by more than f16 rounds");
    }
}

#[test]
fn bf16_is_read() {
    let bytes: Vec<u8> = [1.0f32, -2.5, 0.15625]
        .iter()
        .flat_map(|v| half::bf16::from_f32(*v).to_le_bytes())
        .collect();
    let file = container(
        r#"{"a":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]}}"#,
        &bytes,
    );
    let tensors = read_safetensors(&file, "f").unwrap();
    assert_eq!(tensors["a"].to_f32().unwrap(), [1.0, -2.5, 0.15625]);
}

#[test]
fn values_beyond_f16_are_refused() {
    let mut checkpoint = bert();
    checkpoint
        .tensors
        .insert("large".into(), StoredTensor::from_f32(vec![1], &[1e6]));
    let message = checkpoint
        .to_files(WeightDtype::F16)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("large") && message.contains("65504"),
        "{message}"
    );
    assert!(checkpoint.to_files(WeightDtype::F32).is_ok());
}

#[test]
fn shards_are_put_together() {
    let whole = bert();
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(
        fixture("bert-tiny/config.json"),
        dir.path().join("config.json"),
    )
    .unwrap();
    let middle = whole.tensors.keys().nth(20).unwrap().clone();
    let mut first = whole.tensors.clone();
    let second = first.split_off(&middle);
    let mut map = serde_json::Map::new();
    for (shard, tensors) in [
        ("model-00001-of-00002.safetensors", &first),
        ("model-00002-of-00002.safetensors", &second),
    ] {
        let bytes = write_safetensors(tensors, WeightDtype::F32, shard).unwrap();
        std::fs::write(dir.path().join(shard), bytes).unwrap();
        map.extend(tensors.keys().map(|name| (name.clone(), shard.into())));
    }
    let index = dir.path().join("model.safetensors.index.json");
    let write_index = |map: &serde_json::Map<String, serde_json::Value>| {
        std::fs::write(&index, serde_json::json!({ "weight_map": map }).to_string()).unwrap();
    };
    write_index(&map);
    assert_eq!(Checkpoint::read(dir.path()).unwrap().tensors, whole.tensors);

    map.insert("absent".into(), "model-00002-of-00002.safetensors".into());
    write_index(&map);
    let message = Checkpoint::read(dir.path()).unwrap_err().to_string();
    assert!(
        message.contains("absent") && message.contains("index.json"),
        "{message}"
    );
    map.insert("absent".into(), "../elsewhere.safetensors".into());
    write_index(&map);
    assert!(
        Checkpoint::read(dir.path())
            .unwrap_err()
            .to_string()
            .contains("no plain file name")
    );
}

#[test]
fn damaged_containers_are_refused_by_name() {
    let good = std::fs::read(fixture("bert-tiny/model.safetensors")).unwrap();
    let read = |bytes: &[u8]| {
        read_safetensors(bytes, "dir/model.safetensors")
            .unwrap_err()
            .to_string()
    };
    for cut in [0, 5, 8, 100, good.len() - 1, good.len() / 2] {
        let message = read(&good[..cut]);
        assert!(message.starts_with("dir/model.safetensors: "), "{message}");
    }
    let truncated = read(&good[..good.len() - 1]);
    assert!(
        truncated.contains("tensor `") && truncated.contains("truncated"),
        "{truncated}"
    );
    let mut lying = good.clone();
    lying[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(read(&lying).contains("header should take"));
    let mut longer = good.clone();
    longer.push(0);
    assert!(read(&longer).contains("follow the header"));

    let message = refused(
        r#"{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}"#,
        &[0; 4],
    );
    assert!(
        message.contains("`a`") && message.contains("F8_E4M3"),
        "{message}"
    );
    for (header, data) in [
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
            4,
        ), // shape takes 8
        (
            r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#,
            4,
        ), // no shape
        (
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#,
            4,
        ), // backwards
        (r#"{"a":{"dtype":"F32","shape":[1]}}"#, 4),
        (
            r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#,
            0,
        ), // overflow
        (
            r#"{"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
            8,
        ),
    ] {
        let message = refused(header, &vec![0; data]);
        assert!(message.contains("tensor `"), "{header}: {message}");
    }
    assert!(refused("[]", &[]).contains("no JSON object"));
    assert!(refused("{", &[]).contains("not JSON"));
}

#[test]
fn config_json_may_hold_infinity_but_must_be_json() {
    let parsed = parse_config(
        br#"{"a": [0.0, Infinity], "b": "Infinity \" Infinity"}"#,
        "f",
    )
    .unwrap();
    assert!(parsed["a"][1].as_f64().unwrap() > 1e300);
    assert_eq!(parsed["b"], "Infinity \" Infinity");
    for bad in [&b"{"[..], b"[]", b"\xff", b"", b"{\"a\": NaN}"] {
        let message = parse_config(bad, "dir/config.json")
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with("dir/config.json: not valid JSON"),
            "{message}"
        );
    }
}

#[test]
fn missing_files_are_named() {
    let message = Checkpoint::read(Path::new("no/such/folder"))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("no/such/folder") && message.contains("config.json"),
        "{message}"
    );
    let dir = tempfile::tempdir().unwrap();
    assert!(
        Checkpoint::read(dir.path())
            .unwrap_err()
            .to_string()
            .contains("config.json")
    );
    std::fs::write(dir.path().join("config.json"), "{}").unwrap();
    assert!(
        Checkpoint::read(dir.path())
            .unwrap_err()
            .to_string()
            .contains("model.safetensors")
    );
}

#[test]
fn a_failed_write_leaves_the_old_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut checkpoint = bert();
    checkpoint.write(dir.path(), WeightDtype::F32).unwrap();
    let old = std::fs::read(dir.path().join("model.safetensors")).unwrap();
    checkpoint
        .tensors
        .insert("large".into(), StoredTensor::from_f32(vec![1], &[1e6]));
    assert!(checkpoint.write(dir.path(), WeightDtype::F16).is_err());
    assert!(std::fs::read(dir.path().join("model.safetensors")).unwrap() == old);
    // A folder in the file's place: nothing can be renamed over it, and nothing is left beside it.
    std::fs::create_dir(dir.path().join("taken")).unwrap();
    std::fs::write(dir.path().join("taken/inside"), b"").unwrap();
    let message = write_files(dir.path(), &[("taken", b"new")])
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("taken") && message.contains("cannot write"),
        "{message}"
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4);
}
