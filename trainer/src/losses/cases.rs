//! Comparison with the reference cases `losses/*`.

use burn::tensor::{Device, Tensor};
use caldera_shaders::Lengths;
use caldera_shaders::fixture::{Case, CaseReport, Comparer, FixtureError};

use super::{LogitsMean, divergence, layer_distance, layer_loss, logits_loss};
use crate::config::{LayerLoss, ScheduleKind};
use crate::schedule::Schedule;

/// Runs `case` on `device`: values and every gradient. None: not a loss or schedule that this crate has.
pub async fn check(case: &Case, device: &Device) -> Option<CaseReport> {
    if case.family() != "losses" {
        return None;
    }
    let device = device.clone().autodiff();
    let result = match case.name() {
        "distill-layers" => check_layers(case, &device).await,
        "distill-logits" => check_logits(case, &device).await,
        "schedules" => check_schedules(case, &device),
        _ => return None,
    };
    Some(result.unwrap_or_else(|error| CaseReport::failed(case, error)))
}

async fn check_layers(case: &Case, device: &Device) -> Result<CaseReport, FixtureError> {
    let inner = device.clone().without_autodiff();
    let count = case.names("in.student.").len();
    let mut student = Vec::new();
    let mut teacher = Vec::new();
    for index in 0..count {
        student.push(
            case.tensor::<3>(&format!("in.student.{index}"), device)?
                .require_grad(),
        );
        teacher.push(case.tensor::<3>(&format!("in.teacher.{index}"), &inner)?);
    }
    let lengths = case.lengths()?;
    let mut comparer = Comparer::new(case, device);
    for (name, lengths) in [("all", None), ("valid", Some(&lengths))] {
        each_layer(&mut comparer, name, &student, &teacher, lengths).await;
        for (loss, kind) in [
            ("mse_sum", LayerLoss::MseSum),
            ("normed_mean", LayerLoss::NormedMean),
        ] {
            let Some(found) = layer_loss(&student, &teacher, kind, false, lengths) else {
                comparer.fail(format!("{name}.{loss}: no layers"));
                continue;
            };
            comparer
                .compare(&format!("out.{name}.{loss}"), found.value)
                .await;
            let gradients = found.graph.backward();
            for (index, state) in student.iter().enumerate() {
                let gradient = state
                    .grad(&gradients)
                    .unwrap_or_else(|| state.clone().inner().zeros_like());
                comparer
                    .compare(&format!("grad.{name}.{loss}.student.{index}"), gradient)
                    .await;
            }
        }
    }
    Ok(comparer.finish())
}

async fn each_layer(
    comparer: &mut Comparer<'_>,
    name: &str,
    student: &[Tensor<3>],
    teacher: &[Tensor<3>],
    lengths: Option<&Lengths>,
) {
    for (label, normed) in [("mse_each", false), ("normed_each", true)] {
        let each: Vec<Tensor<1>> = student
            .iter()
            .zip(teacher)
            .map(|(student, teacher)| {
                layer_distance(student.clone().inner(), teacher.clone(), normed, lengths).value
            })
            .collect();
        let each = Tensor::cat(each, 0);
        comparer
            .compare(&format!("out.{name}.{label}"), each.clone())
            .await;
        if normed {
            comparer
                .compare(
                    &format!("out.{name}.normed_mean_with_embeddings"),
                    each.mean(),
                )
                .await;
        }
    }
}

