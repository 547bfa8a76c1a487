//! Work that keeps a processor or a disk busy, away from the threads that answer calls.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio_util::task::AbortOnDropHandle;
use tracing::Span;

/// The runtime is shutting down: the work did not begin.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the server is shutting down")]
pub struct Stopped;

/// Runs `work` on a blocking thread, in the span of the caller. A panic of the work goes on in the caller. Dropping the
/// future gives up work that has not begun.
///
/// # Errors
/// [`Stopped`].
pub(crate) fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, Stopped>> + Send {
    // Taken here, not when the future is polled: that can happen in a task without the span.
    let span = Span::current();
    async move {
        let working = AbortOnDropHandle::new(tokio::task::spawn_blocking(move || span.in_scope(work)));
        working.await.map_err(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Stopped,
        })
    }
}

/// Runs `future`. A poll of it that `is_heavy` announces moves the other tasks of its thread to another one first, for work
/// that cannot be taken out of it. On a runtime with a single thread nothing moves.
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
