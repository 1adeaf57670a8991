//! Real files on a real mount.
//!
//! A machine that has no FUSE says so, and the tests end at that.

use super::{Counts, Disk, Durable, Faults, Stall, Survival, SyncError, probe};
use crate::net::enter_private;
use nix::fcntl::{FallocateFlags, fallocate};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A disk, for a test on a thread of its own.
fn on_a_disk(durable: Durable, test: impl FnOnce(&Disk, &Path) + Send + 'static) {
    if let Err(lacking) = probe() {
        println!("skipped: {lacking}");
        return;
    }
    let ran = std::thread::spawn(move || {
        let private = enter_private().expect("the probe said so");
        let dir = tempfile::tempdir().unwrap();
        let (store, at) = (dir.path().join("store"), dir.path().join("disk"));
        let disk = Disk::mount(private, &store, &at, durable, 1).unwrap();
        test(&disk, &at);
        drop(disk);
        assert!(!is_mounted(&at), "the disk is still mounted");
    });
    if let Err(panic) = ran.join() {
        std::panic::resume_unwind(panic);
    }
}

fn is_mounted(at: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(1) == at.to_str())
}

fn cut(disk: &Disk) -> super::Loss {
    disk.cut_power(Survival::Nothing, &mut StdRng::seed_from_u64(0)).unwrap()
}

fn write_synced(path: &Path, bytes: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_all().unwrap();
}

fn sync_dir(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

fn names(at: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(at).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn it_is_a_file_system() {
    on_a_disk(Durable::WithJournal, |_, at| {
        fs::create_dir_all(at.join("a/b")).unwrap();
        let path = at.join("a/b/file");
        fs::write(&path, [7; 300_000]).unwrap();
        assert!(fs::read(&path).unwrap() == [7; 300_000]);
        fs::hard_link(&path, at.join("link")).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().nlink(), 2);
        std::os::unix::fs::symlink("a/b/file", at.join("soft")).unwrap();
        assert_eq!(fs::read_link(at.join("soft")).unwrap(), PathBuf::from("a/b/file"));
        assert_eq!(fs::read(at.join("soft")).unwrap().len(), 300_000);

        let mut open = File::options().read(true).append(true).open(&path).unwrap();
        open.write_all(&[8; 10]).unwrap();
        fs::rename(&path, at.join("moved")).unwrap();
        fs::remove_file(at.join("moved")).unwrap();
        fs::remove_file(at.join("link")).unwrap();
        open.read_exact_at(&mut vec![0; 300_010], 0).unwrap();
        open.write_all(&[9]).unwrap();
        assert_eq!(open.metadata().unwrap().len(), 300_011);

        let error = fs::remove_dir(at.join("a")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DirectoryNotEmpty);
        fs::remove_dir(at.join("a/b")).unwrap();
        assert_eq!(names(at), ["a", "soft"]);
    });
}

#[test]
fn preallocation_truncation_and_direct_writes_work() {
    on_a_disk(Durable::WithJournal, |disk, at| {
        let path = at.join("log");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        fallocate(&file, FallocateFlags::empty(), 0, 65_536).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 65_536);
        fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, 131_072).unwrap();
        file.sync_all().unwrap();
        file.write_all_at(&[5; 8192], 4096).unwrap();
        file.sync_data().unwrap();
        file.write_all_at(&[6; 8192], 8192).unwrap();
        file.set_len(10_000).unwrap();
        drop(file);
        cut(disk);
        let left = fs::read(&path).unwrap();
        assert_eq!(left.len(), 65_536);
        assert!(left[..4096] == [0; 4096] && left[4096..12_288] == [5; 8192]);
        assert!(left[12_288..].iter().all(|byte| *byte == 0));

        let direct = File::options().write(true).custom_flags(nix::libc::O_DIRECT).open(&path).unwrap();
        direct.write_all_at(&[1; 4096], 0).unwrap();
        drop(direct);
        cut(disk);
        assert_eq!(fs::read(&path).unwrap()[0], 0);
        let durable = File::options().write(true).custom_flags(nix::libc::O_DSYNC).open(&path).unwrap();
        durable.write_all_at(&[2; 4096], 0).unwrap();
        drop(durable);
        cut(disk);
        assert_eq!(fs::read(&path).unwrap()[0], 2);
    });
}

#[test]
fn flock_keeps_others_out() {
    on_a_disk(Durable::WithJournal, |_, at| {
        let path = at.join("lock");
        let held = File::create(&path).unwrap();
        held.try_lock().unwrap();
        let other = File::open(&path).unwrap();
        assert!(other.try_lock().is_err());
        drop(held);
        other.try_lock().unwrap();
    });
}

