use std::env;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::*;
use crate::store::record::Record;

const TABLE: Table = Table::Policies;

fn filled(names: u32) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (disk, _) = Disk::open(folder.path()).unwrap();
    for chunk in (0..names).collect::<Vec<_>>().chunks(50) {
        disk.commit(chunk.iter().map(|&nth| put(nth, 1)).collect()).unwrap();
    }
    folder
}

fn key(nth: u32) -> String {
    format!("d{nth:05}.example")
}

fn record(nth: u32, revision: u64) -> Record {
    let document = format!("policy {nth} at {revision} ").repeat(30).into_bytes();
    Record { revision, document, ..Record::default() }
}

fn put(nth: u32, revision: u64) -> Change {
    Change::Put(TABLE, key(nth), record(nth, revision).seal(TABLE, &key(nth)))
}

/// How many names are whole; each must be one that was written.
fn whole(disk: &Disk, names: u32) -> u32 {
    let is_whole = |&nth: &u32| {
        let Ok(Some(bytes)) = disk.get(TABLE, &key(nth)) else { return false };
        match Record::open(TABLE, &key(nth), &bytes) {
            Ok(found) => {
                assert_eq!(found, record(nth, found.revision), "{nth} is wrong but looks right");
                true
            }
            Err(_) => false,
        }
    };
    (0..names).filter(is_whole).count() as u32
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let folder = filled(200);
    let (disk, set_aside) = Disk::open(folder.path()).unwrap();
    assert_eq!((whole(&disk, 200), disk.len(TABLE).unwrap(), set_aside), (200, 200, None));
    disk.commit(vec![Change::Delete(TABLE, key(3)), put(4, 2)]).unwrap();
    assert_eq!(disk.get(TABLE, &key(3)).unwrap(), None);
    let after = disk.after(TABLE, &key(2), 2).unwrap();
    assert_eq!(after.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), [key(4), key(5)]);
}

#[test]
fn a_second_process_is_refused_and_harms_nothing() {
    let folder = filled(10);
    let (disk, _) = Disk::open(folder.path()).unwrap();
    assert!(matches!(Disk::open(folder.path()), Err(StoreError::Folder { .. })));
    assert_eq!(whole(&disk, 10), 10);
    disk.commit(vec![put(1, 2)]).unwrap();
}

/// Says that this process is to write until it is killed, and where.
const WRITE_UNTIL_KILLED: &str = "EDGE_TEST_WRITE_UNTIL_KILLED";

