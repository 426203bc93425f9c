use super::*;
use crate::catalog::testing::{Lcg, NaiveOrder, POLICIES};

fn new_order(policy: CachePolicy) -> Result<Order, TryReserveError> {
    chains(policy).and_then(|chains| Order::new(policy.into(), chains.as_ref(), None))
}

impl Order {
    /// A put of a key that belongs to no request.
    fn put(&mut self, item: u32) {
        let moment = self.begin(Sight::ALONE);
        self.insert(item, moment, false);
    }

    fn put_parked(&mut self, item: u32) {
        let moment = self.begin(Sight::ALONE);
        self.insert_parked(item, moment, false);
    }

    fn use_alone(&mut self, item: u32) {
        self.touch(item, Sight::ALONE);
    }
}

fn victims(order: &Order) -> Vec<u32> {
    let mut victims = order.victims(Moment::default(), false);
    std::iter::from_fn(|| order.next(&mut victims)).collect()
}

/// Keys are put, used, pinned, unpinned and removed at random. After every step the whole order of
/// leaving must be that of a list kept by hand, under each policy.
#[test]
fn every_policy_follows_its_naive_model() {
    for policy in POLICIES {
        for seed in 0..20 {
            let mut random = Lcg::new(seed);
            let mut order = new_order(policy).unwrap();
            let mut model = NaiveOrder::new(policy);
            let items = 1 + random.below(12);
            for step in 0..600 {
                let item = random.below(items) as u32;
                let known = order.is_listed(item) || order.is_parked(item);
                match random.below(12) {
                    0..=2 if !known => {
                        order.put(item);
                        model.put(item);
                    }
                    3 if !known => {
                        order.put_parked(item);
                        model.put_parked(item);
                    }
                    4 => {
                        order.remove(item);
                        model.remove(item);
                    }
                    5 => {
                        order.park(item);
                        model.park(item);
                    }
                    6 => {
                        order.unpark(item, Sight::ALONE);
                        model.unpark(item);
                    }
                    _ => {
                        order.use_alone(item);
                        model.touch(item);
                    }
                }
                assert_eq!(victims(&order), model.victims(), "{policy:?} seed {seed} step {step}");
            }
        }
    }
}

/// The snapshot keeps the order over a restart: what goes in oldest first comes out the same and
/// leaves in the same order, frequencies included.
#[test]
fn an_order_survives_export_and_import() {
    for policy in POLICIES {
        let mut random = Lcg::new(5);
        let mut order = new_order(policy).unwrap();
        for item in 0..40 {
            order.put(item);
            for _ in 0..random.below(6) {
                order.use_alone(random.below(40) as u32);
            }
        }
        let exported = order.oldest_first();
        let mut imported = new_order(policy).unwrap();
        for &(item, frequency) in &exported {
            imported.insert_known(item, frequency);
        }
        assert_eq!(imported.oldest_first(), exported, "{policy:?}");
        assert_eq!(victims(&imported), victims(&order), "{policy:?}");

        for _ in 0..200 {
            let item = random.below(40) as u32;
            order.use_alone(item);
            imported.use_alone(item);
        }
        assert_eq!(victims(&imported), victims(&order), "{policy:?}");
    }
}

/// Pins do not outlive the process, but the keys do: an exported order holds parked items too,
/// where unpinning would put them.
#[test]
fn parked_items_are_exported_where_unparking_puts_them() {
    for policy in POLICIES {
        let mut order = new_order(policy).unwrap();
        for item in 0..6 {
            order.put(item);
            (0..item % 3).for_each(|_| order.use_alone(item));
        }
        order.park(0);
        order.park(4);
        order.use_alone(0);
        let exported = order.oldest_first();
        order.unpark(0, Sight::ALONE);
        order.unpark(4, Sight::ALONE);
        assert_eq!(exported.len(), 6);
        assert_eq!(order.oldest_first(), exported, "{policy:?}");
    }
}

/// A snapshot is read from storage and may claim any frequencies. They must neither upset the order
/// of the buckets nor make the import slower than one step for each key.
#[test]
fn claimed_frequencies_cannot_upset_the_order() {
    let mut order = new_order(CachePolicy::Lfu).unwrap();
    for (item, frequency) in (0..).zip([5, 3, u32::MAX, 0, 7]) {
        order.insert_known(item, frequency);
    }
    assert_eq!(order.oldest_first(), [(0, 5), (1, 5), (2, u32::MAX), (3, u32::MAX), (4, u32::MAX)]);
    order.use_alone(4);
    order.use_alone(0);
    assert_eq!(victims(&order), [1, 0, 2, 3, 4]);
}

/// Under LFU every use moves a key between buckets; the empty ones must be used again, or the order
/// would grow with every get.
#[test]
fn buckets_are_used_again() {
    let mut ranked = Ranked::new(CachePolicy::Lfu, 10).unwrap();
    let mut random = Lcg::new(1);
    (0..10).for_each(|item| ranked.insert(item));
    for _ in 0..100_000 {
        ranked.touch(random.below(10) as u32);
    }
    assert!(ranked.buckets() <= 11, "{} buckets for 10 items", ranked.buckets());
}

/// A use may be noted just before its key leaves. It must not bring the key back.
#[test]
fn a_use_of_something_gone_is_ignored() {
    for policy in POLICIES {
        let mut order = new_order(policy).unwrap();
        order.put(3);
        order.remove(3);
        order.use_alone(3);
        order.use_alone(1_000_000);
        assert_eq!(order.first_victim(), None);
        assert!(order.oldest_first().is_empty());
    }
}
