//! Every listening socket of Cutover, bound once, before any child is started.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::{fs, thread};

use anyhow::{Context, Result, bail};
use rustix::fs::Mode;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::config::{Config, Listen};

/// Connections that may wait for an `accept`.
const BACKLOG: i32 = 4096;

/// The sockets of one Cutover. While this lives, a connection to a dead proxy waits for the next.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// Per address, one listener for each worker.
    pub http: Vec<(SocketAddr, Vec<TcpListener>)>,
    /// The status page's.
    pub admin: Option<TcpListener>,
    /// The control socket's.
    pub control: SocketFile,
    /// The link's: the controller connects to it, the proxy accepts.
    pub link: SocketFile,
}

impl Sockets {
    /// Binds everything that `config` listens on.
    ///
    /// # Errors
    /// The first socket that cannot be bound, by its key.
    pub(crate) fn bind(config: &Config) -> Result<Self> {
        let listen = &config.listen;
        // The control socket comes first: it tells whether another Cutover runs here.
        let control = control(listen)?;
        let link = SocketFile::bind(&link_path(&listen.control), 0o600)
            .context("the link beside listen.control")?;
        let http = bind_http(&listen.http, workers(config))?;
        Ok(Self { http, admin: admin(listen)?, control, link })
    }
}

/// How many threads the proxy has.
fn workers(config: &Config) -> usize {
    config.runtime.workers.unwrap_or_else(processors)
}

/// Processors that this process may use.
#[must_use]
pub(crate) fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Binds client-facing addresses, each with one listener for each worker.
///
/// # Errors
/// An address cannot be bound.
pub(crate) fn bind_http(
    addresses: &[SocketAddr],
    workers: usize,
) -> Result<Vec<(SocketAddr, Vec<TcpListener>)>> {
    let bind = |address: &SocketAddr| {
        http(*address, addresses, workers).with_context(|| refused("listen.http", *address))
    };
    addresses.iter().map(bind).collect()
}

/// Where the controller finds the proxy: beside the control socket.
#[must_use]
pub(crate) fn link_path(control: &Path) -> PathBuf {
    control.with_file_name("proxy.sock")
}

/// A Unix listener whose file goes with it.
#[derive(Debug)]
pub(crate) struct SocketFile {
    /// The listener.
    pub listener: UnixListener,
    path: PathBuf,
}

impl SocketFile {
    /// Listens at `path`; a file that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// Somebody listens there, or the directory cannot be written.
    pub(crate) fn bind(path: &Path, mode: u32) -> Result<Self> {
        if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        if UnixStream::connect(path).is_ok() {
            bail!("{}: another Cutover listens there", path.display());
        }
        match fs::symlink_metadata(path) {
            Ok(metadata) if std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()) => {
                fs::remove_file(path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
            Ok(_) => bail!("{}: there is a file that is not a socket", path.display()),
            Err(_) => {}
        }
        let listener = private(path);
        let listener = listener.with_context(|| format!("cannot listen on {}", path.display()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("cannot set the mode of {}", path.display()))?;
        Ok(Self { listener, path: path.to_owned() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Best effort: what stays is replaced by the next start.
        drop(fs::remove_file(&self.path));
    }
}

/// A listener at `path` that nobody else may connect to, at no moment: the file that `bind` makes
/// has the mode of the socket. A mask (umask) would be the whole process's, and other threads make
/// files.
fn private(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Binds what a controller without a supervisor needs.
///
/// # Errors
/// An address cannot be bound.
pub(crate) fn bind_controller(config: &Config) -> Result<(SocketFile, Option<TcpListener>)> {
    Ok((control(&config.listen)?, admin(&config.listen)?))
}

fn admin(listen: &Listen) -> Result<Option<TcpListener>> {
    let bind =
        |address| tcp(address, false, false).with_context(|| refused("listen.admin", address));
    listen.admin.map(bind).transpose()
}

fn control(listen: &Listen) -> Result<SocketFile> {
    let socket = SocketFile::bind(&listen.control, 0o660).context("listen.control")?;
    if let Some(gid) = listen.control_gids.first() {
        chown(&listen.control, None, Some(*gid))
            .with_context(|| format!("cannot give {} to group {gid}", listen.control.display()))?;
    }
    Ok(socket)
}

/// One listener for each worker on one address.
fn http(
    address: SocketAddr,
    all: &[SocketAddr],
    workers: usize,
) -> Result<(SocketAddr, Vec<TcpListener>)> {
    // `0.0.0.0:80` beside `[::]:80`: each takes its own family.
    let only_v6 = address.is_ipv6()
        && all.iter().any(|other| other.is_ipv4() && other.port() == address.port());
    // With SO_REUSEPORT a second Cutover would silently take half of the connections: a socket
    // without it finds out whether somebody listens already.
    drop(tcp(address, only_v6, false)?);
    let first = tcp(address, only_v6, true)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..workers {
        listeners.push(tcp(address, only_v6, true)?);
    }
    Ok((address, listeners))
}

fn tcp(address: SocketAddr, only_v6: bool, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    // Accepted connections inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn refused(key: &str, address: SocketAddr) -> String {
    let any = matches!(address.ip(), IpAddr::V4(ip) if ip.is_unspecified());
    let hint = match address.port() {
        1..1024 if any => " (a port below 1024 needs root or CAP_NET_BIND_SERVICE)",
        _ => "",
    };
    format!("cannot listen on {address}, {key}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(directory: &Path, http: &str) -> Config {
        let text = format!(
            "[listen]\nhttp = {http}\nadmin = \"off\"\ncontrol = \"{}/control.sock\"\n[runtime]\nworkers = 3\n",
            directory.display()
        );
        Config::parse(Path::new("cutover.toml"), &text).unwrap()
    }

    #[test]
    fn every_worker_has_a_listener_on_the_same_port() {
        let directory = tempfile::tempdir().unwrap();
        let sockets = Sockets::bind(&config(directory.path(), "\"127.0.0.1:0\"")).unwrap();
        let (address, listeners) = &sockets.http[0];
        assert_eq!(listeners.len(), 3);
        assert!(listeners.iter().all(|listener| listener.local_addr().unwrap() == *address));
    }

    #[test]
    fn a_taken_port_is_refused_by_key_and_address() {
        let directory = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let holder = tcp(taken, false, true).unwrap();
        let error = Sockets::bind(&config(directory.path(), &format!("\"{taken}\""))).unwrap_err();
        assert!(
            format!("{error:#}").contains(&format!("cannot listen on {taken}, listen.http")),
            "{error:#}"
        );
        drop(holder);
    }

    #[test]
    fn a_socket_is_never_open_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let _listener = private(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_second_cutover_on_the_same_control_socket_is_refused_and_a_dead_one_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/control.sock");
        let first = SocketFile::bind(&path, 0o660).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let error = SocketFile::bind(&path, 0o660).unwrap_err();
        assert!(error.to_string().contains("another Cutover"), "{error}");
        std::mem::forget(first.listener.try_clone().map(drop));
        drop(first);
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let again = SocketFile::bind(&path, 0o660).unwrap();
        drop(again);
        assert!(!path.exists());
    }
}
