//! Names of files, which a power cut may undo.
//!
//! The **directory** is not synced with the files. A segment that was made, removed or moved is
//! seen at once; a power cut before the directory is synced undoes an arbitrary part of these
//! changes. A sync of the directory makes all of them durable. The store and the pipeline sync it
//! before they report that a change is done; a stop on the way leaves it unsynced.

use crate::simulated::disk::{Disk, File, Inner};
use crate::simulated::random::Random;

/// A change of the directory: the file that had this name before it, or nothing if there was none.
#[derive(Debug)]
pub(super) struct Renamed {
    pub(super) segment: u64,
    pub(super) before: Option<File>,
    /// Whether the old file is in quarantine now.
    pub(super) moved: bool,
}

/// Which changes of the directory are not synced, though they should be: a mistake made on purpose.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LazyNames {
    pub(crate) made: bool,
    pub(crate) removed: bool,
}

impl Disk {
    pub(crate) fn set_lazy_names(&self, lazy: LazyNames) {
        self.0.borrow_mut().lazy_names = lazy;
    }
}

impl Inner {
    /// Takes a segment out of the directory.
    pub(super) fn take(&mut self, segment: u64, moved: bool) -> Option<File> {
        let file = self.files.remove(&segment)?;
        self.unsynced.push(Renamed { segment, before: Some(file.clone()), moved });
        Some(file)
    }

    /// The directory is synced, after a change that made a name or removed one.
    pub(super) fn sync_names(&mut self, made: bool) {
        let lazy = if made { self.lazy_names.made } else { self.lazy_names.removed };
        if !lazy {
            self.unsynced.clear();
        }
    }

    /// Of the changes of the directory that are not synced, some are undone.
    pub(super) fn lose_names(&mut self, random: &mut Random) {
        let mode = random.below(3);
        for change in std::mem::take(&mut self.unsynced).into_iter().rev() {
            let kept = mode == 0 || (mode == 1 && random.once_in(2));
            match change.before {
                _ if kept => {}
                Some(file) => {
                    self.files.insert(change.segment, file);
                    if change.moved {
                        self.quarantine.remove(&change.segment);
                    }
                }
                None => {
                    self.files.remove(&change.segment);
                }
            }
        }
    }
}
