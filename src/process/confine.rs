//! What the kernel refuses the process from here on: files that it has no business with and ports that it doesn't
//! listen on (Landlock), system calls that no mail proxy makes (seccomp).
//!
//! Both are a second line: they cost what an intruder could do, and a kernel without them is said, not an error. Both
//! hold for the thread that asks and those that it starts, so it is done before there are others.
//!
//! The list of calls names what is refused rather than what is allowed: three engines, the C library's resolver and
//! every release of both would have a say in the latter, and a call that was forgotten would stop mail.

use crate::config::{AdminListen, Config, Sandbox};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, path_beneath_rules,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// What every process reads: libraries and resolver, certificates, the kernel's word on itself.
const SYSTEM: &[&str] = &[
    "/etc", "/usr", "/lib", "/lib64", "/proc", "/sys", "/run", "/dev",
];

/// System calls that are refused with EPERM.
const REFUSED: &[i64] = &[
    // Other programs and other processes.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_personality,
    // Another user, another root.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_unshare,
    libc::SYS_setns,
    // File systems and devices.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_mknodat,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // The kernel.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    // Clocks and names of the machine.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// What could not be bound so far, and will be once it can.
#[derive(Debug, Default)]
pub struct Later {
    /// Ports.
    pub ports: Vec<u16>,
    /// Folders of sockets in the file system.
    pub folders: Vec<PathBuf>,
}

/// Confines the process as `[process] sandbox` asks: what is on, and what the kernel lacks, for the log.
#[must_use]
pub fn process(config: &Config, file: Option<&Path>, later: &Later) -> String {
    if config.process.sandbox == Sandbox::Off {
        return "sandbox off".into();
    }
    let folders = |of: Vec<(_, PathBuf)>| -> Vec<PathBuf> {
        of.into_iter().map(|(_, folder)| folder).collect()
    };
    let writes = folders(written(config));
    for folder in &writes {
        // What can't be made is told when something is to be written there.
        let _ = fs::create_dir_all(folder);
    }
    let mut reads: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    reads.extend(named(config, file));
    let maildir = config.maildir.listen.address().map(|own| own.port());
    let allowed = Allowed {
        reads: &reads,
        writes: &writes,
        removes: &folders(socket_folders(config)),
        sockets: &later.folders,
        ports: &[maildir.as_slice(), &later.ports].concat(),
    };
    let files = match restrict(&allowed) {
        Ok(RulesetStatus::FullyEnforced) => "landlock on (files, ports)".to_string(),
        Ok(RulesetStatus::PartiallyEnforced) => {
            "landlock on in part (the kernel doesn't know all of it)".into()
        }
        Ok(RulesetStatus::NotEnforced) => "no landlock (the kernel has none)".into(),
        Err(why) => format!("no landlock ({why})"),
    };
    format!("{files}, {}", calls())
}

/// Confines the reader of keys: it reads files, and does nothing else.
pub(super) fn reader() {
    keeper();
    let _ = calls();
}

/// Confines the keeper of that reader: it starts programs, writes no file and binds no port.
pub(super) fn keeper() {
    // What the kernel lacks, the served process has said already.
    let _ = restrict(&Allowed {
        reads: &[PathBuf::from("/")],
        ..Allowed::default()
    });
}

/// Folders that the process writes in, each with its key.
#[must_use]
pub fn written(config: &Config) -> Vec<(&'static str, PathBuf)> {
    let mut found = Vec::new();
    match &*config.log.to {
        "stdout" | "stderr" | "-" | "off" => {}
        file => found.push(("log.to", parent(Path::new(file)))),
    }
    if let Some(file) = &config.admin.histogram_log {
        found.push(("admin.histogram_log", parent(file)));
    }
    if config.maildir.listen.address().is_some() {
        found.push(("maildir.directory", config.maildir.directory.clone()));
    }
    let reports = &config.policy.dmarc.reports;
    if reports.is_on() {
        found.push(("policy.dmarc.reports.directory", reports.directory.clone()));
    }
    let state = config.state.directory.clone();
    found.extend(state.map(|folder| ("state.directory", folder)));
    if config.acme.is_on() {
        found.push(("acme.store", config.acme.store.clone()));
    }
    found
}

/// Folders of the sockets that are removed at the end, each with its key.
#[must_use]
pub fn socket_folders(config: &Config) -> Vec<(&'static str, PathBuf)> {
    let places = [
        ("admin.listen", &config.admin.listen),
        ("admin.public", &config.admin.public),
    ];
    let sockets = places.into_iter().filter_map(|(key, place)| match place {
        AdminListen::Unix(path) => Some((key, parent(path))),
        AdminListen::Off | AdminListen::At(_) => None,
    });
    sockets.collect()
}

/// The folder of the configuration, and of every file that it names: a file that is replaced by renaming is another one.
fn named(config: &Config, file: Option<&Path>) -> Vec<PathBuf> {
    fn walk(value: &toml::Value, found: &mut Vec<PathBuf>) {
        match value {
            toml::Value::String(text) if Path::new(text).exists() => {
                found.push(parent(Path::new(text)));
            }
            toml::Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
            toml::Value::Table(table) => table.values().for_each(|item| walk(item, found)),
            _ => {}
        }
    }
    let mut found: Vec<PathBuf> = file.map(parent).into_iter().collect();
    if let Ok(tree) = toml::Value::try_from(config) {
        walk(&tree, &mut found);
    }
    found
}

fn parent(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.into(),
        _ => ".".into(),
    }
}

