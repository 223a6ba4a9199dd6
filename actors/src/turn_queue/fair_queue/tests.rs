//! What the order promises, with hand-made and with random arrivals.

use std::collections::BTreeMap;

use super::*;

fn flow(client: usize, conversation: usize) -> Flow {
    let client = ClientId::new(&format!("client {client}"));
    let conversation = ConversationId::parse(&format!("c{conversation}")).unwrap();
    Flow { client: Some(client), conversation: Some(conversation) }
}

/// Takes everything that waits, one after the other.
fn drain<J>(queue: &mut FairQueue<J>) -> Vec<J> {
    let next = || {
        let (_, taken, job) = queue.pop()?;
        let units = taken.expected();
        queue.end(&taken, units);
        Some(job)
    };
    std::iter::from_fn(next).collect()
}

#[test]
fn a_client_that_asks_a_hundred_times_waits_for_itself() {
    let mut queue = FairQueue::default();
    for number in 0..100 {
        queue.push(flow(1, number), 10, 1);
    }
    queue.push(flow(2, 0), 10, 2);
    queue.push(flow(2, 1), 10, 2);
    let order = drain(&mut queue);
    assert_eq!((order.len(), &order[..5]), (102, &[1, 2, 1, 2, 1][..]));
}

#[test]
fn who_asks_for_twice_as_much_is_asked_to_wait_twice_as_long() {
    let mut queue = FairQueue::default();
    for number in 0..30 {
        queue.push(flow(1, number), 20, 1);
        queue.push(flow(2, number), 10, 2);
    }
    let order = drain(&mut queue);
    assert_eq!(order[..30].iter().filter(|client| **client == 2).count(), 20);
}

#[test]
fn a_short_turn_overtakes_a_long_one_by_no_more_than_its_own_length() {
    let mut queue = FairQueue::default();
    let one = || flow(1, 0);
    queue.push(one(), 100, "long");
    queue.push(one(), 10, "short");
    assert_eq!(queue.in_order().map(|(_, job)| *job).collect::<Vec<_>>(), ["short", "long"]);
    for _ in 0..20 {
        let (_, taken, _) = queue.pop().unwrap();
        queue.end(&taken, 10);
        queue.push(one(), 10, "short");
        if queue.in_order().next().unwrap().1 == &"long" {
            return;
        }
    }
    panic!("twenty short ones went before it");
}

#[test]
fn conversations_of_one_client_go_in_turn() {
    let mut queue = FairQueue::default();
    let talkative = |queue: &mut FairQueue<&'static str>| queue.push(flow(1, 1), 10, "talkative");
    talkative(&mut queue);
    let (_, taken, _) = queue.pop().unwrap();
    talkative(&mut queue);
    for _ in 0..3 {
        queue.push(flow(1, 2), 10, "quiet");
    }
    queue.end(&taken, 10);
    assert_eq!(drain(&mut queue), ["quiet", "talkative", "quiet", "quiet"]);
}

#[test]
fn turns_of_the_servers_own_machine_are_one_client_and_those_without_a_conversation_one_flow() {
    let mut queue = FairQueue::default();
    let local = |conversation| Flow { client: None, conversation };
    for _ in 0..10 {
        queue.push(local(None), 10, "program");
    }
    queue.push(local(ConversationId::parse("page").ok()), 10, "person");
    assert_eq!(drain(&mut queue)[..3], ["program", "person", "program"]);
}

#[test]
fn a_stream_of_newcomers_does_not_keep_out_who_has_been_served_before() {
    let mut queue = FairQueue::default();
    for number in 0..5 {
        queue.push(flow(10 + number, 0), 10, "newcomer");
    }
    queue.push(flow(1, 0), 10, "regular");
    for number in 0..5 {
        let (_, taken, _) = queue.pop().unwrap();
        queue.push(flow(100 + number, 0), 10, "newcomer");
        queue.end(&taken, 10);
    }
    let (_, taken, job) = queue.pop().unwrap();
    assert_eq!(job, "regular");
    queue.push(flow(1, 0), 10, "regular");
    queue.end(&taken, 10);
    let waited = (0..).find(|number| {
        let (_, taken, job) = queue.pop().unwrap();
        queue.push(flow(1_000 + number, 0), 10, "newcomer");
        queue.end(&taken, 10);
        job == "regular"
    });
    assert!(waited.unwrap() <= 12, "six waited");
}

#[test]
fn who_leaves_is_not_served_and_costs_nobody_anything() {
    let mut queue = FairQueue::default();
    let gone = queue.push(flow(1, 0), 1_000, "gone");
    queue.push(flow(1, 0), 10, "a");
    queue.push(flow(2, 0), 20, "b");
    assert_eq!(queue.remove(gone), Some("gone"));
    assert_eq!(queue.remove(gone), None);
    assert_eq!(drain(&mut queue), ["a", "b"]);
    assert_eq!(queue.remembered(), 0);
}

/// Numbers that look random and are the same every time (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Largest turn of the random ones, in units.
const LARGEST: u64 = 1_000;
const SLOTS: usize = 4;
const PLACES: usize = 24;
const CLIENTS: u64 = 5;

