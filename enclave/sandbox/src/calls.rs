//! System calls, by name. What is not listed fails with `EPERM`; what nothing here ever has a reason for ends the process, so that an
//! intruder is seen. No page is writable and executable at once.

use std::collections::HashMap;

use seccompiler::{BpfProgram, apply_filter_all_threads, compile_from_json};
use serde_json::{Value, json};

use crate::{Kind, SandboxError};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// Of `mmap` and `mprotect`, in `asm-generic/mman-common.h`.
const PROT_WRITE: u32 = 0x2;
const PROT_EXEC: u32 = 0x4;
/// Of `clone`: a thread and no process (`linux/sched.h`).
const CLONE_THREAD: u64 = 0x0001_0000;

/// Files, and what is open.
const FILES: &str = "
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek openat openat2 close close_range dup dup3 fcntl flock
    fstat newfstatat statx statfs fstatfs faccessat faccessat2 readlinkat getdents64 mkdirat unlinkat renameat renameat2 linkat
    ftruncate truncate fallocate fsync fdatasync sync_file_range fadvise64 fchmod fchmodat fchmodat2 fchown fchownat utimensat umask
    getcwd chdir ioctl pipe2 eventfd2 memfd_create memfd_secret sendfile copy_file_range";
/// Waiting.
const WAITS: &str = "
    epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 ppoll pselect6 futex futex_waitv nanosleep clock_nanosleep timerfd_create
    timerfd_settime timerfd_gettime";
/// Memory; `mmap` and `mprotect` have rules of their own.
const MEMORY: &str = "munmap mremap madvise mlock mlock2 munlock brk membarrier mincore msync";
/// Oneself.
const SELF: &str = "
    exit exit_group gettid getpid getppid getuid geteuid getgid getegid getgroups tgkill sched_yield sched_getaffinity
    sched_getscheduler sched_getparam set_robust_list get_robust_list rseq set_tid_address prctl getrandom getrlimit prlimit64
    getrusage sysinfo uname times getcpu clock_gettime clock_getres gettimeofday rt_sigaction rt_sigprocmask rt_sigreturn
    rt_sigpending rt_sigtimedwait sigaltstack restart_syscall clone3 setpriority getpriority";
/// Others, by connections and by their ends.
const OTHERS: &str = "
    socket socketpair bind listen accept accept4 connect getsockname getpeername setsockopt getsockopt sendto recvfrom sendmsg recvmsg
    sendmmsg recvmmsg shutdown wait4 waitid pidfd_open pidfd_send_signal";
/// The same under the names of before, which x86-64 still has.
#[cfg(target_arch = "x86_64")]
const FORMER: &str = "
    open stat lstat access readlink mkdir rmdir unlink rename link chmod chown getdents dup2 pipe eventfd epoll_create epoll_wait poll
    select alarm time getpgrp arch_prctl";
#[cfg(not(target_arch = "x86_64"))]
const FORMER: &str = "";
/// What modules want besides: memory shared with a daemon of theirs, semaphores, devices.
const MODULES: &str = "
    shmget shmat shmctl shmdt semget semop semtimedop semctl msgget msgsnd msgrcv msgctl kill tkill symlinkat mknodat sched_setscheduler
    sched_setaffinity sched_setparam mlockall munlockall getitimer setitimer timer_create timer_settime timer_delete timer_gettime
    getsid getpgid setsid sync syncfs inotify_init1 inotify_add_watch inotify_rm_watch";

/// What ends the process: other programs, other processes' memory, the kernel itself.
const DEADLY: &str = "
    execve execveat ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp bpf perf_event_open userfaultfd kexec_load init_module
    finit_module delete_module mount umount2 pivot_root chroot setns unshare swapon swapoff reboot open_by_handle_at name_to_handle_at
    keyctl add_key request_key acct quotactl settimeofday clock_settime adjtimex clock_adjtime personality io_uring_setup
    io_uring_enter io_uring_register";

/// Of `ioctl`, in `asm-generic/ioctls.h`: typing into a terminal in its user's name.
const TYPING: [(&str, u64); 2] = [("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541c)];

/// Takes the calls away from every thread of this process.
pub(crate) fn close(kind: Kind) -> Result<(), SandboxError> {
    let failed = |error: seccompiler::Error| SandboxError::Calls(error.to_string());
    let arch = std::env::consts::ARCH
        .try_into()
        .map_err(|_| SandboxError::Calls(format!("no filter for `{}`", std::env::consts::ARCH)))?;
    let text = filters(kind).to_string();
    let mut programs: HashMap<String, BpfProgram> =
        compile_from_json(text.as_bytes(), arch).map_err(failed)?;
    // ORDER: the last one leaves nobody the call that makes another.
    for name in ["deadly", "absent", "allowed"] {
        let program = programs.remove(name).unwrap_or_default();
        apply_filter_all_threads(&program).map_err(failed)?;
    }
    Ok(())
}

fn filters(kind: Kind) -> Value {
    let modules = if kind == Kind::Module { MODULES } else { "" };
    let mut allowed: Vec<Value> =
        [FILES, WAITS, MEMORY, SELF, OTHERS, FORMER, modules].iter().flat_map(|list| named(list)).collect();
    allowed.extend([
        when("mmap", 2, "dword", PROT_EXEC.into(), 0),
        when("mmap", 2, "dword", PROT_WRITE.into(), 0),
        when("mprotect", 2, "dword", PROT_EXEC.into(), 0),
        when("clone", 0, "qword", CLONE_THREAD, CLONE_THREAD),
    ]);
    let typing = TYPING.iter().map(|(name, request)| {
        json!({ "syscall": "ioctl", "comment": name,
            "args": [{ "index": 1, "type": "dword", "op": "eq", "val": request }] })
    });
    let deadly: Vec<Value> = named(DEADLY).chain(typing).collect();
    json!({
        "deadly": { "mismatch_action": "allow", "match_action": "kill_process", "filter": deadly },
        "allowed": { "mismatch_action": { "errno": EPERM }, "match_action": "allow", "filter": allowed },
        // Its flags lie behind a pointer, where no filter reads: threads are made by `clone` then.
        "absent": { "mismatch_action": "allow", "match_action": { "errno": ENOSYS }, "filter": [{ "syscall": "clone3" }] },
    })
}

fn named(list: &str) -> impl Iterator<Item = Value> {
    list.split_whitespace().map(|name| json!({ "syscall": name }))
}

/// A call whose argument has `value` in the bits of `mask`.
fn when(name: &str, index: u8, width: &str, mask: u64, value: u64) -> Value {
    json!({ "syscall": name, "args": [{ "index": index, "type": width, "op": { "masked_eq": mask }, "val": value }] })
}
