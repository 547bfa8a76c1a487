//! How a vector becomes a code: one bit for each of a number of directions, the length of the vector, and its cell.
//!
//! The centre of the collection is taken off the vector, the rest is rotated at random, and of each coordinate only the sign
//! is kept. Two vectors whose codes differ in `h` of `bits` bits have an angle of about pi * h / bits (Charikar, 2002), which
//! with their lengths gives their distance. A vector with few dimensions is first padded with zeros: more directions than it
//! has dimensions give a better estimate.

use super::cells::{Cells, UNKNOWN_CELL};
use crate::store::Distance;

/// Fewer directions than these tell too little. With 512 instead of 128, an eighth of the candidates gives the same recall
/// on vectors of 128 dimensions that are not clustered.
const MIN_BITS: usize = 512;
/// More would not fit into an entry of a btree, with the values of the fields.
const MAX_BITS: usize = 4_096;
/// One round of signs and Walsh-Hadamard leaves traces of the original coordinates, three leave none.
const ROUNDS: u64 = 3;

/// Makes the codes of an embedding space.
#[derive(Debug)]
pub(in crate::store) struct CodeMaker {
    distance: Distance,
    centre: Vec<f32>,
    seed: u64,
    cells: Cells,
}

/// What is kept of a vector.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::store) struct Code {
    /// The first direction is the highest bit of the first byte, as in a `bit` of Postgres.
    pub(in crate::store) bits: Vec<u8>,
    /// The length of the vector without the centre.
    pub(in crate::store) norm: f32,
    pub(in crate::store) cell: i16,
}

/// What codes are compared with.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::store) struct QueryCode {
    pub(in crate::store) bits: Vec<u8>,
    pub(in crate::store) norm: f32,
    /// All cells, the nearest first, after the rows without one.
    pub(in crate::store) cells: Vec<i16>,
    /// What an estimate stands for, exactly, for the centroid of each cell. The first is the smallest.
    pub(in crate::store) scores: Vec<f64>,
}

impl CodeMaker {
    /// `centroids`: the coordinates of one after the other.
    pub(in crate::store) fn new(distance: Distance, centre: Vec<f32>, seed: i64, centroids: Vec<f32>) -> Self {
        let cells = Cells::new(centre.len(), centroids);
        Self { distance, centre, seed: seed.cast_unsigned(), cells }
    }

    /// One with the centre and at most so many cells of these vectors, which are not none.
    pub(in crate::store) fn of(distance: Distance, seed: i64, vectors: &[Vec<f32>], cells: usize) -> Self {
        let centre = Self::centre_of(distance, vectors);
        let mut maker = Self::new(distance, centre, seed, Vec::new());
        let centred: Vec<_> = vectors.iter().map(|vector| maker.centred(vector)).collect();
        maker.cells = Cells::of(&centred, maker.centre.len(), cells);
        maker
    }

    /// One with the centre of these vectors, and a single cell.
    pub(super) fn renewed(&self, vectors: &[Vec<f32>]) -> Self {
        Self::of(self.distance, self.seed.cast_signed(), vectors, 1)
    }

    pub(super) fn centre(&self) -> &[f32] {
        &self.centre
    }

    pub(super) fn seed(&self) -> i64 {
        self.seed.cast_signed()
    }

    pub(super) fn cells(&self) -> &Cells {
        &self.cells
    }

    /// The mean of vectors: what to take off them all.
    fn centre_of(distance: Distance, vectors: &[Vec<f32>]) -> Vec<f32> {
        let mut sums = vec![0.0_f64; vectors.first().map_or(0, Vec::len)];
        for vector in vectors {
            let scale = scale(distance, vector);
            sums.iter_mut().zip(vector).for_each(|(sum, value)| *sum += f64::from(*value) * scale);
        }
        sums.iter().map(|sum| (sum / vectors.len() as f64) as f32).collect()
    }

    /// The bits of every code.
    pub(in crate::store) fn bits(&self) -> usize {
        bits(self.centre.len())
    }

    /// The code of a stored vector.
    pub(in crate::store) fn code(&self, vector: &[f32]) -> Code {
        let centred = self.centred(vector);
        let (bits, norm) = self.encode(&centred);
        Code { bits, norm, cell: self.cells.of_vector(&centred) }
    }

