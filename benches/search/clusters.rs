//! Vectors in clusters that differ in fewer ways than they have dimensions, as those of texts do; random ones are all about
//! equally far from each other. The same in every run: [`Random`] has a fixed seed.

use super::{DIMENSIONS, Random};

pub(super) const CLUSTERS: usize = 200;
const WAYS: usize = 24;
const SPREAD: f32 = 0.8;

pub(super) struct Clusters {
    centres: Vec<Vec<f32>>,
    directions: Vec<Vec<f32>>,
}

impl Clusters {
    pub(super) fn new(random: &mut Random) -> Self {
        Self {
            centres: (0..CLUSTERS).map(|_| random.vector(WAYS)).collect(),
            directions: (0..WAYS).map(|_| random.vector(DIMENSIONS)).collect(),
        }
    }

    /// A vector of a cluster.
    pub(super) fn vector(&self, random: &mut Random, cluster: usize) -> Vec<f32> {
        let mut values = vec![0.0; DIMENSIONS];
        for ((centre, noise), direction) in self.centres[cluster].iter().zip(random.vector(WAYS)).zip(&self.directions)
        {
            let length = centre + SPREAD * noise;
            values.iter_mut().zip(direction).for_each(|(value, part)| *value += length * part);
        }
        values
    }
}
