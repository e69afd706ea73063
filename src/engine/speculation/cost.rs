//! What a row adds to the time of a step, learned from the steps.

/// Of a row in the time of a step of one, before steps of several sizes were seen. Weights are read
/// once for all rows, and reading them is most of such a step.
const ASSUMED_ROW_SHARE: f64 = 0.15;
/// What an observation is worth when the next one comes, so that the estimate follows the context's
/// length and the machine's other work.
const KEPT: f64 = 0.97;
/// How much the assumption is worth, in squared rows of difference between steps.
const ASSUMPTION_WEIGHT: f64 = 2.0;
/// The sums of a linear regression, in which observations fade.
#[derive(Debug, Default)]
pub(super) struct StepCost {
    weight: f64,
    rows: f64,
    seconds: f64,
    rows_squared: f64,
    rows_seconds: f64,
}

/// The time of a step as a function of its rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    mean_rows: f64,
    mean_seconds: f64,
    pub(super) row_seconds: f64,
}

impl StepCost {
    /// Larger steps read prompts; kernels treat them differently.
    pub(super) const NUM_ROWS_MAX: usize = 64;

    pub(super) fn note(&mut self, num_rows: usize, seconds: f64) {
        if num_rows > Self::NUM_ROWS_MAX {
            return;
        }
        let rows = num_rows as f64;
        self.weight = self.weight * KEPT + 1.0;
        self.rows = self.rows * KEPT + rows;
        self.seconds = self.seconds * KEPT + seconds;
        self.rows_squared = self.rows_squared * KEPT + rows * rows;
        self.rows_seconds = self.rows_seconds * KEPT + rows * seconds;
    }

    /// In units of a step of one row before there are observations.
    pub(super) fn line(&self) -> Line {
        let assumed = Line { mean_rows: 1.0, mean_seconds: 1.0, row_seconds: ASSUMED_ROW_SHARE };
        self.known_line().unwrap_or(assumed)
    }

    pub(super) fn known_line(&self) -> Option<Line> {
        if self.weight == 0.0 {
            return None;
        }
        let (mean_rows, mean_seconds) = (self.rows / self.weight, self.seconds / self.weight);
        let spread = (self.rows_squared - self.rows * mean_rows).max(0.0);
        let slope = self.rows_seconds - self.rows * mean_seconds;
        let share = ASSUMED_ROW_SHARE / (1.0 + ASSUMED_ROW_SHARE * (mean_rows - 1.0));
        let assumed = share * mean_seconds;
        let row_seconds = (slope + ASSUMPTION_WEIGHT * assumed) / (spread + ASSUMPTION_WEIGHT);
        // Neither is a row free, nor is a step nothing but its rows.
        let (least, most) = (0.01 * mean_seconds, mean_seconds / mean_rows);
        let row_seconds = row_seconds.clamp(least.min(most), most);
        Some(Line { mean_rows, mean_seconds, row_seconds })
    }
}

impl Line {
    pub(super) fn seconds(&self, num_rows: usize) -> f64 {
        self.mean_seconds + self.row_seconds * (num_rows as f64 - self.mean_rows)
    }

    pub(super) fn scaled(self, factor: f64) -> Self {
        let (mean_seconds, row_seconds) = (self.mean_seconds * factor, self.row_seconds * factor);
        Self { mean_seconds, row_seconds, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(steps: impl Iterator<Item = (usize, f64)>) -> Line {
        let mut cost = StepCost::default();
        steps.for_each(|(num_rows, seconds)| cost.note(num_rows, seconds));
        cost.line()
    }

    #[test]
    fn the_cost_of_a_row_is_that_of_the_latest_steps() {
        let at =
            |row: f64| (0..200).map(move |step| (1 + step % 4, 0.02 + row * (1 + step % 4) as f64));
        for row in [0.001, 0.004, 0.02] {
            let line = noted(at(0.01).chain(at(row)));
            assert!((line.row_seconds / row - 1.0).abs() < 0.2, "{line:?} for {row}");
            assert!((line.seconds(3) / (0.02 + 3.0 * row) - 1.0).abs() < 0.05, "{line:?}");
        }
    }

    #[test]
    fn steps_of_one_size_leave_the_assumption() {
        let line = noted((0..50).map(|_| (1, 0.04)));
        assert!((line.row_seconds / (0.04 * ASSUMED_ROW_SHARE) - 1.0).abs() < 1e-6, "{line:?}");
        let large = noted((0..50).map(|_| (512, 9.0)));
        assert_eq!(large.seconds(1), 1.0, "prompts say nothing about it");
    }

    #[test]
    fn whatever_is_measured_a_row_costs_something_and_no_more_than_its_share() {
        let falling = noted((0..50).map(|step| (1 + step % 4, 1.0 / (1 + step % 4) as f64)));
        assert!(falling.row_seconds > 0.0);
        let steep = noted((0..50).map(|step| (1 + step % 4, ((1 + step % 4) as f64).powi(3))));
        assert!(steep.row_seconds * steep.mean_rows <= steep.mean_seconds * 1.000_001);
        assert!(noted((0..3).map(|_| (1, 0.0))).row_seconds >= 0.0);
    }
}
