//! The elementwise parts of a BERT layer, written so that the compiler vectorizes them.
//!
//! `Arch::dispatch` runs a closure with the instructions of this processor (AVX-512, AVX2, NEON or the baseline). Every
//! instruction set gives the same bits: sums run in a fixed number of lanes, and nothing here uses `mul_add`, which
//! without an FMA instruction is a call into libm and hundreds of times slower.

use pulp::Arch;

/// The number of partial sums kept side by side, since the compiler may not reorder additions by itself. 16 fill one
/// AVX-512 register.
const LANES: usize = 16;

/// The activation between the two linear layers of a feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    /// x * Phi(x) with the exact normal distribution.
    Gelu,
    /// The tanh approximation of GELU.
    GeluTanh,
    Relu,
}

/// Applies the activation to each value.
pub(super) fn activate(arch: Arch, activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::Gelu => arch.dispatch(
            #[inline(always)]
            || values.iter_mut().for_each(|value| *value = gelu(*value)),
        ),
        Activation::GeluTanh => arch.dispatch(
            #[inline(always)]
            || values.iter_mut().for_each(|value| *value = gelu_tanh(*value)),
        ),
        Activation::Relu => values.iter_mut().for_each(|value| *value = value.max(0.0)),
    }
}

/// Turns each row of `row_len` scores into probabilities.
pub(super) fn softmax(arch: Arch, row_len: usize, scores: &mut [f32]) {
    arch.dispatch(
        #[inline(always)]
        || {
            for row in scores.chunks_exact_mut(row_len) {
                // Subtract the largest score, so that no power overflows.
                let largest = max(row);
                row.iter_mut().for_each(|score| *score = exp(*score - largest));
                let scale = 1.0 / sum(row, |probability| probability);
                row.iter_mut().for_each(|probability| *probability *= scale);
            }
        },
    );
}

/// Scales each row to mean 0 and variance 1, then applies scale and shift.
pub(super) fn layer_norm(arch: Arch, scale: &[f32], shift: &[f32], epsilon: f32, rows: &mut [f32]) {
    arch.dispatch(
        #[inline(always)]
        || {
            let width = scale.len();
            for row in rows.chunks_exact_mut(width) {
                let mean = sum(row, |value| value) / width as f32;
                let variance = sum(row, |value| (value - mean) * (value - mean)) / width as f32;
                let factor = 1.0 / (variance + epsilon).sqrt();
                for ((value, scale), shift) in row.iter_mut().zip(scale).zip(shift) {
                    *value = (*value - mean) * factor * scale + shift;
                }
            }
        },
    );
}

/// Adds `addend` to each row.
pub(super) fn add_to_rows(arch: Arch, addend: &[f32], rows: &mut [f32]) {
    arch.dispatch(
        #[inline(always)]
        || {
            for row in rows.chunks_exact_mut(addend.len()) {
                row.iter_mut().zip(addend).for_each(|(value, addend)| *value += addend);
            }
        },
    );
}

/// Scales a vector to length 1. The zero vector stays as it is.
pub(super) fn normalize(vector: &mut [f32]) {
    let length = sum(vector, |value| value * value).sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
}

/// The sum of `of(value)` over the values.
#[inline(always)]
fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += of(chunk[lane]);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|&value| of(value)).sum::<f32>()
}

/// The largest value, or `-inf` if there is none.
#[inline(always)]
fn max(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], chunk[lane]);
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| larger(a, b))
}

/// e^x with a relative error of at most 2e-7, for x clamped to -87..88 (Cephes `expf`).
#[inline(always)]
fn exp(x: f32) -> f32 {
    // 1.5 * 2^23: adding it rounds to an integer and leaves that integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts: the first is short enough to multiply by an integer without rounding.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = if x > -87.0 { x } else { -87.0 };
    let x = if x < 88.0 { x } else { 88.0 };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let power_of_two = f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23));
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    (p * r * r + r + 1.0) * power_of_two
}

/// x * Phi(x) with an absolute error of at most 5e-7 (Abramowitz and Stegun 7.1.26 for erf).
#[inline(always)]
fn gelu(x: f32) -> f32 {
    let distance = x.abs();
    let z = distance * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let p = 1.061_405_4;
    let p = p * t - 1.453_152;
    let p = p * t + 1.421_413_8;
    let p = p * t - 0.284_496_74;
    let p = p * t + 0.254_829_6;
    // 1 - Phi(|x|): small and exact in the tail, where 1 - erf would cancel.
    let tail = 0.5 * p * t * exp(-z * z);
    let positive = if x > 0.0 { x } else { 0.0 };
    positive - distance * tail
}

