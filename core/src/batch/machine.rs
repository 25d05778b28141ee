//! What memory this machine, or the control group that the process runs in, has to give.

use std::path::{Path, PathBuf};

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;

/// Memory that the process holds, in MiB; none where the system does not tell.
///
/// # Source
/// proc(5), `/proc/self/status`, `VmRSS`.
pub fn resident_mib() -> Option<u64> {
    Some(kib_of(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")? / 1024)
}

/// Memory that could be had without swapping, in MiB: the machine's, or what the control groups leave, whichever is less.
///
/// # Source
/// proc(5), `/proc/meminfo`, `MemAvailable`; the kernel's cgroup-v2.rst, `memory.max`, and cgroup-v1/memory.rst.
pub fn available_mib() -> Option<u64> {
    let machine = kib_of(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")? / 1024;
    let groups = group_folders(&std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default());
    Some(groups.iter().filter_map(|folder| left_in(folder)).fold(machine, u64::min))
}

/// The value in KiB of a line such as `VmRSS:   1234 kB`.
fn kib_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}

/// The folders of the control groups that limit this process: its own and all above, as they are called inside a container.
fn group_folders(cgroup: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in cgroup.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let root = match controllers {
            "" => Path::new("/sys/fs/cgroup"),
            list if list.split(',').any(|name| name == "memory") => Path::new("/sys/fs/cgroup/memory"),
            _ => continue,
        };
        let path = root.join(path.trim_start_matches('/'));
        folders.extend(path.ancestors().take_while(|folder| folder.starts_with(root)).map(Path::to_owned));
    }
    folders
}

/// What a control group leaves of its limit, in MiB; none if it has no limit. Cached files that are not in use count as free.
fn left_in(folder: &Path) -> Option<u64> {
    let number = |name: &str| std::fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let limit = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
    let used = number("memory.current").or_else(|| number("memory.usage_in_bytes"))?;
    let stat = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cached = |key| kib_of(&stat, key);
    let cached = cached("total_inactive_file ").or_else(|| cached("inactive_file ")).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(cached)) / MIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_leaves_its_limit_less_what_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("memory.max", "max\n");
        write("memory.current", "104857600\n");
        assert_eq!(left_in(folder.path()), None, "no limit");
        write("memory.max", "1073741824\n");
        write("memory.stat", "anon 1\ninactive_file 52428800\n");
        assert_eq!(left_in(folder.path()), Some(1024 - 100 + 50));
    }

    #[test]
    fn the_groups_above_limit_too() {
        let folders = group_folders("12:cpuset:/a\n4:memory:/job/step\n0::/user.slice\n");
        let folders: Vec<_> = folders.iter().map(|folder| folder.to_string_lossy().into_owned()).collect();
        assert_eq!(
            folders,
            [
                "/sys/fs/cgroup/memory/job/step",
                "/sys/fs/cgroup/memory/job",
                "/sys/fs/cgroup/memory",
                "/sys/fs/cgroup/user.slice",
                "/sys/fs/cgroup"
            ]
        );
        assert_eq!(kib_of("VmPeak: 2 kB\nVmRSS:\t  2048 kB\n", "VmRSS:"), Some(2048));
    }
}
