//! WAV through the `hound` crate.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};

use super::{AGAIN, Clip, Complaint, Header, check, mixed_down};

pub(super) fn decode(path: &Path, max_seconds: f64) -> Result<Clip, Complaint> {
    let reader = open(path).map_err(hound::Error::from);
    let mut reader = reader
        .and_then(WavReader::new)
        .map_err(|error| refused(&error))?;
    let spec = reader.spec();
    let header = Header {
        channels: spec.channels.into(),
        sampling_rate: spec.sample_rate,
        frames: Some(reader.duration().into()),
    };
    check(&header, max_seconds)?;
    let expected = reader.len() as usize;
    // The header may promise more than the file holds: nothing is set aside for it beforehand.
    let samples: Result<Vec<f32>, hound::Error> = match spec.sample_format {
        SampleFormat::Float => reader.samples::<f32>().collect(),
        SampleFormat::Int => {
            let scale = 1.0 / f64::powi(2.0, i32::from(spec.bits_per_sample) - 1);
            let samples = reader.samples::<i32>();
            samples
                .map(|sample| Ok((f64::from(sample?) * scale) as f32))
                .collect()
        }
    };
    let samples = samples.map_err(|error| match error {
        hound::Error::IoError(_) | hound::Error::FormatError(_) => {
            format!("truncated WAV file: its header promises {expected} samples, the file ends before them. {AGAIN}")
        }
        other => refused(&other),
    })?;
    Ok(Clip {
        samples: mixed_down(samples, header.channels),
        sampling_rate: header.sampling_rate,
    })
}

/// Lengths from here up stand for one that is not known: ffmpeg writes 2³² - 1, sox and arecord a little less than 2³¹.
const UNKNOWN: u32 = 0x7fff_0000;

/// Format and samples of a file as `hound` reads them, without the chunks between, and with the length that the samples
/// really have: a program that writes into a pipe cannot go back to fill it in.
fn open(path: &Path) -> std::io::Result<impl Read> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut file = BufReader::new(file);
    let mut head = vec![0; 12];
    file.read_exact(&mut head)?;
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, b| (n << 8) | u32::from(*b));
    let whole = number(&head[4..8]);
    let mut frame = 1;
    let mut chunk = [0; 8];
    while file.read_exact(&mut chunk).is_ok() {
        let length = number(&chunk[4..]);
        match &chunk[..4] {
            b"data" => {
                let start = file.stream_position()?;
                let held = size.saturating_sub(start).min(u32::MAX.into());
                let held = (held - held % frame) as u32;
                // A header by which the file ends before its samples was never finished.
                let unfinished = whole >= UNKNOWN || u64::from(whole) + 8 <= start;
                let length = match length {
                    0 if unfinished => held,
                    UNKNOWN.. => held.min(length),
                    known => known,
                };
                head.extend(&chunk[..4]);
                head.extend(length.to_le_bytes());
                break;
            }
            b"fmt " => {
                head.extend(chunk);
                let start = head.len();
                (&mut file).take(length.into()).read_to_end(&mut head)?;
                let align = head.get(start + 12..start + 14);
                frame = u64::from(align.map_or(1, number).max(1));
            }
            _ => file.seek_relative(length.into())?,
        }
        // Chunks begin at even places, which not every program knows.
        if length % 2 == 1 && file.fill_buf()?.first() == Some(&0) {
            file.consume(1);
        }
    }
    Ok(Cursor::new(head).chain(file))
}

fn refused(error: &hound::Error) -> Complaint {
    match error {
        hound::Error::IoError(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
            // hound reports a header that ends early as an error of its own kind.
            format!("cannot be read as WAV: {error}. {AGAIN}")
        }
        hound::Error::IoError(_) => format!("truncated WAV file: its header is cut off. {AGAIN}"),
        hound::Error::FormatError(detail) => format!("damaged WAV file: {detail}. {AGAIN}"),
        hound::Error::Unsupported => {
            "expected 8, 16, 24 or 32 bit integers or 32 bit floats, found another kind of WAV. Convert it, for example \
             with `ffmpeg -i FILE -c:a pcm_s16le clip.wav`"
                .to_string()
        }
        other => format!("cannot be read as WAV: {other}. {AGAIN}"),
    }
}

/// A clip as a WAV file of 16 bit integers; what is louder than full scale is cut off at it.
///
/// # Errors
/// More samples than a WAV file can hold.
pub fn to_wav(clip: &Clip) -> Result<Vec<u8>, hound::Error> {
    let spec = WavSpec {
        channels: 1,
        sample_rate: clip.sampling_rate,
        bits_per_sample: 16,
        sample_format: SampleFormat::Int,
    };
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut bytes, spec)?;
    for sample in &clip.samples {
        writer.write_sample((sample * 32768.0).round().clamp(-32768.0, 32767.0) as i16)?;
    }
    writer.finalize()?;
    Ok(bytes.into_inner())
}
