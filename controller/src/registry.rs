//! Who we are to a registry: what `docker login` has left, and what a caller sends along.
//!
//! Logins come from the file itself or from the credential helpers that it names (`credsStore`,
//! `credHelpers`). Image references are taken apart by hand: the crate that does it (oci-spec) takes no
//! image IDs and brings a regular expression engine along.
//!
//! Held in memory for the one pull that needs it; never written, never shown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use docker_credential::{CredentialRetrievalError, DockerCredential};
use serde::{Deserialize, Serialize};
use tracing::debug;

/// The header with logins for several registries, as in Docker's own API.
pub(crate) const ALL_HEADER: &str = "x-registry-config";
/// The header with one login.
pub(crate) const ONE_HEADER: &str = "x-registry-auth";

/// What is wrong with the file that `docker login` writes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginsError {
    /// Not what Docker writes. A parser's words would quote the file.
    #[error("{}:{line}: not JSON of Docker", file.display())]
    NotDockers {
        /// The file.
        file: PathBuf,
        /// Where.
        line: usize,
    },
    /// The disk does not give it.
    #[error("{}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What it says.
        source: std::io::Error,
    },
}

/// The credentials for one registry.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct Login {
    /// The user.
    pub username: Option<String>,
    /// Their password.
    pub password: Option<String>,
    /// In place of a password.
    pub identitytoken: Option<String>,
    /// In place of both.
    pub registrytoken: Option<String>,
    /// The registry that it is for.
    pub serveraddress: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

/// Logins by registry.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Logins {
    /// By host and port.
    registries: BTreeMap<String, Login>,
    /// For whatever registry is asked: the caller did not say which.
    any: Option<Login>,
}

impl Logins {
    /// Reads what a client sends: base64 of one login, or of a map of them by registry.
    #[must_use]
    pub(crate) fn from_headers(one: Option<&[u8]>, all: Option<&[u8]>) -> Option<Self> {
        let mut logins = Self::default();
        if let Some(all) = all {
            let all: BTreeMap<String, Login> = serde_json::from_slice(&decoded(all)?).ok()?;
            logins.registries = all.into_iter().map(|(key, login)| (host(&key), login)).collect();
        }
        if let Some(one) = one {
            let login: Login = serde_json::from_slice(&decoded(one)?).ok()?;
            match login.serveraddress.as_deref().filter(|address| !address.is_empty()) {
                Some(address) => drop(logins.registries.insert(host(address), login)),
                None => logins.any = Some(login),
            }
        }
        Some(logins)
    }

    /// What goes into [`ALL_HEADER`]; `None` where there is nothing to send.
    #[must_use]
    pub(crate) fn header(&self) -> Option<String> {
        let json = serde_json::to_vec(&self.registries).ok()?;
        (!self.registries.is_empty())
            .then(|| base64::engine::general_purpose::URL_SAFE.encode(json))
    }

    /// What `docker login` has left in this directory's `config.json`, or with the credential
    /// helpers that it names: for one image's registry, or for all that it knows of.
    ///
    /// Blocks while a helper runs. One that fails has no login for its registry, and says so in the
    /// log: the registry may want none.
    ///
    /// # Errors
    /// What is wrong with the file; one that is not there has no logins.
    pub(crate) fn from_dir(dir: &Path, image: Option<&str>) -> Result<Self, LoginsError> {
        let file = dir.join("config.json");
        let bytes = match std::fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(source) => return Err(LoginsError::Unreadable { file, source }),
        };
        let config: ConfigFile = serde_json::from_slice(&bytes)
            .map_err(|error| LoginsError::NotDockers { file, line: error.line() })?;
        let wanted = image.map(registry);
        let is_wanted = |key: &str| wanted.is_none_or(|wanted| host(key) == wanted);
        let keys: BTreeSet<String> = config.keys(wanted);
        let login = |key: String| Some((host(&key), config.login(&key, &bytes)?));
        let registries = keys.into_iter().filter(|key| is_wanted(key)).filter_map(login);
        Ok(Self { registries: registries.collect(), any: None })
    }

    /// The login for an image's registry.
    #[must_use]
    pub(crate) fn of(&self, image: &str) -> Option<&Login> {
        self.registries.get(registry(image)).or(self.any.as_ref())
    }
}

