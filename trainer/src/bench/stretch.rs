//! Models that take longer sequences than they were trained for: for timing only, their answers mean nothing.

use anyhow::{Context, Result, bail};
use caldera_models::Checkpoint;
use serde_json::json;

/// Repeats the rows of every table with a row a position (position embeddings, Linformer projections) until there are `positions` of them, RoBERTa's
/// two extra ones included. Tables that are long enough stay as they are.
///
/// # Errors
/// When the configuration names no number of positions or a table has another number of rows.
pub fn stretch(checkpoint: &mut Checkpoint, positions: usize) -> Result<()> {
    let source = checkpoint.source.clone();
    let old = checkpoint.config["max_position_embeddings"]
        .as_u64()
        .with_context(|| {
            format!("{source}: config.json: max_position_embeddings: expected a number")
        })? as usize;
    // RoBERTa's positions start behind its padding id.
    let offset = if checkpoint.config["model_type"] == "roberta" {
        2
    } else {
        0
    };
    let new = positions + offset;
    if new <= old {
        return Ok(());
    }
    let by_position = |name: &str| {
        ["position_embeddings.weight", "self.proj_k", "self.proj_v"]
            .iter()
            .any(|end| name.ends_with(end))
    };
    for (name, tensor) in checkpoint
        .tensors
        .iter_mut()
        .filter(|(name, _)| by_position(name))
    {
        if tensor.shape.first() != Some(&old) || tensor.bytes.is_empty() {
            bail!(
                "{source}: tensor {name}: expected {old} rows (max_position_embeddings), found shape {:?}",
                tensor.shape
            );
        }
        let bytes = tensor.bytes.len() / old * new;
        tensor.bytes = tensor.bytes.iter().copied().cycle().take(bytes).collect();
        tensor.shape[0] = new;
    }
    checkpoint.config["max_position_embeddings"] = json!(new);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use caldera_models::{StoredTensor, TextConfig, TextModel};

    #[test]
    fn a_stretched_model_loads_and_its_rows_repeat() {
        let config = json!({
            "architectures": ["BertModel"], "model_type": "bert", "vocab_size": 9, "hidden_size": 4, "num_hidden_layers": 1,
            "num_attention_heads": 1, "intermediate_size": 4, "hidden_act": "gelu", "max_position_embeddings": 3,
            "type_vocab_size": 1, "initializer_range": 0.1, "layer_norm_eps": 1e-12, "pad_token_id": 0,
        });
        let device = burn::tensor::Device::flex();
        let model = TextModel::random(
            TextConfig::from_value(config, "config.json").unwrap(),
            1,
            &device,
        );
        let mut checkpoint = model.to_checkpoint().unwrap();
        stretch(&mut checkpoint, 8).unwrap();
        let name = checkpoint
            .tensors
            .keys()
            .find(|name| name.ends_with("position_embeddings.weight"))
            .unwrap()
            .clone();
        let rows = checkpoint.tensors[&name].to_f32().unwrap();
        assert_eq!((rows.len(), &rows[12..20]), (32, &rows[..8]));
        assert_eq!(
            TextModel::from_checkpoint(&checkpoint, &device)
                .unwrap()
                .config
                .max_length(),
            8
        );
        let untouched = rows.clone();
        stretch(&mut checkpoint, 5).unwrap();
        assert_eq!(checkpoint.tensors[&name].to_f32().unwrap(), untouched);
        checkpoint
            .tensors
            .insert(name.clone(), StoredTensor::from_f32(vec![2, 4], &[0.0; 8]));
        assert!(
            stretch(&mut checkpoint, 20)
                .unwrap_err()
                .to_string()
                .contains(&name)
        );
    }
}
