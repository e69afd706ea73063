//! Who goes first, whose prefixes are whose, and that nobody waits for ever.

use super::{Rig, VOCAB_SIZE, config, request, summary};
use crate::engine::{EngineConfig, GenerationRequest, Priority};
use crate::limits::PRIORITY_HEAD_START;
use crate::model::toy::ToyLm;

fn asked(priority: Priority) -> GenerationRequest {
    GenerationRequest { max_tokens: 2, priority, ..request(&[1, 2]) }
}

/// The order in which the requests end, one running at a time.
fn order_of_ends(rig: &mut Rig) -> Vec<usize> {
    let mut ended: Vec<usize> = Vec::new();
    while rig.core.has_work() {
        rig.step();
        let now = (0..rig.clients.len()).filter(|&it| rig.clients[it].end.is_some());
        let new: Vec<usize> = now.filter(|it| !ended.contains(it)).collect();
        ended.extend(new);
    }
    ended
}

#[test]
fn a_higher_priority_overtakes_those_that_wait() {
    let config = EngineConfig { max_num_seqs: 1, ..config() };
    let mut rig = Rig::new(ToyLm::new(VOCAB_SIZE), 4, 16, config);
    for priority in
        [Priority::Low, Priority::Normal, Priority::High, Priority::Normal, Priority::High]
    {
        rig.submit(asked(priority)).unwrap();
    }
    assert_eq!(order_of_ends(&mut rig), [2, 4, 1, 3, 0]);
}

#[test]
fn a_lower_priority_gives_its_blocks_first() {
    let config = EngineConfig { max_model_len: 12, max_num_seqs: 2, ..config() };
    let mut rig = Rig::new(ToyLm::new(VOCAB_SIZE), 1, 12, config);
    let asked =
        |priority| GenerationRequest { max_tokens: 8, priority, ..request(&[priority as u32]) };
    let low = rig.submit(asked(Priority::Low)).unwrap();
    rig.step();
    let high = rig.submit(asked(Priority::High)).unwrap();
    rig.run();
    let num_preemptions =
        |client: usize| summary(rig.clients[client].end.as_ref().unwrap()).num_preemptions;
    assert!(num_preemptions(low) > 0);
    assert_eq!(num_preemptions(high), 0);
}

#[test]
fn a_low_priority_does_not_wait_for_ever() {
    let config = EngineConfig { max_num_seqs: 1, ..config() };
    let mut rig = Rig::new(ToyLm::new(VOCAB_SIZE), 4, 16, config);
    let one = |priority| GenerationRequest { max_tokens: 1, ..asked(priority) };
    rig.submit(one(Priority::High)).unwrap();
    let low = rig.submit(one(Priority::Low)).unwrap();
    let mut num_later = 0;
    while rig.clients[low].end.is_none() {
        // As many come as are served.
        rig.submit(one(Priority::High)).unwrap();
        num_later += 1;
        rig.step();
        assert!(num_later <= 2 * PRIORITY_HEAD_START + 2);
    }
    assert!(num_later > PRIORITY_HEAD_START, "it is low after all");
}

#[test]
fn a_tenants_prefixes_are_found_by_nobody_else() {
    let prompt: Vec<u32> = (0..13).collect();
    let mut rig = Rig::new(ToyLm::new(VOCAB_SIZE), 4, 32, config());
    let mut usage = |salt: Option<&str>| {
        let cache_salt = salt.map(Into::into);
        let client =
            rig.submit(GenerationRequest { cache_salt, max_tokens: 1, ..request(&prompt) });
        rig.run();
        let end = summary(rig.clients[client.unwrap()].end.as_ref().unwrap());
        (end.num_cached_tokens, end.num_written_tokens)
    };
    assert_eq!(usage(Some("a")), (0, 12));
    assert_eq!(usage(Some("b")), (0, 12), "another tenant finds nothing");
    assert_eq!(usage(None), (0, 12));
    assert_eq!(usage(Some("a")), (12, 0), "the same tenant finds all of it");
    assert_eq!(usage(Some("b")), (12, 0));
    assert_eq!(usage(None), (12, 0));
}