#[test]
fn what_was_committed_survives_a_kill() {
    if let Some(folder) = env::var_os(WRITE_UNTIL_KILLED) {
        return write_until_killed(Path::new(&folder));
    }
    let folder = filled(100);
    let mut committed = 1;
    for kill in 0..12 {
        let mut writer = Command::new(env::current_exe().unwrap())
            .args(["--exact", "store::disk::tests::what_was_committed_survives_a_kill"])
            .args(["--nocapture", "--test-threads=1"])
            .env(WRITE_UNTIL_KILLED, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Killed somewhere in the commits that follow these.
        let said = BufReader::new(writer.stdout.take().unwrap()).lines().map(Result::unwrap);
        let said = said.filter_map(|line| line.strip_prefix("committed ")?.parse().ok());
        committed = said.take(1 + kill % 4).last().unwrap_or(committed);
        writer.kill().unwrap();
        writer.wait().unwrap();

        let (disk, set_aside) = Disk::open(folder.path()).unwrap();
        assert_eq!((whole(&disk, 100), set_aside), (100, None));
        for nth in 0..100 {
            let bytes = disk.get(TABLE, &key(nth)).unwrap().unwrap();
            let revision = Record::open(TABLE, &key(nth), &bytes).unwrap().revision;
            assert!(revision >= committed, "{nth} is at {revision}, {committed} was committed");
        }
    }
}

fn write_until_killed(folder: &Path) {
    let (disk, _) = Disk::open(folder).unwrap();
    let bytes = disk.get(TABLE, &key(0)).unwrap().unwrap();
    let mut revision = Record::open(TABLE, &key(0), &bytes).unwrap().revision;
    loop {
        revision += 1;
        disk.commit((0..100).map(|nth| put(nth, revision)).collect()).unwrap();
        println!("\ncommitted {revision}");
    }
}

/// Bits are flipped all over the file; after each, what can be read is right, and the store can be
/// filled again by writing everything once more.
#[test]
fn flipped_bits_are_never_served_and_the_store_recovers() {
    const NAMES: u32 = 150;
    let folder = filled(NAMES);
    let file = folder.path().join(FILE);
    let good = fs::read(&file).unwrap();
    let mut kept = 0;
    const FLIPS: usize = 60;
    for nth in 0..FLIPS {
        let at = (good.len() * nth / FLIPS + nth * 977) % good.len();
        let mut spoiled = good.clone();
        spoiled[at] ^= 1 << (nth % 8);
        fs::write(&file, &spoiled).unwrap();
        recovers(folder.path(), NAMES, &mut kept);
    }
    // Most bits are in one value or in nothing at all.
    assert!(kept > NAMES * FLIPS as u32 / 2, "{kept} names were kept");
}

#[test]
fn a_truncated_store_recovers() {
    const NAMES: u32 = 150;
    let folder = filled(NAMES);
    let file = folder.path().join(FILE);
    let good = fs::read(&file).unwrap();
    for nth in 0..20 {
        fs::write(&file, &good[..good.len() * nth / 20]).unwrap();
        recovers(folder.path(), NAMES, &mut 0);
    }
}

fn recovers(folder: &Path, names: u32, kept: &mut u32) {
    let (disk, _) = Disk::open(folder).unwrap();
    *kept += whole(&disk, names);
    let all = || (0..names).map(|nth| put(nth, 2)).collect::<Vec<_>>();
    match disk.commit(all()) {
        Ok(()) => {}
        Err(StoreError::Rebuilt { .. }) => disk.commit(all()).unwrap(),
        Err(other) => panic!("{other}"),
    }
    // What lies behind a damaged branch may still be out of reach after a commit that did not
    // pass there; whoever looks through the store says so.
    let reached = whole(&disk, names);
    drop(disk);
    let (disk, _) = Disk::open(folder).unwrap();
    assert!(whole(&disk, names) >= reached.min(names));
}

#[test]
fn a_disk_that_takes_no_writes_is_served_from() {
    let folder = filled(50);
    let file = folder.path().join(FILE);
    // Superusers may write everywhere, so the file is opened as after a crash on such a disk.
    let (disk, _) = Disk::open(folder.path()).unwrap();
    let mut open = disk.exclusive();
    disk.close(&mut open);
    *open = freeze(&file, &disk.witness).unwrap();
    drop(open);
    assert_eq!(whole(&disk, 50), 50);
    // The disk takes writes again: the next commit passes.
    disk.commit(vec![put(7, 2)]).unwrap();
    assert_eq!(whole(&disk, 50), 50);
    assert!(!disk.shared().frozen);
}

#[test]
fn a_rebuild_that_ended_between_its_renames_is_completed() {
    let folder = filled(10);
    fs::rename(folder.path().join(FILE), folder.path().join(NEW_FILE)).unwrap();
    let (disk, set_aside) = Disk::open(folder.path()).unwrap();
    assert_eq!((whole(&disk, 10), set_aside), (10, None));
}

#[test]
fn an_empty_file_is_an_empty_store() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = File::create(folder.path().join(FILE)).unwrap();
    file.write_all(b"").unwrap();
    file.set_permissions(Permissions::from_mode(0o600)).unwrap();
    let (disk, set_aside) = Disk::open(folder.path()).unwrap();
    assert_eq!((disk.len(TABLE).unwrap(), set_aside), (0, None));
}

#[test]
fn a_folder_in_the_place_of_the_store_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(FILE)).unwrap();
    let Err(refused) = Disk::open(folder.path()) else { panic!("it is no store") };
    assert!(refused.to_string().contains("store.redb is a folder"), "{refused}");
}

/// Says that this process is to fill the store again, and where.
const FILL: &str = "EDGE_TEST_FILL";

