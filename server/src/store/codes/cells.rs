//! Cells: where in space a vector lies. They let a search read the codes near to the query first, and leave out the others.
//!
//! A cell is what is nearest to one of some centroids, which k-means finds in a sample (Lloyd, 1982), as in the inverted
//! files of IVFFlat. Each index of codes is ordered by them.

use super::maker::dot;

/// A cell for so many vectors. With fewer vectors in each, a search looks into more cells and reads no fewer codes.
const VECTORS_PER_CELL: f64 = 500.0;
/// With more, a sample has too few vectors for each.
const MAX_CELLS: usize = 1_024;
/// With fewer vectors, reading all codes that match takes a few milliseconds at most.
const MIN_VECTORS: f64 = 10_000.0;
/// Maximum number of coordinates of all centroids: they are in the registry and in the memory of each server.
const MAX_COORDINATES: usize = 1 << 19;
/// Vectors of the sample for each centroid.
const MIN_SAMPLE: usize = 18;
/// K-means changes little after these.
const ROUNDS: usize = 8;

/// The cell of a row without a code, and of a row by a server that does not know of cells. Every search reads it.
pub(in crate::store) const UNKNOWN_CELL: i16 = -1;

/// The centroids of a set of codes.
#[derive(Debug)]
pub(in crate::store) struct Cells {
    dimensions: usize,
    /// The coordinates, one centroid after the other, without the centre of the codes.
    coordinates: Vec<f32>,
    /// The squares of their lengths.
    squares: Vec<f32>,
}

impl Cells {
    pub(super) fn new(dimensions: usize, coordinates: Vec<f32>) -> Self {
        let squares = coordinates.chunks_exact(dimensions).map(|centroid| dot(centroid, centroid)).collect();
        Self { dimensions, coordinates, squares }
    }

    /// How many are worth it for so many vectors.
    pub(super) fn count_for(vectors: f64, dimensions: usize) -> usize {
        if vectors < MIN_VECTORS {
            return 1;
        }
        ((vectors / VECTORS_PER_CELL) as usize).min(MAX_CELLS).min(MAX_COORDINATES / dimensions).max(1)
    }

    /// At most so many, of a sample without the centre.
    pub(super) fn of(sample: &[Vec<f32>], dimensions: usize, count: usize) -> Self {
        let count = count.min(sample.len() / MIN_SAMPLE).max(1);
        if count == 1 {
            return Self::new(dimensions, vec![0.0; dimensions]);
        }
        // The sample is from all parts of the table.
        let first = (0..count).flat_map(|number| sample[number * sample.len() / count].iter().copied()).collect();
        let mut cells = Self::new(dimensions, first);
        for _ in 0..ROUNDS {
            cells = cells.moved(sample);
        }
        cells
    }

    /// With each centroid in the middle of what is nearest to it.
    fn moved(self, sample: &[Vec<f32>]) -> Self {
        let mut sums = vec![0.0; self.coordinates.len()];
        let mut counts = vec![0_u32; self.count()];
        for vector in sample {
            let cell = self.nearest(vector);
            counts[cell] += 1;
            let sum = &mut sums[cell * self.dimensions..][..self.dimensions];
            sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
        }
        let centroids = sums.chunks_exact_mut(self.dimensions).zip(self.coordinates.chunks_exact(self.dimensions));
        for ((sum, old), count) in centroids.zip(counts) {
            match count {
                0 => sum.copy_from_slice(old),
                count => sum.iter_mut().for_each(|sum| *sum /= count as f32),
            }
        }
        Self::new(self.dimensions, sums)
    }

    pub(super) fn count(&self) -> usize {
        self.squares.len()
    }

    pub(super) fn coordinates(&self) -> &[f32] {
        &self.coordinates
    }

    /// The cell of a vector without the centre.
    pub(super) fn of_vector(&self, vector: &[f32]) -> i16 {
        self.nearest(vector) as i16
    }

    fn nearest(&self, vector: &[f32]) -> usize {
        let mut best = (0, f32::INFINITY);
        for (cell, (product, square)) in self.products(vector).zip(&self.squares).enumerate() {
            let distance = square - 2.0 * product;
            if distance < best.1 {
                best = (cell, distance);
            }
        }
        best.0
    }

    /// The inner product of each centroid with a vector, and the square of its length.
    pub(super) fn compared(&self, vector: &[f32]) -> impl Iterator<Item = (f64, f64)> {
        self.products(vector).zip(&self.squares).map(|(product, square)| (f64::from(product), f64::from(*square)))
    }

    fn products(&self, vector: &[f32]) -> impl Iterator<Item = f32> {
        self.coordinates.chunks_exact(self.dimensions).map(move |centroid| dot(centroid, vector))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_more_cells_for_more_vectors_within_bounds() {
        let counts = [0.0, 9_999.0, 10_000.0, 100_500.0, 1e6, 1e9].map(|vectors| Cells::count_for(vectors, 384));
        assert_eq!(counts, [1, 1, 20, 201, 1_024, 1_024]);
        assert_eq!(Cells::count_for(1e6, 16_000), 32);
    }

    #[test]
    fn centroids_are_in_the_middle_of_clusters() {
        let cluster = |centre: f32| (0..50).map(move |n| vec![centre + (n % 5) as f32 - 2.0, centre]);
        let sample: Vec<_> = [-100.0, 0.0, 100.0].into_iter().flat_map(cluster).collect();
        let cells = Cells::of(&sample, 2, 3);
        assert_eq!(cells.coordinates(), [-100.0, -100.0, 0.0, 0.0, 100.0, 100.0]);
        assert_eq!([[-60.0, -60.0], [1.0, 30.0], [500.0, 500.0]].map(|vector| cells.of_vector(&vector)), [0, 1, 2]);
    }

    #[test]
    fn equal_vectors_and_small_samples_have_cells_too() {
        let equal = Cells::of(&vec![vec![1.0, 2.0]; 100], 2, 4);
        assert_eq!((equal.count(), equal.of_vector(&[1.0, 2.0])), (4, 0));
        assert_eq!(Cells::of(&vec![vec![1.0, 2.0]; 10], 2, 4).count(), 1);
    }

    #[test]
    fn a_vector_of_the_largest_floats_has_a_cell() {
        let cells = Cells::new(2, vec![0.0, 0.0, f32::MAX, f32::MAX]);
        assert_eq!(cells.of_vector(&[f32::MAX, -f32::MAX]), 0);
    }
}
