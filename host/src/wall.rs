//! The second wall, on request: what the kernel can take from this process, should a guest ever break out of its sandbox.
//!
//! Landlock, where the kernel has it, leaves files to read below the task root and a few places of the system, files to write
//! below `/tmp`, this program to execute, and no connection but to the Runtime API, unless a grant leads elsewhere. A filter
//! refuses system calls that no runtime needs: for mounting, tracing, loading, and new ways into the kernel.
//!
//! Both are taken before there is a second thread, because each thread carries its own. A process that replaces itself keeps
//! them, so they are taken once. What Init needs is therefore left open: it comes again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus,
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use tracing::{info, warn};

/// What this code knows of landlock. An older kernel enforces what it knows itself.
const KNOWN: ABI = ABI::V5;
/// Of the system: name servers and certificates, what the process is told of itself, and the libraries of a dynamic build.
const READABLE: &[&str] = &[
    "/etc",
    "/etc/resolv.conf",
    "/proc/self",
    "/sys/fs/cgroup",
    "/dev",
    "/lib",
    "/lib64",
    "/usr/lib",
];
const EXECUTABLE: &[&str] = &["/lib", "/lib64", "/usr/lib"];
const WRITABLE: &[&str] = &["/tmp", "/dev/null"];
/// The program, by the link that the watchdog and the compiler run it through.
const PROGRAM: &str = "/proc/self/exe";

/// What the process needs beyond what every runtime needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// Files and folders to read.
    pub readable: Vec<PathBuf>,
    /// The only port to connect to; `None` leaves connections alone.
    pub port: Option<u16>,
}

/// Raises both parts, for this thread and all that it starts. Beside this program, `tool` can be executed. What the kernel does
/// not have is left out, and one line says so.
pub fn raise(needs: &Needs, tool: Option<&Path>) {
    let files = restrict_files(needs, tool).map(|status| match status.ruleset {
        RulesetStatus::FullyEnforced => "on",
        RulesetStatus::PartiallyEnforced => "on, as far as this kernel can",
        RulesetStatus::NotEnforced => "off, this kernel has no landlock",
    });
    let calls = filter_calls();
    let landlock = match &files {
        Ok(state) => (*state).to_owned(),
        Err(error) => format!("off, {error}"),
    };
    let seccomp = match &calls {
        Ok(()) => "on".to_owned(),
        Err(reason) => format!("off, {reason}"),
    };
    match (landlock.starts_with("on"), calls.is_ok()) {
        (true, true) => info!(landlock, seccomp, "the second wall is up"),
        (false, _) | (_, false) => warn!(landlock, seccomp, "the second wall is not up, or a part of it is not"),
    }
}

fn restrict_files(needs: &Needs, tool: Option<&Path>) -> Result<RestrictionStatus, RulesetError> {
    let all = AccessFs::from_all(KNOWN);
    let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut ruleset = Ruleset::default().handle_access(all)?;
    if needs.port.is_some() {
        ruleset = ruleset.handle_access(AccessNet::from_all(KNOWN))?;
    }
    let mut ruleset = ruleset.create()?;
    let readable = READABLE
        .iter()
        .map(Path::new)
        .chain(needs.readable.iter().map(PathBuf::as_path));
    let executable = EXECUTABLE.iter().chain([&PROGRAM]).map(Path::new).chain(tool);
    let rules = readable
        .map(|path| (path, read))
        .chain(executable.map(|path| (path, read | AccessFs::Execute)))
        .chain(WRITABLE.iter().map(|path| (Path::new(path), all)));
    for (path, access) in rules {
        // What is not there needs no rule.
        let Ok(place) = PathFd::new(path) else { continue };
        let access = match path.is_dir() {
            true => access,
            false => access & AccessFs::from_file(KNOWN),
        };
        ruleset = ruleset.add_rule(PathBeneath::new(place, access))?;
    }
    if let Some(port) = needs.port {
        ruleset = ruleset.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    ruleset.restrict_self()
}

fn filter_calls() -> Result<(), String> {
    let program = program().map_err(|error| error.to_string())?;
    seccompiler::apply_filter(&program).map_err(|error| error.to_string())
}

/// Refuses, and does not kill: who asks in vain is as far as who is dead, and whoever asks by mistake goes on.
fn program() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_socket, vec![unusual_sockets()?]);
    let refusal = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, architecture())?;
    filter.try_into()
}

fn architecture() -> TargetArch {
    match cfg!(target_arch = "aarch64") {
        true => TargetArch::aarch64,
        false => TargetArch::x86_64,
    }
}

/// Sockets of any family but the internet's, those of this machine, and those that tell of its addresses.
fn unusual_sockets() -> Result<SeccompRule, BackendError> {
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let conditions = families.into_iter().map(|family| {
        let family = u64::from(family.unsigned_abs());
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

/// What neither the host, nor the engine, nor their libraries call.
const REFUSED: &[i64] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];