#[test]
fn a_map_of_memory_shows_what_is_written() {
    on_a_disk(Durable::WithJournal, |_, at| {
        fs::write(at.join("file"), [b'a'; 10_000]).unwrap();
        // A process that maps the file, shared, and prints what it sees before and after a write.
        let program = "import mmap,os,sys\nf=os.open(sys.argv[1],os.O_RDWR)\nm=mmap.mmap(f,0)\n\
                       print(m[5000:5003])\nos.pwrite(f,b'xyz',5000)\nprint(m[5000:5003])\n\
                       m[0:3]=b'new'\nm.flush()\nos.fsync(f)\n";
        let Ok(output) = Command::new("python3").arg("-c").arg(program).arg(at.join("file")).output() else {
            println!("skipped: python3 is missing, so no process maps a file here: install python3");
            return;
        };
        assert_eq!(String::from_utf8_lossy(&output.stdout), "b'aaa'\nb'xyz'\n");
        assert_eq!(&fs::read(at.join("file")).unwrap()[..4], b"newa");
    });
}

#[test]
fn a_power_cut_takes_what_was_not_synced() {
    on_a_disk(Durable::WithJournal, |disk, at| {
        write_synced(&at.join("kept"), b"durable");
        fs::write(at.join("new"), b"lost").unwrap();
        let mut kept = File::options().append(true).open(at.join("kept")).unwrap();
        kept.write_all(b" and more").unwrap();
        assert_eq!(fs::read(at.join("kept")).unwrap(), b"durable and more");
        drop(kept);
        let loss = cut(disk);
        assert_eq!(fs::read(at.join("kept")).unwrap(), b"durable");
        assert_eq!(names(at), ["kept"]);
        assert!(loss.files >= 1 && loss.bytes >= 9 && loss.names == 1, "{loss:?}");
        assert_eq!(disk.counts().lost_bytes, loss.bytes);
        assert_eq!(cut(disk), super::Loss::default());
    });
}

#[test]
fn a_rename_is_durable_with_its_directory() {
    for durable in [Durable::WithJournal, Durable::NamesApart] {
        on_a_disk(durable, |disk, at| {
            write_synced(&at.join("current"), b"1");
            sync_dir(at);
            write_synced(&at.join("next"), b"2");
            fs::rename(at.join("next"), at.join("current")).unwrap();
            cut(disk);
            assert_eq!(fs::read(at.join("current")).unwrap(), b"1");
            write_synced(&at.join("next"), b"3");
            fs::rename(at.join("next"), at.join("current")).unwrap();
            sync_dir(at);
            cut(disk);
            assert_eq!(fs::read(at.join("current")).unwrap(), b"3");
            assert_eq!(names(at), ["current"]);
        });
    }
}

#[test]
fn a_name_without_its_directory_is_lost_where_names_are_apart() {
    for (durable, left) in [(Durable::WithJournal, 1), (Durable::NamesApart, 0)] {
        on_a_disk(durable, move |disk, at| {
            write_synced(&at.join("file"), b"1");
            cut(disk);
            assert_eq!(names(at).len(), left, "{durable:?}");
        });
    }
}

#[test]
fn contents_are_lost_though_the_name_is_durable() {
    on_a_disk(Durable::WithJournal, |disk, at| {
        fs::write(at.join("file"), b"never synced").unwrap();
        sync_dir(at);
        cut(disk);
        assert_eq!(fs::read(at.join("file")).unwrap(), b"");
    });
}

#[test]
fn the_power_is_not_cut_under_a_living_server() {
    on_a_disk(Durable::WithJournal, |disk, at| {
        fs::write(at.join("file"), b"1").unwrap();
        let mut reader =
            Command::new("sleep").arg("600").stdin(File::open(at.join("file")).unwrap()).spawn().unwrap();
        assert!(disk.shared.store().open_files() > 0);
        reader.kill().unwrap();
        reader.wait().unwrap();
        cut(disk);
        assert_eq!(names(at), Vec::<String>::new());
    });
}

#[test]
fn torn_writes_survive_in_part() {
    on_a_disk(Durable::WithJournal, |disk, at| {
        write_synced(&at.join("file"), &[1; 65_536]);
        let file = File::options().write(true).open(at.join("file")).unwrap();
        file.write_all_at(&[2; 65_536], 0).unwrap();
        drop(file);
        let survival = Survival::Pieces { piece: 512, probability: 0.5 };
        let loss = disk.cut_power(survival, &mut StdRng::seed_from_u64(4)).unwrap();
        let left = fs::read(at.join("file")).unwrap();
        let kept = left.chunks(512).filter(|piece| **piece == [2; 512]).count();
        let lost = left.chunks(512).filter(|piece| **piece == [1; 512]).count();
        assert_eq!((kept + lost, kept as u64, lost as u64 * 512), (128, loss.kept_pieces, loss.bytes));
        assert!(kept > 20 && lost > 20, "{kept} {lost}");
    });
}

