//! Holds one key to its limits: requests and tokens a minute, tokens a day, and requests at a time.
//!
//! Both rates are buckets that hold one minute's worth and fill evenly. How many tokens a request
//! takes is known at its end, so it is let in while any are left and may take the bucket below
//! zero; the next one waits until that is paid off. Over time the rate is kept exactly. A day's
//! tokens are there until they are used, and again at midnight, UTC.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::keys::{Day, KeyLimits};

const MINUTE: Duration = Duration::from_secs(60);

/// A refusal: which limit, and when to come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Throttled {
    #[error("the key is limited to {limit} requests a minute")]
    Requests { limit: NonZeroU32, retry_after: Duration },
    #[error("the key is limited to {limit} tokens a minute")]
    Tokens { limit: NonZeroU32, retry_after: Duration },
    #[error("the key is limited to {limit} requests at a time")]
    Concurrency { limit: NonZeroU32 },
}

impl Throttled {
    /// Nobody knows when a running request ends: a second is as good as any.
    pub fn retry_after(&self) -> Duration {
        match self {
            Self::Requests { retry_after, .. } | Self::Tokens { retry_after, .. } => *retry_after,
            Self::Concurrency { .. } => Duration::from_secs(1),
        }
    }
}

/// A refusal against which no wait helps that a client would make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the key has used up its {limit} tokens of this day, which ends at 00:00 UTC")]
pub struct QuotaUsedUp {
    pub limit: NonZeroU64,
}

#[derive(Debug)]
pub struct Limiter(Mutex<State>);

#[derive(Debug)]
struct State {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    max_concurrent: Option<NonZeroU32>,
    num_running: u32,
    tokens_per_day: Option<NonZeroU64>,
    today: DayCount,
}

/// Tokens of one day.
#[derive(Debug)]
struct DayCount {
    day: Day,
    /// Those that are written down, by whichever server they were counted.
    recorded: u64,
    /// Those of this server that are not written down yet.
    unrecorded: u64,
}

impl DayCount {
    fn new(day: Day) -> Self {
        Self { day, recorded: 0, unrecorded: 0 }
    }

    /// A clock that is set back does not give yesterday's tokens again.
    fn on(&mut self, today: Day) -> &mut Self {
        if today > self.day {
            *self = Self::new(today);
        }
        self
    }

    fn total(&self) -> u64 {
        self.recorded.saturating_add(self.unrecorded)
    }
}

/// A request that was let in, until it is dropped.
#[derive(Debug)]
pub struct Admission(Arc<Limiter>);

impl Limiter {
    pub fn new(limits: &KeyLimits, now: Instant, today: Day) -> Self {
        Self(Mutex::new(State {
            requests: limits.requests_per_minute.map(|limit| Bucket::new(limit, now)),
            tokens: limits.tokens_per_minute.map(|limit| Bucket::new(limit, now)),
            max_concurrent: limits.max_concurrent,
            num_running: 0,
            tokens_per_day: limits.tokens_per_day,
            today: DayCount::new(today),
        }))
    }

    /// What was used so far stays used.
    pub fn set_limits(&self, limits: &KeyLimits, now: Instant) {
        let mut state = self.state();
        let State { requests, tokens, max_concurrent, tokens_per_day, .. } = &mut *state;
        change(requests, limits.requests_per_minute, now);
        change(tokens, limits.tokens_per_minute, now);
        *max_concurrent = limits.max_concurrent;
        *tokens_per_day = limits.tokens_per_day;
    }

    /// Whether any of the day's tokens are left.
    pub fn check_quota(&self, today: Day) -> Result<(), QuotaUsedUp> {
        let mut state = self.state();
        let used = state.today.on(today).total();
        match state.tokens_per_day {
            Some(limit) if used >= limit.get() => Err(QuotaUsedUp { limit }),
            Some(_) | None => Ok(()),
        }
    }

    /// The day's tokens that are yet to be written down.
    pub fn unrecorded(&self, today: Day) -> u64 {
        self.state().today.on(today).unrecorded
    }