async fn check_logits(case: &Case, device: &Device) -> Result<CaseReport, FixtureError> {
    let inner = device.clone().without_autodiff();
    let temperature = case.facts()["temperature"].as_f64().unwrap_or(2.0);
    let lengths = case.lengths()?;
    let mut comparer = Comparer::new(case, device);

    let leaf = case.tensor::<2>("in.class.student", device)?.require_grad();
    let teacher = case
        .tensor::<2>("in.class.teacher", &inner)?
        .unsqueeze_dim::<3>(1);
    let student = leaf.clone().unsqueeze_dim::<3>(1);
    let each = divergence(student.clone().inner(), teacher.clone(), temperature);
    comparer
        .compare("out.class.each", each.flatten::<1>(0, 1))
        .await;
    let loss = logits_loss(student, teacher, temperature, LogitsMean::Batch);
    comparer
        .compare("out.class.batchmean_t2", loss.clone().inner())
        .await;
    let gradients = loss.backward();
    match leaf.grad(&gradients) {
        Some(gradient) => {
            comparer
                .compare("grad.class.batchmean_t2.student", gradient)
                .await
        }
        None => comparer.fail("grad.class.batchmean_t2.student: no gradient".into()),
    }

    let leaf = case.tensor::<3>("in.token.student", device)?.require_grad();
    let teacher = case.tensor::<3>("in.token.teacher", &inner)?;
    let each = divergence(leaf.clone().inner(), teacher.clone(), temperature);
    comparer.compare("out.token.each", each).await;
    let squared = temperature * temperature;
    let variants = [
        ("batchmean_t2", LogitsMean::Batch, 1.0),
        ("tokenmean_t2", LogitsMean::Tokens, 1.0),
        ("validmean_t2", LogitsMean::Valid(&lengths), 1.0),
        ("tokenmean", LogitsMean::Tokens, 1.0 / squared),
    ];
    for (name, mean, factor) in variants {
        let loss = logits_loss(leaf.clone(), teacher.clone(), temperature, mean) * factor;
        comparer
            .compare(&format!("out.token.{name}"), loss.clone().inner())
            .await;
        let gradients = loss.backward();
        match leaf.grad(&gradients) {
            Some(gradient) => {
                comparer
                    .compare(&format!("grad.token.{name}.student"), gradient)
                    .await
            }
            None => comparer.fail(format!("grad.token.{name}.student: no gradient")),
        }
    }
    Ok(comparer.finish())
}

fn check_schedules(case: &Case, device: &Device) -> Result<CaseReport, FixtureError> {
    let kinds = [
        ("linear", ScheduleKind::Linear),
        ("cosine", ScheduleKind::Cosine),
        ("cosine_to_minimum", ScheduleKind::CosineToMinimum),
        ("cosine_clipped", ScheduleKind::CosineClipped),
        ("cosine_early", ScheduleKind::CosineEarly),
    ];
    let mut comparer = Comparer::new(case, device);
    for name in case.names("out.") {
        let mut parts = name.splitn(3, '.').skip(1);
        let (label, table) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let plan = &case.facts()[&format!("plan {label}")];
        let number = |key: &str| plan[key].as_f64().unwrap_or(f64::NAN);
        let Some((_, kind)) = kinds.iter().find(|(known, _)| *known == table) else {
            comparer.fail(format!("{name}: no such schedule"));
            continue;
        };
        let schedule = Schedule {
            kind: *kind,
            base: number("base"),
            minimum: number("minimum"),
            warmup: number("warmup") as u64,
            total: number("total") as u64,
        };
        let steps = case.f64s(&name)?.0.first().copied().unwrap_or(0);
        let rates = (0..steps as u64).map(|step| schedule.rate(step)).collect();
        comparer.compare_values(&name, &[steps], rates, |_| true);
    }
    Ok(comparer.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    // The folder of reference cases is not always beside the crate: the cases that tests need are copied.
    #[test]
    fn reference_cases_on_the_cpu() {
        let root = std::path::PathBuf::from(
            std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package lies"),
        )
        .join("../tests/fixtures");
        let mut run = 0;
        for name in [
            "losses/distill-layers",
            "losses/distill-logits",
            "losses/schedules",
        ] {
            if !root.join(name).exists() {
                continue;
            }
            let case = Case::read(&root, name).unwrap();
            let report = caldera_shaders::block_on(check(&case, &Device::flex())).unwrap();
            assert!(report.passed, "{report:#?}");
            assert!(!report.tensors.is_empty());
            run += 1;
        }
        assert!(
            run == 3 || !root.exists(),
            "only {run} of 3 cases are in tests/fixtures"
        );
    }
}
