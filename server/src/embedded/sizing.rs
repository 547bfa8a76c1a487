//! Settings of PostgreSQL that depend on the memory and the processors of the machine.

use std::fs;

const MB: u64 = 1 << 20;
const GB: u64 = 1 << 30;

/// Used if the memory of the machine cannot be determined.
const UNKNOWN_MEMORY: u64 = 4 * GB;

/// The resources of a machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    /// Memory of the machine or of the control group, in bytes.
    pub(super) memory: u64,
    /// The number of processors that may be used.
    pub(super) processors: u64,
    /// Free space in /dev/shm in bytes. `None` if it does not exist.
    pub(super) shared_memory: Option<u64>,
}

impl Machine {
    /// Inspects this machine. `memory` in bytes overrides what is found.
    pub(super) fn detect(memory: Option<u64>) -> Machine {
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        let shared_memory = if cfg!(target_os = "linux") {
            rustix::fs::statvfs("/dev/shm").ok().map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize))
        } else {
            None
        };
        Machine { memory: memory.unwrap_or_else(detect_memory), processors, shared_memory }
    }

    /// Names and values of the settings, as in postgresql.conf.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        let Machine { memory, processors, shared_memory } = *self;
        let megabytes = |bytes: u64| format!("{}MB", bytes / MB);
        // An HNSW build is about ten times faster if the graph fits. 1/8 leaves room for two builds and everything
        // else.
        let maintenance_work_mem = (memory / 8).clamp(16 * MB, 2 * GB);
        let mut settings = vec![
            // A quarter, as PostgreSQL's documentation recommends. The local model and the page cache use the rest.
            ("shared_buffers", megabytes((memory / 4).clamp(16 * MB, 8 * GB))),
            // The memory that PostgreSQL and the system probably use together for caching. It guides the planner.
            ("effective_cache_size", megabytes((memory / 2).clamp(32 * MB, 64 * GB))),
            // Per sort or hash. It also limits how far pgvector's iterative index scans go.
            ("work_mem", megabytes((memory / 256).clamp(4 * MB, 64 * MB))),
            ("maintenance_work_mem", megabytes(maintenance_work_mem)),
            // Otherwise each autovacuum worker would ask for as much as a parallel build, without a benefit.
            ("autovacuum_work_mem", megabytes((memory / 32).clamp(16 * MB, 256 * MB))),
            // Vectors are large: with the default of 1 GB a large ingest forces one checkpoint after another.
            ("max_wal_size", megabytes((memory / 4).clamp(256 * MB, 4 * GB))),
            // A build also uses the leader, and searches continue meanwhile.
            ("max_parallel_maintenance_workers", (processors.saturating_sub(1)).min(7).to_string()),
            ("max_parallel_workers", processors.to_string()),
            ("max_worker_processes", (processors + 8).to_string()),
            // On SSDs random reads cost about as much as sequential reads. With the default of 4 the planner avoids
            // indexes.
            ("random_page_cost", "1.1".to_owned()),
            // Compiling a query takes longer than a search.
            ("jit", "off".to_owned()),
        ];
        // Parallel builds share memory through /dev/shm, which has 64 MB in a container. System V memory has no such
        // limit.
        if shared_memory.is_some_and(|free| free < maintenance_work_mem + 64 * MB) {
            settings.push(("dynamic_shared_memory_type", "sysv".to_owned()));
        }
        settings
    }
}

/// The memory in bytes of the machine, or of the control group if that is less.
fn detect_memory() -> u64 {
    let machine = if cfg!(target_os = "macos") {
        std::process::Command::new("/usr/sbin/sysctl")
            .args(["-n", "hw.memsize"])
            .output()
            .ok()
            .and_then(|output| String::from_utf8_lossy(&output.stdout).trim().parse().ok())
    } else {
        fs::read_to_string("/proc/meminfo").ok().and_then(|text| parse_meminfo(&text))
    };
    let group = fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|text| cgroup_limit(&text, |path| fs::read_to_string(path).ok()));
    machine.into_iter().chain(group).min().unwrap_or(UNKNOWN_MEMORY)
}

fn parse_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// The lowest memory limit of the control group and its parents, version 1 or 2.
fn cgroup_limit(groups: &str, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, group) = (fields.next()?, fields.next()?);
            let (root, file) = match controllers {
                "" => ("/sys/fs/cgroup", "memory.max"),
                "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
                _ => return None,
            };
            // In a container the group may be named as on the host, so missing folders are skipped.
            std::path::Path::new(group)
                .ancestors()
                .filter_map(|group| {
                    let group = group.to_str()?.trim_end_matches('/');
                    // "max" does not parse and means no limit.
                    read(&format!("{root}{group}/{file}"))?.trim().parse::<u64>().ok()
                })
                .min()
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(machine: Machine, name: &str) -> Option<String> {
        machine.settings().into_iter().find(|setting| setting.0 == name).map(|setting| setting.1)
    }

    #[test]
    fn settings_follow_the_memory_within_bounds() {
        let machine = |memory| Machine { memory, processors: 4, shared_memory: Some(64 * GB) };
        let all = |memory| {
            ["shared_buffers", "effective_cache_size", "work_mem", "maintenance_work_mem", "max_wal_size"]
                .map(|name| setting(machine(memory), name).unwrap())
        };
        assert_eq!(all(64 * MB), ["16MB", "32MB", "4MB", "16MB", "256MB"]);
        assert_eq!(all(8 * GB), ["2048MB", "4096MB", "32MB", "1024MB", "2048MB"]);
        assert_eq!(all(512 * GB), ["8192MB", "65536MB", "64MB", "2048MB", "4096MB"]);
    }

    #[test]
    fn parallelism_follows_the_processors() {
        let workers = |processors| {
            let machine = Machine { memory: GB, processors, shared_memory: None };
            setting(machine, "max_parallel_maintenance_workers").unwrap()
        };
        assert_eq!([1, 2, 64].map(workers), ["0", "1", "7"]);
    }

    #[test]
    fn a_small_dev_shm_is_avoided() {
        let kind = |shared_memory| {
            setting(Machine { memory: 8 * GB, processors: 4, shared_memory }, "dynamic_shared_memory_type")
        };
        assert_eq!(kind(Some(64 * MB)).as_deref(), Some("sysv"));
        assert_eq!(kind(Some(12 * GB)), None);
        assert_eq!(kind(None), None);
    }

    #[test]
    fn reads_the_memory_of_the_machine() {
        assert_eq!(parse_meminfo("MemFree: 1 kB\nMemTotal:       16384 kB\n"), Some(16 * MB));
        assert_eq!(parse_meminfo("nothing"), None);
        assert!(detect_memory() > 64 * MB);
    }

    #[test]
    fn reads_the_limit_of_control_groups() {
        let read = |files: &'static [(&str, &str)]| {
            move |path: &str| files.iter().find(|file| file.0 == path).map(|file| file.1.to_owned())
        };
        let version_2 = read(&[
            ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("/sys/fs/cgroup/a/memory.max", "1000\n"),
            ("/sys/fs/cgroup/memory.max", "2000\n"),
        ]);
        assert_eq!(cgroup_limit("0::/a/b\n", version_2), Some(1000));
        let version_1 = read(&[("/sys/fs/cgroup/memory/memory.limit_in_bytes", "3000\n")]);
        assert_eq!(cgroup_limit("2:cpu,cpuacct:/x\n1:memory:/docker/x\n0::/\n", version_1), Some(3000));
        assert_eq!(cgroup_limit("0::/\n", |_| None), None);
    }
}
