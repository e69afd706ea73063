//! Where the server stands between its start and its end, seen by probes, handlers and streams.

use tokio::sync::watch;

/// Phases follow each other in this order and never go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    /// Not ready any more, but load balancers may not know it yet: requests are still accepted.
    Leaving,
    /// New requests are refused; those in flight go on.
    Draining,
    /// Streams end with an exception and connections close.
    Cut,
}

#[derive(Debug)]
pub(super) struct Lifecycle(watch::Sender<Phase>);

impl Lifecycle {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Phase::Serving))
    }

    pub(super) fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|current| {
            let later = phase > *current;
            if later {
                *current = phase;
            }
            later
        });
    }

    pub(super) fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Resolves once this phase or a later one is reached.
    pub(super) async fn reached(&self, phase: Phase) {
        let mut receiver = self.0.subscribe();
        // An error means that the sender is gone, which `self` holds.
        let _ = receiver.wait_for(|current| *current >= phase).await;
    }
}
