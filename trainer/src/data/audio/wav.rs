//! WAV through the `hound` crate.

use std::io::Cursor;
use std::path::Path;

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};

use super::{AGAIN, Clip, Complaint, Header, check, mixed_down};

pub(super) fn decode(path: &Path, max_seconds: f64) -> Result<Clip, Complaint> {
    let mut reader = WavReader::open(path).map_err(|error| refused(&error))?;
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