#[test]
fn a_failed_sync_is_not_made_good_by_the_next() {
    on_a_disk(Durable::WithJournal, |disk, at| {
        write_synced(&at.join("file"), b"old");
        let file = File::options().write(true).open(at.join("file")).unwrap();
        file.write_all_at(b"new", 0).unwrap();
        disk.update(|faults| faults.sync_error = SyncError::Once);
        assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(nix::libc::EIO));
        file.sync_data().unwrap();
        drop(file);
        assert_eq!(fs::read(at.join("file")).unwrap(), b"new");
        cut(disk);
        assert_eq!(fs::read(at.join("file")).unwrap(), b"old");
        assert_eq!(disk.counts().failed_syncs, 1);
    });
}

#[test]
fn a_lying_disk_loses_what_it_acknowledged() {
    on_a_disk(Durable::WithJournal, |disk, at| {
        disk.update(|faults| faults.lying = true);
        write_synced(&at.join("file"), b"acknowledged");
        cut(disk);
        assert_eq!(names(at), Vec::<String>::new());
        assert_eq!(disk.counts().ignored_syncs, 1);
    });
}

#[test]
fn a_full_disk_has_no_room_until_it_has() {
    on_a_disk(Durable::WithJournal, |disk, at| {
        write_synced(&at.join("file"), &[1; 8192]);
        disk.update(|faults| faults.full = true);
        let file = File::options().write(true).open(at.join("file")).unwrap();
        file.write_all_at(&[2; 8192], 0).unwrap();
        assert_eq!(file.write_all_at(&[2; 10], 8190).unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(File::create(at.join("more")).unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(fallocate(&file, FallocateFlags::empty(), 0, 65_536), Err(nix::errno::Errno::ENOSPC));
        assert_eq!(nix::sys::statvfs::statvfs(at).unwrap().blocks_available(), 0);
        assert!(disk.counts().no_room >= 3);
        disk.heal();
        file.write_all_at(&[2; 10], 8190).unwrap();
        assert!(nix::sys::statvfs::statvfs(at).unwrap().blocks_available() > 0);
    });
}

#[test]
fn reads_and_writes_fail_by_chance() {
    on_a_disk(Durable::WithJournal, |disk, at| {
        write_synced(&at.join("file"), &[1; 8192]);
        disk.update(|faults| *faults = Faults { read_errors: 1.0, write_errors: 1.0, ..Faults::default() });
        let file = File::options().read(true).write(true).open(at.join("file")).unwrap();
        assert_eq!(file.read_at(&mut [0; 10], 0).unwrap_err().raw_os_error(), Some(nix::libc::EIO));
        assert_eq!(file.write_at(&[2; 10], 0).unwrap_err().raw_os_error(), Some(nix::libc::EIO));
        let Counts { read_errors, write_errors, .. } = disk.counts();
        assert!(read_errors > 0 && write_errors > 0);
        disk.heal();
        file.read_exact_at(&mut [0; 10], 0).unwrap();
    });
}

#[test]
fn a_slow_disk_is_slow_in_syncs() {
    on_a_disk(Durable::WithJournal, |disk, at| {
        disk.update(|faults| faults.sync_delay = Duration::from_millis(100));
        let file = File::create(at.join("file")).unwrap();
        let began = Instant::now();
        file.write_all_at(&[1; 100], 0).unwrap();
        let written = began.elapsed();
        file.sync_data().unwrap();
        assert!(written < Duration::from_millis(90), "{written:?}");
        assert!(began.elapsed() >= Duration::from_millis(100));
    });
}

#[test]
fn a_stalled_disk_does_not_hold_a_killed_process() {
    on_a_disk(Durable::WithJournal, |disk, at| {
        for stall in [Stall::Syncs, Stall::Everything] {
            disk.update(|faults| faults.stall = stall);
            let mut writer = Command::new("dd")
                .args(["if=/dev/zero", "bs=4096", "count=4", "conv=fsync", "status=none"])
                .arg(format!("of={}", at.join("file").display()))
                .spawn()
                .unwrap();
            let until = Instant::now() + Duration::from_secs(20);
            while disk.counts().held == 0 {
                assert!(Instant::now() < until, "nothing was held");
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(Duration::from_millis(50));
            assert!(writer.try_wait().unwrap().is_none());
            writer.kill().unwrap();
            let began = Instant::now();
            writer.wait().unwrap();
            assert!(began.elapsed() < Duration::from_secs(10));
            disk.heal();
        }
    });
}

#[test]
fn what_is_on_it_outlives_the_mount() {
    if probe().is_err() {
        return; // said by the others
    }
    let ran = std::thread::spawn(|| {
        let private = enter_private().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (store, at) = (dir.path().join("store"), dir.path().join("disk"));
        for round in 0..3 {
            let disk = Disk::mount(private, &store, &at, Durable::WithJournal, 1).unwrap();
            assert_eq!(names(&at).len(), round);
            write_synced(&at.join(round.to_string()), b"1");
            drop(disk);
            assert!(!is_mounted(&at));
        }
    });
    ran.join().unwrap();
}
