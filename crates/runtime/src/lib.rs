//! OCI runtime: bundle to plan to steps to parent and init; exec; seccomp; command line