/// Bits are flipped by the dozen, and pages lost, which may end the process: the engine panics,
/// and once more while it unwinds. Started again, as by a supervisor, it comes back within a few
/// starts, and holds everything once all has come again. `EDGE_TEST_DAMAGES` asks for more runs.
#[test]
fn no_damage_is_died_of_for_ever() {
    if let Some(folder) = env::var_os(FILL) {
        return fill(Path::new(&folder));
    }
    const NAMES: u32 = 31;
    let folder = filled(NAMES);
    let file = folder.path().join(FILE);
    let good = fs::read(&file).unwrap();
    let mut random = 4711_u64;
    let mut next = move || {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 33) as usize
    };
    let mut deaths = 0;
    let runs = env::var("EDGE_TEST_DAMAGES").ok().and_then(|text| text.parse().ok()).unwrap_or(25);
    for run in 0..runs {
        let mut spoiled = good.clone();
        let pages = good.len() / 4096;
        match run % 5 {
            0..3 => {
                for _ in 0..[30, 150, 8][run % 3] {
                    spoiled[next() % good.len()] ^= 1 << (next() % 8);
                }
            }
            kind => {
                let (from, to) = (next() % (pages - 1) + 1, next() % (pages - 1) + 1);
                let page = spoiled[from * 4096..][..4096].to_vec();
                let page = if kind == 3 { vec![0; 4096] } else { page };
                spoiled[to * 4096..][..4096].copy_from_slice(&page);
            }
        }
        fs::write(&file, &spoiled).unwrap();
        let starts = (1..6).find(|_| {
            let filled = Command::new(env::current_exe().unwrap())
                .args(["--exact", "store::disk::tests::no_damage_is_died_of_for_ever"])
                .args(["--nocapture", "--test-threads=1"])
                .env(FILL, folder.path())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&filled.stderr).into_owned();
            let aborted = said.contains("non-unwinding panic");
            assert!(filled.status.success() || aborted, "run {run}: {said}");
            filled.status.success()
        });
        deaths += starts.unwrap_or_else(|| panic!("run {run} never comes back")) - 1;
        let (disk, set_aside) = Disk::open(folder.path()).unwrap();
        assert_eq!((whole(&disk, NAMES), set_aside), (NAMES, None), "run {run}");
        assert!(!folder.path().join("store.died").exists());
    }
    println!("{deaths} deaths in {runs} runs");
}

/// What an edge does: reads everything, and takes everything again, a few times.
fn fill(folder: &Path) {
    let (disk, _) = Disk::open(folder).unwrap();
    let names = 31;
    whole(&disk, names);
    for _ in 0..4 {
        match disk.commit((0..names).map(|nth| put(nth, 2)).collect()) {
            Ok(()) | Err(StoreError::Rebuilt { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        whole(&disk, names);
    }
    assert_eq!(whole(&disk, names), names);
}

/// Says that this process is to die in the engine, and where.
const DIE: &str = "EDGE_TEST_DIE";

/// Panics in a destructor while a panic unwinds, as the engine does.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

#[test]
fn a_store_that_the_process_died_of_is_made_anew_at_the_next_start() {
    if let Some(folder) = env::var_os(DIE) {
        let (disk, _) = Disk::open(Path::new(&folder)).unwrap();
        let _ = disk.witness.contained(|| -> Result<(), redb::Error> {
            let _bomb = Bomb;
            panic!("a page makes no sense")
        });
        return;
    }
    let folder = filled(100);
    let name =
        "store::disk::tests::a_store_that_the_process_died_of_is_made_anew_at_the_next_start";
    let died = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(DIE, folder.path())
        .output()
        .unwrap();
    assert!(!died.status.success());

    let (disk, set_aside) = Disk::open(folder.path()).unwrap();
    assert!(set_aside.is_some_and(|why| why.contains("died")));
    assert_eq!(whole(&disk, 100), 100);
    assert!(folder.path().join(DAMAGED_FILE).exists());
    drop(disk);
    let (_, set_aside) = Disk::open(folder.path()).unwrap();
    assert_eq!(set_aside, None);
}

#[test]
fn a_file_made_anew_that_takes_no_commit_is_given_up() {
    let folder = filled(10);
    let (disk, _) = Disk::open(folder.path()).unwrap();
    let found_damage = || *disk.damage() = Some("a test says so".into());
    for saved_then in [10, 0] {
        found_damage();
        let rebuilt = disk.commit(vec![put(1, 2)]).unwrap_err();
        assert!(
            matches!(rebuilt, StoreError::Rebuilt { saved } if saved == saved_then),
            "{rebuilt}"
        );
    }
    disk.commit(vec![put(1, 2)]).unwrap();
    found_damage();
    let rebuilt = disk.commit(vec![put(2, 2)]).unwrap_err();
    assert!(matches!(rebuilt, StoreError::Rebuilt { saved: 1 }), "{rebuilt}");
}
