//! Runs work that keeps a processor or a disk busy away from the threads that answer calls.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio_util::task::AbortOnDropHandle;
use tracing::Span;

/// The work did not begin because the runtime is shutting down.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the server is shutting down")]
pub struct Stopped;

/// Runs `work` on a blocking thread, in the span of the caller. A panic in the work continues in the caller. If the
/// future is dropped, work that has not begun is given up.
///
/// # Errors
/// [`Stopped`] if the runtime is shutting down.
pub(crate) fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, Stopped>> + Send {
    // Read the span here. The future may be polled in a task without it.
    let span = Span::current();
    async move {
        let working = AbortOnDropHandle::new(tokio::task::spawn_blocking(move || span.in_scope(work)));
        working.await.map_err(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Stopped,
        })
    }
}

/// Runs `future`, whose work cannot move to a blocking thread. Before a poll that `is_heavy` announces, the runtime
/// moves the thread's other tasks to another thread. On a runtime with a single thread nothing moves.
pub(crate) async fn beside<F: Future>(is_heavy: impl Fn() -> bool, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| {
        if is_heavy() && Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
            tokio::task::block_in_place(|| future.as_mut().poll(context))
        } else {
            future.as_mut().poll(context)
        }
    })
    .await
}
