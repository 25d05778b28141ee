//! The joiner: collects what arrives at a stage until a case is complete.
//!
//! Every edge sends exactly once per case, so a case is complete when each slot has been filled once, in whatever order the
//! messages of several cases mix.

use std::collections::BTreeMap;

/// Collects arrivals by case and slot.
pub(super) struct Joiner<T> {
    slots: usize,
    open: BTreeMap<usize, Vec<Option<T>>>,
}

impl<T> Joiner<T> {
    /// A joiner for a stage with `slots` incoming edges.
    pub(super) const fn new(slots: usize) -> Self {
        Self { slots, open: BTreeMap::new() }
    }

    /// Takes an arrival; gives back all of the case's arrivals, in slot order, when it was the last.
    ///
    /// # Panics
    /// When an edge sends twice for one case: a bug of the engine.
    pub(super) fn accept(&mut self, case: usize, slot: usize, arrival: T) -> Option<Vec<T>> {
        let slots = self.slots;
        let row = self.open.entry(case).or_insert_with(|| (0..slots).map(|_| None).collect());
        let before = row[slot].replace(arrival);
        assert!(before.is_none(), "an edge sends once per case");
        if row.iter().any(Option::is_none) {
            return None;
        }
        self.open.remove(&case).map(|row| row.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permutations(list: Vec<(usize, usize)>) -> Vec<Vec<(usize, usize)>> {
        if list.len() <= 1 {
            return vec![list];
        }
        let mut all = Vec::new();
        for (at, head) in list.iter().enumerate() {
            let mut rest = list.clone();
            rest.remove(at);
            for mut tail in permutations(rest) {
                tail.insert(0, *head);
                all.push(tail);
            }
        }
        all
    }

    /// All 5040 orders in which the messages of three cases can arrive: each case completes exactly once, with its own values.
    #[test]
    fn every_order_of_arrival_completes_every_case_once() {
        let messages = vec![(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)];
        for order in permutations(messages) {
            let mut joiner = Joiner::new(3);
            let mut complete = BTreeMap::new();
            for (case, slot) in &order {
                if let Some(row) = joiner.accept(*case, *slot, case * 10 + slot) {
                    assert!(complete.insert(*case, row).is_none(), "{order:?}");
                }
            }
            assert_eq!(complete, BTreeMap::from([(0, vec![0, 1, 2]), (1, vec![10, 11, 12])]), "{order:?}");
        }
    }
}
