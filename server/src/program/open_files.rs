//! The limit of open files, of which every connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, as servers may, and returns what the process may open then.
pub(crate) fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    // `None` is without a limit.
    let limit = if raised.is_ok() { limit.maximum } else { limit.current };
    limit.unwrap_or(u64::MAX)
}
