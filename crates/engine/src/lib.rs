//! Container life: create, start, exec, attach, logs, events, restart, restore
