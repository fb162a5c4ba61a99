//! Generated text.

use std::ops::ControlFlow;

use caldera_shaders::block_on;

use super::super::sampler::Sampler;
use super::*;

fn random(temperature: f64, top_k: Option<usize>, top_p: Option<f64>) -> Sampling {
    Sampling::Random {
        temperature,
        top_k,
        top_p,
    }
}

fn generate(
    model: &LanguageModel,
    prompt: &[u32],
    options: &GenerateOptions,
) -> Result<Generation, ModelError> {
    block_on(model.generate(prompt, options, &mut |_| ControlFlow::Continue(())))
}

fn endless(max_new_tokens: usize) -> GenerateOptions {
    GenerateOptions {
        stop_at_end: false,
        ..GenerateOptions::greedy(max_new_tokens)
    }
}

#[test]
fn greedy_takes_the_largest_logit_of_the_whole_sequence() {
    for model in kinds() {
        let mut text = sample(5, 1);
        let got = generate(&model, &text, &endless(8)).unwrap();
        assert_eq!((got.tokens.len(), got.stop), (8, Stop::Length));
        // The last token was chosen, not run.
        assert_eq!(got.state.unwrap().tokens(), 12);
        for token in got.tokens {
            let last = logits(&model, &[text.clone()]).narrow(1, text.len() - 1, 1);
            let last = values(last);
            let best = (0..last.len()).max_by(|&a, &b| last[a].total_cmp(&last[b]));
            assert_eq!(best, Some(token as usize), "{}", model.config.mixer.name());
            text.push(token);
        }
        // A model on a device with autodiff decodes outside of its graph.
        let again = generate(&model.clone().trainable(), &text[..5], &endless(8)).unwrap();
        assert_eq!(again.tokens, text[5..]);
    }
}

#[test]
fn prompts_and_options_are_checked() {
    let (transformer, mamba) = (load("gpt-neox-tiny"), student("gpt-neox-tiny", 1));
    let message = |model: &LanguageModel, prompt: &[u32], options: &GenerateOptions| {
        generate(model, prompt, options).unwrap_err().to_string()
    };
    for model in [&transformer, &mamba] {
        assert!(message(model, &[], &endless(1)).contains("at least one token"));
        let found = message(model, &[4, 320], &endless(1));
        assert!(
            found.contains("vocab_size 320") && found.contains("found 320"),
            "{found}"
        );
    }
    let found = message(&transformer, &sample(97, 1), &endless(1));
    assert!(
        found.contains("96") && found.contains("max_position_embeddings"),
        "{found}"
    );
    assert!(generate(&mamba, &sample(97, 1), &endless(3)).is_ok());
    for (sampling, key) in [
        (random(0.0, None, None), "temperature"),
        (random(f64::NAN, None, None), "temperature"),
        (random(1.0, Some(0), None), "top_k"),
        (random(1.0, None, Some(0.0)), "top_p"),
        (random(1.0, None, Some(1.1)), "top_p"),
    ] {
        let options = GenerateOptions {
            sampling,
            ..endless(1)
        };
        assert!(message(&transformer, &[1], &options).contains(key));
    }
}