    /// The code of a query.
    pub(in crate::store) fn query(&self, vector: &[f32]) -> QueryCode {
        let compared = self.compared(vector);
        let (bits, norm) = self.encode(&compared);
        let (cells, scores) = self.ordered_cells(&compared);
        QueryCode { bits, norm, cells, scores }
    }

    /// The cells and scores of a query.
    fn ordered_cells(&self, compared: &[f32]) -> (Vec<i16>, Vec<f64>) {
        let score = |(product, square): (f64, f64)| match self.distance {
            Distance::InnerProduct => -product,
            _ => square - 2.0 * product,
        };
        let scores = self.cells.compared(compared).map(score);
        // What is beyond the largest floats is read first too.
        let scores = scores.map(|score| if score.is_nan() { f64::NEG_INFINITY } else { score });
        let mut ordered: Vec<(f64, i16)> = scores.zip(0..).chain([(f64::NEG_INFINITY, UNKNOWN_CELL)]).collect();
        ordered.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        ordered.into_iter().map(|(score, cell)| (cell, score)).unzip()
    }

    /// How much an estimate changes for so much more slack or margin, which are measured for queries of any length.
    pub(in crate::store) fn unit(&self, query: &QueryCode) -> f64 {
        if self.distance == Distance::InnerProduct { f64::from(query.norm) } else { 1.0 }
    }

