//! A value that knows whether it may have changed.
use std::ops::{Deref, DerefMut};

/// Every access that could change the value counts.
#[derive(Debug, Default)]
pub(super) struct Tracked<T> {
    value: T,
    version: u64,
}

impl<T> Tracked<T> {
    /// Two equal versions mean that nothing changed in between.
    pub fn version(&self) -> u64 {
        self.version
    }
}

impl<T> Deref for Tracked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Tracked<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.version += 1;
        &mut self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_no_change() {
        let mut list: Tracked<Vec<u8>> = Tracked::default();
        assert_eq!((list.len(), list.version()), (0, 0));
        list.push(1);
        assert_eq!((list.len(), list.version()), (1, 1));
    }
}