#[test]
fn a_text_stops_for_its_reasons() {
    let mut model = load("gpt-neox-tiny");
    let prompt = sample(90, 1);
    let got = generate(&model, &prompt, &endless(100)).unwrap();
    // Logits come out of 90, 91, ... 96 positions.
    assert_eq!((got.tokens.len(), got.stop), (7, Stop::Positions));
    let third = got.tokens[2];
    let until = got.tokens.iter().position(|&t| t == third).unwrap() + 1;
    model.config.eos_token_ids = vec![third];
    let ended = generate(&model, &prompt, &GenerateOptions::greedy(100)).unwrap();
    assert_eq!(
        (&ended.tokens[..], ended.stop),
        (&got.tokens[..until], Stop::End)
    );
    let mut seen = Vec::new();
    let asked = block_on(model.generate(&prompt, &endless(100), &mut |token| {
        seen.push(token);
        match seen.len() {
            4 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }));
    let asked = asked.unwrap();
    assert_eq!((&asked.tokens, asked.stop), (&seen, Stop::Asked));
    assert_eq!(seen, got.tokens[..4]);
    let none = generate(&model, &prompt, &endless(0)).unwrap();
    assert!(none.tokens.is_empty() && none.stop == Stop::Length && none.state.is_none());
}

#[test]
fn sampled_texts_follow_their_seed() {
    let model = student("gpt-neox-tiny", 1);
    let run = |sampling, seed| {
        let options = GenerateOptions {
            sampling,
            seed,
            ..endless(20)
        };
        generate(&model, &[5, 9], &options).unwrap().tokens
    };
    let plain = random(1.0, None, None);
    assert_eq!(run(plain, 1), run(plain, 1));
    assert_ne!(run(plain, 1), run(plain, 2));
    let greedy = run(Sampling::Greedy, 0);
    assert_eq!(run(random(1.0, Some(1), None), 3), greedy);
    assert_eq!(run(random(1.0, None, Some(1e-9)), 3), greedy);
    assert_eq!(run(random(1e-6, None, None), 3), greedy);
}

#[test]
fn tokens_are_drawn_by_their_probabilities() {
    // Probabilities 0.5, 0.25, 0.15, 0.1 in another order, at temperature 2 after squaring.
    let p = [0.15, 0.5, 0.1, 0.25_f64];
    let logits = p.map(|p| (2.0 * p.ln()) as f32);
    let counts = |sampling| {
        let mut sampler = Sampler::new(sampling, 7).unwrap();
        let mut counts = [0; 4];
        for _ in 0..20_000 {
            counts[sampler.pick(&logits).unwrap() as usize] += 1;
        }
        counts.map(|n| n as f64 / 20_000.0)
    };
    let near = |got: [f64; 4], want: [f64; 4]| {
        assert!(
            got.iter().zip(want).all(|(a, b)| (a - b).abs() < 0.015),
            "{got:?} {want:?}"
        );
        assert!(
            got.iter().zip(want).all(|(&a, b)| b > 0.0 || a == 0.0),
            "{got:?}"
        );
    };
    near(counts(random(2.0, None, None)), p);
    near(
        counts(random(2.0, Some(2), None)),
        [0.0, 0.5 / 0.75, 0.0, 0.25 / 0.75],
    );
    near(counts(random(2.0, Some(9), Some(1.0))), p);
    // 0.5 is short of 0.7, 0.5 + 0.25 is not.
    near(
        counts(random(2.0, None, Some(0.7))),
        [0.0, 0.5 / 0.75, 0.0, 0.25 / 0.75],
    );
    near(
        counts(random(2.0, Some(3), Some(0.5))),
        [0.0, 1.0, 0.0, 0.0],
    );
}

#[test]
fn logits_that_are_no_numbers_give_an_error() {
    let mut sampler = Sampler::new(Sampling::Greedy, 0).unwrap();
    assert_eq!(sampler.pick(&[1.0, f32::NAN]), None);
    assert_eq!(sampler.pick(&[f32::NEG_INFINITY; 2]), None);
    assert_eq!(sampler.pick(&[]), None);
    assert_eq!(sampler.pick(&[f32::NEG_INFINITY, -3.0, -3.0]), Some(1));
    let mut model = load("gpt-neox-tiny");
    model.visit_mut(&mut |name, mut parameter| {
        if name.starts_with("gpt_neox.final_layer_norm") {
            let broken = parameter.as_ref().flat().mul_scalar(f32::NAN);
            parameter.set_flat(broken);
        }
    });
    let message = generate(&model, &[3], &endless(2)).unwrap_err().to_string();
    assert!(message.contains("logits after 1 tokens"), "{message}");
}

#[test]
fn a_continuation_gives_the_generated_tokens_one_by_one() {
    for model in kinds() {
        let prompt = sample(5, 1);
        let options = GenerateOptions {
            sampling: random(0.9, Some(40), None),
            seed: 3,
            ..endless(6)
        };
        let want = generate(&model, &prompt, &options).unwrap();
        let mut text = model.continuation(&prompt, &options).unwrap();
        let mut got = Vec::new();
        while let Some(token) = block_on(text.next()).unwrap() {
            // The prompt and all tokens but this one.
            assert_eq!(text.state().unwrap().tokens(), 5 + got.len());
            got.push(token);
        }
        assert_eq!((&got, text.stop()), (&want.tokens, Some(Stop::Length)));
        assert_eq!(text.tokens(), got);
    }
}
