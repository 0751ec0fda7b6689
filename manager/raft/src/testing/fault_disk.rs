//! A disk in memory that can fail on purpose, and that knows what would survive a power cut.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use redb::StorageBackend;

/// What goes wrong at the chosen operation, after which the disk refuses everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The operation does nothing and says so.
    Fail,
    /// Half of the write arrives. For a sync: only some of the writes since the last one do.
    Tear,
    /// The operation does nothing and says it did; everything after it fails.
    Lose,
}

/// What of the writes since the last sync is there after the power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Survives {
    Nothing,
    EverySecond,
    Everything,
}

/// Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct FaultDisk(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// As the process sees it.
    now: Vec<u8>,
    /// As of the last sync.
    synced: Vec<u8>,
    /// Changes since then.
    unsynced: Vec<Change>,
    /// Writes, truncations and syncs so far.
    operations: usize,
    syncs: usize,
    plan: Option<(usize, Fault)>,
    broken: bool,
    /// Syncs wait as long as this is set.
    held: bool,
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => bytes.resize(*len as usize, 0),
            Self::Write(offset, data) => {
                let end = *offset as usize + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset as usize..end].copy_from_slice(data);
            }
        }
    }

    fn torn(&self) -> Self {
        match self {
            Self::Write(offset, data) => Self::Write(*offset, data[..data.len() / 2].to_vec()),
            Self::SetLen(len) => Self::SetLen(*len),
        }
    }
}

impl FaultDisk {
    /// Lets operation number `at`, counted from now, go wrong.
    pub(crate) fn plan(&self, at: usize, fault: Fault) {
        let mut state = self.state();
        state.operations = 0;
        state.plan = Some((at, fault));
    }

    /// Operations since the last [`Self::plan`].
    pub(crate) fn operations(&self) -> usize {
        self.state().operations
    }

    /// Whether the planned fault has happened.
    pub(crate) fn is_broken(&self) -> bool {
        self.state().broken
    }

    /// The disk after a power cut.
    pub(crate) fn after_power_cut(&self, survives: Survives) -> Self {
        let state = self.state();
        let mut bytes = state.synced.clone();
        for (number, change) in state.unsynced.iter().enumerate() {
            let kept = match survives {
                Survives::Nothing => false,
                Survives::EverySecond => number % 2 == 0,
                Survives::Everything => true,
            };
            if kept {
                change.apply(&mut bytes);
            }
        }
        let state = State { now: bytes.clone(), synced: bytes, ..State::default() };
        Self(Arc::new(Shared { state: Mutex::new(state), ..Shared::default() }))
    }

    /// Everything on it, as a thief would read it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.state().now.clone()
    }

    /// Changes a byte behind everybody's back.
    pub(crate) fn flip(&self, offset: usize) {
        let mut state = self.state();
        state.now[offset] ^= 1;
        state.synced[offset] ^= 1;
    }

    /// Syncs done so far.
    pub(crate) fn syncs(&self) -> usize {
        self.state().syncs
    }

    /// Lets syncs wait until [`Self::release`].
    pub(crate) fn hold(&self) {
        self.state().held = true;
    }

    pub(crate) fn release(&self) {
        self.state().held = false;
        self.0.released.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The fault of this operation, if it is the planned one.
    fn next(&mut self) -> io::Result<Option<Fault>> {
        if self.broken {
            return Err(broken());
        }
        self.operations += 1;
        match self.plan {
            Some((at, fault)) if at + 1 == self.operations => {
                self.broken = true;
                Ok(Some(fault))
            }
            _ => Ok(None),
        }
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        match self.next()? {
            None => {}
            Some(Fault::Lose) => return Ok(()),
            Some(Fault::Fail) => return Err(broken()),
            Some(Fault::Tear) => {
                self.unsynced.push(change.torn());
                return Err(broken());
            }
        }
        change.apply(&mut self.now);
        self.unsynced.push(change);
        Ok(())
    }
}

fn broken() -> io::Error {
    io::Error::other("the disk is broken")
}

impl StorageBackend for FaultDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let start = offset as usize;
        let bytes = state.now.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state().change(Change::SetLen(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.released.wait_while(self.state(), |state| state.held).unwrap();
        state.syncs += 1;
        match state.next()? {
            None => {
                state.synced = state.now.clone();
                state.unsynced.clear();
                Ok(())
            }
            Some(Fault::Lose) => Ok(()),
            Some(Fault::Fail) => Err(broken()),
            Some(Fault::Tear) => {
                // The sync gets half way.
                let half = state.unsynced.len() / 2;
                let arrived: Vec<Change> = state.unsynced.drain(..half).collect();
                for change in arrived {
                    change.apply(&mut state.synced);
                }
                Err(broken())
            }
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.state().change(Change::Write(offset, data.to_vec()))
    }
}