/// x / (1 + e^(-2z)) with z = sqrt(2/pi) * (x + 0.044715 x^3), which is x * (1 + tanh z) / 2.
#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    let z = SQRT_2_OVER_PI * (x + 0.044_715 * x * x * x);
    x / (1.0 + exp(-2.0 * z))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The portable code and everything that this processor offers.
    fn all_archs() -> Vec<Arch> {
        #[cfg(target_arch = "x86_64")]
        let between = pulp::x86::V3::try_new().map(Arch::V3);
        #[cfg(not(target_arch = "x86_64"))]
        let between = None;
        [Arch::Scalar, Arch::new()].into_iter().chain(between).collect()
    }

    fn values() -> Vec<f32> {
        (-60_000..60_000).map(|i| i as f32 * 2.5e-4).chain([0.0, -0.0, 1e-30, -1e-30, 1e4, -1e4]).collect()
    }

    /// erf by its series and continued fraction, in double precision.
    fn erf(x: f64) -> f64 {
        if x.abs() < 3.0 {
            let (mut term, mut total) = (x, x);
            for n in 1..200 {
                term *= -x * x / f64::from(n);
                total += term / f64::from(2 * n + 1);
            }
            return total * 2.0 / std::f64::consts::PI.sqrt();
        }
        let fraction = (1..60).rev().fold(0.0, |rest, n| f64::from(n) / 2.0 / (x.abs() + rest));
        x.signum() * (1.0 - (-x * x).exp() / ((x.abs() + fraction) * std::f64::consts::PI.sqrt()))
    }

    #[test]
    fn gelu_is_exact_to_1e_6() {
        for x in values() {
            let wide = f64::from(x);
            let exact = wide * 0.5 * (1.0 + erf(wide / std::f64::consts::SQRT_2));
            let error = (f64::from(gelu(x)) - exact).abs() / exact.abs().max(1.0);
            assert!(error <= 5e-7, "gelu({x}) is off by {error}");
        }
    }

    #[test]
    fn gelu_tanh_is_exact_to_1e_6() {
        for x in values() {
            let wide = f64::from(x);
            let z = (2.0 / std::f64::consts::PI).sqrt() * (wide + 0.044_715 * wide.powi(3));
            let exact = wide * 0.5 * (1.0 + z.tanh());
            let error = (f64::from(gelu_tanh(x)) - exact).abs() / exact.abs().max(1.0);
            assert!(error <= 1e-6, "gelu_tanh({x}) is off by {error}");
        }
    }

    #[test]
    fn exp_is_exact_to_2e_7() {
        for x in (-86_990..87_990).map(|i| i as f32 * 1e-3) {
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) - exact).abs() <= 2e-7 * exact, "exp({x})");
        }
        assert!(exp(-1e30) < 1e-37 && exp(1e30).is_finite());
    }

    #[test]
    fn softmax_sums_to_one_whatever_the_scores() {
        for row_len in [1, 2, 15, 16, 17, 100] {
            let mut scores: Vec<f32> = (0..3 * row_len).map(|i| (i * 37 % 101) as f32 * 40.0 - 2000.0).collect();
            softmax(Arch::new(), row_len, &mut scores);
            for row in scores.chunks_exact(row_len) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn layer_norm_gives_mean_and_variance() {
        let mut rows: Vec<f32> = (0..80).map(|i| (i * 31 % 17) as f32).collect();
        layer_norm(Arch::new(), &[1.0; 40], &[0.0; 40], 1e-12, &mut rows);
        for row in rows.chunks_exact(40) {
            assert!(row.iter().sum::<f32>().abs() < 1e-4);
            assert!((row.iter().map(|value| value * value).sum::<f32>() - 40.0).abs() < 1e-3);
        }
    }

    #[test]
    fn the_zero_vector_is_not_normalized() {
        let mut vector = [0.0; 5];
        normalize(&mut vector);
        assert_eq!(vector, [0.0; 5]);
    }

    #[test]
    fn instruction_sets_agree_to_the_bit() {
        for arch in all_archs() {
            for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
                let (mut expected, mut actual) = (values(), values());
                activate(Arch::Scalar, activation, &mut expected);
                activate(arch, activation, &mut actual);
                assert_eq!(expected, actual, "{activation:?} on {arch:?}");
            }
            let (mut expected, mut actual) = (values(), values());
            softmax(Arch::Scalar, 57, &mut expected);
            softmax(arch, 57, &mut actual);
            assert_eq!(expected, actual, "softmax on {arch:?}");
            layer_norm(Arch::Scalar, &[1.5; 57], &[0.5; 57], 1e-12, &mut expected);
            layer_norm(arch, &[1.5; 57], &[0.5; 57], 1e-12, &mut actual);
            assert_eq!(expected, actual, "layer norm on {arch:?}");
        }
    }
}