    /// Orders stored codes as their distances to the query are estimated: smaller is nearer. `sql` says the same in SQL.
    pub(in crate::store) fn estimate(&self, query: &QueryCode, stored: &Code) -> f64 {
        let ((query_words, _), (words, _)) = (query.bits.as_chunks::<8>(), stored.bits.as_chunks::<8>());
        let pairs = query_words.iter().zip(words);
        let differing: u32 = pairs.map(|(a, b)| (u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b)).count_ones()).sum();
        let cosine = (self.angle() * f64::from(differing)).cos();
        let (weight, norm) = (self.weight(query), f64::from(stored.norm));
        match self.distance {
            Distance::InnerProduct => weight * cosine * norm,
            _ => norm * (norm - weight * cosine),
        }
    }

    /// What an estimate multiplies the cosine of an angle by, beside the length of the vector.
    pub(in crate::store) fn weight(&self, query: &QueryCode) -> f64 {
        let norm = f64::from(query.norm);
        if self.distance == Distance::InnerProduct { -norm } else { 2.0 * norm }
    }

    /// The angle for which one bit stands.
    fn angle(&self) -> f64 {
        std::f64::consts::PI / self.bits() as f64
    }

    /// Orders vectors by their true distances to the query.
    pub(in crate::store) fn distance(&self, query: &[f32], stored: &[f32]) -> f64 {
        match self.distance {
            Distance::InnerProduct => -inner_product(query, stored),
            Distance::Cosine => -inner_product(query, stored) * scale(self.distance, stored),
            Distance::L2 | Distance::L1 => {
                // A measurement compares a million pairs, so this is a loop that is fast in every build.
                let mut sum = 0.0;
                for (a, b) in query.iter().zip(stored) {
                    let difference = f64::from(*a) - f64::from(*b);
                    sum += difference * difference;
                }
                sum
            }
        }
    }

    /// The estimate in SQL, of the columns `code` and `norm` of `c`, with as few steps as possible: Postgres computes it for
    /// each code. `code` and `weight` are those of the query.
    pub(in crate::store) fn sql(&self, extension: &str, code: &str, weight: &str) -> String {
        let cosine = format!("cos((c.code OPERATOR({extension}.<~>) {code}) * {}::float8)", self.angle());
        match self.distance {
            Distance::InnerProduct => format!("{weight} * {cosine} * c.norm"),
            _ => format!("c.norm * (c.norm - {weight} * {cosine})"),
        }
    }

    /// What an estimate is at least, in SQL, in a third less time: with a tangent of the cosine in place of the cosine. Up to
    /// a right angle the tangent is above it, and a little beyond nearly the same. `line` has the columns of
    /// [`tangent_sql`](Self::tangent_sql).
    pub(in crate::store) fn least_sql(&self, extension: &str, code: &str, line: &str) -> String {
        let differing = format!("(c.code OPERATOR({extension}.<~>) {code})");
        let (base, slope) = (format!("(SELECT base FROM {line})"), format!("(SELECT slope FROM {line})"));
        match self.distance {
            Distance::InnerProduct => format!("({base} - {differing} * {slope}) * c.norm"),
            _ => format!("c.norm * (c.norm + {differing} * {slope} - {base})"),
        }
    }

    /// The columns `base` and `slope` of the tangent at an `angle`.
    pub(in crate::store) fn tangent_sql(&self, weight: &str) -> String {
        format!(
            "{weight} * (cos(angle) + angle * sin(angle)) AS base, {weight} * sin(angle) * {}::float8 AS slope",
            self.angle()
        )
    }

    /// The angle of a vector that has this `estimate` and the length `norm`, or the next one that there is.
    pub(in crate::store) fn angle_sql(&self, weight: &str) -> String {
        let part = match self.distance {
            Distance::InnerProduct => "estimate",
            _ => "(norm * norm - estimate)",
        };
        format!("acos(greatest(-1, least(1, {part} / nullif({weight} * norm, 0))))")
    }

    /// What is left of a vector without the centre.
    fn centred(&self, vector: &[f32]) -> Vec<f32> {
        let scale = scale(self.distance, vector);
        // Differences of the largest floats are larger still.
        let bounded = |value: f64| value.clamp(-f64::from(f32::MAX), f64::from(f32::MAX)) as f32;
        let values = vector.iter().zip(&self.centre);
        values.map(|(value, centre)| bounded(f64::from(*value) * scale - f64::from(*centre))).collect()
    }

    /// What is left of a query. The inner product with what is left of a stored vector is that of the query as it is.
    fn compared(&self, query: &[f32]) -> Vec<f32> {
        if self.distance == Distance::InnerProduct { query.to_vec() } else { self.centred(query) }
    }

    /// The bits and the length.
    fn encode(&self, values: &[f32]) -> (Vec<u8>, f32) {
        let norm = inner_product(values, values).sqrt().min(f64::from(f32::MAX)) as f32;
        let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let mut rotated = vec![0.0_f32; values.len().next_power_of_two().max(MIN_BITS)];
        if largest > 0.0 {
            rotated.iter_mut().zip(values).for_each(|(rotated, value)| *rotated = value / largest);
            self.rotate(&mut rotated);
        }
        let mut bits = vec![0_u8; self.bits() / 8];
        for (byte, values) in bits.iter_mut().zip(rotated.chunks_exact(8)) {
            *byte = values.iter().fold(0, |byte, value| byte << 1 | u8::from(*value > 0.0));
        }
        (bits, norm)
    }

    /// An orthogonal map: in each round random signs, then the Walsh-Hadamard transform. Lengths are not kept, which signs do
    /// not show.
    fn rotate(&self, values: &mut [f32]) {
        const SIGNS: usize = 64;
        for round in 0..ROUNDS {
            for (position, values) in values.chunks_mut(SIGNS).enumerate() {
                let signs = random(self.seed, round << 32 | position as u64);
                for (bit, value) in values.iter_mut().enumerate() {
                    if signs >> bit & 1 == 1 {
                        *value = -*value;
                    }
                }
            }
            walsh_hadamard(values);
        }
    }
}

/// The bits of a code for vectors with so many dimensions.
pub(in crate::store) fn bits(dimensions: usize) -> usize {
    dimensions.next_power_of_two().clamp(MIN_BITS, MAX_BITS)
}

/// Under the cosine distance only directions count.
fn scale(distance: Distance, vector: &[f32]) -> f64 {
    if distance != Distance::Cosine {
        return 1.0;
    }
    let length = inner_product(vector, vector).sqrt();
    if length > 0.0 { 1.0 / length } else { 0.0 }
}

fn inner_product(a: &[f32], b: &[f32]) -> f64 {
    let mut sum = 0.0;
    for (a, b) in a.iter().zip(b) {
        sum += f64::from(*a) * f64::from(*b);
    }
    sum
}

