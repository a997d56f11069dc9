//! Whose latch to set: a process, as it can be named in shared memory.

use std::num::NonZeroU64;

/// A process by its PGPROC number and pid, packed into one word so that it can be stored and read atomically.
/// The PGPROC outlives the process: a wake after the process has exited may set the latch of another one. That
/// does no harm, because every waiter looks at its own word again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProcRef(NonZeroU64);

impl ProcRef {
    /// The process `pid` (not 0) that owns PGPROC `procno`.
    #[must_use]
    pub fn new(procno: u32, pid: u32) -> Self {
        let bits = (u64::from(procno) << 32) | u64::from(pid);
        Self(NonZeroU64::new(bits).expect("a process has a pid"))
    }

    /// As stored in shared memory; 0 there means nobody.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// Read back what [`to_bits`](Self::to_bits) stored.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        NonZeroU64::new(bits).map(Self)
    }

    /// Index into the server's array of PGPROCs.
    #[must_use]
    pub fn procno(self) -> u32 {
        (self.0.get() >> 32) as u32
    }

    /// Operating system process id.
    #[must_use]
    pub fn pid(self) -> u32 {
        self.0.get() as u32
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::ProcRef;

    #[test]
    fn packs_both_numbers() {
        let proc = ProcRef::new(7, u32::MAX);
        assert_eq!((proc.procno(), proc.pid()), (7, u32::MAX));
        assert_eq!(ProcRef::from_bits(proc.to_bits()), Some(proc));
        assert_eq!(ProcRef::from_bits(0), None);
    }
}