    /// So many of `day`'s tokens were written down, and `total` are so by all servers.
    pub fn record(&self, day: Day, tokens: u64, total: u64) {
        let mut state = self.state();
        let count = state.today.on(day);
        if count.day == day {
            count.unrecorded = count.unrecorded.saturating_sub(tokens);
            count.recorded = total;
        }
    }

    pub fn admit(self: &Arc<Self>, now: Instant) -> Result<Admission, Throttled> {
        let mut state = self.state();
        if let Some(limit) = state.max_concurrent.filter(|limit| state.num_running >= limit.get()) {
            return Err(Throttled::Concurrency { limit });
        }
        if let Some(tokens) = &mut state.tokens {
            // A whole token must be there; what a fraction buys is nothing.
            if let Some(retry_after) = tokens.wait_for(1.0, now) {
                return Err(Throttled::Tokens { limit: tokens.limit, retry_after });
            }
        }
        if let Some(requests) = &mut state.requests {
            if let Some(retry_after) = requests.wait_for(1.0, now) {
                return Err(Throttled::Requests { limit: requests.limit, retry_after });
            }
            requests.level -= 1.0;
        }
        state.num_running += 1;
        Ok(Admission(Arc::clone(self)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn change(bucket: &mut Option<Bucket>, limit: Option<NonZeroU32>, now: Instant) {
    *bucket = match (bucket.take(), limit) {
        (_, None) => None,
        (None, Some(limit)) => Some(Bucket::new(limit, now)),
        (Some(mut bucket), Some(limit)) => {
            bucket.fill(now);
            bucket.limit = limit;
            bucket.level = bucket.level.min(bucket.capacity());
            Some(bucket)
        }
    };
}

impl Admission {
    /// Takes what the request has used.
    pub fn charge(&self, tokens: usize, now: Instant, today: Day) {
        let mut state = self.0.state();
        let count = state.today.on(today);
        count.unrecorded = count.unrecorded.saturating_add(tokens as u64);
        if let Some(bucket) = &mut state.tokens {
            bucket.fill(now);
            bucket.level -= tokens as f64;
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.state().num_running -= 1;
    }
}

#[derive(Debug)]
struct Bucket {
    /// A minute.
    limit: NonZeroU32,
    level: f64,
    filled_at: Instant,
}

impl Bucket {
    fn new(limit: NonZeroU32, now: Instant) -> Self {
        Self { limit, level: f64::from(limit.get()), filled_at: now }
    }

    fn capacity(&self) -> f64 {
        f64::from(self.limit.get())
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled_at);
        let more = self.capacity() * elapsed.as_secs_f64() / MINUTE.as_secs_f64();
        self.level = (self.level + more).min(self.capacity());
        self.filled_at = self.filled_at.max(now);
    }

    /// How long until `amount` is there; `None` if it is.
    fn wait_for(&mut self, amount: f64, now: Instant) -> Option<Duration> {
        self.fill(now);
        let missing = amount - self.level;
        // What rounding leaves open is there.
        let minutes = (missing > 1e-6).then(|| missing / self.capacity())?;
        Some(MINUTE.mul_f64(minutes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Timestamp;

    fn limits(requests: u32, tokens: u32, concurrent: u32) -> KeyLimits {
        KeyLimits {
            requests_per_minute: NonZeroU32::new(requests),
            tokens_per_minute: NonZeroU32::new(tokens),
            max_concurrent: NonZeroU32::new(concurrent),
            ..KeyLimits::default()
        }
    }

    fn day(text: &str) -> Day {
        Timestamp::from_rfc3339(&format!("{text}T00:00:00Z")).unwrap().day()
    }

    fn limiter(limits: &KeyLimits, now: Instant) -> Arc<Limiter> {
        Arc::new(Limiter::new(limits, now, day("2026-11-29")))
    }

    #[test]
    fn requests_beyond_a_minutes_worth_come_evenly() {
        let start = Instant::now();
        let limiter = limiter(&limits(6, 0, 0), start);
        let admitted = |at| limiter.admit(start + Duration::from_secs(at)).map(drop);
        for _ in 0..6 {
            assert_eq!(admitted(0), Ok(()));
        }
        let refused = admitted(0).unwrap_err();
        assert_eq!(refused.to_string(), "the key is limited to 6 requests a minute");
        assert_eq!(refused.retry_after(), Duration::from_secs(10));
        assert!(admitted(9).is_err());
        assert_eq!(admitted(10), Ok(()));
        assert!(admitted(19).is_err());
        // An idle hour is worth a minute.
        assert_eq!((0..10).filter(|_| admitted(3_600).is_ok()).count(), 6);
    }

    #[test]
    fn tokens_are_paid_afterwards_and_debt_is_waited_for() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let limiter = limiter(&limits(0, 600, 0), start);
        let first = limiter.admit(at(0)).unwrap();
        first.charge(1_200, at(0), day("2026-11-29"));
        let Err(refused) = limiter.admit(at(0)) else { panic!("the bucket is empty") };
        assert!(matches!(refused, Throttled::Tokens { .. }));
        assert_eq!(refused.retry_after().as_secs(), 60);
        assert!(limiter.admit(at(60)).is_err());
        assert!(limiter.admit(at(61)).is_ok());
    }

    #[test]
    fn a_request_counts_until_it_is_dropped() {
        let now = Instant::now();
        let limiter = limiter(&limits(0, 0, 2), now);
        let first = limiter.admit(now).unwrap();
        let _second = limiter.admit(now).unwrap();
        let Err(refused) = limiter.admit(now) else { panic!("two are running") };
        assert_eq!(refused.to_string(), "the key is limited to 2 requests at a time");
        drop(first);
        assert!(limiter.admit(now).is_ok());
    }

    #[test]
    fn a_change_of_limits_forgives_nothing() {
        let now = Instant::now();
        let limiter = limiter(&limits(2, 0, 0), now);
        assert!(limiter.admit(now).is_ok() && limiter.admit(now).is_ok());
        limiter.set_limits(&limits(60, 0, 0), now);
        assert!(limiter.admit(now).is_err());
        assert!(limiter.admit(now + Duration::from_secs(1)).is_ok());
        limiter.set_limits(&limits(0, 0, 0), now);
        assert!(limiter.admit(now).is_ok());
    }

    #[test]
    fn a_days_tokens_are_used_up_until_midnight_whoever_counted_them() {
        let now = Instant::now();
        let (today, tomorrow) = (day("2026-11-29"), day("2026-11-30"));
        let quota =
            |limit| KeyLimits { tokens_per_day: NonZeroU64::new(limit), ..KeyLimits::default() };
        let limiter = limiter(&quota(100), now);
        let use_tokens = |tokens| limiter.admit(now).unwrap().charge(tokens, now, today);
        use_tokens(60);
        assert_eq!((limiter.check_quota(today), limiter.unrecorded(today)), (Ok(()), 60));
        // Another server has used 39. Ten more came while that was being written down.
        use_tokens(10);
        limiter.record(today, 60, 99);
        assert_eq!(limiter.unrecorded(today), 10);
        let refused = limiter.check_quota(today).unwrap_err();
        assert!(refused.to_string().starts_with("the key has used up its 100 tokens"));
        // More are allowed, and then fewer.
        limiter.set_limits(&quota(110), now);
        assert_eq!(limiter.check_quota(today), Ok(()));
        limiter.set_limits(&quota(109), now);
        assert!(limiter.check_quota(today).is_err());
        // The last of the day are written down when it is over.
        assert_eq!(limiter.check_quota(tomorrow), Ok(()));
        limiter.record(today, 10, 109);
        assert_eq!(limiter.unrecorded(tomorrow), 0);
        use_tokens(109);
        assert!(limiter.check_quota(today).is_err());
    }
}
