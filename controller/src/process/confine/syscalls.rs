//! The system calls that a running proxy makes, and no others.
//!
//! An allow-list: what the kernel learns tomorrow is not on it. Everything else "does not exist"
//! (`ENOSYS`), which C libraries expect of an older kernel and work around; so they may change
//! without breaking us. No process can be started, no program executed, no file created or opened
//! for writing, no memory made executable, no Unix or raw socket made (Docker's is one), no other
//! process touched.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule,
};

/// Holds from now on for this thread and those it starts. Sets `no_new_privs`.
///
/// # Errors
/// The kernel has no seccomp, or this processor has no list.
pub(super) fn confine() -> Result<(), Error> {
    let program: BpfProgram = filter()?.try_into()?;
    seccompiler::apply_filter(&program)
}

fn filter() -> Result<SeccompFilter, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    rules.extend(ALWAYS.iter().map(|number| (*number, Vec::new())));
    for (number, alternatives) in sometimes() {
        let alternatives = alternatives.iter().map(|conditions| conditions.rule());
        rules.insert(number, alternatives.collect::<Result<_, _>>()?);
    }
    let absent = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let here = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, absent, SeccompAction::Allow, here)
}

/// System calls that depend on an argument, with the alternatives that are allowed.
fn sometimes() -> Vec<(c_long, Vec<ArgumentMatch>)> {
    let number = |number: i32| u64::from(number.unsigned_abs());
    let ioctls = [libc::FIOCLEX, libc::FIONBIO, libc::FIONREAD, libc::TCGETS];
    let prctls = [libc::PR_GET_NAME, libc::PR_SET_NAME, libc::PR_SET_VMA];
    let families = [libc::AF_INET, libc::AF_INET6];
    let thread = number(libc::CLONE_THREAD);
    let no_code = ArgumentMatch::one(2, number(libc::PROT_EXEC), 0);
    let change = libc::O_ACCMODE | libc::O_CREAT | libc::O_TMPFILE | libc::O_TRUNC;
    // Some flags are made of several bits, of which reading a directory is one.
    let change = number(change & !libc::O_DIRECTORY);
    let this_process = u64::from(std::process::id());
    vec![
        // Not `clone3`, whose flags cannot be seen: without it threads are started by this one.
        (libc::SYS_clone, vec![ArgumentMatch::one(0, thread, thread)]),
        (libc::SYS_ioctl, ioctls.map(|request| ArgumentMatch::one(1, WORD, request & WORD)).into()),
        (libc::SYS_mmap, vec![no_code]),
        (libc::SYS_mprotect, vec![no_code]),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_open, vec![ArgumentMatch::one(1, change, 0)]),
        (libc::SYS_openat, vec![ArgumentMatch::one(2, change, 0)]),
        (libc::SYS_prctl, prctls.map(|option| ArgumentMatch::one(0, WORD, number(option))).into()),
        (libc::SYS_prlimit64, vec![ArgumentMatch::one(0, WORD, 0)]),
        (
            libc::SYS_socket,
            families
                .map(|family| {
                    ArgumentMatch::one(0, WORD, number(family)).and(
                        1,
                        0xf,
                        number(libc::SOCK_STREAM),
                    )
                })
                .into(),
        ),
        (libc::SYS_tgkill, vec![ArgumentMatch::one(0, WORD, this_process)]),
    ]
}

/// Arguments, of which the masked bits have these values.
#[derive(Clone, Copy, Debug)]
struct ArgumentMatch {
    first: (u8, u64, u64),
    second: Option<(u8, u64, u64)>,
}

impl ArgumentMatch {
    const fn one(argument: u8, mask: u64, value: u64) -> Self {
        Self { first: (argument, mask, value), second: None }
    }

    const fn and(self, argument: u8, mask: u64, value: u64) -> Self {
        Self { first: self.first, second: Some((argument, mask, value)) }
    }

    fn rule(&self) -> Result<SeccompRule, BackendError> {
        let conditions = [Some(self.first), self.second].into_iter().flatten();
        let conditions = conditions.map(|(argument, mask, value)| {
            let masked = SeccompCmpOp::MaskedEq(mask);
            SeccompCondition::new(argument, SeccompCmpArgLen::Qword, masked, value)
        });
        SeccompRule::new(conditions.collect::<Result<_, _>>()?)
    }
}

/// An `int`: the kernel does not look at the upper half.
const WORD: u64 = 0xffff_ffff;

const ALWAYS: &[c_long] = &[
    // Time and chance.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads, signals, the end.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // Readiness.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    // Sockets.
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_socketpair,
    // What is open.
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_read,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
];
