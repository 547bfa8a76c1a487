//! The order of the writes of a stream.

use tokio::sync::watch;

use crate::store::StoreError;

/// How far a write is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It may wait for the locks of others.
    Begins,
    /// It has locked all its documents, and waits for nobody.
    Locked,
    Stored,
}

/// The turns of the writes of a stream.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    last: Option<watch::Receiver<Stage>>,
}

impl Turns {
    /// The turn of the next write. `overlaps`: it writes a document that the write before it writes too.
    pub(crate) fn next(&mut self, overlaps: bool) -> Turn {
        let own = watch::Sender::new(Stage::Begins);
        Turn { before: self.last.replace(own.subscribe()), overlaps, own }
    }
}

/// When a write of a stream may read, begin and commit. It begins while the write before it sends its vectors and commits,
/// which hides the time of the commit. It commits after that write is stored, so that a stream ends with the first write
/// that fails.
///
/// Two transactions of a stream are open then. The later one can hold locks while it waits for the earlier one, which waits
/// for nobody. So streams cannot wait for each other in a circle, which Postgres would not see. If the earlier one must
/// lock again, the later one gives up its locks.
#[derive(Debug)]
pub(crate) struct Turn {
    /// How far the write before is. None: there is none.
    before: Option<watch::Receiver<Stage>>,
    /// Both write the same document.
    overlaps: bool,
    own: watch::Sender<Stage>,
}

impl Turn {
    /// The turn of a write that is not in a stream.
    pub(crate) fn alone() -> Self {
        Turns::default().next(false)
    }

    /// Waits until the documents of this write can be read.
    pub(crate) async fn may_read(&self) {
        if self.overlaps {
            self.is_next().await;
        }
    }

    /// Waits until a transaction can begin.
    pub(super) async fn may_begin(&self) {
        self.wait_for(|stage| stage >= Stage::Locked).await;
    }

    /// The transaction begins, for the first time or again.
    pub(super) fn begins(&self) {
        self.own.send_replace(Stage::Begins);
    }

    /// Lets the next write begin.
    pub(super) fn let_next_begin(&self) {
        self.own.send_replace(Stage::Locked);
    }

    /// Waits until the write before is stored, for a write that holds no locks.
    pub(crate) async fn is_next(&self) {
        self.wait_for(|stage| stage == Stage::Stored).await;
    }

    /// Waits until the transaction can commit. [`StoreError::Overtaken`] if the write before has to begin again.
    pub(super) async fn may_commit(&self) -> Result<(), StoreError> {
        match self.wait_for(|stage| stage != Stage::Locked).await {
            Stage::Begins => Err(StoreError::Overtaken),
            Stage::Locked | Stage::Stored => Ok(()),
        }
    }

    /// Lets the next write commit.
    pub(crate) fn let_next_commit(&self) {
        self.own.send_replace(Stage::Stored);
    }

    /// Waits until the write before is at a stage.
    async fn wait_for(&self, is_reached: impl Fn(Stage) -> bool) -> Stage {
        let Some(mut before) = self.before.clone() else { return Stage::Stored };
        let reached = before.wait_for(|stage| is_reached(*stage)).await.map(|stage| *stage);
        match reached {
            Ok(stage) => stage,
            // The write before has failed. The stream ends, and drops this one.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_write_follows_the_one_before() {
        let mut turns = Turns::default();
        let (first, second) = (turns.next(false), turns.next(true));
        assert!(first.may_commit().now_or_never().is_some_and(|may| may.is_ok()));
        assert_eq!(second.may_begin().now_or_never(), None);
        first.let_next_begin();
        assert_eq!(second.may_begin().now_or_never(), Some(()));
        assert!(second.may_commit().now_or_never().is_none());
        assert_eq!(second.may_read().now_or_never(), None);
        first.let_next_commit();
        assert!(second.may_commit().now_or_never().is_some_and(|may| may.is_ok()));
        assert_eq!(second.may_read().now_or_never(), Some(()));
    }

    #[test]
    fn locks_are_given_up_for_a_write_that_begins_again() {
        let mut turns = Turns::default();
        let (first, second) = (turns.next(false), turns.next(false));
        first.let_next_begin();
        first.begins();
        assert!(matches!(second.may_commit().now_or_never(), Some(Err(StoreError::Overtaken))));
        assert_eq!(second.may_begin().now_or_never(), None);
        // A write that fails ends the stream.
        first.let_next_begin();
        drop(first);
        assert!(second.may_commit().now_or_never().is_none());
    }
}
