//! The OCI runtime configuration (`config.json`).
//!
//! Standard: <https://github.com/opencontainers/runtime-spec/blob/main/config.md>, version 1.2 and the Linux parts of 1.3.
//! Invariant: reading is tolerant (unknown fields ignored, `null` equals absent, capabilities kept as text so that an
//! unknown one can be a warning); writing leaves out what is empty.
mod hooks;
mod linux;
mod mount;
mod nullable;
mod process;
mod resources;
mod seccomp;
mod spec;

pub use hooks::{Hook, Hooks};
pub use linux::{
    Device, DeviceType, IdMapping, IntelRdt, Linux, MemoryPolicy, Namespace, NamespaceType, NetDevice,
    Personality, TimeOffset,
};
pub use mount::Mount;
pub use process::{Capabilities, ConsoleSize, CpuAffinity, IoPriority, Process, Rlimit, Scheduler, User};
pub use resources::{
    BlockIo, Cpu, DeviceRule, HugepageLimit, InterfacePriority, Memory, Network, Pids, Rdma, Resources,
    ThrottleDevice, WeightDevice,
};
pub use seccomp::{Seccomp, SeccompAction, SeccompArg, SeccompOperator, Syscall};
pub use spec::{Root, Spec, State, StateStatus, VERSION};
