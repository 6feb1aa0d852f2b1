//! What containers may call when nobody says otherwise.
//!
//! Equal in effect to Docker's current default for the machines that Knarr runs on, as a table: what everybody may call,
//! what a capability adds, and the few calls of which only some arguments are allowed. Everything else fails with EPERM.
//! Tighter where it costs nobody anything: of the socket families the kernel has dropped, and of AF_ALG and AF_VSOCK, none
//! can be opened. Known gap, as in Docker's: `socketcall` of 32-bit x86 passes its arguments in memory, where a filter
//! cannot see the family; without it 32-bit programs have no sockets.
use super::profile::{ArchMap, Conditions, Profile, Rule};
use crate::runtime::{SeccompAction, SeccompArg, SeccompOperator};

/// Calls that everybody may make, with any arguments.
const ALWAYS: &str = "\
    _llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod \
    chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime \
    clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat \
    dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait \
    epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 \
    fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl \
    fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs \
    fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake \
    futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid \
    geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid \
    getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname \
    getsockopt gettid gettimeofday getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init \
    inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 \
    io_setup io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset \
    landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr listxattrat \
    llistxattr lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create \
    memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr \
    mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink \
    mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep \
    newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free \
    pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 \
    pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom \
    recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 \
    restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn \
    rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max \
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler \
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam \
    sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send \
    sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid \
    setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority \
    setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid \
    setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd \
    signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx \
    symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete \
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create \
    timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 \
    ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice \
    wait4 waitid waitpid write writev";

/// Calls of some machines only.
const MACHINES: [(&[&str], &str); 3] = [
    (&["amd64", "x32"], "arch_prctl"),
    (&["amd64", "x32", "x86"], "modify_ldt"),
    (
        &["arm", "arm64"],
        "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
    ),
];

/// Calls that a capability adds.
const CAPABILITIES: [(&str, &str); 14] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        SYS_ADMIN,
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
         lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl \
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

const SYS_ADMIN: &str = "CAP_SYS_ADMIN";

/// Tracing within the container is safe since the kernel checks filters after the tracer's changes.
const SINCE_4_8: &str = "process_vm_readv process_vm_writev ptrace";

/// Socket families below this one may all be used.
const FIRST_REFUSED_FAMILY: u64 = 12;
/// And of those above it, these.
const FAMILIES: [u64; 25] =
    [13, 14, 15, 16, 17, 18, 21, 22, 24, 26, 27, 28, 29, 30, 31, 32, 33, 35, 36, 39, 41, 42, 43, 44, 45];

/// Execution domains: Linux, 32-bit Linux, both with UNAME26, and asking for the present one.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// `CLONE_NEW*` of clone(2) but the time namespace, which it cannot name.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// A program that is told that clone3 does not exist uses clone, whose flags can be seen.
const ENOSYS: u32 = 38;
const EPERM: u32 = 1;

/// The default profile.
pub fn default_profile() -> Profile {
    let mut syscalls = vec![rule(ALWAYS)];
    syscalls.push(Rule {
        includes: Conditions { min_kernel: Some("4.8".to_owned()), ..Conditions::default() },
        ..rule(SINCE_4_8)
    });
    syscalls.push(argument("socket", SeccompOperator::LessThan, FIRST_REFUSED_FAMILY, 0));
    for family in FAMILIES {
        syscalls.push(argument("socket", SeccompOperator::Equal, family, 0));
    }
    for persona in PERSONALITIES {
        syscalls.push(argument("personality", SeccompOperator::Equal, persona, 0));
    }
    for (machines, names) in MACHINES {
        let arches = machines.iter().map(|&m| m.to_owned()).collect();
        syscalls.push(Rule { includes: Conditions { arches, ..Conditions::default() }, ..rule(names) });
    }
    for (capability, names) in CAPABILITIES {
        syscalls.push(Rule { includes: with(capability), ..rule(names) });
    }
    let clone = argument("clone", SeccompOperator::MaskedEqual, NEW_NAMESPACES, 0);
    syscalls.push(Rule { excludes: with(SYS_ADMIN), ..clone });
    let hidden = Rule { action: SeccompAction::Errno, errno_ret: Some(ENOSYS), ..rule("clone3") };
    syscalls.push(Rule { excludes: with(SYS_ADMIN), ..hidden });
    let arch_map = vec![
        machine("SCMP_ARCH_X86_64", &["SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
        machine("SCMP_ARCH_AARCH64", &["SCMP_ARCH_ARM"]),
    ];
    Profile {
        default_action: SeccompAction::Errno,
        default_errno_ret: Some(EPERM),
        arch_map,
        syscalls,
        ..Profile::default()
    }
}

fn rule(names: &str) -> Rule {
    let names = names.split_whitespace().map(str::to_owned).collect();
    Rule { names, action: SeccompAction::Allow, ..Rule::default() }
}

fn argument(name: &str, op: SeccompOperator, value: u64, value_two: u64) -> Rule {
    Rule { args: vec![SeccompArg { index: 0, value, value_two, op }], ..rule(name) }
}

fn with(capability: &str) -> Conditions {
    Conditions { caps: vec![capability.to_owned()], ..Conditions::default() }
}

fn machine(architecture: &str, sub: &[&str]) -> ArchMap {
    ArchMap {
        architecture: architecture.to_owned(),
        sub_architectures: sub.iter().map(|&s| s.to_owned()).collect(),
    }
}
