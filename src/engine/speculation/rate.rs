//! How often guesses were right, the latest ones first of all.

/// Right ones among those that were tried, in which observations fade.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    prior: Prior,
    num_right: f32,
    num_tried: f32,
}

/// What is assumed before there are observations, and what one is worth when the next one comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prior {
    pub(super) right: f32,
    pub(super) tried: f32,
    pub(super) kept: f32,
}

impl Rate {
    pub(super) fn new(prior: Prior) -> Self {
        Self { prior, num_right: 0.0, num_tried: 0.0 }
    }

    pub(super) fn note(&mut self, num_right: usize, num_tried: usize) {
        self.num_right = self.num_right * self.prior.kept + num_right as f32;
        self.num_tried = self.num_tried * self.prior.kept + num_tried as f32;
    }

    pub(super) fn probability(&self) -> f64 {
        f64::from((self.num_right + self.prior.right) / (self.num_tried + self.prior.tried))
    }
}
