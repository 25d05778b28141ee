//! Work in batches that grow smaller when memory does not suffice for them.

use crate::backend::BackendError;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much is done at once, shared by all threads of a stage; it only ever shrinks.
#[derive(Debug)]
pub struct Batches {
    asked: usize,
    now: AtomicUsize,
}

impl Batches {
    /// At most `size` at once.
    pub const fn of(size: usize) -> Self {
        Self { asked: size, now: AtomicUsize::new(size) }
    }

    /// How much is done at once by now, if that is less than was asked for.
    pub fn halved(&self) -> Option<usize> {
        Some(self.size()).filter(|&size| size < self.asked)
    }

    /// How much is done at once by now.
    pub fn size(&self) -> usize {
        self.now.load(Ordering::Relaxed).max(1)
    }

    /// Runs `work` on pieces of `0..count`, in order. Where it says [`BackendError::Memory`] the piece is done again in halves,
    /// and later pieces are no larger.
    ///
    /// # Errors
    /// What `work` says, for want of memory only if one alone is too much.
    pub fn run(
        &self,
        count: usize,
        work: &mut dyn FnMut(Range<usize>) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        let mut start = 0;
        while start < count {
            let end = count.min(start + self.size());
            match work(start..end) {
                Err(BackendError::Memory(reason)) if end - start > 1 => {
                    let half = (end - start).div_ceil(2);
                    self.now.fetch_min(half, Ordering::Relaxed);
                    tracing::warn!(at_once = end - start, now = half, "memory did not suffice: {reason}");
                }
                Err(error) => return Err(error),
                Ok(()) => start = end,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A backend with memory for `room` at once.
    fn with_room(
        room: usize,
        done: &mut Vec<Range<usize>>,
    ) -> impl FnMut(Range<usize>) -> Result<(), BackendError> {
        move |range| {
            if range.len() > room {
                return Err(BackendError::Memory("CUDA out of memory".to_owned()));
            }
            done.push(range);
            Ok(())
        }
    }

    #[test]
    fn what_does_not_fit_is_halved_until_it_does_and_nothing_is_done_twice() {
        let batches = Batches::of(16);
        let mut done = Vec::new();
        batches.run(10, &mut with_room(3, &mut done)).unwrap();
        // 10 do not fit, nor do 5; 3 do.
        assert_eq!(done, [0..3, 3..6, 6..9, 9..10]);
        assert_eq!((batches.size(), batches.halved()), (3, Some(3)));
        let mut later = Vec::new();
        batches.run(4, &mut with_room(3, &mut later)).unwrap();
        assert_eq!(later, [0..3, 3..4], "later work starts where earlier work ended");
    }

    #[test]
    fn one_alone_that_does_not_fit_is_an_error() {
        let mut done = Vec::new();
        let error = Batches::of(4).run(4, &mut with_room(0, &mut done)).unwrap_err();
        assert!(matches!(error, BackendError::Memory(_)), "{error}");
    }

    #[test]
    fn other_errors_are_not_tried_again() {
        let mut calls = 0;
        let mut work = |_| {
            calls += 1;
            Err(BackendError::Backend("broken".to_owned()))
        };
        assert!(Batches::of(4).run(4, &mut work).is_err());
        assert_eq!(calls, 1);
    }
}
