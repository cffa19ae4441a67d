use std::collections::HashMap;
use std::hash::Hash;

/// A map that forgets: it keeps the entries used lately, and twice `size` at most.
///
/// In two halves: what is used moves to the young one, and when that is full the old one is dropped. That is as good as a list by last use
/// here, and simple.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    size: usize,
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub(super) fn new(size: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), size }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.size {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(super) fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_forgotten() {
        let mut cache = Cache::new(2);
        for key in 0..100 {
            cache.insert(key, key);
            assert_eq!(cache.get(&0), Some(0), "after {key}");
            assert!(cache.young.len() + cache.old.len() <= 4);
        }
        assert_eq!(cache.get(&50), None);
    }

    #[test]
    fn what_is_removed_is_gone_from_both_halves() {
        let mut cache = Cache::new(1);
        cache.insert(1, 1);
        cache.insert(2, 2);
        cache.remove(&1);
        cache.remove(&2);
        assert_eq!((cache.get(&1), cache.get(&2)), (None, None));
    }
}
