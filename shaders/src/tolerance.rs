//! How far two results may lie apart.

/// Limits of one tensor: `|got - want| <= atol + rtol * |want|`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Absolute part.
    pub atol: f64,
    /// Part relative to the wanted value.
    pub rtol: f64,
}

impl Tolerance {
    /// The same limits, `factor` times as wide.
    pub fn times(self, factor: f64) -> Self {
        Self {
            atol: self.atol * factor,
            rtol: self.rtol * factor,
        }
    }

    /// The allowed distance from `want`.
    pub fn at(self, want: f64) -> f64 {
        self.atol + self.rtol * want.abs()
    }
}

/// Root mean square of the difference, relative to the root mean square of what is wanted.
///
/// Zero for two empty or two all-zero slices; infinite when `got` holds anything that is not finite, when the lengths
/// differ, or when something is wanted to be zero everywhere and is not.
pub fn relative_rms(got: &[f64], want: &[f64]) -> f64 {
    if got.len() != want.len() || got.iter().any(|value| !value.is_finite()) {
        return f64::INFINITY;
    }
    let difference: f64 = got.iter().zip(want).map(|(a, b)| (a - b) * (a - b)).sum();
    let reference: f64 = want.iter().map(|b| b * b).sum();
    if difference == 0.0 {
        0.0
    } else {
        (difference / reference).sqrt()
    }
}

/// The element that comes closest to its limit, or lies furthest past it: `(error, allowed)` there.
///
/// A value that is not finite has an infinite error. `(0, atol)` when there is nothing to compare.
pub fn worst(got: &[f64], want: &[f64], tolerance: Tolerance) -> (f64, f64) {
    if got.len() != want.len() {
        return (f64::INFINITY, tolerance.atol);
    }
    let mut worst = (0.0, tolerance.atol);
    let mut worst_ratio = -1.0;
    for (&got, &want) in got.iter().zip(want) {
        let error = if got.is_finite() {
            (got - want).abs()
        } else {
            f64::INFINITY
        };
        let allowed = tolerance.at(want);
        let ratio = if allowed > 0.0 {
            error / allowed
        } else if error > 0.0 {
            f64::INFINITY
        } else {
            0.0
        };
        if ratio > worst_ratio {
            worst_ratio = ratio;
            worst = (error, allowed);
        }
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_rms_of_known_values() {
        assert_eq!(relative_rms(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert!((relative_rms(&[3.3, 4.4], &[3.0, 4.0]) - 0.1).abs() < 1e-12);
        assert_eq!(relative_rms(&[f64::NAN], &[1.0]), f64::INFINITY);
        assert_eq!(relative_rms(&[1.0], &[0.0]), f64::INFINITY);
        assert_eq!(relative_rms(&[0.0], &[0.0]), 0.0);
    }

    #[test]
    fn the_worst_element_is_the_one_nearest_its_own_limit() {
        let tolerance = Tolerance {
            atol: 0.1,
            rtol: 0.1,
        };
        let (error, allowed) = worst(&[10.5, 0.05], &[10.0, 0.0], tolerance);
        assert_eq!((error, allowed), (0.05, 0.1));
        assert_eq!(worst(&[f64::NAN], &[0.0], tolerance).0, f64::INFINITY);
    }
}
