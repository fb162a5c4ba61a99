//! Which vector instructions the CPU twins' loops take, decided in one place.

use crate::environment::{UnknownChoice, chosen};

/// Variable of the environment that names the widest instructions the loops may take: `baseline`, `avx2` or `avx512`.
pub const SIMD: &str = "CALDERA_SIMD";

/// Instructions of a processor; each has those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Simd {
    /// What the program was compiled for.
    Baseline,
    /// AVX2 and fused multiply-adds.
    Avx2,
    /// AVX-512 with the parts F, VL, DQ and BW.
    Avx512,
}

impl Simd {
    /// What the environment names.
    pub(crate) fn named() -> Result<Option<Self>, UnknownChoice> {
        let choices = [
            ("baseline", Self::Baseline),
            ("avx2", Self::Avx2),
            ("avx512", Self::Avx512),
        ];
        chosen(SIMD, &choices)
    }

    /// The widest that the processor has and the environment allows.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn select() -> Self {
        static SELECTED: std::sync::OnceLock<Simd> = std::sync::OnceLock::new();
        let most = || Self::named().ok().flatten().unwrap_or(Self::Avx512);
        *SELECTED.get_or_init(|| Self::found().min(most()))
    }

    /// The widest that the processor has.
    #[cfg(target_arch = "x86_64")]
    fn found() -> Self {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw");
        match (avx2, avx512) {
            (true, true) => Self::Avx512,
            (true, false) => Self::Avx2,
            (false, _) => Self::Baseline,
        }
    }
}
