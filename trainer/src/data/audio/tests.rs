//! Every kind of file, good and bad.

use std::f64::consts::TAU;
use std::path::PathBuf;

use hound::{SampleFormat, WavSpec, WavWriter};

use super::*;

/// So many samples of a tone.
fn tone(count: usize, rate: u32, frequency: f64) -> Vec<f32> {
    let at = |n: usize| (0.5 * (TAU * frequency * n as f64 / f64::from(rate)).sin()) as f32;
    (0..count).map(at).collect()
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn bytes(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Interleaved channels, each the tone times 1, 1/2, 1/3, …
    fn wav(&self, name: &str, channels: u16, bits: u16, samples: &[f32], rate: u32) -> PathBuf {
        let path = self.0.path().join(name);
        let float = bits == 0;
        let spec = WavSpec {
            channels,
            sample_rate: rate,
            bits_per_sample: if float { 32 } else { bits },
            sample_format: if float {
                SampleFormat::Float
            } else {
                SampleFormat::Int
            },
        };
        let mut writer = WavWriter::create(&path, spec).unwrap();
        for sample in samples {
            for channel in 1..=channels {
                let value = sample / f32::from(channel);
                match float {
                    true => writer.write_sample(value).unwrap(),
                    false => {
                        let full = f64::powi(2.0, i32::from(bits) - 1);
                        writer
                            .write_sample((f64::from(value) * full) as i32)
                            .unwrap();
                    }
                }
            }
        }
        writer.finalize().unwrap();
        path
    }
}

fn read(path: &Path) -> Result<Clip, String> {
    read_clip(path, 8000, 60.0).map_err(|error| error.to_string())
}

#[test]
fn every_width_and_channel_count_reads_alike() {
    let (files, samples) = (Files::new(), tone(400, 8000, 440.0));
    for (bits, tolerance) in [(8, 1e-2), (16, 1e-4), (24, 1e-6), (32, 1e-6), (0, 1e-6)] {
        for channels in [1u16, 2, 3] {
            let name = format!("{bits}-{channels}.wav");
            let clip = read(&files.wav(&name, channels, bits, &samples, 8000)).unwrap();
            let share: f32 =
                (1..=channels).map(|c| 1.0 / f32::from(c)).sum::<f32>() / f32::from(channels);
            assert_eq!(clip.samples.len(), samples.len(), "{name}");
            for (got, want) in clip.samples.iter().zip(&samples) {
                assert!(
                    (got - want * share).abs() < tolerance,
                    "{name}: {got} {want}"
                );
            }
        }
    }
}

#[test]
fn flac_gives_the_samples_that_went_in() {
    // A constant block is the shortest valid one: 16 samples of 1000 at 16 bits.
    let files = Files::new();
    let path = files.bytes("constant.flac", &constant_flac(16, 1000));
    assert_eq!(read(&path).unwrap().samples, vec![1000.0 / 32768.0; 16]);
    let short = files.bytes("short.flac", &constant_flac(16, 1000)[..46]);
    let said = read(&short).unwrap_err();
    assert!(
        said.contains("short.flac") && said.contains("FLAC"),
        "{said}"
    );
}

/// A FLAC stream of one block with one constant value, mono, 16 bits, 8 kHz (RFC 9639).
fn constant_flac(count: u16, value: i16) -> Vec<u8> {
    let mut bytes = b"fLaC".to_vec();
    bytes.extend([0x80, 0, 0, 34]);
    bytes.extend(count.to_be_bytes());
    bytes.extend(count.to_be_bytes());
    bytes.extend([0; 6]);
    // 20 bits of rate, 3 of channels - 1, 5 of bits - 1, 36 of samples.
    let packed: u64 = (8000 << 44) | (15 << 36) | u64::from(count);
    bytes.extend(packed.to_be_bytes());
    bytes.extend([0; 16]);
    let start = bytes.len();
    // Block size in 8 bits, rate from the stream, 16 bits, block 0.
    bytes.extend([0xff, 0xf8, 0x60, 0x08, 0x00, (count - 1) as u8]);
    let crc8 = crc(&bytes[start..], 8, 0x07) as u8;
    bytes.push(crc8);
    bytes.push(0);
    bytes.extend(value.to_be_bytes());
    let crc16 = crc(&bytes[start..], 16, 0x8005);
    bytes.extend(crc16.to_be_bytes());
    bytes
}

fn crc(bytes: &[u8], width: u32, polynomial: u32) -> u16 {
    let (mut state, mask) = (0u32, (1u32 << width) - 1);
    for byte in bytes {
        state ^= u32::from(*byte) << (width - 8);
        for _ in 0..8 {
            let carry = state >> (width - 1) & 1;
            state = (state << 1 & mask) ^ (polynomial * carry);
        }
    }
    state as u16
}

#[test]
fn bad_files_are_named_with_what_is_wrong() {
    let (files, samples) = (Files::new(), tone(400, 8000, 440.0));
    let good = std::fs::read(files.wav("good.wav", 1, 16, &samples, 8000)).unwrap();
    let mut no_rate = good.clone();
    no_rate[24..28].fill(0);
    no_rate[28..32].fill(0);
    let mut nan = samples.clone();
    nan[7] = f32::NAN;
    let cases = [
        (files.bytes("empty.wav", b""), "an empty file"),
        (
            files.bytes("cut.wav", &good[..good.len() - 101]),
            "truncated WAV file",
        ),
        (files.bytes("header.wav", &good[..20]), "WAV"),
        (
            files.bytes("text.wav", b"not a sound at all"),
            "expected a WAV or FLAC file",
        ),
        (files.bytes("rate.wav", &no_rate), "found 0"),
        (
            files.wav("none.wav", 1, 16, &[], 8000),
            "expected samples, found none",
        ),
        (
            files.wav("nan.wav", 1, 0, &nan, 8000),
            "found NaN at sample 7",
        ),
        (files.0.path().join("missing.wav"), "cannot be read"),
    ];
    for (path, want) in cases {
        let said = read(&path).unwrap_err();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(said.contains(name) && said.contains(want), "{said}");
    }
    let hour = files.wav("hour.wav", 1, 8, &vec![0.0; 3600 * 100], 100);
    let said = read(&hour).unwrap_err();
    assert!(
        said.contains("at most 60 s") && said.contains("found 3600 s"),
        "{said}"
    );
}

/// A WAV file with other lengths in its header, of everything and of the samples.
fn with_lengths(good: &[u8], whole: u32, samples: u32) -> Vec<u8> {
    let mut bytes = good.to_vec();
    bytes[4..8].copy_from_slice(&whole.to_le_bytes());
    bytes[40..44].copy_from_slice(&samples.to_le_bytes());
    bytes
}

#[test]
fn a_file_from_a_pipe_is_as_long_as_what_it_holds() {
    let (files, samples) = (Files::new(), tone(400, 8000, 440.0));
    let good = std::fs::read(files.wav("good.wav", 1, 16, &samples, 8000)).unwrap();
    assert_eq!(&good[36..40], b"data");
    let want = read(&files.0.path().join("good.wav")).unwrap();
    for (whole, length) in [
        (u32::MAX, u32::MAX),
        (0x7fff_f024, 0x7fff_f000),
        (0, 0),
        (36, 0),
        (u32::MAX, 0),
    ] {
        let streamed = with_lengths(&good, whole, length);
        assert_eq!(
            read(&files.bytes("streamed.wav", &streamed)),
            Ok(want.clone())
        );
        // Cut off in the middle of a sample: what came before is there.
        let cut = &streamed[..streamed.len() - 3];
        let clip = read(&files.bytes("cut.wav", cut)).unwrap();
        assert_eq!(clip.samples, want.samples[..398], "{whole} {length}");
        let none = read(&files.bytes("none.wav", &streamed[..44])).unwrap_err();
        assert!(none.contains("expected samples, found none"), "{none}");
    }
    // A length that somebody filled in is a promise, and no samples are none, whatever comes behind them.
    let promised = with_lengths(&good, u32::MAX, good.len() as u32);
    let said = read(&files.bytes("promised.wav", &promised)).unwrap_err();
    assert!(said.contains("truncated WAV file"), "{said}");
    let mut empty = with_lengths(&good[..44], 36 + 10, 0);
    empty.extend(b"LIST\x02\0\0\0ab");
    let said = read(&files.bytes("empty.wav", &empty)).unwrap_err();
    assert!(said.contains("expected samples, found none"), "{said}");
}

#[test]
fn chunks_before_the_samples_are_passed_over() {
    let (files, samples) = (Files::new(), tone(400, 8000, 440.0));
    let good = std::fs::read(files.wav("good.wav", 1, 16, &samples, 8000)).unwrap();
    let want = read(&files.0.path().join("good.wav")).unwrap();
    // An odd one is followed by a zero that it does not count, or by nothing where a program does not know that.
    for chunk in [
        &b"LIST\x04\0\0\0abcd"[..],
        b"LIST\x03\0\0\0abc\0",
        b"LIST\x03\0\0\0abc",
    ] {
        let bytes = [&good[..36], chunk, &good[36..]].concat();
        assert_eq!(read(&files.bytes("list.wav", &bytes)), Ok(want.clone()));
    }
}

#[test]
fn another_rate_keeps_the_tone() {
    for (from, to) in [
        (16_000u32, 8000u32),
        (8000, 16_000),
        (44_100, 16_000),
        (11_025, 8000),
        (48_000, 44_100),
    ] {
        let before = tone(from as usize / 2, from, 440.0);
        let after = resample(before, from, to);
        let want = tone(to as usize / 2, to, 440.0);
        assert!(after.len().abs_diff(want.len()) <= 1, "{from} {to}");
        // The ends lack what was before and after them.
        let edge = to as usize / 50;
        for (n, (got, want)) in after
            .iter()
            .zip(&want)
            .enumerate()
            .skip(edge)
            .take(want.len() - 2 * edge)
        {
            assert!(
                (got - want).abs() < 1e-4,
                "{from} {to} at {n}: {got} {want}"
            );
        }
    }
    // What the lower rate cannot hold is gone, not folded back.
    let above = resample(tone(16_000, 16_000, 5000.0), 16_000, 8000);
    let loudest = above[400..7600]
        .iter()
        .fold(0f32, |most, x| most.max(x.abs()));
    assert!(loudest < 1e-4, "{loudest}");
    // Rates without a common divisor.
    assert_eq!(resample(vec![0.5; 1000], 48_001, 44_100).len(), 919);
}

#[test]
fn what_is_written_is_read() {
    let files = Files::new();
    let clip = Clip {
        samples: tone(100, 8000, 300.0),
        sampling_rate: 8000,
    };
    let again = read(&files.bytes("a.wav", &to_wav(&clip).unwrap())).unwrap();
    for (a, b) in again.samples.iter().zip(&clip.samples) {
        assert!((a - b).abs() <= 0.5 / 32768.0 + 1e-7);
    }
    assert!((clip.seconds() - 0.0125).abs() < 1e-12);
}
