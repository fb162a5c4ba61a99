//! What the CPU twins share: contiguous values of a `flex` tensor, blocks of work over the cores, loops for wide vectors.

use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};

/// Below this many values one core is faster than waking the others.
#[cfg(not(target_family = "wasm"))]
const PARALLEL_VALUES: usize = 32 * 1024;

/// The tensor itself when its values are the whole of its buffer in order (so that a sole owner may change them in
/// place), a contiguous copy otherwise.
pub(crate) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    let bytes = tensor.layout().num_elements() * tensor.dtype().size();
    let whole = tensor.is_contiguous()
        && tensor.layout().start_offset() == 0
        && tensor.bytes().len() == bytes;
    if whole {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// Wraps values in a tensor of `shape`.
pub(crate) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(
        Bytes::from_elems(values),
        Layout::contiguous(shape.into()),
        DType::F32,
    )
}

/// A buffer of `len` values for a twin to fill: undefined, and NaN in this crate's tests.
#[allow(clippy::uninit_vec)]
pub(crate) fn fresh(len: usize) -> Vec<f32> {
    if cfg!(test) {
        return vec![f32::NAN; len];
    }
    let mut values = Vec::with_capacity(len);
    // SAFETY: the capacity is `len`, every bit pattern is an f32, and the twins write all of it before they read.
    unsafe { values.set_len(len) };
    values
}

/// Cuts each of `buffers` into blocks of its size in `sizes` and hands the blocks of one number to `work`, over the
/// cores where there are several and `values`, the size of the whole task, is worth it. Which block a value falls into
/// does not depend on the number of cores.
pub(crate) fn blocks<const N: usize>(
    values: usize,
    buffers: [&mut [f32]; N],
    sizes: [usize; N],
    work: impl Fn(usize, [&mut [f32]; N]) + Send + Sync,
) {
    let count = buffers[0].len().div_ceil(sizes[0].max(1));
    let mut number = 0;
    let mut cut = buffers.map(|buffer| {
        number += 1;
        buffer.chunks_mut(sizes[number - 1].max(1))
    });
    let pieces = (0..count).map(|block| {
        let buffers = cut
            .each_mut()
            .map(|blocks| blocks.next().unwrap_or_default());
        (block, buffers)
    });
    tasks(values, pieces, |(block, buffers)| work(block, buffers));
}

/// Hands each of `pieces` to `work`, over the cores where there are several and `values`, the size of the whole task, is worth it.
pub(crate) fn tasks<T: Send>(
    values: usize,
    pieces: impl Iterator<Item = T>,
    work: impl Fn(T) + Send + Sync,
) {
    #[cfg(not(target_family = "wasm"))]
    if values >= PARALLEL_VALUES {
        use rayon::prelude::*;
        let pieces: Vec<_> = pieces.collect();
        pieces.into_par_iter().for_each(work);
        return;
    }
    let _ = values;
    pieces.for_each(work);
}

/// a · b + c, fused when the surrounding function was compiled for a machine that can.
#[inline(always)]
pub(crate) fn multiply_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    // Without the instruction `mul_add` would be a call of the C library for every element.
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// e^y for y ≤ 0 or little above, relative error about 1e-7; flushes to about 1e-38 below −87.
#[inline(always)]
pub(crate) fn exp_negative<const FMA: bool>(y: f32) -> f32 {
    // Adding it rounds to an integer that then lies in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // A comparison, not `max`: NaN must pass through.
    let y = if y < -87.0 { -87.0 } else { y };
    let shifted = multiply_add::<FMA>(y, std::f32::consts::LOG2_E, ROUND);
    let power = shifted - ROUND;
    // ln 2 in two parts, the first exact in a product with a small integer.
    let r = multiply_add::<FMA>(power, -355.0 / 512.0, y);
    let r = multiply_add::<FMA>(power, 2.121_944_4e-4, r);
    let mut p = 0.001_381_461_4;
    p = multiply_add::<FMA>(p, r, 0.008_368_71);
    p = multiply_add::<FMA>(p, r, 0.041_668_39);
    p = multiply_add::<FMA>(p, r, 0.166_665_21);
    p = multiply_add::<FMA>(p, r, 0.499_999_94);
    p = multiply_add::<FMA>(p, r * r, r) + 1.0;
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    p * scale
}

/// Defines `fn name(..)` that calls `body::<true>` compiled for AVX-512, or for AVX2 and FMA, where they are
/// [selected](crate::simd::Simd::select), and `body::<false>` compiled for the baseline elsewhere. `body` must be `#[inline(always)]`.
///
/// `wide!(avx2 fn ..)` leaves AVX-512 out, for a body that is slower with it.
macro_rules! wide {
    (avx2 $($function:tt)*) => { wide! { @define false, $($function)* } };
    (@define $avx512:literal, $(#[$attribute:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $result:ty)? => $body:ident) => {
        $(#[$attribute])*
        pub(crate) fn $name($($arg: $ty),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
                fn widest($($arg: $ty),*) $(-> $result)? {
                    $body::<true>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn wide($($arg: $ty),*) $(-> $result)? {
                    $body::<true>($($arg),*)
                }
                let simd = $crate::simd::Simd::select();
                if $avx512 && simd == $crate::simd::Simd::Avx512 {
                    // SAFETY: it is selected only where all of its features are found, and AVX2's.
                    return unsafe { widest($($arg),*) };
                }
                if simd >= $crate::simd::Simd::Avx2 {
                    // SAFETY: it is selected only where both features are found.
                    return unsafe { wide($($arg),*) };
                }
            }
            $body::<false>($($arg),*)
        }
    };
    (@define $($function:tt)*) => { compile_error!("wide! expects `fn name(argument: type, ..) -> result => body`"); };
    ($($function:tt)*) => { wide! { @define true, $($function)* } };
}
pub(crate) use wide;