/// With many sums, which become vector instructions.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = [0.0; 16];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// The same 64 random bits for the same numbers, for ever: stored codes depend on them. SplitMix64 (Steele, Lea and Flood,
/// 2014).
fn random(seed: u64, number: u64) -> u64 {
    let mut mixed = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

fn walsh_hadamard(values: &mut [f32]) {
    let mut half = 1;
    while half < values.len() {
        for block in values.chunks_exact_mut(2 * half) {
            let (first, second) = block.split_at_mut(half);
            for (a, b) in first.iter_mut().zip(second) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors(count: usize, dimensions: usize, seed: u64) -> Vec<Vec<f32>> {
        let value = |number| (random(seed, number) >> 40) as f32 / (1_u64 << 24) as f32;
        let vector =
            |row: usize| (0..dimensions).map(|column| 20.0 * value((row * dimensions + column) as u64)).collect();
        (0..count).map(vector).collect()
    }

    fn first(count: usize, of: usize, key: impl Fn(usize) -> f64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..of).collect();
        order.sort_by(|a, b| key(*a).total_cmp(&key(*b)));
        order.truncate(count);
        order
    }

    /// The share of the 10 nearest of vectors without any structure, which are hard, among the 200 best codes.
    fn recall(kind: Distance, dimensions: usize) -> f64 {
        let stored = vectors(2_000, dimensions, 1);
        let maker = CodeMaker::of(kind, 7, &stored, 1);
        let codes: Vec<Code> = stored.iter().map(|vector| maker.code(vector)).collect();
        let queries = vectors(20, dimensions, 2);
        let mut found = 0;
        for query in &queries {
            let nearest = first(10, stored.len(), |row| maker.distance(query, &stored[row]));
            let query = maker.query(query);
            let candidates = first(200, stored.len(), |row| maker.estimate(&query, &codes[row]));
            found += nearest.iter().filter(|row| candidates.contains(row)).count();
        }
        found as f64 / (10 * queries.len()) as f64
    }

    #[test]
    fn the_nearest_are_among_the_best_codes() {
        for kind in [Distance::L2, Distance::Cosine, Distance::InnerProduct] {
            for dimensions in [3, 100, 128] {
                let recall = recall(kind, dimensions);
                assert!(recall > 0.9, "{kind:?} {dimensions}: {recall}");
            }
        }
    }

    #[test]
    fn bits_are_a_power_of_two_within_bounds() {
        let numbers = [1, 384, 512, 513, 1_536, 4_000, 16_000].map(bits);
        assert_eq!(numbers, [512, 512, 512, 1_024, 2_048, 4_096, 4_096]);
    }

    #[test]
    fn any_vector_has_a_code() {
        let huge = CodeMaker::new(Distance::L2, vec![-f32::MAX; 2], 1, vec![0.0; 2]);
        assert_eq!(huge.code(&[f32::MAX; 2]).norm, f32::MAX);
        assert_eq!(huge.code(&[-f32::MAX; 2]), Code { bits: vec![0; 64], norm: 0.0, cell: 0 });
        let cosine = CodeMaker::new(Distance::Cosine, vec![0.0; 16_000], 1, vec![0.0; 16_000]);
        assert_eq!(cosine.code(&vec![0.0; 16_000]).norm, 0.0);
        assert_eq!(cosine.code(&vec![1e-30; 16_000]).bits.len(), 512);
        assert!((cosine.code(&vec![1e-30; 16_000]).norm - 1.0).abs() < 1e-6);
    }

    #[test]
    fn half_of_the_bits_differ_at_a_right_angle() {
        let maker = CodeMaker::new(Distance::L2, vec![0.0; 384], 3, vec![0.0; 384]);
        let axis = |axis: usize| maker.code(&(0..384).map(|i| f32::from(u8::from(i == axis))).collect::<Vec<_>>());
        for other in 1..100 {
            let differing: u32 = axis(0).bits.iter().zip(&axis(other).bits).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert!((190..322).contains(&differing), "{other}: {differing}");
        }
    }

    /// Codes that are stored must not change with the code of pgfox.
    #[test]
    fn codes_stay_the_same() {
        let maker = CodeMaker::new(Distance::L2, vec![0.5, 0.0, -1.0], 42, vec![0.0; 3]);
        let code = maker.code(&[1.0, 2.0, 3.0]);
        assert_eq!((&code.bits[..4], code.norm), (&[234_u8, 96, 163, 92][..], 4.5));
    }
}
