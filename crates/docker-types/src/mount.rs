//! Mounts as requested (`Mount`) and as reported (`MountPoint`).
use crate::{Empty, List, Map};

api_struct! {
    /// `--mount`.
    pub struct Mount {
        /// bind, volume, tmpfs, image, npipe, cluster.
        kind: String = "Type" omitempty,
        source: String = "Source" omitempty,
        target: String = "Target" omitempty,
        read_only: bool = "ReadOnly" omitempty,
        consistency: String = "Consistency" omitempty,
        bind_options: Option<BindOptions> = "BindOptions" omitempty,
        volume_options: Option<VolumeOptions> = "VolumeOptions" omitempty,
        image_options: Option<ImageOptions> = "ImageOptions" omitempty,
        tmpfs_options: Option<TmpfsOptions> = "TmpfsOptions" omitempty,
        cluster_options: Option<Empty> = "ClusterOptions" omitempty,
    }

    pub struct BindOptions {
        propagation: String = "Propagation" omitempty,
        non_recursive: bool = "NonRecursive" omitempty,
        create_mountpoint: bool = "CreateMountpoint" omitempty,
        read_only_non_recursive: bool = "ReadOnlyNonRecursive" omitempty,
        read_only_force_recursive: bool = "ReadOnlyForceRecursive" omitempty,
        /// Not Docker's: the host's owners are the container's, whatever its user namespace.
        id_map: bool = "IDMap" omitempty,
    }

    pub struct VolumeOptions {
        no_copy: bool = "NoCopy" omitempty,
        labels: Map<String> = "Labels" omitempty,
        subpath: String = "Subpath" omitempty,
        driver_config: Option<Driver> = "DriverConfig" omitempty,
    }

    pub struct ImageOptions {
        subpath: String = "Subpath" omitempty,
    }

    pub struct Driver {
        name: String = "Name" omitempty,
        options: Map<String> = "Options" omitempty,
    }

    pub struct TmpfsOptions {
        size_bytes: i64 = "SizeBytes" omitempty,
        /// Permission bits, as a decimal number.
        mode: u32 = "Mode" omitempty,
        /// `["noexec"]` or `["uid", "1000"]`.
        options: List<List<String>> = "Options" omitempty,
    }

    /// A mount of a container, as `inspect` and `ps` report it.
    pub struct MountPoint {
        kind: String = "Type" omitempty,
        name: String = "Name" omitempty,
        source: String = "Source",
        destination: String = "Destination",
        driver: String = "Driver" omitempty,
        mode: String = "Mode",
        rw: bool = "RW",
        propagation: String = "Propagation",
    }
}