/// A generator with slots, in which turns end at random.
#[derive(Default)]
struct Generator {
    queue: FairQueue<(usize, u64)>,
    running: Vec<(Taken, usize, u64)>,
    /// Units that each client was really served.
    served: BTreeMap<usize, u64>,
    pushed: u64,
    ended: u64,
    removed: u64,
}

impl Generator {
    fn ask(&mut self, random: &mut Random, client: usize, conversations: u64) -> Ticket {
        let conversation = usize::try_from(random.below(conversations)).unwrap();
        self.pushed += 1;
        self.queue.push(flow(client, conversation), 1 + random.below(LARGEST), (client, self.pushed))
    }

    /// One turn ends and the next is taken. The order that was told is the order that comes.
    fn step(&mut self, random: &mut Random) -> Option<u64> {
        if self.running.len() == SLOTS {
            let ended = usize::try_from(random.below(SLOTS as u64)).unwrap();
            let (taken, client, _) = self.running.swap_remove(ended);
            let actual = 1 + random.below(taken.expected());
            self.queue.end(&taken, actual);
            *self.served.entry(client).or_default() += actual;
            self.ended += 1;
        }
        let told = self.queue.in_order().next().map(|(_, job)| *job);
        let (_, taken, job) = self.queue.pop()?;
        assert_eq!(told, Some(job));
        self.running.push((taken, job.0, job.1));
        Some(job.1)
    }
}

#[test]
fn random_arrivals_lose_nothing_and_starve_nobody() {
    for seed in 0..5 {
        let (mut random, mut generator) = (Random(seed), Generator::default());
        // When each came, in steps.
        let mut came: BTreeMap<u64, u64> = BTreeMap::new();
        for step in 0..5_000 {
            while generator.queue.len() < PLACES && random.below(3) > 0 {
                // The first client asks as often as all others together.
                let client = usize::try_from(random.below(2 * CLIENTS).saturating_sub(CLIENTS)).unwrap();
                let ticket = generator.ask(&mut random, client, 3);
                came.insert(generator.pushed, step);
                if random.below(10) == 0 {
                    let (_, number) = generator.queue.remove(ticket).unwrap();
                    came.remove(&number);
                    generator.removed += 1;
                }
            }
            if let Some(number) = generator.step(&mut random) {
                let waited = step - came.remove(&number).unwrap();
                // The busiest client has half of the places and a fifth of the slots; the rest is for lengths that differ.
                assert!(waited < 8 * PLACES as u64, "seed {seed}: turn {number} waited {waited} steps");
            }
            let accounts = generator.queue.remembered();
            assert!(accounts < 4 * (PLACES + SLOTS), "seed {seed}: {accounts} accounts");
        }
        let inside = (generator.queue.len() + generator.running.len()) as u64;
        assert_eq!(generator.pushed, generator.ended + generator.removed + inside, "seed {seed}");
        assert_eq!(came.len(), generator.queue.len());
    }
}

#[test]
fn conversations_that_ask_once_are_answered_about_in_the_order_in_which_they_come() {
    for different in [false, true] {
        for by_client in [false, true] {
            let (mut random, mut queue) = (Random(7), FairQueue::default());
            let mut came = 0;
            for step in 0..2_000 {
                while queue.len() < PLACES {
                    came += 1;
                    let flow = if by_client { flow(came, 0) } else { flow(0, came) };
                    queue.push(flow, if different { 1 + random.below(LARGEST) } else { LARGEST }, step);
                }
                let (_, taken, since) = queue.pop().unwrap();
                let units = taken.expected();
                queue.end(&taken, units);
                let most = PLACES * if different { 3 } else { 1 };
                assert!(step - since <= most, "{} steps, where {PLACES} wait", step - since);
            }
        }
    }
}

#[test]
fn clients_that_always_want_more_get_the_same_however_they_ask() {
    for seed in 0..5 {
        let (mut random, mut generator) = (Random(seed), Generator::default());
        for _ in 0..2_000 {
            // One has a single conversation, one two, ... and the last as many as it likes.
            for client in 0..usize::try_from(CLIENTS).unwrap() {
                let waiting = generator.queue.in_order().filter(|(_, (whose, _))| *whose == client).count();
                for _ in waiting..=client {
                    generator.ask(&mut random, client, client as u64 + 1);
                }
            }
            generator.step(&mut random);
        }
        let (least, most) =
            (generator.served.values().min().copied().unwrap(), generator.served.values().max().copied().unwrap());
        let bound = 2 * SLOTS as u64 * LARGEST;
        assert!(most - least <= bound, "seed {seed}: {:?} differ by more than {bound}", generator.served);
    }
}

#[test]
fn the_order_that_is_told_is_the_order_that_comes_if_nobody_else_does() {
    for seed in 0..200 {
        let (mut random, mut generator) = (Random(seed), Generator::default());
        for _ in 0..PLACES {
            let client = usize::try_from(random.below(CLIENTS)).unwrap();
            generator.ask(&mut random, client, 3);
        }
        let told: Vec<_> = generator.queue.in_order().map(|(_, job)| *job).collect();
        assert_eq!(drain(&mut generator.queue), told);
    }
}
