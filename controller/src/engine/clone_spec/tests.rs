//! What of a container is copied, for every way in which Docker merges it with its image.

use std::time::{Duration, UNIX_EPOCH};

use bollard::models::{
    ContainerConfig, EndpointIpamConfig, EndpointSettings, HostConfig, Mount, MountPoint,
    MountType, NetworkSettings,
};
use cutover_api::FindingCode;

use super::*;
use crate::engine::fake::merged;

fn strings(all: &[&str]) -> Option<Vec<String>> {
    Some(all.iter().map(|text| (*text).to_owned()).collect())
}

fn map(all: &[(&str, &str)]) -> Option<HashMap<String, String>> {
    Some(all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
}

fn id() -> String {
    "0123456789ab".to_owned() + &"c".repeat(52)
}

fn image() -> ImageConfig {
    ImageConfig {
        env: strings(&["PATH=/bin", "VERSION=1", "LEVEL=info"]),
        cmd: strings(&["serve"]),
        entrypoint: strings(&["/entry"]),
        labels: map(&[("built", "monday")]),
        ..ImageConfig::default()
    }
}

/// A container as Docker shows it, out of what the user asked for.
fn inspected(user: &ContainerCreateBody, image: &ImageConfig) -> ContainerInspectResponse {
    ContainerInspectResponse {
        id: Some(id()),
        name: Some("/web-1".into()),
        image: Some("sha256:aa".into()),
        config: Some(merged(user.clone(), image, &id())),
        host_config: user.host_config.clone(),
        ..ContainerInspectResponse::default()
    }
}

fn copied(user: &ContainerCreateBody, image: &ImageConfig) -> ContainerCreateBody {
    let blueprint = Blueprint::read(inspected(user, image), Ok(image.clone())).unwrap();
    blueprint.copy("app:2", &BTreeMap::new()).body
}

fn in_networks() -> Blueprint {
    let endpoint = |aliases: &[&str]| EndpointSettings {
        aliases: strings(aliases),
        ip_address: Some("172.18.0.2".into()),
        mac_address: Some("02:42:ac:12:00:02".into()),
        ..EndpointSettings::default()
    };
    let user = ContainerCreateBody {
        hostname: Some("0123456789ab".into()),
        image: Some("app:1".into()),
        env: strings(&["SECRET=s"]),
        labels: map(&[("com.docker.compose.project", "p")]),
        host_config: Some(HostConfig {
            network_mode: Some("p_default".into()),
            binds: strings(&["data:/data:rw"]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let inspected = ContainerInspectResponse {
        network_settings: Some(NetworkSettings {
            networks: Some(HashMap::from([
                ("p_default".to_owned(), endpoint(&["web", "0123456789ab"])),
                ("back".to_owned(), endpoint(&["web"])),
            ])),
            ..NetworkSettings::default()
        }),
        ..inspected(&user, &image())
    };
    Blueprint::read(inspected, Ok(image())).unwrap()
}

#[test]
fn what_the_old_image_said_is_left_to_the_new_one() {
    let spec = in_networks().copy("app:2", &BTreeMap::new());
    assert_eq!(spec.body.image.as_deref(), Some("app:2"));
    assert_eq!(spec.body.env, strings(&["SECRET=s"]));
    assert_eq!((spec.body.cmd, spec.body.entrypoint), (None, None));
    let labels = spec.body.labels.unwrap();
    let mut names: Vec<_> = labels.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["com.docker.compose.project", "cutover.internal.set"]);
}

#[test]
fn what_was_the_engines_choice_is_chosen_anew() {
    let spec = in_networks().copy("app:2", &BTreeMap::new());
    assert_eq!(spec.body.hostname, None);
    let first = spec.body.networking_config.unwrap().endpoints_config.unwrap();
    assert_eq!(first.keys().collect::<Vec<_>>(), ["p_default"]);
    let endpoint = &first["p_default"];
    assert_eq!(endpoint.aliases, Some(vec!["web".to_owned()]));
    assert_eq!((&endpoint.ip_address, &endpoint.mac_address), (&None, &None));
    assert_eq!(spec.networks.len(), 1);
    assert_eq!(spec.networks[0].0, "back");
}

#[test]
fn a_copy_is_refused_what_the_original_has_not() {
    let original = in_networks().copy("app:1", &BTreeMap::new());
    assert_eq!(original.check_against(&original), Ok(()));
    let with = |change: &dyn Fn(&mut HostConfig)| {
        let mut spec = original.clone();
        change(spec.body.host_config.as_mut().unwrap());
        spec.check_against(&original)
    };
    assert!(with(&|h| h.privileged = Some(true)).is_err());
    assert!(with(&|h| h.pid_mode = Some("host".into())).is_err());
    assert!(with(&|h| h.network_mode = Some("host".into())).is_err());
    assert!(with(&|h| h.binds = Some(vec!["/:/host".into()])).is_err());
    assert!(with(&|h| h.cap_add = Some(vec!["SYS_ADMIN".into()])).is_err());
    assert!(with(&|h| h.binds = None).is_ok());
}

#[test]
fn a_variable_that_the_user_set_to_what_the_image_says_is_the_users() {
    // What the user sets, and what of it can be known.
    for (user, known) in [
        (vec![], vec![]),
        (vec!["SECRET=s"], vec!["SECRET=s"]),
        // Docker puts it before the image's PATH, so it is not the image's.
        (vec!["VERSION=1"], vec!["VERSION=1"]),
        (vec!["LEVEL=info", "SECRET=s"], vec!["LEVEL=info", "SECRET=s"]),
        (vec!["VERSION=2"], vec!["VERSION=2"]),
        (vec!["PATH=/bin", "SECRET=s"], vec!["PATH=/bin", "SECRET=s"]),
        (vec!["PATH=/bin", "LEVEL=info"], vec!["PATH=/bin", "LEVEL=info"]),
        // The image's first, alone: it could as well be the image's.
        (vec!["PATH=/bin"], vec![]),
    ] {
        let body = ContainerCreateBody { env: strings(&user), ..ContainerCreateBody::default() };
        assert_eq!(copied(&body, &image()).env, strings(&known), "{user:?}");
    }
}

#[test]
fn a_list_that_a_tool_has_sent_whole_does_not_pin_the_old_images_variables() {
    let all = ["LEVEL=info", "NEW=n", "PATH=/bin", "SECRET=s", "VERSION=1", "X=y"];
    let body = ContainerCreateBody { env: strings(&all), ..ContainerCreateBody::default() };
    let blueprint = Blueprint::read(inspected(&body, &image()), Ok(image())).unwrap();
    let copy = blueprint.copy("app:2", &BTreeMap::new()).body;
    assert_eq!(copy.env, strings(&["NEW=n", "SECRET=s", "X=y"]));
    let notice = blueprint.notices().pop().unwrap();
    assert_eq!(notice.code, FindingCode::VariableUnsure);
    assert!(notice.message.contains("PATH") && !notice.message.contains("/bin"), "{notice:?}");
}

#[test]
fn a_cleared_entrypoint_stays_cleared() {
    let cleared = |entrypoint: &[&str], cmd: Option<&[&str]>| ContainerCreateBody {
        entrypoint: strings(entrypoint),
        cmd: cmd.and_then(strings),
        ..ContainerCreateBody::default()
    };
    // `entrypoint: []` of Compose: the image's command is still the image's.
    let copy = copied(&cleared(&[], None), &image());
    assert_eq!((copy.entrypoint, copy.cmd), (Some(vec![]), None));
    let copy = copied(&cleared(&[], Some(&["run"])), &image());
    assert_eq!((copy.entrypoint, copy.cmd), (Some(vec![]), strings(&["run"])));
    // `docker run --entrypoint ""`.
    let copy = copied(&cleared(&[""], Some(&["run"])), &image());
    assert_eq!((copy.entrypoint, copy.cmd), (Some(vec![]), strings(&["run"])));
}

#[test]
fn an_entrypoint_of_the_user_takes_no_command_from_the_image() {
    let body = |entrypoint: &[&str], cmd: Option<&[&str]>| ContainerCreateBody {
        entrypoint: strings(entrypoint),
        cmd: cmd.and_then(strings),
        ..ContainerCreateBody::default()
    };
    let copy = copied(&body(&["/mine"], None), &image());
    assert_eq!((copy.entrypoint, copy.cmd), (strings(&["/mine"]), None));
    let copy = copied(&body(&["/mine"], Some(&["serve"])), &image());
    assert_eq!((copy.entrypoint, copy.cmd), (strings(&["/mine"]), strings(&["serve"])));
    // The same as the image's, and no command: only a user can have said so.
    let copy = copied(&body(&["/entry"], None), &image());
    assert_eq!((copy.entrypoint, copy.cmd), (strings(&["/entry"]), None));
    let copy = copied(&ContainerCreateBody { cmd: strings(&["x"]), ..body(&[], None) }, &image());
    assert_eq!(copy.cmd, strings(&["x"]));
}

#[test]
fn a_health_check_is_copied_field_by_field() {
    let test = |text: &str| strings(&["CMD", text]);
    let image = ImageConfig {
        healthcheck: Some(HealthConfig {
            test: test("old"),
            retries: Some(3),
            ..HealthConfig::default()
        }),
        ..image()
    };
    let own =
        |check| ContainerCreateBody { healthcheck: Some(check), ..ContainerCreateBody::default() };
    let interval = HealthConfig { interval: Some(1_000_000_000), ..HealthConfig::default() };
    assert_eq!(copied(&own(interval.clone()), &image).healthcheck, Some(interval));
    let off = HealthConfig { test: strings(&["NONE"]), ..HealthConfig::default() };
    assert_eq!(copied(&own(off.clone()), &image).healthcheck, Some(off));
    let mine = HealthConfig { test: test("mine"), ..HealthConfig::default() };
    assert_eq!(copied(&own(mine.clone()), &image).healthcheck, Some(mine));
    assert_eq!(copied(&ContainerCreateBody::default(), &image).healthcheck, None);
}

#[test]
fn a_copy_of_ours_needs_no_image_and_forgets_nothing_that_the_new_image_says_too() {
    let user = ContainerCreateBody {
        env: strings(&["SECRET=s", "MODE=prod"]),
        user: Some("app".into()),
        labels: map(&[("team", "blue"), ("com.docker.compose.project", "p")]),
        ..ContainerCreateBody::default()
    };
    let first = copied(&user, &image());
    // The next release says the same by chance.
    let next = ImageConfig {
        env: strings(&["MODE=prod", "PATH=/bin"]),
        user: Some("app".into()),
        labels: map(&[("team", "blue")]),
        ..ImageConfig::default()
    };
    for image_is_here in [true, false] {
        let found = if image_is_here { Ok(next.clone()) } else { Err(true) };
        let blueprint = Blueprint::read(inspected(&first, &next), found).unwrap();
        let second = blueprint.copy("app:3", &BTreeMap::new()).body;
        assert_eq!(second.env, strings(&["SECRET=s", "MODE=prod"]));
        assert_eq!(second.user.as_deref(), Some("app"));
        assert_eq!(second.cmd, None);
        let labels = second.labels.unwrap();
        assert_eq!(labels["team"], "blue");
        assert_eq!(labels["com.docker.compose.project"], "p");
    }
}

#[test]
fn without_its_image_a_container_that_is_not_ours_is_not_copied() {
    for gone in [true, false] {
        let inspected = inspected(&ContainerCreateBody::default(), &image());
        let error = Blueprint::read(inspected, Err(gone)).unwrap_err();
        assert_eq!(error.is_transient(), !gone);
        assert!(error.to_string().contains("sha256:aa of web-1"), "{error}");
        assert_eq!(error.fix().is_some(), gone);
    }
}

#[test]
fn a_copy_mounts_the_volumes_that_have_no_name() {
    let volume = |digit: &str| digit.repeat(64);
    let container = |digit: &str| {
        let user = ContainerCreateBody {
            host_config: Some(HostConfig {
                binds: strings(&["named:/named:rw"]),
                mounts: Some(vec![Mount {
                    target: Some("/cache".into()),
                    typ: Some(MountType::VOLUME),
                    ..Mount::default()
                }]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let mount = |name: &str, path: &str| MountPoint {
            name: Some(name.into()),
            destination: Some(path.into()),
            rw: Some(true),
            ..MountPoint::default()
        };
        let mounts = vec![
            mount("named", "/named"),
            mount(&volume(digit), "/data"),
            mount(&volume(digit), "/cache"),
        ];
        let inspected =
            ContainerInspectResponse { mounts: Some(mounts), ..inspected(&user, &image()) };
        Blueprint::read(inspected, Ok(image())).unwrap()
    };
    let notices = container("a").notices();
    assert_eq!(notices.len(), 2);
    assert!(
        notices.iter().all(|n| n.code == FindingCode::AnonymousVolume && !n.blocks),
        "{notices:?}"
    );
    let mut spec = container("a").copy("app:2", &BTreeMap::new());
    let host = spec.body.host_config.clone().unwrap();
    let data = format!("{}:/data:rw", volume("a"));
    assert_eq!(host.binds, strings(&["named:/named:rw", &data]));
    assert_eq!(host.mounts.unwrap()[0].source, Some(volume("a")));
    // In the place of another one it takes that one's.
    let other = container("b").copy("app:1", &BTreeMap::new());
    assert_eq!(spec.check_against(&other), Ok(()));
    spec.take_the_place_of(&other);
    let host = spec.body.host_config.unwrap();
    let data = format!("{}:/data:rw", volume("b"));
    assert_eq!(host.binds, strings(&["named:/named:rw", &data]));
    assert_eq!(host.mounts.unwrap()[0].source, Some(volume("b")));
    // In a slot of its own it gets new ones.
    let mut apart = other;
    apart.leave_anonymous_volumes();
    let host = apart.body.host_config.unwrap();
    assert_eq!(host.binds, strings(&["named:/named:rw"]));
    assert_eq!(host.mounts.unwrap()[0].source, None);
}

#[test]
fn what_two_containers_cannot_both_have_is_named() {
    let user = ContainerCreateBody {
        host_config: Some(HostConfig {
            network_mode: Some("host".into()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let endpoint = EndpointSettings {
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: Some("10.5.0.9".into()),
            ..EndpointIpamConfig::default()
        }),
        ..EndpointSettings::default()
    };
    let inspected = ContainerInspectResponse {
        network_settings: Some(NetworkSettings {
            networks: Some([("front".to_owned(), endpoint)].into()),
            ..NetworkSettings::default()
        }),
        ..inspected(&user, &image())
    };
    let blueprint = Blueprint::read(inspected, Ok(image())).unwrap();
    let [host, address] = &blueprint.notices()[..] else { panic!("{:?}", blueprint.notices()) };
    assert!(host.blocks && host.code == FindingCode::HostNetwork, "{host:?}");
    assert!(!address.blocks && address.message.contains("10.5.0.9 in front"), "{address:?}");
    let copy = blueprint.copy("app:2", &BTreeMap::new());
    assert_eq!(copy.networks[0].1.endpoint_config.as_ref().unwrap().ipam_config, None);
}

#[test]
fn a_file_of_compose_is_told_from_one_that_the_app_wrote() {
    let created = UNIX_EPOCH + Duration::from_millis(1_000_400);
    let at = |ms: u64| UNIX_EPOCH + Duration::from_millis(ms);
    for (regular, modified, put_in) in [
        (true, at(1_000_000), true),
        (true, at(1_002_000), true),
        // Written by a program: never on the second.
        (true, at(1_002_345), false),
        // Of an archive that the app unpacked, as old as it was packed; or much later.
        (true, at(500_000), false),
        (true, at(2_000_000), false),
        (false, at(1_002_000), false),
    ] {
        assert_eq!(was_put_in(Changed { regular, modified, created }), put_in, "{modified:?}");
    }
}

#[test]
fn files_go_along_and_are_not_shown() {
    let file = File {
        path: "/run/secrets/key".into(),
        mode: 0o400,
        uid: 1,
        gid: 2,
        content: b"hidden".to_vec(),
    };
    let lost = vec![("/big".to_owned(), "it is too large".to_owned())];
    let files = Files { found: vec![file], lost };
    let blueprint = in_networks().with_files(files);
    assert!(blueprint.notices()[0].message.contains("/big"));
    let spec = blueprint.copy("app:2", &BTreeMap::new());
    let text = format!("{spec:?}");
    assert!(text.contains("/run/secrets/key") && !text.contains("hidden"), "{text}");
    assert!(!text.contains("SECRET"), "{text}");
    let json = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), spec);
    // The next copy knows them by name.
    let config = ContainerConfig { labels: spec.body.labels, ..ContainerConfig::default() };
    assert_eq!(Blueprint::known_files(&config), ["/run/secrets/key"]);
}

#[test]
fn a_spec_of_an_older_journal_is_read() {
    let spec: Spec =
        serde_json::from_str(r#"{"body": {"Image": "app:1"}, "networks": []}"#).unwrap();
    assert_eq!(spec.body.image.as_deref(), Some("app:1"));
}
