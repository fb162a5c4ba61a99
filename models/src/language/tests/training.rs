//! What training needs: gradients, options, parameters that can be replaced.

use super::*;

#[test]
fn every_parameter_gets_a_gradient() {
    for model in kinds() {
        let model = model.trainable();
        let rows = [sample(9, 1), sample(4, 2)];
        let batch = LanguageBatch::new(&rows, 0, &model.device());
        let out = model.forward(&batch, &STATES);
        let gradients = out.logits.square().mean().backward();
        model.visit(&mut |name, parameter| {
            let gradient = parameter.grad(&gradients);
            let gradient = values(gradient.unwrap_or_else(|| panic!("{name}: no gradient")));
            assert_eq!(gradient.len(), parameter.num_elements());
            assert!(
                gradient.iter().all(|g| g.is_finite()) && gradient.iter().any(|&g| g != 0.0),
                "{name}"
            );
        });
        assert!(!model.frozen().device().is_autodiff());
    }
}

#[test]
fn mixers_are_told_by_name() {
    let mut mixers = 0;
    student("gpt-neox-tiny", 1)
        .visit(&mut |name, _| mixers += usize::from(name.contains(".mamba.")));
    assert_eq!(mixers, 3 * 9);
}

#[test]
fn states_without_logits_are_those_with() {
    let model = load("gpt-neox-tiny");
    let batch = LanguageBatch::new(&[sample(9, 1)], 0, &model.device());
    let (states, out) = (
        model.states(&batch, &STATES),
        model.forward(&batch, &STATES),
    );
    assert_eq!(states.hidden_states.len(), 4);
    assert_eq!(values(states.final_norm.clone()), values(out.final_norm));
    assert_eq!(values(model.logits(states.final_norm)), values(out.logits));
    let none = model.forward(&batch, &ForwardOptions::default());
    assert!(none.hidden_states.is_empty());
}

#[test]
fn dropout_follows_the_seed_and_the_configuration() {
    let _alone = crate::layers::SEEDED.lock().unwrap();
    let mut model = load("gpt-neox-tiny");
    let batch = LanguageBatch::new(&[sample(9, 1)], 0, &model.device());
    let run = |model: &LanguageModel, seed: u64, dropout: bool| {
        model.device().seed(seed);
        let options = ForwardOptions {
            hidden_states: false,
            dropout,
        };
        values(model.forward(&batch, &options).logits)
    };
    assert_eq!(run(&model, 1, true), run(&model, 1, false));
    let LanguageArchitecture::GptNeoX(neox) = &mut model.config.architecture else {
        panic!("a GPT-NeoX")
    };
    neox.hidden_dropout = 0.3;
    assert_eq!(run(&model, 1, true), run(&model, 1, true));
    assert_ne!(run(&model, 1, true), run(&model, 2, true));
    assert_ne!(run(&model, 1, true), run(&model, 1, false));
}

#[test]
fn fresh_models_follow_the_seed_and_the_initialiser() {
    for model in kinds() {
        let fresh = |seed| {
            let model = LanguageModel::random(model.config.clone(), seed, &Device::flex());
            model.unwrap().to_checkpoint().unwrap().tensors
        };
        let (a, stored) = (fresh(4), model.to_checkpoint().unwrap().tensors);
        assert!(a == fresh(4) && a != fresh(5));
        assert!(stored.keys().eq(a.keys()));
        for (name, tensor) in a {
            let values = tensor.to_f32().unwrap();
            if name.contains("norm") && name.ends_with("weight") {
                assert!(values.iter().all(|&x| x == 1.0), "{name}");
            }
            if name.contains("embed") {
                let square = values.iter().map(|x| (x * x) as f64).sum::<f64>();
                let rms = (square / values.len() as f64).sqrt() / model.config.initializer_range;
                assert!((0.95..1.05).contains(&rms), "{name}: {rms}");
            }
        }
    }
}

#[test]
fn parameters_can_be_replaced() {
    let mut model = student("gpt-neox-tiny", 1).trainable();
    model.visit_mut(&mut |_, mut parameter| {
        let twice = parameter.as_ref().flat().mul_scalar(2.0);
        parameter.set_flat(twice);
    });
    let [old, new] = [student("gpt-neox-tiny", 1), model].map(|m| m.to_checkpoint().unwrap());
    for (name, old) in old.tensors {
        let (old, new) = (old.to_f32().unwrap(), new.tensors[&name].to_f32().unwrap());
        assert!(old.iter().zip(&new).all(|(a, b)| 2.0 * a == *b), "{name}");
    }
}
