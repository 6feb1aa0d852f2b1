//! Layered root filesystems: apply (tar to directory), diff (directory to tar), overlay
