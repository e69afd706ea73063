//! Where the time of a model's steps goes, by operation.
//!
//! Operations run one after the other on their caller's thread, however many threads they use, so
//! the times of all add up to no more than the caller's. While nobody asks, an operation pays for
//! one look at a flag.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

type Name = Cow<'static, str>;

thread_local! {
    /// Of the operations on this thread since [`profiled`] was called, if it was.
    static TIMES: RefCell<Option<HashMap<Name, Times>>> = const { RefCell::new(None) };
}

#[derive(Debug, Clone, Copy, Default)]
struct Times {
    calls: u64,
    total: Duration,
}

/// All calls of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationTime {
    pub name: String,
    pub calls: u64,
    pub total: Duration,
}

/// Calls `work` and returns what its operations on this thread took, the longest first.
pub fn profiled<T>(work: impl FnOnce() -> T) -> (T, Vec<OperationTime>) {
    TIMES.set(Some(HashMap::new()));
    let result = work();
    let times = TIMES.take().unwrap_or_default();
    let mut operations: Vec<_> = times
        .into_iter()
        .map(|(name, Times { calls, total })| OperationTime { name: name.into(), calls, total })
        .collect();
    operations.sort_by(|a, b| b.total.cmp(&a.total).then_with(|| a.name.cmp(&b.name)));
    (result, operations)
}

/// Calls `work`, an operation that calls no other, and adds its time to those of `name`, which is
/// made only if somebody asks.
pub(super) fn timed<N: Into<Name>, T>(name: impl FnOnce() -> N, work: impl FnOnce() -> T) -> T {
    if TIMES.with_borrow(Option::is_none) {
        return work();
    }
    let started_at = Instant::now();
    let result = work();
    let took = started_at.elapsed();
    TIMES.with_borrow_mut(|times| {
        if let Some(times) = times {
            let times = times.entry(name().into()).or_default();
            times.calls += 1;
            times.total += took;
        }
    });
    result
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn times_are_added_by_name_and_only_while_somebody_asks() {
        let pause = |ms| thread::sleep(Duration::from_millis(ms));
        timed(|| -> Name { unreachable!("nobody asked") }, || ());
        let (result, operations) = profiled(|| {
            timed(|| "short", || pause(1));
            timed(|| format!("long {}", 1), || pause(20));
            timed(|| "short", || pause(1));
            7
        });
        assert_eq!(result, 7);
        let found: Vec<_> = operations.iter().map(|o| (o.name.as_str(), o.calls)).collect();
        assert_eq!(found, [("long 1", 1), ("short", 2)]);
        assert!(operations[1].total >= Duration::from_millis(2));
        timed(|| -> Name { unreachable!("nobody asks any more") }, || ());
    }
}
