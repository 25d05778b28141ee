//! Bad files, names, folders and arguments: the right exit code, one clear error with a way out, nothing half written.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use neuroloom_tests::scene::{names, patient, scratch, sequence};
use neuroloom_tests::{Finished, finish, neuroloom, skipped};
use sdk::nifti::{self, WriteOptions};
use sdk::{AnyVolume, Image, Kind};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const BRAIN: &str = "workflows/brain-extraction.toml";

/// `run brain-extraction --out OUT`, without an input.
fn brain(out: &Path) -> Command {
    let mut command = neuroloom();
    command.args(["run", BRAIN, "--out"]).arg(out);
    command
}

/// The same on a file.
fn brain_of(head: &Path, out: &Path) -> Command {
    let mut command = brain(out);
    command.arg("--input").arg(format!("head={}", head.display()));
    command
}

/// Compares how a run ended with what is on record.
fn story(name: &str, run: &Finished) {
    let place = scratch().to_string_lossy().into_owned();
    let filters = vec![
        (place.as_str(), "HERE"),
        (r"\d+\.\d\d? s", "TIME"),
        (r" +TIME", "  TIME"),
        (r"os error \d+", "os error N"),
        (r"\.\d{4}\.[0-9a-f-]+\.part", ".ATTEMPT.PROCESS.part"),
    ];
    insta::with_settings!({ filters => filters }, {
        insta::assert_snapshot!(name, format!("exit {:?}\n{}{}", run.code, run.stdout, run.stderr));
    });
}

/// A run that must fail before anything is read: exit 2, no output folder.
fn refused(name: &str, command: &mut Command, out: &Path) {
    let run = finish(command);
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{name}: {}", run.stderr);
    assert!(!out.exists(), "{name}: nothing is written");
    story(name, &run);
}

/// A head that cannot be read: exit 1, and no case in the output folder.
fn unreadable(name: &str, bytes: &[u8], extension: &str) {
    let head = scratch().join(format!("sub-{}.{extension}", name.replace('_', "")));
    std::fs::write(&head, bytes).unwrap();
    let out = scratch().join("out").join(name);
    let run = finish(&mut brain_of(&head, &out));
    assert_eq!(run.code, Some(1), "{name}: {}", run.stderr);
    assert_eq!(run.stderr.matches("error: ").count(), 1, "{name}: {}", run.stderr);
    assert!(names(&out).is_empty(), "{name}: {:?}", names(&out));
    story(name, &run);
}

fn head() -> Image {
    let read = nifti::read(sequence("t1_pre"), Kind::Image).unwrap();
    let AnyVolume::Image(image) = read.volume else { panic!("an image was asked for") };
    image
}

#[test]
fn files_that_are_no_image_end_in_one_clear_error() {
    let whole = std::fs::read(sequence("t1_pre")).unwrap();
    unreadable("text", b"this is a letter to a friend, whatever its name says", "nii.gz");
    unreadable("text_plain", b"this is a letter to a friend, whatever its name says", "nii");
    unreadable("empty", b"", "nii.gz");
    unreadable("cut", &whole[..whole.len() / 2], "nii.gz");
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    let head = scratch().join("sub-flipped.nii.gz");
    std::fs::write(&head, flipped).unwrap();
    let run = finish(&mut brain_of(&head, &scratch().join("out/flipped")));
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("hint: "), "{}", run.stderr);
}

#[test]
fn a_series_of_volumes_is_not_one_volume() {
    let path = scratch().join("sub-one.nii");
    nifti::write(&path, &AnyVolume::Image(head()), &WriteOptions::default()).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let voxels = bytes[352..].to_vec();
    // dim[0] = 4 and dim[4] = 2: the header's fifth field, eight 16-bit numbers from byte 40.
    bytes[40..42].copy_from_slice(&4_i16.to_le_bytes());
    bytes[48..50].copy_from_slice(&2_i16.to_le_bytes());
    bytes.extend(voxels);
    unreadable("series", &bytes, "nii");
}

/// A scanner's masked voxels are NaN now and then: they count as 0, and everyone is told.
#[test]
fn voxels_that_are_no_number_are_read_as_0_with_a_warning() {
    let image = head();
    let mut voxels = image.voxels().to_vec();
    voxels[..27].fill(f32::NAN);
    let holed = Image::new(*image.grid(), voxels).unwrap();
    let path = scratch().join("sub-holed_T1w.nii.gz");
    nifti::write(&path, &AnyVolume::Image(holed), &WriteOptions::default()).unwrap();
    let out = scratch().join("holed");
    let run = finish(&mut brain_of(&path, &out));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("27 voxels are NaN or infinite"), "{}", run.stderr);
    let sidecar =
        std::fs::read_to_string(out.join("sub-holed/anat/sub-holed_space-orig_desc-brain_mask.json"));
    assert!(sidecar.unwrap().contains("27 voxels are no finite number and were read as 0"));
}

