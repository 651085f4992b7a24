//! What the proxy gives up for good before it lets anybody in: its user, every capability, the file
//! system, and all system calls that it has no use for.
//!
//! All of it holds for one thread and those it starts, so it comes before there is a second one.

mod syscalls;

use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, RestrictionStatus, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_thread_gid, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

/// Becomes the user and the group `id`, without another group and without a capability in any set.
///
/// For root only: others have nothing that they could give up here. Clears the parent death signal.
///
/// # Errors
/// The kernel refuses; the process is not to go on.
pub(crate) fn become_user(id: u32) -> io::Result<()> {
    drop_bounding_set();
    let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
    set_thread_groups(&[])?;
    set_thread_gid(group)?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    drop_capabilities()
}

/// Takes away the file system and the system calls. What the kernel does not know is said and left.
pub(crate) fn confine() {
    match landlock() {
        Ok(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced) => {}
        Ok(RulesetStatus::NotEnforced) => {
            tracing::warn!(
                "this kernel has no landlock: file permissions alone keep us from files"
            );
        }
        Err(error) => {
            tracing::warn!(%error, "no landlock: file permissions alone keep us from files")
        }
    }
    if let Err(error) = syscalls::confine() {
        tracing::warn!(%error, "no seccomp: every system call stays within reach");
    }
}

/// What no program that we might start could get back. Without `CAP_SETPCAP` it stays as it is, and
/// `no_new_privs` alone sees to that.
fn drop_bounding_set() {
    for bit in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            Ok(()) => {}
            // The kernel knows no more of them.
            Err(Errno::INVAL) => return,
            Err(error) => {
                tracing::debug!(%error, "the bounding set stays");
                return;
            }
        }
    }
}

fn drop_capabilities() -> io::Result<()> {
    clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    Ok(set_capabilities(None, sets)?)
}

/// No file, no directory, no new listener, and neither signals nor abstract sockets beyond this
/// process. What remains is what the metrics say of the process itself.
fn landlock() -> Result<RulesetStatus, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V9))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(ABI::V9))?
        .create()?;
    let rules = allow(rules, "/proc/self", read)?;
    let rules = allow(rules, "/proc/stat", AccessFs::ReadFile.into())?;
    let RestrictionStatus { ruleset, .. } = rules.restrict_self()?;
    Ok(ruleset)
}

fn allow(
    rules: RulesetCreated,
    path: &str,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(file) => rules.add_rule(PathBeneath::new(file, access)),
        // No /proc, no figures.
        Err(_) => Ok(rules),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::process::Command;
    use std::thread;

    use super::*;

    #[test]
    fn a_confined_thread_serves_on_and_reaches_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("docker.sock");
        let docker = UnixListener::bind(&socket).unwrap();
        let secret = directory.path().join("secret");
        std::fs::write(&secret, "x").unwrap();
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = open.local_addr().unwrap();
        // Only this thread and its own are confined.
        let confined = thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            let landlocked = landlock().unwrap() != RulesetStatus::NotEnforced;
            syscalls::confine().unwrap();

            let client = TcpStream::connect(address).unwrap();
            let (served, _) = open.accept().unwrap();
            client.set_nonblocking(true).unwrap();
            served.set_nodelay(true).unwrap();
            assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
            let (_, _) = UnixStream::pair().unwrap();
            File::open("/proc/self/stat").unwrap();
            assert!(cutover_proxy::process_stats().open_fds > 0);

            assert!(UnixStream::connect(&socket).is_err());
            assert!(UdpSocket::bind("127.0.0.1:0").is_err());
            assert!(TcpListener::bind("127.0.0.1:0").is_err());
            assert!(Command::new("/bin/true").spawn().is_err());
            assert!(File::create(directory.path().join("new")).is_err());
            assert!(File::options().append(true).open(&secret).is_err());
            assert!(std::fs::remove_file(&secret).is_err());
            assert!(
                rustix::process::kill_process(
                    rustix::process::getppid().unwrap(),
                    rustix::process::Signal::URG,
                )
                .is_err()
            );
            if landlocked {
                let error = File::open(&secret).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::PermissionDenied);
                assert!(std::fs::read_dir("/").is_err());
            }
        });
        confined.join().unwrap();
        drop(docker);
    }
}