/// Folders that are read, written in, where files are removed or sockets made; ports that are bound.
#[derive(Default)]
struct Allowed<'a> {
    reads: &'a [PathBuf],
    writes: &'a [PathBuf],
    removes: &'a [PathBuf],
    sockets: &'a [PathBuf],
    ports: &'a [u16],
}

fn restrict(allowed: &Allowed<'_>) -> Result<RulesetStatus, landlock::RulesetError> {
    let Allowed {
        reads,
        writes,
        removes,
        sockets,
        ports,
    } = allowed;
    // Later ones add what a proxy has no use for either way: ioctl on devices, signals.
    let abi = ABI::V4;
    let ports = ports
        .iter()
        .map(|port| Ok::<_, landlock::RulesetError>(NetPort::new(*port, AccessNet::BindTcp)));
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::BindTcp)?
        .create()?
        .add_rules(path_beneath_rules(*reads, AccessFs::from_read(abi)))?
        .add_rules(path_beneath_rules(*writes, AccessFs::from_all(abi)))?
        .add_rules(path_beneath_rules(*removes, AccessFs::RemoveFile))?
        .add_rules(path_beneath_rules(*sockets, AccessFs::MakeSock))?
        // Standard streams may be opened by name.
        .add_rules(path_beneath_rules(
            ["/dev/null"],
            AccessFs::ReadFile | AccessFs::WriteFile,
        ))?
        .add_rules(ports)?
        .restrict_self()?;
    Ok(status.ruleset)
}

/// Has calls refused; says how it went.
fn calls() -> String {
    match refuse() {
        Ok(()) => format!("seccomp on ({} calls refused)", REFUSED.len()),
        Err(why) => format!("no seccomp ({why})"),
    }
}

fn refuse() -> Result<(), String> {
    let told = |why: &dyn std::fmt::Display| why.to_string();
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|why| told(&why))?;
    let rules: BTreeMap<i64, Vec<_>> = REFUSED.iter().map(|call| (*call, vec![])).collect();
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        arch,
    )
    .map_err(|why| told(&why))?;
    let program: BpfProgram = filter
        .try_into()
        .map_err(|why: seccompiler::BackendError| told(&why))?;
    seccompiler::apply_filter_all_threads(&program).map_err(|why| told(&why))
}
