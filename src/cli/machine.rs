//! What this machine is and has: memory that may be used, the peak that was used, the processor.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::ops::{distrusted_instruction_set, instruction_set};

/// Bytes that a process can still take: what the kernel calls available, or what is left of the
/// tightest control group above this process. `None` where neither can be read.
pub(super) fn available_memory() -> Option<u64> {
    let free = kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Some(free.min(group_memory(Path::new("/sys/fs/cgroup"), &groups).unwrap_or(u64::MAX)))
}

/// The least room of the control groups (version 2) that `groups`, the text of
/// `/proc/self/cgroup`, names under `mount`.
fn group_memory(mount: &Path, groups: &str) -> Option<u64> {
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut folder: PathBuf = mount.join(group.trim());
    let mut least = None;
    while folder.starts_with(mount) {
        if let Some(room) = room_of(&folder) {
            least = Some(least.unwrap_or(room).min(room));
        }
        if !folder.pop() {
            break;
        }
    }
    least
}

/// Pages of files can be given back, so the inactive ones do not count as used.
fn room_of(folder: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let limit: u64 = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    let stat = read("memory.stat").unwrap_or_default();
    let reclaimable = stat.lines().find_map(|line| line.strip_prefix("inactive_file "));
    let reclaimable = reclaimable.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(reclaimable)))
}

/// The largest resident size since the start or the last [`reset_peak_memory`].
pub(super) fn peak_memory() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Starts the peak anew at the present size. False where the kernel does not allow it.
pub(super) fn reset_peak_memory() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// A line `Name:   123 kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

pub(super) fn cpu_name() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    named("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The instruction sets that kernels are chosen by, of those that this processor has.
pub(super) fn cpu_features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let known = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("avxvnni", is_x86_feature_detected!("avxvnni")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
        ("amx-int8", kernels::KernelTable::amx().is_some()),
    ];
    #[cfg(target_arch = "aarch64")]
    let known = [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
        ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
        ("bf16", std::arch::is_aarch64_feature_detected!("bf16")),
        ("sve", std::arch::is_aarch64_feature_detected!("sve")),
    ];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let known: [(&'static str, bool); 0] = [];
    known.into_iter().filter(|(_, present)| *present).map(|(name, _)| name).collect()
}

/// What makes a fast machine slow must not stay unsaid.
pub(super) fn warn_of_distrusted_kernels() {
    if let Some(name) = distrusted_instruction_set() {
        tracing::warn!(
            "the kernels for {name} make wrong numbers on this processor; those for {} are used",
            instruction_set()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_group_above_counts() {
        let mount = tempfile::tempdir().expect("a temporary folder");
        let inner = mount.path().join("kubepods/pod1");
        fs::create_dir_all(&inner).expect("made");
        let write = |folder: &Path, name: &str, text: &str| {
            fs::write(folder.join(name), text).expect("written");
        };
        write(&inner, "memory.max", "max\n");
        write(&inner, "memory.current", "100\n");
        let outer = mount.path().join("kubepods");
        write(&outer, "memory.max", "1000\n");
        write(&outer, "memory.current", "700\n");
        write(&outer, "memory.stat", "anon 500\ninactive_file 200\n");
        assert_eq!(group_memory(mount.path(), "0::/kubepods/pod1\n"), Some(500));
        assert_eq!(group_memory(mount.path(), "0::/\n"), None);
        assert_eq!(group_memory(mount.path(), "1:memory:/old\n"), None);
    }

    #[test]
    fn a_process_has_a_peak_and_room() {
        assert!(peak_memory().expect("Linux tells") > 1 << 20);
        assert!(available_memory().expect("Linux tells") > 1 << 20);
    }
}
