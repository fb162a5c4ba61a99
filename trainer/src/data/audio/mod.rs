//! Clips from WAV and FLAC files: mixed down to one channel, at the rate that a model takes.

mod flac;
mod resample;
#[cfg(test)]
mod tests;
mod wav;

use std::io::Read;
use std::path::Path;

pub use resample::resample;
pub use wav::to_wav;

use super::DataError;

/// Mono samples, nominally from -1 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    /// Samples, one after the other.
    pub samples: Vec<f32>,
    /// Samples a second.
    pub sampling_rate: u32,
}

impl Clip {
    /// Its length.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.sampling_rate)
    }
}

/// What a file says of itself before its samples are read.
struct Header {
    channels: usize,
    sampling_rate: u32,
    /// Samples of a channel; None where the file does not tell.
    frames: Option<u64>,
}

/// What is wrong with a clip, and what to do about it; the file is named around it.
type Complaint = String;

const AGAIN: &str = "Export or download it again";

/// Reads a WAV file (8, 16, 24 or 32 bit integers, 32 bit floats) or a FLAC file, told apart by their first bytes.
/// Channels are averaged, the rate becomes `sampling_rate`.
///
/// # Errors
/// [`DataError::Audio`] with the file and what is wrong: not audio, cut off, without samples, with samples that are no
/// finite numbers, at a rate of 0, or longer than `max_seconds`.
pub fn read_clip(path: &Path, sampling_rate: u32, max_seconds: f64) -> Result<Clip, DataError> {
    let bad = |message: Complaint| DataError::Audio {
        path: path.into(),
        message,
    };
    let clip = decode(path, max_seconds).map_err(bad)?;
    if clip.samples.is_empty() {
        return Err(bad(format!("expected samples, found none. {AGAIN}")));
    }
    if let Some(index) = clip.samples.iter().position(|x| !x.is_finite()) {
        return Err(bad(format!(
            "expected finite samples, found {} at sample {index}. {AGAIN}",
            clip.samples[index]
        )));
    }
    let samples = resample(clip.samples, clip.sampling_rate, sampling_rate);
    Ok(Clip {
        samples,
        sampling_rate,
    })
}

fn decode(path: &Path, max_seconds: f64) -> Result<Clip, Complaint> {
    let mut magic = [0u8; 12];
    let read = std::fs::File::open(path).and_then(|mut file| {
        let mut filled = 0;
        while filled < magic.len() {
            match file.read(&mut magic[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    });
    match read.map_err(|error| format!("cannot be read: {error}"))? {
        0 => Err(format!("expected audio, found an empty file. {AGAIN}")),
        _ if magic.starts_with(b"RIFF") && &magic[8..12] == b"WAVE" => {
            wav::decode(path, max_seconds)
        }
        _ if magic.starts_with(b"fLaC") => flac::decode(path, max_seconds),
        _ => Err(
            "expected a WAV or FLAC file, found something else. Convert it, for example with \
                  `ffmpeg -i FILE -ac 1 clip.wav`"
                .to_string(),
        ),
    }
}

/// Whether a file with such a header can be read.
fn check(header: &Header, max_seconds: f64) -> Result<(), Complaint> {
    if header.sampling_rate == 0 {
        return Err(format!(
            "expected a sample rate of at least 1, found 0. {AGAIN}"
        ));
    }
    if header.channels == 0 {
        return Err(format!(
            "expected at least one channel, found none. {AGAIN}"
        ));
    }
    let rate = f64::from(header.sampling_rate);
    match header.frames {
        Some(frames) if frames as f64 / rate > max_seconds => {
            Err(too_long(frames as f64 / rate, max_seconds))
        }
        _ => Ok(()),
    }
}

fn too_long(found: f64, max_seconds: f64) -> Complaint {
    format!(
        "expected at most {max_seconds} s of audio, found {found:.0} s. Cut it into shorter clips, or raise the limit \
         (--max-seconds; data.max_seconds)"
    )
}

/// The mean over channels of interleaved samples.
fn mixed_down(samples: Vec<f32>, channels: usize) -> Vec<f32> {
    if channels == 1 {
        return samples;
    }
    let frames = samples.chunks_exact(channels);
    frames
        .map(|frame| frame.iter().sum::<f32>() / channels as f32)
        .collect()
}
