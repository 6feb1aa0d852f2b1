//! From limits to writes: pure.
pub mod v1;
pub mod v2;

/// One value for one file of one controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub controller: String,
    pub file: String,
    pub value: String,
}

impl Write {
    pub(crate) fn new(controller: &str, file: &str, value: impl ToString) -> Self {
        Self { controller: controller.to_owned(), file: file.to_owned(), value: value.to_string() }
    }
}

#[cfg(test)]
mod tests;
