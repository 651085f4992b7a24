use std::fs;
use std::os::unix::fs::symlink;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn text(service: &str) -> String {
    format!("[services.{service}]\n")
}

fn watch(path: &Path) -> Reload {
    let text = fs::read_to_string(path).ok();
    let serves = text.is_some();
    Reload::watch(Some(path), text, serves)
}

/// The names of the services of the next config.
async fn next(reload: &mut Reload) -> Result<Vec<String>, Report> {
    let config = timeout(PATIENCE, reload.next()).await.expect("a change is seen in time")?;
    Ok(config.services.keys().map(ToString::to_string).collect())
}

#[tokio::test]
async fn a_replaced_file_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cutover.toml");
    fs::write(&path, text("one")).unwrap();
    let mut reload = watch(&path);
    let new = directory.path().join("new");
    fs::write(&new, text("two")).unwrap();
    fs::rename(&new, &path).unwrap();
    assert_eq!(next(&mut reload).await.unwrap(), ["two"]);
}

#[tokio::test]
async fn a_file_written_in_pieces_is_one_change() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cutover.toml");
    fs::write(&path, text("one")).unwrap();
    let mut reload = watch(&path);
    let whole = text("pieces");
    let write = async {
        for end in 1..=whole.len() {
            fs::write(&path, &whole.as_bytes()[..end]).unwrap();
            sleep(Duration::from_millis(20)).await;
        }
    };
    let (first, ()) = tokio::join!(next(&mut reload), write);
    assert_eq!(first.unwrap(), ["pieces"]);
}

#[tokio::test]
async fn a_bad_file_is_one_error_and_the_old_text_is_a_change_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cutover.toml");
    fs::write(&path, text("one")).unwrap();
    let mut reload = watch(&path);
    fs::write(&path, "nonsense").unwrap();
    assert!(next(&mut reload).await.is_err());
    // The same bytes again are no change: only what follows is given.
    fs::write(&path, "nonsense").unwrap();
    assert!(timeout(LOOK + SETTLE * 2, reload.next()).await.is_err());
    fs::write(&path, text("one")).unwrap();
    assert_eq!(next(&mut reload).await.unwrap(), ["one"]);
}

#[tokio::test]
async fn a_file_that_is_emptied_is_an_error_while_there_are_services() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cutover.toml");
    fs::write(&path, text("one")).unwrap();
    let mut reload = watch(&path);
    for empty in ["", " \n\t\r\n", "# soon\n  # more\n"] {
        fs::write(&path, empty).unwrap();
        let error = next(&mut reload).await.unwrap_err().to_string();
        assert!(error.contains("cutover.toml: is empty: the running config is kept"), "{error}");
    }
    fs::write(&path, "[services]\n").unwrap();
    assert!(next(&mut reload).await.unwrap().is_empty());
    fs::write(&path, "").unwrap();
    assert!(next(&mut reload).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_deleted_file_is_an_error_until_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cutover.toml");
    fs::write(&path, text("one")).unwrap();
    let mut reload = watch(&path);
    fs::remove_file(&path).unwrap();
    assert!(next(&mut reload).await.unwrap_err().to_string().contains("has gone"));
    fs::write(&path, text("two")).unwrap();
    assert_eq!(next(&mut reload).await.unwrap(), ["two"]);
}

#[tokio::test]
async fn a_file_that_comes_later_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("later/cutover.toml");
    let mut reload = watch(&path);
    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::write(&path, text("late")).unwrap();
    assert_eq!(next(&mut reload).await.unwrap(), ["late"]);
}

#[tokio::test]
async fn a_swapped_data_link_is_seen_every_time_and_leaves_no_watch_behind() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let swap = |n: usize| {
        let version = root.join(format!("..{n}"));
        fs::create_dir(&version).unwrap();
        fs::write(version.join("cutover.toml"), text(&format!("v{n}"))).unwrap();
        symlink(format!("..{n}"), root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    };
    swap(0);
    let path = root.join("cutover.toml");
    symlink("..data/cutover.toml", &path).unwrap();
    let mut reload = watch(&path);
    for n in 1..4 {
        swap(n);
        assert_eq!(next(&mut reload).await.unwrap(), [format!("v{n}")]);
        fs::remove_dir_all(root.join(format!("..{}", n - 1))).unwrap();
    }
    assert!(reload.watched.len() <= 3, "{:?}", reload.watched);
}

#[tokio::test]
async fn only_a_valid_config_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (path, kept) = (directory.path().join("cutover.toml"), directory.path().join("state/kept"));
    fs::write(&path, text("one")).unwrap();
    let mut reload = watch(&path);
    reload.keep_at(kept.clone());
    assert_eq!(fs::read_to_string(&kept).unwrap(), text("one"));
    fs::write(&path, "nonsense").unwrap();
    assert!(next(&mut reload).await.is_err());
    assert_eq!(fs::read_to_string(&kept).unwrap(), text("one"));
    fs::write(&path, text("two")).unwrap();
    assert_eq!(next(&mut reload).await.unwrap(), ["two"]);
    assert_eq!(fs::read_to_string(&kept).unwrap(), text("two"));
}

#[test]
fn a_file_that_is_a_mount_point_is_pinned() {
    let mounts = "36 35 98:0 /x / rw - ext4 /dev/a rw\n37 36 98:0 /y /etc/my\\040app/cutover.toml ro - ext4 /dev/a rw\n";
    assert!(pinned_by(mounts, Path::new("/etc/my app/cutover.toml")));
    assert!(!pinned_by(mounts, Path::new("/etc/other/cutover.toml")));
}
