//! A value that several tasks hold, one at a time.
//!
//! Promises that what a panic may have left half changed is not used by anyone else: who
//! locks it next panics too, and the node stops. Meant for a few instructions: a guard
//! cannot be kept across an `await`. Leaves waiting for something to tokio's channels.

use std::sync::{Arc, Mutex, MutexGuard};

/// See the module. Cheap to clone; all clones hold the same value.
#[derive(Debug, Default)]
pub struct Shared<T>(Arc<Mutex<T>>);

impl<T> Shared<T> {
    pub fn new(value: T) -> Shared<T> {
        Shared(Arc::new(Mutex::new(value)))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("nobody panics while he holds it")
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_panic_left_is_not_used_again() {
        let shared = Shared::new(1);
        *shared.clone().lock() += 1;
        assert_eq!(*shared.lock(), 2);
        let held = shared.clone();
        let panicked = std::thread::spawn(move || {
            let _guard = held.lock();
            panic!("in the middle of a change");
        });
        assert!(panicked.join().is_err());
        let used = std::thread::spawn(move || *shared.lock());
        assert!(used.join().is_err());
    }
}
