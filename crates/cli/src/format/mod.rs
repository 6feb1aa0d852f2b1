//! What people see: tables, templates, sizes, ages.
pub mod board;
pub mod columns;
pub mod go_json;
pub mod inspect;
pub mod listing;
pub mod note;
pub mod order;
pub mod port_list;
pub mod progress;
pub mod units;
