//! `caldera transcribe`: every kind of sound file, and those that cannot be.

use std::fs;

use crate::{
    program::{caldera, text},
    samples::parse,
    speech::{RATE, World, pcm16, tone, wav, world},
};

const CPU: [&str; 2] = ["--device", "cpu"];

#[test]
fn every_kind_of_sound_is_taken() {
    let World { teacher, .. } = world();
    let folder = tempfile::tempdir().unwrap();
    let samples = tone(300.0, 4000, 16_000);
    let stereo: Vec<f64> = samples.iter().flat_map(|x| [*x, *x]).collect();
    let eight: Vec<u8> = samples.iter().map(|x| (x * 127.0 + 128.0) as u8).collect();
    let floats: Vec<u8> = samples
        .iter()
        .flat_map(|x| (*x as f32).to_le_bytes())
        .collect();
    let mut said = Vec::new();
    for (name, bytes) in [
        ("mono.wav", wav(1, 1, 16_000, 16, &pcm16(&samples))),
        ("stereo.wav", wav(1, 2, 16_000, 16, &pcm16(&stereo))),
        ("eight.wav", wav(1, 1, 16_000, 8, &eight)),
        ("float.wav", wav(3, 1, 16_000, 32, &floats)),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let best = teacher.join("best");
        said.push(caldera(["transcribe", text(&best), text(&path), "--device", "cpu"]).succeeded());
    }
    assert!(said.iter().all(|text| *text == said[0]), "{said:?}");
}

#[test]
fn sound_that_cannot_be_is_told_by_name() {
    let World { teacher, .. } = world();
    let (best, folder) = (teacher.join("best"), tempfile::tempdir().unwrap());
    let samples = pcm16(&tone(300.0, 4000, RATE));
    let mut truncated = wav(1, 1, RATE, 16, &samples);
    truncated.truncate(3000);
    let nan: Vec<u8> = [0.1f32, f32::NAN, 0.2]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    for (name, bytes, word) in [
        ("truncated.wav", truncated, "truncated WAV file"),
        ("zero.wav", wav(1, 1, RATE, 16, &[]), "found none"),
        ("nan.wav", wav(3, 1, RATE, 32, &nan), "NaN at sample 1"),
        ("rate.wav", wav(1, 1, 0, 16, &samples), "sample rate"),
        ("hour.wav", wav(1, 1, 10, 8, &vec![128; 36_000]), "3600 s"),
        (
            "short.wav",
            wav(1, 1, RATE, 16, &samples[..20]),
            "one frame",
        ),
        ("notes.txt", b"hello".to_vec(), "WAV or FLAC"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let arguments = ["transcribe", "--model", text(&best), text(&path)];
        caldera(arguments.into_iter().chain(CPU)).refused(&[name, word]);
    }
    let text_model = crate::samples::classifier();
    caldera(["transcribe", text(&text_model), "a.wav", "--device", "cpu"]).refused(&["takes text"]);
    caldera(["predict", "--model", text(&best), "hello"]).refused(&["caldera transcribe"]);
    caldera(["transcribe", text(&folder.path().join("none")), "a.wav"]).refused(&["none"]);
}

#[test]
fn a_model_by_flag_or_by_place_and_a_file_that_is_missed_out() {
    let World { teacher, .. } = world();
    let (best, folder) = (teacher.join("best"), tempfile::tempdir().unwrap());
    let samples = pcm16(&tone(300.0, 4000, RATE));
    let good = wav(1, 1, RATE, 16, &samples);
    let [one, bad, two, piped] =
        ["one.wav", "bad.wav", "two.wav", "piped.wav"].map(|name| folder.path().join(name));
    fs::write(&one, &good).unwrap();
    fs::write(&bad, &good[..200]).unwrap();
    fs::write(&two, &good).unwrap();
    // As ffmpeg writes it into a pipe: both lengths unknown.
    let mut unknown = good.clone();
    unknown[4..8].fill(0xff);
    unknown[40..44].fill(0xff);
    fs::write(&piped, &unknown).unwrap();
    let run = |words: &[&str]| caldera(["transcribe"].iter().chain(words).chain(&CPU));
    let said = run(&["--model", text(&best), text(&one)]).succeeded();
    assert_eq!(run(&[text(&best), text(&one)]).succeeded(), said);
    assert_eq!(
        run(&["--model", text(&best), text(&piped)]).succeeded(),
        said
    );
    let several = [text(&one), text(&bad), text(&two)];
    let words = [&["--model", text(&best), "--json"], &several[..]].concat();
    let finished = run(&words);
    assert_eq!(finished.code, Some(1), "{finished}");
    for word in ["bad.wav", "truncated WAV file", "1 of 3 files"] {
        assert!(finished.stderr.contains(word), "{finished}");
    }
    let answers: Vec<_> = finished.stdout.lines().map(parse).collect();
    let files: Vec<_> = answers
        .iter()
        .map(|answer| answer["file"].as_str())
        .collect();
    assert_eq!(files, [Some(text(&one)), Some(text(&two))]);
    assert!(
        answers
            .iter()
            .all(|answer| answer["text"] == said.trim_end()),
        "{answers:?}"
    );
    run(&[text(&one)]).refused(&["--model DIR FILE"]);
    run(&["--model", text(&best)]).refused(&["FILE"]);
}