/// Where this process finds its Docker config: `DOCKER_CONFIG`, or in the home of its user.
#[must_use]
pub(crate) fn config_dir() -> PathBuf {
    // An image without /etc/passwd leaves the root as the home of root.
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty() && value != "/");
    let home = || PathBuf::from(set("HOME").unwrap_or_else(|| "/root".into())).join(".docker");
    set("DOCKER_CONFIG").map_or_else(home, PathBuf::from)
}

/// The registry of a reference: what is before the first slash, if it can be a host.
#[must_use]
pub(crate) fn registry(reference: &str) -> &str {
    match reference.split_once('/') {
        Some(("index.docker.io", _)) => HUB,
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => HUB,
    }
}

/// A repository as the engine shows it: Docker Hub's goes without saying.
#[must_use]
pub(crate) fn familiar(repository: &str) -> &str {
    let short = repository.strip_prefix("docker.io/").unwrap_or(repository);
    short.strip_prefix("library/").unwrap_or(short)
}

/// A key of a Docker config: some are URLs.
fn host(key: &str) -> String {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    match rest.split('/').next().unwrap_or(rest) {
        "index.docker.io" | "registry-1.docker.io" => HUB.to_owned(),
        host => host.to_owned(),
    }
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct ConfigFile {
    auths: BTreeMap<String, Entry>,
    /// The helper of a registry.
    cred_helpers: BTreeMap<String, String>,
    /// The helper of all others.
    creds_store: Option<String>,
}

impl ConfigFile {
    /// Every registry that it has something to say of. A store is asked for any registry.
    fn keys(&self, wanted: Option<&str>) -> BTreeSet<String> {
        let named = self.auths.keys().chain(self.cred_helpers.keys()).cloned();
        let mut keys: BTreeSet<_> = named.collect();
        let asks_store = self.creds_store.as_ref().is_some_and(|store| !store.is_empty());
        if let Some(wanted) = wanted.filter(|_| asks_store)
            && !keys.iter().any(|key| host(key) == wanted)
        {
            // What `docker login` has called Docker Hub ever since.
            keys.insert(if wanted == HUB { HUB_KEY.to_owned() } else { wanted.to_owned() });
        }
        keys
    }

    /// What the file says itself, or else the helper for a registry.
    fn login(&self, key: &str, file: &[u8]) -> Option<Login> {
        let helped = self.cred_helpers.get(key).is_some_and(|helper| !helper.is_empty());
        let own = self.auths.get(key).filter(|_| !helped).and_then(|entry| entry.login(key));
        if own.is_some() {
            return own;
        }
        if !helped && self.creds_store.as_ref().is_none_or(String::is_empty) {
            return None;
        }
        let (username, password, identitytoken) =
            match docker_credential::get_credential_from_reader(file, key) {
                Ok(DockerCredential::UsernamePassword(user, password)) => {
                    (Some(user), Some(password), None)
                }
                // A helper that has a token says so in place of a name.
                Ok(DockerCredential::IdentityToken(token)) => (None, None, Some(token)),
                Err(error) => {
                    // Its own words may hold what it was asked for.
                    let why = match error {
                        CredentialRetrievalError::HelperFailure { helper, .. } => {
                            format!("{helper} has none")
                        }
                        error => error.to_string(),
                    };
                    debug!(registry = host(key), why, "no login");
                    return None;
                }
            };
        let serveraddress = Some(key.to_owned());
        Some(Login { username, password, identitytoken, serveraddress, registrytoken: None })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl Entry {
    fn login(&self, key: &str) -> Option<Login> {
        let decoded = String::from_utf8(decoded(self.auth.as_bytes())?).ok()?;
        let (username, password) = decoded.split_once(':').unwrap_or_default();
        let filled = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let login = Login {
            username: filled(username),
            // Old clients have put a zero behind it.
            password: filled(password.trim_end_matches('\0')),
            identitytoken: self.identitytoken.clone(),
            registrytoken: self.registrytoken.clone(),
            serveraddress: Some(key.to_owned()),
        };
        // A credential helper leaves an empty entry.
        let known = login.username.is_some() || login.registrytoken.is_some();
        known.then_some(login)
    }
}

/// Standard or URL-safe alphabet, padded or not: clients send all of them.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let standard = |byte: &u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => *byte,
    };
    let text: Vec<u8> = text.trim_ascii().iter().map(standard).collect();
    GeneralPurpose::new(&alphabet::STANDARD, config).decode(text).ok()
}

const HUB: &str = "docker.io";
/// Docker Hub, as a key of `auths` and to helpers.
const HUB_KEY: &str = "https://index.docker.io/v1/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_come_in_both_alphabets_and_are_not_shown() {
        let standard = "eyJ1c2VybmFtZSI6InU/IiwicGFzc3dvcmQiOiJwPj4ifQ==";
        let url = standard.replace('/', "_").replace('+', "-");
        for header in [standard, url.trim_end_matches('=')] {
            let logins = Logins::from_headers(Some(header.as_bytes()), None).unwrap();
            let login = logins.of("anywhere.example/app").unwrap();
            assert_eq!(login.username.as_deref(), Some("u?"));
            assert_eq!(login.password.as_deref(), Some("p>>"));
            assert!(!format!("{logins:?}").contains("u?"));
        }
        assert!(Logins::from_headers(Some(b"!"), None).is_none());
    }

    #[test]
    fn a_login_goes_to_no_other_registry() {
        let dir = tempfile::tempdir().unwrap();
        let auths = r#"{"auths": {
            "reg.example:5000": {"auth": "dTpwOnc="},
            "https://index.docker.io/v1/": {"auth": "aDpw"},
            "https://other.example": {"auth": "", "registrytoken": "t"},
            "helper.example": {}
        }, "credsStore": "cutover-none"}"#;
        std::fs::write(dir.path().join("config.json"), auths).unwrap();
        let sent = Logins::from_dir(dir.path(), None).unwrap().header().unwrap();
        let logins = Logins::from_headers(None, Some(sent.as_bytes())).unwrap();
        let password = |image: &str| logins.of(image)?.password.clone();
        assert_eq!(password("reg.example:5000/app:1").as_deref(), Some("p:w"));
        assert_eq!(password("app:1").as_deref(), Some("p"));
        assert_eq!(password("docker.io/library/app").as_deref(), Some("p"));
        assert!(logins.of("other.example/app").unwrap().registrytoken.is_some());
        assert_eq!(logins.of("reg.example/app:1"), None);
        assert_eq!(logins.of("helper.example/app:1"), None);
        let one = Logins::from_dir(dir.path(), Some("app:1")).unwrap();
        assert!(one.of("reg.example:5000/app").is_none() && one.of("app:1").is_some());
    }

    #[test]
    fn a_config_that_is_not_there_has_no_logins_and_a_broken_one_is_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Logins::from_dir(dir.path(), None).unwrap(), Logins::default());
        assert_eq!(Logins::default().header(), None);
        std::fs::write(dir.path().join("config.json"), "{\"auths\": secret").unwrap();
        let error = Logins::from_dir(dir.path(), None).unwrap_err().to_string();
        assert!(error.contains("config.json:1") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn a_reference_names_its_registry() {
        assert_eq!(registry("host:5000/app:2"), "host:5000");
        assert_eq!(registry("localhost/app"), "localhost");
        assert_eq!(registry("library/app"), HUB);
        assert_eq!(familiar("docker.io/library/app"), "app");
        assert_eq!(familiar("host/library/app"), "host/library/app");
    }
}
