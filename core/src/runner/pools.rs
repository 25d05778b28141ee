//! Thread pools, lent to stages while they run.

use sdk::OperatorError;
use std::sync::{Arc, Mutex, PoisonError};

/// Pools that were started so far. A pool is free when nobody else holds it.
#[derive(Default)]
pub(super) struct Pools(Mutex<Vec<Arc<rayon::ThreadPool>>>);

impl Pools {
    /// A pool of so many threads for one stage alone; none for one thread, which needs none.
    pub(super) fn take(&self, threads: usize) -> Result<Option<Arc<rayon::ThreadPool>>, OperatorError> {
        if threads <= 1 {
            return Ok(None);
        }
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let free = |pool: &&Arc<rayon::ThreadPool>| {
            pool.current_num_threads() == threads && Arc::strong_count(pool) == 1
        };
        if let Some(pool) = pools.iter().find(free) {
            return Ok(Some(Arc::clone(pool)));
        }
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build()?);
        pools.push(Arc::clone(&pool));
        Ok(Some(pool))
    }
}
