//! Knarr's own: `POST /knarr/system/check`, `POST /knarr/system/clean`, `GET /knarr/system/doctor`.
use crate::List;

api_struct! {
    /// What a check looked at and found.
    pub struct CheckReport {
        records: u64 = "Records",
        images: u64 = "Images",
        blobs: u64 = "Blobs",
        blob_bytes: u64 = "BlobBytes",
        layers: u64 = "Layers",
        /// Layers whose files were read.
        layers_compared: u64 = "LayersCompared",
        containers: u64 = "Containers",
        volumes: u64 = "Volumes",
        findings: List<CheckFinding> = "Findings",
        /// Findings that are damage, and that nothing was or could be done about.
        damaged: u64 = "Damaged",
    }

    pub struct CheckFinding {
        /// `record`, `blob`, `layer`, `image`, `container`, `volume`, `directory`.
        subject: String = "Subject",
        object: String = "Object",
        problem: String = "Problem",
        /// Nobody owns it: space is lost, nothing is damaged.
        orphan: bool = "Orphan",
        used_by: List<String> = "UsedBy",
        /// `found`, `repaired`, `removed`, `quarantined`, `left`.
        outcome: String = "Outcome",
        /// How it was repaired, or why not and what to do.
        detail: String = "Detail",
    }

    /// What the host lacks, and what to do about it.
    pub struct DoctorReport {
        failed: u64 = "Failed",
        warnings: u64 = "Warnings",
        checks: List<DoctorCheck> = "Checks",
    }

    pub struct DoctorCheck {
        name: String = "Name",
        /// `ok`, `warning`, `failed`.
        status: String = "Status",
        found: String = "Found",
        /// What to do; empty when nothing is to be done.
        advice: String = "Advice",
    }

    /// What clean-up took, or would take.
    pub struct CleanReport {
        dry_run: bool = "DryRun",
        /// Percent of the file system in use, before.
        disk_used_percent: u64 = "DiskUsedPercent",
        images: List<CleanedImage> = "Images",
        space_reclaimed: u64 = "SpaceReclaimed",
    }

    pub struct CleanedImage {
        id: String = "Id",
        name: String = "Name",
        /// RFC 3339.
        last_used: String = "LastUsed",
        /// `unused` or `space`.
        reason: String = "Reason",
        size: u64 = "Size",
    }
}
