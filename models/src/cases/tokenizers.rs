//! Every field of `encodings.json`, exactly.

use std::collections::BTreeMap;

use caldera_shaders::fixture::{Case, CaseReport, TensorReport};
use serde_json::{Value, json};

use crate::{Encoding, ModelError, TextTokenizer};

pub(super) fn check(case: &Case) -> CaseReport {
    run(case).unwrap_or_else(|message| CaseReport::failed(case, message))
}

fn run(case: &Case) -> Result<CaseReport, String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let bytes = case.file("tokenizer.json").map_err(|e| text(&e))?;
    let tokenizer = TextTokenizer::from_bytes(bytes, &format!("{}/tokenizer.json", case.path))
        .map_err(|e| text(&e))?;
    let encodings = case.file("encodings.json").map_err(|e| text(&e))?;
    let encodings: Value = serde_json::from_slice(encodings)
        .map_err(|e| format!("{}/encodings.json: not valid JSON ({e})", case.path))?;
    let limit = encodings["truncate_to"].as_u64().unwrap_or(u64::MAX) as usize;
    let entries = encodings["cases"]
        .as_array()
        .filter(|entries| !entries.is_empty());
    let entries =
        entries.ok_or_else(|| format!("{}/encodings.json: expected a list `cases`", case.path))?;

    // Field → strings that came out otherwise.
    let mut misses: BTreeMap<String, usize> = BTreeMap::new();
    for entry in entries {
        let found = encode(&tokenizer, entry, limit).map_err(|e| text(&e))?;
        let fields = entry.as_object().into_iter().flatten();
        for (field, want) in
            fields.filter(|(field, _)| !matches!(field.as_str(), "text" | "pair_text"))
        {
            match want.as_object() {
                None => {
                    *misses.entry(field.clone()).or_default() +=
                        usize::from(found.get(field) != Some(want))
                }
                Some(parts) => {
                    for (part, want) in parts {
                        let got = found.get(field).and_then(|f| f.get(part));
                        let counted = misses.entry(format!("{field}.{part}")).or_default();
                        *counted += usize::from(got != Some(want));
                    }
                }
            }
        }
    }
    let tensors: Vec<_> = misses
        .into_iter()
        .map(|(tensor, count)| TensorReport {
            tensor,
            error: count as f64,
            tolerance: 0.0,
            relative_rms: 0.0,
            passed: count == 0,
        })
        .collect();
    let passed = tensors.iter().all(|tensor| tensor.passed);
    Ok(CaseReport {
        case: case.path.clone(),
        known: true,
        passed,
        tensors,
        message: None,
    })
}

/// What the tokenizer makes of one entry, laid out as `encodings.json` is.
fn encode(tokenizer: &TextTokenizer, entry: &Value, limit: usize) -> Result<Value, ModelError> {
    let text = entry["text"].as_str().unwrap_or_default();
    let pair = entry["pair_text"].as_str().unwrap_or_default();
    let ids = |e: Encoding| json!({"ids": e.ids, "type_ids": e.type_ids});
    let single = tokenizer.describe(text, true)?;
    let all: Vec<u32> = single.get_ids().to_vec();
    let offsets: Vec<[usize; 2]> = single.get_offsets().iter().map(|&(a, b)| [a, b]).collect();
    Ok(json!({
        "single": {
            "ids": all,
            "type_ids": single.get_type_ids(),
            "tokens": single.get_tokens(),
            "offsets": offsets,
            "special_tokens_mask": single.get_special_tokens_mask(),
        },
        "plain_ids": tokenizer.describe(text, false)?.get_ids(),
        "pair": ids(tokenizer.encode(text, Some(pair), usize::MAX)?),
        "single_truncated": ids(tokenizer.encode(text, None, limit)?),
        "pair_truncated": ids(tokenizer.encode(text, Some(pair), limit)?),
        "decoded": tokenizer.decode(&all, true)?,
        "decoded_with_special": tokenizer.decode(&all, false)?,
    }))
}
