//! cgroup v1 and v2: limits, placement, freeze, statistics, device rules
