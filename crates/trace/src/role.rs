//! Which role of the process a thread works for. Where several roles share a process, each has threads of its own, and their spans and log
//! lines are told apart by this.

use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    static ROLE: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// Says that this thread works for `role` (such as `order`) from now on. To be called first on each thread of the role's runtime.
pub fn set(role: &Arc<str>) {
    ROLE.with_borrow_mut(|current| *current = Some(Arc::clone(role)));
}

/// The role that this thread works for; `None` where nobody said.
pub fn current() -> Option<Arc<str>> {
    // A span may end while the thread's own storage is being taken down.
    ROLE.try_with(|current| current.borrow().clone()).ok().flatten()
}