#[test]
fn wrong_names_are_met_with_the_nearest_right_one() {
    let out = scratch().join("never");
    let (t1_pre, out) = (sequence("t1_pre"), out.as_path());
    let near = t1_pre.with_file_name("sub-demo_acq-CUB_T1w.nii.gz");
    refused("missing_file", &mut brain_of(&near, out), out);
    refused("a_folder", &mut brain_of(scratch(), out), out);
    let wrong = format!("haed={}", t1_pre.display());
    refused("unknown_input", brain(out).args(["--input", &wrong]), out);
    refused("no_equals", brain(out).arg("--input").arg(&t1_pre), out);
    refused("no_input", &mut brain(out), out);
    refused("twice", brain_of(&t1_pre, out).args(["--input", &format!("head={}", t1_pre.display())]), out);
    refused("wrong_label", brain_of(&t1_pre, out).args(["--case", "../evil"]), out);
    let mut no_workflow = neuroloom();
    refused(
        "no_workflow",
        no_workflow.args(["run", "workflows/brain-extracton.toml", "--out"]).arg(out),
        out,
    );
}

#[test]
fn wrong_arguments_are_met_with_a_way_out() {
    let out = scratch().join("never");
    let (head, out) = (sequence("t1_pre"), out.as_path());
    refused("unknown_command", neuroloom().arg("rnu"), out);
    refused("no_threads", brain_of(&head, out).args(["--threads", "0"]), out);
    refused("unknown_operator", brain_of(&head, out).args(["--use", "brain=bett"]), out);
    refused("other_role", brain_of(&head, out).args(["--use", "brain=register"]), out);
    refused("unknown_stage", brain_of(&head, out).args(["--use", "brian=bet"]), out);
    refused(
        "unknown_setting",
        brain_of(&head, out).args(["--set", "brain.settings.gradient_treshold=0.1"]),
        out,
    );
    refused(
        "wrong_type",
        brain_of(&head, out).args(["--set", "brain.settings.gradient_threshold=steep"]),
        out,
    );
    refused("out_of_range", brain_of(&head, out).args(["--set", "brain.settings.gradient_threshold=4"]), out);
    refused("no_plugin_folder", brain_of(&head, out).args(["--plugin-dir", "nowhere"]), out);
    let mut number = neuroloom();
    number.args(["run", "workflows/phantom.toml", "--input", "seed=many", "--out"]);
    refused("no_number", number.arg(out), out);
}

#[test]
fn a_typo_in_the_site_s_file_is_an_error() {
    let out = scratch().join("never");
    let site = scratch().join("neuroloom.toml");
    std::fs::write(&site, "[run]\nthread = 4\n").unwrap();
    refused("site_typo", brain_of(&sequence("t1_pre"), &out).arg("--site").arg(&site), &out);
    let missing = scratch().join("elsewhere.toml");
    refused("site_missing", brain_of(&sequence("t1_pre"), &out).arg("--site").arg(&missing), &out);
}

#[test]
fn folders_that_are_not_ours_are_left_alone() {
    let head = sequence("t1_pre");
    let private = scratch().join("private");
    std::fs::create_dir_all(&private).unwrap();
    std::fs::write(private.join("letter.txt"), "dear friend").unwrap();
    let own_input = names(patient());
    for (name, out) in [
        ("foreign_folder", &private),
        ("own_input", &patient().to_owned()),
        ("out_is_file", &private.join("letter.txt")),
    ] {
        let run = finish(&mut brain_of(&head, out));
        assert_eq!(run.code, Some(2), "{name}: {}", run.stderr);
        story(name, &run);
    }
    assert_eq!(names(&private), ["letter.txt"]);
    assert_eq!(names(patient()), own_input);
}

#[test]
fn an_output_folder_that_cannot_be_written_is_found_before_anything_is_computed() {
    // Not even root may make a folder here.
    let run = finish(&mut brain_of(&sequence("t1_pre"), Path::new("/proc/neuroloom")));
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    story("unwritable", &run);
}

/// A file system of 300 KiB, gone when dropped.
struct TinyDisk(PathBuf);

impl TinyDisk {
    fn mount() -> Option<Self> {
        let folder = scratch().join("tiny_disk");
        std::fs::create_dir_all(&folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=300k", "tmpfs"]).arg(&folder);
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        skipped("a small file system cannot be mounted here, so no disk could be filled");
        None
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let Some(disk) = TinyDisk::mount() else { return };
    let mut filler = std::fs::File::create(disk.0.join(".filler")).unwrap();
    filler.write_all(&vec![1; 200 * 1024]).unwrap();
    let run = finish(&mut brain_of(&sequence("t1_pre"), &disk.0));
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{}", run.stderr);
    assert!(!disk.0.join("sub-demo").exists());
    let left: Vec<_> = names(&disk.0).into_iter().filter(|name| name.contains("tmp/")).collect();
    assert_eq!(left, Vec::<String>::new());
    story("full_disk", &run);
}
