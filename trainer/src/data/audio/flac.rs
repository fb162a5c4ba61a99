//! FLAC through the `claxon` crate.

use std::path::Path;

use claxon::FlacReader;

use super::{AGAIN, Clip, Complaint, Header, check, mixed_down, too_long};

pub(super) fn decode(path: &Path, max_seconds: f64) -> Result<Clip, Complaint> {
    let mut reader = FlacReader::open(path).map_err(refused)?;
    let info = reader.streaminfo();
    let header = Header {
        channels: info.channels as usize,
        sampling_rate: info.sample_rate,
        frames: info.samples,
    };
    check(&header, max_seconds)?;
    let scale = 1.0 / f64::powi(2.0, info.bits_per_sample as i32 - 1);
    let most = (max_seconds * f64::from(header.sampling_rate)) as usize * header.channels;
    let mut samples = Vec::new();
    let mut blocks = reader.blocks();
    let mut buffer = Vec::new();
    while let Some(block) = blocks.read_next_or_eof(buffer).map_err(refused)? {
        if block.channels() as usize != header.channels {
            return Err(format!(
                "damaged FLAC file: expected {} channels, found {} in a block. {AGAIN}",
                header.channels,
                block.channels()
            ));
        }
        for frame in 0..block.duration() {
            let channels = 0..block.channels();
            samples.extend(channels.map(|c| (f64::from(block.sample(c, frame)) * scale) as f32));
        }
        // A stream need not tell its length beforehand.
        if samples.len() > most {
            let seconds = samples.len() as f64 / header.channels as f64;
            return Err(too_long(
                seconds / f64::from(header.sampling_rate),
                max_seconds,
            ));
        }
        buffer = block.into_buffer();
    }
    let found = samples.len() / header.channels;
    if let Some(expected) = header.frames.filter(|expected| *expected != found as u64) {
        return Err(format!(
            "truncated FLAC file: its header promises {expected} samples, the file has {found}. {AGAIN}"
        ));
    }
    Ok(Clip {
        samples: mixed_down(samples, header.channels),
        sampling_rate: header.sampling_rate,
    })
}

fn refused(error: claxon::Error) -> Complaint {
    match error {
        claxon::Error::IoError(error) => format!("truncated FLAC file: {error}. {AGAIN}"),
        claxon::Error::FormatError(detail) => format!("damaged FLAC file: {detail}. {AGAIN}"),
        claxon::Error::Unsupported(detail) => format!(
            "a kind of FLAC that cannot be read: {detail}. Convert it to WAV, for example with `ffmpeg -i FILE clip.wav`"
        ),
    }
}
