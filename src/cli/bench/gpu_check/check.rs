//! What is compared, how far off it is, and how far it may be.

use serde_json::{Value, json};

/// Of texts, those that are the same to the last token.
pub(super) const SAME_TEXTS_MIN: f64 = 0.95;

#[derive(Debug)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) found: f64,
    pub(super) limit: Limit,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Check {
    /// What is not a number has not passed.
    pub(super) fn has_passed(&self) -> bool {
        match self.limit {
            Limit::AtMost(limit) => self.found <= limit,
            Limit::AtLeast(limit) => self.found >= limit,
        }
    }

    pub(super) fn allowed(&self) -> String {
        match self.limit {
            Limit::AtMost(limit) => format!("<= {limit:.5}"),
            Limit::AtLeast(limit) => format!(">= {limit}"),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "check": self.name,
            "found": self.found,
            "allowed": self.allowed(),
            "passed": self.has_passed(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_number_has_not_passed() {
        let check = |found, limit| Check { name: String::new(), found, limit }.has_passed();
        assert!(check(0.5, Limit::AtMost(0.5)) && check(0.5, Limit::AtLeast(0.5)));
        assert!(!check(0.6, Limit::AtMost(0.5)) && !check(0.4, Limit::AtLeast(0.5)));
        assert!(!check(f64::NAN, Limit::AtMost(0.5)) && !check(f64::NAN, Limit::AtLeast(0.5)));
    }
}
